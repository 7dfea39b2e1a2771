//! A device for tests: directory, memory and accesses of its own by the rules of [`hdm_db`], in random legal orders.
//!
//! Channels and trackers are as in the controller: Req waits for snoops, RwD never; NDR is one FIFO; DRS, NDR and BISnp have no order
//! between them, and requests none in or between their channels (cxl-mem 2.7). [`Mutant`]s break one rule each.

mod local;
mod options;

pub use options::{DeviceOptions, Mutant, Speeds};

use super::cache::LineMap;
use super::{DeviceError, DeviceOp, Endpoint, FromDevice, Line, Port, LINE};
use crate::rng::Rng;
use cxlmem_protocol::hdm_db::{
    self, Data, Dir, Local, Op, Outcome, Phase, Place, Request, Step, Violation, Write,
};
use cxlmem_protocol::msg::{
    M2sBiRsp, M2sReq, M2sRwd, MetaField, MetaValue, S2mBiSnp, S2mDrs, S2mNdr, S2mNdrOpcode,
};
use std::collections::VecDeque;

/// Reqs that can wait for a snoop or for room in the directory.
const STALLED: usize = 8;

#[derive(Clone, Copy)]
struct Msg {
    line: u64,
    request: Request,
    tag: u16,
    data: Line,
    enables: u64,
}

#[derive(Clone, Copy)]
struct Access {
    line: u64,
    op: DeviceOp,
    kind: Local,
    snooped: bool,
}

#[derive(Clone, Copy, Default)]
struct PortState {
    access: Option<Access>,
    result: Option<Result<Line, DeviceError>>,
}

struct Cell {
    line: hdm_db::Line,
    data: Line,
    /// Port whose snoop is out; the number of ports stands for the filter's evictions.
    waits: usize,
}

/// The device.
pub struct ModelDevice {
    options: DeviceOptions,
    rng: Rng,
    cells: Vec<Cell>,
    req: Vec<Msg>,
    rwd: Vec<Msg>,
    birsp: Vec<M2sBiRsp>,
    stalled: Vec<Msg>,
    ndr: VecDeque<S2mNdr>,
    drs: Vec<(S2mDrs, Line)>,
    bisnp: Vec<S2mBiSnp>,
    ports: Vec<PortState>,
    /// Line that the next free directory entry is for.
    claim: Option<u64>,
    /// Lines that the directory records, or whose snoop is out.
    recorded: LineMap<()>,
    evicting: Option<u64>,
    out: VecDeque<FromDevice>,
    violation: Option<(u64, Violation)>,
    evictions: u64,
}

impl ModelDevice {
    /// A device whose memory is zero.
    pub fn new(options: DeviceOptions) -> Self {
        let cell = |_| Cell {
            line: hdm_db::Line::default(),
            data: [0; 64],
            waits: 0,
        };
        Self {
            rng: Rng::new(options.seed),
            cells: (0..options.lines.clamp(1, 1 << 16)).map(cell).collect(),
            req: Vec::with_capacity(options.depth),
            rwd: Vec::with_capacity(options.depth),
            birsp: Vec::with_capacity(options.depth),
            stalled: Vec::with_capacity(STALLED),
            ndr: VecDeque::with_capacity(64),
            drs: Vec::with_capacity(64),
            bisnp: Vec::with_capacity(64),
            ports: vec![PortState::default(); options.ports],
            claim: None,
            recorded: LineMap::default(),
            evicting: None,
            out: VecDeque::with_capacity(64),
            violation: None,
            evictions: 0,
            options,
        }
    }

    /// The first thing that the host did against the rules: line and what.
    pub fn first_violation(&self) -> Option<(u64, Violation)> {
        self.violation
    }

    /// Lines that the filter has evicted by a snoop.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Memory, and what the directory records of the line. For tests.
    pub fn line(&self, address: u64) -> Option<(Line, Dir)> {
        let cell = self.cells.get((address / LINE) as usize)?;
        Some((cell.data, cell.line.dir))
    }

