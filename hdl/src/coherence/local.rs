//! The device's own accesses on their way to the memory: the engine's reads and writes and the line port, each asking the point of
//! coherence (`order`) for its lines in turn.
//!
//! A line that was granted is under way until its last beat has passed the memory port; until then no request of the host touches it.
//! A grant is asked for only when all of a line's data is here, so that nothing outside the device can hold a line (`cxl-mem` 8.6 d).

use super::line_port::{Command, LinePort};
use super::tracker::Pool;
use crate::config::Config;
use crate::memory::arbiter::Beat;
use crate::prim::{CommitFifo, Fifo};
use rust_hdl::prelude::*;

/// A line that the engine wants to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, LogicStruct)]
pub struct Wanted {
    pub line: Bits<26>,
    /// Code of `hdm_db::Local`.
    pub access: Bits<2>,
}

/// A read that may go to the memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, LogicStruct)]
pub struct Granted {
    pub line: Bits<26>,
    /// The host did not give the line up: the data counts as poisoned.
    pub bad: Bits<1>,
}

#[derive(LogicBlock, Default)]
pub struct LocalAccess {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // engine
    pub engine_rd_valid: Signal<In, Bit>,
    pub engine_rd_ready: Signal<Out, Bit>,
    pub engine_rd_line: Signal<In, Bits<26>>,
    /// The line is to leave the host's caches, else the host may keep it.
    pub engine_rd_own: Signal<In, Bit>,
    pub engine_rsp_valid: Signal<Out, Bit>,
    pub engine_rsp_bad: Signal<Out, Bit>,
    pub engine_wr_valid: Signal<In, Bit>,
    pub engine_wr_ready: Signal<Out, Bit>,
    pub engine_wr: Signal<In, Beat>,
    /// A line whose beats are not all here will get no more of them.
    pub engine_wr_drop: Signal<In, Bit>,
    /// Everything the engine wrote is in the memory, or was refused.
    pub engine_wr_idle: Signal<Out, Bit>,
    /// A line of the engine's was written; an access of the engine's was refused, since the host did not give the line up.
    pub engine_wr_done: Signal<Out, Bit>,
    pub engine_refused: Signal<Out, Bit>,
    // the engine's atomics, at the line port; their outcome is taken in the cycle that it comes
    pub atomic_valid: Signal<In, Bit>,
    pub atomic_ready: Signal<Out, Bit>,
    pub atomic: Signal<In, Command>,
    pub atomic_out_valid: Signal<Out, Bit>,
    // line port
    pub port_cmd_valid: Signal<In, Bit>,
    pub port_cmd: Signal<In, Command>,
    pub port_data_valid: Signal<In, Bit>,
    pub port_data: Signal<In, Bits<128>>,
    pub port_data_be: Signal<In, Bits<16>>,
    pub port_out_ready: Signal<In, Bit>,
    pub port_cmd_ready: Signal<Out, Bit>,
    pub port_data_ready: Signal<Out, Bit>,
    pub port_out_valid: Signal<Out, Bit>,
    pub port_out_data: Signal<Out, Bits<128>>,
    pub port_out_last: Signal<Out, Bit>,
    pub port_out_status: Signal<Out, Bits<2>>,
    // point of coherence
    pub ask: Signal<Out, Bits<3>>,
    pub line0: Signal<Out, Bits<26>>,
    pub line1: Signal<Out, Bits<26>>,
    pub line2: Signal<Out, Bits<26>>,
    pub access0: Signal<Out, Bits<2>>,
    pub access1: Signal<Out, Bits<2>>,
    pub access2: Signal<Out, Bits<2>>,
    pub snooped: Signal<In, Bits<3>>,
    pub serve: Signal<In, Bits<3>>,
    pub fail: Signal<In, Bits<3>>,
    /// In the cycle before, `lookup` was the line of an access under way.
    pub lookup: Signal<In, Bits<26>>,
    pub matched: Signal<Out, Bit>,
    // memory port; `rsp_*` are answers to these reads
    pub rd_valid: Signal<Out, Bit>,
    pub rd_ready: Signal<In, Bit>,
    pub rd_line: Signal<Out, Bits<26>>,
    pub rsp_valid: Signal<In, Bit>,
    pub rsp_idx: Signal<In, Bits<2>>,
    pub rsp_data: Signal<In, Bits<128>>,
    pub rsp_poison: Signal<In, Bit>,
    pub wr_valid: Signal<Out, Bit>,
    pub wr_ready: Signal<In, Bit>,
    pub wr: Signal<Out, Beat>,
    port: LinePort,
    /// The port works for the engine.
    lent: DFF<Bit>,
    wanted: Fifo<Wanted, 2>,
    granted: Fifo<Granted, 2>,
    /// Whose answer comes next: bit 0 the port's, bit 1 bad.
    owners: Fifo<Bits<2>, 4>,
    reading: Pool<8, 3>,
    beats: CommitFifo<Beat, 4, 5>,
    lines: Fifo<Bits<26>, 2>,
    /// For each line that was decided: it is refused, its beats are dropped.
    verdicts: Fifo<Bits<1>, 2>,
    writing: Pool<2, 1>,
    /// A snoop is out for the first line of each.
    read_waits: DFF<Bit>,
    write_waits: DFF<Bit>,
    want: Signal<Local, Wanted>,
    head: Signal<Local, Wanted>,
    grant: Signal<Local, Granted>,
    next_grant: Signal<Local, Granted>,
    owner: Signal<Local, Bits<2>>,
    next_owner: Signal<Local, Bits<2>>,
    beat: Signal<Local, Beat>,
    port_beat: Signal<Local, Beat>,
    port_reads: Signal<Local, Bit>,
    read_goes: Signal<Local, Bit>,
    decided: Signal<Local, Bit>,
    dropping: Signal<Local, Bit>,
    engine_beat: Signal<Local, Bit>,
    engine_last: Signal<Local, Bit>,
    beat_out: Signal<Local, Bit>,
    port_writes: Signal<Local, Bit>,
    last_in: Signal<Local, Bit>,
}

