//! The descriptor ring: which descriptor is next, whether it may be fetched, and what stops the ring.

use rust_hdl::prelude::*;

/// Follows the ring from its head to software's tail. One descriptor is fetched ahead of the one that runs: `wanted` asks for it,
/// `fetched` says that it was asked of the host, and its four beats come with `beat_valid` while the engine is idle; `start` comes
/// with the last of a good one, `retire` when its record is written.
///
/// A ring that cannot be used, or a descriptor that cannot be had, is a `fault`, with a completion status as its code
/// (`docs/developer/interfaces.md` section 5): BAD_COUNT for a size out of bounds, HOST_IN_HDM for a ring in the device's own HDM
/// range, DMA_ERROR, POISON or DMA_TIMEOUT for a fetch. Only `restart` clears it.
#[derive(LogicBlock, Default)]
pub struct Ring {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // registers
    pub enable: Signal<In, Bit>,
    pub bus_master: Signal<In, Bit>,
    /// Address of the descriptor ring, bits 63:6.
    pub ring: Signal<In, Bits<58>>,
    pub ring_log2: Signal<In, Bits<4>>,
    pub tail: Signal<In, Bits<10>>,
    /// Address of the completion ring, bits 63:5.
    pub completions: Signal<In, Bits<59>>,
    // what the engine does
    pub idle: Signal<In, Bit>,
    /// A descriptor runs: the next is the one after the head.
    pub busy: Signal<In, Bit>,
    /// A soft reset waits or is under way.
    pub abort: Signal<In, Bit>,
    /// All that the running descriptor reads from the host was asked for.
    pub reads_issued: Signal<In, Bit>,
    /// The address of descriptor `index` is there to be used.
    pub addressed: Signal<In, Bit>,
    pub fetched: Signal<In, Bit>,
    /// The engine flushes the reader: a descriptor on its way is lost, and fetched again.
    pub lost: Signal<In, Bit>,
    pub beat_valid: Signal<In, Bit>,
    pub beat: Signal<In, Bits<2>>,
    /// Completion status of the beat, 0 if it is good.
    pub beat_error: Signal<In, Bits<8>>,
    pub timed_out: Signal<In, Bit>,
    /// A completion record could not be written in time.
    pub record_lost: Signal<In, Bit>,
    pub retire: Signal<In, Bit>,
    /// Back to the start of the ring, without a fault.
    pub restart: Signal<In, Bit>,
    // is the ring in the device's own HDM range? `HdmCheck` answers two cycles later
    pub granule: Signal<Out, Bits<36>>,
    pub hit: Signal<In, Bit>,
    // outcome
    pub index: Signal<Out, Bits<10>>,
    pub wanted: Signal<Out, Bit>,
    pub start: Signal<Out, Bit>,
    /// The reader is to be flushed.
    pub flush: Signal<Out, Bit>,
    pub head: Signal<Out, Bits<10>>,
    /// Of the record at `head`: inverted at each pass over the ring.
    pub phase: Signal<Out, Bit>,
    /// Descriptors wait.
    pub more: Signal<Out, Bit>,
    pub done_count: Signal<Out, Bits<32>>,
    pub fault: Signal<Out, Bit>,
    pub fault_code: Signal<Out, Bits<8>>,
    head_r: DFF<Bits<10>>,
    next_head: DFF<Bits<10>>,
    /// Of the ring's size, and the tail within it; one cycle late, like `next_head`.
    mask: DFF<Bits<10>>,
    tail_r: DFF<Bits<10>>,
    phase_r: DFF<Bit>,
    pending: DFF<Bit>,
    /// The next descriptor is there to be fetched.
    there: DFF<Bit>,
    bad: DFF<Bit>,
    /// Steps of the check that ring and completion ring lie outside the HDM range; 7 when passed.
    step: DFF<Bits<3>>,
    fault_r: DFF<Bit>,
    code: DFF<Bits<8>>,
    done: DFF<Bits<32>>,
}

