//! The host's side of HDM-DB as plain functions: what it may ask (cxl-mem 2.9, 8.1), how it answers a snoop (2.5), and the
//! conflict handshake (2.6). One home agent serialises its cores: at most one Req or RwD of a line is outstanding, from issue to
//! completion, write-backs and MemClnEvct included.

use super::{Next, Op, Request};
use crate::msg::{
    M2sBiRspOpcode, M2sReqOpcode, M2sRwdOpcode, MetaField, MetaValue, S2mBiSnpOpcode, S2mNdrOpcode,
    SnpType,
};

/// What the home agent holds of a line, its cores' caches taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Held {
    /// Nothing.
    #[default]
    I,
    /// Shared, clean.
    S,
    /// Exclusive, clean; may become M silently.
    E,
    /// Modified.
    M,
}

/// Whether a host that holds `held` of a line, with nothing of it outstanding, may issue this request. `full`: the whole line
/// will be overwritten.
///
/// Stricter than cxl-mem 2.9 where a race would break it: MemInv A only for a full overwrite (8.1), and no Req at all from M,
/// because a snoop that meets it early would need a write-back while the Req is outstanding. MemSpecRd may always be issued.
pub const fn may_issue(request: Request, held: Held, full: bool) -> bool {
    use {M2sReqOpcode as R, M2sRwdOpcode as W};
    let rule = request.rule();
    if !rule.legal {
        return false;
    }
    match (request.op, rule.next) {
        (Op::Req(R::MemSpecRd), _) => true,
        (Op::Req(R::MemClnEvct), _) => matches!(held, Held::S | Held::E),
        (Op::Req(R::MemInv | R::MemInvNt), Next::A) => full && matches!(held, Held::I | Held::S),
        (Op::Req(_), Next::I) => matches!(held, Held::I),
        (Op::Req(_), Next::Keep) => !matches!(held, Held::M),
        (Op::Req(_), _) => matches!(held, Held::I | Held::S),
        // Not a request of its own: see `on_snoop`.
        (Op::Rwd(W::BiConflict), _) => false,
        (Op::Rwd(_), _) if matches!(request.snp_type, SnpType::SnpInv) => matches!(held, Held::I),
        (Op::Rwd(_), _) => matches!(held, Held::M),
    }
}

/// What the agent holds after it has sent a write-back that says `keeps` (MetaField No-Op says nothing: it stays exclusive).
pub const fn after_write_back(keeps: Option<MetaValue>) -> Held {
    match keeps {
        Some(MetaValue::I | MetaValue::ExplicitNoOp) => Held::I,
        Some(MetaValue::S) => Held::S,
        Some(MetaValue::A) | None => Held::E,
    }
}

/// The most that a completion lets the agent hold, with the data that came along or that it still holds. `None`: the completion
/// does not answer this request.
pub const fn granted(request: Request, before: Held, ndr: S2mNdrOpcode) -> Option<Held> {
    match (request.op, request.rule().next, ndr) {
        (Op::Rwd(_), _, S2mNdrOpcode::Cmp)
        | (Op::Req(_), Next::Keep | Next::I, S2mNdrOpcode::Cmp) => Some(before),
        (Op::Req(_), Next::A | Next::Shared | Next::Any, S2mNdrOpcode::CmpE) => Some(Held::E),
        (Op::Req(_), Next::Shared | Next::Any, S2mNdrOpcode::CmpS) => Some(Held::S),
        _ => None,
    }
}

/// A legal way to answer a snoop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Send this, and hold that from now on.
    Answer(M2sBiRspOpcode, Held),
    /// The line is dirty: write back first, keeping this; after its Cmp choose again from what is held then.
    WriteBack(MetaValue),
}

