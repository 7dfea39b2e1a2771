//! The rules of HDM-DB (device-coherent memory with back-invalidate) as plain functions: the request table (cxl-mem 2.3, rows
//! 1-14 and 20-25) and the directory machine of one line (2.4 and 2.11 as corrected by 8.1).
//!
//! The device has no cache of its own: a line is in memory or with the host, the directory alone decides, and SnpType asks for
//! nothing beyond being the one that the table names. There is one host, so a request never makes the device snoop: only the
//! device's own accesses ([`local`]) do. What the host does is in [`host`].

pub mod host;
pub mod race;

pub use crate::hdm_h::{merge, merged_poison, Data, Op, Write};
use crate::msg::{
    M2sBiRspOpcode, M2sReqOpcode, M2sRwdOpcode, MetaField, MetaValue, S2mBiSnpOpcode, S2mDrsOpcode,
    S2mNdrOpcode, SnpType,
};
use core::fmt;

/// What the directory records of a line: an upper bound on what host caches hold. May be too high (the host drops clean lines
/// silently), never too low. The codes are those of MetaValue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Dir {
    /// No host cache holds the line.
    #[default]
    I = MetaValue::I as u8,
    /// At most shared.
    S = MetaValue::S as u8,
    /// Anything, modified too.
    A = MetaValue::A as u8,
}

impl Dir {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::I, Self::S, Self::A];

    /// The stored two bits.
    pub const fn code(self) -> u8 {
        self as u8
    }
    /// From the stored two bits; the code that means nothing is taken as the upper bound.
    pub const fn from_code(code: u8) -> Self {
        match code & 3 {
            0 => Self::I,
            3 => Self::S,
            _ => Self::A,
        }
    }
    /// True if the record is high enough for a host that holds `held`.
    pub const fn covers(self, held: host::Held) -> bool {
        match held {
            host::Held::I => true,
            host::Held::S => matches!(self, Self::S | Self::A),
            host::Held::E | host::Held::M => matches!(self, Self::A),
        }
    }
}

/// Where a request puts the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Next {
    /// Unchanged.
    Keep = 0,
    /// I.
    I = 1,
    /// S.
    S = 2,
    /// A.
    A = 3,
    /// The host asks for S: S or A, see [`settle`].
    Shared = 4,
    /// The host takes what it gets (MemRdData): S or A, see [`settle`].
    Any = 5,
}

/// What to grant where both Cmp-S and Cmp-E are legal (cxl-mem G-05): one register bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// A host that asks for S gets E unless the directory says S.
    pub shared_gets_e: bool,
    /// MemRdData gets E.
    pub any_gets_e: bool,
}

impl Default for Policy {
    /// S to who asks for S (the device can then read without a snoop), E to who takes anything.
    fn default() -> Self {
        Self {
            shared_gets_e: false,
            any_gets_e: true,
        }
    }
}

/// What the rules say of a request by its codes alone, reserved codes included: the form that hardware tabulates, and all that
/// [`request`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// It came on RwD, else on Req: its completion grants nothing, and it never waits.
    pub rwd: bool,
    /// In the accepted set of cxl-mem 2.3 (and G-04).
    pub legal: bool,
    /// No answer (MemSpecRd).
    pub silent: bool,
    /// MemData on DRS, besides the NDR.
    pub data: bool,
    /// BIConflict: the NDR is a BI-ConflictAck, and the directory has no part in it.
    pub conflict: bool,
    /// The answers carry the directory state from before the request as Meta0 (cxl-mem G-03).
    pub meta: bool,
    /// A write-back: only a host that the directory records as owner has reason to send it.
    pub owner: bool,
    /// Where the directory goes.
    pub next: Next,
    /// What happens to the line in memory.
    pub write: Write,
}

impl Rule {
    const fn illegal(rwd: bool, silent: bool, data: bool) -> Self {
        Self {
            rwd,
            legal: false,
            silent,
            data,
            conflict: false,
            meta: false,
            owner: false,
            next: Next::Keep,
            write: Write::None,
        }
    }
}

