//! Header bits. DW numbers and bit positions are those of the PCIe books: byte 0 of the wire is bits 31:24 of DW0.

use super::{
    Attr, Bdf, CfgRequest, Completion, Kind, Limits, Malformed, MemRequest, Message, Status, Tlp,
};

/// The longest payload a Length field can state, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 4096;

const FMT_4DW: u32 = 1 << 29;
const FMT_DATA: u32 = 1 << 30;
const FMT_PREFIX: u32 = 1 << 31;
const TD: u32 = 1 << 15;
const EP: u32 = 1 << 14;

const TYPE_MEM: u32 = 0b00000;
const TYPE_CFG0: u32 = 0b00100;
const TYPE_CFG1: u32 = 0b00101;
const TYPE_CPL: u32 = 0b01010;
const TYPE_MSG: u32 = 0b10000;

/// A packet as it travels: header DWs and the bytes after them. It may hold anything; [`Packet::decode`] judges it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packet {
    /// Header DWs; the fourth is zero when the header has three.
    pub header: [u32; 4],
    /// Payload bytes in address order, then the digest DW (little endian) if TD is set.
    pub payload: Vec<u8>,
}

impl Packet {
    /// DWs in the header, 3 or 4, from Fmt.
    pub fn header_dwords(&self) -> usize {
        if self.header[0] & FMT_4DW != 0 {
            4
        } else {
            3
        }
    }

    /// Bytes that Fmt, Length and TD promise after the header.
    pub fn promised_bytes(&self) -> usize {
        let dw0 = self.header[0];
        let data = if dw0 & FMT_DATA != 0 {
            length(dw0) as usize * 4
        } else {
            0
        };
        data + if dw0 & TD != 0 { 4 } else { 0 }
    }

    /// What the header alone says. The payload and the rules between fields are not looked at.
    ///
    /// # Errors
    /// [`Malformed`] if Fmt and Type are unknown or a field holds an undefined value.
    pub fn kind(&self) -> Result<Kind, Malformed> {
        let dw0 = self.header[0];
        // Length is reserved in a packet without data that is not a memory request.
        let dwords = if dw0 & FMT_DATA == 0 && dw0 >> 24 & 0x1F != TYPE_MEM {
            0
        } else {
            length(dw0)
        };
        decode_kind(&self.header, dwords)
    }

    /// Whether this is a completion, judged by Type alone.
    pub fn is_completion(&self) -> bool {
        self.header[0] >> 24 & 0x1F == TYPE_CPL
    }

    /// Whether this is a memory request, judged by Fmt and Type alone.
    pub fn is_memory_request(&self) -> bool {
        self.header[0] & FMT_PREFIX == 0 && self.header[0] >> 24 & 0x1F == TYPE_MEM
    }

    /// Sets EP in the header.
    pub fn poison(&mut self) {
        self.header[0] |= EP;
    }

    /// The typed packet, checked against `limits`.
    ///
    /// Reserved bits, processing hints among them, are ignored, as a receiver must. A 4-DW header whose address lies below
    /// 4 GiB, for which PCIe leaves the receiver free, is an error here: in a simulation it is a bug of the sender.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn decode(mut self, limits: &Limits) -> Result<Tlp, Malformed> {
        let dw0 = self.header[0];
        let kind = self.kind()?;
        if self.header_dwords() == 3 && self.header[3] != 0 {
            return Err(Malformed::field(
                "DW3",
                self.header[3],
                "a three-DW header ends before it",
            ));
        }
        let expected = self.promised_bytes();
        if self.payload.len() != expected {
            return Err(Malformed::PayloadLength {
                expected,
                found: self.payload.len(),
            });
        }
        let digest = if dw0 & TD != 0 {
            let at = expected - 4;
            let bytes = [
                self.payload[at],
                self.payload[at + 1],
                self.payload[at + 2],
                self.payload[at + 3],
            ];
            self.payload.truncate(at);
            Some(u32::from_le_bytes(bytes))
        } else {
            None
        };
        let tlp = Tlp {
            kind,
            tc: (dw0 >> 20 & 7) as u8,
            attr: Attr {
                no_snoop: dw0 >> 12 & 1 == 1,
                relaxed: dw0 >> 13 & 1 == 1,
                id_based: dw0 >> 18 & 1 == 1,
            },
            at: (dw0 >> 10 & 3) as u8,
            poisoned: dw0 & EP != 0,
            digest,
            data: self.payload,
        };
        tlp.validate(limits)?;
        Ok(tlp)
    }

    /// The bytes of the wire: header DWs most significant byte first, then the payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.payload.len());
        for dw in &self.header[..self.header_dwords()] {
            bytes.extend_from_slice(&dw.to_be_bytes());
        }
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The packet in `bytes`, header and payload split by Fmt and not judged further.
    ///
    /// # Errors
    /// [`Malformed::ShortHeader`] if the bytes end inside the header.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let four = bytes.first().is_some_and(|b| b >> 5 & 1 == 1);
        let needed = if four { 16 } else { 12 };
        if bytes.len() < needed {
            return Err(Malformed::ShortHeader {
                found: bytes.len(),
                needed,
            });
        }
        let mut header = [0; 4];
        for (dw, chunk) in header.iter_mut().zip(bytes[..needed].chunks_exact(4)) {
            *dw = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
        Ok(Packet {
            header,
            payload: bytes[needed..].to_vec(),
        })
    }
}

