//! The protocol's HDM-DB rules as hardware: tables of `cxlmem_protocol::hdm_db`, as `rules` does for HDM-H.

use super::rules::{bits_of, case_table};
use cxlmem_protocol::hdm_db::{self, Dir, Line, Local, LocalStep, Next, Outcome, Phase, Policy};
use cxlmem_protocol::msg::M2sBiRspOpcode;
use rust_hdl::prelude::*;

/// A table in hardware: a combinational function of small inputs, enumerated from Rust.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident ( $($(#[$in_doc:meta])* $input:ident : $iw:literal),* )
        -> ( $($(#[$out_doc:meta])* $output:ident : $ow:literal),* ) = $rule:expr) => {
        $(#[$doc])*
        #[derive(LogicBlock, Default)]
        pub struct $name {
            $($(#[$in_doc])* pub $input: Signal<In, Bits<$iw>>,)*
            $($(#[$out_doc])* pub $output: Signal<Out, Bits<$ow>>,)*
        }

        impl $name {
            /// The outputs, lowest first, for the inputs in their order.
            fn rule(v: &[u8]) -> u64 {
                let rule: fn(&[u8]) -> u64 = $rule;
                rule(v)
            }
        }

        impl Logic for $name {
            fn update(&mut self) {
                let mut word = Self::rule(&[$(self.$input.val().to_u8()),*]);
                $(
                    self.$output.next = (word & ((1 << $ow) - 1)).into();
                    #[allow(unused_assignments)]
                    { word >>= $ow; }
                )*
            }
            fn connect(&mut self) {
                $(self.$output.connect();)*
            }
            fn hdl(&self) -> Verilog {
                let outputs: &[(&str, u32)] = &[$((stringify!($output), $ow)),*];
                let names: Vec<&str> = outputs.iter().rev().map(|(n, _)| *n).collect();
                let width = outputs.iter().map(|(_, w)| w).sum();
                Verilog::Custom(case_table(
                    &[$((stringify!($input), $iw)),*],
                    &format!("{{{}}}", names.join(", ")),
                    width,
                    Self::rule,
                ))
            }
        }
    };
}

fn next_of(code: u8) -> Next {
    match code {
        0 => Next::Keep,
        1 => Next::I,
        2 => Next::S,
        3 => Next::A,
        4 => Next::Shared,
        _ => Next::Any,
    }
}

fn local_of(code: u8) -> Local {
    Local::ALL[usize::from(code & 3)]
}

table!(
    /// What an M2S Req is (`cxl-mem` 2.3, rows 1-14).
    DbReqRule(opcode: 4, meta_field: 2, meta_value: 2, snp_type: 3) -> (
        /// In the accepted set.
        legal: 1,
        /// No completion (MemSpecRd).
        silent: 1,
        /// MemData besides the NDR.
        data: 1,
        /// The answers carry the old directory state.
        meta: 1,
        /// Where the directory goes: a code of `Next`.
        goes: 3
    ) = |v| {
        let r = hdm_db::req_rule(v[0], v[1], v[2], v[3]);
        bits_of(&[r.legal, r.silent, r.data, r.meta]) | ((r.next as u64) << 4)
    }
);

table!(
    /// What an M2S RwD is (rows 20-25).
    DbRwdRule(opcode: 4, meta_field: 2, meta_value: 2, snp_type: 3, be: 1) -> (
        /// In the accepted set.
        legal: 1,
        /// BIConflict.
        conflict: 1,
        /// A write-back: the host must be the recorded owner.
        owner: 1,
        /// Where the directory goes: a code of `Next`.
        goes: 3
    ) = |v| {
        let r = hdm_db::rwd_rule(v[0], v[1], v[2], v[3], v[4] != 0);
        bits_of(&[r.legal, r.conflict, r.owner]) | ((r.next as u64) << 3)
    }
);

table!(
    /// The directory after a request, and the completion of a Req (2.4, G-05).
    Settle(goes: 3, dir: 2, policy: 2) -> (
        /// The directory afterwards: a code of `Dir`.
        after: 2,
        /// NDR opcode.
        grant: 3
    ) = |v| {
        let policy = Policy { shared_gets_e: v[2] & 1 != 0, any_gets_e: v[2] & 2 != 0 };
        let next = next_of(v[0]);
        let after = hdm_db::settle(next, Dir::from_code(v[1]), policy);
        u64::from(after.code()) | (u64::from(hdm_db::grant(next, after).code()) << 2)
    }
);

table!(
    /// What becomes of the device's own access: none of the outputs means that it waits.
    LocalRule(access: 2, dir: 2, overdue: 1, stalled: 1) -> (
        /// Go on with the memory.
        serve: 1,
        /// A snoop is needed first.
        snoop: 1,
        /// An answer is overdue: it fails.
        fail: 1
    ) = |v| {
        let phase = if v[2] != 0 { Phase::Overdue } else { Phase::Stable };
        let line = Line { dir: Dir::from_code(v[1]), phase };
        match hdm_db::local(line, local_of(v[0]), v[3] != 0) {
            LocalStep::Serve => 1,
            LocalStep::Snoop(..) => 2,
            LocalStep::Fail => 4,
            LocalStep::Stall => 0,
        }
    }
);

table!(
    /// The BISnp of an access.
    SnoopOf(access: 2) -> (opcode: 4) = |v| u64::from(local_of(v[0]).snoop().code())
);

table!(
    /// The answer to a snoop that was sent for an access (2.5, 8.1).
    AnswerRule(opcode: 4, access: 2) -> (
        /// It ends the snoop.
        ends: 1,
        /// The access may go on; else it fails.
        serve: 1,
        /// The host kept more than the snoop allows, or this is no answer.
        wrong: 1,
        /// The directory afterwards: a code of `Dir`.
        after: 2
    ) = |v| {
        let Some(opcode) = M2sBiRspOpcode::from_code(u64::from(v[0])) else {
            return 4;
        };
        let line = Line { dir: Dir::I, phase: Phase::Wait(local_of(v[1])) };
        let a = hdm_db::answer(line, opcode);
        bits_of(&[
            a.outcome.is_some(),
            matches!(a.outcome, Some(Outcome::Serve(_))),
            a.violation.is_some(),
        ]) | (u64::from(a.next.dir.code()) << 3)
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    // Typed in from the reference: 2.3, 2.4, 2.11 and 8.1.
    #[test]
    fn rows_of_the_request_table() {
        for (op, field, value, snp, want) in [
            (1, 0, 2, 3, 0b011_1101),  // 1: MemRd A SnpInv: data, meta, next A
            (1, 0, 3, 1, 0b100_1101),  // 2: MemRd S SnpData: next Shared
            (1, 3, 0, 0, 0b000_0101),  // 7: MemRd No-Op: next Keep
            (2, 3, 0, 1, 0b101_0101),  // 8: MemRdData: next Any
            (0, 0, 2, 3, 0b011_1001),  // 9: MemInv A
            (10, 0, 0, 0, 0b001_1001), // 13: MemClnEvct
            (7, 0, 0, 0, 0b000_0000),  // reserved opcode
            (8, 1, 0, 7, 0b000_0011),  // 14: MemSpecRd
            (1, 0, 2, 1, 0b000_0100),  // A with SnpData: illegal, data all the same
        ] {
            assert_eq!(
                DbReqRule::rule(&[op, field, value, snp]),
                want,
                "opcode {op} MetaField {field} MetaValue {value} SnpType {snp}"
            );
        }
    }

    #[test]
    fn answers() {
        // BIRspI to Inv; S to Inv (kept too much); E to Cur; S to Data; block; reserved
        for (op, access, want) in [
            (0, 2, 0b00_011),
            (1, 2, 0b11_101),
            (2, 0, 0b10_011),
            (1, 1, 0b11_011),
            (4, 2, 0b00_100),
            (9, 2, 0b00_100),
        ] {
            assert_eq!(
                AnswerRule::rule(&[op, access]),
                want,
                "opcode {op} access {access}"
            );
        }
    }

    #[test]
    fn grants() {
        // Shared from I: S by default; Any from I: E; Shared from S stays S even if the policy would give E.
        assert_eq!(Settle::rule(&[4, 0, 2]), 3 | (1 << 2));
        assert_eq!(Settle::rule(&[5, 0, 2]), 2 | (2 << 2));
        assert_eq!(Settle::rule(&[4, 3, 3]), 3 | (1 << 2));
        assert_eq!(Settle::rule(&[0, 2, 0]), 2);
    }
}
