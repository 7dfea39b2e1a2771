//! How a driver reads configuration space, wherever it is.

use super::regs::{self, cap, dvsec, ext_cap, msix};
use super::ConfigSpace;
use crate::host::RequestError;
use crate::tlp::Bdf;

/// Why a configuration (or MMIO) access of a driver failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The request over the link failed.
    #[error("access at {at:#x}: {error}")]
    Request {
        /// Configuration offset or address.
        at: u64,
        /// What the root complex reports.
        error: RequestError,
    },
    /// The transport (a file, a socket) failed.
    #[error("access at {at:#x}: {reason}")]
    Transport {
        /// Configuration offset or address.
        at: u64,
        /// The transport's own words.
        reason: String,
    },
    /// A capability list does not end: a pointer leads back or outside.
    #[error("capability list of {bdf} is broken at {at:#x}: {reason}")]
    BrokenList {
        /// The function.
        bdf: Bdf,
        /// Offset of the entry.
        at: u16,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// An entry of the capability list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// Capability ID; see [`regs::cap`].
    pub id: u8,
    /// Offset of its header.
    pub offset: u16,
}

/// An entry of the extended capability list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedCapability {
    /// Extended Capability ID; see [`regs::ext_cap`].
    pub id: u16,
    /// Capability version.
    pub version: u8,
    /// Offset of its header.
    pub offset: u16,
}

/// A Designated Vendor-Specific Extended Capability found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dvsec {
    /// Offset of the capability's header.
    pub offset: u16,
    /// Bytes, headers included.
    pub length: u16,
    /// DVSEC revision.
    pub revision: u8,
    /// DVSEC vendor.
    pub vendor: u16,
    /// DVSEC ID.
    pub id: u16,
}

/// Configuration space as a driver reaches it: over TLPs, through a file of the operating system, or directly.
///
/// Accesses are of one aligned DW; `cfg_write` takes byte enables so that a neighbouring RW1C field is not touched. A function that is not
/// there reads as all ones, as on a PC.
pub trait ConfigAccess {
    /// Reads the DW at `offset`.
    ///
    /// # Errors
    /// [`AccessError`] if the access itself failed; an absent function is not an error.
    fn cfg_read(&mut self, bdf: Bdf, offset: u16) -> Result<u32, AccessError>;

    /// Writes the enabled bytes (`be`, bit 0 for the lowest) of the DW at `offset`.
    ///
    /// # Errors
    /// As for [`cfg_read`](ConfigAccess::cfg_read).
    fn cfg_write(&mut self, bdf: Bdf, offset: u16, value: u32, be: u8) -> Result<(), AccessError>;

    /// Reads the 16-bit register at an even `offset`.
    ///
    /// # Errors
    /// As for [`cfg_read`](ConfigAccess::cfg_read).
    fn cfg_read16(&mut self, bdf: Bdf, offset: u16) -> Result<u16, AccessError> {
        Ok((self.cfg_read(bdf, offset & !3)? >> (8 * (offset & 2))) as u16)
    }

    /// Writes the 16-bit register at an even `offset` and nothing beside it.
    ///
    /// # Errors
    /// As for [`cfg_read`](ConfigAccess::cfg_read).
    fn cfg_write16(&mut self, bdf: Bdf, offset: u16, value: u16) -> Result<(), AccessError> {
        let lane = offset & 2;
        self.cfg_write(
            bdf,
            offset & !3,
            u32::from(value) << (8 * lane),
            0b11 << lane,
        )
    }

    /// The capability list, in order.
    ///
    /// # Errors
    /// [`AccessError::BrokenList`] if it does not end within the 48 entries that fit.
    fn capabilities(&mut self, bdf: Bdf) -> Result<Vec<Capability>, AccessError> {
        let mut found = Vec::new();
        if self.cfg_read16(bdf, regs::STATUS)? & regs::STATUS_CAPABILITIES == 0 {
            return Ok(found);
        }
        let mut at = self.cfg_read(bdf, regs::CAP_POINTER)? as u16 & 0xFC;
        while at != 0 {
            if at < 0x40 {
                return Err(AccessError::BrokenList {
                    bdf,
                    at,
                    reason: "inside the header",
                });
            }
            if found.len() == 48 {
                return Err(AccessError::BrokenList {
                    bdf,
                    at,
                    reason: "a loop",
                });
            }
            let header = self.cfg_read(bdf, at)?;
            found.push(Capability {
                id: header as u8,
                offset: at,
            });
            at = (header >> 8) as u16 & 0xFC;
        }
        Ok(found)
    }

