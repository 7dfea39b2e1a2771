//! Both retry machines ([`cxlmem_protocol::retry::Retry`]) over a wire that damages, loses and repeats flits, in every order.
//!
//! Checked in every state: payloads arrive in order, none lost, none twice; no rule is reported broken; and from every state,
//! once faults stop, a fair schedule delivers everything within a bound (or both ends have given up, if that was in reach).

use cxlmem_protocol::flit::control::Control;
use cxlmem_protocol::retry::{Arrival, Limits, Local, Retry, Send, Verdict, RESERVE};
use stateright::{Model, Property};

/// Flits in flight per direction: sends wait beyond that.
const WIRE: usize = 2;
/// Flit times that one end may be ahead of the other.
const LEAD: i8 = 1;
/// Entries of each retry buffer: small, so that it fills and wraps.
const ENTRIES: usize = 7;
/// Steps in which a fair schedule without faults must end.
const FAIR_STEPS: usize = 600;

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct RetryModel {
    /// Payloads that each end sends.
    pub payloads: [u8; 2],
    /// Faults in all.
    pub faults: u8,
    /// Besides damage, flits are also lost and repeated.
    pub lossy: bool,
    /// Sequence numbers in the CRC (cxl-mem 8.4).
    pub seq: bool,
    /// Thresholds.
    pub limits: Limits,
}

/// What a flit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A RETRY.* flit.
    Control(Control),
    /// A retryable flit: payload number, acknowledgements, its sequence number.
    Flit(Option<u8>, u8, u8),
}

/// A flit on the wire; `None` is a damaged one.
pub type Token = Option<Content>;

/// One end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct End {
    /// The machines.
    pub retry: Retry,
    buffer: [Option<Content>; ENTRIES],
    next: u8,
    got: u8,
    acks: u8,
}

/// A state of both ends and the wires.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The ends.
    pub ends: [End; 2],
    wires: [Vec<Token>; 2],
    faults: u8,
    /// Flit times of end 0 beyond those of end 1.
    lead: i8,
    wrong: bool,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A flit time of this end's transmitter.
    Send(usize),
    /// The oldest flit from this end arrives.
    Arrive(usize),
    /// The oldest flit from this end is damaged.
    Damage(usize),
    /// The oldest flit from this end is lost.
    Lose(usize),
    /// The oldest flit from this end will arrive twice.
    Repeat(usize),
    /// The physical layer re-initialises.
    Reinit,
}

impl End {
    fn send(&mut self, payloads: u8) -> Option<Content> {
        match self.retry.next(false) {
            Send::Control(c) => Some(Content::Control(c)),
            Send::Replay(entry) => self.buffer[usize::from(entry)],
            Send::New { idle } => {
                let late = self.retry.tail_is_late();
                let payload = self.next < payloads && self.retry.free() >= RESERVE;
                let flush = (self.acks > 1 || late) && self.retry.free() >= RESERVE - 1;
                if !payload && !flush {
                    return idle.then_some(Content::Control(Control::RetryIdle));
                }
                let number = payload.then_some(self.next);
                self.next += u8::from(payload);
                let paid = std::mem::take(&mut self.acks);
                let content = Content::Flit(number, paid, self.retry.wr());
                let entry = self.retry.sent(payload);
                self.buffer[usize::from(entry)] = Some(content);
                Some(content)
            }
            Send::Nothing => None,
        }
    }

    /// False if something arrived that should not have.
    fn receive(&mut self, token: Token, seq: bool) -> bool {
        let arrival = match token {
            None => Arrival::Damaged,
            Some(Content::Control(c)) => Arrival::Retry(c),
            Some(Content::Flit(_, _, number)) if seq && number != self.retry.eseq() => {
                Arrival::Damaged
            }
            Some(Content::Flit(..)) => Arrival::Retryable,
        };
        match (self.retry.receive(arrival), token) {
            (Verdict::Drop, _) => true,
            (Verdict::Deliver, Some(Content::Flit(payload, acks, _))) => {
                self.acks = self.acks.saturating_add(1);
                let in_order = payload.is_none_or(|n| n == self.got);
                self.got += u8::from(payload.is_some());
                self.retry.acked(acks) && in_order
            }
            _ => false,
        }
    }
}

