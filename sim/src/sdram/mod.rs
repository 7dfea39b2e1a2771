//! A chip of single-data-rate SDRAM, cycle by cycle: it holds data, and finds every command that comes too early, in the wrong state, or not at all.
//!
//! Times are compared in ns of the data sheet, not in the controller's cycles.

pub mod bench;

pub use bench::{figures, SdramFigures};

use cxlmem_hdl::memory::sdram::SdramChip;
use std::collections::{HashMap, VecDeque};

/// The chip's inputs at a rising edge of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChipPins {
    /// Clock enable.
    pub cke: bool,
    /// Chip select, low.
    pub cs_n: bool,
    /// RAS, CAS and WE, low: bits 2, 1, 0.
    pub command: u8,
    /// Bank.
    pub ba: u8,
    /// Address.
    pub a: u16,
    /// A byte of the data that is masked.
    pub dqm: u8,
    /// What the controller drives, if it does.
    pub dq: Option<u32>,
}

impl Default for ChipPins {
    fn default() -> Self {
        Self {
            cke: true,
            cs_n: false,
            command: NOP,
            ba: 0,
            a: 0,
            dqm: 0,
            dq: None,
        }
    }
}

/// Commands: RAS, CAS and WE as they stand at the pins.
const MODE: u8 = 0;
const REFRESH: u8 = 1;
const PRECHARGE: u8 = 2;
const ACTIVATE: u8 = 3;
const WRITE: u8 = 4;
const READ: u8 = 5;
const TERMINATE: u8 = 6;
const NOP: u8 = 7;

/// Refreshes that may be late: what a controller may put off.
const POSTPONED: f64 = 8.0;
/// What is not kept is an hour ago.
const LONG_AGO: f64 = -3.6e12;

#[derive(Clone, Copy)]
struct Bank {
    row: Option<u16>,
    activated: f64,
    precharged: f64,
    /// The last word that was written.
    written: f64,
    /// Cycle after the last one in which a burst is under way.
    busy_until: u64,
}

/// A write burst under way.
struct Writing {
    bank: u8,
    row: u16,
    column: u16,
    next: u16,
}

/// The chip.
pub struct Chip {
    chip: SdramChip,
    period: f64,
    cycle: u64,
    banks: [Bank; 4],
    refreshed: f64,
    /// Steps of the start: 0 nothing yet, 1 all banks closed, then refreshes, mode set.
    first_refreshes: u32,
    closed_first: bool,
    mode_set: Option<u64>,
    began: f64,
    refreshes: u64,
    burst: u16,
    cas: u64,
    data: HashMap<(u8, u16, u16), u32>,
    writing: Option<Writing>,
    /// Words on their way out: the cycle in which the controller samples each.
    reading: VecDeque<(u64, u32)>,
    masked: [u8; 2],
    driven: bool,
    violations: Vec<String>,
    /// Commands so far by code.
    pub counts: [u64; 8],
}

impl Chip {
    /// A chip that was just switched on, with a clock.
    pub fn new(chip: SdramChip, khz: u32) -> Self {
        Self {
            chip,
            period: 1e6 / f64::from(khz),
            cycle: 0,
            banks: [Bank {
                row: None,
                activated: LONG_AGO,
                precharged: LONG_AGO,
                written: LONG_AGO,
                busy_until: 0,
            }; 4],
            refreshed: LONG_AGO,
            first_refreshes: 0,
            closed_first: false,
            mode_set: None,
            began: 0.0,
            refreshes: 0,
            burst: 1,
            cas: 2,
            data: HashMap::new(),
            writing: None,
            reading: VecDeque::new(),
            masked: [0; 2],
            driven: false,
            violations: Vec::new(),
            counts: [0; 8],
        }
    }

