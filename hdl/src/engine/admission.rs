//! May this descriptor run? Device range, host addresses outside the device's own HDM range, and the owners of the device's pages.

use rust_hdl::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    Idle,
    Range,
    RangeStart,
    RangeEnd,
    Scan,
}

/// Checks a descriptor that its own fields do not rule out. `done` comes with a completion status, and with the number of lines
/// that may be moved: all of them, or with LIST the pages before the first that the host owns (then `limit_status` says so).
#[derive(LogicBlock, Default)]
pub struct Admission {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub start: Signal<In, Bit>,
    pub list: Signal<In, Bit>,
    pub uses_device: Signal<In, Bit>,
    pub uses_host: Signal<In, Bit>,
    /// The owners of all of the range matter (not for SET_OWNER, which changes them, nor CHASE, which looks at each step).
    pub scan: Signal<In, Bit>,
    pub device_line: Signal<In, Bits<26>>,
    pub device_high: Signal<In, Bit>,
    pub lines: Signal<In, Bits<16>>,
    pub host_line: Signal<In, Bits<58>>,
    pub host_span: Signal<In, Bits<16>>,
    /// Lines of the memory.
    pub capacity: Signal<In, Bits<27>>,
    /// Page whose owner is wanted in the next cycle.
    pub page: Signal<Out, Bits<20>>,
    pub owner: Signal<In, Bit>,
    /// Address to compare with the HDM range; `hit` two cycles later.
    pub granule: Signal<Out, Bits<36>>,
    pub hit: Signal<In, Bit>,
    pub done: Signal<Out, Bit>,
    pub status: Signal<Out, Bits<8>>,
    pub limit: Signal<Out, Bits<16>>,
    pub limit_status: Signal<Out, Bits<8>>,
    pub last_page: Signal<Out, Bits<20>>,
    state: DFF<State>,
    range_end: DFF<Bits<27>>,
    span_crosses: DFF<Bit>,
    last_page_r: DFF<Bits<20>>,
    page_r: DFF<Bits<20>>,
    scan_valid: DFF<Bit>,
    scan_last: DFF<Bit>,
    scanned: DFF<Bits<10>>,
    span_sum: Signal<Local, Bits<23>>,
    last_line: Signal<Local, Bits<27>>,
}

impl Logic for Admission {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            state,
            range_end,
            span_crosses,
            last_page_r,
            page_r,
            scan_valid,
            scan_last,
            scanned
        );
        self.page.next = self.page_r.q.val();
        self.last_page.next = self.last_page_r.q.val();
        self.last_line.next = self.range_end.q.val() - 1;
        self.span_sum.next = bit_cast::<23, 22>(self.host_line.val().get_bits::<22>(0))
            + bit_cast::<23, 16>(self.host_span.val())
            - 1;
        // The first granule, then the one that the last line lies in.
        self.granule.next = self.host_line.val().get_bits::<36>(22);
        if (self.state.q.val() == State::Range) & self.span_crosses.q.val() {
            self.granule.next = self.host_line.val().get_bits::<36>(22) + 1;
        }
        self.done.next = false;
        self.status.next = 0.into();
        self.limit.next = self.lines.val();
        self.limit_status.next = 0.into();
        self.scan_valid.d.next = false;
        match self.state.q.val() {
            State::Idle => {
                self.range_end.d.next = bit_cast::<27, 26>(self.device_line.val())
                    + bit_cast::<27, 16>(self.lines.val());
                self.span_crosses.d.next = self.span_sum.val().get_bit(22);
                self.page_r.d.next = self.device_line.val().get_bits::<20>(6);
                self.scanned.d.next = 0.into();
                if self.start.val() {
                    self.state.d.next = State::Range;
                }
            }
            State::Range => {
                self.last_page_r.d.next = self.last_line.val().get_bits::<20>(6);
                self.state.d.next = State::RangeStart;
                if self.uses_device.val()
                    & (self.device_high.val() | (self.range_end.q.val() > self.capacity.val()))
                {
                    self.status.next = 5.into();
                    self.done.next = true;
                }
            }
            State::RangeStart => {
                self.state.d.next = State::RangeEnd;
                if self.uses_host.val() & self.hit.val() {
                    self.status.next = 6.into();
                    self.done.next = true;
                }
            }
            State::RangeEnd => {
                self.state.d.next = State::Scan;
                if self.uses_host.val() & self.hit.val() {
                    self.status.next = 6.into();
                    self.done.next = true;
                } else if !self.scan.val() {
                    self.done.next = true;
                }
            }
            State::Scan => {
                self.page_r.d.next = self.page_r.q.val() + 1;
                self.scan_valid.d.next = true;
                self.scan_last.d.next = self.page_r.q.val() == self.last_page_r.q.val();
                if self.scan_valid.q.val() {
                    self.scanned.d.next = self.scanned.q.val() + 1;
                    if !self.owner.val() {
                        // The pages before it are good; only a list is worth starting for them.
                        self.limit_status.next = 7.into();
                        self.limit.next = bit_cast::<16, 10>(self.scanned.q.val()) << 6;
                        if !self.list.val() | !self.scanned.q.val().any() {
                            self.status.next = 7.into();
                        }
                        self.done.next = true;
                    } else if self.scan_last.q.val() {
                        self.done.next = true;
                    }
                }
            }
            _ => {
                self.state.d.next = State::Idle;
            }
        }
        if self.done.val() | self.reset.val() {
            self.state.d.next = State::Idle;
        }
    }
}
