//! The TLP endpoint and the registers of the whole controller, driven beat by beat. Replay a run with `CXLMEM_SEED`.

use cxlmem_hdl::Config;
use cxlmem_protocol::hdm::{check_commit, Decoder, GRANULE};
use cxlmem_protocol::regs::{self, Access, REGS};
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::Dut;

const BDF: u16 = 0x0A08;
const HOST: u32 = 0x0017;
const BAR: u32 = 0xE000_0000;
/// Cycles within which an answer comes.
const PATIENCE: u32 = 2000;

fn seed(default: u64) -> u64 {
    let seed = seed_from_env(default).unwrap();
    println!("CXLMEM_SEED={seed}");
    seed
}

/// The controller's TLP pins, and beats that it sent.
struct Pins {
    dut: Dut,
    rng: Rng,
    /// Probability of a gap before a beat in, and of a stall of a beat out.
    gaps: f64,
    sent: Vec<(u128, bool)>,
}

impl Pins {
    fn new(config: &str, seed: u64, gaps: f64) -> Self {
        let mut dut = Dut::new(config).unwrap();
        dut.set_cfg_bdf(BDF);
        dut.set_cfg_bme(true);
        dut.reset(5);
        let mut p = Pins {
            dut,
            rng: Rng::new(seed),
            gaps,
            sent: Vec::new(),
        };
        let pages = Config::by_name(config).unwrap().capacity() / 4096;
        (0..pages + 300).for_each(|_| p.cycle(None));
        p
    }

    /// One cycle, offering `beat`; true if it was taken.
    fn step(&mut self, beat: Option<(u128, bool)>) -> bool {
        self.dut.set_tlp_rx_valid(beat.is_some());
        if let Some((data, last)) = beat {
            self.dut.set_tlp_rx_data(data);
            self.dut.set_tlp_rx_last(last);
        }
        let ready = !self.rng.chance(self.gaps);
        self.dut.set_tlp_tx_ready(ready);
        self.dut.settle();
        let taken = beat.is_some() && self.dut.tlp_rx_ready();
        if ready && self.dut.tlp_tx_valid() {
            self.sent
                .push((self.dut.tlp_tx_data(), self.dut.tlp_tx_last()));
        }
        self.dut.edge();
        taken
    }

    fn cycle(&mut self, beat: Option<(u128, bool)>) {
        self.step(beat);
    }

    /// Sends a TLP: header DWs, payload DWs.
    fn send(&mut self, header: [u32; 4], payload: &[u32]) {
        let beat = |dws: &[u32]| {
            dws.iter()
                .rev()
                .fold(0u128, |b, d| b << 32 | u128::from(*d))
        };
        let mut beats = vec![beat(&header)];
        beats.extend(payload.chunks(4).map(beat));
        let last = beats.len() - 1;
        for (n, data) in beats.into_iter().enumerate() {
            while self.rng.chance(self.gaps) {
                self.step(None);
            }
            let mut tries = 0;
            while !self.step(Some((data, n == last))) {
                tries += 1;
                assert!(tries < PATIENCE, "the endpoint does not take a beat");
            }
        }
    }

    /// The next completion: header DWs and payload.
    fn completion(&mut self) -> ([u32; 3], Vec<u32>) {
        for _ in 0..PATIENCE {
            if self.sent.last().is_some_and(|b| b.1) {
                break;
            }
            self.step(None);
        }
        let beats = std::mem::take(&mut self.sent);
        assert!(!beats.is_empty(), "no completion");
        let dw = |b: u128, n: usize| (b >> (32 * n)) as u32;
        let header = [dw(beats[0].0, 0), dw(beats[0].0, 1), dw(beats[0].0, 2)];
        let length = if header[0] >> 30 & 1 == 1 {
            (header[0] & 0x3FF) as usize
        } else {
            0
        };
        assert_eq!(beats.len(), 1 + length.div_ceil(4), "beats of {header:x?}");
        assert!(
            beats.iter().rev().skip(1).all(|b| !b.1),
            "`last` comes last"
        );
        let payload = (0..length).map(|n| dw(beats[1 + n / 4].0, n % 4)).collect();
        (header, payload)
    }

    fn read_request(&mut self, offset: u32, dwords: u32, enables: u32, tag: u32) {
        self.send(
            [dwords, HOST << 16 | tag << 8 | enables, BAR + offset, 0],
            &[],
        );
    }

    fn read(&mut self, offset: u32) -> u32 {
        let tag = self.rng.below(256) as u32;
        self.read_request(offset, 1, 0xF, tag);
        let (header, data) = self.completion();
        assert_eq!(header[0], 0x4A00_0001);
        assert_eq!(header[1], u32::from(BDF) << 16 | 4);
        assert_eq!(header[2], HOST << 16 | tag << 8 | (offset & 0x7F));
        data[0]
    }

