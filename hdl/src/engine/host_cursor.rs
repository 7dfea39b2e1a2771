//! The host side of a transfer as one stream of requests of one or two lines: a contiguous range, or the pages of a list, whose
//! entries are fetched ahead.

use crate::prim::Fifo;
use rust_hdl::prelude::*;

/// One list entry as it came: an address, and the reader's status. It is judged when it leaves the queue.
#[derive(Copy, Clone, Debug, Default, PartialEq, LogicStruct)]
pub struct Entry {
    address: Bits<64>,
    status: Bits<2>,
}

/// `start` loads a transfer. Then `chunk_*` offers requests that never cross a 4 KiB boundary, one per `chunk_take`.
/// A bad list entry stops the stream before its page: `bad`, with the completion status and the number of good pages.
#[derive(LogicBlock, Default)]
pub struct HostCursor {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub start: Signal<In, Bit>,
    pub clear: Signal<In, Bit>,
    pub list: Signal<In, Bit>,
    pub line: Signal<In, Bits<58>>,
    /// LIST: index of the first entry in the line.
    pub first: Signal<In, Bits<3>>,
    /// Lines to transfer; pages times 64 with LIST.
    pub lines: Signal<In, Bits<16>>,
    // list fetch
    pub fetch_valid: Signal<Out, Bit>,
    pub fetch_ready: Signal<In, Bit>,
    pub fetch_line: Signal<Out, Bits<58>>,
    pub entry_valid: Signal<In, Bit>,
    pub entry_ready: Signal<Out, Bit>,
    pub entry_data: Signal<In, Bits<128>>,
    pub entry_beat: Signal<In, Bits<2>>,
    pub entry_status: Signal<In, Bits<2>>,
    // is this page in the device's own HDM range? Answer two cycles later
    pub check_granule: Signal<Out, Bits<36>>,
    pub check_hit: Signal<In, Bit>,
    // the stream
    pub chunk_valid: Signal<Out, Bit>,
    pub chunk_line: Signal<Out, Bits<58>>,
    pub chunk_two: Signal<Out, Bit>,
    pub chunk_take: Signal<In, Bit>,
    /// Every list line was requested.
    pub list_fetched: Signal<Out, Bit>,
    /// Every chunk was taken.
    pub ended: Signal<Out, Bit>,
    pub bad: Signal<Out, Bit>,
    pub bad_status: Signal<Out, Bits<4>>,
    pub bad_page: Signal<Out, Bits<10>>,
    /// Line of the stream, or of the list before it is loaded.
    here: DFF<Bits<58>>,
    left: DFF<Bits<16>>,
    pages_left: DFF<Bits<10>>,
    pages_done: DFF<Bits<10>>,
    list_line: DFF<Bits<58>>,
    /// Entries still to be requested, and to be taken from what was requested.
    fetch_left: DFF<Bits<10>>,
    fetch_skip: DFF<Bits<3>>,
    take_left: DFF<Bits<10>>,
    take_skip: DFF<Bits<3>>,
    in_flight: DFF<Bit>,
    odd: DFF<Bit>,
    fifo: Fifo<Entry, 4>,
    /// The next page: 0 none, 1 and 2 being checked, 3 ready.
    step: DFF<Bits<2>>,
    page: DFF<Bits<52>>,
    /// What is wrong with it: 0 nothing, else a completion status.
    page_status: DFF<Bits<4>>,
    bad_r: DFF<Bit>,
    head: Signal<Local, Entry>,
    head_address: Signal<Local, Bits<64>>,
    pages: Signal<Local, Bits<10>>,
    word: Signal<Local, Bits<64>>,
    index: Signal<Local, Bits<3>>,
    got: Signal<Local, Bits<10>>,
    two: Signal<Local, Bit>,
    stride: Signal<Local, Bits<2>>,
    room: Signal<Local, Bit>,
}

