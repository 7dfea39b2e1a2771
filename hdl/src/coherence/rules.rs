//! The protocol's HDM-H rules as hardware: each table is enumerated from the same Rust function that the host model and the
//! documentation use (`cxlmem_protocol::hdm_h`), so it is written once.

use cxlmem_protocol::hdm_h;
use rust_hdl::prelude::*;

/// What to do with an M2S Req (`cxl-mem 2.2`, departures G-03, G-11).
#[derive(LogicBlock, Default)]
pub struct ReqRule {
    pub opcode: Signal<In, Bits<4>>,
    pub meta_field: Signal<In, Bits<2>>,
    pub snp_type: Signal<In, Bits<3>>,
    /// In the accepted set.
    pub legal: Signal<Out, Bit>,
    /// No completion (MemSpecRd).
    pub silent: Signal<Out, Bit>,
    /// Answered with data on DRS, else with NDR.
    pub data: Signal<Out, Bit>,
    /// Meta0 is returned and replaced.
    pub store_meta: Signal<Out, Bit>,
}

impl Logic for ReqRule {
    fn update(&mut self) {
        let rule = hdm_h::req_rule(
            self.opcode.val().to_u8(),
            self.meta_field.val().to_u8(),
            self.snp_type.val().to_u8(),
        );
        self.legal.next = rule.legal;
        self.silent.next = rule.silent;
        self.data.next = rule.data;
        self.store_meta.next = rule.store_meta;
    }
    fn connect(&mut self) {
        self.legal.connect();
        self.silent.connect();
        self.data.connect();
        self.store_meta.connect();
    }
    fn hdl(&self) -> Verilog {
        let table = case_table(
            &[("opcode", 4), ("meta_field", 2), ("snp_type", 3)],
            "{store_meta, data, silent, legal}",
            4,
            |v| {
                let r = hdm_h::req_rule(v[0], v[1], v[2]);
                bits_of(&[r.legal, r.silent, r.data, r.store_meta])
            },
        );
        Verilog::Custom(table)
    }
}

/// What to do with an M2S RwD.
#[derive(LogicBlock, Default)]
pub struct RwdRule {
    pub opcode: Signal<In, Bits<4>>,
    pub meta_field: Signal<In, Bits<2>>,
    pub snp_type: Signal<In, Bits<3>>,
    /// A byte-enable chunk came with it.
    pub be: Signal<In, Bits<1>>,
    pub legal: Signal<Out, Bit>,
    pub store_meta: Signal<Out, Bit>,
}

impl Logic for RwdRule {
    fn update(&mut self) {
        let rule = hdm_h::rwd_rule(
            self.opcode.val().to_u8(),
            self.meta_field.val().to_u8(),
            self.snp_type.val().to_u8(),
            self.be.val().any(),
        );
        self.legal.next = rule.legal;
        self.store_meta.next = rule.store_meta;
    }
    fn connect(&mut self) {
        self.legal.connect();
        self.store_meta.connect();
    }
    fn hdl(&self) -> Verilog {
        let table = case_table(
            &[("opcode", 4), ("meta_field", 2), ("snp_type", 3), ("be", 1)],
            "{store_meta, legal}",
            2,
            |v| {
                let r = hdm_h::rwd_rule(v[0], v[1], v[2], v[3] != 0);
                bits_of(&[r.legal, r.store_meta])
            },
        );
        Verilog::Custom(table)
    }
}

/// Lowest bit first.
pub(super) fn bits_of(flags: &[bool]) -> u64 {
    flags
        .iter()
        .enumerate()
        .map(|(i, f)| u64::from(*f) << i)
        .sum()
}

/// A `case` over the concatenated inputs; the most frequent outcome becomes the default.
pub(super) fn case_table(
    inputs: &[(&str, u32)],
    outputs: &str,
    width: u32,
    rule: impl Fn(&[u8]) -> u64,
) -> String {
    let total: u32 = inputs.iter().map(|(_, w)| w).sum();
    let mut rows = Vec::new();
    for word in 0..1u32 << total {
        let mut rest = word;
        let values: Vec<u8> = inputs
            .iter()
            .map(|(_, w)| {
                let v = rest & ((1 << w) - 1);
                rest >>= w;
                v as u8
            })
            .collect();
        rows.push((word, rule(&values)));
    }
    let common = (0..1u64 << width)
        .max_by_key(|o| rows.iter().filter(|r| r.1 == *o).count())
        .unwrap_or(0);
    let subject = inputs
        .iter()
        .rev()
        .map(|(n, _)| *n)
        .collect::<Vec<_>>()
        .join(", ");
    let mut code = format!("always @(*) case ({{{subject}}})\n");
    for (word, out) in rows.iter().filter(|r| r.1 != common) {
        code += &format!("  {total}'h{word:x}: {outputs} = {width}'h{out:x};\n");
    }
    code + &format!("  default: {outputs} = {width}'h{common:x};\nendcase\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Typed in from the reference (2.2, 1.3, 1.4): opcode, MetaField, SnpType -> legal, silent, data, store_meta.
    #[test]
    fn request_rules() {
        for (op, mf, snp, want) in [
            (1, 3, 0, (true, false, true, false)),    // MemRd, No-Op
            (1, 0, 0, (true, false, true, true)),     // MemRd, Meta0
            (1, 1, 0, (false, false, true, false)),   // MemRd, EMS
            (1, 2, 0, (false, false, true, false)),   // MemRd, reserved MetaField
            (1, 3, 1, (false, false, true, false)),   // MemRd, SnpData
            (0, 0, 0, (true, false, false, true)),    // MemInv, Meta0
            (9, 0, 0, (true, false, false, true)),    // MemInvNT, Meta0
            (8, 2, 7, (true, true, false, false)),    // MemSpecRd: its other fields are reserved
            (2, 0, 0, (false, false, true, false)),   // MemRdData: HDM-D/DB only
            (10, 0, 0, (false, false, false, false)), // MemClnEvct: HDM-DB only
            (7, 3, 0, (false, false, false, false)),  // reserved opcode
        ] {
            let f = hdm_h::req_rule(op, mf, snp);
            assert_eq!(
                (f.legal, f.silent, f.data, f.store_meta),
                want,
                "opcode {op} MetaField {mf} SnpType {snp}"
            );
        }
    }

    #[test]
    fn write_rules() {
        for (op, mf, snp, be, want) in [
            (1, 3, 0, false, (true, false)),  // MemWr
            (1, 0, 0, false, (true, true)),   // MemWr, Meta0
            (1, 3, 0, true, (false, false)),  // MemWr with byte enables
            (2, 3, 0, true, (true, false)),   // MemWrPtl
            (2, 3, 0, false, (false, false)), // MemWrPtl without byte enables
            (4, 3, 0, false, (false, false)), // BIConflict: HDM-DB only
            (1, 3, 3, false, (false, false)), // MemWr, SnpInv
        ] {
            let r = hdm_h::rwd_rule(op, mf, snp, be);
            assert_eq!((r.legal, r.store_meta), want, "opcode {op} MetaField {mf}");
        }
    }
}