    /// Loses everything that is on its way, as a link that is given up does. Snoops that are out fail; the directory stays.
    pub fn lose_link(&mut self) {
        self.req.clear();
        self.rwd.clear();
        self.birsp.clear();
        self.stalled.clear();
        self.ndr.clear();
        self.drs.clear();
        self.bisnp.clear();
        self.out.clear();
        self.claim = None;
        self.evicting = None;
        for n in 0..self.cells.len() {
            let (line, outcome) = hdm_db::timeout(self.cells[n].line);
            // The answer is lost too, so that nothing is owed.
            self.set_line(
                n as u64,
                hdm_db::Line {
                    phase: Phase::Stable,
                    ..line
                },
            );
            if let Some(Outcome::Fail(_)) = outcome {
                self.end_access(n as u64, false);
            }
        }
    }

    fn mutated(&self, mutant: Mutant) -> bool {
        self.options.mutant == Some(mutant)
    }

    /// As [`Self::mutated`], now and then.
    fn sometimes(&mut self, mutant: Mutant) -> bool {
        self.mutated(mutant) && self.rng.chance(0.1)
    }

    fn set_line(&mut self, line: u64, to: hdm_db::Line) {
        self.cells[line as usize].line = to;
        if to.dir != Dir::I || matches!(to.phase, Phase::Wait(_)) {
            self.recorded.insert(line, ());
        } else {
            self.recorded.remove(&line);
        }
    }

    fn log(&mut self, line: u64, violation: Option<Violation>) {
        if let (None, Some(v)) = (self.violation, violation) {
            self.violation = Some((line, v));
        }
    }

    fn pick<T>(rng: &mut Rng, from: &mut Vec<T>, speed: f64) -> Option<T> {
        if from.is_empty() || !rng.chance(speed) {
            return None;
        }
        let n = rng.below(from.len() as u64) as usize;
        Some(from.swap_remove(n))
    }

    /// False if the directory has no entry left for what this request would record.
    fn has_room(&self, msg: &Msg) -> bool {
        let Some(entries) = self.options.entries else {
            return true;
        };
        let line = self.cells[msg.line as usize].line;
        let after = hdm_db::settle(msg.request.rule().next, line.dir, self.options.policy);
        if line.dir != Dir::I || after == Dir::I {
            return true;
        }
        let claimed = self.claim.is_some_and(|l| l != msg.line);
        self.recorded.len() < entries && !claimed
    }

    fn waiting(&self, line: u64) -> bool {
        matches!(self.cells[line as usize].line.phase, Phase::Wait(_))
    }

    /// Serves a request, or says that it must wait.
    fn serve(&mut self, msg: &Msg) -> bool {
        let n = msg.line as usize;
        let mut before = self.cells[n].line;
        if self.sometimes(Mutant::ServesDuringSnoop) {
            before.phase = Phase::Stable;
        }
        let mut rule = msg.request.rule();
        let other = self
            .stalled
            .iter()
            .any(|m| m.line == msg.line && m.tag != msg.tag);
        let place = if other {
            Place::Outstanding
        } else {
            Place::Hit
        };
        if !rule.rwd && !self.has_room(msg) {
            return false;
        }
        let Step::Act(act) = hdm_db::request(before, rule, place, self.options.policy) else {
            return false;
        };
        rule.write = act.write;
        let phase = self.cells[n].line.phase;
        let mut next = hdm_db::Line {
            dir: act.next.dir,
            phase,
        };
        if next.dir != Dir::I && self.sometimes(Mutant::ForgetsEntry) {
            next.dir = Dir::I;
        }
        self.set_line(msg.line, next);
        if self.claim == Some(msg.line) {
            self.claim = None;
        }
        self.write(msg, act.write);
        let meta = if self.mutated(Mutant::MetaAfter) {
            act.meta.map(|_| act.next.dir)
        } else {
            act.meta
        };
        let (meta_field, meta_value) = match meta {
            Some(dir) => {
                let value = MetaValue::from_code(u64::from(dir.code())).unwrap_or_default();
                (MetaField::Meta0State, value)
            }
            None => (MetaField::NoOp, MetaValue::I),
        };
        if let Some(opcode) = act.drs {
            let wrong = self.sometimes(Mutant::WrongLine);
            let from = if wrong { (n + 1) % self.cells.len() } else { n };
            let data = match act.data {
                Data::Memory => self.cells[from].data,
                _ => [0xFF; 64],
            };
            let drs = S2mDrs {
                opcode,
                meta_field,
                meta_value,
                tag: msg.tag,
                poison: act.data == Data::AllOnesPoisoned,
                ..S2mDrs::default()
            };
            self.drs.push((drs, data));
        }
        if let Some(mut opcode) = act.ndr {
            let too_much = opcode == S2mNdrOpcode::CmpS && before.dir == Dir::S;
            if too_much && self.mutated(Mutant::GrantsTooMuch) {
                opcode = S2mNdrOpcode::CmpE;
            }
            if opcode == S2mNdrOpcode::Cmp && !rule.rwd && self.sometimes(Mutant::WrongCompletion) {
                opcode = S2mNdrOpcode::CmpS;
            }
            let ndr = S2mNdr {
                opcode,
                meta_field,
                meta_value,
                tag: msg.tag,
                ..S2mNdr::default()
            };
            let ack = opcode == S2mNdrOpcode::BiConflictAck;
            if ack && self.mutated(Mutant::AckPasses) {
                self.ndr.push_front(ndr);
            } else if ack || !self.sometimes(Mutant::LosesCompletion) {
                self.ndr.push_back(ndr);
            }
            if self.sometimes(Mutant::CompletesTwice) {
                self.ndr.push_back(ndr);
            }
        }
        self.log(msg.line, act.violation);
        true
    }