impl Logic for HostCursor {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            here,
            left,
            pages_left,
            pages_done,
            list_line,
            fetch_left,
            fetch_skip,
            take_left,
            take_skip,
            in_flight,
            odd,
            step,
            page,
            page_status,
            bad_r
        );
        self.fifo.clock.next = self.clock.val();
        self.fifo.reset.next = self.reset.val() | self.clear.val();
        self.pages.next = self.lines.val().get_bits::<10>(6);

        // List lines, one at a time: the FIFO has room for two, and one holds 8 pages' worth of work.
        self.room.next = !self.fifo.level.val().get_bit(3);
        self.fetch_valid.next =
            self.fetch_left.q.val().any() & !self.in_flight.q.val() & self.room.val();
        self.fetch_line.next = self.list_line.q.val();
        self.list_fetched.next = !self.fetch_left.q.val().any();
        self.got.next = bits::<10>(8) - bit_cast::<10, 3>(self.fetch_skip.q.val());
        if self.fetch_valid.val() & self.fetch_ready.val() {
            self.in_flight.d.next = true;
            self.list_line.d.next = self.list_line.q.val() + 1;
            self.fetch_skip.d.next = 0.into();
            self.fetch_left.d.next = self.fetch_left.q.val() - self.got.val();
            if self.fetch_left.q.val() <= self.got.val() {
                self.fetch_left.d.next = 0.into();
            }
        }

        // Entries, one a cycle, two a beat.
        self.word.next = self.entry_data.val().get_bits::<64>(0);
        if self.odd.q.val() {
            self.word.next = self.entry_data.val().get_bits::<64>(64);
        }
        self.index.next = (bit_cast::<3, 2>(self.entry_beat.val()) << 1)
            | bit_cast::<3, 1>(self.odd.q.val().into());
        self.entry_ready.next = self.odd.q.val();
        self.fifo.write.next = false;
        self.fifo.write_data.next.address = self.word.val();
        self.fifo.write_data.next.status = self.entry_status.val();
        if self.entry_valid.val() {
            self.odd.d.next = !self.odd.q.val();
            if (self.index.val() >= self.take_skip.q.val()) & self.take_left.q.val().any() {
                self.fifo.write.next = true;
                self.take_left.d.next = self.take_left.q.val() - 1;
            }
            if self.index.val().all() {
                self.take_skip.d.next = 0.into();
                self.in_flight.d.next = false;
            }
        }

        // The next page, checked before it is needed.
        self.head.next = self.fifo.read_data.val();
        self.head_address.next = self.head.val().address;
        self.check_granule.next = self.page.q.val().get_bits::<36>(16);
        self.fifo.read.next = false;
        if self.step.q.val() == 0 {
            if !self.fifo.empty.val() {
                self.fifo.read.next = true;
                self.page.d.next = self.head_address.val().get_bits::<52>(12);
                self.page_status.d.next = 0.into();
                if self.head_address.val().get_bits::<12>(0).any() {
                    self.page_status.d.next = 3.into();
                }
                if self.head.val().status == 1 {
                    self.page_status.d.next = 8.into();
                }
                if self.head.val().status == 2 {
                    self.page_status.d.next = 10.into();
                }
                self.step.d.next = 1.into();
            }
        } else if self.step.q.val() == 1 {
            self.step.d.next = 2.into();
        } else if self.step.q.val() == 2 {
            self.step.d.next = 3.into();
        }

        // Chunks.
        self.two.next = !self.here.q.val().get_bit(0) & (self.left.q.val() != 1);
        self.chunk_valid.next = self.left.q.val().any();
        self.chunk_line.next = self.here.q.val();
        self.chunk_two.next = self.two.val();
        self.ended.next = !self.left.q.val().any() & !self.pages_left.q.val().any();
        self.stride.next = 1.into();
        if self.two.val() {
            self.stride.next = 2.into();
        }
        if self.chunk_take.val() {
            self.here.d.next = self.here.q.val() + bit_cast::<58, 2>(self.stride.val());
            self.left.d.next = self.left.q.val() - bit_cast::<16, 2>(self.stride.val());
        }
        self.bad.next = self.bad_r.q.val();
        self.bad_status.next = self.page_status.q.val();
        self.bad_page.next = self.pages_done.q.val();
        if !self.left.q.val().any()
            & self.pages_left.q.val().any()
            & (self.step.q.val() == 3)
            & !self.bad_r.q.val()
        {
            // Two cycles after step 1 the answer to `check_granule` is in.
            if self.page_status.q.val().any() {
                self.bad_r.d.next = true;
            } else if self.check_hit.val() {
                self.bad_r.d.next = true;
                self.page_status.d.next = 6.into();
            } else {
                self.here.d.next = bit_cast::<58, 52>(self.page.q.val()) << 6;
                self.left.d.next = 64.into();
                self.pages_left.d.next = self.pages_left.q.val() - 1;
                self.pages_done.d.next = self.pages_done.q.val() + 1;
                self.step.d.next = 0.into();
            }
        }
        if self.start.val() {
            self.here.d.next = self.line.val();
            self.left.d.next = self.lines.val();
            self.pages_left.d.next = 0.into();
            self.fetch_left.d.next = 0.into();
            if self.list.val() {
                self.left.d.next = 0.into();
                self.pages_left.d.next = self.pages.val();
                self.fetch_left.d.next = self.pages.val();
            }
            self.take_left.d.next = self.pages.val();
            self.list_line.d.next = self.line.val();
            self.fetch_skip.d.next = self.first.val();
            self.take_skip.d.next = self.first.val();
            self.pages_done.d.next = 0.into();
        }
        if self.clear.val() | self.reset.val() {
            self.left.d.next = 0.into();
            self.pages_left.d.next = 0.into();
            self.fetch_left.d.next = 0.into();
            self.take_left.d.next = 0.into();
            self.in_flight.d.next = false;
            self.odd.d.next = false;
            self.step.d.next = 0.into();
            self.bad_r.d.next = false;
        }
    }
}
