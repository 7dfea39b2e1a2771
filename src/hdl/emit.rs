//! `cxlmem hdl emit`: write the Verilog.

use std::path::Path;

use anyhow::{Context, Result};
use cxlmem_hdl::Config;
use sha2::{Digest, Sha256};

/// Writes `top.v` of a configuration into a folder.
pub fn run(config: &Config, out: &Path) -> Result<()> {
    let verilog = cxlmem_hdl::emit(config)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let file = out.join("top.v");
    std::fs::write(&file, &verilog).with_context(|| format!("cannot write {}", file.display()))?;
    println!(
        "{}: configuration {}, {} lines, sha256 {}",
        file.display(),
        config.name,
        verilog.lines().count(),
        sha256(&verilog)
    );
    Ok(())
}

/// SHA-256 in hexadecimal.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}
