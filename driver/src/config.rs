//! Finding out from configuration space whether a function is a device of this kind.
//!
//! Offsets and codes here are those of PCI Express and of the CXL DVSECs (cxl-mem 4.1, 4.2); this project adds none.

use crate::error::{Error, Result};
use crate::transport::Transport;
use cxlmem_protocol::identity::{
    CLASS as CLASS_CXL_MEMORY, DVSEC_DEVICE, DVSEC_LOCATOR, DVSEC_VENDOR,
};
use cxlmem_protocol::regs;

const COMMAND: u16 = 0x04;
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_BUS_MASTER: u32 = 1 << 2;
/// Command bits; the upper half of the DW is the status register, whose error bits clear when written as one.
const COMMAND_MASK: u32 = 0xFFFF;
const STATUS_CAPABILITIES: u32 = 1 << 20;
const CLASS: u16 = 0x08;
const CAPABILITIES: u16 = 0x34;
const CAP_MSIX: u32 = 0x11;
const MSIX_ENABLE: u32 = 1 << 31;
const MSIX_MASK_ALL: u32 = 1 << 30;
const EXTENDED: u16 = 0x100;
const EXT_DVSEC: u32 = 0x23;
const DEVICE_MEM_CAPABLE: u32 = 1 << 2;
const LOCATOR_ENTRIES: u16 = 0xC;
const BLOCK_COMPONENT: u32 = 1;
/// Enough for any chain of capabilities in 4 KiB.
const MAX_CHAIN: usize = 96;

/// What configuration space says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// PCI vendor id.
    pub vendor: u16,
    /// PCI device id.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Offset of the MSI-X capability, if there is one.
    pub msix: Option<u16>,
}

fn read(transport: &mut dyn Transport, offset: u16) -> Result<u32> {
    transport
        .config_read32(offset)
        .map_err(|source| Error::Config { offset, source })
}

fn write(transport: &mut dyn Transport, offset: u16, value: u32) -> Result<()> {
    transport
        .config_write32(offset, value)
        .map_err(|source| Error::Config { offset, source })
}

fn wrong(offset: u16, what: &'static str, expected: u32, found: u32) -> Error {
    Error::Discovery {
        offset,
        what,
        expected,
        found,
    }
}

/// Reads and checks the function: class code, CXL device DVSEC with CXL.mem, register locator, MSI-X table.
///
/// # Errors
/// [`Error::Discovery`] names the offset, what is expected there and what was found; [`Error::Config`].
pub fn discover(transport: &mut dyn Transport) -> Result<Function> {
    let id = read(transport, 0)?;
    if id == u32::MAX || id == 0 {
        return Err(wrong(0, "a vendor and device id", 0, id));
    }
    let class = read(transport, CLASS)?;
    if class >> 8 != CLASS_CXL_MEMORY {
        return Err(wrong(
            CLASS,
            "the class code of a CXL memory device",
            CLASS_CXL_MEMORY,
            class >> 8,
        ));
    }
    let device = dvsec(transport, DVSEC_DEVICE)?.ok_or_else(|| {
        wrong(
            EXTENDED,
            "the CXL device DVSEC (id 0)",
            DVSEC_VENDOR.into(),
            0,
        )
    })?;
    // The capability is the upper half of the DW that holds the DVSEC id.
    let capability = read(transport, device + 8)? >> 16;
    if capability & DEVICE_MEM_CAPABLE == 0 {
        return Err(wrong(
            device + 0xA,
            "a device capable of CXL.mem (bit 2)",
            DEVICE_MEM_CAPABLE,
            capability,
        ));
    }
    let locator = dvsec(transport, DVSEC_LOCATOR)?.ok_or_else(|| {
        wrong(
            EXTENDED,
            "the register locator DVSEC (id 8)",
            DVSEC_VENDOR.into(),
            0,
        )
    })?;
    check_component_block(transport, locator)?;
    let msix = capability_offset(transport, CAP_MSIX)?;
    if let Some(offset) = msix {
        let table = read(transport, offset + 4)?;
        if table != regs::MSIX_TABLE {
            return Err(wrong(
                offset + 4,
                "the MSI-X table in BAR0 at the register map's offset",
                regs::MSIX_TABLE,
                table,
            ));
        }
    }
    Ok(Function {
        vendor: id as u16,
        device: (id >> 16) as u16,
        revision: class as u8,
        msix,
    })
}

