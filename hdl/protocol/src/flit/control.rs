//! Control flits (cxl-mem 3.6): Type = 1, content in slot 0 only.

use super::{Flit, FlitHeader};

/// LLCTRL codes.
pub mod llctrl {
    /// Credits and acknowledgements.
    pub const LLCRD: u8 = 0;
    /// Link-level retry; never counted as retryable.
    pub const RETRY: u8 = 1;
    /// Integrity and encryption.
    pub const IDE: u8 = 2;
    /// Initialisation.
    pub const INIT: u8 = 12;
}

/// Version that INIT.Param carries for CXL 2.0 or later.
pub const INIT_VERSION: u8 = 2;

/// INIT.Param payload bits 63:52 of an end that offers extensions of this project; bits 51:48 say which (cxl-mem 8.2, 8.4).
pub const EXTENSIONS: u16 = 0xB160;

/// Bit of the signature that offers sequence numbers in the CRC (cxl-mem 8.4).
pub const SEQ: u16 = 1;

/// What SEQ mixes into the CRC of a retryable flit beside its number: a bit that no number has, so that RETRY.* and INIT.Param, which
/// carry nothing, are never taken for a flit with a number.
pub const NUMBERED: u16 = 0x40;

/// Bit of the signature that offers back-invalidate in 68-byte flits (cxl-mem 8.2).
pub const BI68: u16 = 8;

/// Snoops that this project's device has out at most: as many BITags it uses, and credits for BIRsp it gives.
pub const BI_TAGS: u16 = 4;

/// Signature of an end that offers the extensions in `bits`; 0 if it offers none.
pub const fn signature(bits: u16) -> u16 {
    if bits == 0 {
        0
    } else {
        EXTENSIONS | bits
    }
}

/// The extensions that `signature` offers.
pub const fn options(signature: u16) -> u16 {
    if signature & 0xfff0 == EXTENSIONS {
        signature & 15
    } else {
        0
    }
}

/// A control flit's content. Credits are in the flit header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Control {
    /// LLCRD.Acknowledge: credit return (in the header) and an exact number of acknowledged flits.
    #[serde(rename = "LLCRD.Acknowledge")]
    LlcrdAck {
        /// Acknowledged flits, 0 to 255.
        #[serde(rename = "Ack")]
        ack: u8,
    },
    /// RETRY.Idle.
    #[serde(rename = "RETRY.Idle")]
    RetryIdle,
    /// RETRY.Frame.
    #[serde(rename = "RETRY.Frame")]
    RetryFrame,
    /// RETRY.Req.
    #[serde(rename = "RETRY.Req")]
    RetryReq {
        /// Sequence number expected next.
        #[serde(rename = "ESeq")]
        eseq: u8,
        /// Attempts so far, 5 bits.
        #[serde(rename = "NUM_RETRY", default)]
        num_retry: u8,
        /// Physical re-initialisations so far, 5 bits.
        #[serde(rename = "NUM_PHY_REINIT", default)]
        num_phy_reinit: u8,
    },
    /// RETRY.Ack.
    #[serde(rename = "RETRY.Ack")]
    RetryAck {
        /// Nothing to replay.
        #[serde(rename = "Empty", default)]
        empty: bool,
        /// The sender is viral.
        #[serde(rename = "Viral", default)]
        viral: bool,
        /// Echo of the request's count, 5 bits.
        #[serde(rename = "NUM_RETRY", default)]
        num_retry: u8,
        /// Sender's write pointer.
        #[serde(rename = "WrPtr", default)]
        wr_ptr: u8,
        /// Echo of the request's sequence number.
        #[serde(rename = "ESeq")]
        eseq: u8,
        /// Sender's free entries.
        #[serde(rename = "NumFreeBuf", default)]
        num_free_buf: u8,
        /// Viral logical devices.
        #[serde(rename = "ViralLdId", default)]
        viral_ld: u16,
    },
    /// An IDE flit: SubType 0 Idle, 1 Start, 2 TMAC. Recognised, not handled.
    #[serde(rename = "IDE")]
    Ide {
        /// SubType.
        #[serde(rename = "SubType")]
        sub_type: u8,
    },
    /// INIT.Param.
    #[serde(rename = "INIT.Param")]
    InitParam {
        /// 1 = CXL 1.0/1.1, 2 = CXL 2.0 or later.
        #[serde(rename = "Version")]
        version: u8,
        /// Wrap value of the sender's retry buffer.
        #[serde(rename = "LLRWrap")]
        llr_wrap: u8,
        /// Project extension in payload bits 63:48; 0 = none.
        #[serde(rename = "Signature", default)]
        signature: u16,
    },
}

