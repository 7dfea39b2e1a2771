//! Cores with caches as the home agent of a [`System`] with device-coherent memory: they answer snoops, first taking back what someone
//! outside of them holds of the snooped page.

use super::{Access, System, SystemError};
use crate::coherent::{
    Agent, AgentError, AgentOptions, CoreOp, Done, FromDevice, Line, Loss, Port, Ticket, LINE,
};
use crate::link::{HostLink, Response};
use cxlmem_protocol::hdm_db::host::Held;
use cxlmem_protocol::msg::{M2sBiRsp, M2sReq, M2sRwd, S2mBiSnp};
use std::collections::VecDeque;
use std::ops::Range;

/// Takes back what is held outside the caches of the page that a line (its address) is in, before its snoop is answered: returns the
/// lines that were changed there, with their addresses. An error: it is not given up now, and the snoop waits.
pub type Recall = Box<dyn FnMut(u64) -> Result<Vec<(u64, Line)>, String> + Send>;

/// Cores, and lines in flight at once.
const CORES: usize = 8;
/// A core's cache: sets and ways. Twice the ways of the largest snoop filter, so that the filter takes a line back before a core needs its place:
/// no line leaves but by a snoop or a flush, and what is held outside the caches is in them too.
const SETS: usize = 1024;
const WAYS: usize = 8;
/// Cycles after which a request has failed: several snoop time-outs, which it may have to wait for.
const TIMEOUT: u64 = 1_000_000;
/// Cycles until a snoop whose page was not given up is tried again.
const RETRY: u64 = 1024;
/// Cycles in which all lines of a read must have been held at once.
const READ_CYCLES: u64 = 1_000_000;

/// What the coherent host did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounters {
    /// Snoops that came.
    pub snoops: u64,
    /// Lines that were changed outside the caches and came back for a snoop.
    pub lines_recalled: u64,
    /// Snoops whose page was not given up at once.
    pub put_off: u64,
    /// Lines whose last value was, or may have been, on the way when the link or the device was reset.
    pub lost_lines: u64,
}

/// The home agent and what is outside of it.
pub(super) struct Host {
    agent: Agent,
    recall: Option<Recall>,
    /// Snoops that wait, with the cycle of the next try.
    put_off: VecDeque<(u64, S2mBiSnp)>,
    silent: bool,
    counters: HostCounters,
    /// Why a page was not given up.
    refusal: Option<String>,
}

impl Host {
    pub fn pump(&mut self, now: u64, link: &mut HostLink) {
        if self.put_off.front().is_some_and(|(at, _)| now >= *at) && !self.silent {
            if let Some((_, snoop)) = self.put_off.pop_front() {
                self.snoop(now, snoop);
            }
        }
        self.agent.pump(now, link);
    }

    pub fn receive(&mut self, now: u64, response: Response) {
        match response {
            Response::Ndr(ndr) => self.agent.receive(now, &FromDevice::Ndr(ndr)),
            Response::Drs(drs, data) => self.agent.receive(now, &FromDevice::Drs(drs, data)),
            Response::BiSnp(snoop) => {
                self.counters.snoops += 1;
                if self.silent {
                    self.put_off.push_back((now, snoop));
                } else {
                    self.snoop(now, snoop);
                }
            }
        }
    }

    /// Takes the page back, then lets the agent answer. No cycle passes in between.
    fn snoop(&mut self, now: u64, snoop: S2mBiSnp) {
        let changed = match &mut self.recall {
            Some(recall) => recall(snoop.address),
            None => Ok(Vec::new()),
        };
        let taken = changed.and_then(|lines| {
            self.counters.lines_recalled += lines.len() as u64;
            let lost = lines.iter().find(|(at, l)| !self.agent.deposit(*at, l));
            match lost {
                Some((at, _)) => Err(SystemError::NotOwned(*at).to_string()),
                None => Ok(()),
            }
        });
        match taken {
            Ok(()) => self.agent.receive(now, &FromDevice::BiSnp(snoop)),
            Err(why) => {
                self.refusal.get_or_insert(why);
                self.counters.put_off += 1;
                self.put_off.push_back((now + RETRY, snoop));
            }
        }
    }

