//! The engine: a ring of descriptors in host memory; copies, fills, sums and pointer chases beside the device's memory.
//!
//! One descriptor at a time runs; the next is fetched as soon as the running one has asked for all it reads from the host, so
//! that it is the last thing in the read stream.
//!
//! A line counts as done when its last beat was taken at its destination, and the completion record is requested after the last
//! line is done and the memory has written it (`cxl-mem` 8.6 c).

pub mod admission;
pub mod chase;
pub mod crc;
pub mod datapath;
pub mod descriptor;
pub mod dev_read;
pub mod hdm_check;
pub mod host_cursor;
pub mod host_read;
pub mod patience;
pub mod ring;

use crate::coherence::line_port::Command;
use crate::config::Config;
use crate::prim::{BlockRam, Param};
use admission::Admission;
use chase::Chase;
use datapath::Datapath;
use descriptor::Descriptor;
use dev_read::DevRead;
use hdm_check::HdmCheck;
use host_cursor::HostCursor;
use host_read::HostRead;
use patience::Patience;
use ring::Ring;
use rust_hdl::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    /// Every page to the host.
    Sweep,
    Idle,
    Check,
    Admit,
    Start,
    Run,
    SetOwner,
    /// At the line port.
    Atomic,
    AtomicWait,
    Chase,
    /// After an error: what is still under way is taken and dropped.
    Drain,
    Finish,
    /// The last write beats leave the queue in front of the memory.
    Settle,
    Record,
    RecordData,
    /// Soft reset.
    Abort,
}