impl Control {
    /// Name in the reference.
    pub const fn name(&self) -> &'static str {
        match self {
            Control::LlcrdAck { .. } => "LLCRD.Acknowledge",
            Control::RetryIdle => "RETRY.Idle",
            Control::RetryFrame => "RETRY.Frame",
            Control::RetryReq { .. } => "RETRY.Req",
            Control::RetryAck { .. } => "RETRY.Ack",
            Control::Ide { sub_type: 0 } => "IDE.Idle",
            Control::Ide { sub_type: 1 } => "IDE.Start",
            Control::Ide { .. } => "IDE.TMAC",
            Control::InitParam { .. } => "INIT.Param",
        }
    }

    /// True if the flit enters the retry buffer and counts for acknowledgement.
    pub const fn retryable(&self) -> bool {
        !matches!(
            self,
            Control::RetryIdle
                | Control::RetryFrame
                | Control::RetryReq { .. }
                | Control::RetryAck { .. }
        )
    }

    /// The flit, with `header` for its credits (used by LLCRD only: elsewhere the fields are reserved and sent as zero).
    pub fn flit(&self, header: FlitHeader) -> Flit {
        let mut head = FlitHeader {
            control: 1,
            ..Default::default()
        };
        let (ctrl, sub, payload) = match *self {
            Control::LlcrdAck { ack } => {
                head = FlitHeader {
                    control: 1,
                    ak: ack >> 3 & 1,
                    rsp_crd: header.rsp_crd,
                    req_crd: header.req_crd,
                    data_crd: header.data_crd,
                    ..Default::default()
                };
                (
                    llctrl::LLCRD,
                    1,
                    u64::from(ack & 7) | u64::from(ack >> 4) << 4,
                )
            }
            Control::RetryIdle => (llctrl::RETRY, 0, 0),
            Control::RetryReq {
                eseq,
                num_retry,
                num_phy_reinit,
            } => (
                llctrl::RETRY,
                1,
                u64::from(eseq)
                    | u64::from(num_retry & 31) << 16
                    | u64::from(num_phy_reinit & 31) << 21,
            ),
            Control::RetryAck {
                empty,
                viral,
                num_retry,
                wr_ptr,
                eseq,
                num_free_buf,
                viral_ld,
            } => (
                llctrl::RETRY,
                2,
                u64::from(empty)
                    | u64::from(viral) << 1
                    | u64::from(num_retry & 31) << 3
                    | u64::from(wr_ptr) << 8
                    | u64::from(eseq) << 16
                    | u64::from(num_free_buf) << 24
                    | u64::from(viral_ld) << 32,
            ),
            Control::RetryFrame => (llctrl::RETRY, 3, 0),
            Control::Ide { sub_type } => (llctrl::IDE, sub_type & 15, 0),
            Control::InitParam {
                version,
                llr_wrap,
                signature,
            } => (
                llctrl::INIT,
                8,
                u64::from(version & 15) | u64::from(llr_wrap) << 24 | u64::from(signature) << 48,
            ),
        };
        let slot = u128::from(head.pack())
            | u128::from(ctrl) << 32
            | u128::from(sub) << 36
            | u128::from(payload) << 64;
        Flit::new([slot, 0, 0, 0])
    }

    /// Reads slot 0 of a control flit. Reserved bits are ignored.
    ///
    /// # Errors
    /// `(LLCTRL, SubType)` if the pair is reserved.
    pub fn unpack(slot0: u128) -> Result<Self, (u8, u8)> {
        let (ctrl, sub) = ((slot0 >> 32) as u8 & 15, (slot0 >> 36) as u8 & 15);
        let p = (slot0 >> 64) as u64;
        let byte = |lsb: u32| (p >> lsb) as u8;
        Ok(match (ctrl, sub) {
            (llctrl::LLCRD, 1) => {
                let ak = FlitHeader::unpack(slot0 as u32).ak;
                Control::LlcrdAck {
                    ack: (p as u8 & 7) | ak << 3 | (byte(0) & 0xf0),
                }
            }
            (llctrl::RETRY, 0) => Control::RetryIdle,
            (llctrl::RETRY, 1) => Control::RetryReq {
                eseq: byte(0),
                num_retry: byte(16) & 31,
                num_phy_reinit: byte(21) & 31,
            },
            (llctrl::RETRY, 2) => Control::RetryAck {
                empty: p & 1 != 0,
                viral: p & 2 != 0,
                num_retry: byte(3) & 31,
                wr_ptr: byte(8),
                eseq: byte(16),
                num_free_buf: byte(24),
                viral_ld: (p >> 32) as u16,
            },
            (llctrl::RETRY, 3) => Control::RetryFrame,
            (llctrl::IDE, 0..=2) => Control::Ide { sub_type: sub },
            (llctrl::INIT, 8) => Control::InitParam {
                version: byte(0) & 15,
                llr_wrap: byte(24),
                signature: (p >> 48) as u16,
            },
            other => return Err(other),
        })
    }
}
