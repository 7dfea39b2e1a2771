//! TLPs on a 128-bit stream.
//!
//! The first beat is the header: header DW *n* in bits `32n+31:32n`, a three-DW header leaving bits 127:96 zero. The payload
//! starts in the second beat, payload byte *k* (counted from there) in bits `8k+7:8k` whatever the address alignment. `last`
//! marks the final beat, which is the header's when there is no payload.

use crate::tlp::{Packet, MAX_PAYLOAD_BYTES};

/// Bytes in a beat.
pub const BEAT_BYTES: usize = 16;

/// Beats kept of one packet: one more than the longest legal payload with digest fills, so that an overlong packet stays overlong.
const MAX_KEPT_BYTES: usize =
    (MAX_PAYLOAD_BYTES + 4).div_ceil(BEAT_BYTES) * BEAT_BYTES + BEAT_BYTES;

/// One beat of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beat {
    /// Bits 31:0 first. Verilated models take the same four words.
    pub words: [u32; 4],
    /// Final beat of its packet.
    pub last: bool,
}

impl Beat {
    /// The beat as one 128-bit number.
    pub fn data(&self) -> u128 {
        let [a, b, c, d] = self.words.map(u128::from);
        a | b << 32 | c << 64 | d << 96
    }

    /// The beat with these 128 bits.
    pub fn from_data(data: u128, last: bool) -> Self {
        Beat {
            words: [
                data as u32,
                (data >> 32) as u32,
                (data >> 64) as u32,
                (data >> 96) as u32,
            ],
            last,
        }
    }
}

/// Sends one packet at a time, a beat per [`advance`](BeatEncoder::advance). Nothing is allocated; the packet given is kept.
#[derive(Debug, Clone, Default)]
pub struct BeatEncoder {
    packet: Packet,
    /// Beats sent of the packet; meaningless when not `busy`.
    sent: usize,
    busy: bool,
}

impl BeatEncoder {
    /// An encoder with nothing to send.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a packet may be started.
    pub fn is_idle(&self) -> bool {
        !self.busy
    }

    /// Starts a packet.
    ///
    /// # Errors
    /// The packet itself, if the previous one is not finished.
    pub fn start(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.busy {
            return Err(packet);
        }
        *self = BeatEncoder {
            packet,
            sent: 0,
            busy: true,
        };
        Ok(())
    }

    /// The beat to offer now; the same one until [`advance`](BeatEncoder::advance). `None` when idle.
    pub fn peek(&self) -> Option<Beat> {
        if !self.busy {
            return None;
        }
        let payload = &self.packet.payload;
        if self.sent == 0 {
            return Some(Beat {
                words: self.packet.header,
                last: payload.is_empty(),
            });
        }
        let from = (self.sent - 1) * BEAT_BYTES;
        let chunk = &payload[from..payload.len().min(from + BEAT_BYTES)];
        let mut bytes = [0; BEAT_BYTES];
        bytes[..chunk.len()].copy_from_slice(chunk);
        Some(Beat::from_data(
            u128::from_le_bytes(bytes),
            from + BEAT_BYTES >= payload.len(),
        ))
    }

    /// The offered beat was taken. Does nothing when idle.
    pub fn advance(&mut self) {
        if self.busy {
            self.busy = self.sent * BEAT_BYTES < self.packet.payload.len();
            self.sent += 1;
        }
    }
}

/// Collects beats into packets. Allocates once for a packet with payload, not for beats.
#[derive(Debug, Clone, Default)]
pub struct BeatDecoder {
    packet: Packet,
    in_packet: bool,
}

impl BeatDecoder {
    /// A decoder that waits for a header.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a packet has begun and not ended.
    pub fn in_packet(&self) -> bool {
        self.in_packet
    }

    /// Takes a beat; the packet if it is complete.
    ///
    /// Padding of the last beat is removed when the number of beats is what the header promises. Otherwise all of the payload is
    /// kept (up to a bound beyond the longest legal one), so that [`Packet::decode`] reports the mismatch.
    pub fn push(&mut self, beat: Beat) -> Option<Packet> {
        if !self.in_packet {
            self.packet.header = beat.words;
            self.packet.payload = Vec::new();
            if !beat.last {
                let promised = self.packet.promised_bytes();
                self.packet
                    .payload
                    .reserve_exact(promised.next_multiple_of(BEAT_BYTES));
            }
        } else if self.packet.payload.len() < MAX_KEPT_BYTES {
            self.packet
                .payload
                .extend_from_slice(&beat.data().to_le_bytes());
        }
        self.in_packet = !beat.last;
        if !beat.last {
            return None;
        }
        let mut packet = std::mem::take(&mut self.packet);
        let promised = packet.promised_bytes();
        if packet.payload.len() == promised.next_multiple_of(BEAT_BYTES) {
            packet.payload.truncate(promised);
        }
        Some(packet)
    }
}
