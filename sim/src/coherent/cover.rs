//! Functional coverage of a run: how often each request met each directory state and each race with a snoop.
//!
//! Seen from the host's end of the link. [`Race::During`] (the request reaches the device while its snoop is out) shows only at the
//! device and is not counted here; the host sees such a Req as early, such a RwD as early or late.

use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::hdm_db::Dir;
use std::collections::BTreeMap;
use std::fmt;

pub use cxlmem_protocol::hdm_db::race::{reachable, Cell, Race};

/// Races that show at the host's end.
fn races() -> impl Iterator<Item = Race> {
    Race::all().filter(|r| !matches!(r, Race::During(_)))
}

/// Counts of each cell.
#[derive(Clone, Debug)]
pub struct Cover {
    counts: Vec<(Cell, u64)>,
    per_row: usize,
    unsure: u64,
}

/// What a device covered of what it can reach.
#[derive(Clone, Debug, Default)]
pub struct DeviceCover {
    /// Cells that were reached.
    pub reached: usize,
    /// Cells that it can reach.
    pub all: usize,
    /// Those that were not.
    pub missing: Vec<Cell>,
    /// Why the others cannot be, and how many.
    pub reasons: BTreeMap<&'static str, usize>,
}

impl fmt::Display for DeviceCover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of the {} cells that this device can reach",
            self.reached, self.all
        )?;
        for (row, dir, race) in &self.missing {
            write!(f, "\n  not reached: {row:?} {dir:?} {race}")?;
        }
        for (why, cells) in &self.reasons {
            write!(f, "\n  {cells} cells cannot be: {why}")?;
        }
        Ok(())
    }
}

impl Default for Cover {
    fn default() -> Self {
        let of_row = |row| {
            let of_dir = move |dir| races().map(move |race| ((row, dir, race), 0));
            Dir::ALL.into_iter().flat_map(of_dir)
        };
        Self {
            counts: Row::ALL.into_iter().flat_map(of_row).collect(),
            per_row: Dir::ALL.len() * races().count(),
            unsure: 0,
        }
    }
}

impl Cover {
    pub(super) fn reach(&mut self, row: Row, dir: Dir, race: Race) {
        let from = row as usize * self.per_row;
        let cells = self.counts.get_mut(from..from + self.per_row);
        let cell = cells.and_then(|c| c.iter_mut().find(|c| c.0 .1 == dir && c.0 .2 == race));
        if let Some((_, count)) = cell {
            *count += 1;
        }
    }

    /// A request whose directory state did not show.
    pub(super) fn unsure(&mut self) {
        self.unsure += 1;
    }

    /// Every cell and how often it was reached.
    pub fn cells(&self) -> impl Iterator<Item = (Cell, u64)> + '_ {
        self.counts.iter().copied()
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            mine.1 += theirs.1;
        }
        self.unsure += other.unsure;
    }

    /// Cells that a correct host and device can reach, and how many of them were.
    pub fn reached(&self) -> (usize, usize) {
        let legal = self.cells().filter(|c| reachable(c.0).is_ok());
        legal.fold((0, 0), |(reached, all), (_, count)| {
            (reached + usize::from(count > 0), all + 1)
        })
    }

    /// Cells that can be reached and were not.
    pub fn missing(&self) -> impl Iterator<Item = Cell> + '_ {
        let missing = |c: &(Cell, u64)| c.1 == 0 && reachable(c.0).is_ok();
        self.cells().filter(missing).map(|c| c.0)
    }

    /// The same for a device that keeps more order than the protocol asks for: cells reached, cells that it can reach, those of them that were not,
    /// and the reasons for all others with their number of cells.
    ///
    /// # Errors
    /// A cell that was reached although it cannot be, and why it cannot.
    pub fn of_device(
        &self,
        reachable: impl Fn(Cell) -> Result<(), &'static str>,
    ) -> Result<DeviceCover, (Cell, &'static str)> {
        let mut out = DeviceCover::default();
        for (cell, count) in self.cells() {
            match reachable(cell) {
                Err(why) if count > 0 => return Err((cell, why)),
                Err(why) => *out.reasons.entry(why).or_default() += 1,
                Ok(()) => {
                    out.all += 1;
                    if count > 0 {
                        out.reached += 1;
                    } else {
                        out.missing.push(cell);
                    }
                }
            }
        }
        Ok(out)
    }

    /// Cells that were reached although a correct host and device cannot, and why they cannot.
    pub fn impossible(&self) -> impl Iterator<Item = (Cell, &'static str)> + '_ {
        let reached = self.cells().filter(|c| c.1 > 0);
        reached.filter_map(|(cell, _)| reachable(cell).err().map(|why| (cell, why)))
    }
}

/// A line per request and directory state, a column per race: how often, `-` for a cell that can be reached and was not, `.` for one
/// that cannot.
impl fmt::Display for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:12}", "")?;
        for race in races() {
            write!(f, "{:>13}", race.to_string())?;
        }
        for row in self.counts.chunks(races().count()) {
            let Some(((name, dir, _), _)) = row.first() else {
                continue;
            };
            write!(f, "\n{:10} {dir:?}", format!("{name:?}"))?;
            for (cell, count) in row {
                match (count, reachable(*cell)) {
                    (0, Ok(())) => write!(f, "{:>13}", "-")?,
                    (0, Err(_)) => write!(f, "{:>13}", ".")?,
                    _ => write!(f, "{count:>13}")?,
                }
            }
        }
        let (reached, legal) = self.reached();
        write!(
            f,
            "\n{reached} of {legal} cells reached; {} requests whose directory state did not show",
            self.unsure
        )
    }
}
