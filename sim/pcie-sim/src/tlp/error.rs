//! What can be wrong with a TLP.

/// A transaction layer packet that breaks a rule of the PCIe transaction layer.
///
/// A receiver drops such a packet and reports it; nothing of it is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Fmt and Type name no packet this crate carries (I/O, locked and atomic requests included).
    #[error("TLP Fmt {fmt:#05b} Type {ty:#07b}: not a packet type carried here")]
    UnknownFmtType {
        /// Bits 31:29 of the first header DW.
        fmt: u8,
        /// Bits 28:24 of the first header DW.
        ty: u8,
    },
    /// A header field holds a value that its packet does not allow.
    #[error("TLP field {field} = {value:#x}: {rule}")]
    Field {
        /// Name of the field as the PCIe books print it.
        field: &'static str,
        /// The value found.
        value: u64,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The payload (with digest) is not as long as the header says.
    #[error("TLP Length and TD promise {expected} bytes after the header, {found} came")]
    PayloadLength {
        /// Bytes the header promises.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// The payload is longer than Max_Payload_Size.
    #[error("TLP payload of {bytes} bytes exceeds Max_Payload_Size {limit}")]
    PayloadTooLong {
        /// Payload bytes.
        bytes: usize,
        /// Max_Payload_Size in bytes.
        limit: u16,
    },
    /// A read asks for more than Max_Read_Request_Size.
    #[error("TLP read of {bytes} bytes exceeds Max_Read_Request_Size {limit}")]
    ReadTooLong {
        /// Bytes asked for.
        bytes: usize,
        /// Max_Read_Request_Size in bytes.
        limit: u16,
    },
    /// A memory request crosses a 4 KiB boundary.
    #[error("TLP memory request of {bytes} bytes at {addr:#x} crosses a 4 KiB boundary")]
    Crosses4K {
        /// Address of the first DW.
        addr: u64,
        /// Length in bytes.
        bytes: usize,
    },
    /// Byte enables that the request's length and alignment do not allow.
    #[error("TLP byte enables first {first:#06b} last {last:#06b} are not allowed for {dwords} DW at {addr:#x}")]
    ByteEnables {
        /// First DW BE.
        first: u8,
        /// Last DW BE.
        last: u8,
        /// Length in DW.
        dwords: u16,
        /// Address of the first DW.
        addr: u64,
    },
    /// A serialised packet ends inside its header.
    #[error("TLP of {found} bytes ends inside its {needed}-byte header")]
    ShortHeader {
        /// Bytes found.
        found: usize,
        /// Bytes the header takes.
        needed: usize,
    },
}

impl Malformed {
    pub(crate) fn field(field: &'static str, value: impl Into<u64>, rule: &'static str) -> Self {
        Malformed::Field {
            field,
            value: value.into(),
            rule,
        }
    }
}