    fn write(&mut self, offset: u32, value: u32) {
        self.send([0x4000_0001, HOST << 16 | 0xF, BAR + offset, 0], &[value]);
    }

    fn errors(&mut self) -> u32 {
        // Pending counts reach the sum within one scan.
        (0..40).for_each(|_| self.cycle(None));
        self.read(regs::IoErrors::OFFSET)
    }
}

#[test]
fn registers_have_their_reset_values_and_access_rules() {
    let mut p = Pins::new("full", seed(21), 0.3);
    let config = Config::by_name("full").unwrap();
    let live = [
        "Caps",
        "ConfigId",
        "CapacityLo",
        "ClockKhz",
        "MediaStatus",
        "Trackers",
        "LinkStatus",
        "BdfInfo",
    ];
    for reg in REGS {
        let counts = reg.offset >= regs::RxFlits::OFFSET && reg.offset <= regs::CounterCtrl::OFFSET;
        if counts || live.contains(&reg.name) {
            continue;
        }
        assert_eq!(p.read(reg.offset), reg.reset, "{}", reg.name);
        if reg.access == Access::RO {
            p.write(reg.offset, !reg.reset);
            assert_eq!(p.read(reg.offset), reg.reset, "{} is read-only", reg.name);
        }
    }
    assert_eq!(
        u64::from(p.read(regs::CapacityLo::OFFSET)),
        config.capacity()
    );
    assert_eq!(p.read(regs::ClockKhz::OFFSET), config.clock_khz);
    assert_eq!(p.read(regs::ConfigId::OFFSET), config.id);
    assert_eq!(p.read(regs::BdfInfo::OFFSET), u32::from(BDF));
    for offset in [
        0u32, 0xFFC, 0x10FC, 0x3000, 0x7FFC, 0x8040, 0x9004, 0xA000, 0xFFFC,
    ] {
        assert_eq!(p.read(offset), 0, "unassigned {offset:#x}");
    }
    let value = p.rng.next_u64();
    let (low, high) = (value as u32, (value >> 32) as u32);
    p.send(
        [
            0x4000_0002,
            HOST << 16 | 0xFF,
            BAR + regs::EngRingLo::OFFSET,
            0,
        ],
        &[low, high],
    );
    p.read_request(regs::EngRingLo::OFFSET, 2, 0xFF, 9);
    let (header, data) = p.completion();
    assert_eq!(
        (header[0], header[1] & 0xFFFF, header[2] & 0x7F),
        (0x4A00_0002, 8, regs::EngRingLo::OFFSET & 0x7F)
    );
    assert_eq!(data, [low, high]);
    // A 64-bit address takes the four-DW header.
    p.send(
        [0x2000_0001, HOST << 16 | 0xF, 5, BAR + regs::Id::OFFSET],
        &[],
    );
    assert_eq!(p.completion().1, [regs::Id::RESET]);
}

