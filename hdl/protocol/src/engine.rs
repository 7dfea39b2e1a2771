//! Descriptors and completions of the migration engine (interfaces document, section 5).
//!
//! Little endian. Positions are constants, so that RTL slices the same bits that software writes.

use core::fmt;

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: usize = 64;
/// Bytes of a completion record.
pub const COMPLETION_BYTES: usize = 32;
/// Smallest log2 of the ring's size.
pub const RING_LOG2_MIN: u32 = 2;
/// Largest log2 of the ring's size.
pub const RING_LOG2_MAX: u32 = 10;
/// Bytes in a page of LIST and SET_OWNER.
pub const PAGE_BYTES: u64 = 4096;
/// Unit of lengths and alignment, bytes.
pub const LINE_BYTES: u64 = 64;
/// What an atomic works on, bytes; its alignment too.
pub const WORD_BYTES: u64 = 8;
/// Largest `count` in bytes.
pub const MAX_BYTES: u32 = 2 << 20;
/// Largest `count` in pages.
pub const MAX_PAGES: u32 = 512;
/// Largest `count` in hops.
pub const MAX_HOPS: u32 = 1 << 20;
/// A CHASE pointer must be below this.
pub const POINTER_LIMIT: u64 = 1 << 28;
/// Alignment of a list of pages, bytes.
pub const LIST_ALIGN: u64 = 8;
/// Alignment of a CHASE pointer, bytes.
pub const POINTER_ALIGN: u64 = LINE_BYTES;

/// Calls `$cb` with the descriptor's members: `Descriptor; name: byte offset, bytes, type; ...`.
#[macro_export]
macro_rules! for_descriptor_fields {
    ($cb:ident) => {
        $cb! { Descriptor;
            opcode: 0x00, 1, u8; flags: 0x01, 1, u8; id: 0x02, 2, u16; count: 0x04, 4, u32;
            dev_addr: 0x08, 8, u64; host_addr: 0x10, 8, u64; arg: 0x18, 8, u64
        }
    };
}

/// Calls `$cb` with the completion record's members: `Completion; name: byte offset, bytes, type; ...`.
#[macro_export]
macro_rules! for_completion_fields {
    ($cb:ident) => {
        $cb! { Completion;
            id: 0x00, 2, u16; status: 0x02, 1, u8; phase: 0x03, 1, u8; done: 0x04, 4, u32;
            result: 0x08, 8, u64; cycles: 0x10, 4, u32
        }
    };
}

/// First reserved byte of a descriptor; from here to the end all are zero.
pub const DESCRIPTOR_RESERVED: usize = 0x20;

macro_rules! derive_record {
    ($name:ident; $($f:ident : $off:literal, $bytes:literal, $t:ty);*) => {
        impl $name {
            /// `(name, byte offset, bytes)` of each member.
            pub const LAYOUT: &'static [(&'static str, usize, usize)] = &[$((stringify!($f), $off, $bytes)),*];

            fn put(&self, bytes: &mut [u8]) {
                $(bytes[$off..$off + $bytes].copy_from_slice(&self.$f.to_le_bytes());)*
            }
            fn get(bytes: &[u8]) -> Self {
                Self { $($f: {
                    let mut raw = [0; $bytes];
                    raw.copy_from_slice(&bytes[$off..$off + $bytes]);
                    <$t>::from_le_bytes(raw)
                }),* }
            }
        }
    };
}

/// A descriptor, as raw members: what software writes may be wrong, and [`Descriptor::check`] says how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// [`Opcode`].
    pub opcode: u8,
    /// Bits of [`flags`].
    pub flags: u8,
    /// Echoed in the completion.
    pub id: u16,
    /// Bytes, pages or hops: see [`Opcode`].
    pub count: u32,
    /// Device physical address, bytes.
    pub dev_addr: u64,
    /// Host physical address, bytes; with LIST, of the array of page addresses. CompareSwap: the new value.
    pub host_addr: u64,
    /// FILL: pattern. SET_OWNER: bit 0, 1 = device. CRC32C: initial value. Atomics: summand, or what to compare with. Else 0.
    pub arg: u64,
}
for_descriptor_fields!(derive_record);

/// A completion record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Completion {
    /// From the descriptor.
    pub id: u16,
    /// [`Status`].
    pub status: u8,
    /// Bit 0: 1 on the first pass over the ring, then alternates.
    pub phase: u8,
    /// Units finished before the error; `count` when OK.
    pub done: u32,
    /// SUM64, CRC32C (32 bits), CHASE (last pointer), atomics (the old value); else 0.
    pub result: u64,
    /// Cycles from the descriptor's start to its completion.
    pub cycles: u32,
}
for_completion_fields!(derive_record);