impl LocalAccess {
    pub fn new(config: &Config) -> Self {
        Self {
            port: LinePort::new(config.line_bits),
            reading: Pool::new(8),
            writing: Pool::new(2),
            ..Default::default()
        }
    }
}

impl Logic for LocalAccess {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, read_waits, write_waits, lent);
        self.port.clock.next = self.clock.val();
        self.port.reset.next = self.reset.val();
        self.wanted.clock.next = self.clock.val();
        self.wanted.reset.next = self.reset.val();
        self.granted.clock.next = self.clock.val();
        self.granted.reset.next = self.reset.val();
        self.owners.clock.next = self.clock.val();
        self.owners.reset.next = self.reset.val();
        self.reading.clock.next = self.clock.val();
        self.reading.reset.next = self.reset.val();
        self.beats.clock.next = self.clock.val();
        self.beats.reset.next = self.reset.val();
        self.lines.clock.next = self.clock.val();
        self.lines.reset.next = self.reset.val();
        self.verdicts.clock.next = self.clock.val();
        self.verdicts.reset.next = self.reset.val();
        self.writing.clock.next = self.clock.val();
        self.writing.reset.next = self.reset.val();

        // The engine's reads: wanted, granted, at the memory
        self.want.next.line = self.engine_rd_line.val();
        self.want.next.access = 0.into();
        if self.engine_rd_own.val() {
            self.want.next.access = 2.into();
        }
        self.wanted.write.next = self.engine_rd_valid.val();
        self.wanted.write_data.next = self.want.val();
        self.engine_rd_ready.next = !self.wanted.full.val();
        self.head.next = self.wanted.read_data.val();
        self.line0.next = self.head.val().line;
        self.access0.next = self.head.val().access;
        self.read_goes.next = self.serve.val().get_bit(0) | self.fail.val().get_bit(0);
        self.wanted.read.next = self.read_goes.val();
        self.next_grant.next.line = self.head.val().line;
        self.next_grant.next.bad = 0.into();
        if self.fail.val().get_bit(0) {
            self.next_grant.next.bad = 1.into();
        }
        self.granted.write.next = self.read_goes.val();
        self.granted.write_data.next = self.next_grant.val();
        self.reading.allocate.next = self.read_goes.val();
        self.reading.allocate_line.next = self.head.val().line;
        self.reading.lookup0.next = 0.into();
        self.reading.lookup1.next = 0.into();
        self.reading.lookup2.next = self.lookup.val();
        if self.snooped.val().get_bit(0) {
            self.read_waits.d.next = true;
        }
        if self.read_goes.val() {
            self.read_waits.d.next = false;
        }

        // The engine's writes: a line is decided once all of it is here
        self.engine_wr_ready.next = !self.beats.full.val() & !self.lines.full.val();
        self.beats.write.next = self.engine_wr_valid.val() & self.engine_wr_ready.val();
        self.beats.write_data.next = self.engine_wr.val();
        self.last_in.next = self.engine_wr_valid.val()
            & self.engine_wr_ready.val()
            & (self.engine_wr.val().idx == 3);
        self.beats.commit.next = self.last_in.val();
        self.beats.abort.next = self.engine_wr_drop.val();
        self.lines.write.next = self.last_in.val();
        self.lines.write_data.next = self.engine_wr.val().line;
        self.line1.next = self.lines.read_data.val();
        self.access1.next = 2.into();
        self.decided.next = self.serve.val().get_bit(1) | self.fail.val().get_bit(1);
        self.lines.read.next = self.decided.val();
        self.verdicts.write.next = self.decided.val();
        self.verdicts.write_data.next = 0.into();
        if self.fail.val().get_bit(1) {
            self.verdicts.write_data.next = 1.into();
        }
        self.writing.allocate.next = self.decided.val();
        self.writing.allocate_line.next = self.lines.read_data.val();
        self.writing.lookup0.next = 0.into();
        self.writing.lookup1.next = 0.into();
        self.writing.lookup2.next = self.lookup.val();
        if self.snooped.val().get_bit(1) {
            self.write_waits.d.next = true;
        }
        if self.decided.val() {
            self.write_waits.d.next = false;
        }

        // The line port
        self.port.cmd_valid.next = self.port_cmd_valid.val() | self.atomic_valid.val();
        self.port.cmd.next = self.port_cmd.val();
        if self.atomic_valid.val() {
            self.port.cmd.next = self.atomic.val();
        }
        if self.port.cmd_ready.val() {
            self.lent.d.next = self.atomic_valid.val();
        }
        self.port.data_valid.next = self.port_data_valid.val();
        self.port.data.next = self.port_data.val();
        self.port.data_be.next = self.port_data_be.val();
        self.port.out_ready.next = self.port_out_ready.val() | self.lent.q.val();
        self.port_cmd_ready.next = self.port.cmd_ready.val() & !self.atomic_valid.val();
        self.atomic_ready.next = self.port.cmd_ready.val();
        self.port_data_ready.next = self.port.data_ready.val();
        self.port_out_valid.next = self.port.out_valid.val() & !self.lent.q.val();
        self.atomic_out_valid.next = self.port.out_valid.val() & self.lent.q.val();
        self.port_out_data.next = self.port.out_data.val();
        self.port_out_last.next = self.port.out_last.val();
        self.port_out_status.next = self.port.out_status.val();
        self.port.rsp_idx.next = self.rsp_idx.val();
        self.port.rsp_data.next = self.rsp_data.val();
        self.port.rsp_poison.next = self.rsp_poison.val();
        self.port.snooped.next = self.snooped.val().get_bit(2);
        self.port.serve.next = self.serve.val().get_bit(2);
        self.port.fail.next = self.fail.val().get_bit(2);
        self.port.lookup.next = self.lookup.val();
        self.line2.next = self.port.line.val();
        self.access2.next = self.port.access.val();

        self.ask.next = 0.into();
        if !self.wanted.empty.val()
            & !self.reading.full.val()
            & !self.granted.full.val()
            & !self.read_waits.q.val()
        {
            self.ask.next = self.ask.val() | 1;
        }
        if !self.lines.empty.val()
            & !self.writing.full.val()
            & !self.verdicts.full.val()
            & !self.write_waits.q.val()
        {
            self.ask.next = self.ask.val() | 2;
        }
        if self.port.ask.val() {
            self.ask.next = self.ask.val() | 4;
        }
        self.matched.next =
            self.reading.matched2.val() | self.writing.matched2.val() | self.port.matched.val();

        // Reads at the memory port: the engine's in order, the port's when there is none of those
        self.grant.next = self.granted.read_data.val();
        self.port_reads.next = self.granted.empty.val() & self.port.rd_valid.val();
        self.rd_valid.next =
            (!self.granted.empty.val() | self.port.rd_valid.val()) & !self.owners.full.val();
        self.rd_line.next = self.grant.val().line;
        self.next_owner.next = 0.into();
        if self.grant.val().bad == 1 {
            self.next_owner.next = 2.into();
        }
        if self.port_reads.val() {
            self.rd_line.next = self.port.line.val();
            self.next_owner.next = 1.into();
        }
        self.granted.read.next = self.rd_valid.val() & self.rd_ready.val() & !self.port_reads.val();
        self.port.rd_ready.next = self.rd_valid.val() & self.rd_ready.val() & self.port_reads.val();
        self.owners.write.next = self.rd_valid.val() & self.rd_ready.val();
        self.owners.write_data.next = self.next_owner.val();
        self.owner.next = self.owners.read_data.val();
        self.owners.read.next = self.rsp_valid.val() & (self.rsp_idx.val() == 3);
        self.engine_rsp_valid.next = self.rsp_valid.val() & !self.owner.val().get_bit(0);
        self.engine_rsp_bad.next = self.owner.val().get_bit(1);
        self.port.rsp_valid.next = self.rsp_valid.val() & self.owner.val().get_bit(0);
        self.reading.done.next = self.engine_rsp_valid.val() & (self.rsp_idx.val() == 3);

        // Writes at the memory port: a line at a time
        self.beat.next = self.beats.read_data.val();
        self.port_beat.next = self.port.wr.val();
        self.dropping.next = self.verdicts.read_data.val().any();
        self.engine_beat.next =
            !self.verdicts.empty.val() & !self.beats.empty.val() & !self.port.in_line.val();
        self.port_writes.next = self.port.wr_valid.val()
            & (self.port.in_line.val() | !self.engine_beat.val() | (self.beat.val().idx == 0));
        self.wr_valid.next =
            self.port_writes.val() | (self.engine_beat.val() & !self.dropping.val());
        self.wr.next = self.beat.val();
        if self.port_writes.val() {
            self.wr.next = self.port_beat.val();
        }
        self.port.wr_ready.next = self.port_writes.val() & self.wr_ready.val();
        self.beat_out.next = self.engine_beat.val()
            & !self.port_writes.val()
            & (self.wr_ready.val() | self.dropping.val());
        self.beats.read.next = self.beat_out.val();
        self.engine_last.next = self.beat_out.val() & (self.beat.val().idx == 3);
        self.verdicts.read.next = self.engine_last.val();
        self.writing.done.next = self.engine_last.val();
        self.engine_wr_done.next = self.engine_last.val() & !self.dropping.val();
        self.engine_wr_idle.next = self.beats.empty.val();
        // In its turn, so that the lines before it count as written.
        self.engine_refused.next =
            self.fail.val().get_bit(0) | (self.engine_last.val() & self.dropping.val());

        if self.reset.val() {
            self.read_waits.d.next = false;
            self.write_waits.d.next = false;
            self.lent.d.next = false;
        }
    }
}
