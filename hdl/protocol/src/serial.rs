//! Frames on a line that is narrower than a slot: a UART, an eight-bit FIFO (departure: cxl-mem 8.5 gives the outline).
//!
//! A frame is a body, stuffed with COBS so that it holds no zero byte, and a zero byte. The body:
//!
//! | byte | |
//! |---|---|
//! | 0, 1 | [`Kind`] as a code word, low byte first |
//! | 2 | number of the frame ([`arq`]); of [`Kind::Reset`] and [`Kind::Hello`]: the nonce |
//! | 3 | number of the next frame that the sender of this one expects |
//! | 4 | TLP frames that the sender has passed on since the reset, modulo 256: their places are free again |
//! | 5.. | payload, at most [`PAYLOAD_MAX`] bytes |
//! | last 2 | [`crc`] of all before it, high byte first |
//!
//! Flits and TLPs share one sequence of numbers and one retry buffer, below everything else: the flit link above sees a wire that loses nothing. A flit
//! keeps its own CRC, which is checked where it always is.

pub mod arq;

/// Bytes before the payload.
pub const HEADER: usize = 5;
/// Longest payload: a flit and its CRC.
pub const PAYLOAD_MAX: usize = 66;
/// Longest body.
pub const BODY_MAX: usize = HEADER + PAYLOAD_MAX + 2;
/// Longest frame on the line: one byte of COBS, and the zero byte.
pub const WIRE_MAX: usize = BODY_MAX + 2;
/// Shortest body.
pub const BODY_MIN: usize = HEADER + 2;
/// Beats of 16 bytes in a TLP frame at most.
pub const TLP_BEATS: usize = 4;
/// Version of all this, in [`Hello`].
pub const VERSION: u8 = 1;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The four slots of a flit, 16 bytes each, and its CRC, low byte first.
    Flit = 1,
    /// Beats of a TLP: byte 0 is [`tlp_flags`], then up to four beats of 16 bytes.
    Tlp = 2,
    /// Pins that are no stream: [`DevicePins`] or [`HostPins`].
    Pins = 3,
    /// Nothing but its header.
    Ack = 4,
    /// Frames from the expected one on did not arrive: send them again.
    Nak = 5,
    /// To the device: start anew. Its number is a nonce; the same nonce again is answered, and does nothing.
    Reset = 6,
    /// From the device: it has started anew. Payload [`Hello`].
    Hello = 7,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 7] = [
        Kind::Flit,
        Kind::Tlp,
        Kind::Pins,
        Kind::Ack,
        Kind::Nak,
        Kind::Reset,
        Kind::Hello,
    ];

    /// The code word: a word of the extended Hamming code (8, 4) and its complement. Two of them differ in eight bits.
    pub const fn code(self) -> u16 {
        let n = self as u16;
        let (a, b, c, d) = (n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3 & 1);
        let word = n | (a ^ b ^ c) << 4 | (a ^ b ^ d) << 5 | (a ^ c ^ d) << 6 | (b ^ c ^ d) << 7;
        word | (!word & 0xFF) << 8
    }

    /// The kind of a code word.
    pub fn from_code(code: u16) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| k.code() == code)
    }

    /// Whether frames of this kind are numbered, kept until they are acknowledged, and delivered in order.
    pub const fn is_numbered(self) -> bool {
        matches!(self, Kind::Flit | Kind::Tlp | Kind::Pins)
    }
}

/// Initial value of the frame's CRC.
pub const CRC_INIT: u16 = 0xFFFF;

/// The frame's CRC with one byte more: the polynomial of the flit's, the byte's bit 7 first. A body with its CRC gives 0.
pub const fn crc_step(crc: u16, byte: u8) -> u16 {
    let mut crc = crc ^ (byte as u16) << 8;
    let mut n = 0;
    while n < 8 {
        crc = if crc & 0x8000 != 0 {
            crc << 1 ^ crate::crc::POLY as u16
        } else {
            crc << 1
        };
        n += 1;
    }
    crc
}

