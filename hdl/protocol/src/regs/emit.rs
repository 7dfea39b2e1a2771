//! Generators: the C header for the kernel module and the Markdown table for readers.

use super::{Access, BAR0_SIZE, MSIX_PBA, MSIX_TABLE, MSIX_VECTORS, REGS};
use crate::identity;
use core::fmt::{self, Write};

/// Writes a CamelCase register name as `UPPER_SNAKE`.
fn upper_snake(out: &mut dyn Write, name: &str) -> fmt::Result {
    let mut previous_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && previous_lower {
            out.write_char('_')?;
        }
        out.write_char(c.to_ascii_uppercase())?;
        previous_lower = !c.is_ascii_uppercase();
    }
    Ok(())
}

/// Writes the C header `cxlmem_regs.h`.
///
/// # Errors
/// Only those of `out`.
pub fn c_header(out: &mut dyn Write) -> fmt::Result {
    out.write_str(
        "/* SPDX-License-Identifier: GPL-2.0 */\n\
         /* Generated from hdl/protocol/src/regs/list.rs; do not edit. */\n\
         #ifndef CXLMEM_REGS_H\n#define CXLMEM_REGS_H\n\n",
    )?;
    writeln!(
        out,
        "#define CXLMEM_PCI_VENDOR 0x{:04x}",
        identity::VENDOR_ID
    )?;
    writeln!(
        out,
        "#define CXLMEM_PCI_DEVICE 0x{:04x}",
        identity::DEVICE_ID
    )?;
    writeln!(out, "#define CXLMEM_BAR0_SIZE 0x{BAR0_SIZE:x}")?;
    writeln!(out, "#define CXLMEM_MSIX_TABLE 0x{MSIX_TABLE:x}")?;
    writeln!(out, "#define CXLMEM_MSIX_PBA 0x{MSIX_PBA:x}")?;
    writeln!(out, "#define CXLMEM_MSIX_VECTORS {MSIX_VECTORS}")?;
    for reg in REGS {
        writeln!(out, "\n/* {} ({:?}) */", reg.doc, reg.access)?;
        out.write_str("#define CXLMEM_")?;
        upper_snake(out, reg.name)?;
        writeln!(out, " 0x{:04x}", reg.offset)?;
        if reg.reset != 0 {
            out.write_str("#define CXLMEM_")?;
            upper_snake(out, reg.name)?;
            writeln!(out, "__RESET 0x{:08x}u", reg.reset)?;
        }
        for field in reg.fields {
            let mask = super::Field {
                lsb: field.lsb,
                width: field.width,
            }
            .mask();
            out.write_str("#define CXLMEM_")?;
            upper_snake(out, reg.name)?;
            writeln!(out, "_{} 0x{:08x}u /* {} */", field.name, mask, field.doc)?;
        }
    }
    out.write_str("\n#endif /* CXLMEM_REGS_H */\n")
}

/// Writes the Markdown page `registers.md`.
///
/// # Errors
/// Only those of `out`.
pub fn markdown(out: &mut dyn Write) -> fmt::Result {
    out.write_str(
        "# Registers (BAR0)\n\n\
         Generated from `hdl/protocol/src/regs/list.rs`; do not edit. To change it, edit the list and run\n\
         `CXLMEM_BLESS=1 cargo test -p cxlmem-protocol --test generated`.\n\n",
    )?;
    writeln!(
        out,
        "BAR0 is {} KiB. Registers are 32 bits, little endian; unassigned offsets read zero. The MSI-X table ({MSIX_VECTORS} vectors) is\n\
         at `0x{MSIX_TABLE:04x}`, its pending bits at `0x{MSIX_PBA:04x}`. RO read only, RW read and write, RW1C write one to clear,\n\
         WO write only.\n",
        BAR0_SIZE / 1024
    )?;
    out.write_str("| Offset | Register | Access | Reset | Meaning |\n|---|---|---|---|---|\n")?;
    for reg in REGS {
        write!(
            out,
            "| `0x{:04x}` | {} | {:?} | ",
            reg.offset, reg.name, reg.access
        )?;
        match reg.access {
            Access::WO => out.write_str("-")?,
            _ => write!(out, "`0x{:08x}`", reg.reset)?,
        }
        writeln!(out, " | {} |", reg.doc)?;
        for field in reg.fields {
            let high = field.lsb + field.width - 1;
            out.write_str("| | &nbsp;&nbsp;")?;
            if field.width == 1 {
                write!(out, "[{high}]")?;
            } else {
                write!(out, "[{high}:{}]", field.lsb)?;
            }
            writeln!(out, " {} | | | {} |", field.name, field.doc)?;
        }
    }
    Ok(())
}