/// Descriptor flags.
pub mod flags {
    /// Interrupt when done.
    pub const IRQ: u8 = 1 << 0;
    /// `host_addr` is the address of an array of u64 page addresses.
    pub const LIST: u8 = 1 << 1;
    /// The operand is host memory.
    pub const HOST: u8 = 1 << 2;
    /// All that have a meaning.
    pub const ALL: u8 = IRQ | LIST | HOST;
}

/// What a descriptor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Opcode {
    /// Nothing; completes.
    Nop = 0,
    /// Host to device; `count` bytes, or pages with LIST.
    CopyToDevice = 1,
    /// Device to host; `count` bytes, or pages with LIST.
    CopyToHost = 2,
    /// Device memory := repeated 64-bit `arg`; `count` bytes.
    Fill = 3,
    /// Wrapping sum of little-endian u64; `count` bytes.
    Sum64 = 4,
    /// CRC-32C from initial value `arg`; `count` bytes.
    Crc32c = 5,
    /// Follow pointers; `count` hops.
    Chase = 6,
    /// Give `count` device pages to the host (`arg` = 0) or the device (`arg` = 1).
    SetOwner = 7,
    /// Adds `arg` to the 64-bit word at `dev_addr`; `count` is 1; the result is what the word was.
    FetchAdd = 8,
    /// Puts `host_addr` into the 64-bit word at `dev_addr` if that is `arg`; `count` is 1; the result is what the word was.
    CompareSwap = 9,
}

impl Opcode {
    /// Every opcode, in code order.
    pub const ALL: [Opcode; 10] = [
        Opcode::Nop,
        Opcode::CopyToDevice,
        Opcode::CopyToHost,
        Opcode::Fill,
        Opcode::Sum64,
        Opcode::Crc32c,
        Opcode::Chase,
        Opcode::SetOwner,
        Opcode::FetchAdd,
        Opcode::CompareSwap,
    ];

    /// The opcode with this code, `None` if there is none.
    pub const fn from_code(code: u8) -> Option<Self> {
        if (code as usize) < Self::ALL.len() {
            Some(Self::ALL[code as usize])
        } else {
            None
        }
    }

    /// Flags that the opcode allows.
    pub const fn allowed_flags(self) -> u8 {
        match self {
            Opcode::CopyToDevice | Opcode::CopyToHost => flags::IRQ | flags::LIST,
            Opcode::Sum64 | Opcode::Crc32c | Opcode::Chase => flags::IRQ | flags::HOST,
            Opcode::Nop
            | Opcode::Fill
            | Opcode::SetOwner
            | Opcode::FetchAdd
            | Opcode::CompareSwap => flags::IRQ,
        }
    }
}

/// Result of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// No such opcode.
    BadOpcode = 1,
    /// Flag not allowed for the opcode, or reserved bytes not zero.
    BadFlags = 2,
    /// An address is not aligned.
    Misaligned = 3,
    /// `count` is out of range or not a multiple.
    BadCount = 4,
    /// Beyond the capacity.
    DeviceRange = 5,
    /// Host address inside this device's own HDM range.
    HostInHdm = 6,
    /// A device page that the host owns.
    HostOwned = 7,
    /// UR or CA completion.
    DmaError = 8,
    /// No completion in time.
    DmaTimeout = 9,
    /// Poison was read.
    Poison = 10,
    /// A CHASE pointer is out of range or not aligned.
    BadPointer = 11,
    /// Aborted by a reset.
    Aborted = 12,
    /// The host did not give a line up (HDM-DB): no answer to a snoop in time, or no link.
    NotReleased = 13,
}

impl Status {
    /// Every status, in code order.
    pub const ALL: [Status; 14] = [
        Status::Ok,
        Status::BadOpcode,
        Status::BadFlags,
        Status::Misaligned,
        Status::BadCount,
        Status::DeviceRange,
        Status::HostInHdm,
        Status::HostOwned,
        Status::DmaError,
        Status::DmaTimeout,
        Status::Poison,
        Status::BadPointer,
        Status::Aborted,
        Status::NotReleased,
    ];