/// The component registers must start BAR0: the register map is based on it.
fn check_component_block(transport: &mut dyn Transport, locator: u16) -> Result<()> {
    let length = (read(transport, locator + 4)? >> 20) as u16;
    let mut entry = LOCATOR_ENTRIES;
    while entry + 8 <= length {
        let low = read(transport, locator + entry)?;
        let high = read(transport, locator + entry + 4)?;
        if (low >> 8) & 0xFF == BLOCK_COMPONENT {
            // BAR number in bits 2:0 and the offset's bits 31:16: both zero here.
            let place = low & 0xFFFF_0007;
            return if place == 0 && high == 0 {
                Ok(())
            } else {
                Err(wrong(
                    locator + entry,
                    "the component registers at the start of BAR0",
                    0,
                    place,
                ))
            };
        }
        entry += 8;
    }
    Err(wrong(
        locator + LOCATOR_ENTRIES,
        "a register locator entry for the component registers (block 1)",
        BLOCK_COMPONENT,
        0,
    ))
}

fn capability_offset(transport: &mut dyn Transport, id: u32) -> Result<Option<u16>> {
    if read(transport, COMMAND)? & STATUS_CAPABILITIES == 0 {
        return Ok(None);
    }
    let mut offset = (read(transport, CAPABILITIES)? & 0xFC) as u16;
    for _ in 0..MAX_CHAIN {
        if offset < 0x40 {
            return Ok(None);
        }
        let header = read(transport, offset)?;
        if header & 0xFF == id {
            return Ok(Some(offset));
        }
        offset = ((header >> 8) & 0xFC) as u16;
    }
    Err(wrong(
        offset,
        "a capability list that ends",
        0,
        u32::from(offset),
    ))
}

fn dvsec(transport: &mut dyn Transport, id: u16) -> Result<Option<u16>> {
    let mut offset = EXTENDED;
    for _ in 0..MAX_CHAIN {
        let header = read(transport, offset)?;
        if header == 0 || header == u32::MAX {
            return Ok(None);
        }
        if header & 0xFFFF == EXT_DVSEC {
            let vendor = read(transport, offset + 4)? as u16;
            let found = read(transport, offset + 8)? as u16;
            if (vendor, found) == (DVSEC_VENDOR, id) {
                return Ok(Some(offset));
            }
        }
        offset = ((header >> 20) & 0xFFC) as u16;
        if offset < EXTENDED {
            return Ok(None);
        }
    }
    Err(wrong(
        offset,
        "an extended capability list that ends",
        0,
        u32::from(offset),
    ))
}

/// Turns memory space on, and bus mastering as asked.
///
/// # Errors
/// [`Error::Config`].
pub fn enable(transport: &mut dyn Transport, bus_master: bool) -> Result<()> {
    let command = read(transport, COMMAND)? & COMMAND_MASK & !COMMAND_BUS_MASTER;
    let master = if bus_master { COMMAND_BUS_MASTER } else { 0 };
    write(transport, COMMAND, command | COMMAND_MEMORY | master)
}

/// Turns MSI-X on, all vectors allowed.
///
/// # Errors
/// [`Error::Config`].
pub fn enable_msix(transport: &mut dyn Transport, capability: u16) -> Result<()> {
    let control = read(transport, capability)?;
    write(
        transport,
        capability,
        (control | MSIX_ENABLE) & !MSIX_MASK_ALL,
    )
}
