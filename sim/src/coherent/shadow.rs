//! The device's messages against the rules, one by one.
//!
//! The host's end of the link does not see when the device takes a message, only what it sends. So the shadow keeps, for every line,
//! all states that the device can be in by the rules ([`request`](cxlmem_protocol::hdm_db::request),
//! [`local`](cxlmem_protocol::hdm_db::local), [`answer`](cxlmem_protocol::hdm_db::answer)) given what has passed
//! so far; a message that none of them could have sent is an error. It watches messages only and knows nothing of the agent.

mod guess;

use super::cache::LineMap;
use super::cover::{Cover, Race};
use super::{FromDevice, LINE};
use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::hdm_db::{Dir, Op, Phase, Policy, Request, Rule};
use cxlmem_protocol::msg::{
    M2sBiRsp, M2sReq, M2sReqOpcode, M2sRwd, M2sRwdOpcode, S2mBiSnp, S2mBiSnpOpcode, S2mDrs,
    S2mDrsOpcode, S2mNdr, S2mNdrOpcode,
};
use guess::{carried, close, dedup, served_from, unanimous, Ack, Guess, Req};
use std::collections::HashMap;

/// What the host's end knows for certain of a line.
#[derive(Clone, Debug, Default)]
struct Watch {
    guesses: Vec<Guess>,
    request: Option<Outstanding>,
    /// The snoop that the host has seen and not answered, and how it met a request.
    snoop: Option<(S2mBiSnpOpcode, bool)>,
    /// Tag of the BIConflict that is out.
    conflict: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    row: Option<Row>,
    rule: Rule,
    tag: u16,
    ndr: bool,
    drs: bool,
}

/// The shadow of a device's directory.
pub struct Shadow {
    policy: Policy,
    lines: LineMap<Watch>,
    /// Line of each tag in use.
    tags: HashMap<u16, u64>,
    snoops: HashMap<(u16, u16), u64>,
    rows: HashMap<(u8, u8, u8, u8), Row>,
    cover: Cover,
    error: Option<String>,
    messages: u64,
    widest: usize,
    /// The directory's word on the line of the message being taken.
    recorded: Option<Dir>,
}

fn codes(r: &Request) -> (u8, u8, u8, u8) {
    let opcode = match r.op {
        Op::Req(M2sReqOpcode::MemInvNt) => M2sReqOpcode::MemInv.code(),
        Op::Req(o) => o.code(),
        Op::Rwd(o) => 0x80 | o.code(),
    };
    let (field, value) = (r.meta_field.code(), r.meta_value.code());
    (opcode, field, value, r.snp_type.code())
}

impl Shadow {
    /// The shadow of a device that grants by `policy` and whose directory is empty.
    pub fn new(policy: Policy) -> Self {
        let rows = Row::ALL.iter().map(|row| (codes(&row.request()), *row));
        Self {
            policy,
            lines: LineMap::default(),
            tags: HashMap::with_capacity(256),
            snoops: HashMap::with_capacity(64),
            rows: rows.collect(),
            cover: Cover::default(),
            error: None,
            messages: 0,
            widest: 0,
            recorded: None,
        }
    }

    /// The first message that the rules do not allow: which, of which line, and what the device can have known.
    pub fn first_error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Requests x directory x races seen so far.
    pub fn cover(&self) -> &Cover {
        &self.cover
    }

    /// Messages watched.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The most states that a line was ever in at once.
    pub fn widest(&self) -> usize {
        self.widest
    }

    /// Everything on its way was lost, with the link; the directory of each line is what it was, or what a lost message left.
    pub fn lose_link(&mut self) {
        let policy = self.policy;
        for watch in self.lines.values_mut() {
            close(&mut watch.guesses, watch.request.map(|r| r.rule), policy);
            let mut after: Vec<Guess> = Vec::with_capacity(3);
            for guess in &watch.guesses {
                let mut kept = Guess::default();
                kept.line.dir = guess.line.dir;
                if !after.contains(&kept) {
                    after.push(kept);
                }
            }
            *watch = Watch {
                guesses: after,
                ..Watch::default()
            };
        }
        self.tags.clear();
        self.snoops.clear();
    }

    fn fail(&mut self, line: u64, what: &str) {
        if self.error.is_none() {
            let watch = self.lines.get(&line);
            self.error = Some(format!(
                "message {}: {what} of line {:#x}, which no state that the device can be in allows: {watch:?}",
                self.messages,
                line * LINE
            ));
        }
    }

    fn watch(&mut self, line: u64) -> &mut Watch {
        self.lines.entry(line).or_insert_with(|| Watch {
            guesses: vec![Guess::default()],
            ..Watch::default()
        })
    }

