//! Packets on the 128-bit stream.

mod common;

use common::Dice;
use pcie_sim::beats::BEAT_BYTES;
use pcie_sim::{Bdf, Beat, BeatDecoder, BeatEncoder, Limits, Malformed, Packet, Tlp};

fn beats_of(packet: Packet) -> Vec<Beat> {
    let mut encoder = BeatEncoder::new();
    encoder.start(packet).expect("idle");
    let mut beats = Vec::new();
    while let Some(beat) = encoder.peek() {
        assert_eq!(encoder.peek(), Some(beat), "an offered beat stays");
        beats.push(beat);
        encoder.advance();
    }
    assert!(encoder.is_idle());
    beats
}

fn packet_of(beats: &[Beat]) -> Packet {
    let mut decoder = BeatDecoder::new();
    for beat in &beats[..beats.len() - 1] {
        assert_eq!(decoder.push(*beat), None);
        assert!(decoder.in_packet());
    }
    decoder
        .push(beats[beats.len() - 1])
        .expect("the last beat ends the packet")
}

/// Bit positions written down from the stream's definition.
#[test]
fn positions() {
    let bytes: Vec<u8> = (1..=20).collect();
    let tlp = Tlp::mem_write(Bdf::new(1, 0, 0), 0x1_0000_0100, &bytes).expect("legal");
    let beats = beats_of(tlp.encode());
    assert_eq!(beats.len(), 3);
    assert_eq!(
        beats[0],
        Beat {
            words: [0x6000_0005, 0x0100_00FF, 1, 0x100],
            last: false
        }
    );
    assert_eq!(beats[0].data() >> 96, 0x100);
    assert_eq!(beats[1].data(), 0x100F_0E0D_0C0B_0A09_0807_0605_0403_0201);
    assert!(!beats[1].last);
    assert_eq!(
        beats[2],
        Beat {
            words: [0x1413_1211, 0, 0, 0],
            last: true
        }
    );

    let read = Tlp::mem_read(Bdf::new(1, 0, 0), 9, 0x2000, 64)
        .expect("legal")
        .encode();
    let beats = beats_of(read);
    assert_eq!(
        beats,
        [Beat {
            words: [0x0000_0010, 0x0100_09FF, 0x2000, 0],
            last: true
        }]
    );
}

/// Payload byte 0 is byte 0 of the first DW, so a write to an odd address starts with disabled bytes.
#[test]
fn unaligned_payload_keeps_its_lanes() {
    let tlp = Tlp::mem_write(Bdf::new(1, 0, 0), 0x1003, &[0xAA, 0xBB]).expect("legal");
    let beats = beats_of(tlp.encode());
    assert_eq!(beats[1].data(), 0xBB_AA00_0000);
}

#[test]
fn every_length_round_trips() {
    for dwords in 1..=1024usize {
        let data: Vec<u8> = (0..dwords * 4).map(|k| (k * 7 + dwords) as u8).collect();
        let packet = Tlp::mem_write(Bdf::new(1, 0, 0), 0x1000, &data)
            .expect("legal")
            .encode();
        let beats = beats_of(packet.clone());
        assert_eq!(beats.len(), 1 + data.len().div_ceil(BEAT_BYTES));
        assert_eq!(packet_of(&beats), packet);
    }
}

#[test]
fn one_packet_at_a_time() {
    let packet = Tlp::mem_read(Bdf::default(), 0, 0, 4)
        .expect("legal")
        .encode();
    let mut encoder = BeatEncoder::new();
    encoder.advance();
    assert_eq!(encoder.peek(), None);
    encoder.start(packet.clone()).expect("idle");
    assert_eq!(encoder.start(packet.clone()), Err(packet.clone()));
    encoder.advance();
    encoder.start(packet).expect("idle again");
}

#[test]
fn a_wrong_number_of_beats_is_malformed() {
    let data = [0x77; 64];
    let packet = Tlp::mem_write(Bdf::default(), 0x1000, &data)
        .expect("legal")
        .encode();
    let whole = beats_of(packet);
    for kept in 1..whole.len() {
        let mut beats = whole[..kept].to_vec();
        beats[kept - 1].last = true;
        let found = (kept - 1) * BEAT_BYTES;
        let got = packet_of(&beats).decode(&Limits::default());
        assert_eq!(
            got,
            Err(Malformed::PayloadLength {
                expected: 64,
                found
            })
        );
    }
    let mut beats = whole.clone();
    beats[4].last = false;
    beats.push(Beat {
        words: [0; 4],
        last: true,
    });
    assert_eq!(
        packet_of(&beats).decode(&Limits::default()),
        Err(Malformed::PayloadLength {
            expected: 64,
            found: 80
        })
    );
}

/// A sender that never says `last` costs bounded memory, and its packet is malformed whatever it claims.
#[test]
fn endless_packet_is_bounded() {
    for length in [0x4000_0000, 0x4000_8000, 0x0000_0001] {
        let mut beats = vec![
            Beat {
                words: [length, 0xFF, 0, 0],
                last: false
            };
            100_000
        ];
        beats.push(Beat {
            words: [0; 4],
            last: true,
        });
        let packet = packet_of(&beats);
        assert!(packet.payload.len() <= 4096 + 3 * BEAT_BYTES);
        assert!(matches!(
            packet.decode(&Limits::LARGEST),
            Err(Malformed::PayloadLength { .. })
        ));
    }
}

/// Random beats never break the decoder, and a good packet after a `last` is understood.
#[test]
fn resynchronises_after_garbage() {
    let mut dice = Dice::new(common::seed());
    let good = Tlp::mem_write(Bdf::default(), 0x1000, &[1; 32])
        .expect("legal")
        .encode();
    let mut decoder = BeatDecoder::new();
    for _ in 0..2000 {
        for _ in 0..dice.below(20) {
            let words = [0; 4].map(|_: u32| dice.below(1 << 32) as u32);
            if let Some(packet) = decoder.push(Beat {
                words,
                last: dice.below(4) == 0,
            }) {
                let _judged = packet.decode(&Limits::LARGEST);
            }
        }
        if decoder.in_packet() {
            decoder.push(Beat {
                words: [0; 4],
                last: true,
            });
        }
        let mut got = None;
        for beat in beats_of(good.clone()) {
            assert_eq!(got, None);
            got = decoder.push(beat);
        }
        assert_eq!(got.as_ref(), Some(&good));
    }
}

/// Packets of random lengths over a stream that stalls at random on either side: all arrive, in order.
#[test]
fn stalls_change_nothing() {
    let mut dice = Dice::new(common::seed());
    let mut queue: Vec<Packet> = (0..500)
        .map(|n| {
            let bytes = vec![n as u8; 1 + dice.below(128) as usize];
            let addr = (dice.below(1 << 40) & !0xFFF) + dice.below(1024);
            Tlp::mem_write(Bdf::new(1, 0, 0), addr, &bytes)
                .expect("legal")
                .encode()
        })
        .collect();
    let expected = queue.clone();
    queue.reverse();
    let (mut encoder, mut decoder) = (BeatEncoder::new(), BeatDecoder::new());
    let mut got = Vec::new();
    for _ in 0..100_000 {
        if encoder.is_idle() && dice.below(3) > 0 {
            if let Some(packet) = queue.pop() {
                encoder.start(packet).expect("idle");
            }
        }
        if let (Some(beat), true) = (encoder.peek(), dice.below(2) == 0) {
            got.extend(decoder.push(beat));
            encoder.advance();
        }
    }
    assert!(
        got == expected,
        "{} of {} packets, or wrong ones",
        got.len(),
        expected.len()
    );
}