/// The CRC of a body without its CRC.
pub fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(CRC_INIT, |crc, b| crc_step(crc, *b))
}

/// A frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: Kind,
    /// Its number, or a nonce.
    pub number: u8,
    /// The number that its sender expects next.
    pub ack: u8,
    /// TLP frames that its sender has passed on.
    pub taken: u8,
    len: u8,
    bytes: [u8; PAYLOAD_MAX],
}

impl core::fmt::Debug for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Frame {
            kind,
            number,
            ack,
            taken,
            ..
        } = self;
        write!(
            f,
            "{kind:?} {number} ack {ack} taken {taken} {:02x?}",
            self.payload()
        )
    }
}

impl Frame {
    /// A frame with a payload; what is beyond [`PAYLOAD_MAX`] bytes is cut off.
    pub fn new(kind: Kind, payload: &[u8]) -> Frame {
        let len = payload.len().min(PAYLOAD_MAX);
        let mut bytes = [0; PAYLOAD_MAX];
        bytes[..len].copy_from_slice(&payload[..len]);
        Frame {
            kind,
            number: 0,
            ack: 0,
            taken: 0,
            len: len as u8,
            bytes,
        }
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The body in `out`; its length.
    pub fn body(&self, out: &mut [u8; BODY_MAX]) -> usize {
        let [low, high] = self.kind.code().to_le_bytes();
        out[..HEADER].copy_from_slice(&[low, high, self.number, self.ack, self.taken]);
        let end = HEADER + self.payload().len();
        out[HEADER..end].copy_from_slice(self.payload());
        let crc = crc(&out[..end]).to_be_bytes();
        out[end..end + 2].copy_from_slice(&crc);
        end + 2
    }

    /// What goes on the line, in `out`; its length.
    pub fn wire(&self, out: &mut [u8; WIRE_MAX]) -> usize {
        let mut body = [0; BODY_MAX];
        let len = self.body(&mut body);
        stuff(&body[..len], out)
    }

    /// The frame of a body; `None` if the CRC is wrong or it is no frame.
    pub fn of_body(body: &[u8]) -> Option<Frame> {
        if body.len() < BODY_MIN || body.len() > BODY_MAX || crc(body) != 0 {
            return None;
        }
        let kind = Kind::from_code(u16::from_le_bytes([body[0], body[1]]))?;
        let mut frame = Frame::new(kind, &body[HEADER..body.len() - 2]);
        [frame.number, frame.ack, frame.taken] = [body[2], body[3], body[4]];
        Some(frame)
    }
}

/// COBS: no zero in the body, and a zero after it. `body` has at most [`BODY_MAX`] bytes, so no group reaches 254.
fn stuff(body: &[u8], out: &mut [u8; WIRE_MAX]) -> usize {
    let (mut code_at, mut at) = (0, 1);
    for &b in body.iter().take(BODY_MAX) {
        if b == 0 {
            out[code_at] = (at - code_at) as u8;
            code_at = at;
        } else {
            out[at] = b;
        }
        at += 1;
    }
    out[code_at] = (at - code_at) as u8;
    out[at] = 0;
    at + 1
}

/// What came with a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Received {
    /// A frame that is whole.
    Frame(Frame),
    /// The end of something that is none.
    Damaged,
}

/// Takes bytes from the line.
#[derive(Clone, Debug)]
pub struct FrameReceiver {
    body: [u8; BODY_MAX],
    len: usize,
    /// Bytes until the next code.
    left: u8,
    begun: bool,
    overflow: bool,
}

impl Default for FrameReceiver {
    fn default() -> Self {
        Self {
            body: [0; BODY_MAX],
            len: 0,
            left: 0,
            begun: false,
            overflow: false,
        }
    }
}

