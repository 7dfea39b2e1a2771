//! A function's 4 KiB configuration space: what it holds, which bits software may write, and how a driver reads it.

mod access;
mod builder;
pub mod regs;

pub use access::{AccessError, Capability, ConfigAccess, Dvsec, ExtendedCapability};
pub use builder::{Builder, ConfigError, DvsecBody, PcieEndpoint};

use regs::{aer, pcie};

/// Bytes of a configuration space.
pub const SPACE_BYTES: usize = regs::SPACE as usize;

/// An uncorrectable error of the transaction layer, by its AER bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Uncorrectable {
    /// A poisoned TLP came.
    Poisoned = 12,
    /// A request was not completed in time.
    CompletionTimeout = 14,
    /// A completion came that nobody waits for.
    UnexpectedCompletion = 16,
    /// A malformed TLP came.
    Malformed = 18,
    /// A request came that nothing here serves.
    UnsupportedRequest = 20,
}

/// How an error is signalled, by message code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// ERR_COR.
    Correctable,
    /// ERR_NONFATAL.
    NonFatal,
    /// ERR_FATAL.
    Fatal,
}

/// A memory BAR as built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// BAR number, 0..=5; a 64-bit one takes the next register too.
    pub index: u8,
    /// Size in bytes, a power of two.
    pub size: u64,
    /// Takes two registers.
    pub is_64: bool,
    /// Reads have no side effects.
    pub prefetchable: bool,
}

/// Where a capability sits, for the ones that this crate itself uses.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    power: Option<u16>,
    pcie: Option<u16>,
    msix: Option<u16>,
    aer: Option<u16>,
}

/// Configuration space with its write rules. Build one with [`ConfigSpace::builder`].
#[derive(Clone)]
pub struct ConfigSpace {
    bytes: Box<[u8; SPACE_BYTES]>,
    reset: Box<[u8; SPACE_BYTES]>,
    writable: Box<[u8; SPACE_BYTES]>,
    clear_on_one: Box<[u8; SPACE_BYTES]>,
    bars: Vec<Bar>,
    known: Known,
    reset_request: bool,
}

impl std::fmt::Debug for ConfigSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let vendor = self.word(regs::VENDOR);
        write!(
            f,
            "ConfigSpace({vendor:04x}:{:04x}, {:?})",
            self.word(regs::VENDOR + 2),
            self.bars
        )
    }
}

impl ConfigSpace {
    /// Starts a type 0 space with a 24-bit class code.
    pub fn builder(vendor: u16, device: u16, class: u32) -> Builder {
        Builder::new(vendor, device, class)
    }

    /// The DW at `offset` (rounded down to a DW). Zero beyond 4 KiB.
    pub fn read(&self, offset: u16) -> u32 {
        u32::from(self.word(offset & !3)) | u32::from(self.word(offset & !3 | 2)) << 16
    }

    /// Software's write to the DW at `offset` (rounded down) with byte enables: read-only bits stay, RW1C bits clear where one is written.
    pub fn write(&mut self, offset: u16, value: u32, be: u8) {
        let base = usize::from(offset & !3);
        if base >= SPACE_BYTES {
            return;
        }
        for (lane, new) in value.to_le_bytes().into_iter().enumerate() {
            if be >> lane & 1 == 1 {
                let at = base + lane;
                let (mask, rw1c) = (self.writable[at], self.clear_on_one[at]);
                self.bytes[at] = (self.bytes[at] & !mask | new & mask) & !(new & rw1c);
            }
        }
        if let Some(pcie) = self
            .known
            .pcie
            .filter(|at| offset & !3 == at + pcie::DEV_CTL)
        {
            let able = self.read(pcie + pcie::DEV_CAP) & pcie::DEV_CAP_FLR != 0;
            let asked = value & u32::from(pcie::DEV_CTL_FLR) != 0 && be & 0b10 != 0;
            self.reset_request |= able && asked;
        }
    }

    /// Whether software started a Function Level Reset since the last call. The reset itself is the device's to do.
    pub fn take_reset_request(&mut self) -> bool {
        std::mem::take(&mut self.reset_request)
    }

    /// The 16-bit register at `offset`. Zero beyond 4 KiB.
    pub fn word(&self, offset: u16) -> u16 {
        let at = usize::from(offset);
        match self.bytes.get(at..at + 2) {
            Some(b) => u16::from_le_bytes([b[0], b[1]]),
            None => 0,
        }
    }

    /// The device's own update of a DW (status, capability contents): write rules do not apply. Ignored beyond 4 KiB.
    pub fn poke(&mut self, offset: u16, value: u32) {
        let at = usize::from(offset & !3);
        if let Some(bytes) = self.bytes.get_mut(at..at + 4) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }

    fn poke_or(&mut self, offset: u16, bits: u32) {
        self.poke(offset, self.read(offset) | bits);
    }

    /// Everything back to its value after power-on.
    pub fn reset(&mut self) {
        self.bytes.copy_from_slice(&self.reset[..]);
    }

    /// The BARs built in.
    pub fn bars(&self) -> &[Bar] {
        &self.bars
    }

    /// The address that software gave a BAR, bits below its size being zero.
    pub fn bar_address(&self, bar: &Bar) -> u64 {
        let at = regs::BAR0 + 4 * u16::from(bar.index);
        let high = if bar.is_64 {
            u64::from(self.read(at + 4)) << 32
        } else {
            0
        };
        (high | u64::from(self.read(at))) & !(bar.size - 1)
    }

