//! The host's end of the flit link: messages to slots on the `rx_*` pins and back from the `tx_*` pins, bring-up, credits, link-level
//! retry, and the wire with its faults.
//!
//! Bring-up (cxl-mem 3.7): RETRY.Idle until one good flit came, INIT.Param once, then credits. A damaged flit is replayed
//! ([`cxlmem_protocol::retry`]); when that fails often enough the physical layer re-initialises, and at last the link is given up
//! ([`HostLink::has_failed`]) until software restarts it (`LinkCtrl.ENABLE` 0, then 1), which the host sees at the pin `link_enabled`.

mod counters;
mod wire;

pub use counters::{LinkCounters, Marks};
pub use wire::{flip, Faults, WireCounters, WireFaults};

use std::collections::VecDeque;

use crate::dut::Dut;
use crate::rng::Rng;
use cxlmem_protocol::crc;
use cxlmem_protocol::flit::control::{self, llctrl, Control, INIT_VERSION};
use cxlmem_protocol::flit::{Credits, Direction, Flit, FlitHeader};
use cxlmem_protocol::msg::{M2sBiRsp, M2sReq, M2sRwd, S2mBiSnp, S2mDrs, S2mNdr};
use cxlmem_protocol::pack::{Event, Extensions, FlitError, Line, M2sPacker, Receiver, Write};
use cxlmem_protocol::regs;
use cxlmem_protocol::retry::{Arrival, Limits, Local, Retry, Send, Verdict, DATA_RESERVE, RESERVE};
use wire::{SlotReceiver, SlotSender, Wire};

/// Messages that wait in the link at most, per channel: more would only hide latency from the home agent.
const QUEUE: usize = 16;

/// NDR and DRS that the host can always take: the home agent reserves their place with the tag.
const HOST_BUFFERS: u16 = 64;

/// BISnp that the host can always take (BI-68).
const SNOOP_BUFFERS: u16 = 8;

/// Entries of the host's retry buffer, which is the wrap value of its INIT.Param.
const RETRY_ENTRIES: u8 = 64;

/// Acknowledgements that may wait for a flit to ride on (cxl-mem 3.8).
const ACKS_FORCED: u16 = 16;

/// Cycles that the physical layer takes to re-initialise.
const REINIT_CYCLES: u64 = 64;

/// A message from the device.
#[derive(Clone, Debug)]
pub enum Response {
    /// A completion.
    Ndr(S2mNdr),
    /// A completion with data.
    Drs(S2mDrs, Line),
    /// A back-invalidate snoop (BI-68). It waits for an answer ([`HostLink::send_birsp`]).
    BiSnp(S2mBiSnp),
}

/// Flit times after which the host makes up for a lost last flit: as the device's register has it after reset.
const TAIL: u16 = regs::LlrTail::RESET as u16;

/// The host's end of the link.
pub struct HostLink {
    packer: M2sPacker,
    receiver: Receiver,
    sender: SlotSender,
    slots: SlotReceiver,
    to_device: Wire,
    to_host: Wire,
    /// Flits on their way to the device, in the order in which they arrive.
    arriving: VecDeque<Flit>,
    retry: Retry,
    /// The flits of the retry buffer, and whether they are all-data flits.
    kept: Vec<(Flit, bool)>,
    /// Options of INIT.Param: offered at the next INIT, offered at the last one, offered by the device, in force.
    offer: u16,
    offered: u16,
    peer_offers: u16,
    agreed: u16,
    /// Every number has been used.
    wrapped: bool,
    /// First cycle in which the physical layer is up again.
    reinit_until: Option<u64>,
    /// The device said that it is viral.
    peer_viral: bool,
    /// The device's end is enabled.
    enabled: bool,
    limits: Limits,
    stall: f64,
    stall_rng: Rng,
    ready: bool,
    /// A flit of the device had a good CRC.
    heard: bool,
    init_sent: bool,
    init_received: bool,
    restarted: bool,
    /// The flit on its way out holds a message or data.
    loaded: bool,
    counters: LinkCounters,
    marks: Marks,
    first_error: Option<(u64, FlitError)>,
}

