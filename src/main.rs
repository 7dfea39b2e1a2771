//! The `cxlmem` command.
fn main() {}
