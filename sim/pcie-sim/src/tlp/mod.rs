//! Typed transaction layer packets and their header layout.
//!
//! Two forms of the same thing: [`Tlp`] is typed and says what a packet means; [`Packet`] is what travels, header DWs and payload
//! bytes, and may hold anything. [`Tlp::encode`] and [`Packet::decode`] go between them; decoding is where malformed packets are found.

mod codec;
mod error;
mod request;

pub use codec::{Packet, MAX_PAYLOAD_BYTES};
pub use error::Malformed;
pub use request::MemRequest;

use request::check_tag;
use std::fmt;

/// Bus, device and function number, as a routing id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Bdf(u16);

impl Bdf {
    /// From its three parts; only the low 5 bits of `device` and the low 3 of `function` are used.
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        Bdf((bus as u16) << 8 | (device as u16 & 31) << 3 | (function as u16 & 7))
    }

    /// From the 16-bit routing id.
    pub const fn from_raw(raw: u16) -> Self {
        Bdf(raw)
    }

    /// The 16-bit routing id: bus in 15:8, device in 7:3, function in 2:0.
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// Bus number.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Device number, 0..=31.
    pub const fn device(self) -> u8 {
        (self.0 >> 3 & 31) as u8
    }

    /// Function number, 0..=7.
    pub const fn function(self) -> u8 {
        (self.0 & 7) as u8
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:02x}:{:02x}.{}",
            self.bus(),
            self.device(),
            self.function()
        )
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Completion Status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Successful Completion (000).
    Success,
    /// Unsupported Request (001).
    UnsupportedRequest,
    /// Request Retry Status (010), for configuration requests only.
    Retry,
    /// Completer Abort (100).
    CompleterAbort,
}

/// What a link allows; the receiver's half of Device Control. All sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Max_Payload_Size.
    pub max_payload: u16,
    /// Max_Read_Request_Size.
    pub max_read_request: u16,
}

impl Limits {
    /// The largest sizes PCIe knows: 4096 bytes each.
    pub const LARGEST: Limits = Limits {
        max_payload: 4096,
        max_read_request: 4096,
    };
}

impl Default for Limits {
    /// 128 bytes each, what every PCIe component supports.
    fn default() -> Self {
        Limits {
            max_payload: 128,
            max_read_request: 128,
        }
    }
}

/// A configuration request: one DW of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CfgRequest {
    /// Who asks.
    pub requester: Bdf,
    /// Transaction tag, 10 bits.
    pub tag: u16,
    /// The function addressed.
    pub target: Bdf,
    /// Register, a byte offset: a multiple of 4 below 4096.
    pub register: u16,
    /// First DW byte enables, 4 bits.
    pub first_be: u8,
    /// Type 1 (to be routed on by a bridge) instead of type 0 (for this link).
    pub type1: bool,
}

/// A completion's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// Who answers.
    pub completer: Bdf,
    /// How it went.
    pub status: Status,
    /// Byte Count Modified; zero from a PCIe completer.
    pub bcm: bool,
    /// Bytes that remain for the request, this completion's included: 1..=4096.
    pub byte_count: u16,
    /// Who asked.
    pub requester: Bdf,
    /// The request's tag.
    pub tag: u16,
    /// Low seven address bits of this completion's first enabled byte (zero unless a memory read's).
    pub lower_addr: u8,
}

/// A message. `dw2` and `dw3` are as the message's code defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Who sends it.
    pub requester: Bdf,
    /// Tag, 10 bits.
    pub tag: u16,
    /// Routing, the low three bits of Type: 0 to root, 1 address, 2 id, 3 broadcast, 4 local, 5 gathered.
    pub routing: u8,
    /// Message Code; see [`message_code`].
    pub code: u8,
    /// Third header DW.
    pub dw2: u32,
    /// Fourth header DW.
    pub dw3: u32,
}

/// Message codes that this crate sends or understands.
pub mod message_code {
    /// A correctable error was detected.
    pub const ERR_COR: u8 = 0x30;
    /// An uncorrectable, non-fatal error was detected.
    pub const ERR_NONFATAL: u8 = 0x31;
    /// An uncorrectable, fatal error was detected.
    pub const ERR_FATAL: u8 = 0x33;
}

/// What a packet is. Whether a completion or a message carries data follows from [`Tlp::data`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// MRd.
    MemRead(MemRequest),
    /// MWr; its `dwords` must agree with the data.
    MemWrite(MemRequest),
    /// CfgRd0, CfgRd1.
    CfgRead(CfgRequest),
    /// CfgWr0, CfgWr1.
    CfgWrite(CfgRequest),
    /// Cpl, CplD.
    Completion(Completion),
    /// Msg, MsgD.
    Message(Message),
}

