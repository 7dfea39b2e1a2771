//! Hex in and out.

use anyhow::{bail, Context, Result};
use cxlmem_protocol::flit::{Flit, FLIT_BYTES, PAYLOAD_BYTES};
use std::fmt::Write;

/// Bytes of hex text. Spaces, `0x`, and from `#` to the end of the line are ignored.
fn bytes(text: &str) -> Result<Vec<u8>> {
    let mut digits = Vec::new();
    for (line_number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for word in line.split_whitespace() {
            let word = word
                .strip_prefix("0x")
                .or(word.strip_prefix("0X"))
                .unwrap_or(word);
            for c in word.chars() {
                let Some(digit) = c.to_digit(16) else {
                    bail!(
                        "{c:?} in {word:?} (line {}) is no hex digit: give the flit as 132 digits 0-9 a-f, spaces allowed",
                        line_number + 1
                    );
                };
                digits.push(digit as u8);
            }
        }
    }
    if digits.len() % 2 == 1 {
        bail!(
            "{} hex digits make no whole number of bytes: one digit is missing or too many",
            digits.len()
        );
    }
    Ok(digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect())
}

/// The flits in hex text, 66 bytes each.
///
/// # Errors
/// For other characters, an odd number of digits, or a length that is no multiple of 66 bytes.
pub fn flits(text: &str) -> Result<Vec<Flit>> {
    let bytes = bytes(text)?;
    if bytes.is_empty() {
        bail!("no hex digits in the input: give a flit as {FLIT_BYTES} bytes in hex, or - and the hex on standard input");
    }
    let whole = bytes.chunks_exact(FLIT_BYTES);
    let rest = whole.remainder();
    if !rest.is_empty() {
        let hint = match <[u8; PAYLOAD_BYTES]>::try_from(rest) {
            Ok(payload) => {
                let mut flit = [0; FLIT_BYTES];
                flit[..PAYLOAD_BYTES].copy_from_slice(&payload);
                let crc = cxlmem_protocol::crc::of(&Flit::from_bytes(&flit).slots);
                format!("; its CRC is missing: append {}", print(&crc.to_le_bytes()))
            }
            Err(_) => String::new(),
        };
        bail!(
            "{} bytes are {} whole flit(s) and {} bytes more: a flit is {PAYLOAD_BYTES} bytes and 2 of CRC{hint}",
            bytes.len(),
            bytes.len() / FLIT_BYTES,
            rest.len()
        );
    }
    Ok(whole
        .filter_map(|chunk| chunk.try_into().ok())
        .map(Flit::from_bytes)
        .collect())
}

/// A slot in hex, 16 bytes in wire order.
pub fn slot(text: &str) -> Result<u128> {
    let bytes = bytes(text)?;
    let length = bytes.len();
    let bytes: [u8; 16] = bytes
        .try_into()
        .ok()
        .with_context(|| format!("{length} bytes of hex where a slot has 16"))?;
    Ok(u128::from_le_bytes(bytes))
}

/// Bytes in hex, no spaces.
pub fn print(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
            let _ = write!(out, "{byte:02x}"); // a String takes all that is written
            out
        })
}
