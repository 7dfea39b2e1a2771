//! Opcodes and field encodings (cxl-mem 1.3, 1.4).

use super::FieldValue;

/// Declares a coded field: an enum with its codes, its names in the reference and what this project supports.
macro_rules! encoding {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal $text:literal $($unsupported:ident)?,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$vmeta])* #[serde(rename = $text)] $variant = $code,)*
        }

        impl $name {
            /// Every encoding that has a name, in code order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code on the wire.
            pub const fn code(self) -> u8 {
                self as u8
            }
            /// The encoding with this code, `None` if it is reserved.
            pub const fn from_code(code: u64) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }
            /// The name that the reference uses.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
            /// False for encodings that exist but that this project refuses on receipt (cxl-mem 7, G-11).
            pub const fn supported(self) -> bool {
                match self { $(Self::$variant => true $(&& encoding!(@ $unsupported))?,)* }
            }
            /// The name of a code, `None` if it is reserved.
            pub fn name_of(code: u64) -> Option<&'static str> {
                Self::from_code(code).map(Self::name)
            }
        }

        impl FieldValue for $name {
            const NAME_OF: Option<fn(u64) -> Option<&'static str>> = Some($name::name_of);
            fn to_raw(self) -> u64 {
                u64::from(self.code())
            }
            fn from_raw(raw: u64) -> Option<Self> {
                Self::from_code(raw)
            }
            fn is_supported(self) -> bool {
                self.supported()
            }
        }
    };
    (@ unsupported) => { false };
}

encoding! {
    /// Opcode of an M2S Req (cxl-mem 1.3.1).
    M2sReqOpcode {
        /// No data: ownership, invalidation or metadata update.
        #[default]
        MemInv = 0b0000 "MemInv",
        /// Read one line.
        MemRd = 0b0001 "MemRd",
        /// Read; the device decides the state (HDM-D, HDM-DB).
        MemRdData = 0b0010 "MemRdData",
        /// Host hands a read back to the device (HDM-D).
        MemRdFwd = 0b0011 "MemRdFwd",
        /// Host hands a write back to the device (HDM-D).
        MemWrFwd = 0b0100 "MemWrFwd",
        /// MemRd with TEE intent.
        MemRdTee = 0b0101 "MemRdTEE" unsupported,
        /// MemRdData with TEE intent.
        MemRdDataTee = 0b0110 "MemRdDataTEE" unsupported,
        /// Read hint without completion.
        MemSpecRd = 0b1000 "MemSpecRd",
        /// MemInv with a non-temporal hint.
        MemInvNt = 0b1001 "MemInvNT",
        /// Host dropped a clean copy (HDM-DB).
        MemClnEvct = 0b1010 "MemClnEvct",
        /// MemSpecRd with TEE intent.
        MemSpecRdTee = 0b1100 "MemSpecRdTEE" unsupported,
        /// TEE state update.
        TeUpdate = 0b1101 "TEUpdate" unsupported,
    }
}

encoding! {
    /// Opcode of an M2S RwD (cxl-mem 1.3.2).
    M2sRwdOpcode {
        /// Full-line write.
        #[default]
        MemWr = 0b0001 "MemWr",
        /// Partial write with byte enables.
        MemWrPtl = 0b0010 "MemWrPtl",
        /// A request is pending on the line that is being snooped (BI-68).
        BiConflict = 0b0100 "BIConflict",
        /// Carries 64 bytes of zeros.
        MemRdFill = 0b0101 "MemRdFill" unsupported,
        /// MemWr with TEE intent.
        MemWrTee = 0b1001 "MemWrTEE" unsupported,
        /// MemWrPtl with TEE intent.
        MemWrPtlTee = 0b1010 "MemWrPtlTEE" unsupported,
        /// MemRdFill with TEE intent.
        MemRdFillTee = 0b1101 "MemRdFillTEE" unsupported,
    }
}