/// The legal answers of an agent that holds `held`, the one that keeps most first (cxl-mem 2.5). Block snoops have none: they are
/// not part of this protocol (G-11).
pub const fn replies(snoop: S2mBiSnpOpcode, held: Held) -> &'static [Reply] {
    use Reply::{Answer, WriteBack};
    use {M2sBiRspOpcode as R, MetaValue as V, S2mBiSnpOpcode as B};
    match (snoop, held) {
        (B::BiSnpInv, Held::I | Held::S | Held::E) => &[Answer(R::BiRspI, Held::I)],
        (B::BiSnpInv, Held::M) => &[WriteBack(V::I)],
        (B::BiSnpData | B::BiSnpCur, Held::I) => &[Answer(R::BiRspI, Held::I)],
        (B::BiSnpData, Held::S | Held::E) => {
            &[Answer(R::BiRspS, Held::S), Answer(R::BiRspI, Held::I)]
        }
        (B::BiSnpData, Held::M) => &[WriteBack(V::S), WriteBack(V::I)],
        (B::BiSnpCur, Held::S) => &[Answer(R::BiRspS, Held::S)],
        (B::BiSnpCur, Held::E) => &[Answer(R::BiRspE, Held::E)],
        (B::BiSnpCur, Held::M) => &[WriteBack(V::A), WriteBack(V::S), WriteBack(V::I)],
        _ => &[],
    }
}

/// What is known of the request that is outstanding on a snooped line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pending {
    /// It is an RwD.
    pub write: bool,
    /// Its completion (NDR) has come.
    pub completed: bool,
    /// It reads, and its data (DRS) has not come.
    pub data_missing: bool,
}

/// The conflict handshake: what has come since BIConflict was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// Nothing.
    Sent,
    /// The ack, without the completion: the device had not seen a Req, and will serve it after the BIRsp.
    Early,
    /// The completion, without the ack: granted before the snoop.
    Late,
    /// Both.
    Both,
}

impl Handshake {
    /// The BI-ConflictAck arrives. `None`: it had already come.
    pub const fn acked(self) -> Option<Self> {
        match self {
            Self::Sent => Some(Self::Early),
            Self::Late => Some(Self::Both),
            Self::Early | Self::Both => None,
        }
    }
    /// The completion of the outstanding request arrives. `None`: it had already come.
    pub const fn completed(self) -> Option<Self> {
        match self {
            Self::Sent => Some(Self::Late),
            Self::Early => Some(Self::Both),
            Self::Late | Self::Both => None,
        }
    }
}

/// What to do with a snoop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum React {
    /// Answer from what is held now ([`replies`]).
    Answer,
    /// Send BIConflict with the outstanding request's tag.
    Conflict,
    /// Wait for the outstanding completion, data or ack.
    Wait,
}

/// A snoop of a line has come, and with `handshake` a BIConflict was sent for it.
///
/// A completion that came before the snoop with its data still missing counts as late (cxl-mem 8.1): no handshake is needed, the
/// snoop waits for the data. Before an early answer nothing of the outstanding request has been applied, so "what is held now" is
/// the state from before it. An outstanding write waits for both completion and ack.
pub const fn on_snoop(pending: Option<Pending>, handshake: Option<Handshake>) -> React {
    match (handshake, pending) {
        (None, None) => React::Answer,
        (None, Some(p)) if p.completed => React::Wait,
        (None, Some(_)) => React::Conflict,
        (Some(Handshake::Sent | Handshake::Late), _) => React::Wait,
        (Some(Handshake::Early), Some(p)) if p.write => React::Wait,
        (Some(Handshake::Early), _) => React::Answer,
        (Some(Handshake::Both), Some(p)) if p.data_missing || !p.completed => React::Wait,
        (Some(Handshake::Both), _) => React::Answer,
    }
}

