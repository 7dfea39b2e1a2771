//! The coherent memory controller in rust-hdl, and the Verilog it emits.
//!
//! One 128-bit slot a cycle. `link` frames and unframes flits, `coherence` decodes addresses, tracks requests and applies the
//! protocol's rules, `memory` holds the lines, `io` speaks TLPs and holds the registers, `engine` works beside the memory. `top` joins
//! them; `config` names the sizes. The pins are described in `docs/developer/interfaces.md`.

// A LogicBlock's ports are documented by the block's own docstring.
#![allow(missing_docs)]
// rust-hdl's update() kernels know only if/else chains and `x = x op y`, and drop a match's guards.
#![allow(
    clippy::collapsible_if,
    clippy::collapsible_else_if,
    clippy::collapsible_match,
    clippy::assign_op_pattern
)]
#![allow(clippy::nonminimal_bool, clippy::bool_comparison, clippy::identity_op)]

pub mod board;
pub mod coherence;
pub mod config;
pub mod engine;
pub mod gates;
pub mod io;
pub mod link;
pub mod memory;
pub mod mutants;
pub mod prim;
pub mod probes;
pub mod prove;
pub mod serial;
pub mod top;

pub use config::{Backend, Config};

use rust_hdl::prelude::*;

/// Verilog of the controller in one configuration; the top module is called `top`.
///
/// Fails (with rust-hdl's own report) if a signal has no driver or there is a combinational loop.
pub fn emit(config: &Config) -> Result<String, EmitError> {
    emit_block(top::Top::new(config))
}

/// Verilog of a block as the top module `top`. As [`emit`].
pub fn emit_block(mut uut: impl Block) -> Result<String, EmitError> {
    uut.connect_all();
    check_all(&uut).map_err(|e| EmitError(format!("{e:?}")))?;
    Ok(generate_verilog_unchecked(&uut))
}

/// rust-hdl refused the design: the text is its report.
#[derive(Debug, thiserror::Error)]
#[error("rust-hdl refused the design: {0}")]
pub struct EmitError(String);

/// Direction of a pin of the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinDir {
    /// Into the controller.
    In,
    /// Out of the controller.
    Out,
}

/// One pin bundle of the top, read from the rust-hdl block itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Name in the Verilog.
    pub name: String,
    /// Direction seen from the controller.
    pub dir: PinDir,
    /// Width in bits.
    pub width: usize,
}

/// The top's pins in declaration order: what shims and wrappers are generated from.
pub fn pins(config: &Config) -> Vec<Pin> {
    pins_of(&top::Top::new(config))
}

/// A block's pins in declaration order.
pub fn pins_of(block: &dyn Block) -> Vec<Pin> {
    #[derive(Default)]
    struct Collect {
        depth: usize,
        pins: Vec<Pin>,
    }
    impl Probe for Collect {
        fn visit_start_scope(&mut self, _: &str, _: &dyn Block) {
            self.depth += 1;
        }
        fn visit_start_namespace(&mut self, _: &str, _: &dyn Block) {}
        fn visit_atom(&mut self, name: &str, signal: &dyn Atom) {
            if self.depth != 1 {
                return;
            }
            let dir = match signal.kind() {
                AtomKind::InputParameter => PinDir::In,
                AtomKind::OutputParameter => PinDir::Out,
                _ => return,
            };
            self.pins.push(Pin {
                name: name.to_string(),
                dir,
                width: signal.bits(),
            });
        }
        fn visit_end_namespace(&mut self, _: &str, _: &dyn Block) {}
        fn visit_end_scope(&mut self, _: &str, _: &dyn Block) {
            self.depth -= 1;
        }
    }
    let mut c = Collect::default();
    block.accept("top", &mut c);
    c.pins
}