impl From<Tlp> for Packet {
    fn from(tlp: Tlp) -> Self {
        tlp.encode()
    }
}

impl Tlp {
    /// The packet as it travels. Values wider than their field are cut; [`Tlp::validate`] finds them.
    pub fn encode(self) -> Packet {
        let header = encode_header(&self);
        let mut payload = self.data;
        if let Some(digest) = self.digest {
            payload.extend_from_slice(&digest.to_le_bytes());
        }
        Packet { header, payload }
    }
}

fn length(dw0: u32) -> u16 {
    match dw0 & 0x3FF {
        0 => 1024,
        n => n as u16,
    }
}

pub(super) fn attr_bits(attr: Attr) -> u8 {
    u8::from(attr.no_snoop) | u8::from(attr.relaxed) << 1 | u8::from(attr.id_based) << 2
}

pub(super) fn status_bits(status: Status) -> u8 {
    match status {
        Status::Success => 0b000,
        Status::UnsupportedRequest => 0b001,
        Status::Retry => 0b010,
        Status::CompleterAbort => 0b100,
    }
}

fn encode_header(tlp: &Tlp) -> [u32; 4] {
    let data_dwords = (tlp.data.len() / 4) as u32;
    let with_data = if tlp.data.is_empty() { 0 } else { FMT_DATA };
    let (type_fmt, tag, dwords, rest) = match &tlp.kind {
        Kind::MemRead(r) => mem_header(r, 0),
        Kind::MemWrite(r) => mem_header(r, FMT_DATA),
        Kind::CfgRead(r) => cfg_header(r, 0),
        Kind::CfgWrite(r) => cfg_header(r, FMT_DATA),
        Kind::Completion(c) => {
            let dw1 = u32::from(c.completer.raw()) << 16
                | u32::from(status_bits(c.status)) << 13
                | u32::from(c.bcm) << 12
                | u32::from(c.byte_count) & 0xFFF;
            let dw2 = u32::from(c.requester.raw()) << 16
                | tag_low(c.tag)
                | u32::from(c.lower_addr) & 0x7F;
            (
                with_data | TYPE_CPL << 24,
                c.tag,
                data_dwords,
                [dw1, dw2, 0],
            )
        }
        Kind::Message(m) => {
            let dw1 = u32::from(m.requester.raw()) << 16 | tag_low(m.tag) | u32::from(m.code);
            let ty = TYPE_MSG | u32::from(m.routing) & 7;
            (
                with_data | FMT_4DW | ty << 24,
                m.tag,
                data_dwords,
                [dw1, m.dw2, m.dw3],
            )
        }
    };
    let attr = u32::from(attr_bits(tlp.attr));
    let dw0 = type_fmt
        | (u32::from(tag) >> 9 & 1) << 23
        | (u32::from(tlp.tc) & 7) << 20
        | (u32::from(tag) >> 8 & 1) << 19
        | (attr >> 2) << 18
        | if tlp.digest.is_some() { TD } else { 0 }
        | if tlp.poisoned { EP } else { 0 }
        | (attr & 3) << 12
        | (u32::from(tlp.at) & 3) << 10
        | dwords & 0x3FF;
    [dw0, rest[0], rest[1], rest[2]]
}

type Parts = (u32, u16, u32, [u32; 3]);

fn tag_low(tag: u16) -> u32 {
    (u32::from(tag) & 0xFF) << 8
}

