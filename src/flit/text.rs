//! A flit in words.

use super::doc::{header_fields, FlitDoc, FlitKind, KINDS};
use cxlmem_protocol::flit::Direction;
use serde_json::{Map, Value};
use std::fmt::Write;

impl FlitDoc {
    /// The flit in words, one field a line.
    pub fn to_text(&self, index: usize) -> String {
        let mut out = String::new();
        self.write_text(index, &mut out)
            .map_or_else(|_| String::new(), |()| out)
    }

    fn write_text(&self, index: usize, out: &mut String) -> std::fmt::Result {
        let direction = match self.direction {
            Some(Direction::S2m) => "device to host",
            _ => "host to device",
        };
        let kind = match self.kind {
            Some(FlitKind::AllData) => "all-data flit",
            Some(FlitKind::Control) => "control flit",
            _ => "protocol flit",
        };
        let verdict = if self.crc_ok == Some(true) {
            "good"
        } else {
            "BAD"
        };
        let crc = self.crc.as_deref().unwrap_or("-");
        writeln!(
            out,
            "flit {index}: {direction}, {kind}, rollover {}, CRC {crc} {verdict}",
            self.rollover
        )?;
        if let Some(header) = &self.header {
            writeln!(out, "  header")?;
            for (key, lsb, width) in header_fields() {
                if let Some(value) = header.get(&key) {
                    let credits = match value.as_u64() {
                        Some(nibble) if key.ends_with("Crd") && nibble > 0 => {
                            let amount = cxlmem_protocol::flit::CREDIT_AMOUNTS[nibble as usize & 7];
                            format!(
                                "   {amount} for CXL.{}",
                                if nibble & 8 == 0 { "cache" } else { "mem" }
                            )
                        }
                        _ => String::new(),
                    };
                    writeln!(
                        out,
                        "    {:<9} {key:<10} {value}{credits}",
                        range(lsb, width)
                    )?;
                }
            }
        }
        for slot in &self.slots {
            writeln!(
                out,
                "  slot {} {:<2} {}",
                slot.slot, slot.format, slot.content
            )?;
            if let Some(data) = &slot.data {
                writeln!(out, "    {data}")?;
            }
            if let (0, Some(control)) = (slot.slot, &self.control) {
                writeln!(
                    out,
                    "    {}",
                    serde_json::to_string(control).unwrap_or_default()
                )?;
            }
            for message in self.messages.iter().filter(|m| m["slot"] == slot.slot) {
                write_message(message, out)?;
            }
            if let Some(rest) = &slot.rest {
                writeln!(out, "    other bits {rest}")?;
            }
        }
        for line in &self.lines {
            let be = line["be"]
                .as_str()
                .map_or_else(String::new, |be| format!(", byte enables {be}"));
            let data = line["data"].as_str().unwrap_or_default();
            writeln!(
                out,
                "  complete: {} Tag {}{be}\n    {data}",
                line["message"].as_str().unwrap_or_default(),
                line["Tag"]
            )?;
        }
        for error in &self.errors {
            writeln!(out, "  ERROR in slot {}: {}", error.slot, error.error)?;
        }
        Ok(())
    }
}

/// A bit range such as `[7:5]`.
fn range(lsb: u32, width: u32) -> String {
    if width == 1 {
        format!("[{lsb}]")
    } else {
        format!("[{}:{lsb}]", lsb + width - 1)
    }
}

/// A message field by field, with the positions in the message.
fn write_message(message: &Map<String, Value>, out: &mut String) -> std::fmt::Result {
    let Some(kind) = KINDS
        .into_iter()
        .find(|kind| message["message"] == kind.def().name)
    else {
        return Ok(());
    };
    writeln!(
        out,
        "    {} at slot bit {}",
        kind.def().name,
        message["bit"]
    )?;
    for field in kind.def().fields {
        let Some(value) = message.get(field.name) else {
            continue;
        };
        let shown = match (field.shift, value) {
            (0, Value::String(name)) => name.clone(),
            (0, Value::Number(_)) if field.name_of.is_some() => format!("{value}   reserved"),
            (0, value) => value.to_string(),
            (_, value) => format!("{:#x}", value.as_u64().unwrap_or_default()),
        };
        writeln!(
            out,
            "      {:<9} {:<10} {shown}",
            range(field.lsb, field.width),
            field.name
        )?;
    }
    Ok(())
}