/// The rule for an M2S Req, by the codes of MemOpcode, MetaField, MetaValue and SnpType (cxl-mem 2.3, rows 1-14).
///
/// An illegal request is answered with Cmp, a read with one DRS (all ones, poisoned) besides; speculative reads never.
pub const fn req_rule(opcode: u8, meta_field: u8, meta_value: u8, snp_type: u8) -> Rule {
    use M2sReqOpcode as O;
    use {MetaField as F, MetaValue as V, SnpType as T};
    let (Some(opcode), field, Some(value), snoop) = (
        O::from_code(opcode as u64),
        F::from_code(meta_field as u64),
        V::from_code(meta_value as u64),
        T::from_code(snp_type as u64),
    ) else {
        return Rule::illegal(false, false, false);
    };
    let silent = matches!(opcode, O::MemSpecRd | O::MemSpecRdTee);
    let data = matches!(
        opcode,
        O::MemRd | O::MemRdData | O::MemRdTee | O::MemRdDataTee
    );
    let next = match (opcode, field, value, snoop) {
        (O::MemRd | O::MemInv | O::MemInvNt, Some(F::Meta0State), V::A, Some(T::SnpInv)) => Next::A,
        (O::MemRd | O::MemInv | O::MemInvNt, Some(F::Meta0State), V::S, Some(T::SnpData)) => {
            Next::Shared
        }
        (O::MemRd | O::MemInv | O::MemInvNt, Some(F::Meta0State), V::I, Some(T::SnpInv)) => Next::I,
        (O::MemRd, Some(F::Meta0State), V::I, Some(T::SnpCur)) => Next::I,
        (O::MemRd, Some(F::NoOp), _, Some(T::SnpInv | T::SnpCur | T::NoOp)) => Next::Keep,
        (O::MemInv | O::MemInvNt, Some(F::NoOp), _, Some(T::SnpInv)) => Next::Keep,
        (O::MemRdData, Some(F::NoOp), _, Some(T::SnpData)) => Next::Any,
        (O::MemClnEvct, Some(F::Meta0State), V::I, Some(T::NoOp)) => Next::I,
        // A hint: its other fields are reserved.
        (O::MemSpecRd, ..) => Next::Keep,
        _ => return Rule::illegal(false, silent, data),
    };
    Rule {
        legal: true,
        meta: matches!(field, Some(F::Meta0State)) && !silent,
        next,
        ..Rule::illegal(false, silent, data)
    }
}

/// The rule for an M2S RwD, by the codes of MemOpcode, MetaField, MetaValue and SnpType (cxl-mem 2.3, rows 20-25, and G-04);
/// `be`: a byte-enable chunk came with it.
///
/// An illegal one is answered with Cmp and its data is discarded. The zeros that travel with BIConflict are not looked at.
pub const fn rwd_rule(opcode: u8, meta_field: u8, meta_value: u8, snp_type: u8, be: bool) -> Rule {
    use M2sRwdOpcode as O;
    use {MetaField as F, MetaValue as V, SnpType as T};
    let (Some(opcode), Some(field), Some(value), Some(snoop)) = (
        O::from_code(opcode as u64),
        F::from_code(meta_field as u64),
        V::from_code(meta_value as u64),
        T::from_code(snp_type as u64),
    ) else {
        // Its other fields mean nothing, so that nothing in them can leave the host without its ack.
        if opcode == O::BiConflict as u8 && !be {
            return Rule {
                legal: true,
                conflict: true,
                ..Rule::illegal(true, false, false)
            };
        }
        return Rule::illegal(true, false, false);
    };
    let (next, write) = match (opcode, field, value, snoop, be) {
        (O::MemWr, F::Meta0State, V::A, T::NoOp, false) => (Next::A, Write::Full),
        (O::MemWr, F::Meta0State, V::S, T::NoOp, false) => (Next::S, Write::Full),
        (O::MemWr, F::Meta0State, V::I, T::NoOp | T::SnpInv, false) => (Next::I, Write::Full),
        (O::MemWr, F::NoOp, _, T::NoOp, false) => (Next::Keep, Write::Full),
        (O::MemWrPtl, F::Meta0State, V::I, T::SnpInv, true) => (Next::I, Write::Merge),
        (O::BiConflict, _, _, _, false) => (Next::Keep, Write::None),
        _ => return Rule::illegal(true, false, false),
    };
    Rule {
        legal: true,
        conflict: matches!(opcode, O::BiConflict),
        // One that says SnpInv comes from a host that holds nothing; MetaField No-Op says nothing of the host.
        owner: matches!(snoop, T::NoOp) && !matches!(next, Next::Keep),
        next,
        write,
        ..Rule::illegal(true, false, false)
    }
}