fn mem_header(r: &MemRequest, fmt: u32) -> Parts {
    let dw1 = u32::from(r.requester.raw()) << 16
        | tag_low(r.tag)
        | (u32::from(r.last_be) & 0xF) << 4
        | u32::from(r.first_be) & 0xF;
    let (low, high) = (r.addr as u32 & !3, (r.addr >> 32) as u32);
    if high == 0 {
        (
            fmt | TYPE_MEM << 24,
            r.tag,
            u32::from(r.dwords),
            [dw1, low, 0],
        )
    } else {
        (
            fmt | FMT_4DW | TYPE_MEM << 24,
            r.tag,
            u32::from(r.dwords),
            [dw1, high, low],
        )
    }
}

fn cfg_header(r: &CfgRequest, fmt: u32) -> Parts {
    let ty = if r.type1 { TYPE_CFG1 } else { TYPE_CFG0 };
    let dw1 = u32::from(r.requester.raw()) << 16 | tag_low(r.tag) | u32::from(r.first_be) & 0xF;
    let dw2 = u32::from(r.target.raw()) << 16 | u32::from(r.register) & 0xFFC;
    (fmt | ty << 24, r.tag, 1, [dw1, dw2, 0])
}

fn decode_kind(header: &[u32; 4], dwords: u16) -> Result<Kind, Malformed> {
    let [dw0, dw1, dw2, dw3] = *header;
    let (fmt, ty) = (dw0 >> 29, dw0 >> 24 & 0x1F);
    let four = fmt & 1 == 1;
    let with_data = fmt & 2 == 2;
    let requester = Bdf::from_raw((dw1 >> 16) as u16);
    let tag = (dw0 >> 14 & 0x200 | dw0 >> 11 & 0x100) as u16 | (dw1 >> 8 & 0xFF) as u16;
    let unknown = Malformed::UnknownFmtType {
        fmt: fmt as u8,
        ty: ty as u8,
    };
    if dw0 & FMT_PREFIX != 0 {
        return Err(unknown);
    }
    match ty {
        TYPE_MEM => {
            let addr = if four {
                u64::from(dw2) << 32 | u64::from(dw3)
            } else {
                u64::from(dw2)
            } & !3;
            if four && dw2 == 0 {
                return Err(Malformed::field(
                    "Address",
                    addr,
                    "below 4 GiB the three-DW header is used",
                ));
            }
            let (first_be, last_be) = ((dw1 & 0xF) as u8, (dw1 >> 4 & 0xF) as u8);
            let request = MemRequest {
                requester,
                tag,
                addr,
                dwords,
                first_be,
                last_be,
            };
            Ok(if with_data {
                Kind::MemWrite(request)
            } else {
                Kind::MemRead(request)
            })
        }
        TYPE_CFG0 | TYPE_CFG1 if !four => {
            if dw0 & 0x3FF != 1 {
                return Err(Malformed::field(
                    "Length",
                    dw0 & 0x3FF,
                    "one DW in a configuration request",
                ));
            }
            if dw1 >> 4 & 0xF != 0 {
                return Err(Malformed::field(
                    "Last DW BE",
                    dw1 >> 4 & 0xF,
                    "zero in a configuration request",
                ));
            }
            let request = CfgRequest {
                requester,
                tag,
                target: Bdf::from_raw((dw2 >> 16) as u16),
                register: (dw2 & 0xFFC) as u16,
                first_be: (dw1 & 0xF) as u8,
                type1: ty == TYPE_CFG1,
            };
            Ok(if with_data {
                Kind::CfgWrite(request)
            } else {
                Kind::CfgRead(request)
            })
        }
        TYPE_CPL if !four => {
            let status = match dw1 >> 13 & 7 {
                0b000 => Status::Success,
                0b001 => Status::UnsupportedRequest,
                0b010 => Status::Retry,
                0b100 => Status::CompleterAbort,
                other => {
                    return Err(Malformed::field(
                        "Completion Status",
                        other,
                        "not a defined status",
                    ))
                }
            };
            Ok(Kind::Completion(Completion {
                completer: requester,
                status,
                bcm: dw1 >> 12 & 1 == 1,
                byte_count: if dw1 & 0xFFF == 0 {
                    4096
                } else {
                    (dw1 & 0xFFF) as u16
                },
                requester: Bdf::from_raw((dw2 >> 16) as u16),
                tag: (tag & 0x300) | (dw2 >> 8 & 0xFF) as u16,
                lower_addr: (dw2 & 0x7F) as u8,
            }))
        }
        _ if ty & 0b11000 == TYPE_MSG && four => Ok(Kind::Message(Message {
            requester,
            tag,
            routing: (ty & 7) as u8,
            code: dw1 as u8,
            dw2,
            dw3,
        })),
        _ => Err(unknown),
    }
}
