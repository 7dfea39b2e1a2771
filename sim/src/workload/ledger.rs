//! What the wire did wrong against what both ends noticed, sent again and delivered.

use crate::home::HomeCounters;
use crate::link::{LinkCounters, WireCounters};
use crate::system::{System, SystemError};
use cxlmem_protocol::flit::control::BI_TAGS;
use cxlmem_protocol::flit::Direction;
use cxlmem_protocol::regs;

/// Counts at one moment; two of them make a [`Ledger`].
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    wire: [WireCounters; 2],
    link: LinkCounters,
    home: HomeCounters,
    /// BIRsp that came to the device, modulo 2^64: those sent, but for the credits that did not come back.
    answered: u64,
    /// Registers of the device, in the order of `REGISTERS`.
    device: [u32; REGISTERS.len()],
}

const REGISTERS: [u32; 9] = [
    regs::RxCrcErrors::OFFSET,
    regs::RetryRequests::OFFSET,
    regs::RetryReplays::OFFSET,
    regs::ReqCount::OFFSET,
    regs::RwdCount::OFFSET,
    regs::NdrCount::OFFSET,
    regs::DrsCount::OFFSET,
    regs::RxProtocolErrors::OFFSET,
    regs::Snoops::OFFSET,
];

impl Counted {
    /// Reads all counters. Messages are counted at both ends only when none is under way.
    ///
    /// # Errors
    /// [`SystemError::Access`].
    pub fn of(system: &mut System) -> Result<Self, SystemError> {
        let mut device = [0; REGISTERS.len()];
        for (value, offset) in device.iter_mut().zip(REGISTERS) {
            *value = system.mmio_read32(offset)?;
        }
        let link = system.link();
        let mut answered = link.counters().birsps;
        if link.has_bi() {
            let credits = u64::from(link.credits().rsp);
            answered = answered
                .wrapping_add(credits)
                .wrapping_sub(u64::from(BI_TAGS));
        }
        Ok(Self {
            wire: [Direction::M2s, Direction::S2m].map(|d| link.wire_counters(d)),
            link: link.counters(),
            home: system.home().counters(),
            answered,
            device,
        })
    }

    /// What happened since `before`. Device counters may have wrapped once.
    pub fn since(&self, before: &Counted) -> Ledger {
        let d: [u64; REGISTERS.len()] =
            std::array::from_fn(|n| u64::from(self.device[n].wrapping_sub(before.device[n])));
        let (l, m) = (&self.link, &before.link);
        let way = |n: usize| {
            let (w, v) = (&self.wire[n], &before.wire[n]);
            Way {
                flits: w.flits - v.flits,
                damaged: w.damaged - v.damaged,
                lost: w.lost - v.lost,
                repeated: w.repeated - v.repeated,
                swapped: w.swapped - v.swapped,
                escaped: w.escaped - v.escaped,
                ..Way::default()
            }
        };
        Ledger {
            to_device: Way {
                detected: d[0],
                requests: d[1],
                replayed: l.replayed - m.replayed,
                sent: [l.reqs - m.reqs, l.rwds - m.rwds, l.birsps - m.birsps],
                delivered: [d[3], d[4], self.answered.wrapping_sub(before.answered)],
                ..way(0)
            },
            to_host: Way {
                detected: l.crc_errors - m.crc_errors,
                requests: l.retry_requests - m.retry_requests,
                replayed: d[2],
                sent: [d[5], d[6], d[8]],
                delivered: [l.ndrs - m.ndrs, l.drss - m.drss, l.bisnps - m.bisnps],
                ..way(1)
            },
            reinits: l.reinits - m.reinits,
            strays: self.home.strays - before.home.strays,
            timeouts: self.home.timeouts - before.home.timeouts,
            protocol_errors: d[7] + l.protocol_errors - m.protocol_errors,
        }
    }
}

/// One direction of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Flits sent, those of the retry machines and replays included.
    pub flits: u64,
    /// Injected: flits with flipped bits.
    pub damaged: u64,
    /// Injected: flits lost.
    pub lost: u64,
    /// Injected: flits that arrived twice.
    pub repeated: u64,
    /// Injected: flits that arrived after their successor.
    pub swapped: u64,
    /// Damaged flits whose CRC is right all the same.
    pub escaped: u64,
    /// Bad CRCs that the receiver counted; of those that follow one another before the replay, an end may count the first alone.
    pub detected: u64,
    /// RETRY.Req that the receiver sent.
    pub requests: u64,
    /// Flits that the sender sent again.
    pub replayed: u64,
    /// Messages given to the link: Req, RwD and BIRsp, or NDR, DRS and BISnp.
    pub sent: [u64; 3],
    /// Messages that came out at the other end.
    pub delivered: [u64; 3],
}

impl Way {
    /// Faults injected, of all kinds.
    pub fn injected(&self) -> u64 {
        self.damaged + self.lost + self.repeated + self.swapped
    }
}

/// What happened in a stretch of time at whose ends no message was under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Host to device.
    pub to_device: Way,
    /// Device to host.
    pub to_host: Way,
    /// Re-initialisations of the physical layer.
    pub reinits: u64,
    /// Responses whose tag no operation had.
    pub strays: u64,
    /// Operations that ended without a response.
    pub timeouts: u64,
    /// Rules broken, at both ends.
    pub protocol_errors: u64,
}

impl std::ops::AddAssign for Way {
    fn add_assign(&mut self, more: Self) {
        let Self {
            flits,
            damaged,
            lost,
            repeated,
            swapped,
            escaped,
            detected,
            requests,
            replayed,
            sent,
            delivered,
        } = more;
        self.flits += flits;
        self.damaged += damaged;
        self.lost += lost;
        self.repeated += repeated;
        self.swapped += swapped;
        self.escaped += escaped;
        self.detected += detected;
        self.requests += requests;
        self.replayed += replayed;
        for n in 0..3 {
            self.sent[n] += sent[n];
            self.delivered[n] += delivered[n];
        }
    }
}

/// Stretches of time, one after the other.
impl std::ops::AddAssign for Ledger {
    fn add_assign(&mut self, more: Self) {
        self.to_device += more.to_device;
        self.to_host += more.to_host;
        self.reinits += more.reinits;
        self.strays += more.strays;
        self.timeouts += more.timeouts;
        self.protocol_errors += more.protocol_errors;
    }
}

impl Ledger {
    /// What was lost, came twice or was made up, for a person; empty if every message was delivered once.
    pub fn losses(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (way, names) in [
            (&self.to_device, ["Req", "RwD", "BIRsp"]),
            (&self.to_host, ["NDR", "DRS", "BISnp"]),
        ] {
            for (n, name) in names.iter().enumerate() {
                // The device's counters have 32 bits.
                if way.sent[n] as u32 != way.delivered[n] as u32 {
                    out.push(format!(
                        "{name}: {} sent, {} delivered",
                        way.sent[n], way.delivered[n]
                    ));
                }
            }
        }
        for (count, what) in [
            (self.strays, "responses that no operation waits for"),
            (self.timeouts, "operations without a response"),
            (self.protocol_errors, "broken rules"),
        ] {
            if count > 0 {
                out.push(format!("{count} {what}"));
            }
        }
        out
    }
}