impl HostLink {
    /// A link that is down; it starts to train with the first cycle.
    pub fn new(faults: Faults, rng: &mut Rng) -> Self {
        Self {
            packer: M2sPacker::new(),
            receiver: Receiver::new(Direction::S2m, Extensions::default()),
            sender: SlotSender::new(),
            slots: SlotReceiver::default(),
            to_device: Wire::new(faults.m2s, rng.fork()),
            to_host: Wire::new(faults.s2m, rng.fork()),
            arriving: VecDeque::new(),
            retry: Retry::new(RETRY_ENTRIES, Limits::default()),
            kept: vec![(Flit::default(), false); RETRY_ENTRIES.into()],
            offer: 0,
            offered: 0,
            peer_offers: 0,
            agreed: 0,
            wrapped: false,
            reinit_until: None,
            peer_viral: false,
            enabled: true,
            limits: Limits {
                tail: TAIL,
                ..Limits::default()
            },
            stall: faults.tx_stall,
            stall_rng: rng.fork(),
            ready: false,
            heard: false,
            init_sent: false,
            init_received: false,
            restarted: false,
            loaded: false,
            counters: LinkCounters::default(),
            marks: Marks::default(),
            first_error: None,
        }
    }

    /// True if messages can flow.
    pub fn is_up(&self) -> bool {
        self.init_sent && self.init_received && !self.has_failed()
    }

    /// True if the link was given up: nothing passes until the device restarts it.
    pub fn has_failed(&self) -> bool {
        self.retry.local() == Local::Abort
    }

    /// The retry machines of this end.
    pub fn retry(&self) -> &Retry {
        &self.retry
    }