    /// The status with this code, `None` if there is none.
    pub const fn from_code(code: u8) -> Option<Self> {
        if (code as usize) < Self::ALL.len() {
            Some(Self::ALL[code as usize])
        } else {
            None
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Ok => "done",
            Status::BadOpcode => "no such opcode",
            Status::BadFlags => {
                "a flag that the opcode does not allow, or reserved bytes that are not zero"
            }
            Status::Misaligned => "an address is not aligned",
            Status::BadCount => "the count is out of range",
            Status::DeviceRange => "beyond the device's capacity",
            Status::HostInHdm => "the host address is inside the device's own memory range",
            Status::HostOwned => "the host owns the device page: flush it and set the owner first",
            Status::DmaError => "the host refused the DMA request",
            Status::DmaTimeout => "the host did not answer the DMA request in time",
            Status::Poison => "poisoned data was read",
            Status::BadPointer => "a pointer is out of range or not aligned",
            Status::Aborted => "aborted by an engine reset",
            Status::NotReleased => "the host did not give a line up in time, or the link is down",
        })
    }
}

impl Descriptor {
    /// The 64 bytes, reserved ones zero.
    pub fn pack(&self) -> [u8; DESCRIPTOR_BYTES] {
        let mut bytes = [0; DESCRIPTOR_BYTES];
        self.put(&mut bytes);
        bytes
    }

    /// Reads 64 bytes.
    ///
    /// # Errors
    /// [`Status::BadFlags`] if a reserved byte is not zero.
    pub fn unpack(bytes: &[u8; DESCRIPTOR_BYTES]) -> Result<Self, Status> {
        if bytes[DESCRIPTOR_RESERVED..].iter().any(|byte| *byte != 0) {
            return Err(Status::BadFlags);
        }
        Ok(Self::get(bytes))
    }

    /// The checks that need nothing but the descriptor and the device's capacity in bytes, in the order in which the engine
    /// makes them: opcode, flags, count, alignment, device range.
    ///
    /// # Errors
    /// The status with which the descriptor completes.
    pub fn check(&self, capacity: u64) -> Result<Opcode, Status> {
        let opcode = Opcode::from_code(self.opcode).ok_or(Status::BadOpcode)?;
        if self.flags & !opcode.allowed_flags() != 0 {
            return Err(Status::BadFlags);
        }
        let list = self.flags & flags::LIST != 0;
        let host = self.flags & flags::HOST != 0;
        let paged = list || opcode == Opcode::SetOwner;
        let count_ok = match opcode {
            Opcode::Nop => true,
            Opcode::FetchAdd | Opcode::CompareSwap => self.count == 1,
            Opcode::Chase => (1..=MAX_HOPS).contains(&self.count),
            _ if paged => (1..=MAX_PAGES).contains(&self.count),
            _ => {
                (LINE_BYTES as u32..=MAX_BYTES).contains(&self.count)
                    && self.count % LINE_BYTES as u32 == 0
            }
        };
        if !count_ok {
            return Err(Status::BadCount);
        }
        if opcode == Opcode::Nop {
            return Ok(opcode);
        }
        let copies = matches!(opcode, Opcode::CopyToDevice | Opcode::CopyToHost);
        let atomic = matches!(opcode, Opcode::FetchAdd | Opcode::CompareSwap);
        let dev_align = match opcode {
            _ if atomic => WORD_BYTES,
            _ if paged => PAGE_BYTES,
            _ => LINE_BYTES,
        };
        let host_align = if list { LIST_ALIGN } else { LINE_BYTES };
        if (!host && self.dev_addr % dev_align != 0)
            || ((copies || host) && self.host_addr % host_align != 0)
        {
            return Err(Status::Misaligned);
        }
        let length = match opcode {
            Opcode::Chase => LINE_BYTES,
            _ if atomic => WORD_BYTES,
            _ if paged => u64::from(self.count) * PAGE_BYTES,
            _ => u64::from(self.count),
        };
        if !host
            && self
                .dev_addr
                .checked_add(length)
                .is_none_or(|end| end > capacity)
        {
            return Err(Status::DeviceRange);
        }
        Ok(opcode)
    }
}

impl Completion {
    /// The 32 bytes, reserved ones zero.
    pub fn pack(&self) -> [u8; COMPLETION_BYTES] {
        let mut bytes = [0; COMPLETION_BYTES];
        self.put(&mut bytes);
        bytes
    }

    /// Reads 32 bytes; reserved ones are ignored.
    pub fn unpack(bytes: &[u8; COMPLETION_BYTES]) -> Self {
        Self::get(bytes)
    }
}
