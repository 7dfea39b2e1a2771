//! The bit layouts of all messages, each written once. First field lowest (cxl-mem 0.4).

/// Calls `$cb` with the fields of an M2S Req: 68B column of cxl-mem 1.2, 87 bits.
///
/// Every `for_*_fields` macro passes `Name; field: width, field: width, ...` in bit order, bit 0 first.
#[macro_export]
macro_rules! for_m2s_req_fields {
    ($cb:ident) => {
        $cb! { M2sReq;
            valid: 1, opcode: 4, snp_type: 3, meta_field: 2, meta_value: 2, tag: 16, address: 47, tc: 2, ld_id: 4, rsvd: 6
        }
    };
}

/// Calls `$cb` with the fields of an M2S RwD header: 68B column of cxl-mem 1.2, 87 bits.
#[macro_export]
macro_rules! for_m2s_rwd_fields {
    ($cb:ident) => {
        $cb! { M2sRwd;
            valid: 1, opcode: 4, snp_type: 3, meta_field: 2, meta_value: 2, tag: 16, address: 46, poison: 1, tc: 2, ld_id: 4, rsvd: 6
        }
    };
}

/// Calls `$cb` with the fields of an M2S BIRsp (BI-68 only): cxl-mem 1.2, 40 bits.
#[macro_export]
macro_rules! for_m2s_birsp_fields {
    ($cb:ident) => {
        $cb! { M2sBiRsp;
            valid: 1, opcode: 4, bi_id: 12, bi_tag: 12, low_addr: 2, rsvd: 9
        }
    };
}

/// Calls `$cb` with the fields of an S2M BISnp (BI-68 only): cxl-mem 1.2, 84 bits.
#[macro_export]
macro_rules! for_s2m_bisnp_fields {
    ($cb:ident) => {
        $cb! { S2mBiSnp;
            valid: 1, opcode: 4, bi_id: 12, bi_tag: 12, address: 46, rsvd: 9
        }
    };
}

/// Calls `$cb` with the fields of an S2M NDR: 68B column of cxl-mem 1.2, 30 bits.
#[macro_export]
macro_rules! for_s2m_ndr_fields {
    ($cb:ident) => {
        $cb! { S2mNdr;
            valid: 1, opcode: 3, meta_field: 2, meta_value: 2, tag: 16, ld_id: 4, dev_load: 2
        }
    };
}

/// Calls `$cb` with the fields of an S2M DRS header: 68B column of cxl-mem 1.2, 40 bits.
#[macro_export]
macro_rules! for_s2m_drs_fields {
    ($cb:ident) => {
        $cb! { S2mDrs;
            valid: 1, opcode: 3, meta_field: 2, meta_value: 2, tag: 16, poison: 1, ld_id: 4, dev_load: 2, rsvd: 9
        }
    };
}