impl State {
    fn done(&self, model: &RetryModel) -> bool {
        let given_up = self.ends.iter().any(|e| e.retry.local() == Local::Abort);
        given_up
            || (0..2).all(|n| {
                self.ends[n].got == model.payloads[1 - n]
                    && self.ends[n].retry.local() == Local::Normal
            })
    }

    fn step(&mut self, model: &RetryModel, action: Action) {
        match action {
            Action::Send(n) => {
                self.lead += if n == 0 { 1 } else { -1 };
                if let Some(content) = self.ends[n].send(model.payloads[n]) {
                    self.wires[n].push(Some(content));
                }
            }
            Action::Arrive(n) => {
                if !self.wires[n].is_empty() {
                    let token = self.wires[n].remove(0);
                    self.wrong |= !self.ends[1 - n].receive(token, model.seq);
                }
            }
            Action::Damage(n) => self.wires[n][0] = None,
            Action::Lose(n) => drop(self.wires[n].remove(0)),
            Action::Repeat(n) => {
                let token = self.wires[n][0];
                self.wires[n].insert(0, token);
            }
            Action::Reinit => {
                for end in &mut self.ends {
                    end.retry.phy_down();
                    end.retry.phy_up();
                }
                self.wires = Default::default();
            }
        }
        if matches!(
            action,
            Action::Damage(_) | Action::Lose(_) | Action::Repeat(_)
        ) {
            self.faults -= 1;
        }
    }

    fn wants_reinit(&self) -> bool {
        self.ends
            .iter()
            .any(|e| e.retry.local() == Local::PhyReinit)
    }

    /// True if a fair schedule without further faults delivers everything.
    fn completes(&self, model: &RetryModel) -> bool {
        let mut state = self.clone();
        for _ in 0..FAIR_STEPS {
            if state.done(model) {
                return true;
            }
            if state.wants_reinit() {
                state.step(model, Action::Reinit);
            }
            for n in 0..2 {
                if state.wires[n].len() < WIRE {
                    state.step(model, Action::Send(n));
                }
            }
            for n in 0..2 {
                state.step(model, Action::Arrive(n));
            }
        }
        false
    }
}

impl Model for RetryModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let end = || {
            let mut retry = Retry::new(ENTRIES as u8, self.limits);
            retry.set_peer_entries(ENTRIES as u8);
            End {
                retry,
                buffer: [None; ENTRIES],
                next: 0,
                got: 0,
                acks: 0,
            }
        };
        vec![State {
            ends: [end(), end()],
            wires: Default::default(),
            faults: self.faults,
            lead: 0,
            wrong: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.wants_reinit() {
            actions.push(Action::Reinit);
        }
        for n in 0..2 {
            let ahead = if n == 0 { state.lead } else { -state.lead };
            if state.wires[n].len() < WIRE && ahead < LEAD {
                actions.push(Action::Send(n));
            }
            if !state.wires[n].is_empty() {
                actions.push(Action::Arrive(n));
                if state.faults > 0 {
                    if state.wires[n][0].is_some() {
                        actions.push(Action::Damage(n));
                    }
                    if self.lossy {
                        actions.push(Action::Lose(n));
                        actions.push(Action::Repeat(n));
                    }
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        state.step(self, action);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("in order, nothing lost, nothing twice", |_, s: &State| {
                !s.wrong
            }),
            Property::always("completes once faults stop", |m: &RetryModel, s: &State| {
                s.wrong || s.completes(m)
            }),
            Property::sometimes("a replay happens", |_, s: &State| {
                s.ends.iter().any(|e| e.retry.replay().is_some())
            }),
            Property::sometimes("a request is repeated", |_, s: &State| {
                s.ends.iter().any(|e| e.retry.num_retry() > 1)
            }),
            Property::sometimes(
                "all delivered after every fault",
                |m: &RetryModel, s: &State| {
                    s.faults == 0 && s.done(m) && (0..2).all(|n| s.ends[n].got == m.payloads[1 - n])
                },
            ),
        ]
    }
}