    fn write(&mut self, msg: &Msg, write: Write) {
        let enables = match write {
            Write::None => return,
            Write::Merge if !self.mutated(Mutant::IgnoresEnables) => msg.enables,
            _ => u64::MAX,
        };
        if !self.sometimes(Mutant::LosesWrite) {
            hdm_db::merge(&mut self.cells[msg.line as usize].data, &msg.data, enables);
        }
    }

    /// Reqs: new ones in any order, and those that waited.
    fn step_req(&mut self, speed: f64) {
        if self.stalled.len() < STALLED {
            if let Some(msg) = Self::pick(&mut self.rng, &mut self.req, speed) {
                if !self.serve(&msg) {
                    self.stalled.push(msg);
                }
            }
        }
        let mut n = 0;
        while n < self.stalled.len() {
            let msg = self.stalled[n];
            if !self.waiting(msg.line) && self.rng.chance(speed) && self.serve(&msg) {
                self.stalled.remove(n);
            } else {
                n += 1;
            }
        }
        // The next entry that becomes free is for a request that waits for nothing else.
        if self.options.entries.is_some() && self.claim.is_none() {
            let waits = |m: &&Msg| !self.waiting(m.line) && !self.has_room(m);
            self.claim = self.stalled.iter().find(waits).map(|m| m.line);
        }
    }

    fn step_birsp(&mut self, birsp: &M2sBiRsp) {
        // The tag is the line's number: as many snoops can be out as there are lines.
        let line = u64::from(birsp.bi_tag);
        let Some(cell) = self.cells.get(line as usize) else {
            return self.log(line, Some(Violation::StrayAnswer));
        };
        let mut answered = hdm_db::answer(cell.line, birsp.opcode);
        if self.mutated(Mutant::ForgetsSharer) && answered.next.dir == Dir::S {
            answered.next.dir = Dir::I;
        }
        self.set_line(line, answered.next);
        self.log(line, answered.violation);
        match answered.outcome {
            Some(Outcome::Serve(_)) => self.end_access(line, true),
            Some(Outcome::Fail(_)) => self.end_access(line, false),
            None => {}
        }
    }
}

impl Port for ModelDevice {
    fn room_for_req(&self) -> bool {
        self.req.len() < self.options.depth.max(1)
    }
    fn room_for_rwd(&self) -> bool {
        self.rwd.len() < self.options.depth.max(1)
    }
    fn room_for_birsp(&self) -> bool {
        self.birsp.len() < self.options.depth.max(1)
    }
    fn send_req(&mut self, req: &M2sReq) {
        let request = Request {
            op: Op::Req(req.opcode),
            meta_field: req.meta_field,
            meta_value: req.meta_value,
            snp_type: req.snp_type,
        };
        let msg = Msg {
            line: req.address / LINE,
            request,
            tag: req.tag,
            data: [0; 64],
            enables: 0,
        };
        if self.has(msg.line) {
            self.req.push(msg);
        } else {
            self.miss(&msg);
        }
    }
    fn send_rwd(&mut self, header: &M2sRwd, data: &Line, enables: u64) {
        let request = Request {
            op: Op::Rwd(header.opcode),
            meta_field: header.meta_field,
            meta_value: header.meta_value,
            snp_type: header.snp_type,
        };
        let msg = Msg {
            line: header.address / LINE,
            request,
            tag: header.tag,
            data: *data,
            enables,
        };
        if self.has(msg.line) {
            self.rwd.push(msg);
        } else {
            self.miss(&msg);
        }
    }
    fn send_birsp(&mut self, birsp: &M2sBiRsp) {
        if !self.sometimes(Mutant::LosesSnoopAnswer) {
            self.birsp.push(*birsp);
        }
    }
}

