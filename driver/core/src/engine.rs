//! TEMPORARY stand-in until the protocol crate has it.
#![allow(missing_docs)]
pub const PAGE_BYTES: u64 = 4096;
pub const LINE_BYTES: u64 = 64;
pub const DESCRIPTOR_BYTES: usize = 64;
pub const COMPLETION_BYTES: usize = 32;
pub const MAX_PAGES: u32 = 512;
pub const MAX_BYTES: u32 = 2 << 20;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    Nop,
    CopyToDevice,
    CopyToHost,
    Fill,
    Sum64,
    Crc32c,
    Chase,
    SetOwner,
}
impl Opcode {
    pub fn from_u8(v: u8) -> Option<Opcode> {
        use Opcode::*;
        Some(match v {
            0 => Nop,
            1 => CopyToDevice,
            2 => CopyToHost,
            3 => Fill,
            4 => Sum64,
            5 => Crc32c,
            6 => Chase,
            7 => SetOwner,
            _ => return None,
        })
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    Ok,
    BadOpcode,
    BadFlags,
    Misaligned,
    BadCount,
    DeviceRange,
    HostInHdm,
    HostOwned,
    DmaError,
    DmaTimeout,
    Poison,
    BadPointer,
    Aborted,
}
impl Status {
    pub fn from_u8(v: u8) -> Option<Status> {
        use Status::*;
        Some(match v {
            0 => Ok,
            1 => BadOpcode,
            2 => BadFlags,
            3 => Misaligned,
            4 => BadCount,
            5 => DeviceRange,
            6 => HostInHdm,
            7 => HostOwned,
            8 => DmaError,
            9 => DmaTimeout,
            10 => Poison,
            11 => BadPointer,
            12 => Aborted,
            _ => return None,
        })
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub opcode: u8,
    pub flags: u8,
    pub id: u16,
    pub count: u32,
    pub dev_addr: u64,
    pub host_addr: u64,
    pub arg: u64,
}
pub const FLAG_IRQ: u8 = 1;
pub const FLAG_LIST: u8 = 2;
pub const FLAG_HOST: u8 = 4;
impl Descriptor {
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut b = [0; 64];
        b[0] = self.opcode;
        b[1] = self.flags;
        b[2..4].copy_from_slice(&self.id.to_le_bytes());
        b[4..8].copy_from_slice(&self.count.to_le_bytes());
        b[8..16].copy_from_slice(&self.dev_addr.to_le_bytes());
        b[16..24].copy_from_slice(&self.host_addr.to_le_bytes());
        b[24..32].copy_from_slice(&self.arg.to_le_bytes());
        b
    }
    pub fn from_bytes(b: &[u8; 64]) -> Descriptor {
        let q = |n: usize| u64::from_le_bytes(b[n..n + 8].try_into().unwrap());
        Descriptor {
            opcode: b[0],
            flags: b[1],
            id: u16::from_le_bytes([b[2], b[3]]),
            count: u32::from_le_bytes(b[4..8].try_into().unwrap()),
            dev_addr: q(8),
            host_addr: q(16),
            arg: q(24),
        }
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    pub id: u16,
    pub status: u8,
    pub phase: bool,
    pub done: u32,
    pub result: u64,
    pub cycles: u32,
}
impl Completion {
    pub fn from_bytes(b: &[u8; 32]) -> Completion {
        Completion {
            id: u16::from_le_bytes([b[0], b[1]]),
            status: b[2],
            phase: b[3] & 1 != 0,
            done: u32::from_le_bytes(b[4..8].try_into().unwrap()),
            result: u64::from_le_bytes(b[8..16].try_into().unwrap()),
            cycles: u32::from_le_bytes(b[16..20].try_into().unwrap()),
        }
    }
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut b = [0; 32];
        b[..2].copy_from_slice(&self.id.to_le_bytes());
        b[2] = self.status;
        b[3] = self.phase as u8;
        b[4..8].copy_from_slice(&self.done.to_le_bytes());
        b[8..16].copy_from_slice(&self.result.to_le_bytes());
        b[16..20].copy_from_slice(&self.cycles.to_le_bytes());
        b
    }
}