    fn request(&mut self, address: u64, tag: u16, request: Request) {
        let line = address / LINE;
        let row = self.rows.get(&codes(&request)).copied();
        let rule = request.rule();
        let watch = self.watch(line);
        if rule.silent {
            let dir = unanimous(&watch.guesses, |g| g.line.dir);
            if let (Some(row), Some(dir)) = (row, dir) {
                self.cover.reach(row, dir, Race::Quiet);
            }
            return;
        }
        if watch.request.is_some() || !rule.legal {
            let what = format!("the host sends {:?} {row:?}", request.op);
            return self.fail(line, &what);
        }
        watch.request = Some(Outstanding {
            row,
            rule,
            tag,
            ndr: false,
            drs: !rule.data,
        });
        for guess in &mut watch.guesses {
            guess.req = Req::Coming;
        }
        self.tags.insert(tag, line);
    }

    /// The host sends a Req.
    pub fn send_req(&mut self, req: &M2sReq) {
        self.messages += 1;
        let request = Request {
            op: Op::Req(req.opcode),
            meta_field: req.meta_field,
            meta_value: req.meta_value,
            snp_type: req.snp_type,
        };
        self.request(req.address, req.tag, request);
    }

    /// The host sends a RwD.
    pub fn send_rwd(&mut self, header: &M2sRwd) {
        self.messages += 1;
        if header.opcode != M2sRwdOpcode::BiConflict {
            let request = Request {
                op: Op::Rwd(header.opcode),
                meta_field: header.meta_field,
                meta_value: header.meta_value,
                snp_type: header.snp_type,
            };
            return self.request(header.address, header.tag, request);
        }
        let line = header.address / LINE;
        let watch = self.watch(line);
        let due = watch.request.is_some_and(|r| r.tag == header.tag) && watch.snoop.is_some();
        if !due || watch.conflict.is_some() {
            return self.fail(line, "the host sends BIConflict");
        }
        watch.conflict = Some(header.tag);
        for guess in &mut watch.guesses {
            guess.ack = Ack::Coming;
        }
    }

    /// The host sends a BIRsp.
    pub fn send_birsp(&mut self, birsp: &M2sBiRsp) {
        self.messages += 1;
        let key = (birsp.bi_id, birsp.bi_tag);
        let Some(line) = self.snoops.remove(&key) else {
            return self.fail(0, "the host answers a snoop that it has not got: BIRsp");
        };
        let watch = self.watch(line);
        watch.snoop = None;
        for guess in &mut watch.guesses {
            guess.birsp = Some(birsp.opcode);
        }
    }

    /// The device sends this. `recorded`: what its directory now says of a line at an address, if that shows; for coverage only.
    pub fn receive(&mut self, message: &FromDevice, recorded: impl Fn(u64) -> Option<Dir>) {
        self.messages += 1;
        let line = match message {
            FromDevice::Ndr(ndr) => self.tags.get(&ndr.tag).map(|line| line * LINE),
            FromDevice::Drs(..) => None,
            FromDevice::BiSnp(snoop) => Some(snoop.address),
        };
        self.recorded = line.and_then(recorded);
        match message {
            FromDevice::Ndr(ndr) => self.ndr(ndr),
            FromDevice::Drs(drs, _) => self.drs(drs),
            FromDevice::BiSnp(snoop) => self.bisnp(snoop),
        }
    }

    /// Keeps the guesses of a line that can send a message, changed by that; false if there is none.
    fn keep(&mut self, line: u64, change: impl Fn(&mut Guess) -> bool) -> bool {
        let policy = self.policy;
        let watch = self.watch(line);
        close(&mut watch.guesses, watch.request.map(|r| r.rule), policy);
        let wide = watch.guesses.len();
        if !watch.guesses.iter().any(|g| change(&mut g.clone())) {
            self.widest = self.widest.max(wide);
            return false;
        }
        watch.guesses.retain_mut(change);
        dedup(&mut watch.guesses);
        self.widest = self.widest.max(wide);
        true
    }

