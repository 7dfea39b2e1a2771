//! The data register that every moved beat passes, its sources and destinations, and the reductions.

use super::crc::CrcStep;
use rust_hdl::prelude::*;

/// One beat from the host stream, the device stream or the constant register (a fill's pattern, a completion record), to the
/// memory port, the transmitter, the sum, the CRC or a chase's pointer.
///
/// `result` is the running sum, the last pointer, or the result of a finished descriptor.
#[derive(LogicBlock, Default)]
pub struct Datapath {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // what the descriptor asks
    pub from_host: Signal<In, Bit>,
    pub from_device: Signal<In, Bit>,
    pub to_memory: Signal<In, Bit>,
    pub to_host: Signal<In, Bit>,
    pub is_fill: Signal<In, Bit>,
    pub is_sum: Signal<In, Bit>,
    pub is_crc: Signal<In, Bit>,
    pub is_chase: Signal<In, Bit>,
    pub is_atomic: Signal<In, Bit>,
    /// An atomic's old value.
    pub old_valid: Signal<In, Bit>,
    pub old: Signal<In, Bits<64>>,
    pub arg: Signal<In, Bits<64>>,
    // phases
    /// One cycle: registers to their start.
    pub prepare: Signal<In, Bit>,
    pub running: Signal<In, Bit>,
    /// Beats may be taken from the sources.
    pub open: Signal<In, Bit>,
    /// One cycle: `result` becomes what the record holds (0 unless `keep`), `record` its first eight bytes.
    pub finish: Signal<In, Bit>,
    pub keep: Signal<In, Bit>,
    pub record: Signal<In, Bits<64>>,
    /// One cycle: the record's first beat into the register; `cycles` for the second.
    pub preload: Signal<In, Bit>,
    pub cycles: Signal<In, Bits<32>>,
    /// The record is being sent.
    pub sending: Signal<In, Bit>,
    pub clear: Signal<In, Bit>,
    // sources
    pub host_valid: Signal<In, Bit>,
    pub host_data: Signal<In, Bits<128>>,
    pub host_ready: Signal<Out, Bit>,
    pub dev_valid: Signal<In, Bit>,
    pub dev_data: Signal<In, Bits<128>>,
    pub dev_ready: Signal<Out, Bit>,
    pub fill_more: Signal<In, Bit>,
    pub fill_line: Signal<Out, Bit>,
    // destinations
    pub mem_wr_valid: Signal<Out, Bit>,
    pub mem_wr_ready: Signal<In, Bit>,
    pub mem_wr_idx: Signal<Out, Bits<2>>,
    pub wr_pop: Signal<In, Bit>,
    pub data: Signal<Out, Bits<128>>,
    pub full: Signal<Out, Bit>,
    /// The last beat of a line was taken.
    pub line_taken: Signal<Out, Bit>,
    pub pointer_taken: Signal<Out, Bit>,
    pub result: Signal<Out, Bits<64>>,
    crc_step: CrcStep,
    value: DFF<Bits<64>>,
    value_high: DFF<Bits<64>>,
    low: DFF<Bits<64>>,
    crc: DFF<Bits<32>>,
    crc_phase: DFF<Bits<2>>,
    valid: DFF<Bit>,
    held: DFF<Bits<128>>,
    beat: DFF<Bits<2>>,
    fill_beat: DFF<Bits<2>>,
    words: Signal<Local, Bits<128>>,
    crc_out: Signal<Local, Bits<32>>,
    take: Signal<Local, Bit>,
    free: Signal<Local, Bit>,
    load: Signal<Local, Bit>,
    sum_old: Signal<Local, Bits<64>>,
    sum_more: Signal<Local, Bits<64>>,
    sum_new: Signal<Local, Bits<64>>,
}

