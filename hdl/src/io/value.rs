//! A number that the configuration chooses.

use rust_hdl::prelude::*;

/// Drives `out` with a value given at construction. Unlike rust-hdl's `Constant` it has a default, so a block that holds one can
/// derive `Default`.
#[derive(LogicBlock, Default)]
pub struct Value<T: Synth> {
    pub out: Signal<Out, T>,
    _value: T,
}

impl<T: Synth> Value<T> {
    /// A source of `value`.
    pub fn new(value: T) -> Self {
        Self {
            _value: value,
            ..Self::default()
        }
    }
}

impl<T: Synth> Logic for Value<T> {
    fn update(&mut self) {
        self.out.next = self._value;
    }
    fn connect(&mut self) {
        self.out.connect();
    }
    fn hdl(&self) -> Verilog {
        Verilog::Custom(format!("always @(*) out = {};\n", self._value.verilog()))
    }
}
