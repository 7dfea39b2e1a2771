//! The states that the device can be in, as far as one line goes.

use cxlmem_protocol::hdm_db::{self, Dir, Local, LocalStep, Place, Policy, Rule, Step};
use cxlmem_protocol::msg::{M2sBiRspOpcode, MetaField, MetaValue, S2mNdrOpcode};

/// The outstanding request, as the device may have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Req {
    #[default]
    None,
    /// On its way, or waiting in a tracker.
    Coming,
    /// Served: what is still to come of it, and the directory before.
    Served {
        ndr: Option<S2mNdrOpcode>,
        drs: bool,
        before: Dir,
    },
}

/// BIConflict and its ack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ack {
    #[default]
    None,
    /// BIConflict is on its way.
    Coming,
    /// In the NDR queue, before any completion that the line may get.
    First,
    /// In the NDR queue, behind the completion.
    Behind,
}

/// One state that the device can be in, as far as a line goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Guess {
    pub line: hdm_db::Line,
    /// The host has seen the snoop that is out.
    pub seen: bool,
    pub birsp: Option<M2sBiRspOpcode>,
    pub req: Req,
    pub ack: Ack,
}

/// The directory from before the request.
pub(super) fn served_from(g: &Guess) -> Dir {
    match g.req {
        Req::Served { before, .. } => before,
        _ => g.line.dir,
    }
}

pub(super) fn unanimous(guesses: &[Guess], dir: impl Fn(&Guess) -> Dir) -> Option<Dir> {
    let first = dir(guesses.first()?);
    guesses.iter().all(|g| dir(g) == first).then_some(first)
}

pub(super) fn carried(field: MetaField, value: MetaValue) -> Option<Dir> {
    (field == MetaField::Meta0State).then(|| Dir::from_code(value.code()))
}

pub(super) fn dedup(guesses: &mut Vec<Guess>) {
    let mut n = 0;
    while n < guesses.len() {
        if guesses[..n].contains(&guesses[n]) {
            guesses.swap_remove(n);
        } else {
            n += 1;
        }
    }
}

/// Adds every state that the device can get into without sending anything that the host has seen.
pub(super) fn close(guesses: &mut Vec<Guess>, rule: Option<Rule>, policy: Policy) {
    // What an access or an eviction asks for; a write's snoop is an eviction's.
    const ACCESSES: [Local; 3] = [Local::ReadCurrent, Local::ReadData, Local::Write];
    let mut n = 0;
    while n < guesses.len() {
        let g = guesses[n];
        let mut add = |next: Guess| {
            if !guesses.contains(&next) {
                guesses.push(next);
            }
        };
        if let (Req::Coming, Some(rule)) = (g.req, rule) {
            if let Step::Act(act) = hdm_db::request(g.line, rule, Place::Hit, policy) {
                let req = Req::Served {
                    ndr: act.ndr,
                    drs: act.drs.is_some(),
                    before: g.line.dir,
                };
                add(Guess {
                    line: act.next,
                    req,
                    ..g
                });
            }
        }
        if let Some(birsp) = g.birsp {
            let line = hdm_db::answer(g.line, birsp).next;
            add(Guess {
                line,
                birsp: None,
                seen: false,
                ..g
            });
        }
        if g.ack == Ack::Coming {
            let queued = matches!(g.req, Req::Served { ndr: Some(_), .. });
            let ack = if queued { Ack::Behind } else { Ack::First };
            add(Guess { ack, ..g });
        }
        for access in ACCESSES {
            if let LocalStep::Snoop(_, line) = hdm_db::local(g.line, access, false) {
                add(Guess { line, ..g });
            }
        }
        n += 1;
    }
}