/// The engine. Streams and memory port as in `docs/developer/interfaces.md`; registers by name.
#[derive(LogicBlock, Default)]
pub struct Engine {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub eng_enable: Signal<In, Bit>,
    pub eng_soft_reset: Signal<In, Bit>,
    pub eng_ring: Signal<In, Bits<58>>,
    pub eng_ring_log2: Signal<In, Bits<4>>,
    pub eng_tail: Signal<In, Bits<10>>,
    pub eng_cpl: Signal<In, Bits<59>>,
    pub eng_vector: Signal<In, Bits<2>>,
    pub eng_timeout: Signal<In, Bits<32>>,
    pub hdm0_committed: Signal<In, Bit>,
    pub hdm0_base: Signal<In, Bits<24>>,
    pub hdm0_limit: Signal<In, Bits<24>>,
    pub hdm1_committed: Signal<In, Bit>,
    pub hdm1_base: Signal<In, Bits<24>>,
    pub hdm1_limit: Signal<In, Bits<24>>,
    pub cfg_bdf: Signal<In, Bits<16>>,
    pub cfg_bme: Signal<In, Bit>,
    pub eng_busy: Signal<Out, Bit>,
    pub eng_fault: Signal<Out, Bit>,
    pub eng_fault_code: Signal<Out, Bits<8>>,
    pub eng_head: Signal<Out, Bits<10>>,
    pub eng_done: Signal<Out, Bits<32>>,
    pub irq: Signal<Out, Bit>,
    pub irq_vector: Signal<Out, Bits<2>>,
    pub swept: Signal<Out, Bit>,
    pub ev_unexpected: Signal<Out, Bit>,
    pub cpl_valid: Signal<In, Bit>,
    pub cpl_header: Signal<In, Bit>,
    pub cpl_last: Signal<In, Bit>,
    pub cpl_data: Signal<In, Bits<128>>,
    pub rd_valid: Signal<Out, Bit>,
    pub rd_ready: Signal<In, Bit>,
    pub rd_line: Signal<Out, Bits<58>>,
    pub rd_two: Signal<Out, Bit>,
    pub rd_tag: Signal<Out, Bits<8>>,
    pub wr_valid: Signal<Out, Bit>,
    pub wr_ready: Signal<In, Bit>,
    pub wr_address: Signal<Out, Bits<59>>,
    pub wr_beats: Signal<Out, Bits<4>>,
    pub wr_data: Signal<Out, Bits<128>>,
    pub wr_data_valid: Signal<Out, Bit>,
    pub wr_pop: Signal<In, Bit>,
    pub mem_rd_valid: Signal<Out, Bit>,
    pub mem_rd_ready: Signal<In, Bit>,
    pub mem_rd_line: Signal<Out, Bits<26>>,
    /// The line is to leave the host's caches.
    pub mem_rd_own: Signal<Out, Bit>,
    pub rsp_valid: Signal<In, Bit>,
    pub rsp_idx: Signal<In, Bits<2>>,
    pub rsp_data: Signal<In, Bits<128>>,
    pub rsp_poison: Signal<In, Bit>,
    pub mem_wr_valid: Signal<Out, Bit>,
    pub mem_wr_ready: Signal<In, Bit>,
    /// Every beat taken has been written.
    pub mem_wr_idle: Signal<In, Bit>,
    /// A line was written; an access was refused, since the host did not give a line up.
    pub mem_wr_done: Signal<In, Bit>,
    pub mem_refused: Signal<In, Bit>,
    // atomics: an operation of the line port, and its one beat
    pub port_valid: Signal<Out, Bit>,
    pub port_ready: Signal<In, Bit>,
    pub port: Signal<Out, Command>,
    pub port_out_valid: Signal<In, Bit>,
    pub port_out_data: Signal<In, Bits<64>>,
    pub port_out_status: Signal<In, Bits<2>>,
    /// Pages have no owner: every access goes past the directory.
    pub device_coherent: Signal<In, Bit>,
    pub mem_wr_line: Signal<Out, Bits<26>>,
    pub mem_wr_idx: Signal<Out, Bits<2>>,
    pub mem_wr_data: Signal<Out, Bits<128>>,
    pub mem_wr_be: Signal<Out, Bits<16>>,
    pub mem_wr_poison_we: Signal<Out, Bit>,
    pub mem_wr_poison: Signal<Out, Bit>,
    /// A line that was begun is given up.
    pub mem_wr_drop: Signal<Out, Bit>,
    host_read: HostRead,
    dev_read: DevRead,
    cursor: HostCursor,
    desc: Descriptor,
    hdm: HdmCheck,
    admission: Admission,
    chase: Chase,
    ring: Ring,
    patience: Patience,
    datapath: Datapath,
    /// One bit per 4 KiB page: set if the device owns it.
    owner: BlockRam<Bit, 20>,
    state: DFF<State>,
    /// `address` holds the address of the next descriptor.
    at_desc: DFF<Bit>,
    abort: DFF<Bit>,
    cycles: DFF<Bits<32>>,
    /// What is wrong with the next line of a stream, once all before it is done; a cycle late, off the longest paths.
    data_error: DFF<Bit>,
    poison_error: DFF<Bit>,
    status: DFF<Bits<8>>,
    /// Device line of a transfer.
    device: DFF<Bits<26>>,
    page: DFF<Bits<20>>,
    /// Lines that the device side still has to ask for or to fill.
    left: DFF<Bits<16>>,
    /// Lines to do before `limit_status` is the outcome.
    limit: DFF<Bits<16>>,
    limit_status: DFF<Bits<8>>,
    done: DFF<Bits<16>>,
    refused: DFF<Bit>,
    /// Lines written before the first that was refused.
    written: DFF<Bits<16>>,
    /// Address of a descriptor, a record or a host pointer, in 32-byte units.
    address: DFF<Bits<59>>,
    tx_active: DFF<Bit>,
    tx_left: DFF<Bits<4>>,
    irq_r: DFF<Bit>,
    from_host: Signal<Local, Bit>,
    from_device: Signal<Local, Bit>,
    to_memory: Signal<Local, Bit>,
    to_host: Signal<Local, Bit>,
    chasing: Signal<Local, Bit>,
    reads_issued: Signal<Local, Bit>,
    busy: Signal<Local, Bit>,
    host_data: Signal<Local, Bit>,
    need: Signal<Local, Bits<6>>,
    /// Completion status of the host stream's beat, 0 if it is good.
    host_error: Signal<Local, Bits<8>>,
    record: Signal<Local, Bits<64>>,
    /// The host reader is to be flushed, for reasons other than the ring's.
    give_up: Signal<Local, Bit>,
    base: Signal<Local, Bits<59>>,
    offset: Signal<Local, Bits<23>>,
    result_done: Signal<Local, Bits<32>>,
    command: Signal<Local, Command>,
    /// Lines of the memory.
    capacity: Param<Bits<27>>,
    top_page: Param<Bits<20>>,
}

impl Engine {
    /// The engine of one configuration.
    pub fn new(config: &Config) -> Self {
        let page_bits = config.line_bits - 6;
        Self {
            owner: BlockRam::with_depth_bits(page_bits),
            capacity: Param::new((1u64 << config.line_bits).into()),
            top_page: Param::new(((1u64 << page_bits) - 1).into()),
            ..Self::default()
        }
    }
}