    /// What was against the rules, oldest first, at most a hundred.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    fn wrong(&mut self, what: String) {
        if self.violations.len() < 100 {
            let text = format!("cycle {}: {what}", self.cycle);
            self.violations.push(text);
        }
    }

    /// So many ns must have passed since then.
    fn since(&mut self, what: &str, then: f64, least: f64) {
        let passed = self.cycle as f64 * self.period - then;
        if passed < least - 1e-6 {
            self.wrong(format!("{what}: {passed:.1} ns of {least}"));
        }
    }

    /// An edge of the clock. What the controller samples at this edge, if the chip drives.
    pub fn edge(&mut self, pins: ChipPins) -> Option<u32> {
        let out = match self.reading.front() {
            Some((at, _)) if *at == self.cycle => self.reading.pop_front().map(|(_, word)| word),
            _ => None,
        };
        if out.is_some() {
            if pins.dq.is_some() || self.driven {
                self.wrong("both ends drive the data, or without a cycle between them".into());
            }
            if self.masked[1] != 0 {
                self.wrong("a word that is read is masked".into());
            }
        }
        if pins.cke && !pins.cs_n {
            self.counts[usize::from(pins.command & 7)] += 1;
            self.command(pins);
        }
        self.write_word(pins);
        if self.mode_set.is_some() {
            let rows = f64::from(1u32 << self.chip.row_bits);
            let between = self.chip.retention / rows;
            let due = (self.cycle as f64 * self.period - self.began) / between;
            if due - self.refreshes as f64 > POSTPONED {
                self.wrong(format!("{} refreshes of {due:.0}", self.refreshes));
                // Once is enough.
                self.refreshes += POSTPONED as u64;
            }
        }
        let used = if self.chip.width == 16 { 3 } else { 15 };
        self.masked = [pins.dqm & used, self.masked[0]];
        self.driven = pins.dq.is_some();
        self.cycle += 1;
        out
    }

    fn command(&mut self, pins: ChipPins) {
        let now = self.cycle as f64 * self.period;
        let bank = usize::from(pins.ba & 3);
        let (chip, at) = (self.chip, self.banks[bank]);
        if pins.command == NOP {
            return;
        }
        let ready = self.mode_set.is_some_and(|c| self.cycle >= c + 2);
        if !ready && !matches!(pins.command, PRECHARGE | REFRESH | MODE) {
            self.wrong(format!("command {} before the start is over", pins.command));
        }
        if self.mode_set.is_none() && now < chip.init - 1e-6 {
            self.wrong(format!(
                "a command {now:.0} ns after power-on, of {}",
                chip.init
            ));
        }
        self.since("tRFC", self.refreshed, chip.t_rfc);
        match pins.command {
            ACTIVATE => {
                if at.row.is_some() {
                    self.wrong(format!("bank {bank} is opened twice"));
                }
                self.since("tRP", at.precharged, chip.t_rp);
                self.since("tRC", at.activated, chip.t_rc);
                let others = self.banks.iter().enumerate().filter(|(n, _)| *n != bank);
                let last = others.map(|(_, b)| b.activated).fold(LONG_AGO, f64::max);
                self.since("tRRD", last, chip.t_rrd);
                if u32::from(pins.a) >> chip.row_bits != 0 {
                    self.wrong(format!("row {:#x} does not exist", pins.a));
                }
                self.banks[bank].row = Some(pins.a);
                self.banks[bank].activated = now;
            }
            READ | WRITE => self.access(pins),
            PRECHARGE => {
                let all = pins.a & 0x400 != 0;
                for n in 0..4 {
                    if !all && n != bank {
                        continue;
                    }
                    let b = self.banks[n];
                    if b.row.is_some() {
                        self.since("tRAS", b.activated, chip.t_ras);
                        // From the edge that took the last word.
                        self.since("tWR", b.written, chip.t_wr);
                        if self.cycle < b.busy_until {
                            self.wrong(format!("bank {n} is closed in the middle of a burst"));
                        }
                    }
                    self.banks[n].row = None;
                    self.banks[n].precharged = now;
                }
                self.closed_first |= all;
            }
            REFRESH => {
                if self.banks.iter().any(|b| b.row.is_some()) {
                    self.wrong("a refresh while a bank is open".into());
                }
                let last = self
                    .banks
                    .iter()
                    .map(|b| b.precharged)
                    .fold(LONG_AGO, f64::max);
                self.since("tRP", last, chip.t_rp);
                if !self.closed_first {
                    self.wrong("a refresh before all banks were closed for the first time".into());
                }
                self.refreshed = now;
                self.first_refreshes += 1;
                self.refreshes += 1;
            }
            MODE => {
                if self.banks.iter().any(|b| b.row.is_some()) || self.first_refreshes < 2 {
                    self.wrong("the mode is set before two refreshes, or with an open bank".into());
                }
                let (burst, cas) = (1u16 << (pins.a & 7), u64::from(pins.a >> 4 & 7));
                let words = 128 / chip.width as u16;
                if pins.a & !0x77 != 0 || burst != words || !(2..=3).contains(&cas) {
                    self.wrong(format!("mode {:#x} is not what this memory needs", pins.a));
                }
                let fastest = if cas == 2 { chip.khz_cl2 } else { chip.khz_cl3 };
                if 1e6 / self.period > f64::from(fastest) + 1.0 {
                    self.wrong(format!("CAS latency {cas} is too short for this clock"));
                }
                (self.burst, self.cas) = (burst, cas);
                self.mode_set = Some(self.cycle);
                (self.began, self.refreshes) = (now, 0);
            }
            TERMINATE => self.wrong("a burst is terminated".into()),
            _ => {}
        }
    }

    fn access(&mut self, pins: ChipPins) {
        let bank = usize::from(pins.ba & 3);
        let at = self.banks[bank];
        let Some(row) = at.row else {
            self.wrong(format!("bank {bank} is read or written while it is closed"));
            return;
        };
        self.since("tRCD", at.activated, self.chip.t_rcd);
        if self.banks.iter().any(|b| self.cycle < b.busy_until) {
            self.wrong("a burst is interrupted".into());
        }
        if pins.a & 0x400 != 0 {
            self.wrong("an automatic precharge that nobody asked for".into());
        }
        let column = pins.a & 0x1FF;
        let start = column & !(self.burst - 1);
        if column != start {
            self.wrong(format!("column {column:#x} is not the start of a burst"));
        }
        self.banks[bank].busy_until = self.cycle + u64::from(self.burst);
        if pins.command == WRITE {
            self.writing = Some(Writing {
                bank: bank as u8,
                row,
                column: start,
                next: 0,
            });
            return;
        }
        for n in 0..self.burst {
            let word = self.data.get(&(bank as u8, row, start + n)).copied();
            let due = self.cycle + self.cas + u64::from(n);
            self.reading.push_back((due, word.unwrap_or(0)));
        }
    }

    fn write_word(&mut self, pins: ChipPins) {
        let Some(w) = &mut self.writing else {
            return;
        };
        let key = (w.bank, w.row, w.column + w.next);
        let bank = usize::from(w.bank);
        w.next += 1;
        if w.next == self.burst {
            self.writing = None;
        }
        self.banks[bank].written = self.cycle as f64 * self.period;
        let all = (1 << (self.chip.width / 8)) - 1;
        let Some(new) = pins.dq else {
            if pins.dqm & all != all {
                self.wrong("a word that is written is not driven".into());
            }
            return;
        };
        let word = self.data.entry(key).or_insert(0);
        for byte in (0..self.chip.width / 8).filter(|b| pins.dqm >> b & 1 == 0) {
            let mask = 0xFF << (8 * byte);
            *word = *word & !mask | new & mask;
        }
    }
}

#[cfg(test)]
mod tests;