#[test]
fn whatever_is_not_served_is_refused_or_dropped_and_counted() {
    let mut p = Pins::new("full", seed(22), 0.2);
    let before = p.errors();
    let mut count = 0;
    let own = HOST << 16 | 0x5500;
    let reads: [([u32; 4], u32, u32); 9] = [
        // header, byte count, lower address
        ([4, own | 0xFF, BAR + 0x2000, 0], 16, 0),
        ([2, own | 0xFF, BAR + 0x2004, 0], 8, 4),
        ([1, own | 0x06, BAR + 0x2000, 0], 2, 1),
        ([1, own, BAR + 0x2000, 0], 1, 0),
        ([2, own | 0x1F, BAR + 0x2000, 0], 5, 0),
        ([0x2000_0020, own | 0xFF, 1, BAR + 0x2010], 128, 0x10),
        ([0x0200_0001, own | 0xF, 0x1000, 0], 4, 0), // I/O read
        ([0x0100_0001, own | 0xF, BAR + 0x2000, 0], 4, 0), // locked read
        ([0x0400_0001, own | 0xF, 0, 0], 4, 0),      // configuration read
    ];
    for (header, bytes, lower) in reads {
        p.send(header, &[]);
        let (answer, data) = p.completion();
        assert_eq!((answer[0], data.len()), (0x0A00_0000, 0), "{header:x?}");
        assert_eq!(
            answer[1],
            u32::from(BDF) << 16 | 1 << 13 | bytes,
            "{header:x?}"
        );
        assert_eq!(answer[2] & !0x7F, HOST << 16 | 0x5500, "{header:x?}");
        if header[0] & 0x1F00_0000 == 0 {
            assert_eq!(answer[2] & 0x7F, lower, "{header:x?}");
        }
        count += 1;
    }
    // An atomic carries data and wants an answer.
    p.send([0x4C00_0002, own | 0xFF, BAR + 0x2000, 0], &[1, 2]);
    assert_eq!(p.completion().0[0], 0x0A00_0000);
    count += 1;
    p.write(regs::Scratch::OFFSET, 0x1234);
    let at = BAR + regs::Scratch::OFFSET;
    let dropped: [(u32, u32, usize); 9] = [
        // DW0, byte enables, DWs of payload
        (0x4000_0001, 0x3, 1),
        (0x4000_0004, 0xFF, 4),
        (0x4000_0020, 0xFF, 32),
        (0x4000_4001, 0xF, 1),  // poisoned
        (0x4000_0001, 0xF, 0),  // no payload
        (0x4000_0001, 0xF, 40), // more payload than it says
        (0x7400_0000, 0, 0),    // message
        (0x9F00_0000, 0, 3),    // no such format
        (0x4A00_0010, 0, 16),   // completion that nobody asked for
    ];
    for (dw0, enables, payload) in dropped {
        p.send([dw0, own | enables, at, 0], &vec![0xBAD; payload]);
        count += 1;
        assert_eq!(p.errors() - before, count, "{dw0:#x}");
    }
    assert_eq!(
        p.read(regs::Scratch::OFFSET),
        0x1234,
        "dropped writes write nothing"
    );
    assert!(p.sent.is_empty(), "dropped TLPs have no answer");
}

#[test]
fn random_packets_never_stop_the_endpoint() {
    let mut p = Pins::new("full", seed(23), 0.3);
    for n in 0..400 {
        let header = [
            p.rng.next_u64() as u32,
            p.rng.next_u64() as u32,
            p.rng.next_u64() as u32,
            p.rng.next_u64() as u32,
        ];
        let payload = vec![n; p.rng.below(40) as usize];
        // Not a register write: it might start the engine.
        if header[0] >> 24 & 0x1F != 0 {
            p.send(header, &payload);
        }
    }
    (0..200).for_each(|_| p.cycle(None));
    p.sent.clear();
    p.write(regs::Scratch::OFFSET, 77);
    assert_eq!(p.read(regs::Scratch::OFFSET), 77);
}

