//! The pointer chase: one line at a time, each pointer checked before it is followed.

use rust_hdl::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    Idle,
    Add,
    Look,
    Owner,
    Check,
    Issue,
    Wait,
    Next,
}

/// Runs from `start` until `done`, which comes with a completion status. `pointer` is the last pointer read, 0 at the start.
/// Reads go through the device or the host stream; `taken` says that the next pointer is in `pointer` from the next cycle on.
#[derive(LogicBlock, Default)]
pub struct Chase {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    /// One cycle: no hops yet.
    pub prepare: Signal<In, Bit>,
    pub start: Signal<In, Bit>,
    pub stop: Signal<In, Bit>,
    /// The pointers are in host memory.
    pub host: Signal<In, Bit>,
    pub count: Signal<In, Bits<21>>,
    pub base: Signal<In, Bits<26>>,
    pub capacity: Signal<In, Bits<27>>,
    pub pointer: Signal<In, Bits<64>>,
    pub taken: Signal<In, Bit>,
    /// Page whose owner is wanted in the next cycle.
    pub page: Signal<Out, Bits<20>>,
    pub owner: Signal<In, Bit>,
    /// The host address (base + pointer, two cycles ago) lies in the device's own HDM range.
    pub hdm_hit: Signal<In, Bit>,
    pub dev_issue: Signal<Out, Bit>,
    pub dev_line: Signal<Out, Bits<26>>,
    pub dev_ready: Signal<In, Bit>,
    pub host_issue: Signal<Out, Bit>,
    pub host_ready: Signal<In, Bit>,
    /// The read at hand failed: completion status, else 0.
    pub failed: Signal<In, Bits<8>>,
    pub done: Signal<Out, Bit>,
    pub status: Signal<Out, Bits<8>>,
    pub hops: Signal<Out, Bits<21>>,
    state: DFF<State>,
    line: DFF<Bits<27>>,
    owned: DFF<Bit>,
    hops_r: DFF<Bits<21>>,
    sum: Signal<Local, Bits<27>>,
    bad: Signal<Local, Bit>,
}

impl Logic for Chase {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, line, hops_r, owned);
        self.owned.d.next = self.owner.val();
        self.sum.next = bit_cast::<27, 26>(self.base.val())
            + bit_cast::<27, 22>(self.pointer.val().get_bits::<22>(6));
        self.bad.next =
            self.pointer.val().get_bits::<6>(0).any() | self.pointer.val().get_bits::<36>(28).any();
        self.page.next = self.line.q.val().get_bits::<20>(6);
        self.dev_line.next = self.line.q.val().get_bits::<26>(0);
        self.dev_issue.next = false;
        self.host_issue.next = false;
        self.done.next = false;
        self.status.next = 0.into();
        self.hops.next = self.hops_r.q.val();
        match self.state.q.val() {
            State::Idle => {
                if self.start.val() {
                    self.state.d.next = State::Add;
                }
            }
            State::Add => {
                self.line.d.next = self.sum.val();
                self.state.d.next = State::Look;
            }
            State::Look => {
                // The owner's bit and the HDM range are being looked up.
                self.state.d.next = State::Owner;
                if !self.host.val() & (self.line.q.val() >= self.capacity.val()) {
                    self.status.next = 11.into();
                    self.done.next = true;
                }
            }
            State::Owner => {
                // The bit comes from a block RAM, and what follows is a long path.
                self.state.d.next = State::Check;
            }
            State::Check => {
                self.state.d.next = State::Issue;
                if !self.host.val() & !self.owned.q.val() {
                    self.status.next = 7.into();
                    self.done.next = true;
                }
            }
            State::Issue => {
                if self.host.val() {
                    self.host_issue.next = !self.hdm_hit.val();
                    if self.host_ready.val() {
                        self.state.d.next = State::Wait;
                    }
                    if self.hdm_hit.val() {
                        self.status.next = 6.into();
                        self.done.next = true;
                    }
                } else {
                    self.dev_issue.next = true;
                    if self.dev_ready.val() {
                        self.state.d.next = State::Wait;
                    }
                }
            }
            State::Wait => {
                if self.taken.val() {
                    self.hops_r.d.next = self.hops_r.q.val() + 1;
                    self.state.d.next = State::Next;
                } else if self.failed.val().any() {
                    self.status.next = self.failed.val();
                    self.done.next = true;
                }
            }
            State::Next => {
                self.state.d.next = State::Add;
                if self.hops_r.q.val() == self.count.val() {
                    self.done.next = true;
                } else if self.bad.val() {
                    self.status.next = 11.into();
                    self.done.next = true;
                }
            }
            _ => {
                self.state.d.next = State::Idle;
            }
        }
        if self.prepare.val() {
            self.hops_r.d.next = 0.into();
        }
        if self.done.val() | self.stop.val() | self.reset.val() {
            self.state.d.next = State::Idle;
        }
    }
}