/// The directory after a request. For a Req this is also what is granted: see [`grant`].
///
/// A host that asks for S where it may already hold S gets S whatever the policy (cxl-mem 2.11).
pub const fn settle(next: Next, dir: Dir, policy: Policy) -> Dir {
    match (next, dir) {
        (Next::Keep, dir) => dir,
        (Next::I, _) => Dir::I,
        (Next::S, _) | (Next::Shared, Dir::S) => Dir::S,
        (Next::A, _) => Dir::A,
        (Next::Shared, _) if policy.shared_gets_e => Dir::A,
        (Next::Any, _) if policy.any_gets_e => Dir::A,
        (Next::Shared | Next::Any, _) => Dir::S,
    }
}

/// The completion of a Req that leaves the directory at `after`: nothing more is granted than the directory records.
pub const fn grant(next: Next, after: Dir) -> S2mNdrOpcode {
    match (next, after) {
        (Next::Keep, _) | (_, Dir::I) => S2mNdrOpcode::Cmp,
        (_, Dir::S) => S2mNdrOpcode::CmpS,
        (_, Dir::A) => S2mNdrOpcode::CmpE,
    }
}

/// An access by the device itself: the engine, the line port or the directory's own replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// Read once; the host may keep the line as it is.
    ReadCurrent,
    /// Read; the host may keep a shared copy.
    ReadData,
    /// Write or atomic, partial or full.
    Write,
    /// Make room in a snoop filter; touches no data.
    Evict,
}

impl Local {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::ReadCurrent, Self::ReadData, Self::Write, Self::Evict];

    /// The snoop that it needs, if the directory does not allow it at once (cxl-mem 2.11).
    pub const fn snoop(self) -> S2mBiSnpOpcode {
        match self {
            Self::ReadCurrent => S2mBiSnpOpcode::BiSnpCur,
            Self::ReadData => S2mBiSnpOpcode::BiSnpData,
            Self::Write | Self::Evict => S2mBiSnpOpcode::BiSnpInv,
        }
    }
    /// True if it may go on under this directory state.
    pub const fn allowed(self, dir: Dir) -> bool {
        match self {
            Self::ReadCurrent | Self::ReadData => matches!(dir, Dir::I | Dir::S),
            Self::Write | Self::Evict => matches!(dir, Dir::I),
        }
    }
}

/// Whether a snoop of the line is out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// None: I, S and A of cxl-mem 2.11.
    #[default]
    Stable,
    /// A snoop is out for this access: W_cur, W_dat, W_inv.
    Wait(Local),
    /// A snoop timed out and its answer may still come: as stable, but no other snoop of this line until it has
    /// (the answer could not be told from the next one's). It is the snoop's tracker that remembers this, entry or not.
    Overdue,
}

impl Phase {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Stable,
        Self::Wait(Local::ReadCurrent),
        Self::Wait(Local::ReadData),
        Self::Wait(Local::Write),
        Self::Wait(Local::Evict),
        Self::Overdue,
    ];
}

/// The directory machine of one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Line {
    /// What the directory records; while a snoop is out, what it recorded before or what a write said since. In a snoop filter the
    /// entry stays taken while a snoop is out, even at I: a BIRspS or BIRspE that the write passed on its way raises it again.
    pub dir: Dir,
    /// Whether a snoop is out.
    pub phase: Phase,
}

/// What the peer did wrong. Logged (RAS bit 9, header log); nothing that the directory promises depends on it (cxl-mem G-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A combination of opcode, MetaField, MetaValue and SnpType that the table does not have.
    IllegalRequest,
    /// A Req or RwD for a line that has one outstanding (cxl-mem 8.1).
    SecondRequest,
    /// A write-back by a host that the directory does not know as owner. Accepted.
    UnownedWrite,
    /// BIConflict with no snoop out. Answered.
    StrayConflict,
    /// A BIRsp that no snoop waits for. Dropped.
    StrayAnswer,
    /// A BIRsp that keeps more than the snoop allows: recorded as reported; the access that asked fails.
    KeptTooMuch,
    /// A block BIRsp; no block snoop is ever sent (cxl-mem G-11). Dropped.
    BlockAnswer,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IllegalRequest => "HDM-DB: opcode, MetaField, MetaValue and SnpType do not go together; see the request table",
            Self::SecondRequest => "HDM-DB: the line has a request outstanding; wait for its completion",
            Self::UnownedWrite => "HDM-DB: write-back of a line that was not granted exclusively; ask with MemRd A first",
            Self::StrayConflict => "HDM-DB: BIConflict without a BISnp; send it only between a BISnp and its BIRsp",
            Self::StrayAnswer => "HDM-DB: BIRsp without a BISnp; answer each BISnp once, before it times out",
            Self::KeptTooMuch => "HDM-DB: BIRsp keeps more than the BISnp allows; give the line up as asked",
            Self::BlockAnswer => "HDM-DB: block BIRsp; block snoops are not sent, answer line by line",
        })
    }
}

