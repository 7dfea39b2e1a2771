//! What firmware and operating system do once: find functions, size and place their BARs, turn them on, set up MSI-X.

use crate::config::regs::{self, cap, msix, pcie};
use crate::config::{AccessError, Capability, ConfigAccess, ExtendedCapability};
use crate::host::{MmioAccess, INTERRUPT_WINDOW};
use crate::tlp::Bdf;

/// A range of addresses to place BARs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// Where to look and where to place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The bus behind the root port.
    pub bus: u8,
    /// Device numbers to try, from 0: 1 on a PCIe link, 32 on a host bridge's own bus.
    pub devices: u8,
    /// For 32-bit BARs, and 64-bit ones without prefetch. Must end below 4 GiB.
    pub mem32: Window,
    /// For 64-bit prefetchable BARs; without it they go to `mem32`.
    pub mem64: Option<Window>,
}

impl Default for Plan {
    /// Bus 1, one device, 256 MiB at 0xE000_0000 and 64 GiB at 0x40_0000_0000.
    fn default() -> Self {
        Plan {
            bus: 1,
            devices: 1,
            mem32: Window {
                base: 0xE000_0000,
                size: 1 << 28,
            },
            mem64: Some(Window {
                base: 0x40_0000_0000,
                size: 1 << 36,
            }),
        }
    }
}

/// A memory BAR with its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignedBar {
    /// BAR number.
    pub index: u8,
    /// Physical address.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
    /// Takes two registers.
    pub is_64: bool,
    /// Reads have no side effects.
    pub prefetchable: bool,
}

/// A type 0 function found, its BARs placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFunction {
    /// Where.
    pub bdf: Bdf,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Class code, 24 bits.
    pub class: u32,
    /// Revision ID.
    pub revision: u8,
    /// Memory BARs, by number.
    pub bars: Vec<AssignedBar>,
    /// Capability list.
    pub capabilities: Vec<Capability>,
    /// Extended capability list.
    pub extended: Vec<ExtendedCapability>,
}

impl FoundFunction {
    /// The BAR with this number.
    pub fn bar(&self, index: u8) -> Option<&AssignedBar> {
        self.bars.iter().find(|bar| bar.index == index)
    }
}

/// Why enumeration stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnumerateError {
    /// A configuration access failed.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A BAR reads back as nothing that PCI knows.
    #[error("{bdf} BAR{index} reads back {value:#x} after writing ones: not a BAR type")]
    BarType {
        /// The function.
        bdf: Bdf,
        /// BAR number.
        index: u8,
        /// What was read.
        value: u32,
    },
    /// No room for a BAR.
    #[error("{bdf} BAR{index} of {size:#x} bytes does not fit its window: enlarge it")]
    WindowFull {
        /// The function.
        bdf: Bdf,
        /// BAR number.
        index: u8,
        /// Bytes needed, naturally aligned.
        size: u64,
    },
    /// The 32-bit window ends above 4 GiB, or a window beyond the address space.
    #[error("window of {size:#x} bytes at {base:#x} ends too high (32-bit windows end at 4 GiB)")]
    Window {
        /// First address.
        base: u64,
        /// Bytes.
        size: u64,
    },
    /// A window holds the interrupt addresses.
    #[error(
        "window of {size:#x} bytes at {base:#x} overlaps the interrupt addresses at 0xfee00000"
    )]
    WindowHoldsInterrupts {
        /// First address.
        base: u64,
        /// Bytes.
        size: u64,
    },
}

/// A window with what is left of it.
struct Room {
    next: u64,
    end: u64,
}

impl Room {
    fn new(window: Window, limit: u64) -> Result<Self, EnumerateError> {
        let Window { base, size } = window;
        let end = base
            .checked_add(size)
            .filter(|&end| end <= limit)
            .ok_or(EnumerateError::Window { base, size })?;
        if base < INTERRUPT_WINDOW.end && INTERRUPT_WINDOW.start < end {
            return Err(EnumerateError::WindowHoldsInterrupts { base, size });
        }
        Ok(Room { next: base, end })
    }

    fn take(&mut self, size: u64) -> Option<u64> {
        let at = self.next.checked_next_multiple_of(size)?;
        let end = at.checked_add(size).filter(|&end| end <= self.end)?;
        self.next = end;
        Some(at)
    }
}

