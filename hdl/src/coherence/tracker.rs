//! Trackers: one per outstanding request, a set of "waiting for" bits and the line it is about. Req and RwD have separate pools
//! (`cxl-mem 8.1`): a shared pool filled with Reqs would block the write that releases them.
//!
//! Over HDM-H a transaction has one bit: it waits for the memory. The directory adds its own beside it.

use crate::prim::Param;
use rust_hdl::prelude::*;

/// One tracker and its share of the CAM.
#[derive(LogicBlock, Default)]
pub struct Tracker {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub allocate: Signal<In, Bit>,
    pub allocate_line: Signal<In, Bits<26>>,
    /// The memory has answered and the response is queued.
    pub done: Signal<In, Bit>,
    pub lookup0: Signal<In, Bits<26>>,
    pub match0: Signal<Out, Bit>,
    pub lookup1: Signal<In, Bits<26>>,
    pub match1: Signal<Out, Bit>,
    pub lookup2: Signal<In, Bits<26>>,
    pub match2: Signal<Out, Bit>,
    waiting_memory: DFF<Bit>,
    line: DFF<Bits<26>>,
}

impl Logic for Tracker {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, waiting_memory, line);
        if self.allocate.val() {
            self.waiting_memory.d.next = true;
            self.line.d.next = self.allocate_line.val();
        }
        if self.done.val() {
            self.waiting_memory.d.next = false;
        }
        self.match0.next = self.waiting_memory.q.val() & (self.line.q.val() == self.lookup0.val());
        self.match1.next = self.waiting_memory.q.val() & (self.line.q.val() == self.lookup1.val());
        self.match2.next = self.waiting_memory.q.val() & (self.line.q.val() == self.lookup2.val());
        if self.reset.val() {
            self.waiting_memory.d.next = false;
        }
    }
}

/// A pool of up to `N` trackers used in ring order: the memory answers in order, so the oldest finishes first.
#[derive(LogicBlock, Default)]
pub struct Pool<const N: usize, const A: usize> {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub full: Signal<Out, Bit>,
    pub allocate: Signal<In, Bit>,
    pub allocate_line: Signal<In, Bits<26>>,
    /// The oldest is done.
    pub done: Signal<In, Bit>,
    pub lookup0: Signal<In, Bits<26>>,
    pub match0: Signal<Out, Bit>,
    pub lookup1: Signal<In, Bits<26>>,
    pub match1: Signal<Out, Bit>,
    /// For the directory: told a cycle late only.
    pub lookup2: Signal<In, Bits<26>>,
    /// `match0` and `match1` of the cycle before, for a lookup that starts late in its cycle.
    pub matched0: Signal<Out, Bit>,
    pub matched1: Signal<Out, Bit>,
    pub matched2: Signal<Out, Bit>,
    trackers: Vec<Tracker>,
    head: DFF<Bits<A>>,
    tail: DFF<Bits<A>>,
    full_now: DFF<Bit>,
    head_next: Signal<Local, Bits<A>>,
    matches0: Signal<Local, Bits<N>>,
    matches1: Signal<Local, Bits<N>>,
    matches2: Signal<Local, Bits<N>>,
    seen0: DFF<Bits<N>>,
    seen1: DFF<Bits<N>>,
    seen2: DFF<Bits<N>>,
    allocate_hot: Signal<Local, Bits<N>>,
    done_hot: Signal<Local, Bits<N>>,
    last: Param<Bits<A>>,
}

impl<const N: usize, const A: usize> Pool<N, A> {
    /// Uses the first `size` trackers; the rest are never allocated and vanish in synthesis.
    pub fn new(size: usize) -> Self {
        assert!((1..=N).contains(&size) && N <= 1 << A);
        Self {
            trackers: (0..N).map(|_| Tracker::default()).collect(),
            last: Param::new((size as u64 - 1).into()),
            ..Default::default()
        }
    }
}

impl<const N: usize, const A: usize> Logic for Pool<N, A> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, head, tail, full_now, seen0, seen1, seen2);
        self.allocate_hot.next = 0.into();
        self.head_next.next = self.head.q.val() + 1;
        if self.head.q.val() == self.last.val() {
            self.head_next.next = 0.into();
        }
        if self.allocate.val() {
            self.allocate_hot.next = bits::<N>(1) << self.head.q.val();
            self.head.d.next = self.head_next.val();
        }
        self.done_hot.next = 0.into();
        if self.done.val() {
            self.done_hot.next = bits::<N>(1) << self.tail.q.val();
            self.tail.d.next = self.tail.q.val() + 1;
            if self.tail.q.val() == self.last.val() {
                self.tail.d.next = 0.into();
            }
        }
        self.matches0.next = 0.into();
        self.matches1.next = 0.into();
        self.matches2.next = 0.into();
        for i in 0..N {
            self.trackers[i].clock.next = self.clock.val();
            self.trackers[i].reset.next = self.reset.val();
            self.trackers[i].allocate.next = self.allocate_hot.val().get_bit(i);
            self.trackers[i].allocate_line.next = self.allocate_line.val();
            self.trackers[i].done.next = self.done_hot.val().get_bit(i);
            self.trackers[i].lookup0.next = self.lookup0.val();
            self.trackers[i].lookup1.next = self.lookup1.val();
            self.trackers[i].lookup2.next = self.lookup2.val();
            self.matches0.next = self
                .matches0
                .val()
                .replace_bit(i, self.trackers[i].match0.val());
            self.matches1.next = self
                .matches1
                .val()
                .replace_bit(i, self.trackers[i].match1.val());
            self.matches2.next = self
                .matches2
                .val()
                .replace_bit(i, self.trackers[i].match2.val());
        }
        self.match0.next = self.matches0.val().any();
        self.match1.next = self.matches1.val().any();
        self.seen0.d.next = self.matches0.val();
        self.seen1.d.next = self.matches1.val();
        self.seen2.d.next = self.matches2.val();
        self.matched0.next = self.seen0.q.val().any();
        self.matched1.next = self.seen1.q.val().any();
        self.matched2.next = self.seen2.q.val().any();
        if self.allocate.val() & !self.done.val() {
            self.full_now.d.next = self.head_next.val() == self.tail.q.val();
        }
        if self.done.val() & !self.allocate.val() {
            self.full_now.d.next = false;
        }
        self.full.next = self.full_now.q.val();
        if self.reset.val() {
            self.head.d.next = 0.into();
            self.tail.d.next = 0.into();
            self.full_now.d.next = false;
        }
    }
}
