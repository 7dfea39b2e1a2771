//! What is no part of the protocol: the ages of copies, faults, and the canonical form of a state.

use super::{provoked, waiting, Age, Config, Core, Fault, Pending, State};
use cxlmem_protocol::hdm_db::host::{Held, Row};
use cxlmem_protocol::hdm_db::{Local, Violation};

impl State {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.fault = self.fault.or(Some(fault));
    }

    pub(super) fn log(&mut self, config: &Config, violation: Option<Violation>) {
        if let Some(v) = violation.filter(|v| !provoked(config, *v)) {
            self.fault(Fault::Violation(v));
        }
    }

    fn ages(&mut self, n: usize, mut change: impl FnMut(&mut Age)) {
        let line = &mut self.lines[n];
        change(&mut line.copy);
        change(&mut line.memory);
        if let Some(Pending {
            data: Some(age), ..
        }) = &mut line.pending
        {
            change(age);
        }
        let here = |line: u8| usize::from(line) == n;
        for msg in self.rwd.iter_mut().filter(|m| here(m.line)) {
            change(&mut msg.data);
        }
        for msg in self.drs.iter_mut().filter(|m| here(m.line)) {
            change(&mut msg.data);
        }
    }

    /// A write happens: no copy is the latest any more.
    pub(super) fn supersede(&mut self, n: usize) {
        let reading = waiting(self.lines[n].line) == Some(Local::ReadCurrent);
        let age = if reading { Age::Recent } else { Age::Old };
        self.ages(n, |a| {
            if *a == Age::Latest {
                *a = age;
            }
        });
    }

    /// Brings a line into canonical form and looks for faults.
    pub(super) fn settle(&mut self, n: usize) {
        if waiting(self.lines[n].line) != Some(Local::ReadCurrent) {
            self.ages(n, |a| {
                if *a == Age::Recent {
                    *a = Age::Old;
                }
            });
        }
        let line = &mut self.lines[n];
        // The cores are alike: the one that holds more is number 0.
        if line.cores[0] < line.cores[1] {
            line.cores.swap(0, 1);
            if let Some(p) = &mut line.pending {
                p.core ^= 1;
            }
        }
        let line = *line;
        let most = match line.held {
            Held::I => Core::I,
            Held::S => Core::Shared,
            Held::E | Held::M => Core::Owner,
        };
        let owned_alone = line.cores[0] != Core::Owner || line.cores[1] == Core::I;
        if !line.line.dir.covers(line.held) || line.cores[0] > most || !owned_alone {
            self.fault(Fault::TwoOwners);
        }
        let coming = self.rwd.iter().any(|m| {
            usize::from(m.line) == n && m.row.is_some_and(|r| (Row::WrA..=Row::WrKeep).contains(&r))
        });
        let lost = line.held != Held::M && !coming && line.memory != Age::Latest;
        if lost || (line.held != Held::I && line.copy != Age::Latest) {
            self.fault(Fault::Stale);
        }
    }
}
