//! The rules of HDM-H (host-only coherent) memory as plain functions (cxl-mem 2.2, 1.3.7, G-03, G-09).

use crate::msg::{M2sReqOpcode, M2sRwdOpcode, MetaField, S2mDrsOpcode, S2mNdrOpcode, SnpType};

/// A request of either channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// M2S Req.
    Req(M2sReqOpcode),
    /// M2S RwD.
    Rwd(M2sRwdOpcode),
}

/// Which channel answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Response {
    /// No answer (MemSpecRd).
    None,
    /// One NDR.
    Ndr(S2mNdrOpcode),
    /// One DRS with its data.
    Drs(S2mDrsOpcode),
}

/// Where the data of a DRS comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Data {
    /// No data in the answer.
    None,
    /// The stored line, with its stored poison.
    Memory,
    /// All ones; poisoned if poison on decode error is enabled.
    AllOnes,
    /// All ones, poisoned: the answer to an illegal read (cxl-mem G-03).
    AllOnesPoisoned,
}

/// What happens to the stored line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Nothing.
    None,
    /// All 64 bytes, and the poison of the message.
    Full,
    /// The enabled bytes. Poison: see [`merged_poison`].
    Merge,
}

/// What HDM-H memory does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// The answer.
    pub response: Response,
    /// Data of the answer.
    pub data: Data,
    /// MetaField of the answer. With Meta0-State, MetaValue is the value stored *before* the request.
    pub meta_field: MetaField,
    /// The request's MetaValue becomes the stored Meta0.
    pub store_meta: bool,
    /// Effect on the line.
    pub write: Write,
    /// Not a request that HDM-H allows: RAS bit 9, header log, nothing changes (cxl-mem G-03).
    pub illegal: bool,
    /// No decoder took the address, or it is beyond the capacity: count and log it.
    pub nxm: bool,
}

/// What the rules say of a request by its codes alone, reserved codes included: the form that hardware tabulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// In the accepted set of cxl-mem 2.2.
    pub legal: bool,
    /// No answer.
    pub silent: bool,
    /// Answered with one DRS; if neither `silent` nor `data`, with one NDR Cmp.
    pub data: bool,
    /// The request's MetaValue becomes the stored Meta0. For a Req the answer then carries the value stored before.
    pub store_meta: bool,
}

/// The rule for an M2S Req, by the codes of MemOpcode, MetaField and SnpType.
///
/// A read that is not legal is still closed by one DRS (all ones, poisoned), anything else by Cmp; speculative reads never.
pub const fn req_rule(opcode: u8, meta_field: u8, snp_type: u8) -> Rule {
    use M2sReqOpcode as O;
    let meta0 = meta_field == MetaField::Meta0State as u8;
    let no_meta = meta_field == MetaField::NoOp as u8;
    let quiet = snp_type == SnpType::NoOp as u8;
    let (legal, silent, data) = match O::from_code(opcode as u64) {
        Some(O::MemRd) => (quiet && (meta0 || no_meta), false, true),
        Some(O::MemInv | O::MemInvNt) => (quiet && meta0, false, false),
        Some(O::MemSpecRd) => (true, true, false),
        Some(O::MemSpecRdTee) => (false, true, false),
        Some(O::MemRdData | O::MemRdTee | O::MemRdDataTee) => (false, false, true),
        _ => (false, false, false),
    };
    Rule {
        legal,
        silent,
        data,
        store_meta: legal && meta0 && !silent,
    }
}

/// The rule for an M2S RwD, by the codes of MemOpcode, MetaField and SnpType; `be`: a byte-enable chunk came with it.
pub const fn rwd_rule(opcode: u8, meta_field: u8, snp_type: u8, be: bool) -> Rule {
    let meta0 = meta_field == MetaField::Meta0State as u8;
    let no_meta = meta_field == MetaField::NoOp as u8;
    let fits = match M2sRwdOpcode::from_code(opcode as u64) {
        Some(M2sRwdOpcode::MemWr) => !be,
        Some(M2sRwdOpcode::MemWrPtl) => be,
        _ => false,
    };
    let legal = fits && snp_type == SnpType::NoOp as u8 && (meta0 || no_meta);
    Rule {
        legal,
        silent: false,
        data: false,
        store_meta: legal && meta0,
    }
}

/// The action for a request. `hit`: the HDM decoder and the capacity have the address.
///
/// Not in the accepted set: nothing changes, and the answer is as [`req_rule`] says. An address miss of a read is closed by one
/// DRS MemData-NXM, of anything else by Cmp; it changes nothing either.
pub const fn respond(op: Op, meta: MetaField, snoop: SnpType, hit: bool) -> Action {
    let rule = match op {
        Op::Req(opcode) => req_rule(opcode.code(), meta.code(), snoop.code()),
        Op::Rwd(opcode) => rwd_rule(
            opcode.code(),
            meta.code(),
            snoop.code(),
            matches!(opcode, M2sRwdOpcode::MemWrPtl),
        ),
    };
    let served = rule.legal && hit;
    let (response, data) = match (rule.silent, rule.data, rule.legal, hit) {
        (true, ..) => (Response::None, Data::None),
        (_, false, ..) => (Response::Ndr(S2mNdrOpcode::Cmp), Data::None),
        (_, _, false, _) => (Response::Drs(S2mDrsOpcode::MemData), Data::AllOnesPoisoned),
        (_, _, _, false) => (Response::Drs(S2mDrsOpcode::MemDataNxm), Data::AllOnes),
        _ => (Response::Drs(S2mDrsOpcode::MemData), Data::Memory),
    };
    let store_meta = served && rule.store_meta;
    Action {
        response,
        data,
        // An NDR that answers RwD carries no metadata (cxl-mem 1.4.5).
        meta_field: if store_meta && matches!(op, Op::Req(_)) {
            MetaField::Meta0State
        } else {
            MetaField::NoOp
        },
        store_meta,
        write: match op {
            Op::Rwd(M2sRwdOpcode::MemWr) if served => Write::Full,
            Op::Rwd(M2sRwdOpcode::MemWrPtl) if served => Write::Merge,
            _ => Write::None,
        },
        illegal: !rule.legal,
        nxm: rule.legal && !hit && !rule.silent,
    }
}

/// Poison of a line after a partial write: new poison poisons it; old poison goes only when every byte is replaced.
pub const fn merged_poison(stored: bool, message: bool, be: u64) -> bool {
    message || (stored && be != u64::MAX)
}

/// The line after a partial write: bit *n* of `be` replaces byte *n*.
pub fn merge(stored: &mut [u8; 64], data: &[u8; 64], be: u64) {
    for (n, (old, new)) in stored.iter_mut().zip(data).enumerate() {
        if be >> n & 1 == 1 {
            *old = *new;
        }
    }
}
