//! HDM-DB: host caches, home agent, six channels, directory and the device's own accesses, in every order.
//!
//! The rules are [`cxlmem_protocol::hdm_db`], called and not copied: the device's side ([`hdm_db::request`], [`hdm_db::local`],
//! [`hdm_db::answer`]) and the host's ([`hdm_db::host`]). What this model adds is who may act when, and a ghost of every copy's age.
//!
//! Coherence among the cores of one home agent is atomic: it is the host's own affair; what is explored is that the agent's
//! answers to the device hold for all of them. A device access goes on in the step in which its snoop's answer arrives: the
//! device keeps the line to itself until the access is done.

mod cover;
mod device;
mod fair;
mod ghost;
mod home;
mod step;
pub mod suite;

pub use cover::{reachable, Cell, Cover, Race};
pub use step::Action;

use crate::queue::Queue;
use cxlmem_protocol::hdm_db::host::{Handshake, Held, Row};
use cxlmem_protocol::hdm_db::{self, Line, Local, Phase, Policy, Violation};
use cxlmem_protocol::msg::{M2sBiRspOpcode, S2mBiSnpOpcode, S2mNdrOpcode};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::sync::Arc;

/// Most lines.
pub const LINES: usize = 2;
/// Most messages in a channel.
const CAPACITY: usize = 3;

/// A rule left out, to see that the properties find it (each is unsound or stuck; cxl-mem 2.6, 2.12, 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relax {
    /// MemInv A as an upgrade from S, for a write of a part of the line.
    UpgradeByMemInv,
    /// MetaField No-Op requests are sent from M too.
    RequestFromModified,
    /// MemClnEvct is not counted as outstanding.
    ForgottenCleanEvict,
    /// A dirty eviction is not counted as outstanding.
    ForgottenDirtyEvict,
    /// BIRspS or BIRspE to BISnpInv is taken as BIRspI.
    KeptTakenAsInvalid,
    /// MemRdData grants E and leaves a directory at S as it was.
    DirectoryBehindGrant,
    /// BI-ConflictAck may pass an earlier Cmp of its line.
    AckPassesCompletion,
    /// A write-back that keeps the line, made dirty again before the snoop, is not repeated.
    NotWrittenBackAgain,
    /// A snoop is answered at once, whatever is outstanding.
    NoHandshake,
    /// RwD of a line waits for its snoop, as Req does.
    WriteWaits,
    /// Req and RwD share a tracker pool.
    SharedPool,
    /// A snoop may be sent while a request that waited for one is still not served.
    SnoopBeforeStalled,
    /// A snoop of a line may be sent while another line's request waits for its directory entry.
    SnoopBeforeRoom,
    /// A snoop may be sent only while no request of its line is outstanding.
    RequestsFirst,
    /// A directory entry counts as free if a write-back says so while a snoop of its line is out.
    RoomWhileSnooped,
    /// After a time-out another snoop of the line may go before the first one's answer has come.
    SnoopWhileOverdue,
}

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// 1 or 2 (more are taken as 2).
    pub lines: usize,
    /// Cores behind the home agent, 1 or 2 (more are taken as 2).
    pub cores: usize,
    /// Messages per channel, 1 to 3 (more are taken as 3).
    pub depth: usize,
    /// Channels deliver in any order that cxl-mem 2.7 allows, else first in, first out.
    pub reorder: bool,
    /// Requests that the host issues.
    pub rows: &'static [Row],
    /// Accesses by the device.
    pub locals: &'static [Local],
    /// Req that can wait in the device for a snoop. One less than lines makes one block the channel.
    pub trackers: usize,
    /// Lines that the directory can record as not I.
    pub entries: usize,
    /// Grants.
    pub policy: Policy,
    /// Snoops may time out.
    pub timeouts: bool,
    /// A host that sends BIConflict even if it knows that its request was granted.
    pub cautious: bool,
    /// A host that answers BISnpInv by keeping a copy: the device must stay coherent and say so.
    pub stubborn: bool,
    /// Check as well that no request starves while the device starts accesses whenever it may, and the other way round.
    pub storm: bool,
    /// A rule left out.
    pub relax: Option<Relax>,
}