/// Finds the type 0 functions of a bus, places their BARs (largest first, naturally aligned), turns memory space, bus mastering and
/// error reporting on. Bridges (type 1 headers) and I/O BARs are left alone.
///
/// # Errors
/// [`EnumerateError`]; functions handled before the error stay as they were left, with memory space off.
pub fn enumerate<A: ConfigAccess>(
    access: &mut A,
    plan: &Plan,
) -> Result<Vec<FoundFunction>, EnumerateError> {
    let mut mem32 = Room::new(plan.mem32, 1 << 32)?;
    let mut mem64 = plan
        .mem64
        .map(|window| Room::new(window, u64::MAX))
        .transpose()?;
    let mut found = Vec::new();
    for device in 0..plan.devices.min(32) {
        for function in 0..8 {
            let bdf = Bdf::new(plan.bus, device, function);
            let header_type = match probe(access, bdf, &mut found)? {
                Some(header_type) => header_type,
                None if function == 0 => break,
                None => continue,
            };
            if function == 0 && header_type & 0x80 == 0 {
                break;
            }
        }
    }
    place(access, &mut found, &mut mem32, mem64.as_mut())?;
    for function in &found {
        access.set_command(function.bdf, true, true)?;
        if let Some(pcie) = function.capabilities.iter().find(|c| c.id == cap::PCIE) {
            let control = pcie.offset + pcie::DEV_CTL;
            let old = access.cfg_read16(function.bdf, control)?;
            let report = pcie::CORRECTABLE | pcie::NON_FATAL | pcie::FATAL | pcie::UNSUPPORTED;
            access.cfg_write16(function.bdf, control, old | report)?;
        }
    }
    Ok(found)
}

/// Reads one function; `None` if it is absent, else its header type. Type 0 functions are added to `found`, BARs not yet placed.
fn probe<A: ConfigAccess>(
    access: &mut A,
    bdf: Bdf,
    found: &mut Vec<FoundFunction>,
) -> Result<Option<u8>, EnumerateError> {
    let id = access.cfg_read(bdf, regs::VENDOR)?;
    if id == u32::MAX || id as u16 == 0 {
        return Ok(None);
    }
    let header_type = (access.cfg_read16(bdf, regs::HEADER_TYPE)?) as u8;
    if header_type & 0x7F == 0 {
        let class = access.cfg_read(bdf, regs::REVISION_CLASS)?;
        access.set_command(bdf, false, false)?;
        found.push(FoundFunction {
            bdf,
            vendor: id as u16,
            device: (id >> 16) as u16,
            class: class >> 8,
            revision: class as u8,
            bars: size_bars(access, bdf)?,
            capabilities: access.capabilities(bdf)?,
            extended: access.extended_capabilities(bdf)?,
        });
    }
    Ok(Some(header_type))
}

/// The memory BARs of a function, by writing ones. Their addresses are left as found (and reported as zero).
fn size_bars<A: ConfigAccess>(
    access: &mut A,
    bdf: Bdf,
) -> Result<Vec<AssignedBar>, EnumerateError> {
    let mut bars = Vec::new();
    let mut index = 0;
    while index < 6 {
        let low = ones(access, bdf, index)?;
        let this = index;
        index += 1;
        if low == 0 || low & 1 == 1 {
            continue;
        }
        let is_64 = match low >> 1 & 3 {
            0 => false,
            2 if this < 5 => true,
            _ => {
                return Err(EnumerateError::BarType {
                    bdf,
                    index: this,
                    value: low,
                })
            }
        };
        let mut mask = u64::from(low & !0xF) | 0xFFFF_FFFF << 32;
        if is_64 {
            mask = mask << 32 >> 32 | u64::from(ones(access, bdf, index)?) << 32;
            index += 1;
        }
        if mask == 0 {
            return Err(EnumerateError::BarType {
                bdf,
                index: this,
                value: low,
            });
        }
        let size = 1 << mask.trailing_zeros();
        bars.push(AssignedBar {
            index: this,
            address: 0,
            size,
            is_64,
            prefetchable: low & 8 != 0,
        });
    }
    Ok(bars)
}

/// What a BAR register reads after writing ones; its value is restored.
fn ones<A: ConfigAccess>(access: &mut A, bdf: Bdf, index: u8) -> Result<u32, AccessError> {
    let at = regs::BAR0 + 4 * u16::from(index);
    let old = access.cfg_read(bdf, at)?;
    access.cfg_write(bdf, at, u32::MAX, 0xF)?;
    let value = access.cfg_read(bdf, at)?;
    access.cfg_write(bdf, at, old, 0xF)?;
    Ok(value)
}