    /// The extended capability list, in order; empty without one.
    ///
    /// # Errors
    /// [`AccessError::BrokenList`] if it does not end within the 960 entries that fit.
    fn extended_capabilities(&mut self, bdf: Bdf) -> Result<Vec<ExtendedCapability>, AccessError> {
        let mut found = Vec::new();
        let mut at = regs::EXTENDED;
        loop {
            let header = self.cfg_read(bdf, at)?;
            if found.is_empty() && (header == 0 || header == u32::MAX) {
                return Ok(found);
            }
            found.push(ExtendedCapability {
                id: header as u16,
                version: (header >> 16 & 0xF) as u8,
                offset: at,
            });
            at = (header >> 20) as u16 & 0xFFC;
            if at == 0 {
                return Ok(found);
            }
            if at < regs::EXTENDED {
                return Err(AccessError::BrokenList {
                    bdf,
                    at,
                    reason: "below the extended space",
                });
            }
            if found.len() == 960 {
                return Err(AccessError::BrokenList {
                    bdf,
                    at,
                    reason: "a loop",
                });
            }
        }
    }

    /// Offset of the first capability with this ID.
    ///
    /// # Errors
    /// As for [`capabilities`](ConfigAccess::capabilities).
    fn find_capability(&mut self, bdf: Bdf, id: u8) -> Result<Option<u16>, AccessError> {
        Ok(self
            .capabilities(bdf)?
            .into_iter()
            .find(|c| c.id == id)
            .map(|c| c.offset))
    }

    /// Offset of the first extended capability with this ID.
    ///
    /// # Errors
    /// As for [`extended_capabilities`](ConfigAccess::extended_capabilities).
    fn find_extended(&mut self, bdf: Bdf, id: u16) -> Result<Option<u16>, AccessError> {
        Ok(self
            .extended_capabilities(bdf)?
            .into_iter()
            .find(|c| c.id == id)
            .map(|c| c.offset))
    }

    /// Every DVSEC, in order.
    ///
    /// # Errors
    /// As for [`extended_capabilities`](ConfigAccess::extended_capabilities).
    fn dvsecs(&mut self, bdf: Bdf) -> Result<Vec<Dvsec>, AccessError> {
        let mut found = Vec::new();
        for entry in self.extended_capabilities(bdf)? {
            if entry.id != ext_cap::DVSEC || entry.offset > regs::SPACE - 12 {
                continue;
            }
            let header = self.cfg_read(bdf, entry.offset + dvsec::HEADER1)?;
            found.push(Dvsec {
                offset: entry.offset,
                length: (header >> 20) as u16,
                revision: (header >> 16 & 0xF) as u8,
                vendor: header as u16,
                id: self.cfg_read16(bdf, entry.offset + dvsec::ID)?,
            });
        }
        Ok(found)
    }

    /// The DVSEC of `vendor` with `id`.
    ///
    /// # Errors
    /// As for [`extended_capabilities`](ConfigAccess::extended_capabilities).
    fn find_dvsec(&mut self, bdf: Bdf, vendor: u16, id: u16) -> Result<Option<Dvsec>, AccessError> {
        Ok(self
            .dvsecs(bdf)?
            .into_iter()
            .find(|d| d.vendor == vendor && d.id == id))
    }

    /// The Device Serial Number.
    ///
    /// # Errors
    /// As for [`extended_capabilities`](ConfigAccess::extended_capabilities).
    fn serial_number(&mut self, bdf: Bdf) -> Result<Option<u64>, AccessError> {
        let Some(at) = self.find_extended(bdf, ext_cap::SERIAL)? else {
            return Ok(None);
        };
        Ok(Some(
            u64::from(self.cfg_read(bdf, at + 4)?) | u64::from(self.cfg_read(bdf, at + 8)?) << 32,
        ))
    }

    /// Sets or clears Memory Space Enable and Bus Master Enable, leaving the rest of Command and all of Status.
    ///
    /// # Errors
    /// As for [`cfg_read`](ConfigAccess::cfg_read).
    fn set_command(&mut self, bdf: Bdf, memory: bool, bus_master: bool) -> Result<(), AccessError> {
        let old = self.cfg_read16(bdf, regs::COMMAND)?;
        let mut new = old & !(regs::COMMAND_MEMORY | regs::COMMAND_BUS_MASTER);
        if memory {
            new |= regs::COMMAND_MEMORY;
        }
        if bus_master {
            new |= regs::COMMAND_BUS_MASTER;
        }
        self.cfg_write16(bdf, regs::COMMAND, new)
    }

    /// Where MSI-X is, and how many vectors it has: (capability offset, vectors).
    ///
    /// # Errors
    /// As for [`capabilities`](ConfigAccess::capabilities).
    fn find_msix(&mut self, bdf: Bdf) -> Result<Option<(u16, u16)>, AccessError> {
        let Some(at) = self.find_capability(bdf, cap::MSIX)? else {
            return Ok(None);
        };
        Ok(Some((
            at,
            (self.cfg_read16(bdf, at + msix::CONTROL)? & 0x7FF) + 1,
        )))
    }
}

/// A configuration space held directly: every function number reads the same one.
impl ConfigAccess for ConfigSpace {
    fn cfg_read(&mut self, _bdf: Bdf, offset: u16) -> Result<u32, AccessError> {
        Ok(self.read(offset))
    }

    fn cfg_write(&mut self, _bdf: Bdf, offset: u16, value: u32, be: u8) -> Result<(), AccessError> {
        self.write(offset, value, be);
        Ok(())
    }
}