impl ModelDevice {
    fn has(&self, line: u64) -> bool {
        line < self.cells.len() as u64
    }

    /// A request beyond the memory is answered, and changes nothing (cxl-mem G-09).
    fn miss(&mut self, msg: &Msg) {
        let (rule, line) = (msg.request.rule(), hdm_db::Line::default());
        let Step::Act(act) = hdm_db::request(line, rule, Place::Miss, self.options.policy) else {
            return;
        };
        let tag = msg.tag;
        if let Some(opcode) = act.drs {
            let drs = S2mDrs {
                opcode,
                tag,
                ..S2mDrs::default()
            };
            self.drs.push((drs, [0xFF; 64]));
        }
        if let Some(opcode) = act.ndr {
            self.ndr.push_back(S2mNdr {
                opcode,
                tag,
                ..S2mNdr::default()
            });
        }
        self.log(msg.line, act.violation);
    }
}

impl Endpoint for ModelDevice {
    fn step(&mut self) {
        let speed = self.options.speed;
        if let Some(birsp) = Self::pick(&mut self.rng, &mut self.birsp, speed.birsp) {
            self.step_birsp(&birsp);
        }
        if !self.rwd.is_empty() && self.rng.chance(speed.rwd) {
            // A conflict may come before an earlier write: nothing orders them.
            let n = self.rng.below(self.rwd.len() as u64) as usize;
            let msg = self.rwd.swap_remove(n);
            self.serve(&msg);
        }
        if !self.req.is_empty() || !self.stalled.is_empty() {
            self.step_req(speed.req);
        }
        self.step_evict();
        for port in 0..self.ports.len() {
            if self.ports[port].access.is_some() && self.rng.chance(speed.port) {
                self.step_port(port);
            }
        }
        if !self.ndr.is_empty() && self.rng.chance(speed.ndr) {
            if let Some(ndr) = self.ndr.pop_front() {
                self.out.push_back(FromDevice::Ndr(ndr));
            }
        }
        if let Some((drs, data)) = Self::pick(&mut self.rng, &mut self.drs, speed.drs) {
            self.out.push_back(FromDevice::Drs(drs, data));
        }
        if let Some(snoop) = Self::pick(&mut self.rng, &mut self.bisnp, speed.bisnp) {
            self.out.push_back(FromDevice::BiSnp(snoop));
        }
    }

    fn receive(&mut self) -> Option<FromDevice> {
        self.out.pop_front()
    }

    fn ports(&self) -> usize {
        self.ports.len()
    }

    fn start(&mut self, port: usize, address: u64, op: DeviceOp) -> bool {
        let line = address / LINE;
        let inside = line < self.cells.len() as u64;
        let Some(p) = self.ports.get_mut(port) else {
            return false;
        };
        if p.access.is_some() || p.result.is_some() {
            return false;
        }
        let kind = match op {
            DeviceOp::Load => Local::ReadData,
            DeviceOp::LoadOnce => Local::ReadCurrent,
            _ => Local::Write,
        };
        if inside {
            p.access = Some(Access {
                line,
                op,
                kind,
                snooped: false,
            });
        } else {
            p.result = Some(Err(DeviceError::Range(address)));
        }
        true
    }

    fn finish(&mut self, port: usize) -> Option<Result<Line, DeviceError>> {
        self.ports.get_mut(port)?.result.take()
    }

    fn host_violation(&self) -> Option<String> {
        let (line, what) = self.violation?;
        Some(format!("line {:#x}: {what}", line * LINE))
    }

    fn recorded(&self, address: u64) -> Option<Dir> {
        self.line(address).map(|(_, dir)| dir)
    }
}