/// Whether the device can look at a request's line at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The HDM decoder and the capacity have the address.
    Hit,
    /// They have not (cxl-mem G-09).
    Miss,
    /// They have, and a tracker holds a Req or RwD for the line. BIConflict is not one.
    Outstanding,
}

/// A request of either channel without reserved codes. That MemWrPtl comes with byte enables is implied by the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Channel and opcode.
    pub op: Op,
    /// MetaField.
    pub meta_field: MetaField,
    /// MetaValue.
    pub meta_value: MetaValue,
    /// SnpType.
    pub snp_type: SnpType,
}

impl Request {
    /// Its rule.
    pub const fn rule(self) -> Rule {
        let (field, value) = (self.meta_field.code(), self.meta_value.code());
        let snoop = self.snp_type.code();
        match self.op {
            Op::Req(opcode) => req_rule(opcode.code(), field, value, snoop),
            Op::Rwd(opcode) => {
                let be = matches!(opcode, M2sRwdOpcode::MemWrPtl);
                rwd_rule(opcode.code(), field, value, snoop, be)
            }
        }
    }
}

/// What the device does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// Completion, ack or grant.
    pub ndr: Option<S2mNdrOpcode>,
    /// Data answer. No order between it and `ndr`.
    pub drs: Option<S2mDrsOpcode>,
    /// Data of `drs`.
    pub data: Data,
    /// The answers' MetaValue, as stored before the request, if they carry MetaField Meta0-State (cxl-mem G-03).
    pub meta: Option<Dir>,
    /// Effect on the line in memory.
    pub write: Write,
    /// The directory machine afterwards.
    pub next: Line,
    /// To be logged.
    pub violation: Option<Violation>,
    /// No decoder took the address, or it is beyond the capacity: count and log it.
    pub nxm: bool,
}

/// The device's reaction to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A snoop of the line is out: the Req waits for its answer. RwD never waits (cxl-mem 2.6).
    Stall,
    /// It is done now.
    Act(Action),
}

/// The device's reaction to a request that finds the line in this state.
///
/// One step as far as the line is concerned: the NDR stands in the NDR queue before anything else happens to the line, so that no
/// snoop of it, and no ack, comes before its completion (cxl-mem 2.6).
pub const fn request(line: Line, rule: Rule, place: Place, policy: Policy) -> Step {
    let stray = rule.conflict && !matches!(line.phase, Phase::Wait(_));
    let second = matches!(place, Place::Outstanding) && !rule.conflict && !rule.silent;
    let served = rule.legal && matches!(place, Place::Hit);
    let waits = matches!(line.phase, Phase::Wait(_)) && !rule.rwd && !rule.silent;
    if served && waits {
        return Step::Stall;
    }
    let dir = if served {
        settle(rule.next, line.dir, policy)
    } else {
        line.dir
    };
    let unowned = served && rule.owner && !matches!(line.dir, Dir::A);
    let violation = if !rule.legal {
        Some(Violation::IllegalRequest)
    } else if second {
        Some(Violation::SecondRequest)
    } else if unowned {
        Some(Violation::UnownedWrite)
    } else if stray && matches!(place, Place::Hit | Place::Outstanding) {
        Some(Violation::StrayConflict)
    } else {
        None
    };
    let nxm = rule.legal && matches!(place, Place::Miss) && !rule.silent;
    let ndr = if rule.silent || (nxm && rule.data) {
        None
    } else if rule.conflict {
        Some(S2mNdrOpcode::BiConflictAck)
    } else if served && !rule.rwd {
        Some(grant(rule.next, dir))
    } else {
        Some(S2mNdrOpcode::Cmp)
    };
    let (drs, data) = match (rule.data, nxm, served) {
        (false, ..) => (None, Data::None),
        (_, true, _) => (Some(S2mDrsOpcode::MemDataNxm), Data::AllOnes),
        (_, _, true) => (Some(S2mDrsOpcode::MemData), Data::Memory),
        _ => (Some(S2mDrsOpcode::MemData), Data::AllOnesPoisoned),
    };
    Step::Act(Action {
        ndr,
        drs,
        data,
        meta: if served && rule.meta {
            Some(line.dir)
        } else {
            None
        },
        write: if served { rule.write } else { Write::None },
        next: Line {
            dir,
            phase: line.phase,
        },
        violation,
        nxm,
    })
}