impl Logic for Engine {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            state,
            at_desc,
            abort,
            cycles,
            data_error,
            poison_error,
            status,
            device,
            page,
            left,
            limit,
            limit_status,
            done,
            refused,
            written,
            address,
            tx_active,
            tx_left,
            irq_r
        );
        self.host_read.clock.next = self.clock.val();
        self.host_read.reset.next = self.reset.val();
        self.dev_read.clock.next = self.clock.val();
        self.dev_read.reset.next = self.reset.val();
        self.cursor.clock.next = self.clock.val();
        self.cursor.reset.next = self.reset.val();
        self.datapath.clock.next = self.clock.val();
        self.datapath.reset.next = self.reset.val();
        self.admission.clock.next = self.clock.val();
        self.admission.reset.next = self.reset.val();
        self.chase.clock.next = self.clock.val();
        self.chase.reset.next = self.reset.val();
        self.ring.clock.next = self.clock.val();
        self.ring.reset.next = self.reset.val();
        self.patience.clock.next = self.clock.val();
        self.desc.clock.next = self.clock.val();
        self.hdm.clock.next = self.clock.val();
        self.owner.clock.next = self.clock.val();
        // Wires that pass through.
        self.host_read.cfg_bdf.next = self.cfg_bdf.val();
        self.host_read.cpl_valid.next = self.cpl_valid.val();
        self.host_read.cpl_header.next = self.cpl_header.val();
        self.host_read.cpl_last.next = self.cpl_last.val();
        self.host_read.cpl_data.next = self.cpl_data.val();
        self.ev_unexpected.next = self.host_read.ev_unexpected.val();
        self.rd_valid.next = self.host_read.rd_valid.val() & self.cfg_bme.val();
        self.host_read.rd_ready.next = self.rd_ready.val() & self.cfg_bme.val();
        self.rd_line.next = self.host_read.rd_line.val();
        self.rd_two.next = self.host_read.rd_two.val();
        self.rd_tag.next = self.host_read.rd_tag.val();
        self.mem_rd_valid.next = self.dev_read.mem_rd_valid.val();
        self.dev_read.mem_rd_ready.next = self.mem_rd_ready.val();
        self.mem_rd_own.next = self.desc.is_to_host.val();
        self.mem_rd_line.next = self.dev_read.mem_rd_line.val();
        self.dev_read.rsp_valid.next = self.rsp_valid.val();
        self.dev_read.rsp_idx.next = self.rsp_idx.val();
        self.dev_read.rsp_data.next = self.rsp_data.val();
        self.dev_read.rsp_poison.next = self.rsp_poison.val();
        self.mem_wr_valid.next = self.datapath.mem_wr_valid.val();
        self.datapath.mem_wr_ready.next = self.mem_wr_ready.val();
        self.mem_wr_line.next = self.device.q.val();
        self.mem_wr_idx.next = self.datapath.mem_wr_idx.val();
        self.mem_wr_data.next = self.datapath.data.val();
        self.mem_wr_be.next = 0xFFFF.into();
        self.mem_wr_poison_we.next = true;
        self.mem_wr_poison.next = false;
        self.mem_wr_drop.next = self.state.q.val() == State::Drain;
        self.hdm.hdm0_committed.next = self.hdm0_committed.val();
        self.hdm.hdm0_base.next = self.hdm0_base.val();
        self.hdm.hdm0_limit.next = self.hdm0_limit.val();
        self.hdm.hdm1_committed.next = self.hdm1_committed.val();
        self.hdm.hdm1_base.next = self.hdm1_base.val();
        self.hdm.hdm1_limit.next = self.hdm1_limit.val();

        // What the running descriptor moves, from where to where.
        self.from_host.next = self.desc.is_to_device.val() | self.desc.host.val();
        self.from_device.next = !self.from_host.val() & !self.desc.is_fill.val();
        self.to_memory.next = self.desc.is_to_device.val() | self.desc.is_fill.val();
        self.to_host.next = self.desc.is_to_host.val();
        self.chasing.next = self.state.q.val() == State::Chase;
        self.busy.next = (self.state.q.val() != State::Idle) & (self.state.q.val() != State::Sweep);

        // The ring.
        self.reads_issued.next = (self.state.q.val() == State::Idle)
            | ((self.state.q.val() == State::Run)
                & (!self.from_host.val() | self.cursor.ended.val())
                & self.cursor.list_fetched.val());
        self.ring.enable.next = self.eng_enable.val();
        self.ring.bus_master.next = self.cfg_bme.val();
        self.ring.ring.next = self.eng_ring.val();
        self.ring.ring_log2.next = self.eng_ring_log2.val();
        self.ring.tail.next = self.eng_tail.val();
        self.ring.completions.next = self.eng_cpl.val();
        self.ring.idle.next = self.state.q.val() == State::Idle;
        self.ring.busy.next = self.busy.val();
        self.ring.abort.next = self.abort.q.val();
        self.ring.reads_issued.next = self.reads_issued.val();
        self.ring.addressed.next = self.at_desc.q.val();
        self.ring.fetched.next = false;
        self.ring.timed_out.next = self.patience.timed_out.val();
        self.ring.record_lost.next = false;
        self.ring.retire.next = false;
        self.ring.restart.next = false;
        self.give_up.next = false;

        // One adder for the addresses of descriptors, records and host pointers.
        self.base.next = bit_cast::<59, 58>(self.eng_ring.val()) << 1;
        self.offset.next = bit_cast::<23, 10>(self.ring.index.val()) << 1;
        self.at_desc.d.next = false;
        if (self.state.q.val() == State::Finish)
            | (self.state.q.val() == State::Settle)
            | (self.state.q.val() == State::Record)
            | (self.state.q.val() == State::RecordData)
        {
            self.base.next = self.eng_cpl.val();
            self.offset.next = bit_cast::<23, 10>(self.ring.head.val());
        } else if self.chasing.val() {
            self.base.next = bit_cast::<59, 58>(self.desc.host_line.val()) << 1;
            self.offset.next =
                bit_cast::<23, 22>(self.datapath.result.val().get_bits::<22>(6)) << 1;
        } else {
            self.at_desc.d.next = self.reads_issued.val();
        }
        self.address.d.next = self.base.val() + bit_cast::<59, 23>(self.offset.val());

        // What the HDM check looks at: the rings, a descriptor's range, a pointer, a list's page.
        self.hdm.granule.next = self.ring.granule.val();
        if (self.state.q.val() == State::Check) | (self.state.q.val() == State::Admit) {
            self.hdm.granule.next = self.admission.granule.val();
        }
        if self.chasing.val() {
            self.hdm.granule.next = self.address.q.val().get_bits::<36>(23);
        }
        if self.state.q.val() == State::Run {
            self.hdm.granule.next = self.cursor.check_granule.val();
        }
        self.cursor.check_hit.next = self.hdm.hit.val();
        self.ring.hit.next = self.hdm.hit.val();
        self.admission.hit.next = self.hdm.hit.val();
        self.chase.hdm_hit.next = self.hdm.hit.val();

        // Requests to the host: list, then data, then a pointer or the next descriptor.
        self.host_read.issue_valid.next = false;
        self.host_read.issue_line.next = self.address.q.val().get_bits::<58>(1);
        self.host_read.issue_two.next = false;
        self.host_read.issue_kind.next = 2.into();
        self.cursor.fetch_ready.next = false;
        self.cursor.chunk_take.next = false;
        self.chase.host_ready.next = false;
        if (self.state.q.val() == State::Run) & self.cursor.fetch_valid.val() {
            self.host_read.issue_valid.next = self.cfg_bme.val();
            self.host_read.issue_line.next = self.cursor.fetch_line.val();
            self.host_read.issue_kind.next = 1.into();
            self.cursor.fetch_ready.next = self.host_read.issue_ready.val() & self.cfg_bme.val();
        } else if (self.state.q.val() == State::Run)
            & self.from_host.val()
            & self.cursor.chunk_valid.val()
        {
            self.host_read.issue_valid.next = self.cfg_bme.val();
            self.host_read.issue_line.next = self.cursor.chunk_line.val();
            self.host_read.issue_two.next = self.cursor.chunk_two.val();
            self.host_read.issue_kind.next = 0.into();
            self.cursor.chunk_take.next = self.host_read.issue_ready.val() & self.cfg_bme.val();
        } else if self.chasing.val() {
            self.host_read.issue_valid.next = self.chase.host_issue.val() & self.cfg_bme.val();
            self.host_read.issue_kind.next = 0.into();
            self.chase.host_ready.next =
                self.host_read.issue_valid.val() & self.host_read.issue_ready.val();
        } else if self.ring.wanted.val() {
            self.host_read.issue_valid.next = true;
            self.ring.fetched.next = self.host_read.issue_ready.val();
        }

        // Requests to the memory.
        self.dev_read.issue_valid.next = false;
        self.dev_read.issue_line.next = self.device.q.val();
        if (self.state.q.val() == State::Run) & self.from_device.val() & self.left.q.val().any() {
            self.dev_read.issue_valid.next = true;
            if self.dev_read.issue_ready.val() {
                self.device.d.next = self.device.q.val() + 1;
                self.left.d.next = self.left.q.val() - 1;
            }
        }
        if self.chasing.val() {
            self.dev_read.issue_valid.next = self.chase.dev_issue.val();
            self.dev_read.issue_line.next = self.chase.dev_line.val();
        }
        self.chase.dev_ready.next = self.dev_read.issue_ready.val();

        // Data.
        self.datapath.from_host.next = self.from_host.val();
        self.datapath.from_device.next = self.from_device.val();
        self.datapath.to_memory.next = self.to_memory.val();
        self.datapath.to_host.next = self.to_host.val();
        self.datapath.is_fill.next = self.desc.is_fill.val();
        self.datapath.is_sum.next = self.desc.is_sum.val();
        self.datapath.is_crc.next = self.desc.is_crc.val();
        self.datapath.is_chase.next = self.desc.is_chase.val();
        self.datapath.is_atomic.next = self.desc.is_add.val() | self.desc.is_swap.val();
        self.datapath.old_valid.next =
            (self.state.q.val() == State::AtomicWait) & self.port_out_valid.val();
        self.datapath.old.next = self.port_out_data.val();
        self.datapath.arg.next = self.desc.arg.val();
        self.datapath.prepare.next = self.state.q.val() == State::Check;
        self.datapath.running.next = self.state.q.val() == State::Run;
        self.datapath.open.next = (self.state.q.val() == State::Run)
            | self.chasing.val()
            | ((self.state.q.val() == State::Drain) & self.tx_active.q.val());
        self.datapath.finish.next = self.state.q.val() == State::Finish;
        self.datapath.keep.next = !self.status.q.val().any();
        self.datapath.preload.next = self.state.q.val() == State::Record;
        self.datapath.cycles.next = self.cycles.q.val();
        self.datapath.sending.next = self.state.q.val() == State::RecordData;
        self.datapath.clear.next = self.state.q.val() == State::Finish;
        self.host_data.next = self.host_read.out_valid.val() & (self.host_read.out_kind.val() == 0);
        self.datapath.host_valid.next =
            self.host_data.val() & !self.host_read.out_status.val().any();
        self.datapath.host_data.next = self.host_read.out_data.val();
        self.datapath.dev_valid.next = self.dev_read.out_valid.val();
        self.datapath.dev_data.next = self.dev_read.out_data.val();
        self.dev_read.out_ready.next = self.datapath.dev_ready.val();
        self.dev_read.line_taken.next = self.datapath.line_taken.val() & self.from_device.val();
        self.datapath.fill_more.next = self.left.q.val().any();
        if self.datapath.fill_line.val() {
            self.left.d.next = self.left.q.val() - 1;
        }
        if (self.state.q.val() == State::Run) & self.datapath.line_taken.val() {
            self.done.d.next = self.done.q.val() + 1;
            if self.to_memory.val() {
                self.device.d.next = self.device.q.val() + 1;
            }
        }
        self.cursor.entry_valid.next = self.host_read.out_valid.val()
            & (self.host_read.out_kind.val() == 1)
            & (self.state.q.val() == State::Run);
        self.cursor.entry_data.next = self.host_read.out_data.val();
        self.cursor.entry_beat.next = self.host_read.out_beat.val();
        self.cursor.entry_status.next = self.host_read.out_status.val();
        self.host_read.out_ready.next = self.datapath.host_ready.val();
        if self.cursor.entry_valid.val() {
            self.host_read.out_ready.next = self.cursor.entry_ready.val();
        }

        // DMA writes.
        self.need.next = 1.into();
        self.wr_beats.next = 4.into();
        if self.cursor.chunk_two.val() {
            self.need.next = 2.into();
            self.wr_beats.next = 8.into();
        }
        self.wr_data.next = self.datapath.data.val();
        self.wr_data_valid.next = self.datapath.full.val() & self.tx_active.q.val();
        self.datapath.wr_pop.next = self.wr_pop.val();
        self.wr_valid.next = false;
        self.wr_address.next = bit_cast::<59, 58>(self.cursor.chunk_line.val()) << 1;
        if (self.state.q.val() == State::Run) & self.to_host.val() {
            self.wr_valid.next = self.cursor.chunk_valid.val()
                & !self.tx_active.q.val()
                & (self.dev_read.level.val() >= self.need.val())
                & self.cfg_bme.val();
            self.cursor.chunk_take.next = self.wr_valid.val() & self.wr_ready.val();
        }
        if self.state.q.val() == State::RecordData {
            self.wr_valid.next = !self.tx_active.q.val() & self.cfg_bme.val() & !self.abort.q.val();
            self.wr_beats.next = 2.into();
            self.wr_address.next = self.address.q.val();
        }
        if self.wr_valid.val() & self.wr_ready.val() {
            self.tx_active.d.next = true;
            self.tx_left.d.next = self.wr_beats.val();
        }
        if self.wr_pop.val() {
            self.tx_left.d.next = self.tx_left.q.val() - 1;
            if self.tx_left.q.val() == 1 {
                self.tx_active.d.next = false;
            }
        }

        // A DMA wait that goes on for too long.
        self.patience.limit.next = self.eng_timeout.val();
        self.patience.waiting.next = (self.host_read.waiting.val()
            & ((self.host_read.head_kind.val() != 2)
                | (self.state.q.val() == State::Idle)
                | (self.state.q.val() == State::Drain)))
            | (self.host_read.issue_valid.val()
                & !self.host_read.issue_ready.val()
                & !self.host_read.out_valid.val())
            | (self.tx_active.q.val() & self.datapath.full.val())
            | (self.wr_valid.val() & !self.wr_ready.val())
            | (self.state.q.val() == State::Atomic)
            | (!self.cfg_bme.val()
                & ((self.state.q.val() == State::Run)
                    | self.chasing.val()
                    | (self.state.q.val() == State::RecordData)));
        self.patience.progress.next = self.host_read.progress.val()
            | (self.host_read.issue_valid.val() & self.host_read.issue_ready.val())
            | (self.wr_valid.val() & self.wr_ready.val())
            | self.wr_pop.val();

        // An error stays where it is until the stream is flushed.
        self.host_error.next = 0.into();
        if self.host_read.out_status.val().any() {
            self.host_error.next = 8.into();
        }
        if self.host_read.out_status.val() == 2 {
            self.host_error.next = 10.into();
        }
        self.data_error.d.next = self.host_data.val()
            & self.host_read.out_status.val().any()
            & !self.datapath.full.val();
        self.poison_error.d.next = (self.dev_read.poisoned.val() & !self.datapath.full.val())
            | (self.to_host.val()
                & self.dev_read.poison_seen.val()
                & !self.tx_active.q.val()
                & (self.dev_read.level.val() < self.need.val()));

        // Atomics.
        self.port_valid.next = self.state.q.val() == State::Atomic;
        self.command.next.op = 4.into();
        if self.desc.is_swap.val() {
            self.command.next.op = 5.into();
        }
        self.command.next.line = self.desc.device_line.val();
        self.command.next.word = self.desc.word.val();
        self.command.next.operand = self.desc.arg.val();
        self.command.next.swap = self.desc.swap.val();
        self.port.next = self.command.val();

        // Sub-machines.
        self.admission.start.next = false;
        self.admission.list.next = self.desc.list.val();
        self.admission.uses_device.next = self.desc.uses_device.val();
        self.admission.uses_host.next = self.desc.uses_host.val();
        self.admission.scan.next = self.desc.uses_device.val()
            & !self.desc.is_set_owner.val()
            & !self.desc.is_chase.val()
            & !self.device_coherent.val();
        self.admission.device_line.next = self.desc.device_line.val();
        self.admission.device_high.next = self.desc.device_high.val();
        self.admission.lines.next = self.desc.lines.val();
        self.admission.host_line.next = self.desc.host_line.val();
        self.admission.host_span.next = self.desc.host_span.val();
        self.admission.capacity.next = self.capacity.val();
        self.admission.owner.next = self.owner.read_data.val();
        self.chase.prepare.next = self.state.q.val() == State::Check;
        self.chase.start.next = false;
        self.chase.stop.next = false;
        self.chase.host.next = self.desc.host.val();
        self.chase.count.next = self.desc.count.val().get_bits::<21>(0);
        self.chase.base.next = self.desc.device_line.val();
        self.chase.capacity.next = self.capacity.val();
        self.chase.pointer.next = self.datapath.result.val();
        self.chase.taken.next = self.datapath.pointer_taken.val();
        self.chase.owner.next = self.owner.read_data.val() | self.device_coherent.val();
        self.chase.failed.next = 0.into();
        if self.desc.host.val() {
            if self.data_error.q.val() {
                self.chase.failed.next = self.host_error.val();
            }
        } else if self.poison_error.q.val() {
            self.chase.failed.next = 10.into();
            if self.refused.q.val() {
                self.chase.failed.next = 13.into();
            }
        }
        if self.mem_refused.val() {
            self.refused.d.next = true;
        }
        if self.mem_wr_done.val() & !self.refused.q.val() {
            self.written.d.next = self.written.q.val() + 1;
        }
        self.owner.read.next = true;
        self.owner.read_address.next = self.admission.page.val();
        if self.chasing.val() {
            self.owner.read_address.next = self.chase.page.val();
        }
        self.owner.write.next = false;
        self.owner.write_address.next = self.page.q.val();
        self.owner.write_data.next = self.desc.arg.val().get_bit(0);
        self.ring.beat_valid.next = self.host_read.out_valid.val();
        self.ring.beat.next = self.host_read.out_beat.val();
        self.ring.beat_error.next = self.host_error.val();
        self.desc.load.next = false;
        self.desc.beat.next = self.host_read.out_beat.val();
        self.desc.data.next = self.host_read.out_data.val();
        self.cursor.start.next = false;
        self.cursor.clear.next = false;
        self.cursor.list.next = self.desc.list.val();
        self.cursor.line.next = self.desc.host_line.val();
        self.cursor.first.next = self.desc.host_first.val();
        self.cursor.lines.next = self.limit.q.val();
        self.dev_read.flush.next = false;
        self.cycles.d.next = self.cycles.q.val() + 1;
        self.irq_r.d.next = false;

        match self.state.q.val() {
            State::Sweep => {
                self.owner.write.next = true;
                self.owner.write_data.next = false;
                self.page.d.next = self.page.q.val() + 1;
                if self.page.q.val() == self.top_page.val() {
                    self.state.d.next = State::Idle;
                }
            }
            State::Idle => {
                self.host_read.out_ready.next = self.eng_enable.val();
                self.desc.load.next = self.host_read.out_valid.val();
                if self.host_read.out_valid.val() & (self.host_read.out_beat.val() == 0) {
                    self.cycles.d.next = 0.into();
                }
                if self.ring.start.val() {
                    self.state.d.next = State::Check;
                }
                if self.abort.q.val() {
                    self.state.d.next = State::Abort;
                }
            }
            State::Check => {
                self.status.d.next = self.desc.status.val();
                self.device.d.next = self.desc.device_line.val();
                self.page.d.next = self.desc.device_line.val().get_bits::<20>(6);
                self.done.d.next = 0.into();
                self.refused.d.next = false;
                self.written.d.next = 0.into();
                self.state.d.next = State::Admit;
                if self.desc.status.val().any() | self.desc.is_nop.val() {
                    self.state.d.next = State::Finish;
                } else {
                    self.admission.start.next = true;
                }
            }
            State::Admit => {
                self.status.d.next = self.admission.status.val();
                self.limit.d.next = self.admission.limit.val();
                self.left.d.next = self.admission.limit.val();
                self.limit_status.d.next = self.admission.limit_status.val();
                if self.admission.done.val() {
                    self.state.d.next = State::Start;
                    if self.admission.status.val().any() {
                        self.state.d.next = State::Finish;
                    } else if self.desc.is_set_owner.val() {
                        self.state.d.next = State::SetOwner;
                    } else if self.desc.is_add.val() | self.desc.is_swap.val() {
                        self.state.d.next = State::Atomic;
                    } else if self.desc.is_chase.val() {
                        self.chase.start.next = true;
                        self.state.d.next = State::Chase;
                    }
                }
            }
            State::Start => {
                self.cursor.start.next = self.from_host.val() | self.to_host.val();
                self.state.d.next = State::Run;
            }
            State::Run => {
                if self.cursor.bad.val() {
                    self.limit.d.next = bit_cast::<16, 10>(self.cursor.bad_page.val()) << 6;
                    self.limit_status.d.next = bit_cast::<8, 4>(self.cursor.bad_status.val());
                }
                if self.abort.q.val() {
                    self.give_up.next = true;
                    self.state.d.next = State::Drain;
                } else if (self.done.q.val() == self.limit.q.val())
                    & (!self.to_memory.val() | self.mem_wr_idle.val())
                    & !(self.to_memory.val() & self.refused.q.val())
                {
                    self.status.d.next = self.limit_status.q.val();
                    self.state.d.next = State::Finish;
                    if self.limit_status.q.val().any() {
                        self.state.d.next = State::Drain;
                    }
                } else if self.patience.timed_out.val() {
                    self.status.d.next = 9.into();
                    self.give_up.next = true;
                    self.state.d.next = State::Drain;
                } else if self.from_host.val() & self.data_error.q.val() {
                    self.status.d.next = self.host_error.val();
                    self.state.d.next = State::Drain;
                } else if self.from_device.val() & self.poison_error.q.val() {
                    self.status.d.next = 10.into();
                    if self.refused.q.val() {
                        self.status.d.next = 13.into();
                    }
                    self.state.d.next = State::Drain;
                } else if self.to_memory.val() & self.refused.q.val() {
                    self.status.d.next = 13.into();
                    self.give_up.next = true;
                    self.state.d.next = State::Drain;
                }
            }
            State::SetOwner => {
                self.owner.write.next = true;
                self.page.d.next = self.page.q.val() + 1;
                if self.page.q.val() == self.admission.last_page.val() {
                    self.state.d.next = State::Finish;
                }
            }
            State::Atomic => {
                if self.port_ready.val() {
                    self.state.d.next = State::AtomicWait;
                } else if self.patience.timed_out.val() {
                    self.status.d.next = 9.into();
                    self.state.d.next = State::Finish;
                } else if self.abort.q.val() {
                    self.state.d.next = State::Abort;
                }
            }
            State::AtomicWait => {
                // The port always answers: the memory does, and a snoop has its own time-out.
                if self.port_out_valid.val() {
                    self.state.d.next = State::Finish;
                    if self.port_out_status.val() == 1 {
                        self.status.d.next = 10.into();
                    } else if self.port_out_status.val() == 2 {
                        self.status.d.next = 13.into();
                    } else if self.port_out_status.val() == 3 {
                        self.status.d.next = 5.into();
                    }
                }
            }
            State::Chase => {
                if self.chase.done.val() {
                    self.status.d.next = self.chase.status.val();
                    self.state.d.next = State::Drain;
                } else if self.patience.timed_out.val() {
                    self.status.d.next = 9.into();
                }
                if self.abort.q.val() | (self.patience.timed_out.val() & !self.chase.done.val()) {
                    self.chase.stop.next = true;
                    self.give_up.next = true;
                    self.state.d.next = State::Drain;
                }
            }
            State::Drain => {
                self.cursor.clear.next = true;
                self.host_read.out_ready.next = self.host_read.out_kind.val() != 2;
                if !self.tx_active.q.val() {
                    self.dev_read.flush.next = true;
                    self.datapath.clear.next = true;
                    if self.dev_read.idle.val()
                        & (self.host_read.idle.val()
                            | (self.host_read.out_valid.val()
                                & (self.host_read.out_kind.val() == 2)))
                        & self.mem_wr_idle.val()
                    {
                        if self.to_memory.val() & self.refused.q.val() {
                            self.done.d.next = self.written.q.val();
                        }
                        self.state.d.next = State::Finish;
                    }
                }
                if self.patience.timed_out.val() {
                    self.give_up.next = true;
                }
            }
            State::Finish => {
                self.state.d.next = State::Settle;
            }
            State::Settle => {
                if self.mem_wr_idle.val() {
                    self.state.d.next = State::Record;
                } else if self.patience.timed_out.val() {
                    self.ring.record_lost.next = true;
                    self.datapath.clear.next = true;
                    self.state.d.next = State::Idle;
                }
                if self.abort.q.val() {
                    self.state.d.next = State::Abort;
                    self.give_up.next = true;
                }
            }
            State::Record => {
                self.state.d.next = State::RecordData;
            }
            State::RecordData => {
                if self.wr_pop.val() & (self.tx_left.q.val() == 1) {
                    self.irq_r.d.next = self.desc.irq.val();
                    self.ring.retire.next = true;
                    self.datapath.clear.next = true;
                    self.state.d.next = State::Idle;
                } else if !self.tx_active.q.val() & !(self.wr_valid.val() & self.wr_ready.val()) {
                    if self.patience.timed_out.val() {
                        self.ring.record_lost.next = true;
                        self.datapath.clear.next = true;
                        self.state.d.next = State::Idle;
                    }
                    if self.abort.q.val() {
                        self.datapath.clear.next = true;
                        self.state.d.next = State::Abort;
                        self.give_up.next = true;
                    }
                }
            }
            State::Abort => {
                self.host_read.out_ready.next = true;
                if self.host_read.idle.val() {
                    self.abort.d.next = false;
                    self.ring.restart.next = true;
                    self.state.d.next = State::Idle;
                }
            }
            _ => {
                self.state.d.next = State::Idle;
            }
        }

        self.ring.lost.next = self.give_up.val();
        self.host_read.flush.next = self.give_up.val() | self.ring.flush.val();

        // The record. Units done: all of them if the outcome is good.
        self.result_done.next = bit_cast::<32, 16>(self.done.q.val()) << 6;
        if self.desc.in_pages.val() {
            self.result_done.next = bit_cast::<32, 16>(self.done.q.val()) >> 6;
        }
        if self.desc.is_chase.val() {
            self.result_done.next = bit_cast::<32, 21>(self.chase.hops.val());
        }
        if !self.status.q.val().any() {
            self.result_done.next = self.desc.count.val();
        }
        self.record.next = bit_cast::<64, 16>(self.desc.id.val())
            | (bit_cast::<64, 8>(self.status.q.val()) << 16)
            | (bit_cast::<64, 1>(self.ring.phase.val().into()) << 24)
            | (bit_cast::<64, 32>(self.result_done.val()) << 32);
        self.datapath.record.next = self.record.val();

        if self.eng_soft_reset.val() {
            self.abort.d.next = true;
        }
        self.swept.next = self.state.q.val() != State::Sweep;
        self.eng_busy.next = self.busy.val() | self.ring.more.val() | self.abort.q.val();
        self.eng_fault.next = self.ring.fault.val();
        self.eng_fault_code.next = self.ring.fault_code.val();
        self.eng_head.next = self.ring.head.val();
        self.eng_done.next = self.ring.done_count.val();
        self.irq.next = self.irq_r.q.val();
        self.irq_vector.next = self.eng_vector.val();
        if self.reset.val() {
            self.state.d.next = State::Sweep;
            self.page.d.next = 0.into();
            self.at_desc.d.next = false;
            self.abort.d.next = false;
            self.tx_active.d.next = false;
            self.irq_r.d.next = false;
        }
    }
}