/// Attr, three bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attr {
    /// Attr\[0\]: No Snoop.
    pub no_snoop: bool,
    /// Attr\[1\]: Relaxed Ordering.
    pub relaxed: bool,
    /// Attr\[2\]: ID-based Ordering.
    pub id_based: bool,
}

/// A typed transaction layer packet.
///
/// The constructors validate. The fields are public so that a test can also build what no correct component would send;
/// [`validate`](Tlp::validate) says what a receiver would think of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlp {
    /// What it is.
    pub kind: Kind,
    /// Traffic class, 0..=7.
    pub tc: u8,
    /// Ordering and snoop attributes.
    pub attr: Attr,
    /// Address Type, two bits; zero is untranslated.
    pub at: u8,
    /// EP: the payload is known to be bad.
    pub poisoned: bool,
    /// The digest DW, carried but not computed; TD is set when present.
    pub digest: Option<u32>,
    /// Payload in address order; payload byte 0 is byte 0 of the first DW, enabled or not.
    pub data: Vec<u8>,
}

impl Tlp {
    /// A packet with default attributes, not validated.
    pub fn new(kind: Kind, data: Vec<u8>) -> Self {
        Tlp {
            kind,
            tc: 0,
            attr: Attr::default(),
            at: 0,
            poisoned: false,
            digest: None,
            data,
        }
    }

    fn checked(kind: Kind, data: Vec<u8>) -> Result<Self, Malformed> {
        let tlp = Tlp::new(kind, data);
        tlp.validate(&Limits::LARGEST)?;
        Ok(tlp)
    }

    /// A memory read of exactly `bytes` bytes at `addr`, with the byte enables that follow.
    ///
    /// # Errors
    /// [`Malformed`] if the span is empty, over 4096 bytes, or crosses 4 KiB. For a zero-length read use [`Tlp::mem_read_be`].
    pub fn mem_read(requester: Bdf, tag: u16, addr: u64, bytes: usize) -> Result<Self, Malformed> {
        Ok(Tlp::new(
            Kind::MemRead(MemRequest::span(requester, tag, addr, bytes)?),
            Vec::new(),
        ))
    }

    /// A memory read with its byte enables spelled out.
    ///
    /// # Errors
    /// [`Malformed`], as a receiver would find it.
    pub fn mem_read_be(request: MemRequest) -> Result<Self, Malformed> {
        Tlp::checked(Kind::MemRead(request), Vec::new())
    }

    /// A memory write of `bytes` at `addr`, padded to DWs and with the byte enables that follow.
    ///
    /// # Errors
    /// [`Malformed`] if the span is empty, over 4096 bytes, or crosses 4 KiB.
    pub fn mem_write(requester: Bdf, addr: u64, bytes: &[u8]) -> Result<Self, Malformed> {
        let request = MemRequest::span(requester, 0, addr, bytes.len())?;
        let lead = (addr & 3) as usize;
        let mut data = vec![0; request.dwords as usize * 4];
        data[lead..lead + bytes.len()].copy_from_slice(bytes);
        Ok(Tlp::new(Kind::MemWrite(request), data))
    }

    /// A memory write with its byte enables spelled out; `data` holds whole DWs.
    ///
    /// # Errors
    /// [`Malformed`], as a receiver would find it.
    pub fn mem_write_be(request: MemRequest, data: Vec<u8>) -> Result<Self, Malformed> {
        Tlp::checked(Kind::MemWrite(request), data)
    }

    /// A configuration read.
    ///
    /// # Errors
    /// [`Malformed`] if the register is not a DW of the 4 KiB space or the byte enables exceed four bits.
    pub fn cfg_read(request: CfgRequest) -> Result<Self, Malformed> {
        Tlp::checked(Kind::CfgRead(request), Vec::new())
    }

    /// A configuration write.
    ///
    /// # Errors
    /// As for [`Tlp::cfg_read`].
    pub fn cfg_write(request: CfgRequest, value: u32) -> Result<Self, Malformed> {
        Tlp::checked(Kind::CfgWrite(request), value.to_le_bytes().to_vec())
    }

    /// A completion; without data unless `data` holds some.
    ///
    /// # Errors
    /// [`Malformed`] if the byte count is not 1..=4096, data is not whole DWs, or data comes with a status other than success.
    pub fn completion(completion: Completion, data: Vec<u8>) -> Result<Self, Malformed> {
        Tlp::checked(Kind::Completion(completion), data)
    }

    /// A message.
    ///
    /// # Errors
    /// [`Malformed`] if the routing is reserved or the data is not whole DWs.
    pub fn message(message: Message, data: Vec<u8>) -> Result<Self, Malformed> {
        Tlp::checked(Kind::Message(message), data)
    }