/// What becomes of an access by the device itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalStep {
    /// Go on with the memory now.
    Serve,
    /// Send this snoop; the line is then as given.
    Snoop(S2mBiSnpOpcode, Line),
    /// Wait: a snoop of the line is out, or a request that waited for one goes first.
    Stall,
    /// Fails with an error: the host has not answered an earlier snoop of this line.
    Fail,
}

/// The device's own access to a line. `stalled`: a Req that had to wait for a snoop of this line has not been served yet, or one of
/// another line waits for this line's directory entry (unless this is the eviction for it). It goes before the next snoop, so that
/// neither side starves the other (cxl-mem 2.12, race 11).
///
/// While the access goes on, no request of the line may be served in between.
pub const fn local(line: Line, access: Local, stalled: bool) -> LocalStep {
    match line.phase {
        Phase::Wait(_) => LocalStep::Stall,
        _ if access.allowed(line.dir) => LocalStep::Serve,
        Phase::Overdue => LocalStep::Fail,
        Phase::Stable if stalled => LocalStep::Stall,
        Phase::Stable => LocalStep::Snoop(
            access.snoop(),
            Line {
                dir: line.dir,
                phase: Phase::Wait(access),
            },
        ),
    }
}

/// How a snooped access ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Go on with the memory, before any request of the line that waited.
    Serve(Local),
    /// Fails with an error.
    Fail(Local),
}

/// The device's reaction to a BIRsp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answered {
    /// The directory machine afterwards.
    pub next: Line,
    /// The access that waited, if it ends now.
    pub outcome: Option<Outcome>,
    /// To be logged.
    pub violation: Option<Violation>,
}

/// The device's reaction to a BIRsp for a line: the directory records what the host says that it holds, whatever was asked
/// (cxl-mem 2.5, G-06, 8.1).
pub const fn answer(line: Line, birsp: M2sBiRspOpcode) -> Answered {
    let dir = match birsp {
        M2sBiRspOpcode::BiRspI => Dir::I,
        M2sBiRspOpcode::BiRspS => Dir::S,
        M2sBiRspOpcode::BiRspE => Dir::A,
        _ => {
            return Answered {
                next: line,
                outcome: None,
                violation: Some(Violation::BlockAnswer),
            }
        }
    };
    let Phase::Wait(access) = line.phase else {
        // After a time-out the record stays: it may be too high, and whatever was granted since counts.
        return Answered {
            next: Line {
                dir: line.dir,
                phase: Phase::Stable,
            },
            outcome: None,
            violation: Some(Violation::StrayAnswer),
        };
    };
    // The host may keep anything on BISnpCur: what it had when it answered has been written back.
    let fits = matches!(access, Local::ReadCurrent) || access.allowed(dir);
    Answered {
        next: Line {
            dir,
            phase: Phase::Stable,
        },
        outcome: Some(if fits {
            Outcome::Serve(access)
        } else {
            Outcome::Fail(access)
        }),
        violation: if fits {
            None
        } else {
            Some(Violation::KeptTooMuch)
        },
    }
}

/// No answer came in time: the record stays, the access fails, waiting requests go on (cxl-mem 8.1). `None`: no snoop was out.
pub const fn timeout(line: Line) -> (Line, Option<Outcome>) {
    match line.phase {
        Phase::Wait(access) => (
            Line {
                dir: line.dir,
                phase: Phase::Overdue,
            },
            Some(Outcome::Fail(access)),
        ),
        _ => (line, None),
    }
}
