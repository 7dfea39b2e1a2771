//! Functional coverage: request x directory state x race.

pub use cxlmem_protocol::hdm_db::race::{reachable, Cell, Race};

use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::hdm_db::Dir;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which cells were reached.
#[derive(Debug)]
pub struct Cover {
    cells: Vec<(Cell, AtomicBool)>,
}

impl Default for Cover {
    fn default() -> Self {
        let cells = Row::ALL.into_iter().flat_map(|row| {
            Dir::ALL
                .into_iter()
                .flat_map(move |dir| Race::all().map(move |race| (row, dir, race)))
        });
        Self {
            cells: cells.map(|cell| (cell, AtomicBool::new(false))).collect(),
        }
    }
}

impl Cover {
    pub(super) fn reach(&self, row: Row, dir: Dir, race: Race) {
        let dir_at = Dir::ALL.iter().position(|d| *d == dir).unwrap_or(0);
        let per_row = self.cells.len() / Row::ALL.len();
        let from = row as usize * per_row + dir_at * (per_row / Dir::ALL.len());
        let cell = self.cells[from..].iter().find(|c| c.0 .2 == race);
        if let Some((_, reached)) = cell {
            reached.store(true, Ordering::Relaxed);
        }
    }

    /// Every cell, and whether it was reached.
    pub fn cells(&self) -> impl Iterator<Item = (Cell, bool)> + '_ {
        self.cells
            .iter()
            .map(|(cell, reached)| (*cell, reached.load(Ordering::Relaxed)))
    }
}

/// A line per request, a column per race: the directory states reached, `-` for one that can be and was not, `.` for one that
/// cannot be.
impl fmt::Display for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:10}", "")?;
        for race in Race::all() {
            let title = race.to_string();
            write!(f, "{title:13}")?;
        }
        for row in Row::ALL {
            write!(f, "\n{:10}", format!("{row:?}"))?;
            for race in Race::all() {
                let here = |c: &&(Cell, bool)| c.0 .0 == row && c.0 .2 == race;
                let cells: Vec<_> = self.cells().collect();
                let letters: String = (cells.iter().filter(here))
                    .map(
                        |(cell, reached)| match (reached, reachable(*cell), cell.1) {
                            (true, _, Dir::I) => 'I',
                            (true, _, Dir::S) => 'S',
                            (true, _, Dir::A) => 'A',
                            (false, Ok(()), _) => '-',
                            (false, Err(_), _) => '.',
                        },
                    )
                    .collect();
                write!(f, "{letters:13}")?;
            }
        }
        Ok(())
    }
}
