//! Faults on the way of TLPs, by seed or by position, for tests of what both ends do about them.
//!
//! Put an [`Injector`] in either direction: packets go in with [`push`](Injector::push) and come out, or not, with
//! [`pop`](Injector::pop). Packets never overtake each other here; a delayed one holds up those behind it.

use std::collections::VecDeque;

use crate::rng::Rng;
use crate::tlp::{Bdf, Completion, Kind, Packet, Status, Tlp};

/// What happens to one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It is lost.
    Drop,
    /// One bit of its header, at random, is flipped.
    CorruptHeader,
    /// One bit of its payload, at random, is flipped: silent corruption. Without payload nothing happens.
    CorruptPayload,
    /// Its last payload DW is missing; without payload, its type is changed to one unknown.
    Truncate,
    /// Its EP bit is set.
    Poison,
    /// It comes twice.
    Duplicate,
    /// A packet of a type that nobody here knows comes before it.
    Foreign,
    /// A completion that nobody waits for comes before it.
    StrayCompletion,
    /// It comes this many ticks later.
    Delay(u64),
}

/// How often each fault happens to a packet, in parts per million. At most one fault happens to one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Seed; the same plan on the same packets does the same.
    pub seed: u64,
    /// Faults with their rates.
    pub rates: Vec<(Fault, u32)>,
    /// Faults to happen to the n-th packet, counted from 0. They come before the rates.
    pub at: Vec<(u64, Fault)>,
    /// From this packet on nothing passes: the sender stopped.
    pub silent_from: Option<u64>,
}

/// Faults remembered; later ones are counted only.
pub const EVENTS: usize = 1024;

/// Applies a [`FaultPlan`] to a direction of a link.
#[derive(Debug, Clone)]
pub struct Injector {
    plan: FaultPlan,
    rng: Rng,
    seen: u64,
    queue: VecDeque<(u64, Packet)>,
    events: Vec<(u64, Fault)>,
    injected: u64,
}

impl Injector {
    /// Starts at packet 0.
    pub fn new(plan: FaultPlan) -> Self {
        let rng = Rng::new(plan.seed);
        Injector {
            plan,
            rng,
            seen: 0,
            queue: VecDeque::new(),
            events: Vec::new(),
            injected: 0,
        }
    }

    /// The first [`EVENTS`] faults: packet number and fault. As `FaultPlan::at` they replay without the seed, but for
    /// the bits that corruption picks.
    pub fn events(&self) -> &[(u64, Fault)] {
        &self.events
    }

    /// Faults so far.
    pub fn injected(&self) -> u64 {
        self.injected
    }

    /// Takes a packet in.
    pub fn push(&mut self, now: u64, mut packet: Packet) {
        let number = self.seen;
        self.seen += 1;
        if self.plan.silent_from.is_some_and(|from| number >= from) {
            return;
        }
        let Some(fault) = self.pick(number) else {
            self.queue.push_back((now, packet));
            return;
        };
        self.injected += 1;
        if self.events.len() < EVENTS {
            self.events.push((number, fault));
        }
        let mut ready = now;
        match fault {
            Fault::Drop => return,
            Fault::CorruptHeader => {
                let bit = self.rng.below(32 * packet.header_dwords() as u64) as usize;
                packet.header[bit / 32] ^= 1 << (bit % 32);
            }
            Fault::CorruptPayload => {
                let bit = self.rng.below(8 * packet.payload.len() as u64) as usize;
                if let Some(byte) = packet.payload.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Fault::Truncate if packet.payload.is_empty() => packet.header[0] |= 0x1F << 24,
            Fault::Truncate => packet
                .payload
                .truncate(packet.payload.len().saturating_sub(4)),
            Fault::Poison => packet.poison(),
            Fault::Duplicate => self.queue.push_back((now, packet.clone())),
            Fault::Foreign => self.queue.push_back((now, foreign_packet())),
            Fault::StrayCompletion => self.queue.push_back((now, stray_completion())),
            Fault::Delay(ticks) => ready = now.saturating_add(ticks),
        }
        self.queue.push_back((ready, packet));
    }

    /// The next packet, if it is due.
    pub fn pop(&mut self, now: u64) -> Option<Packet> {
        if self.queue.front()?.0 > now {
            return None;
        }
        self.queue.pop_front().map(|(_, packet)| packet)
    }

    fn pick(&mut self, number: u64) -> Option<Fault> {
        if let Some((_, fault)) = self.plan.at.iter().find(|(n, _)| *n == number) {
            return Some(*fault);
        }
        if self.plan.rates.is_empty() {
            return None;
        }
        let mut dice = self.rng.below(1_000_000);
        for (fault, rate) in &self.plan.rates {
            match dice.checked_sub(u64::from(*rate)) {
                None => return Some(*fault),
                Some(rest) => dice = rest,
            }
        }
        None
    }
}

/// A packet of a type that this crate does not carry: an I/O read.
pub fn foreign_packet() -> Packet {
    Packet {
        header: [0x0200_0001, 0x0000_000F, 0x1000, 0],
        payload: Vec::new(),
    }
}

/// A well-formed completion for requester ff:1f.7, tag 0x3ff, which nobody here has.
pub fn stray_completion() -> Packet {
    let nobody = Bdf::from_raw(0xFFFF);
    let completion = Completion {
        completer: nobody,
        status: Status::Success,
        bcm: false,
        byte_count: 4,
        requester: nobody,
        tag: 0x3FF,
        lower_addr: 0,
    };
    Tlp::new(Kind::Completion(completion), vec![0; 4]).encode()
}