    fn ndr(&mut self, ndr: &S2mNdr) {
        let Some(&line) = self.tags.get(&ndr.tag) else {
            return self.fail(0, &format!("{} with an unused tag", ndr.opcode.name()));
        };
        let watch = self.watch(line);
        let (snoop, conflict, request) = (watch.snoop, watch.conflict, watch.request);
        if ndr.opcode == S2mNdrOpcode::BiConflictAck {
            let ok = conflict == Some(ndr.tag)
                && self.keep(line, |g| match g.ack {
                    Ack::First => {
                        g.ack = Ack::None;
                        true
                    }
                    Ack::Behind if !matches!(g.req, Req::Served { ndr: Some(_), .. }) => {
                        g.ack = Ack::None;
                        true
                    }
                    _ => false,
                });
            if !ok {
                return self.fail(line, "BI-ConflictAck");
            }
            if let (Some((kind, false)), Some(r)) = (snoop, request) {
                self.count(line, r.row, Race::Early(kind), |g| g.line.dir);
            }
            let watch = self.watch(line);
            watch.conflict = None;
            if let Some((_, met)) = &mut watch.snoop {
                *met = true;
            }
            return self.close_request(line, ndr.tag);
        }
        let carries = carried(ndr.meta_field, ndr.meta_value);
        let wants = request.is_some_and(|r| r.rule.meta);
        let ok = request.is_some_and(|r| r.tag == ndr.tag && !r.ndr)
            && self.keep(line, |g| match &mut g.req {
                Req::Served {
                    ndr: due, before, ..
                } if *due == Some(ndr.opcode)
                    && g.ack != Ack::First
                    && carries == wants.then_some(*before) =>
                {
                    *due = None;
                    true
                }
                _ => false,
            });
        if !ok {
            let what = format!("{} with Meta0 {carries:?}", ndr.opcode.name());
            return self.fail(line, &what);
        }
        let row = request.and_then(|r| r.row);
        match snoop {
            None => self.count(line, row, Race::Quiet, served_from),
            Some((kind, false)) if conflict.is_some() => {
                self.count(line, row, Race::Late(kind), |g| g.line.dir);
                if let Some((_, met)) = &mut self.watch(line).snoop {
                    *met = true;
                }
            }
            _ => {}
        }
        if let Some(r) = &mut self.watch(line).request {
            r.ndr = true;
        }
        self.close_request(line, ndr.tag);
    }

    fn drs(&mut self, drs: &S2mDrs) {
        let Some(&line) = self.tags.get(&drs.tag) else {
            return self.fail(0, "DRS with an unused tag");
        };
        let request = self.watch(line).request;
        let carries = carried(drs.meta_field, drs.meta_value);
        let wants = request.is_some_and(|r| r.rule.meta);
        let plain = drs.opcode == S2mDrsOpcode::MemData;
        let ok = plain
            && request.is_some_and(|r| r.tag == drs.tag)
            && self.keep(line, |g| match &mut g.req {
                Req::Served {
                    drs: due, before, ..
                } if *due && carries == wants.then_some(*before) => {
                    *due = false;
                    true
                }
                _ => false,
            });
        if !ok {
            let what = format!("{} with Meta0 {carries:?}", drs.opcode.name());
            return self.fail(line, &what);
        }
        if let Some(r) = &mut self.watch(line).request {
            r.drs = true;
        }
        self.close_request(line, drs.tag);
    }

    /// Forgets the request once all of it has come, and its tag once no ack is due.
    fn close_request(&mut self, line: u64, tag: u16) {
        let watch = self.watch(line);
        if watch.request.is_some_and(|r| r.ndr && r.drs) {
            watch.request = None;
            for guess in &mut watch.guesses {
                guess.req = Req::None;
            }
            dedup(&mut watch.guesses);
        }
        if watch.request.is_none() && watch.conflict.is_none() {
            self.tags.remove(&tag);
        }
    }

    fn bisnp(&mut self, snoop: &S2mBiSnp) {
        let line = snoop.address / LINE;
        let ok = self.keep(line, |g| match g.line.phase {
            Phase::Wait(access) if !g.seen && access.snoop() == snoop.opcode => {
                g.seen = true;
                true
            }
            _ => false,
        });
        let key = (snoop.bi_id, snoop.bi_tag);
        if !ok || self.snoops.insert(key, line).is_some() {
            return self.fail(line, snoop.opcode.name());
        }
        let watch = self.watch(line);
        watch.snoop = Some((snoop.opcode, false));
        if let Some(r) = watch.request.filter(|r| r.ndr && !r.drs) {
            self.count(line, r.row, Race::LateData(snoop.opcode), |g| g.line.dir);
        }
    }

    fn count(&mut self, line: u64, row: Option<Row>, race: Race, dir: impl Fn(&Guess) -> Dir) {
        let dir = match (race, self.recorded) {
            (Race::Quiet, _) | (_, None) => unanimous(&self.watch(line).guesses, dir),
            (_, recorded) => recorded,
        };
        match (row, dir) {
            (Some(row), Some(dir)) => self.cover.reach(row, dir, race),
            _ => self.cover.unsure(),
        }
    }
}