impl Logic for Datapath {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, value, value_high, low, crc, crc_phase, valid, held, beat, fill_beat
        );
        // Destinations.
        self.words.next = self.held.q.val();
        self.data.next = self.held.q.val();
        self.full.next = self.valid.q.val();
        self.result.next = self.value.q.val();
        self.mem_wr_idx.next = self.beat.q.val();
        self.mem_wr_valid.next = self.valid.q.val() & self.to_memory.val() & self.running.val();
        self.take.next = self.wr_pop.val();
        if !self.sending.val() {
            if self.to_memory.val() {
                self.take.next = self.mem_wr_valid.val() & self.mem_wr_ready.val();
            } else if self.is_crc.val() {
                self.take.next = self.valid.q.val() & self.crc_phase.q.val().all();
            } else if !self.to_host.val() {
                self.take.next = self.valid.q.val();
            }
        }
        self.line_taken.next = self.take.val() & self.beat.q.val().all() & !self.sending.val();
        self.pointer_taken.next =
            self.is_chase.val() & self.take.val() & !self.beat.q.val().any() & !self.sending.val();

        // Reductions.
        self.crc_out.next = !self.crc.q.val();
        self.crc_step.register.next = self.crc.q.val();
        self.crc_step.word.next = self.words.val().get_bits::<32>(0);
        if self.crc_phase.q.val() == 1 {
            self.crc_step.word.next = self.words.val().get_bits::<32>(32);
        }
        if self.crc_phase.q.val() == 2 {
            self.crc_step.word.next = self.words.val().get_bits::<32>(64);
        }
        if self.crc_phase.q.val() == 3 {
            self.crc_step.word.next = self.words.val().get_bits::<32>(96);
        }
        if self.valid.q.val() & self.is_crc.val() & self.running.val() {
            self.crc.d.next = self.crc_step.next_register.val();
            self.crc_phase.d.next = self.crc_phase.q.val() + 1;
        }
        self.sum_old.next = self.value.q.val();
        if self.is_chase.val() {
            self.sum_old.next = 0.into();
        }
        self.sum_more.next = self.words.val().get_bits::<64>(0);
        if self.finish.val() {
            self.sum_more.next = self.value_high.q.val();
        }
        self.sum_new.next = self.sum_old.val() + self.sum_more.val();
        if (self.take.val() & self.is_sum.val() & self.running.val()) | self.pointer_taken.val() {
            self.value.d.next = self.sum_new.val();
            self.value_high.d.next = self.value_high.q.val() + self.words.val().get_bits::<64>(64);
        }

        if self.old_valid.val() {
            self.value.d.next = self.old.val();
        }

        // Sources.
        self.free.next = !self.valid.q.val() | self.take.val();
        self.load.next = false;
        self.host_ready.next = false;
        self.dev_ready.next = false;
        self.fill_line.next = false;
        if self.take.val() {
            self.beat.d.next = self.beat.q.val() + 1;
            self.valid.d.next = false;
        }
        if self.open.val() {
            if self.from_device.val() {
                self.dev_ready.next = self.free.val();
                self.load.next = self.free.val() & self.dev_valid.val();
            } else if self.from_host.val() {
                self.load.next = self.free.val() & self.host_valid.val();
                self.host_ready.next = self.load.val();
            } else {
                self.load.next = self.free.val() & self.fill_more.val();
                if self.load.val() {
                    self.fill_beat.d.next = self.fill_beat.q.val() + 1;
                    self.fill_line.next = self.fill_beat.q.val().all();
                }
            }
        }
        if self.preload.val() | (self.sending.val() & self.wr_pop.val()) {
            self.load.next = true;
        }
        if self.load.val() {
            self.valid.d.next = true;
            self.held.d.next = bit_cast::<128, 64>(self.low.q.val())
                | (bit_cast::<128, 64>(self.value.q.val()) << 64);
            if self.open.val() & self.from_device.val() {
                self.held.d.next = self.dev_data.val();
            }
            if self.open.val() & self.from_host.val() {
                self.held.d.next = self.host_data.val();
            }
        }

        // Phases.
        if self.prepare.val() {
            self.beat.d.next = 0.into();
            self.fill_beat.d.next = 0.into();
            self.crc.d.next = !self.arg.val().get_bits::<32>(0);
            self.crc_phase.d.next = 0.into();
            self.value.d.next = 0.into();
            self.value_high.d.next = 0.into();
            self.low.d.next = self.arg.val();
            if self.is_fill.val() {
                self.value.d.next = self.arg.val();
            }
        }
        if self.finish.val() {
            self.low.d.next = self.record.val();
            self.value.d.next = 0.into();
            if self.keep.val() {
                if self.is_crc.val() {
                    self.value.d.next = bit_cast::<64, 32>(self.crc_out.val());
                } else if self.is_sum.val() {
                    self.value.d.next = self.sum_new.val();
                }
            }
            if self.is_chase.val() | (self.is_atomic.val() & self.keep.val()) {
                self.value.d.next = self.value.q.val();
            }
        }
        if self.preload.val() {
            self.low.d.next = bit_cast::<64, 32>(self.cycles.val());
            self.value.d.next = 0.into();
        }
        if self.clear.val() | self.reset.val() {
            self.valid.d.next = false;
        }
    }
}
