//! Gates over the emitted Verilog and the sources.
