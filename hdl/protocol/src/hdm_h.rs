//! The rules of HDM-H (host-only coherent) memory as plain functions (cxl-mem 2.2, 1.3.7, G-03, G-09).

use crate::msg::{
    M2sReqOpcode, M2sRwdOpcode, MetaField, MetaValue, S2mDrsOpcode, S2mNdrOpcode, SnpType,
};

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

/// The action for a request. `hit`: the HDM decoder and the capacity have the address.
///
/// SnpType is not used on HDM-H; [`legal_snoop`] says whether a request's is.
///
/// An address miss of a read is closed by one DRS MemData-NXM; of anything else by Cmp. It changes nothing.
pub const fn respond(op: Op, meta: MetaField, hit: bool) -> Action {
    let uses_meta = matches!(meta, MetaField::Meta0State);
    let (response, data, write, legal) = match op {
        Op::Req(M2sReqOpcode::MemRd) => (
            Response::Drs(S2mDrsOpcode::MemData),
            Data::Memory,
            Write::None,
            true,
        ),
        Op::Req(M2sReqOpcode::MemInv | M2sReqOpcode::MemInvNt) => {
            // Without metadata there is nothing it could do on HDM-H; harmless, and answered the same.
            (
                Response::Ndr(S2mNdrOpcode::Cmp),
                Data::None,
                Write::None,
                true,
            )
        }
        Op::Req(M2sReqOpcode::MemSpecRd) => (Response::None, Data::None, Write::None, true),
        Op::Rwd(M2sRwdOpcode::MemWr) => (
            Response::Ndr(S2mNdrOpcode::Cmp),
            Data::None,
            Write::Full,
            true,
        ),
        Op::Rwd(M2sRwdOpcode::MemWrPtl) => (
            Response::Ndr(S2mNdrOpcode::Cmp),
            Data::None,
            Write::Merge,
            true,
        ),
        // HDM-D and HDM-DB requests, and what is not supported. A read gets poisoned ones, anything else Cmp.
        Op::Req(M2sReqOpcode::MemRdData | M2sReqOpcode::MemRdTee | M2sReqOpcode::MemRdDataTee) => (
            Response::Drs(S2mDrsOpcode::MemData),
            Data::AllOnesPoisoned,
            Write::None,
            false,
        ),
        Op::Req(M2sReqOpcode::MemSpecRdTee) => (Response::None, Data::None, Write::None, false),
        Op::Req(_) | Op::Rwd(_) => (
            Response::Ndr(S2mNdrOpcode::Cmp),
            Data::None,
            Write::None,
            false,
        ),
    };
    if !legal || (matches!(meta, MetaField::Ems) && !matches!(response, Response::None)) {
        let data = match response {
            Response::Drs(_) => Data::AllOnesPoisoned,
            _ => Data::None,
        };
        return Action {
            response,
            data,
            meta_field: MetaField::NoOp,
            store_meta: false,
            write: Write::None,
            illegal: true,
            nxm: false,
        };
    }
    if !hit {
        let (response, data) = match response {
            Response::Drs(_) => (Response::Drs(S2mDrsOpcode::MemDataNxm), Data::AllOnes),
            other => (other, Data::None),
        };
        return Action {
            response,
            data,
            meta_field: MetaField::NoOp,
            store_meta: false,
            write: Write::None,
            illegal: false,
            nxm: true,
        };
    }
    let answered = !matches!(response, Response::None);
    Action {
        response,
        data,
        // An NDR that answers RwD carries no metadata (cxl-mem 1.4.5).
        meta_field: if uses_meta && answered && matches!(op, Op::Req(_)) {
            MetaField::Meta0State
        } else {
            MetaField::NoOp
        },
        store_meta: uses_meta && answered,
        write,
        illegal: false,
        nxm: false,
    }
}

/// True if HDM-H allows this SnpType: only No-Op (cxl-mem 2.1). MemSpecRd's is reserved and ignored.
pub const fn legal_snoop(op: Op, snoop: SnpType) -> bool {
    matches!(op, Op::Req(M2sReqOpcode::MemSpecRd)) || matches!(snoop, SnpType::NoOp)
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

/// Meta0 as the two bits that are stored: opaque on HDM-H.
pub const fn stored_meta(value: MetaValue) -> u8 {
    value.code()
}
