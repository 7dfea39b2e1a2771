//! Functional coverage: request x directory state x race.

use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::hdm_db::Dir;
use cxlmem_protocol::msg::S2mBiSnpOpcode as Snoop;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a request meets a snoop of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Race {
    /// The device serves it with no snoop out.
    Quiet,
    /// It reaches the device while the snoop is out: a Req waits, an RwD is served.
    During(Snoop),
    /// The host hears of the ack before the completion.
    Early(Snoop),
    /// The host hears of the completion before the ack.
    Late(Snoop),
    /// The snoop finds the request completed at the host, but without its data.
    LateData(Snoop),
}

const SNOOPS: [Snoop; 3] = [Snoop::BiSnpCur, Snoop::BiSnpData, Snoop::BiSnpInv];

impl Race {
    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> {
        let kinds: [fn(Snoop) -> Self; 4] = [Self::During, Self::Early, Self::Late, Self::LateData];
        let races = kinds
            .into_iter()
            .flat_map(|kind| SNOOPS.into_iter().map(kind));
        std::iter::once(Self::Quiet).chain(races)
    }
}

/// A cell: the request, the directory at that moment, the race.
pub type Cell = (Row, Dir, Race);

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