impl FrameReceiver {
    /// Takes a byte. Zero bytes with nothing between them are an idle line.
    pub fn push(&mut self, byte: u8) -> Option<Received> {
        if byte == 0 {
            let ended = core::mem::take(self);
            if !ended.begun {
                return None;
            }
            let whole = ended.left == 0 && !ended.overflow;
            let frame = whole.then(|| Frame::of_body(&ended.body[..ended.len]));
            return Some(match frame.flatten() {
                Some(frame) => Received::Frame(frame),
                None => Received::Damaged,
            });
        }
        if self.left > 0 {
            self.left -= 1;
            self.append(byte);
        } else {
            if self.begun {
                self.append(0);
            }
            self.begun = true;
            self.left = byte - 1;
        }
        None
    }

    fn append(&mut self, byte: u8) {
        match self.body.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.overflow = true,
        }
    }
}

/// Byte 0 of a TLP frame: bit 0 whether the TLP ends with it, bits 2:1 its beats less one.
pub const fn tlp_flags(beats: usize, is_last: bool) -> u8 {
    (((beats - 1) as u8) & 3) << 1 | is_last as u8
}

/// Pins of the controller that go to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DevicePins {
    /// `link_enabled`.
    pub link_enabled: bool,
    /// `phy_reinit`.
    pub phy_reinit: bool,
    /// How often the link was disabled, modulo 16: flits that were sent before the host knew are not for the new link.
    pub epoch: u8,
}

impl DevicePins {
    /// Byte 0 of the payload.
    pub const fn byte(self) -> u8 {
        self.link_enabled as u8 | (self.phy_reinit as u8) << 1 | (self.epoch & 15) << 4
    }

    /// From byte 0 of the payload.
    pub const fn of(byte: u8) -> DevicePins {
        DevicePins {
            link_enabled: byte & 1 != 0,
            phy_reinit: byte & 2 != 0,
            epoch: byte >> 4,
        }
    }
}

/// Pins of the controller that come from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostPins {
    /// `cfg_bdf`.
    pub bdf: u16,
    /// `cfg_bme`.
    pub bme: bool,
    /// `cfg_msix_en`.
    pub msix_en: bool,
    /// `cfg_msix_mask`.
    pub msix_mask: bool,
    /// `phy_down`.
    pub phy_down: bool,
    /// The epoch that the host knows: flits are for the controller when it is the device's.
    pub epoch: u8,
}

impl HostPins {
    /// Bytes of the payload.
    pub const fn bytes(self) -> [u8; 3] {
        let [low, high] = self.bdf.to_le_bytes();
        let flags = self.bme as u8
            | (self.msix_en as u8) << 1
            | (self.msix_mask as u8) << 2
            | (self.phy_down as u8) << 3
            | (self.epoch & 15) << 4;
        [low, high, flags]
    }
}

/// What a device says after a reset, in eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u8,
    /// Number of the configuration.
    pub config: u8,
    /// TLP frames that it has room for.
    pub tlp_room: u8,
    /// Its clock, kHz, below 2^24.
    pub clock_khz: u32,
    /// Cycles of the clock in a bit of the line; 0: the line has no bits.
    pub divisor: u16,
}

impl Hello {
    /// The payload.
    pub const fn bytes(self) -> [u8; 8] {
        let k = self.clock_khz.to_le_bytes();
        let d = self.divisor.to_le_bytes();
        [
            self.version,
            self.config,
            self.tlp_room,
            k[0],
            k[1],
            k[2],
            d[0],
            d[1],
        ]
    }