    /// The completion without data that refuses `request`; `None` if the packet is one that nobody answers.
    pub fn refuse(request: &Tlp, completer: Bdf, status: Status) -> Option<Tlp> {
        let (requester, tag, byte_count, lower_addr) = match &request.kind {
            Kind::MemRead(r) => (
                r.requester,
                r.tag,
                r.byte_count() as u16,
                (r.first_byte() & 0x7F) as u8,
            ),
            Kind::CfgRead(r) | Kind::CfgWrite(r) => (r.requester, r.tag, 4, 0),
            Kind::MemWrite(_) | Kind::Completion(_) | Kind::Message(_) => return None,
        };
        let header = Completion {
            completer,
            status,
            bcm: false,
            byte_count,
            requester,
            tag,
            lower_addr,
        };
        let mut tlp = Tlp::new(Kind::Completion(header), Vec::new());
        tlp.tc = request.tc;
        tlp.attr = request.attr;
        Some(tlp)
    }

    /// Checks every rule that a receiver with `limits` checks.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn validate(&self, limits: &Limits) -> Result<(), Malformed> {
        if self.tc > 7 {
            return Err(Malformed::field("TC", self.tc, "three bits"));
        }
        if self.at > 3 {
            return Err(Malformed::field("AT", self.at, "two bits"));
        }
        let expected = match &self.kind {
            Kind::MemRead(r) => {
                r.validate()?;
                let bytes = r.dwords as usize * 4;
                if bytes > limits.max_read_request as usize {
                    return Err(Malformed::ReadTooLong {
                        bytes,
                        limit: limits.max_read_request,
                    });
                }
                0
            }
            Kind::MemWrite(r) => {
                r.validate()?;
                r.dwords as usize * 4
            }
            Kind::CfgRead(r) => self.validate_cfg(r, 0)?,
            Kind::CfgWrite(r) => self.validate_cfg(r, 4)?,
            Kind::Completion(c) => {
                check_tag(c.tag)?;
                if c.byte_count == 0 || c.byte_count > 4096 {
                    return Err(Malformed::field("Byte Count", c.byte_count, "1 to 4096"));
                }
                if c.lower_addr > 0x7F {
                    return Err(Malformed::field(
                        "Lower Address",
                        c.lower_addr,
                        "seven bits",
                    ));
                }
                if c.status != Status::Success && !self.data.is_empty() {
                    return Err(Malformed::field(
                        "Completion Status",
                        codec::status_bits(c.status),
                        "only success carries data",
                    ));
                }
                self.whole_dwords()?
            }
            Kind::Message(m) => {
                check_tag(m.tag)?;
                if m.routing > 5 {
                    return Err(Malformed::field("Message Routing", m.routing, "0 to 5"));
                }
                self.whole_dwords()?
            }
        };
        if self.data.len() != expected {
            return Err(Malformed::PayloadLength {
                expected,
                found: self.data.len(),
            });
        }
        if expected > limits.max_payload as usize {
            return Err(Malformed::PayloadTooLong {
                bytes: expected,
                limit: limits.max_payload,
            });
        }
        Ok(())
    }

    /// Checks a configuration request and returns the payload it must have.
    fn validate_cfg(&self, r: &CfgRequest, payload: usize) -> Result<usize, Malformed> {
        check_tag(r.tag)?;
        if r.register & 3 != 0 || r.register > 0xFFC {
            return Err(Malformed::field(
                "Register Number",
                r.register,
                "a DW of the 4 KiB space",
            ));
        }
        if r.first_be > 15 {
            return Err(Malformed::field("First DW BE", r.first_be, "four bits"));
        }
        if self.tc != 0 {
            return Err(Malformed::field(
                "TC",
                self.tc,
                "zero in a configuration request",
            ));
        }
        if self.at != 0 {
            return Err(Malformed::field(
                "AT",
                self.at,
                "zero in a configuration request",
            ));
        }
        if self.attr != Attr::default() {
            return Err(Malformed::field(
                "Attr",
                codec::attr_bits(self.attr),
                "zero in a configuration request",
            ));
        }
        Ok(payload)
    }

    /// The payload length if it is one a Length field can state.
    fn whole_dwords(&self) -> Result<usize, Malformed> {
        if self.data.len() % 4 != 0 || self.data.len() > MAX_PAYLOAD_BYTES {
            return Err(Malformed::field(
                "Length",
                self.data.len() as u64,
                "payload bytes are whole DWs, at most 4096",
            ));
        }
        Ok(self.data.len())
    }
}
