//! Functional coverage: request x directory state x race.

use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::hdm_db::Dir;
use cxlmem_protocol::msg::S2mBiSnpOpcode as Snoop;
use std::fmt;
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

/// Whether a correct host and device can reach a cell: the reason if they cannot.
///
/// Written from the protocol's argument and not from the rules, so that a test can hold the exploration against it.
///
/// # Errors
/// Why the cell cannot be reached.
pub fn reachable((row, dir, race): Cell) -> Result<(), &'static str> {
    use Race::{During, Early, Late, LateData, Quiet};
    const OWNER: &str =
        "a write-back comes from an owner, and only its own write can lower the record meanwhile";
    const HOLDER: &str =
        "the sender held the line, and only a request that waits could lower the record";
    const NO_COMPLETION: &str = "a hint has no completion that a snoop could meet";
    const NO_SNOOP: &str = "no snoop of this kind is sent when the record allows the access";
    const GRANT: &str = "the record is what was granted";
    const NO_DATA: &str = "the answer has no data that could be missing";
    let write_back = (Row::WrA..=Row::WrKeep).contains(&row);
    let write = row >= Row::WrA;
    let reads = row <= Row::RdData;
    // What the record can be once the request has been served, with no snoop out.
    let after: &[Dir] = match row {
        Row::RdA | Row::InvA | Row::WrA | Row::WrKeep => &[Dir::A],
        Row::RdS | Row::RdData | Row::InvS => &[Dir::S, Dir::A],
        Row::RdIInv | Row::RdICur | Row::InvI | Row::ClnEvct => &[Dir::I],
        _ => &Dir::ALL,
    };
    match race {
        Early(_) | Late(_) | LateData(_) if row == Row::SpecRd => Err(NO_COMPLETION),
        LateData(_) if !reads => Err(NO_DATA),
        Quiet | During(_) if write_back && dir != Dir::A => Err(OWNER),
        // Quiet reaches I: an eviction that waited for a snoop is served when the host has given the line up.
        During(_) | Early(_) if row == Row::ClnEvct && dir == Dir::I => Err(HOLDER),
        Quiet | During(_) => Ok(()),
        Early(_) if !write => Ok(()),
        // A write is served whatever is out, so that it may have been before the ack. Its record may then have been raised by the
        // answer to an earlier snoop that it passed on the way: too high, never too low.
        Early(_) | Late(_) if write_back => match (row, dir) {
            (_, Dir::A) | (Row::WrS, Dir::S) | (Row::WrI, Dir::I) => Ok(()),
            _ => Err(OWNER),
        },
        Early(_) => Ok(()),
        Late(kind) | LateData(kind) => match (dir, kind) {
            (_, Snoop::BiSnpInv) if write => Ok(()),
            (Dir::I | Dir::A, _) if write => Ok(()),
            _ if !after.contains(&dir) => Err(GRANT),
            (Dir::A, _) | (Dir::S, Snoop::BiSnpInv) => Ok(()),
            _ => Err(NO_SNOOP),
        },
    }
}

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
            let (name, snoop) = match race {
                Race::Quiet => ("Quiet", ""),
                Race::During(s) => ("During", s.name()),
                Race::Early(s) => ("Early", s.name()),
                Race::Late(s) => ("Late", s.name()),
                Race::LateData(s) => ("No data", s.name()),
            };
            let title = format!("{name} {}", snoop.trim_start_matches("BISnp"));
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