encoding! {
    /// Opcode of an M2S BIRsp (cxl-mem 1.3.3).
    M2sBiRspOpcode {
        /// Host ends in I.
        #[default]
        BiRspI = 0b0000 "BIRspI",
        /// Host ends in S.
        BiRspS = 0b0001 "BIRspS",
        /// Host ends in E, and may become M silently.
        BiRspE = 0b0010 "BIRspE",
        /// I, all lines of the block.
        BiRspIBlk = 0b0100 "BIRspIBlk",
        /// S, all lines of the block.
        BiRspSBlk = 0b0101 "BIRspSBlk",
        /// E, all lines of the block.
        BiRspEBlk = 0b0110 "BIRspEBlk",
    }
}

encoding! {
    /// Opcode of an S2M BISnp (cxl-mem 1.3.4).
    S2mBiSnpOpcode {
        /// The device wants the current data.
        #[default]
        BiSnpCur = 0b0000 "BISnpCur",
        /// The host may keep at most S.
        BiSnpData = 0b0001 "BISnpData",
        /// The host must give up the line.
        BiSnpInv = 0b0010 "BISnpInv",
        /// As Cur, for a block.
        BiSnpCurBlk = 0b0100 "BISnpCurBlk",
        /// As Data, for a block.
        BiSnpDataBlk = 0b0101 "BISnpDataBlk",
        /// As Inv, for a block.
        BiSnpInvBlk = 0b0110 "BISnpInvBlk",
    }
}

encoding! {
    /// Opcode of an S2M NDR (cxl-mem 1.3.6).
    S2mNdrOpcode {
        /// Done; no cacheable state granted.
        #[default]
        Cmp = 0b000 "Cmp",
        /// Done; the host may hold S.
        CmpS = 0b001 "Cmp-S",
        /// Done; the host may hold E.
        CmpE = 0b010 "Cmp-E",
        /// Done; the host may hold M.
        CmpM = 0b011 "Cmp-M" unsupported,
        /// Answer to BIConflict.
        BiConflictAck = 0b100 "BI-ConflictAck",
        /// Cmp with TEE state.
        CmpTee = 0b101 "CmpTEE" unsupported,
    }
}

encoding! {
    /// Opcode of an S2M DRS (cxl-mem 1.3.7).
    S2mDrsOpcode {
        /// Read data.
        #[default]
        MemData = 0b000 "MemData",
        /// The device does not decode the address: all ones.
        MemDataNxm = 0b001 "MemData-NXM",
        /// Read data with TEE state.
        MemDataTee = 0b010 "MemDataTEE" unsupported,
    }
}

encoding! {
    /// MetaField (cxl-mem 1.4.1).
    MetaField {
        /// MetaValue is meaningful: read or update Meta0.
        Meta0State = 0b00 "Meta0-State",
        /// Extended metadata; 256B flits only.
        Ems = 0b01 "EMS" unsupported,
        /// No metadata: stored Meta0 stays. Also the answer of a device without metadata.
        #[default]
        NoOp = 0b11 "No-Op",
    }
}

encoding! {
    /// MetaValue (cxl-mem 1.4.2). For HDM-H the two bits are opaque: stored and given back.
    MetaValue {
        /// No host cache holds the line.
        #[default]
        I = 0b00 "I",
        /// Explicit no-op, meaningful only with EMS; opaque on HDM-H.
        ExplicitNoOp = 0b01 "Explicit-No-Op",
        /// Host may hold S, E or M.
        A = 0b10 "A",
        /// Host holds at most S.
        S = 0b11 "S",
    }
}

encoding! {
    /// SnpType: what the device does to its own caches (cxl-mem 1.4.3).
    SnpType {
        /// Do not snoop.
        #[default]
        NoOp = 0b000 "No-Op",
        /// Host wants at least S.
        SnpData = 0b001 "SnpData",
        /// Host wants the current value without caching it.
        SnpCur = 0b010 "SnpCur",
        /// Host wants the line exclusively.
        SnpInv = 0b011 "SnpInv",
    }
}

encoding! {
    /// DevLoad (cxl-mem 1.4.4).
    DevLoad {
        /// Light load.
        #[default]
        Light = 0b00 "Light-Load",
        /// Optimal load.
        Optimal = 0b01 "Optimal-Load",
        /// Moderate overload.
        Moderate = 0b10 "Moderate-Overload",
        /// Severe overload.
        Severe = 0b11 "Severe-Overload",
    }
}