impl Default for Config {
    /// One line, everything that a host and a device may do.
    fn default() -> Self {
        Self {
            lines: 1,
            cores: 2,
            depth: 2,
            reorder: true,
            rows: &Row::ALL,
            locals: &Local::ALL,
            trackers: 1,
            entries: LINES,
            policy: Policy::default(),
            timeouts: false,
            cautious: false,
            stubborn: false,
            storm: false,
            relax: None,
        }
    }
}

/// How old a copy of a line's data is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Age {
    /// Overwritten elsewhere.
    #[default]
    Old,
    /// Overwritten elsewhere since the device's read of the current value began.
    Recent,
    /// The value of the last write.
    Latest,
}

/// What a core's cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Core {
    /// Nothing.
    #[default]
    I,
    /// May load.
    Shared,
    /// May store.
    Owner,
}

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pending {
    /// What was asked.
    pub row: Row,
    core: u8,
    ndr: Option<S2mNdrOpcode>,
    data: Option<Age>,
}

/// How far the agent is with a snoop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It has come (and, if a completed request waits for data, the data is awaited).
    Fresh,
    /// BIConflict was sent.
    Race(Handshake),
    /// Its write-back is on its way.
    Flush,
}

/// One line: at the host, at the device, and the ages of its copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LineState {
    /// What the agent holds.
    pub held: Held,
    cores: [Core; 2],
    copy: Age,
    /// The one request outstanding.
    pub pending: Option<Pending>,
    /// The snoop that the agent has taken.
    pub snoop: Option<(S2mBiSnpOpcode, Stage)>,
    /// The directory.
    pub line: Line,
    /// A Req that waits in the device.
    stalled: Option<ReqMsg>,
    memory: Age,
}

/// M2S Req.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ReqMsg {
    line: u8,
    row: Row,
    /// Sent without being counted as outstanding ([`Relax`]).
    forgotten: bool,
}

/// M2S RwD; no row: BIConflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RwdMsg {
    line: u8,
    row: Option<Row>,
    data: Age,
    forgotten: bool,
}

/// S2M NDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NdrMsg {
    line: u8,
    opcode: S2mNdrOpcode,
    forgotten: bool,
}

/// S2M DRS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DrsMsg {
    line: u8,
    data: Age,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The directory records less than the host holds, the device wrote under a host's copy, or two cores own a line.
    TwoOwners,
    /// A copy, a read or a merge is not of the last write, or the last write is nowhere.
    Stale,
    /// The directory records more lines than it has entries.
    NoRoom,
    /// A message that its receiver cannot place.
    Unexpected,
    /// The device has something to log, though the host keeps the rules.
    Violation(Violation),
}

/// A state of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The lines.
    pub lines: [LineState; LINES],
    req: Queue<ReqMsg, CAPACITY>,
    rwd: Queue<RwdMsg, CAPACITY>,
    birsp: Queue<(u8, M2sBiRspOpcode), CAPACITY>,
    ndr: Queue<NdrMsg, CAPACITY>,
    drs: Queue<DrsMsg, CAPACITY>,
    bisnp: Queue<(u8, S2mBiSnpOpcode), CAPACITY>,
    /// The line that the next free entry of the directory is for.
    claim: Option<u8>,
    /// What went wrong in the last step; nothing follows.
    pub fault: Option<Fault>,
}

/// The model.
#[derive(Clone, Debug)]
pub struct CoherenceModel {
    /// What is explored.
    pub config: Config,
    /// What was reached, in this and every other model that shares it.
    pub cover: Arc<Cover>,
}

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Steps taken, those to known states included.
    pub generated: usize,
    /// Length of the longest shortest path.
    pub depth: usize,
    /// Seconds.
    pub seconds: f64,
    /// False if the bound ended it.
    pub complete: bool,
    /// Properties that failed until then.
    pub failed: Vec<Failure>,
}

