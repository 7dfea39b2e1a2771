//! Laying out a configuration space.

use super::regs::{self, aer, cap, ext_cap, msix, pcie, power};
use super::{Bar, ConfigSpace, Known, SPACE_BYTES};

/// A configuration space that cannot be built as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The size of a BAR is not one that a BAR can have.
    #[error("BAR{index} size {size:#x}: use a power of two of at least 16 bytes (at most 2 GiB for a 32-bit BAR)")]
    BarSize {
        /// BAR number.
        index: u8,
        /// Size asked for.
        size: u64,
    },
    /// The BAR's register does not exist or is taken.
    #[error("BAR{index} does not exist or is taken (a 64-bit BAR takes two registers of the six)")]
    BarIndex {
        /// BAR number.
        index: u8,
    },
    /// MSI-X cannot be laid out as asked.
    #[error("MSI-X: {reason}")]
    Msix {
        /// What to change.
        reason: &'static str,
    },
    /// A size of the PCI Express capability is not one that can be encoded.
    #[error("PCI Express capability: {field} = {value}: {rule}")]
    Pcie {
        /// The field.
        field: &'static str,
        /// The value asked for.
        value: u16,
        /// What it may be.
        rule: &'static str,
    },
    /// A DVSEC cannot be laid out as asked.
    #[error("DVSEC vendor {vendor:#06x} id {id:#06x}: {reason}")]
    Dvsec {
        /// DVSEC vendor.
        vendor: u16,
        /// DVSEC ID.
        id: u16,
        /// What to change.
        reason: &'static str,
    },
    /// The capabilities do not fit.
    #[error("capability {id:#x} of {bytes} bytes does not fit below {limit:#x}: leave one out")]
    Full {
        /// Capability ID.
        id: u16,
        /// Bytes it takes.
        bytes: u16,
        /// End of the space it goes to.
        limit: u16,
    },
}

/// Choices of the PCI Express capability of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcieEndpoint {
    /// Max_Payload_Size Supported in bytes: 128, 256 .. 4096.
    pub max_payload_supported: u16,
    /// Eight-bit tags are supported.
    pub extended_tag: bool,
    /// Function Level Reset is supported: a write that starts one shows in [`ConfigSpace::take_reset_request`].
    pub function_level_reset: bool,
    /// Link speed: 1 for 2.5 GT/s, 2 for 5, 3 for 8, 4 for 16, 5 for 32.
    pub link_speed: u8,
    /// Lanes: 1, 2, 4, 8, 16, 32.
    pub link_width: u8,
}

impl Default for PcieEndpoint {
    /// 128-byte payload, extended tags, 8 GT/s on four lanes.
    fn default() -> Self {
        PcieEndpoint {
            max_payload_supported: 128,
            extended_tag: true,
            function_level_reset: false,
            link_speed: 3,
            link_width: 4,
        }
    }
}

/// A Designated Vendor-Specific Extended Capability to build in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DvsecBody {
    /// DVSEC vendor.
    pub vendor: u16,
    /// DVSEC revision, 4 bits.
    pub revision: u8,
    /// DVSEC ID.
    pub id: u16,
    /// The bytes from offset 0x0A of the capability on (right behind the DVSEC ID).
    pub body: Vec<u8>,
    /// Bits of `body` that software may write; missing bytes are read-only.
    pub writable: Vec<u8>,
    /// Bits of `body` that clear when one is written; missing bytes have none.
    pub clear_on_one: Vec<u8>,
}

/// Lays out a [`ConfigSpace`]. Capabilities are placed in the order of the calls, the legacy ones from 0x40, extended ones from 0x100.
#[derive(Debug, Clone)]
pub struct Builder {
    space: ConfigSpace,
    next: u16,
    next_extended: u16,
    last: u16,
    last_extended: Option<u16>,
    taken_bars: u8,
    msix: Option<(u16, u8, u32, u32)>,
    error: Option<ConfigError>,
}

