//! Fair schedules from a state: does what has been started end, in quiet and under a storm from the other side?

use super::{waiting, Action, Config, State, LINES};
use cxlmem_protocol::hdm_db::{self, Local, LocalStep};
use std::cell::Cell;

/// Deliveries in which everything that is on its way must end.
const STEPS: usize = 200;
/// Turns of every kind of delivery in which a request, or a device access, must end under a storm.
const ROUNDS: usize = 20;

impl State {
    /// True if deliveries alone end everything that is on its way.
    pub(super) fn completes(&self, config: &Config) -> bool {
        let mut state = *self;
        let mut rest = Vec::with_capacity(32);
        for _ in 0..STEPS {
            rest.clear();
            state.deliveries(config, &mut rest);
            let next = rest.iter().find_map(|a| state.after(config, *a, None));
            match next {
                Some(next) if next.fault.is_none() => state = next,
                Some(_) => return true,
                None => return state.quiet(),
            }
        }
        false
    }

    /// One turn of every kind of delivery for every line, with `storm` before each.
    fn round(&mut self, config: &Config, mut storm: impl FnMut(&mut Self)) {
        let mut rest = Vec::with_capacity(32);
        for turn in 0..Action::TURNS {
            for line in 0..config.lines.min(LINES) as u8 {
                storm(self);
                rest.clear();
                self.deliveries(config, &mut rest);
                let next = rest
                    .iter()
                    .filter(|a| a.turn() == turn && a.line().is_none_or(|l| l == line))
                    .find_map(|a| self.after(config, *a, None));
                *self = next.unwrap_or(*self);
            }
        }
    }

    /// True if every request that is outstanding now completes while the device starts accesses whenever it may.
    pub(super) fn requests_survive(&self, config: &Config) -> bool {
        let storm = |state: &mut Self| {
            for line in 0..config.lines.min(LINES) as u8 {
                for access in config.locals {
                    let start = Action::Local(line, *access);
                    *state = state.after(config, start, None).unwrap_or(*state);
                }
            }
        };
        (0..config.lines.min(LINES)).all(|n| {
            let mut state = *self;
            for _ in 0..ROUNDS {
                if state.lines[n].pending.is_none() || state.fault.is_some() {
                    return true;
                }
                state.round(config, storm);
            }
            false
        })
    }

    /// True if the device, trying after every delivery, starts and ends a write while the host sends requests whenever it may:
    /// after every delivery too, and first.
    pub(super) fn accesses_survive(&self, config: &Config) -> bool {
        (0..config.lines.min(LINES)).all(|n| {
            let (mut turn, mut started) = (0, false);
            let done = Cell::new(false);
            let mut storm = |state: &mut Self| {
                for line in 0..config.lines.min(LINES) as u8 {
                    turn += 1;
                    let rows = config
                        .rows
                        .iter()
                        .cycle()
                        .skip(turn % config.rows.len().max(1));
                    *state = rows
                        .take(config.rows.len())
                        .find_map(|row| state.after(config, Action::Issue(line, *row, 0), None))
                        .unwrap_or(*state);
                }
                let line = &state.lines[n];
                let here = waiting(line.line) == Some(Local::Write);
                let stalled = line.stalled.is_some();
                let at_once = hdm_db::local(line.line, Local::Write, stalled) == LocalStep::Serve;
                if (started && !here) || at_once || state.fault.is_some() {
                    done.set(true);
                }
                let start = state.after(config, Action::Local(n as u8, Local::Write), None);
                started |= here || start.is_some();
                *state = start.unwrap_or(*state);
            };
            let mut state = *self;
            (0..ROUNDS).any(|_| {
                state.round(config, &mut storm);
                done.get()
            })
        })
    }
}