impl Logic for Ring {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, head_r, next_head, mask, tail_r, phase_r, pending, there, bad, step,
            fault_r, code, done
        );
        self.mask.d.next = (bits::<10>(1) << self.ring_log2.val()) - 1;
        self.tail_r.d.next = self.tail.val() & self.mask.q.val();
        self.next_head.d.next = (self.head_r.q.val() + 1) & self.mask.q.val();
        self.index.next = self.head_r.q.val();
        if self.busy.val() {
            self.index.next = self.next_head.q.val();
        }
        self.there.d.next = (self.index.val() != self.tail_r.q.val())
            & (self.step.q.val() == 7)
            & self.enable.val()
            & self.bus_master.val()
            & !self.abort.val()
            & !self.fault_r.q.val();
        self.wanted.next = self.addressed.val()
            & self.there.q.val()
            & self.reads_issued.val()
            & !self.pending.q.val()
            & !self.abort.val()
            & self.enable.val();
        if self.fetched.val() {
            self.pending.d.next = true;
        }

        // Three cycles for the ring's address, three for the completion ring's.
        self.granule.next = self.ring.val().get_bits::<36>(22);
        if self.step.q.val().get_bit(2) {
            self.granule.next = self.completions.val().get_bits::<36>(23);
        }
        self.start.next = false;
        self.flush.next = false;
        if self.idle.val() {
            if self.enable.val() & !self.fault_r.q.val() {
                if self.step.q.val() != 7 {
                    self.step.d.next = self.step.q.val() + 1;
                }
                if ((self.step.q.val() == 3) | (self.step.q.val() == 6)) & self.hit.val() {
                    self.fault_r.d.next = true;
                    self.code.d.next = 6.into();
                }
                if (self.ring_log2.val() < 2) | (self.ring_log2.val() > 10) {
                    self.fault_r.d.next = true;
                    self.code.d.next = 4.into();
                }
            }
            if !self.enable.val() {
                // Software may change the ring now: what was fetched from the old one is void.
                self.step.d.next = 0.into();
                self.flush.next = self.pending.q.val();
            } else if self.beat_valid.val() {
                self.bad.d.next = self.bad.q.val() | self.beat_error.val().any();
                if self.beat.val() == 0 {
                    self.bad.d.next = self.beat_error.val().any();
                }
                if self.beat.val() == 3 {
                    self.pending.d.next = false;
                    if self.beat_error.val().any() | self.bad.q.val() {
                        self.fault_r.d.next = true;
                        self.code.d.next = self.beat_error.val();
                    } else {
                        self.start.next = true;
                    }
                }
            }
            if self.timed_out.val() {
                self.fault_r.d.next = true;
                self.code.d.next = 9.into();
                self.flush.next = true;
            }
            if self.abort.val() {
                self.flush.next = true;
            }
        }
        if self.flush.val() | self.lost.val() {
            self.pending.d.next = false;
        }
        if self.record_lost.val() {
            self.fault_r.d.next = true;
            self.code.d.next = 9.into();
        }
        if self.retire.val() {
            self.head_r.d.next = self.next_head.q.val();
            if !self.next_head.q.val().any() {
                self.phase_r.d.next = !self.phase_r.q.val();
            }
            self.done.d.next = self.done.q.val() + 1;
        }

        self.head.next = self.head_r.q.val();
        self.phase.next = self.phase_r.q.val();
        self.more.next = self.head_r.q.val() != self.tail_r.q.val();
        self.done_count.next = self.done.q.val();
        self.fault.next = self.fault_r.q.val();
        self.fault_code.next = self.code.q.val();
        if self.restart.val() | self.reset.val() {
            self.head_r.d.next = 0.into();
            self.phase_r.d.next = true;
            self.step.d.next = 0.into();
            self.fault_r.d.next = false;
            self.code.d.next = 0.into();
        }
        if self.reset.val() {
            self.pending.d.next = false;
            self.done.d.next = 0.into();
        }
    }
}
