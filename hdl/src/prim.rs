//! Primitives that rust-hdl cannot express: memories. Each has a Rust model (`update`), a Verilog body (`hdl`) and a test that compares them.

use rust_hdl::prelude::*;

/// A value fixed when the block is built: rust-hdl's `Constant` with a default, so that a block with parameters can still derive
/// `Default` and name only what differs.
#[derive(Clone, Debug)]
pub struct Param<T: Synth>(Constant<T>);

impl<T: Synth> Param<T> {
    pub fn new(value: T) -> Self {
        Self(Constant::new(value))
    }

    pub fn val(&self) -> T {
        self.0.val()
    }
}

impl<T: Synth> Default for Param<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Synth> Logic for Param<T> {
    fn update(&mut self) {}
}

impl<T: Synth> Block for Param<T> {
    fn connect_all(&mut self) {}
    fn update_all(&mut self) {}
    fn has_changed(&self) -> bool {
        false
    }
    fn accept(&self, name: &str, probe: &mut dyn Probe) {
        self.0.accept(name, probe);
    }
}

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

/// Block RAM: one write port, one synchronous read port with enable, `2^A` entries.
/// A read of an address written in the same cycle is undefined: no user may rely on it.
#[derive(LogicBlock)]
pub struct BlockRam<T: Synth, const A: usize> {
    pub clock: Signal<In, Clock>,
    pub write: Signal<In, Bit>,
    pub write_address: Signal<In, Bits<A>>,
    pub write_data: Signal<In, T>,
    pub read: Signal<In, Bit>,
    pub read_address: Signal<In, Bits<A>>,
    pub read_data: Signal<Out, T>,
    _mem: Vec<T>,
    _depth_bits: usize,
    /// There is no memory: everything reads as zero.
    _absent: bool,
}

impl<T: Synth, const A: usize> BlockRam<T, A> {
    /// No memory, for what a configuration does without.
    pub fn absent() -> Self {
        Self {
            _absent: true,
            ..Self::with_depth_bits(0)
        }
    }

    /// Only the lowest `2^depth_bits` entries exist; higher address bits are ignored.
    pub fn with_depth_bits(depth_bits: usize) -> Self {
        Self {
            clock: Default::default(),
            write: Default::default(),
            write_address: Default::default(),
            write_data: Default::default(),
            read: Default::default(),
            read_address: Default::default(),
            read_data: Default::default(),
            _mem: vec![],
            _depth_bits: depth_bits.min(A),
            _absent: false,
        }
    }

    fn slot(&mut self, address: Bits<A>) -> &mut T {
        let n = 1 << self._depth_bits;
        if self._mem.is_empty() {
            self._mem = vec![T::default(); n];
        }
        &mut self._mem[address.index() & (n - 1)]
    }
}

impl<T: Synth, const A: usize> Default for BlockRam<T, A> {
    fn default() -> Self {
        Self::with_depth_bits(A)
    }
}

impl<T: Synth, const A: usize> Logic for BlockRam<T, A> {
    fn update(&mut self) {
        if self.clock.pos_edge() {
            if self.read.val() {
                let a = self.read_address.val();
                self.read_data.next = *self.slot(a);
            }
            if self.write.val() && !self._absent {
                let a = self.write_address.val();
                *self.slot(a) = self.write_data.val();
            }
        }
    }
    fn connect(&mut self) {
        self.read_data.connect();
    }
    fn hdl(&self) -> Verilog {
        if self._absent {
            return Verilog::Custom("always @(posedge clock) read_data <= 0;\n".into());
        }
        Verilog::Custom(format!(
            "\
(* ram_style = \"block\" *) reg [{w}:0] mem [0:{n}];
initial read_data = 0;
always @(posedge clock) begin
   if (read) read_data <= mem[read_address[{a}:0]];
   if (write) mem[write_address[{a}:0]] <= write_data;
end
",
            w = T::BITS - 1,
            a = self._depth_bits.max(1) - 1,
            n = (1 << self._depth_bits) - 1,
        ))
    }
    fn timing(&self) -> Vec<TimingInfo> {
        vec![TimingInfo {
            name: "block_ram".into(),
            clock: "clock".into(),
            inputs: vec![
                "write".into(),
                "write_address".into(),
                "write_data".into(),
                "read".into(),
                "read_address".into(),
            ],
            outputs: vec!["read_data".into()],
        }]
    }
}

/// Line memory: 128-bit words with 16 byte enables, one write port, one synchronous read port.
/// As [`BlockRam`], a read of an address written in the same cycle is undefined.
#[derive(LogicBlock)]
pub struct LineRam {
    pub clock: Signal<In, Clock>,
    pub write: Signal<In, Bit>,
    pub write_address: Signal<In, Bits<28>>,
    pub write_data: Signal<In, Bits<128>>,
    pub write_be: Signal<In, Bits<16>>,
    pub read: Signal<In, Bit>,
    pub read_address: Signal<In, Bits<28>>,
    pub read_data: Signal<Out, Bits<128>>,
    _mem: Vec<u128>,
    _depth_bits: usize,
}

impl LineRam {
    /// `2^depth_bits` words of 16 bytes.
    pub fn with_depth_bits(depth_bits: usize) -> Self {
        Self {
            clock: Default::default(),
            write: Default::default(),
            write_address: Default::default(),
            write_data: Default::default(),
            write_be: Default::default(),
            read: Default::default(),
            read_address: Default::default(),
            read_data: Default::default(),
            _mem: vec![],
            _depth_bits: depth_bits,
        }
    }
}