/// A property that does not hold, and a way to where it does not (not the shortest one).
#[derive(Clone, Debug)]
pub struct Failure {
    /// The property's name.
    pub property: &'static str,
    /// From the initial state.
    pub steps: Vec<Action>,
}

impl CoherenceModel {
    /// A model with a cover of its own.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            cover: Arc::default(),
        }
    }

    /// Explores every state, up to `bound` steps, on `threads` threads. Ends when `property` fails, or else the first one.
    pub fn explore(
        &self,
        bound: usize,
        threads: usize,
        property: Option<&'static str>,
    ) -> Explored {
        let start = std::time::Instant::now();
        let until = property.map_or(HasDiscoveries::AnyFailures, |name| {
            HasDiscoveries::AllOf([name].into())
        });
        let checker = self
            .clone()
            .checker()
            .threads(threads)
            .target_state_count(bound)
            .finish_when(until)
            .spawn_bfs()
            .join();
        let mut failed: Vec<_> = checker
            .discoveries()
            .into_iter()
            .map(|(name, path)| Failure {
                property: name,
                steps: path.into_actions(),
            })
            .collect();
        failed.sort_by_key(|f| f.property);
        Explored {
            states: checker.unique_state_count(),
            generated: checker.state_count(),
            depth: checker.max_depth(),
            seconds: start.elapsed().as_secs_f64(),
            complete: checker.state_count() < bound,
            failed,
        }
    }
}

impl State {
    /// Nothing is on its way, at the host, on the channels or in the device.
    pub fn quiet(&self) -> bool {
        self.channels_empty()
            && self.lines.iter().all(|l| {
                l.pending.is_none()
                    && l.snoop.is_none()
                    && l.stalled.is_none()
                    && !matches!(l.line.phase, Phase::Wait(_))
            })
    }

    fn channels_empty(&self) -> bool {
        self.req.is_empty()
            && self.rwd.is_empty()
            && self.birsp.is_empty()
            && self.ndr.is_empty()
            && self.drs.is_empty()
            && self.bisnp.is_empty()
    }
}

impl Model for CoherenceModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let fresh = LineState {
            memory: Age::Latest,
            ..Default::default()
        };
        vec![State {
            lines: [fresh; LINES],
            ..Default::default()
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.fault.is_none() {
            state.choices(&self.config, actions);
            state.deliveries(&self.config, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        last.after(&self.config, action, Some(&self.cover))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("single writer", |_, s: &State| {
                s.fault != Some(Fault::TwoOwners)
            }),
            Property::always("data value", |_, s: &State| s.fault != Some(Fault::Stale)),
            Property::always("the directory has room", |_, s: &State| {
                s.fault != Some(Fault::NoRoom)
            }),
            Property::always("every message is expected", |_, s: &State| {
                s.fault != Some(Fault::Unexpected)
            }),
            Property::always("nothing to log", |_, s: &State| {
                !matches!(s.fault, Some(Fault::Violation(_)))
            }),
            Property::always("completes", |m: &Self, s: &State| {
                s.fault.is_some() || s.completes(&m.config)
            }),
            Property::always("no request starves", |m: &Self, s: &State| {
                !m.config.storm || s.fault.is_some() || s.requests_survive(&m.config)
            }),
            Property::always("no device access starves", |m: &Self, s: &State| {
                !m.config.storm || s.fault.is_some() || s.accesses_survive(&m.config)
            }),
        ]
    }
}

/// True if this is a violation that the configuration provokes on purpose.
fn provoked(config: &Config, violation: Violation) -> bool {
    match violation {
        Violation::KeptTooMuch => config.stubborn,
        Violation::StrayAnswer | Violation::StrayConflict => config.timeouts,
        _ => false,
    }
}

/// The access that waits for a snoop of this line.
fn waiting(line: hdm_db::Line) -> Option<Local> {
    match line.phase {
        Phase::Wait(access) => Some(access),
        _ => None,
    }
}