    /// Thresholds of the retry machines of this end.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.retry.set_limits(self.limits_in_force());
    }

    /// Offers sequence numbers in the CRC at the next INIT (cxl-mem 8.4); in force if the device offers them too.
    pub fn offer_seq(&mut self, offer: bool) {
        self.offer(control::SEQ, offer);
    }

    /// Offers back-invalidate at the next INIT (cxl-mem 8.2); in force if the device offers it too (`LinkCtrl.OFFER_BI`).
    pub fn offer_bi(&mut self, offer: bool) {
        self.offer(control::BI68, offer);
    }

    fn offer(&mut self, option: u16, offer: bool) {
        self.offer &= !option;
        if offer {
            self.offer |= option;
        }
    }

    /// True if the device said that it is viral: its data is poison (cxl-mem 3.11).
    pub fn peer_is_viral(&self) -> bool {
        self.peer_viral
    }

    /// Thresholds, as set.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// True if sequence numbers are in force.
    pub fn has_seq(&self) -> bool {
        self.agreed & control::SEQ != 0
    }

    /// True if BI-68 is in force.
    pub fn has_bi(&self) -> bool {
        self.agreed & control::BI68 != 0
    }

    /// What the wire did wrong so far, towards the device or the host.
    pub fn wire_counters(&self, direction: Direction) -> WireCounters {
        match direction {
            Direction::M2s => self.to_device.counters,
            Direction::S2m => self.to_host.counters,
        }
    }

    /// Counts since construction.
    pub fn counters(&self) -> LinkCounters {
        self.counters
    }

    /// When slots passed the pins.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// The first rule that the device broke, and the cycle.
    pub fn first_error(&self) -> Option<(u64, FlitError)> {
        self.first_error
    }

    /// Credits in hand for Req (`req`), RwD (`data`) and BIRsp (`rsp`).
    pub fn credits(&self) -> Credits {
        self.packer.credits()
    }

    /// Changes what the wire does wrong, from the next flit on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.to_device.set(faults.m2s);
        self.to_host.set(faults.s2m);
        self.stall = faults.tx_stall;
    }

    /// Damages the next flit in a direction, whatever the probabilities.
    pub fn corrupt_next(&mut self, direction: Direction) {
        self.source(direction).corrupt_next += 1;
    }

    /// Loses the next flit in a direction, whatever the probabilities.
    pub fn drop_next(&mut self, direction: Direction) {
        self.source(direction).lose_next += 1;
    }

    fn source(&mut self, direction: Direction) -> &mut Wire {
        match direction {
            Direction::M2s => &mut self.to_device,
            Direction::S2m => &mut self.to_host,
        }
    }

    /// True if [`HostLink::send_req`] takes a message.
    #[inline]
    pub fn room_for_req(&self) -> bool {
        self.packer.reqs_queued() < QUEUE && self.is_up()
    }

    /// True if [`HostLink::send_rwd`] takes a message.
    #[inline]
    pub fn room_for_rwd(&self) -> bool {
        self.packer.writes_queued() < QUEUE && self.is_up()
    }

    /// True if [`HostLink::send_birsp`] takes a message: BI-68 is in force and the link is up.
    #[inline]
    pub fn room_for_birsp(&self) -> bool {
        self.has_bi() && self.packer.birsps_queued() < QUEUE && self.is_up()
    }

    /// Queues the answer to a snoop (BI-68); false if there is no room, or BI-68 is off.
    pub fn send_birsp(&mut self, birsp: &M2sBiRsp) -> bool {
        let taken = self.packer.push_birsp(birsp).is_ok();
        self.counters.birsps += u64::from(taken);
        taken
    }

    /// Queues a request; false if there is no room.
    pub fn send_req(&mut self, req: &M2sReq) -> bool {
        let taken = self.packer.push_req(req).is_ok();
        self.counters.reqs += u64::from(taken);
        taken
    }

    /// Queues a request with data; `enables` travel with MemWrPtl only. False if there is no room.
    pub fn send_rwd(&mut self, header: M2sRwd, data: Line, enables: u64) -> bool {
        let write = Write {
            header,
            data,
            be: Some(enables),
        };
        let taken = self.packer.push_write(&write).is_ok();
        self.counters.rwds += u64::from(taken);
        taken
    }

    /// True once after the device has restarted the link: all that was under way is lost.
    pub fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restarted)
    }

    /// Without sequence numbers a lost last flit cannot be noticed.
    fn limits_in_force(&self) -> Limits {
        Limits {
            tail: if self.has_seq() { self.limits.tail } else { 0 },
            ..self.limits
        }
    }

    /// The device was reset: it forgot us, whatever was under way.
    pub(crate) fn device_reset(&mut self, dut: &mut Dut) {
        self.restart();
        self.sender.clear();
        self.slots.clear();
        self.reinit_until = None;
        dut.set_phy_down(false);
    }

    /// Starts over: the device forgot us.
    fn restart(&mut self) {
        self.packer = M2sPacker::new();
        self.receiver = Receiver::new(Direction::S2m, Extensions::default());
        self.agreed = 0;
        self.wrapped = false;
        self.retry = Retry::new(RETRY_ENTRIES, self.limits_in_force());
        self.init_sent = false;
        self.init_received = false;
        self.heard = false;
        self.offered = 0;
        self.peer_offers = 0;
        self.peer_viral = false;
        self.restarted = true;
        self.arriving.clear();
        self.to_device.clear();
        self.to_host.clear();
    }

    /// The physical layer: re-initialises when either end asks for it, which takes both ends down for a while.
    fn phy(&mut self, dut: &mut Dut) {
        let now = dut.cycles();
        match self.reinit_until {
            None if dut.phy_reinit() || self.retry.local() == Local::PhyReinit => {
                self.counters.reinits += 1;
                self.reinit_until = Some(now + REINIT_CYCLES);
                self.retry.phy_down();
                self.arriving.clear();
                self.to_device.clear();
                self.to_host.clear();
                self.sender.clear();
                self.slots.clear();
                dut.set_phy_down(true);
            }
            Some(until) if now >= until => {
                self.reinit_until = None;
                self.retry.phy_up();
                dut.set_phy_down(false);
            }
            _ => {}
        }
    }

    /// Drives the link's input pins for this cycle.
    #[inline]
    pub fn drive(&mut self, dut: &mut Dut) {
        let enabled = dut.link_enabled();
        if self.enabled && !enabled {
            self.restart();
        }
        self.enabled = enabled;
        self.phy(dut);
        if self.sender.idle() && self.reinit_until.is_none() {
            if self.arriving.is_empty() {
                if let Some(flit) = self.next_flit() {
                    self.counters.flits_sent += 1;
                    self.arriving
                        .extend(self.to_device.pass(flit).into_iter().flatten());
                }
            }
            if let Some(flit) = self.arriving.pop_front() {
                self.sender.start(flit);
            }
        }
        if self.sender.drive(dut) && self.loaded {
            self.marks.request_end = dut.cycles();
        }
        self.ready = !self.stall_rng.chance(self.stall);
        dut.set_tx_ready(self.ready);
    }

    /// What goes on the wire in this flit time: the retry machines first, then new flits.
    fn next_flit(&mut self) -> Option<Flit> {
        self.loaded = false;
        let all_data = match self.retry.replay() {
            Some(entry) => self.kept[usize::from(entry)].1,
            None => self.packer.rollover() >= 4,
        };
        match self.retry.next(all_data) {
            Send::Control(c) => {
                self.counters.retry_requests += u64::from(matches!(c, Control::RetryReq { .. }));
                Some(c.flit(FlitHeader::default()))
            }
            Send::Replay(entry) => {
                self.counters.replayed += 1;
                let mut flit = self.kept[usize::from(entry)].0;
                flit.crc ^= self.in_crc(entry);
                self.loaded = true;
                Some(flit)
            }
            Send::New { idle } => self
                .new_flit()
                .or_else(|| idle.then(|| Control::RetryIdle.flit(FlitHeader::default()))),
            Send::Nothing => None,
        }
    }

    /// What SEQ mixes into the CRC of the flit sent with this number: nothing into INIT.Param, which is the first number 0.
    fn in_crc(&self, number: u8) -> u16 {
        if number == 0 && !self.wrapped {
            0
        } else {
            self.expected_in_crc(number)
        }
    }

    /// The same for a flit that is received. Sequence numbers come into force with the device's INIT.Param, so it is none.
    fn expected_in_crc(&self, number: u8) -> u16 {
        if self.has_seq() {
            control::NUMBERED | u16::from(number)
        } else {
            0
        }
    }

    fn new_flit(&mut self) -> Option<Flit> {
        if !self.init_sent {
            return if self.heard {
                Some(self.init())
            } else {
                Some(Control::RetryIdle.flit(FlitHeader::default()))
            };
        }
        let all_data = self.packer.rollover() >= 4;
        let free = self.retry.free();
        let late = self.retry.tail_is_late();
        let (flit, matters) = if all_data {
            (self.packer.next_flit()?, true)
        } else if (self.packer.acks_owed() >= ACKS_FORCED || late) && free >= RESERVE - 1 {
            let matters = !self.packer.credits_owed().is_empty();
            (self.packer.acknowledge(), matters)
        } else {
            let needed = if self.packer.writes_queued() > 0 {
                DATA_RESERVE
            } else {
                RESERVE
            };
            if free < needed {
                return None;
            }
            self.loaded = !self.packer.is_idle();
            self.counters.credit_wait += u64::from(self.loaded && self.packer.is_starved());
            let writes = self.packer.writes_queued();
            let owed = !self.packer.credits_owed().is_empty();
            let flit = self.packer.next_flit();
            self.counters.lines_sent += (writes - self.packer.writes_queued()) as u64;
            (flit?, self.loaded || owed)
        };
        self.loaded |= all_data;
        Some(self.keep(flit, all_data, matters))
    }

    /// Puts a new retryable flit into the retry buffer.
    fn keep(&mut self, mut flit: Flit, all_data: bool, matters: bool) -> Flit {
        let entry = self.retry.sent(matters);
        self.wrapped |= usize::from(entry) + 1 == self.kept.len();
        self.kept[usize::from(entry)] = (flit, all_data);
        flit.crc ^= self.in_crc(entry);
        flit
    }

    fn init(&mut self) -> Flit {
        self.init_sent = true;
        self.packer.owe(Credits {
            req: 0,
            data: HOST_BUFFERS,
            rsp: HOST_BUFFERS,
        });
        self.offered = self.offer;
        self.note_up();
        let init = Control::InitParam {
            version: INIT_VERSION,
            llr_wrap: RETRY_ENTRIES,
            signature: control::signature(self.offered),
        };
        self.keep(init.flit(FlitHeader::default()), false, true)
    }

    /// Once both INIT.Param are through, the extensions that both name are in force.
    fn note_up(&mut self) {
        if !self.is_up() {
            return;
        }
        self.counters.ups += 1;
        self.agreed = self.offered & self.peer_offers;
        self.retry.set_limits(self.limits_in_force());
        if self.has_bi() {
            self.packer.set_bi68(true);
            self.packer.owe(Credits {
                req: SNOOP_BUFFERS,
                ..Default::default()
            });
            let extensions = Extensions {
                bi68: true,
                ..Default::default()
            };
            self.receiver = Receiver::new(Direction::S2m, extensions);
        }
    }

    /// Takes the device's slot of this cycle, after its outputs have settled; `sink` gets the responses.
    #[inline]
    pub fn sample(&mut self, dut: &Dut, mut sink: impl FnMut(Response)) {
        if !(self.ready && dut.tx_valid()) {
            return;
        }
        let framing = self.slots.framing_errors;
        if let Some(flit) = self.slots.sample(dut) {
            if self.reinit_until.is_none() && self.enabled {
                for flit in self.to_host.pass(flit).into_iter().flatten() {
                    self.take(dut.cycles(), &flit, &mut sink);
                }
            }
        }
        self.counters.protocol_errors += self.slots.framing_errors - framing;
    }

    /// What arrived, as the retry machines see it.
    fn classify(&self, flit: &Flit) -> Arrival {
        let dropping = self.retry.local() != Local::Normal;
        let is_control = flit.slots[0] & 1 == 1 && (dropping || self.receiver.rollover() < 4);
        let is_retry = is_control && (flit.slots[0] >> 32) as u8 & 15 == llctrl::RETRY;
        let number = if is_retry {
            0
        } else {
            self.expected_in_crc(self.retry.eseq())
        };
        if flit.crc ^ number != crc::of(&flit.slots) {
            return Arrival::Damaged;
        }
        match Control::unpack(flit.slots[0]) {
            Ok(c) if is_retry => Arrival::Retry(c),
            _ => Arrival::Retryable,
        }
    }

    fn take(&mut self, now: u64, flit: &Flit, sink: &mut impl FnMut(Response)) {
        // An idle or dead wire passes the CRC (cxl-mem 3.10).
        if self.receiver.rollover() < 4 && flit.slots == [0; 4] && flit.crc == 0 {
            return;
        }
        let arrival = self.classify(flit);
        let before = self.retry.local();
        if arrival == Arrival::Damaged {
            if !self.heard {
                return;
            }
            self.counters.crc_errors += u64::from(before == Local::Normal);
        }
        self.heard |= arrival != Arrival::Damaged;
        if arrival == Arrival::Retryable && before == Local::Normal && !self.admits(flit) {
            self.counters.protocol_errors += 1;
            self.retry.abort();
            return;
        }
        let verdict = self.retry.receive(arrival);
        // Taken for an answer: the wait for it is over.
        if let (Arrival::Retry(Control::RetryAck { viral, .. }), Local::Idle, Local::Normal) =
            (arrival, before, self.retry.local())
        {
            self.peer_viral |= viral;
        }
        match verdict {
            Verdict::Deliver => {}
            Verdict::Drop => {
                self.counters.dropped_after_error +=
                    u64::from(arrival == Arrival::Retryable && before != Local::Normal);
                return;
            }
            Verdict::Broken => {
                self.counters.protocol_errors += 1;
                self.retry.abort();
                return;
            }
        }
        self.counters.flits_received += 1;
        self.packer.owe_ack();
        if let Some((llr_wrap, signature)) = self.init_param(flit) {
            self.init_received = true;
            self.peer_offers = control::options(signature);
            if !self.retry.set_peer_entries(llr_wrap) {
                self.counters.protocol_errors += 1;
                self.retry.abort();
            }
            self.note_up();
            return;
        }
        let mut acked = 0;
        let (packer, counters, marks, first_error) = (
            &mut self.packer,
            &mut self.counters,
            &mut self.marks,
            &mut self.first_error,
        );
        let started = self.slots.started;
        self.receiver.accept(&flit.slots, |_, event| match event {
            Event::Ndr(ndr) => {
                packer.owe(Credits {
                    rsp: 1,
                    ..Default::default()
                });
                marks.response_start = started;
                marks.response_end = now;
                counters.ndrs += 1;
                sink(Response::Ndr(ndr));
            }
            Event::DrsHeader(_) => marks.response_start = started,
            Event::Read(read) => {
                packer.owe(Credits {
                    data: 1,
                    ..Default::default()
                });
                marks.response_end = now;
                counters.drss += 1;
                sink(Response::Drs(read.header, read.data));
            }
            Event::Chunk(_) => counters.data_slots_received += 1,
            Event::Credits(credits) => packer.grant(credits),
            Event::Error(error) => {
                counters.protocol_errors += 1;
                first_error.get_or_insert((now, error));
            }
            Event::Ack(count) => acked += count,
            Event::Control(_) => {}
            Event::BiSnp(bisnp) => {
                packer.owe(Credits {
                    req: 1,
                    ..Default::default()
                });
                marks.response_start = started;
                marks.response_end = now;
                counters.bisnps += 1;
                sink(Response::BiSnp(bisnp));
            }
            Event::ByteEnables(_)
            | Event::Req(_)
            | Event::RwdHeader(_)
            | Event::Write(_)
            | Event::BiRsp(_) => {
                counters.protocol_errors += 1;
            }
        });
        if !self.retry.acked(acked) {
            self.counters.protocol_errors += 1;
            self.retry.abort();
        }
    }

    /// The content of INIT.Param, if the flit is one.
    fn init_param(&self, flit: &Flit) -> Option<(u8, u16)> {
        // The first check rejects almost every flit; an all-data flit must not be looked at.
        if flit.slots[0] & 1 == 0 || self.receiver.rollover() >= 4 {
            return None;
        }
        match Control::unpack(flit.slots[0]) {
            Ok(Control::InitParam {
                llr_wrap,
                signature,
                ..
            }) => Some((llr_wrap, signature)),
            _ => None,
        }
    }

    /// INIT.Param comes first, and once (cxl-mem 3.7).
    fn admits(&self, flit: &Flit) -> bool {
        self.init_received != self.init_param(flit).is_some()
    }
}

#[cfg(test)]
mod tests;