    /// The BAR that holds all of `bytes` bytes at `addr`, and the offset in it. Does not look at Memory Space Enable.
    pub fn bar_hit(&self, addr: u64, bytes: u64) -> Option<(&Bar, u64)> {
        self.bars.iter().find_map(|bar| {
            let offset = addr.checked_sub(self.bar_address(bar))?;
            (offset < bar.size && bytes <= bar.size - offset).then_some((bar, offset))
        })
    }

    /// Memory Space Enable, in power state D0.
    pub fn memory_enabled(&self) -> bool {
        self.word(regs::COMMAND) & regs::COMMAND_MEMORY != 0 && self.power_state() == 0
    }

    /// Bus Master Enable, in power state D0.
    pub fn bus_master(&self) -> bool {
        self.word(regs::COMMAND) & regs::COMMAND_BUS_MASTER != 0 && self.power_state() == 0
    }

    /// The power state, 0 (D0) to 3 (D3hot); 0 without the capability.
    pub fn power_state(&self) -> u8 {
        self.known
            .power
            .map_or(0, |at| self.word(at + regs::power::CONTROL) as u8 & 3)
    }

    /// MSI-X Enable; false without the capability.
    pub fn msix_enabled(&self) -> bool {
        self.msix_control() & regs::msix::ENABLE != 0
    }

    /// MSI-X Function Mask; true without the capability.
    pub fn msix_masked(&self) -> bool {
        self.known.msix.is_none() || self.msix_control() & regs::msix::FUNCTION_MASK != 0
    }

    fn msix_control(&self) -> u16 {
        self.known
            .msix
            .map_or(0, |at| self.word(at + regs::msix::CONTROL))
    }

    /// What the link partner may send: Max_Payload_Size as set in Device Control, requests of any length.
    pub fn receive_limits(&self) -> crate::tlp::Limits {
        let code = self
            .known
            .pcie
            .map_or(0, |at| self.word(at + pcie::DEV_CTL) >> 5 & 7);
        crate::tlp::Limits {
            max_payload: 128 << code.min(5),
            max_read_request: 4096,
        }
    }

    /// Read Completion Boundary of the link partner in bytes, from Link Control.
    pub fn read_completion_boundary(&self) -> u16 {
        let wide = self
            .known
            .pcie
            .is_some_and(|at| self.word(at + pcie::LINK_CTL) & pcie::LINK_CTL_RCB_128 != 0);
        if wide {
            128
        } else {
            64
        }
    }

    /// Records an uncorrectable error in Device Status and AER, with the header of the packet at fault, and says what to signal:
    /// `None` if it is masked or its reporting is off. `advisory` marks a case that PCIe downgrades to an advisory one when its severity
    /// is non-fatal (a refused non-posted request, an unexpected completion).
    pub fn record_error(
        &mut self,
        error: Uncorrectable,
        header: [u32; 4],
        advisory: bool,
    ) -> Option<Severity> {
        let bit = 1u32 << error as u8;
        let (fatal, masked) = match self.known.aer {
            Some(at) => (
                self.read(at + aer::SEVERITY) & bit != 0,
                self.read(at + aer::UNCORRECTABLE_MASK) & bit != 0,
            ),
            None => (aer::DEFAULT_SEVERITY & bit != 0, false),
        };
        let severity = match (fatal, advisory) {
            (true, _) => Severity::Fatal,
            (false, false) => Severity::NonFatal,
            (false, true) => Severity::Correctable,
        };
        if error == Uncorrectable::Poisoned {
            self.poke_or(regs::COMMAND, u32::from(regs::STATUS_PARITY_ERROR) << 16);
        }
        let detected = severity.device_bit()
            | if error == Uncorrectable::UnsupportedRequest {
                pcie::UNSUPPORTED
            } else {
                0
            };
        let control = match self.known.pcie {
            Some(at) => {
                self.poke_or(at + pcie::DEV_CTL, u32::from(detected) << 16);
                self.word(at + pcie::DEV_CTL)
            }
            None => 0,
        };
        if let Some(at) = self.known.aer {
            if severity == Severity::Correctable {
                self.poke_or(at + aer::CORRECTABLE, aer::ADVISORY);
                if self.read(at + aer::CORRECTABLE_MASK) & aer::ADVISORY != 0 {
                    return None;
                }
            }
            let first =
                self.read(at + aer::UNCORRECTABLE) & !self.read(at + aer::UNCORRECTABLE_MASK) == 0;
            self.poke_or(at + aer::UNCORRECTABLE, bit);
            if first && !masked {
                self.poke(
                    at + aer::CONTROL,
                    self.read(at + aer::CONTROL) & !0x1F | error as u32,
                );
                for (n, dw) in (0u16..).zip(header) {
                    self.poke(at + aer::HEADER_LOG + 4 * n, dw);
                }
            }
        }
        if masked {
            return None;
        }
        let unsupported = error == Uncorrectable::UnsupportedRequest;
        let serr =
            severity != Severity::Correctable && self.word(regs::COMMAND) & regs::COMMAND_SERR != 0;
        let reported = control & severity.device_bit() != 0
            && (!unsupported || control & pcie::UNSUPPORTED != 0)
            || serr;
        if !reported {
            return None;
        }
        if serr {
            self.poke_or(regs::COMMAND, u32::from(regs::STATUS_SIGNALED_ERROR) << 16);
        }
        Some(severity)
    }
}

impl Severity {
    /// The bit of this severity in Device Control and Device Status.
    fn device_bit(self) -> u16 {
        match self {
            Severity::Correctable => pcie::CORRECTABLE,
            Severity::NonFatal => pcie::NON_FATAL,
            Severity::Fatal => pcie::FATAL,
        }
    }
}
