//! The host's end of the flit link: messages to slots on the `rx_*` pins and back from the `tx_*` pins, bring-up, credits, and the wire with its faults.
//!
//! Bring-up (cxl-mem 3.7): RETRY.Idle until one good flit came, INIT.Param once, then credits. There is no retry yet: a flit with a bad CRC is counted and dropped,
//! and so is everything after it, because a receiver that missed a flit can no longer tell data from headers. The link works again after the device restarts it
//! (`LinkCtrl.ENABLE` 0, then 1), which the host sees as a new INIT.

mod wire;

pub use wire::{flip, Faults};

use crate::dut::Dut;
use crate::rng::Rng;
use cxlmem_protocol::flit::control::{Control, INIT_VERSION};
use cxlmem_protocol::flit::{Credits, Direction, Flit, FlitHeader};
use cxlmem_protocol::msg::{M2sReq, M2sRwd, S2mDrs, S2mNdr};
use cxlmem_protocol::pack::{Event, Extensions, FlitError, Line, M2sPacker, Receiver, Write};
use wire::{FaultSource, SlotReceiver, SlotSender};

/// Messages that wait in the link at most, per channel: more would only hide latency from the home agent.
const QUEUE: usize = 16;

/// NDR and DRS that the host can always take: the home agent reserves their place with the tag.
const HOST_BUFFERS: u16 = 64;

/// LLR wrap value that the host's INIT.Param carries: the recommended minimum (cxl-mem 3.9).
const LLR_WRAP: u8 = 22;

/// A response from the device.
#[derive(Clone, Debug)]
pub enum Response {
    /// A completion.
    Ndr(S2mNdr),
    /// A completion with data.
    Drs(S2mDrs, Line),
}

/// Counts since construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Flits put on the wire towards the device, lost and damaged ones included.
    pub flits_sent: u64,
    /// Good flits from the device.
    pub flits_received: u64,
    /// Flits from the device dropped for a bad CRC.
    pub crc_errors: u64,
    /// Flits from the device dropped because an earlier one was lost.
    pub dropped_after_error: u64,
    /// Slots or messages from the device that broke a rule.
    pub protocol_errors: u64,
    /// Lines of data sent (counted with their header).
    pub lines_sent: u64,
    /// Data slots received.
    pub data_slots_received: u64,
    /// Cycles in which a message waited here for a credit.
    pub credit_wait: u64,
    /// Times the link came up.
    pub ups: u64,
}

/// When slots passed the pins, in cycles of the device: what latencies are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Last slot of the last flit with a message or data towards the device.
    pub request_end: u64,
    /// First slot of the last flit with a response header from the device.
    pub response_start: u64,
    /// Last slot of the last flit that completed a response.
    pub response_end: u64,
}