impl Builder {
    pub(super) fn new(vendor: u16, device: u16, class: u32) -> Self {
        let zero = || Box::new([0; SPACE_BYTES]);
        let space = ConfigSpace {
            bytes: zero(),
            reset: zero(),
            writable: zero(),
            clear_on_one: zero(),
            bars: Vec::new(),
            known: Known::default(),
            reset_request: false,
        };
        let mut builder = Builder {
            space,
            next: 0x40,
            next_extended: regs::EXTENDED,
            last: 0,
            last_extended: None,
            taken_bars: 0,
            msix: None,
            error: None,
        };
        builder.set32(regs::VENDOR, u32::from(vendor) | u32::from(device) << 16);
        builder.set32(regs::REVISION_CLASS, class << 8);
        let command = regs::COMMAND_MEMORY
            | regs::COMMAND_BUS_MASTER
            | regs::COMMAND_PARITY
            | regs::COMMAND_SERR
            | regs::COMMAND_INTX_DISABLE;
        builder.rw(regs::COMMAND, u32::from(command));
        builder.rw1c(regs::COMMAND, 0xF900 << 16);
        builder.rw(regs::INTERRUPT_LINE, 0xFF);
        builder
    }

    /// Revision ID.
    pub fn revision(mut self, revision: u8) -> Self {
        let class = self.space.read(regs::REVISION_CLASS) & !0xFF;
        self.set32(regs::REVISION_CLASS, class | u32::from(revision));
        self
    }

    /// Subsystem Vendor ID and Subsystem ID.
    pub fn subsystem(mut self, vendor: u16, id: u16) -> Self {
        self.set32(regs::SUBSYSTEM, u32::from(vendor) | u32::from(id) << 16);
        self
    }

    /// Says that the device has functions beyond this one.
    pub fn multifunction(mut self) -> Self {
        let dw = self.space.read(regs::HEADER_TYPE);
        self.set32(regs::HEADER_TYPE, dw | 0x80 << 16);
        self
    }

    /// A 32-bit memory BAR of `size` bytes.
    pub fn bar32(self, index: u8, size: u64, prefetchable: bool) -> Self {
        self.bar(Bar {
            index,
            size,
            is_64: false,
            prefetchable,
        })
    }

    /// A 64-bit memory BAR of `size` bytes, taking registers `index` and `index + 1`.
    pub fn bar64(self, index: u8, size: u64, prefetchable: bool) -> Self {
        self.bar(Bar {
            index,
            size,
            is_64: true,
            prefetchable,
        })
    }

    fn bar(mut self, bar: Bar) -> Self {
        let Bar {
            index,
            size,
            is_64,
            prefetchable,
        } = bar;
        let registers = if is_64 { 0b11 } else { 0b1 };
        let wanted = registers << index.min(6);
        if index > 5 || wanted > 0x3F || self.taken_bars & wanted != 0 {
            return self.fail(ConfigError::BarIndex { index });
        }
        if !size.is_power_of_two() || size < 16 || !is_64 && size > 1 << 31 {
            return self.fail(ConfigError::BarSize { index, size });
        }
        self.taken_bars |= wanted;
        let at = regs::BAR0 + 4 * u16::from(index);
        let mask = !(size - 1);
        self.set32(at, u32::from(is_64) << 2 | u32::from(prefetchable) << 3);
        self.rw(at, mask as u32);
        if is_64 {
            self.rw(at + 4, (mask >> 32) as u32);
        }
        self.space.bars.push(bar);
        self
    }

    /// Power Management, D0 and D3hot.
    pub fn power_management(mut self) -> Self {
        if let Some(at) = self.capability(cap::POWER, 8) {
            let header = self.space.read(at);
            self.set32(at, header | 3 << 16);
            self.set32(at + power::CONTROL, 1 << 3);
            self.rw(at + power::CONTROL, 3);
            self.space.known.power = Some(at);
        }
        self
    }

    /// MSI-X with 1 to 2048 vectors, its table and pending bits at these offsets of a BAR.
    pub fn msix(mut self, vectors: u16, bar: u8, table: u32, pending: u32) -> Self {
        let reason = if vectors == 0 || vectors > 2048 {
            Some("1 to 2048 vectors")
        } else if (table | pending) & 7 != 0 {
            Some("table and pending bits start at multiples of 8")
        } else if self.msix.is_some() {
            Some("a function has one MSI-X capability")
        } else {
            None
        };
        if let Some(reason) = reason {
            return self.fail(ConfigError::Msix { reason });
        }
        self.msix = Some((vectors, bar, table, pending));
        if let Some(at) = self.capability(cap::MSIX, 12) {
            let header = self.space.read(at);
            self.set32(at, header | u32::from(vectors - 1) << 16);
            self.set32(at + msix::TABLE, table | u32::from(bar));
            self.set32(at + msix::PBA, pending | u32::from(bar));
            self.rw(at, u32::from(msix::ENABLE | msix::FUNCTION_MASK) << 16);
            self.space.known.msix = Some(at);
        }
        self
    }