    pub fn reset(&mut self, loss: Loss) {
        self.put_off.clear();
        self.counters.lost_lines += self.agent.link_reset(loss).len() as u64;
    }
}

impl Port for HostLink {
    fn room_for_req(&self) -> bool {
        HostLink::room_for_req(self)
    }
    fn room_for_rwd(&self) -> bool {
        HostLink::room_for_rwd(self)
    }
    fn room_for_birsp(&self) -> bool {
        HostLink::room_for_birsp(self)
    }
    fn send_req(&mut self, req: &M2sReq) {
        HostLink::send_req(self, req);
    }
    fn send_rwd(&mut self, header: &M2sRwd, data: &Line, enables: u64) {
        HostLink::send_rwd(self, *header, *data, enables);
    }
    fn send_birsp(&mut self, birsp: &M2sBiRsp) {
        HostLink::send_birsp(self, birsp);
    }
}

impl System {
    /// From now on cores with caches are the home agent, which offers BI-68 at the next INIT and answers snoops: for device-coherent memory.
    /// [`System::read_lines`], [`System::write_line`] and [`System::flush`] go through the caches. `recall`: who holds lines outside of them.
    pub fn use_coherent_host(&mut self, recall: Option<Recall>) {
        self.link.offer_bi(true);
        self.coherent = Some(Box::new(Host {
            agent: Agent::new(AgentOptions {
                cores: CORES,
                sets: SETS,
                ways: WAYS,
                timeout: TIMEOUT,
                seed: self.options.seed,
                ..AgentOptions::default()
            }),
            recall,
            put_off: VecDeque::new(),
            silent: false,
            counters: HostCounters::default(),
            refusal: None,
        }));
    }

    /// Whether cores with caches are the home agent ([`System::use_coherent_host`]).
    pub fn has_coherent_host(&self) -> bool {
        self.coherent.is_some()
    }

    pub(super) fn host_is_idle(&self) -> bool {
        match &self.coherent {
            Some(host) => host.agent.is_idle(),
            None => self.home.is_idle(),
        }
    }

    /// Fault: while true, the coherent host answers no snoop. What came meanwhile is answered afterwards.
    pub fn set_silent_to_snoops(&mut self, silent: bool) {
        if let Some(host) = &mut self.coherent {
            host.silent = silent;
        }
    }

    /// What the coherent host did; zeros without one.
    pub fn host_counters(&self) -> HostCounters {
        self.coherent
            .as_ref()
            .map_or_else(HostCounters::default, |host| host.counters)
    }

    /// The first thing that was against the rules in what the device sent or the coherent host did, or why a page was not given up for a snoop.
    pub fn host_violation(&self) -> Option<&str> {
        let host = self.coherent.as_ref()?;
        host.agent.first_violation().or(host.refusal.as_deref())
    }

    /// Lines that were changed outside the caches come back, all of one page or none. Takes no time: a snoop finds them in the caches.
    ///
    /// # Errors
    /// [`SystemError::NotOwned`].
    pub fn return_lines(&mut self, lines: &[(u64, Line)]) -> Result<(), SystemError> {
        let Some(host) = &mut self.coherent else {
            return lines
                .first()
                .map_or(Ok(()), |(at, _)| Err(SystemError::NotOwned(*at)));
        };
        let agent = &mut host.agent;
        let lost = match lines.iter().find(|(at, _)| agent.held(*at) < Held::E) {
            None => lines.iter().find(|(at, line)| !agent.deposit(*at, line)),
            lost => lost,
        };
        lost.map_or(Ok(()), |(at, _)| Err(SystemError::NotOwned(*at)))
    }

    /// What may be held of a line outside the caches: while its snoop is being answered nothing, for the answer knows of the caches only.
    fn lent(&self, address: u64) -> Held {
        match &self.coherent {
            Some(host) if !host.agent.is_snooped(address) => host.agent.held(address),
            _ => Held::I,
        }
    }