fn granules(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

/// Programs decoder `n` and asks for the commit; true if it was committed.
fn commit(p: &mut Pins, n: u32, d: &Decoder, extra: u32) -> bool {
    let at = |register: u32| register + n * regs::HDM_STRIDE;
    for (low, high, value) in [
        (regs::Hdm0BaseLo::OFFSET, regs::Hdm0BaseHi::OFFSET, d.base),
        (regs::Hdm0SizeLo::OFFSET, regs::Hdm0SizeHi::OFFSET, d.size),
        (regs::Hdm0SkipLo::OFFSET, regs::Hdm0SkipHi::OFFSET, d.skip),
    ] {
        let (l, h) = granules(value);
        p.write(at(low), l);
        p.write(at(high), h);
    }
    let control = regs::Hdm0Ctrl::TARGET_TYPE.with(0, u32::from(d.host_only))
        | regs::Hdm0Ctrl::IW.with(0, u32::from(d.iw))
        | regs::Hdm0Ctrl::COMMIT.mask()
        | extra;
    p.write(at(regs::Hdm0Ctrl::OFFSET), control);
    let got = p.read(at(regs::Hdm0Ctrl::OFFSET));
    let (yes, no) = (
        regs::Hdm0Ctrl::COMMITTED.is_set(got),
        regs::Hdm0Ctrl::ERROR.is_set(got),
    );
    assert!(yes != no, "either committed or in error: {got:#x}");
    yes
}

#[test]
fn hdm_decoders_commit_as_the_protocol_says() {
    let mut p = Pins::new("full", seed(24), 0.0);
    let mut committed = 0;
    for _ in 0..120 {
        p.write(regs::Hdm1Ctrl::OFFSET, 0);
        p.write(regs::Hdm0Ctrl::OFFSET, 0);
        let mut decoders = [Decoder::default(); 2];
        for n in 0..2usize {
            let around = if n == 0 {
                4
            } else {
                decoders[0].base / GRANULE + decoders[0].size / GRANULE
            };
            let below = (1 << 23) + p.rng.below(4);
            let d = Decoder {
                base: GRANULE
                    * if p.rng.chance(0.1) {
                        1 << p.rng.below(35)
                    } else {
                        (around + p.rng.below(4)).saturating_sub(1)
                    },
                size: GRANULE
                    * if p.rng.chance(0.1) {
                        below
                    } else {
                        p.rng.below(4)
                    },
                skip: GRANULE * p.rng.below(3),
                iw: u8::from(p.rng.chance(0.1)),
                host_only: !p.rng.chance(0.1),
                committed: false,
            };
            decoders[n] = d;
            let want = check_commit(&decoders, n).is_ok();
            assert_eq!(
                commit(&mut p, n as u32, &d, 0),
                want,
                "decoder {n} of {decoders:x?}"
            );
            decoders[n].committed = want;
            committed += u32::from(want);
        }
    }
    assert!(
        committed > 40,
        "too few of the random decoders commit: {committed}"
    );
}

#[test]
fn a_committed_decoder_is_frozen_and_released_in_reverse() {
    let mut p = Pins::new("full", seed(25), 0.0);
    let d = |base: u64| Decoder {
        base: base * GRANULE,
        size: GRANULE,
        host_only: true,
        ..Default::default()
    };
    assert!(commit(&mut p, 0, &d(4), 0));
    assert!(commit(&mut p, 1, &d(5), regs::Hdm0Ctrl::LOCK.mask()));
    let frozen = |p: &mut Pins, n: u32| {
        for register in [
            regs::Hdm0BaseLo::OFFSET,
            regs::Hdm0SizeHi::OFFSET,
            regs::Hdm0SkipLo::OFFSET,
        ] {
            let at = register + n * regs::HDM_STRIDE;
            let before = p.read(at);
            p.write(at, !before);
            assert_eq!(p.read(at), before, "{at:#x}");
        }
    };
    frozen(&mut p, 0);
    frozen(&mut p, 1);
    let committed = |p: &mut Pins, n: u32| {
        regs::Hdm0Ctrl::COMMITTED.is_set(p.read(regs::Hdm0Ctrl::OFFSET + n * regs::HDM_STRIDE))
    };
    p.write(regs::Hdm0Ctrl::OFFSET, 0);
    assert!(committed(&mut p, 0), "the later decoder holds it");
    p.write(regs::Hdm1Ctrl::OFFSET, 0);
    assert!(committed(&mut p, 1), "locked");
    p.dut.reset(5);
    (0..500).for_each(|_| p.cycle(None));
    assert!(!committed(&mut p, 0) && !committed(&mut p, 1));
    // Interleave granularity and back-invalidate are refused.
    assert!(!commit(&mut p, 0, &d(4), regs::Hdm0Ctrl::IG.mask()));
    assert!(!commit(&mut p, 0, &d(4), regs::Hdm0Ctrl::BI.mask()));
    assert!(commit(&mut p, 0, &d(4), 0));
    p.write(regs::Hdm0Ctrl::OFFSET, 0);
    assert!(!committed(&mut p, 0));
}

#[test]
fn the_msix_table_is_memory_with_a_mask_bit() {
    let mut p = Pins::new("full", seed(26), 0.2);
    let vectors = regs::MSIX_VECTORS;
    for n in 0..vectors {
        assert_eq!(
            p.read(regs::MSIX_TABLE + 16 * n + 12),
            1,
            "masked after reset"
        );
        for dw in 0..3 {
            p.write(regs::MSIX_TABLE + 16 * n + 4 * dw, 0x1000 * n + 4 * dw);
        }
        p.write(regs::MSIX_TABLE + 16 * n + 12, n & 1);
    }
    for n in 0..vectors {
        for dw in 0..3 {
            assert_eq!(
                p.read(regs::MSIX_TABLE + 16 * n + 4 * dw),
                0x1000 * n + 4 * dw
            );
        }
        assert_eq!(p.read(regs::MSIX_TABLE + 16 * n + 12), n & 1);
    }
    assert_eq!(p.read(regs::MSIX_PBA), 0);
}

#[test]
fn cycles_count_cycles_and_clear() {
    let mut p = Pins::new("full", seed(27), 0.0);
    let read = |p: &mut Pins| {
        let low = p.read(regs::CyclesLo::OFFSET);
        u64::from(p.read(regs::CyclesHi::OFFSET)) << 32 | u64::from(low)
    };
    let (a, from) = (read(&mut p), p.dut.cycles());
    (0..1000).for_each(|_| p.cycle(None));
    let (b, to) = (read(&mut p), p.dut.cycles());
    assert_eq!(b - a, to - from);
    p.write(regs::CounterCtrl::OFFSET, 1);
    assert!(read(&mut p) < 100);
}
