//! What there is to cover: request x directory state x race, and which of these cells a correct host and device can reach.

use super::host::Row;
use super::Dir;
use crate::msg::S2mBiSnpOpcode as Snoop;
use core::fmt;

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
        core::iter::once(Self::Quiet).chain(races)
    }
}

impl fmt::Display for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, snoop) = match self {
            Self::Quiet => ("Quiet", ""),
            Self::During(s) => ("During ", s.name()),
            Self::Early(s) => ("Early ", s.name()),
            Self::Late(s) => ("Late ", s.name()),
            Self::LateData(s) => ("No data ", s.name()),
        };
        write!(f, "{name}{}", snoop.trim_start_matches("BISnp"))
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