impl Default for LineRam {
    fn default() -> Self {
        Self::with_depth_bits(2)
    }
}

impl Logic for LineRam {
    fn update(&mut self) {
        let n = 1usize << self._depth_bits;
        if self._mem.is_empty() {
            self._mem = vec![0; n];
        }
        if self.clock.pos_edge() {
            if self.read.val() {
                let word = self._mem[self.read_address.val().index() & (n - 1)];
                self.read_data.next = num_bigint::BigUint::from(word).into();
            }
            if self.write.val() {
                let at = self.write_address.val().index() & (n - 1);
                let data = self.write_data.val().to_u128();
                for i in 0..16 {
                    if self.write_be.val().get_bit(i) {
                        let mask = 0xffu128 << (8 * i);
                        self._mem[at] = (self._mem[at] & !mask) | (data & mask);
                    }
                }
            }
        }
    }
    fn connect(&mut self) {
        self.read_data.connect();
    }
    fn hdl(&self) -> Verilog {
        let lanes: String = (0..16)
            .map(|i| {
                format!(
                    "   if (write && write_be[{i}]) mem[write_address[{a}:0]][{hi}:{lo}] <= write_data[{hi}:{lo}];\n",
                    a = self._depth_bits - 1,
                    hi = 8 * i + 7,
                    lo = 8 * i
                )
            })
            .collect();
        Verilog::Custom(format!(
            "\
(* ram_style = \"block\" *) reg [127:0] mem [0:{n}];
initial read_data = 0;
always @(posedge clock) begin
   if (read) read_data <= mem[read_address[{a}:0]];
{lanes}end
",
            a = self._depth_bits - 1,
            n = (1usize << self._depth_bits) - 1,
        ))
    }
    fn timing(&self) -> Vec<TimingInfo> {
        vec![TimingInfo {
            name: "line_ram".into(),
            clock: "clock".into(),
            inputs: vec![
                "write".into(),
                "write_address".into(),
                "write_data".into(),
                "write_be".into(),
                "read".into(),
                "read_address".into(),
            ],
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
    wr_next: Signal<Local, Bits<A>>,
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
        // Through a signal of its own: Verilog would compare `wr + 1` at 32 bits, without the wrap.
        self.wr_next.next = self.wr.q.val() + 1;
        self.full.next = self.wr_next.val() == self.rd.q.val();
        self.mem.write.next = self.write.val() & !self.full.val();
        if self.write.val() & !self.full.val() {
            self.wr.d.next = self.wr_next.val();
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

/// FIFO whose writes take effect only when committed: what a flit receiver needs, since a flit's CRC comes last.
/// `commit` makes everything written so far (this cycle included) visible; `abort` takes back what was not committed.
/// Capacity is exactly `2^A`; the user's credits bound it.
#[derive(LogicBlock, Default)]
pub struct CommitFifo<T: Synth, const A: usize, const P: usize> {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub write: Signal<In, Bit>,
    pub write_data: Signal<In, T>,
    pub commit: Signal<In, Bit>,
    pub abort: Signal<In, Bit>,
    pub overflow: Signal<Out, Bit>,
    pub full: Signal<Out, Bit>,
    pub read: Signal<In, Bit>,
    pub read_data: Signal<Out, T>,
    pub empty: Signal<Out, Bit>,
    /// Committed entries.
    pub level: Signal<Out, Bits<P>>,
    mem: LutRam<T, A>,
    wr: DFF<Bits<P>>,
    committed: DFF<Bits<P>>,
    rd: DFF<Bits<P>>,
    used: Signal<Local, Bits<P>>,
    wr_next: Signal<Local, Bits<P>>,
}

impl<T: Synth, const A: usize, const P: usize> Logic for CommitFifo<T, A, P> {
    // P must be A + 1: the extra bit tells full from empty.
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, wr, committed, rd);
        self.mem.clock.next = self.clock.val();
        self.mem.write_address.next = bit_cast::<A, P>(self.wr.q.val());
        self.mem.write_data.next = self.write_data.val();
        self.mem.read_address.next = bit_cast::<A, P>(self.rd.q.val());
        self.read_data.next = self.mem.read_data.val();
        self.used.next = self.wr.q.val() - self.rd.q.val();
        // P = A + 1 and 0 <= used <= 2^A, so a non-zero count whose low bits are zero is 2^A.
        self.full.next = (bit_cast::<A, P>(self.used.val()) == 0) & (self.used.val() != 0);
        self.overflow.next = self.write.val() & self.full.val();
        self.level.next = self.committed.q.val() - self.rd.q.val();
        self.empty.next = self.committed.q.val() == self.rd.q.val();
        self.mem.write.next = self.write.val() & !self.full.val();
        self.wr_next.next = self.wr.q.val();
        if self.write.val() & !self.full.val() {
            self.wr_next.next = self.wr.q.val() + 1;
        }
        self.wr.d.next = self.wr_next.val();
        if self.commit.val() {
            self.committed.d.next = self.wr_next.val();
        }
        if self.abort.val() {
            self.wr.d.next = self.committed.q.val();
        }
        if self.read.val() & !self.empty.val() {
            self.rd.d.next = self.rd.q.val() + 1;
        }
        if self.reset.val() {
            self.wr.d.next = 0.into();
            self.committed.d.next = 0.into();
            self.rd.d.next = 0.into();
        }
    }
}
