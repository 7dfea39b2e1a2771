//! Files generated from the register list must match it. Regenerate with `CXLMEM_BLESS=1`.

use cxlmem_protocol::regs::emit;
use std::{fs, path::Path};

fn check(relative: &str, fresh: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(relative);
    if std::env::var_os("CXLMEM_BLESS").is_some_and(|v| v == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, fresh).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == fresh,
        "{relative} is stale: run CXLMEM_BLESS=1 cargo test -p cxlmem-protocol --test generated, and commit the result"
    );
}

#[test]
fn register_page_is_fresh() {
    let mut text = String::new();
    emit::markdown(&mut text).unwrap();
    check("docs/reference/registers.md", &text);
}

#[test]
fn c_header_is_fresh() {
    let mut text = String::new();
    emit::c_header(&mut text).unwrap();
    check("driver/kernel/cxlmem_regs.h", &text);
}

/// The map is an interface: a change shows up here, to be accepted on purpose.
#[test]
fn register_map_snapshot() {
    let mut text = String::new();
    for reg in cxlmem_protocol::regs::REGS {
        text += &format!(
            "{:04x} {:<16} {:<4} {:08x}",
            reg.offset,
            reg.name,
            format!("{:?}", reg.access),
            reg.reset
        );
        for field in reg.fields {
            text += &format!(" {}[{}+{}]", field.name, field.lsb, field.width);
        }
        text += "\n";
    }
    insta::assert_snapshot!(text);
}