/// A request as the table of cxl-mem 2.3 names it: the rows that a host issues, in the table's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Row {
    /// 1: read to own.
    RdA,
    /// 2: shared read.
    RdS,
    /// 3: uncached read; a device cache would be flushed.
    RdIInv,
    /// 4: uncached read of the current value.
    RdICur,
    /// 5: as 3, directory unchanged.
    RdKeepInv,
    /// 6: as 4, directory unchanged.
    RdKeepCur,
    /// 7: memory's data only.
    RdKeep,
    /// 8: MemRdData.
    RdData,
    /// 9: ownership without data.
    InvA,
    /// 10: share without data.
    InvS,
    /// 11: flush.
    InvI,
    /// 12: device flush, directory unchanged.
    InvKeep,
    /// 13: MemClnEvct.
    ClnEvct,
    /// 14: MemSpecRd.
    SpecRd,
    /// 20: write-back, stays exclusive.
    WrA,
    /// 21: write-back, stays shared.
    WrS,
    /// 22: write-back, keeps nothing.
    WrI,
    /// G-04: write-back that says nothing of what is kept.
    WrKeep,
    /// 23: write by a host that holds nothing.
    WrNew,
    /// 24: partial write by a host that holds nothing.
    WrPtl,
}

impl Row {
    /// Every row; `ALL[n] as usize` is n.
    pub const ALL: [Self; 20] = [
        Self::RdA,
        Self::RdS,
        Self::RdIInv,
        Self::RdICur,
        Self::RdKeepInv,
        Self::RdKeepCur,
        Self::RdKeep,
        Self::RdData,
        Self::InvA,
        Self::InvS,
        Self::InvI,
        Self::InvKeep,
        Self::ClnEvct,
        Self::SpecRd,
        Self::WrA,
        Self::WrS,
        Self::WrI,
        Self::WrKeep,
        Self::WrNew,
        Self::WrPtl,
    ];

    /// Its codes.
    pub const fn request(self) -> Request {
        use MetaField::{Meta0State as M0, NoOp};
        use {M2sReqOpcode as R, M2sRwdOpcode as W, MetaValue as V, SnpType as T};
        let (op, meta_field, meta_value, snp_type) = match self {
            Self::RdA => (Op::Req(R::MemRd), M0, V::A, T::SnpInv),
            Self::RdS => (Op::Req(R::MemRd), M0, V::S, T::SnpData),
            Self::RdIInv => (Op::Req(R::MemRd), M0, V::I, T::SnpInv),
            Self::RdICur => (Op::Req(R::MemRd), M0, V::I, T::SnpCur),
            Self::RdKeepInv => (Op::Req(R::MemRd), NoOp, V::I, T::SnpInv),
            Self::RdKeepCur => (Op::Req(R::MemRd), NoOp, V::I, T::SnpCur),
            Self::RdKeep => (Op::Req(R::MemRd), NoOp, V::I, T::NoOp),
            Self::RdData => (Op::Req(R::MemRdData), NoOp, V::I, T::SnpData),
            Self::InvA => (Op::Req(R::MemInv), M0, V::A, T::SnpInv),
            Self::InvS => (Op::Req(R::MemInv), M0, V::S, T::SnpData),
            Self::InvI => (Op::Req(R::MemInv), M0, V::I, T::SnpInv),
            Self::InvKeep => (Op::Req(R::MemInv), NoOp, V::I, T::SnpInv),
            Self::ClnEvct => (Op::Req(R::MemClnEvct), M0, V::I, T::NoOp),
            Self::SpecRd => (Op::Req(R::MemSpecRd), NoOp, V::I, T::NoOp),
            Self::WrA => (Op::Rwd(W::MemWr), M0, V::A, T::NoOp),
            Self::WrS => (Op::Rwd(W::MemWr), M0, V::S, T::NoOp),
            Self::WrI => (Op::Rwd(W::MemWr), M0, V::I, T::NoOp),
            Self::WrKeep => (Op::Rwd(W::MemWr), NoOp, V::I, T::NoOp),
            Self::WrNew => (Op::Rwd(W::MemWr), M0, V::I, T::SnpInv),
            Self::WrPtl => (Op::Rwd(W::MemWrPtl), M0, V::I, T::SnpInv),
        };
        Request {
            op,
            meta_field,
            meta_value,
            snp_type,
        }
    }
}
