//! The host's end of the frames: what is kept until it is acknowledged, what arrived in order.

use cxlmem_protocol::serial::arq::Arq;
use cxlmem_protocol::serial::{Frame, FrameReceiver, Kind, Received, WIRE_MAX};
use std::collections::VecDeque;

/// Frames since the reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndCounters {
    /// Frames with a number that were sent, repetitions included.
    pub sent: u64,
    /// Of those, repetitions.
    pub repeated: u64,
    /// Frames with a number that arrived and were expected.
    pub received: u64,
    /// Ends of something that was no frame, or a damaged one.
    pub damaged: u64,
    /// Good frames that were not expected.
    pub unexpected: u64,
    /// Times that all was sent again because nothing came.
    pub timeouts: u64,
}

/// Calls of [`HostEnd::receive`] without news, while frames are out, after which all is sent again: the frames of a window and their acknowledgement, and as
/// long again for what lies between.
const PATIENCE: u32 = 400;

/// See the module.
#[derive(Default)]
pub struct HostEnd {
    arq: Arq,
    kept: Vec<Option<Frame>>,
    receiver: FrameReceiver,
    arrived: VecDeque<Frame>,
    hello: Option<Frame>,
    /// The device has answered the reset.
    has_begun: bool,
    quiet: u32,
    /// The next number that was never sent.
    fresh: u8,
    tlps_sent: u8,
    tlps_taken: u8,
    counters: EndCounters,
}

impl HostEnd {
    /// Counts since the reset.
    pub fn counters(&self) -> EndCounters {
        self.counters
    }

    /// The device's answer to the reset with a nonce.
    pub fn take_hello(&mut self, nonce: u8) -> Option<Frame> {
        self.hello.take().filter(|f| f.number == nonce)
    }

    /// From here on frames have numbers.
    pub fn begin(&mut self) {
        self.has_begun = true;
    }

    /// Whether [`HostEnd::add`] may be called.
    pub fn has_room(&self) -> bool {
        self.arq.has_room()
    }

    /// Gives a frame a number and keeps it.
    pub fn add(&mut self, mut frame: Frame) {
        self.tlps_sent = self
            .tlps_sent
            .wrapping_add(u8::from(frame.kind == Kind::Tlp));
        frame.number = self.arq.add();
        self.kept.resize(256, None);
        self.kept[usize::from(frame.number)] = Some(frame);
    }

    /// TLP frames that the device has not passed on yet.
    pub fn tlps_ahead(&self) -> u8 {
        self.tlps_sent.wrapping_sub(self.tlps_taken)
    }

    /// Nothing is waited for.
    pub fn is_idle(&self) -> bool {
        !self.arq.is_waiting() && self.arq.to_send().is_none()
    }

    /// The bytes of a frame.
    pub fn wire(&self, frame: &Frame, out: &mut VecDeque<u8>) {
        let mut bytes = [0; WIRE_MAX];
        let len = frame.wire(&mut bytes);
        out.extend(&bytes[..len]);
    }

    /// The bytes of the next frame, if there is something to say.
    pub fn send(&mut self, out: &mut VecDeque<u8>) -> bool {
        if !self.has_begun {
            return false;
        }
        let mut frame = if self.arq.wants_repeat() {
            self.arq.told();
            Frame::new(Kind::Nak, &[])
        } else if let Some(number) = self.arq.to_send() {
            self.arq.sent();
            self.counters.sent += 1;
            if number == self.fresh {
                self.fresh = self.fresh.wrapping_add(1);
            } else {
                self.counters.repeated += 1;
            }
            match self.kept.get(usize::from(number)) {
                Some(Some(frame)) => *frame,
                _ => return false,
            }
        } else if self.arq.owes_ack() {
            self.arq.told();
            Frame::new(Kind::Ack, &[])
        } else {
            return false;
        };
        frame.ack = self.arq.expected();
        self.wire(&frame, out);
        true
    }

    /// Takes bytes from the line, of one stretch of time. True if something good came.
    pub fn receive(&mut self, bytes: &[u8]) -> bool {
        let mut news = false;
        for byte in bytes {
            match self.receiver.push(*byte) {
                None => {}
                Some(Received::Frame(frame)) => news |= self.frame(frame),
                Some(Received::Damaged) if self.has_begun => {
                    self.counters.damaged += 1;
                    self.arq.missed();
                }
                Some(Received::Damaged) => {}
            }
        }
        self.quiet = if news || !self.arq.is_waiting() {
            0
        } else {
            self.quiet + 1
        };
        if self.quiet > PATIENCE {
            self.quiet = 0;
            self.counters.timeouts += 1;
            self.arq.timed_out();
        }
        news
    }

    /// A good frame.
    fn frame(&mut self, frame: Frame) -> bool {
        if frame.kind == Kind::Hello {
            self.hello = Some(frame);
            return true;
        }
        if !self.has_begun {
            return false;
        }
        let mut news = self.arq.acknowledged(frame.ack);
        self.tlps_taken = frame.taken;
        match frame.kind {
            Kind::Nak => self.arq.repeat(),
            kind if kind.is_numbered() => {
                if self.arq.arrived(frame.number) {
                    self.counters.received += 1;
                    self.arrived.push_back(frame);
                    news = true;
                } else {
                    self.counters.unexpected += 1;
                }
            }
            _ => {}
        }
        news
    }

    /// The next frame that arrived.
    pub fn take(&mut self) -> Option<Frame> {
        self.arrived.pop_front()
    }
}