    /// Runs operations on whole lines, each on the core of its line, several at once; results in the order asked. After one that is not
    /// answered in time no further one is begun: the others would wait as long, one after another.
    fn on_cores(&mut self, operations: &[(u64, CoreOp)]) -> Vec<Result<Done, AgentError>> {
        let mut results = vec![None; operations.len()];
        let mut under_way: [Option<(usize, Ticket)>; CORES] = [None; CORES];
        let mut waiting: [VecDeque<usize>; CORES] = Default::default();
        for (n, (address, _)) in operations.iter().enumerate() {
            waiting[(address / LINE) as usize % CORES].push_back(n);
        }
        let mut unanswered: Option<AgentError> = None;
        // The agent ends every operation: by its completion or its time-out.
        loop {
            let now = self.now();
            let Some(host) = &mut self.coherent else {
                break;
            };
            for (core, slot) in under_way.iter_mut().enumerate() {
                if let Some((n, ticket)) = *slot {
                    results[n] = host.agent.poll(ticket);
                    match &results[n] {
                        None => continue,
                        Some(Err(error @ AgentError::Timeout { .. })) => {
                            unanswered.get_or_insert(*error);
                        }
                        Some(_) => {}
                    }
                    *slot = None;
                }
                if unanswered.is_some() {
                    continue;
                }
                let Some(n) = waiting[core].pop_front() else {
                    continue;
                };
                let (address, op) = operations[n];
                let len = if op == CoreOp::Flush {
                    1
                } else {
                    LINE as usize
                };
                match host.agent.issue(now, core, address, len, op) {
                    Ok(ticket) => *slot = Some((n, ticket)),
                    Err(error) => results[n] = Some(Err(error)),
                }
            }
            let begun = unanswered.is_some() || waiting.iter().all(VecDeque::is_empty);
            if begun && under_way.iter().all(Option::is_none) {
                break;
            }
            self.cycle();
        }
        let rest = unanswered.map(Err);
        results
            .into_iter()
            .filter_map(|result| result.or(rest))
            .collect()
    }

    /// When this returns, the host holds all the lines (that are not poisoned) with the right asked for.
    pub(super) fn coherent_read(
        &mut self,
        address: u64,
        access: Access,
        lines: &mut [Line],
    ) -> Result<u64, SystemError> {
        let (op, right) = match access {
            Access::Shared => (CoreOp::Load, Held::S),
            Access::Exclusive => (CoreOp::Own, Held::E),
        };
        let at = |n: usize| address + n as u64 * LINE;
        let end = self.now() + READ_CYCLES;
        let mut poison = 0u64;
        let mut wanted: Vec<usize> = (0..lines.len()).collect();
        while !wanted.is_empty() {
            if self.now() > end {
                return Err(SystemError::Timeout {
                    what: "holding all lines of a page at once (the device takes them away)",
                    after: READ_CYCLES,
                });
            }
            let operations: Vec<_> = wanted.iter().map(|n| (at(*n), op)).collect();
            for (n, result) in wanted.iter().zip(self.on_cores(&operations)) {
                match result {
                    Ok(done) => lines[*n] = done.data,
                    Err(AgentError::Poison { .. }) => poison |= 1 << n,
                    Err(AgentError::NoMemory { address, .. }) => {
                        return Err(SystemError::NoMemory(address))
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            // A snoop may have taken a line while others were fetched.
            wanted = (0..lines.len())
                .filter(|n| poison >> n & 1 == 0 && self.lent(at(*n)) < right)
                .collect();
        }
        Ok(poison)
    }

    pub(super) fn coherent_write(&mut self, address: u64, data: &Line) -> Result<(), SystemError> {
        for result in self.on_cores(&[(address, CoreOp::Store(*data))]) {
            result?;
        }
        Ok(())
    }

    pub(super) fn coherent_flush(&mut self, range: Range<u64>) -> Result<(), SystemError> {
        let Some(host) = &self.coherent else {
            return Ok(());
        };
        let held: Vec<_> = range
            .step_by(LINE as usize)
            .filter(|at| host.agent.held(*at) != Held::I)
            .map(|at| (at, CoreOp::Flush))
            .collect();
        for result in self.on_cores(&held) {
            result?;
        }
        Ok(())
    }
}