    /// From the payload.
    pub fn of(payload: &[u8]) -> Option<Hello> {
        let &[version, config, tlp_room, k0, k1, k2, d0, d1] = payload else {
            return None;
        };
        Some(Hello {
            version,
            config,
            tlp_room,
            clock_khz: u32::from_le_bytes([k0, k1, k2, 0]),
            divisor: u16::from_le_bytes([d0, d1]),
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn received(bytes: &[u8]) -> Vec<Received> {
        let mut receiver = FrameReceiver::default();
        bytes.iter().filter_map(|b| receiver.push(*b)).collect()
    }

    fn wire(frame: &Frame) -> Vec<u8> {
        let mut out = [0; WIRE_MAX];
        let len = frame.wire(&mut out);
        out[..len].to_vec()
    }

    #[test]
    fn code_words_are_far_apart() {
        for a in Kind::ALL {
            assert_eq!(Kind::from_code(a.code()), Some(a));
            for b in Kind::ALL.into_iter().filter(|b| *b != a) {
                assert_eq!((a.code() ^ b.code()).count_ones(), 8, "{a:?} {b:?}");
            }
        }
        assert_eq!(Kind::from_code(0), None);
    }

    #[test]
    fn every_error_of_up_to_three_bits_is_seen_in_the_longest_body() {
        // The CRC is linear: an error is not seen if the sum of its bits' syndromes is 0.
        let bits = BODY_MAX * 8;
        let syndrome = |bit: usize| {
            let mut body = [0u8; BODY_MAX];
            body[bit / 8] = 1 << (bit % 8);
            body.iter().fold(0, |crc, b| crc_step(crc, *b))
        };
        let all: Vec<u16> = (0..bits).map(syndrome).collect();
        let known: std::collections::HashSet<u16> = all.iter().copied().collect();
        assert_eq!(known.len(), bits, "two bits undo each other");
        assert!(!known.contains(&0));
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                assert!(!known.contains(&(a ^ b)), "three bits undo each other");
            }
        }
    }

    #[test]
    fn lengths_on_the_line() {
        assert_eq!(wire(&Frame::new(Kind::Ack, &[])).len(), 9);
        assert_eq!(wire(&Frame::new(Kind::Flit, &[0; 66])).len(), WIRE_MAX);
        assert_eq!(wire(&Frame::new(Kind::Flit, &[0xFF; 200])).len(), WIRE_MAX);
    }

    #[test]
    fn what_is_no_frame_is_damage_and_the_next_frame_is_found() {
        let good = wire(&Frame::new(Kind::Tlp, &[1, 0, 2]));
        for junk in [
            &[1][..],
            &[2, 7],
            &[200, 7],
            &[1; 300],
            &good[1..good.len() - 1],
            &good[..3],
        ] {
            let bytes = [junk, &[0], &good].concat();
            let got = received(&bytes);
            assert_eq!(got.len(), 2, "{junk:?}");
            assert_eq!(got[0], Received::Damaged);
            assert!(matches!(got[1], Received::Frame(_)));
        }
        assert_eq!(received(&[0; 100]), []);
    }

    #[test]
    fn payloads_read_back() {
        for byte in 0..=255 {
            if byte & 0b1100 == 0 {
                assert_eq!(DevicePins::of(byte).byte(), byte);
            }
        }
        let hello = Hello {
            version: 1,
            config: 3,
            tlp_room: 7,
            clock_khz: 66_000,
            divisor: 22,
        };
        assert_eq!(Hello::of(&hello.bytes()), Some(hello));
        assert_eq!(Hello::of(&hello.bytes()[1..]), None);
    }

    proptest! {
        #[test]
        fn frames_come_back(kind in 0usize..7, number: u8, ack: u8, taken: u8, payload in prop::collection::vec(0u8..4, 0..=PAYLOAD_MAX)) {
            let mut frame = Frame::new(Kind::ALL[kind], &payload);
            (frame.number, frame.ack, frame.taken) = (number, ack, taken);
            let wire = wire(&frame);
            prop_assert!(wire[..wire.len() - 1].iter().all(|b| *b != 0));
            prop_assert_eq!(received(&wire), [Received::Frame(frame)]);
        }

        #[test]
        fn lost_and_changed_bytes_are_damage(payload in prop::collection::vec(any::<u8>(), 0..=PAYLOAD_MAX), at: prop::sample::Index, change in 1u8..=255, lose: bool) {
            let frame = Frame::new(Kind::Flit, &payload);
            let mut wire = wire(&frame);
            let at = at.index(wire.len() - 1);
            if lose { wire.remove(at); } else { wire[at] ^= change; }
            prop_assert!(!received(&wire).contains(&Received::Frame(frame)));
        }
    }
}
