//! Several functions behind one host bridge.
//!
//! A single function needs no bus: connect [`Function`] and [`RootComplex`](crate::RootComplex) directly.

use std::collections::VecDeque;

use crate::function::Function;
use crate::tlp::{Bdf, Kind, Limits, Packet, Status, Tlp};

/// A function's place on the bus is taken or does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("device {device:#04x} function {function} is taken or beyond device 31")]
pub struct PlaceError {
    /// Device number.
    pub device: u8,
    /// Function number.
    pub function: u8,
}

/// A bus with functions at device and function numbers; routes packets from the host by id and by address.
#[derive(Debug, Clone)]
pub struct Bus {
    number: u8,
    functions: Vec<(u8, Function)>,
    /// Where the next search for a packet to the host starts.
    turn: usize,
    refusals: VecDeque<Packet>,
    dropped: u64,
}

impl Bus {
    /// An empty bus.
    pub fn new(number: u8) -> Self {
        Bus {
            number,
            functions: Vec::new(),
            turn: 0,
            refusals: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Puts a function at `device` (0..=31) under its own function number. Returns its index.
    ///
    /// # Errors
    /// [`PlaceError`] if the place is taken or does not exist.
    pub fn attach(&mut self, device: u8, function: Function) -> Result<usize, PlaceError> {
        let number = function.bdf().function();
        let taken = self
            .functions
            .iter()
            .any(|(d, f)| *d == device && f.bdf().function() == number);
        if taken || device > 31 {
            return Err(PlaceError {
                device,
                function: number,
            });
        }
        self.functions.push((device, function));
        Ok(self.functions.len() - 1)
    }

    /// The function with this index.
    pub fn function(&mut self, index: usize) -> Option<&mut Function> {
        self.functions.get_mut(index).map(|(_, function)| function)
    }

    /// Packets from the host that were for nobody and want no answer, or malformed.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a packet from the host to the function it is for; a request for nobody is refused.
    pub fn receive_host(&mut self, packet: Packet) {
        let number = self.number;
        let owner = match packet.kind() {
            Err(_) => None,
            Ok(Kind::CfgRead(r) | Kind::CfgWrite(r)) => self
                .functions
                .iter_mut()
                .find(|(d, f)| Bdf::new(number, *d, f.bdf().function()) == r.target && !r.type1),
            Ok(Kind::MemRead(r) | Kind::MemWrite(r)) => self.functions.iter_mut().find(|(_, f)| {
                f.config().memory_enabled() && f.config().bar_hit(r.addr, 4).is_some()
            }),
            Ok(Kind::Completion(c)) => self
                .functions
                .iter_mut()
                .find(|(_, f)| f.bdf() == c.requester),
            Ok(Kind::Message(_)) => None,
        };
        if let Some((_, function)) = owner {
            return function.receive_host(packet);
        }
        let refusal = packet.decode(&Limits::LARGEST).ok().and_then(|tlp| {
            let nobody = Bdf::new(number, 0, 0);
            Tlp::refuse(&tlp, nobody, Status::UnsupportedRequest)
        });
        match refusal {
            Some(tlp) => self.refusals.push_back(tlp.encode()),
            None => self.dropped += 1,
        }
    }

    /// The next packet for the host, the functions taking turns.
    pub fn send_host(&mut self) -> Option<Packet> {
        if let Some(packet) = self.refusals.pop_front() {
            return Some(packet);
        }
        let count = self.functions.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            if let Some(packet) = self.functions[at].1.send_host() {
                self.turn = at + 1;
                return Some(packet);
            }
        }
        None
    }
}
