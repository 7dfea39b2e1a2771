//! Shape, speed and faults of the model device.

use cxlmem_protocol::hdm_db::Policy;

/// One rule broken, to show that a check notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A request for S is granted E while the directory records S.
    GrantsTooMuch,
    /// Meta0 in the answers is the state after the request.
    MetaAfter,
    /// A line is snooped though the directory says I.
    SnoopsForNothing,
    /// A Req is served while a snoop of its line is out.
    ServesDuringSnoop,
    /// A Req is answered with a completion that its row does not have.
    WrongCompletion,
    /// BI-ConflictAck passes an earlier completion of the line.
    AckPasses,
    /// The device reads memory whatever the directory says.
    ReadsStale,
    /// The device writes memory without invalidating shared copies.
    WritesUnderSharers,
    /// The device's fetch-add sometimes writes an old sum.
    LosesAdd,
    /// The device's compare-and-swap writes whatever it finds.
    SwapsAlways,
    /// A write of the host is completed and forgotten.
    LosesWrite,
    /// Partial writes write the whole line.
    IgnoresEnables,
    /// Data of the neighbouring line.
    WrongLine,
    /// The filter forgets a line without a snoop.
    ForgetsEntry,
    /// A BIRspS is recorded as I.
    ForgetsSharer,
    /// A completion is sent twice.
    CompletesTwice,
    /// A completion is lost.
    LosesCompletion,
    /// A second snoop before the first was answered.
    SnoopsTwice,
    /// A BIRsp is lost.
    LosesSnoopAnswer,
}

impl Mutant {
    /// Every one.
    pub const ALL: [Self; 19] = [
        Self::GrantsTooMuch,
        Self::MetaAfter,
        Self::SnoopsForNothing,
        Self::ServesDuringSnoop,
        Self::WrongCompletion,
        Self::AckPasses,
        Self::ReadsStale,
        Self::WritesUnderSharers,
        Self::LosesAdd,
        Self::SwapsAlways,
        Self::LosesWrite,
        Self::IgnoresEnables,
        Self::WrongLine,
        Self::ForgetsEntry,
        Self::ForgetsSharer,
        Self::CompletesTwice,
        Self::LosesCompletion,
        Self::SnoopsTwice,
        Self::LosesSnoopAnswer,
    ];
}

/// Probability that a channel with a message, or a port with an access, moves in a cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speeds {
    /// M2S Req, and the Reqs that waited.
    pub req: f64,
    /// M2S RwD.
    pub rwd: f64,
    /// M2S BIRsp.
    pub birsp: f64,
    /// S2M NDR.
    pub ndr: f64,
    /// S2M DRS.
    pub drs: f64,
    /// S2M BISnp.
    pub bisnp: f64,
    /// The device's own ports.
    pub port: f64,
}

impl Speeds {
    /// The same for everything.
    pub const fn all(p: f64) -> Self {
        Self {
            req: p,
            rwd: p,
            birsp: p,
            ndr: p,
            drs: p,
            bisnp: p,
            port: p,
        }
    }
}

/// Shape and behaviour of the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceOptions {
    /// Lines of memory, from address 0: 1 to 65536.
    pub lines: u64,
    /// Lines that the directory can record; `None`: all.
    pub entries: Option<usize>,
    /// Messages that each of its inputs holds: the host's credits.
    pub depth: usize,
    /// Ports of its own.
    pub ports: usize,
    /// What it grants.
    pub policy: Policy,
    /// How fast it is.
    pub speed: Speeds,
    /// Seed of its choices.
    pub seed: u64,
    /// What it does wrong.
    pub mutant: Option<Mutant>,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self {
            lines: 64,
            entries: None,
            depth: 16,
            ports: 2,
            policy: Policy::default(),
            speed: Speeds::all(0.5),
            seed: 1,
            mutant: None,
        }
    }
}