    /// The PCI Express capability of an endpoint.
    pub fn pcie_endpoint(mut self, choices: PcieEndpoint) -> Self {
        let PcieEndpoint {
            max_payload_supported,
            extended_tag,
            function_level_reset,
            link_speed,
            link_width,
        } = choices;
        let fault = |field, value, rule| ConfigError::Pcie { field, value, rule };
        if !max_payload_supported.is_power_of_two()
            || !(128..=4096).contains(&max_payload_supported)
        {
            return self.fail(fault(
                "max_payload_supported",
                max_payload_supported,
                "128, 256, 512, 1024, 2048 or 4096",
            ));
        }
        if !(1..=6).contains(&link_speed) {
            return self.fail(fault("link_speed", link_speed.into(), "1 to 6"));
        }
        if !link_width.is_power_of_two() || link_width > 32 {
            return self.fail(fault(
                "link_width",
                link_width.into(),
                "1, 2, 4, 8, 16 or 32",
            ));
        }
        let Some(at) = self.capability(cap::PCIE, pcie::LENGTH) else {
            return self;
        };
        let header = self.space.read(at);
        self.set32(at, header | 2 << 16);
        let flr = match function_level_reset {
            true => pcie::DEV_CAP_FLR,
            false => 0,
        };
        let payload_code = u32::from(max_payload_supported.trailing_zeros() as u16 - 7);
        self.set32(
            at + pcie::DEV_CAP,
            payload_code | u32::from(extended_tag) << 5 | 1 << 15 | flr,
        );
        // Relaxed Ordering, No Snoop, 512-byte read requests: the values of the books.
        self.set32(
            at + pcie::DEV_CTL,
            1 << 4 | 1 << 11 | 2 << 12 | u32::from(extended_tag) << 8,
        );
        self.rw(at + pcie::DEV_CTL, 0x78FF | u32::from(extended_tag) << 8);
        self.rw1c(at + pcie::DEV_CTL, 0x000F_0000);
        let link = u32::from(link_speed) | u32::from(link_width) << 4;
        self.set32(at + pcie::LINK_CAP, link);
        self.set32(at + pcie::LINK_CTL, link << 16);
        self.rw(at + pcie::LINK_CTL, 0x00CB);
        self.rw(at + pcie::DEV_CTL2, 0x001F);
        self.set32(at + pcie::LINK_CAP2, ((1 << link_speed) - 1) << 1);
        self.set32(at + pcie::LINK_CTL2, u32::from(link_speed));
        self.rw(at + pcie::LINK_CTL2, 0x000F);
        self.space.known.pcie = Some(at);
        self
    }

    /// Advanced Error Reporting.
    pub fn aer(mut self) -> Self {
        if let Some(at) = self.extended(ext_cap::AER, 1, aer::LENGTH) {
            self.rw1c(at + aer::UNCORRECTABLE, aer::UNCORRECTABLE_BITS);
            self.set32(at + aer::UNCORRECTABLE_MASK, aer::DEFAULT_MASK);
            self.rw(at + aer::UNCORRECTABLE_MASK, aer::UNCORRECTABLE_BITS);
            self.set32(at + aer::SEVERITY, aer::DEFAULT_SEVERITY);
            self.rw(at + aer::SEVERITY, aer::UNCORRECTABLE_BITS);
            self.rw1c(at + aer::CORRECTABLE, aer::CORRECTABLE_BITS);
            self.set32(at + aer::CORRECTABLE_MASK, aer::DEFAULT_CORRECTABLE_MASK);
            self.rw(at + aer::CORRECTABLE_MASK, aer::CORRECTABLE_BITS);
            self.space.known.aer = Some(at);
        }
        self
    }

    /// Device Serial Number.
    pub fn serial_number(mut self, serial: u64) -> Self {
        if let Some(at) = self.extended(ext_cap::SERIAL, 1, 12) {
            self.set32(at + 4, serial as u32);
            self.set32(at + 8, (serial >> 32) as u32);
        }
        self
    }