/// Places every BAR, largest first so that alignment leaves no gaps. A 64-bit BAR that finds no room in its own window tries the other.
fn place<A: ConfigAccess>(
    access: &mut A,
    found: &mut [FoundFunction],
    mem32: &mut Room,
    mut mem64: Option<&mut Room>,
) -> Result<(), EnumerateError> {
    let mut order: Vec<(usize, usize)> = found
        .iter()
        .enumerate()
        .flat_map(|(f, function)| (0..function.bars.len()).map(move |b| (f, b)))
        .collect();
    order.sort_by_key(|&(f, b)| std::cmp::Reverse(found[f].bars[b].size));
    for (f, b) in order {
        let bdf = found[f].bdf;
        let bar = &mut found[f].bars[b];
        let AssignedBar {
            index,
            size,
            is_64,
            prefetchable,
            ..
        } = *bar;
        let mut high = |size| {
            if is_64 {
                mem64.as_mut().and_then(|room| room.take(size))
            } else {
                None
            }
        };
        let address = if prefetchable {
            high(size).or_else(|| mem32.take(size))
        } else {
            mem32.take(size).or_else(|| high(size))
        };
        bar.address = address.ok_or(EnumerateError::WindowFull { bdf, index, size })?;
        let at = regs::BAR0 + 4 * u16::from(index);
        access.cfg_write(bdf, at, bar.address as u32, 0xF)?;
        if is_64 {
            access.cfg_write(bdf, at + 4, (bar.address >> 32) as u32, 0xF)?;
        }
    }
    Ok(())
}

/// What a vector writes where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixMessage {
    /// Address; in [`INTERRUPT_WINDOW`] for the root complex here.
    pub address: u64,
    /// Data.
    pub data: u32,
}

impl MsixMessage {
    /// The message that the root complex delivers as interrupt `vector`.
    pub fn vector(vector: u32) -> Self {
        MsixMessage {
            address: INTERRUPT_WINDOW.start,
            data: vector,
        }
    }
}

/// Why MSI-X could not be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MsixError {
    /// An access failed.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The function has no MSI-X capability.
    #[error("{0} has no MSI-X capability")]
    Absent(Bdf),
    /// More messages than vectors.
    #[error("{bdf} has {vectors} MSI-X vectors, {asked} were asked for")]
    TooFew {
        /// The function.
        bdf: Bdf,
        /// Vectors it has.
        vectors: u16,
        /// Messages given.
        asked: usize,
    },
    /// The table is not inside a BAR of the function.
    #[error("{bdf}: MSI-X table at {offset:#x} of BAR{bar} is not inside a memory BAR")]
    Table {
        /// The function.
        bdf: Bdf,
        /// BAR number.
        bar: u8,
        /// Offset in it.
        offset: u32,
    },
}

/// Writes `messages` to the first entries of the function's MSI-X table and turns MSI-X on. The function is masked while it happens.
///
/// # Errors
/// [`MsixError`].
pub fn setup_msix<A: ConfigAccess + MmioAccess>(
    access: &mut A,
    function: &FoundFunction,
    messages: &[MsixMessage],
) -> Result<(), MsixError> {
    let bdf = function.bdf;
    let (at, vectors) = access.find_msix(bdf)?.ok_or(MsixError::Absent(bdf))?;
    if messages.len() > usize::from(vectors) {
        return Err(MsixError::TooFew {
            bdf,
            vectors,
            asked: messages.len(),
        });
    }
    let place = access.cfg_read(bdf, at + msix::TABLE)?;
    let (bar, offset) = ((place & 7) as u8, place & !7);
    let end = u64::from(offset) + u64::from(vectors) * msix::ENTRY;
    let table = match function.bar(bar) {
        Some(found) if end <= found.size => found.address + u64::from(offset),
        _ => return Err(MsixError::Table { bdf, bar, offset }),
    };
    let control =
        access.cfg_read16(bdf, at + msix::CONTROL)? & !(msix::ENABLE | msix::FUNCTION_MASK);
    access.cfg_write16(
        bdf,
        at + msix::CONTROL,
        control | msix::ENABLE | msix::FUNCTION_MASK,
    )?;
    for (n, message) in (0u64..).zip(messages) {
        let entry = table + n * msix::ENTRY;
        access.write32(entry, message.address as u32)?;
        access.write32(entry + 4, (message.address >> 32) as u32)?;
        access.write32(entry + 8, message.data)?;
        access.write32(entry + 12, 0)?;
    }
    access.cfg_write16(bdf, at + msix::CONTROL, control | msix::ENABLE)?;
    Ok(())
}
