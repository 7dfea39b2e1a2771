//! Temporary.
pub mod hdm_h {
    pub struct R { pub legal: bool, pub silent: bool, pub data: bool, pub store_meta: bool }
    pub fn req_rule(op: u8, mf: u8, snp: u8) -> R {
        let silent = op == 8;
        let data = op == 1;
        let legal = silent || (snp == 0 && match op { 1 => mf == 3 || mf == 0, 0 | 9 => mf == 0, _ => false });
        R { legal, silent, data: data, store_meta: legal && mf == 0 && !silent }
    }
    pub fn rwd_rule(op: u8, mf: u8, snp: u8, be: bool) -> R {
        let legal = snp == 0 && (mf == 3 || mf == 0) && ((op == 1 && !be) || (op == 2 && be));
        R { legal, silent: false, data: false, store_meta: legal && mf == 0 }
    }
}