    /// A Designated Vendor-Specific Extended Capability.
    pub fn dvsec(mut self, dvsec: DvsecBody) -> Self {
        let DvsecBody {
            vendor,
            revision,
            id,
            body,
            writable,
            clear_on_one,
        } = dvsec;
        let length = usize::from(regs::dvsec::BODY) + body.len();
        let reason = if revision > 15 {
            Some("the revision has four bits")
        } else if length > 0xFFF {
            Some("the length field ends at 4095 bytes")
        } else if writable.len() > body.len() || clear_on_one.len() > body.len() {
            Some("a mask is longer than the body")
        } else {
            None
        };
        if let Some(reason) = reason {
            return self.fail(ConfigError::Dvsec { vendor, id, reason });
        }
        let Some(at) = self.extended(ext_cap::DVSEC, 1, length as u16) else {
            return self;
        };
        self.set32(
            at + regs::dvsec::HEADER1,
            u32::from(vendor) | u32::from(revision) << 16 | (length as u32) << 20,
        );
        self.set32(at + regs::dvsec::ID, u32::from(id));
        let start = usize::from(at + regs::dvsec::BODY);
        self.space.bytes[start..start + body.len()].copy_from_slice(&body);
        self.space.writable[start..start + writable.len()].copy_from_slice(&writable);
        self.space.clear_on_one[start..start + clear_on_one.len()].copy_from_slice(&clear_on_one);
        self
    }

    /// The finished space.
    ///
    /// # Errors
    /// The first [`ConfigError`] of the calls before, or that MSI-X does not lie in its BAR.
    pub fn build(mut self) -> Result<ConfigSpace, ConfigError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if let Some((vectors, bar, table, pending)) = self.msix {
            let Some(bar) = self.space.bars.iter().find(|b| b.index == bar) else {
                return Err(ConfigError::Msix {
                    reason: "its BAR is not built in",
                });
            };
            let table = u64::from(table)..u64::from(table) + u64::from(vectors) * msix::ENTRY;
            let pending =
                u64::from(pending)..u64::from(pending) + u64::from(vectors).div_ceil(64) * 8;
            if table.end > bar.size || pending.end > bar.size {
                return Err(ConfigError::Msix {
                    reason: "table or pending bits end beyond their BAR",
                });
            }
            if table.start < pending.end && pending.start < table.end {
                return Err(ConfigError::Msix {
                    reason: "table and pending bits overlap",
                });
            }
        }
        if self.last != 0 {
            let command = self.space.read(regs::COMMAND);
            self.set32(
                regs::COMMAND,
                command | u32::from(regs::STATUS_CAPABILITIES) << 16,
            );
        }
        self.space.reset.copy_from_slice(&self.space.bytes[..]);
        Ok(self.space)
    }

    fn fail(mut self, error: ConfigError) -> Self {
        self.error.get_or_insert(error);
        self
    }

    fn set32(&mut self, offset: u16, value: u32) {
        self.space.poke(offset, value);
    }

    fn rw(&mut self, offset: u16, mask: u32) {
        let at = usize::from(offset);
        for (lane, byte) in mask.to_le_bytes().into_iter().enumerate() {
            self.space.writable[at + lane] |= byte;
        }
    }

    fn rw1c(&mut self, offset: u16, mask: u32) {
        let at = usize::from(offset);
        for (lane, byte) in mask.to_le_bytes().into_iter().enumerate() {
            self.space.clear_on_one[at + lane] |= byte;
        }
    }

    /// Links a capability of `bytes` bytes in; `None` (and the error kept) if it does not fit.
    fn capability(&mut self, id: u8, bytes: u16) -> Option<u16> {
        let at = self.next;
        if at + bytes > regs::EXTENDED {
            self.error.get_or_insert(ConfigError::Full {
                id: id.into(),
                bytes,
                limit: regs::EXTENDED,
            });
            return None;
        }
        self.set32(at, u32::from(id));
        let link = if self.last == 0 {
            regs::CAP_POINTER
        } else {
            self.last + 1
        };
        self.space.bytes[usize::from(link)] = at as u8;
        self.last = at;
        self.next = (at + bytes).next_multiple_of(4);
        Some(at)
    }

    /// Links an extended capability in; `None` (and the error kept) if it does not fit.
    fn extended(&mut self, id: u16, version: u32, bytes: u16) -> Option<u16> {
        let at = self.next_extended;
        if bytes > regs::SPACE - at.min(regs::SPACE) {
            self.error.get_or_insert(ConfigError::Full {
                id,
                bytes,
                limit: regs::SPACE,
            });
            return None;
        }
        self.set32(at, u32::from(id) | version << 16);
        if let Some(last) = self.last_extended {
            let header = self.space.read(last);
            self.set32(last, header | u32::from(at) << 20);
        }
        self.last_extended = Some(at);
        self.next_extended = (at + bytes).next_multiple_of(4);
        Some(at)
    }
}
