//! Primitives that rust-hdl cannot express: memories. Each has a Rust model (`update`), a Verilog body (`hdl`) and a test that compares them.

use rust_hdl::prelude::*;

/// LUT RAM: one write port, one asynchronous read port, `2^A` entries.
#[derive(LogicBlock)]
pub struct LutRam<T: Synth, const A: usize> {
    pub clock: Signal<In, Clock>,
    pub write: Signal<In, Bit>,
    pub write_address: Signal<In, Bits<A>>,
    pub write_data: Signal<In, T>,
    pub read_address: Signal<In, Bits<A>>,
    pub read_data: Signal<Out, T>,
    _mem: Vec<T>,
}

impl<T: Synth, const A: usize> Default for LutRam<T, A> {
    fn default() -> Self {
        Self {
            clock: Default::default(),
            write: Default::default(),
            write_address: Default::default(),
            write_data: Default::default(),
            read_address: Default::default(),
            read_data: Default::default(),
            _mem: vec![T::default(); 1 << A],
        }
    }
}

impl<T: Synth, const A: usize> Logic for LutRam<T, A> {
    fn update(&mut self) {
        if self.clock.pos_edge() && self.write.val() {
            self._mem[self.write_address.val().index()] = self.write_data.val();
        }
        self.read_data.next = self._mem[self.read_address.val().index()];
    }
    fn connect(&mut self) {
        self.read_data.connect();
    }
    fn hdl(&self) -> Verilog {
        Verilog::Custom(format!(
            "\
(* ram_style = \"distributed\" *) reg [{w}:0] mem [0:{n}];
integer i;
initial for (i = 0; i <= {n}; i = i + 1) mem[i] = 0;
always @(posedge clock) if (write) mem[write_address] <= write_data;
always @(*) read_data = mem[read_address];
",
            w = T::BITS - 1,
            n = (1 << A) - 1,
        ))
    }
    fn timing(&self) -> Vec<TimingInfo> {
        vec![TimingInfo {
            name: "lut_ram".into(),
            clock: "clock".into(),
            inputs: vec!["write".into(), "write_address".into(), "write_data".into()],
            outputs: vec![],
        }]
    }
}

/// Block RAM: one write port, one synchronous read port, `2^A` entries.
/// A read of an address written in the same cycle is undefined: no user may rely on it.
#[derive(LogicBlock)]
pub struct BlockRam<T: Synth, const A: usize> {
    pub clock: Signal<In, Clock>,
    pub write: Signal<In, Bit>,
    pub write_address: Signal<In, Bits<A>>,
    pub write_data: Signal<In, T>,
    pub read_address: Signal<In, Bits<A>>,
    pub read_data: Signal<Out, T>,
    _mem: Vec<T>,
}

impl<T: Synth, const A: usize> Default for BlockRam<T, A> {
    fn default() -> Self {
        Self {
            clock: Default::default(),
            write: Default::default(),
            write_address: Default::default(),
            write_data: Default::default(),
            read_address: Default::default(),
            read_data: Default::default(),
            _mem: vec![T::default(); 1 << A],
        }
    }
}

impl<T: Synth, const A: usize> Logic for BlockRam<T, A> {
    fn update(&mut self) {
        if self.clock.pos_edge() {
            self.read_data.next = self._mem[self.read_address.val().index()];
            if self.write.val() {
                self._mem[self.write_address.val().index()] = self.write_data.val();
            }
        }
    }
    fn connect(&mut self) {
        self.read_data.connect();
    }
    fn hdl(&self) -> Verilog {
        Verilog::Custom(format!(
            "\
(* ram_style = \"block\" *) reg [{w}:0] mem [0:{n}];
always @(posedge clock) begin
   read_data <= mem[read_address];
   if (write) mem[write_address] <= write_data;
end
",
            w = T::BITS - 1,
            n = (1 << A) - 1,
        ))
    }
    fn timing(&self) -> Vec<TimingInfo> {
        vec![TimingInfo {
            name: "block_ram".into(),
            clock: "clock".into(),
            inputs: vec!["write".into(), "write_address".into(), "write_data".into(), "read_address".into()],
            outputs: vec!["read_data".into()],
        }]
    }
}

/// FIFO of `2^A` entries in LUT RAM. `read_data` is the head whenever `empty` is false (first-word fall-through).
/// Writing when full and reading when empty are the user's errors and are ignored.
#[derive(LogicBlock, Default)]
pub struct Fifo<T: Synth, const A: usize> {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub write: Signal<In, Bit>,
    pub write_data: Signal<In, T>,
    pub full: Signal<Out, Bit>,
    pub read: Signal<In, Bit>,
    pub read_data: Signal<Out, T>,
    pub empty: Signal<Out, Bit>,
    /// Entries held, 0 ..= 2^A - 1 (one entry is kept free).
    pub level: Signal<Out, Bits<A>>,
    mem: LutRam<T, A>,
    wr: DFF<Bits<A>>,
    rd: DFF<Bits<A>>,
}

impl<T: Synth, const A: usize> Logic for Fifo<T, A> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, wr, rd);
        self.mem.clock.next = self.clock.val();
        self.mem.write_address.next = self.wr.q.val();
        self.mem.write_data.next = self.write_data.val();
        self.mem.read_address.next = self.rd.q.val();
        self.read_data.next = self.mem.read_data.val();
        self.level.next = self.wr.q.val() - self.rd.q.val();
        self.empty.next = self.wr.q.val() == self.rd.q.val();
        self.full.next = (self.wr.q.val() + 1) == self.rd.q.val();
        self.mem.write.next = self.write.val() & !self.full.val();
        if self.write.val() & !self.full.val() {
            self.wr.d.next = self.wr.q.val() + 1;
        }
        if self.read.val() & !self.empty.val() {
            self.rd.d.next = self.rd.q.val() + 1;
        }
        if self.reset.val() {
            self.wr.d.next = 0.into();
            self.rd.d.next = 0.into();
        }
    }
}
