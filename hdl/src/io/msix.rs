//! MSI-X: a table of four vectors, pending bits, and the memory write that an interrupt is.

use crate::prim::LutRam;
use rust_hdl::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    Idle,
    Low,
    High,
    Data,
    Send,
}

/// The table is 16 DWs (`bus_address` = DW index: address low, address high, data, vector control); vector control is a mask
/// bit that is set after reset. A request for a masked vector stays pending and is sent once unmasked; a request while MSI-X is
/// disabled is dropped.
#[derive(LogicBlock, Default)]
pub struct Msix {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub enable: Signal<In, Bit>,
    pub function_mask: Signal<In, Bit>,
    pub bus_master: Signal<In, Bit>,
    pub bus_write: Signal<In, Bit>,
    pub bus_address: Signal<In, Bits<4>>,
    pub bus_wdata: Signal<In, Bits<32>>,
    /// The table's DW; not valid while `busy`.
    pub bus_rdata: Signal<Out, Bits<32>>,
    /// The sender is reading the table: no bus access may be served.
    pub busy: Signal<Out, Bit>,
    pub pending: Signal<Out, Bits<4>>,
    pub request: Signal<In, Bit>,
    pub vector: Signal<In, Bits<2>>,
    pub tx_valid: Signal<Out, Bit>,
    pub tx_ready: Signal<In, Bit>,
    pub tx_address: Signal<Out, Bits<64>>,
    pub tx_data: Signal<Out, Bits<32>>,
    mem: LutRam<Bits<32>, 4>,
    mask: DFF<Bits<4>>,
    pending_r: DFF<Bits<4>>,
    state: DFF<State>,
    send_vector: DFF<Bits<2>>,
    low: DFF<Bits<32>>,
    high: DFF<Bits<32>>,
    data: DFF<Bits<32>>,
    sendable: Signal<Local, Bits<4>>,
    pick: Signal<Local, Bits<2>>,
    row: Signal<Local, Bits<4>>,
    entry: Signal<Local, Bits<2>>,
    set: Signal<Local, Bits<4>>,
    clear: Signal<Local, Bits<4>>,
}

impl Logic for Msix {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            mask,
            pending_r,
            state,
            send_vector,
            low,
            high,
            data
        );
        self.mem.clock.next = self.clock.val();
        self.mem.write.next = self.bus_write.val();
        self.mem.write_address.next = self.bus_address.val();
        self.mem.write_data.next = self.bus_wdata.val();
        self.entry.next = self.bus_address.val().get_bits::<2>(2);
        self.pending.next = self.pending_r.q.val();
        self.tx_address.next =
            bit_cast::<64, 32>(self.low.q.val()) | (bit_cast::<64, 32>(self.high.q.val()) << 32);
        self.tx_data.next = self.data.q.val();
        self.tx_valid.next = false;
        self.busy.next = false;
        self.set.next = 0.into();
        self.clear.next = 0.into();

        self.sendable.next = self.pending_r.q.val() & !self.mask.q.val();
        self.pick.next = 3.into();
        if self.sendable.val().get_bit(2) {
            self.pick.next = 2.into();
        }
        if self.sendable.val().get_bit(1) {
            self.pick.next = 1.into();
        }
        if self.sendable.val().get_bit(0) {
            self.pick.next = 0.into();
        }
        if self.request.val() & self.enable.val() {
            self.set.next = bits::<4>(1) << self.vector.val();
        }
        self.row.next = self.bus_address.val();
        match self.state.q.val() {
            State::Idle => {
                if self.sendable.val().any()
                    & self.enable.val()
                    & !self.function_mask.val()
                    & self.bus_master.val()
                {
                    self.send_vector.d.next = self.pick.val();
                    self.state.d.next = State::Low;
                }
            }
            State::Low => {
                self.busy.next = true;
                self.row.next = bit_cast::<4, 2>(self.send_vector.q.val()) << 2;
                self.low.d.next = self.mem.read_data.val() & 0xFFFF_FFFCu64;
                self.state.d.next = State::High;
            }
            State::High => {
                self.busy.next = true;
                self.row.next = (bit_cast::<4, 2>(self.send_vector.q.val()) << 2) | 1;
                self.high.d.next = self.mem.read_data.val();
                self.state.d.next = State::Data;
            }
            State::Data => {
                self.busy.next = true;
                self.row.next = (bit_cast::<4, 2>(self.send_vector.q.val()) << 2) | 2;
                self.data.d.next = self.mem.read_data.val();
                self.clear.next = bits::<4>(1) << self.send_vector.q.val();
                self.state.d.next = State::Send;
            }
            State::Send => {
                self.tx_valid.next = true;
                if self.tx_ready.val() {
                    self.state.d.next = State::Idle;
                }
            }
            _ => {
                self.state.d.next = State::Idle;
            }
        }
        self.mem.read_address.next = self.row.val();
        self.bus_rdata.next = self.mem.read_data.val();
        if self.bus_address.val().get_bits::<2>(0) == 3 {
            self.bus_rdata.next = 0.into();
            if self.mask.q.val().get_bit(self.entry.val().index()) {
                self.bus_rdata.next = 1.into();
            }
            if self.bus_write.val() {
                self.mask.d.next = self
                    .mask
                    .q
                    .val()
                    .replace_bit(self.entry.val().index(), self.bus_wdata.val().get_bit(0));
            }
        }
        self.pending_r.d.next = (self.pending_r.q.val() & !self.clear.val()) | self.set.val();
        if self.reset.val() {
            self.mask.d.next = 15.into();
            self.pending_r.d.next = 0.into();
            self.state.d.next = State::Idle;
        }
    }
}