/// The host's end of the link.
pub struct HostLink {
    packer: M2sPacker,
    receiver: Receiver,
    sender: SlotSender,
    slots: SlotReceiver,
    to_device: FaultSource,
    to_host: FaultSource,
    stall: f64,
    stall_rng: Rng,
    ready: bool,
    /// A flit of the device had a good CRC.
    heard: bool,
    init_sent: bool,
    init_received: bool,
    /// A flit was damaged or lost on its way here.
    failed: bool,
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
            to_device: FaultSource::new(faults.m2s_corrupt, faults.m2s_drop, rng.fork()),
            to_host: FaultSource::new(faults.s2m_corrupt, faults.s2m_drop, rng.fork()),
            stall: faults.tx_stall,
            stall_rng: rng.fork(),
            ready: false,
            heard: false,
            init_sent: false,
            init_received: false,
            failed: false,
            restarted: false,
            loaded: false,
            counters: LinkCounters::default(),
            marks: Marks::default(),
            first_error: None,
        }
    }

    /// True if messages can flow.
    pub fn is_up(&self) -> bool {
        self.init_sent && self.init_received && !self.failed
    }

    /// True if a flit from the device was damaged or lost: nothing is taken until the device restarts the link.
    pub fn has_failed(&self) -> bool {
        self.failed
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

    /// Credits in hand for Req (`req`) and RwD (`data`).
    pub fn credits(&self) -> Credits {
        self.packer.credits()
    }

    /// Changes what the wire does wrong, from the next flit on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.to_device.set(faults.m2s_corrupt, faults.m2s_drop);
        self.to_host.set(faults.s2m_corrupt, faults.s2m_drop);
        self.stall = faults.tx_stall;
    }

    /// Damages the next flit in a direction, whatever the probabilities.
    pub fn corrupt_next(&mut self, direction: Direction) {
        self.source(direction).corrupt_next += 1;
    }

    /// Loses the next flit in a direction, whatever the probabilities.
    pub fn drop_next(&mut self, direction: Direction) {
        self.source(direction).drop_next += 1;
    }

    fn source(&mut self, direction: Direction) -> &mut FaultSource {
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

    /// Queues a request; false if there is no room.
    pub fn send_req(&mut self, req: &M2sReq) -> bool {
        self.packer.push_req(req).is_ok()
    }

    /// Queues a request with data; `enables` travel with MemWrPtl only. False if there is no room.
    pub fn send_rwd(&mut self, header: M2sRwd, data: Line, enables: u64) -> bool {
        self.packer
            .push_write(&Write {
                header,
                data,
                be: Some(enables),
            })
            .is_ok()
    }

    /// True once after the device has restarted the link: all that was under way is lost.
    pub fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restarted)
    }

    /// Starts over: the device forgot us.
    fn restart(&mut self) {
        self.packer = M2sPacker::new();
        self.receiver = Receiver::new(Direction::S2m, Extensions::default());
        self.init_sent = false;
        self.init_received = false;
        self.failed = false;
        self.restarted = true;
    }

    /// Drives the link's input pins for this cycle.
    #[inline]
    pub fn drive(&mut self, dut: &mut Dut) {
        if self.sender.idle() {
            if let Some(flit) = self.next_flit() {
                self.counters.flits_sent += 1;
                if let Some(flit) = self.to_device.pass(flit) {
                    self.sender.start(flit);
                }
            }
        }
        if self.sender.drive(dut) && self.loaded {
            self.marks.request_end = dut.cycles();
        }
        self.ready = !self.stall_rng.chance(self.stall);
        dut.set_tx_ready(self.ready);
    }

    fn next_flit(&mut self) -> Option<Flit> {
        self.loaded = false;
        if self.init_sent {
            self.loaded = !self.packer.is_idle();
            self.counters.credit_wait += u64::from(self.loaded && self.packer.is_starved());
            let writes = self.packer.writes_queued();
            let flit = self.packer.next_flit();
            self.counters.lines_sent += (writes - self.packer.writes_queued()) as u64;
            return flit;
        }
        if !self.heard {
            return Some(Control::RetryIdle.flit(FlitHeader::default()));
        }
        self.init_sent = true;
        self.packer.owe(Credits {
            req: 0,
            data: HOST_BUFFERS,
            rsp: HOST_BUFFERS,
        });
        self.note_up();
        Some(
            Control::InitParam {
                version: INIT_VERSION,
                llr_wrap: LLR_WRAP,
                signature: 0,
            }
            .flit(FlitHeader::default()),
        )
    }

    fn note_up(&mut self) {
        self.counters.ups += u64::from(self.is_up());
    }

    /// Takes the device's slot of this cycle, after its outputs have settled; `sink` gets the responses.
    #[inline]
    pub fn sample(&mut self, dut: &Dut, sink: impl FnMut(Response)) {
        if !(self.ready && dut.tx_valid()) {
            return;
        }
        let framing = self.slots.framing_errors;
        if let Some(flit) = self.slots.sample(dut) {
            // A flit that is lost here leaves a hole that nobody sees: no retry, no sequence numbers yet (cxl-mem 8.4).
            if let Some(flit) = self.to_host.pass(flit) {
                self.take(dut.cycles(), &flit, sink);
            }
        }
        self.counters.protocol_errors += self.slots.framing_errors - framing;
    }

    fn take(&mut self, now: u64, flit: &Flit, mut sink: impl FnMut(Response)) {
        if !flit.crc_ok() {
            self.counters.crc_errors += 1;
            // Before INIT nothing is lost but RETRY.Idle.
            self.failed |= self.init_received;
            return;
        }
        self.heard = true;
        if self.note_restart(flit) {
            self.counters.flits_received += 1;
            return;
        }
        if self.failed {
            self.counters.dropped_after_error += 1;
            return;
        }
        self.counters.flits_received += 1;
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
                sink(Response::Ndr(ndr));
            }
            Event::DrsHeader(_) => marks.response_start = started,
            Event::Read(read) => {
                packer.owe(Credits {
                    data: 1,
                    ..Default::default()
                });
                marks.response_end = now;
                sink(Response::Drs(read.header, read.data));
            }
            Event::Chunk(_) => counters.data_slots_received += 1,
            Event::Credits(credits) => packer.grant(credits),
            Event::Error(error) => {
                counters.protocol_errors += 1;
                first_error.get_or_insert((now, error));
            }
            // Acknowledgements mean something once there is a retry buffer.
            Event::Ack(_) | Event::Control(_) => {}
            Event::BiSnp(_)
            | Event::ByteEnables(_)
            | Event::Req(_)
            | Event::RwdHeader(_)
            | Event::Write(_)
            | Event::BiRsp(_) => {
                counters.protocol_errors += 1;
            }
        });
    }

    /// Looks for the flits that say that the device initialises: INIT.Param, and RETRY.Idle after it had initialised before.
    fn note_restart(&mut self, flit: &Flit) -> bool {
        // The first check rejects almost every flit. While the link works, an all-data flit must not be looked at.
        if flit.slots[0] & 1 == 0 || (!self.failed && self.receiver.rollover() >= 4) {
            return false;
        }
        match Control::unpack(flit.slots[0]) {
            Ok(Control::InitParam { .. }) => {
                if self.init_received {
                    self.restart();
                }
                self.init_received = true;
                self.note_up();
                true
            }
            Ok(Control::RetryIdle) => {
                if self.init_received {
                    self.restart();
                }
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> HostLink {
        HostLink::new(Faults::default(), &mut Rng::new(1))
    }

    fn control(c: Control) -> Flit {
        c.flit(FlitHeader::default())
    }

    const INIT: Control = Control::InitParam {
        version: 2,
        llr_wrap: 9,
        signature: 0,
    };

    #[test]
    fn trains_initialises_and_gives_credits_once() {
        let mut l = link();
        assert_eq!(l.next_flit(), Some(control(Control::RetryIdle)));
        assert_eq!(l.next_flit(), Some(control(Control::RetryIdle)));
        l.take(1, &control(Control::RetryIdle), |_| {});
        let init = l.next_flit().unwrap();
        assert!(matches!(
            Control::unpack(init.slots[0]),
            Ok(Control::InitParam { version: 2, .. })
        ));
        assert!(!l.is_up());
        l.take(2, &control(INIT), |_| {});
        assert!(l.is_up() && !l.take_restart());
        let mut granted = Credits::default();
        for _ in 0..100 {
            if let Some(flit) = l.next_flit() {
                assert!(
                    matches!(
                        Control::unpack(flit.slots[0]),
                        Ok(Control::LlcrdAck { ack: 0 })
                    ),
                    "INIT.Param goes out exactly once"
                );
                granted.add(flit.header().credits());
            }
        }
        assert_eq!(
            granted,
            Credits {
                req: 0,
                data: HOST_BUFFERS,
                rsp: HOST_BUFFERS
            }
        );
        assert_eq!(l.counters().ups, 1);
    }

    #[test]
    fn a_damaged_flit_fails_the_link_until_the_device_restarts() {
        let mut l = link();
        l.take(1, &control(INIT), |_| {});
        l.next_flit();
        assert!(l.is_up());
        let mut bad = control(Control::RetryIdle);
        flip(&mut bad, 300);
        l.take(2, &bad, |_| {});
        assert!(l.has_failed() && !l.is_up());
        l.take(3, &Flit::new([0; 4]), |_| {});
        assert_eq!(l.counters().dropped_after_error, 1);
        l.take(4, &control(INIT), |_| {});
        assert!(l.take_restart() && !l.take_restart());
        l.next_flit();
        assert!(l.is_up());
    }
}
