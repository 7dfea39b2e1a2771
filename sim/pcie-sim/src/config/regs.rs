//! Offsets and bits of configuration space, as numbered by the PCIe books. Offsets in bytes.

/// Vendor ID (16 bits), Device ID above it.
pub const VENDOR: u16 = 0x00;
/// Command.
pub const COMMAND: u16 = 0x04;
/// Status.
pub const STATUS: u16 = 0x06;
/// Revision ID (8 bits), Class Code (24 bits) above it.
pub const REVISION_CLASS: u16 = 0x08;
/// Header Type; bit 7 says that the device has several functions.
pub const HEADER_TYPE: u16 = 0x0E;
/// First Base Address Register of six.
pub const BAR0: u16 = 0x10;
/// Subsystem Vendor ID, Subsystem ID above it.
pub const SUBSYSTEM: u16 = 0x2C;
/// Offset of the first capability.
pub const CAP_POINTER: u16 = 0x34;
/// Interrupt Line.
pub const INTERRUPT_LINE: u16 = 0x3C;
/// First extended capability.
pub const EXTENDED: u16 = 0x100;
/// Bytes in the configuration space of a function.
pub const SPACE: u16 = 0x1000;

/// Command: Memory Space Enable.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// Command: Bus Master Enable.
pub const COMMAND_BUS_MASTER: u16 = 1 << 2;
/// Command: Parity Error Response.
pub const COMMAND_PARITY: u16 = 1 << 6;
/// Command: SERR# Enable.
pub const COMMAND_SERR: u16 = 1 << 8;
/// Command: Interrupt Disable.
pub const COMMAND_INTX_DISABLE: u16 = 1 << 10;
/// Status: Capabilities List.
pub const STATUS_CAPABILITIES: u16 = 1 << 4;
/// Status: Signaled System Error.
pub const STATUS_SIGNALED_ERROR: u16 = 1 << 14;
/// Status: Detected Parity Error (a poisoned TLP was received).
pub const STATUS_PARITY_ERROR: u16 = 1 << 15;

/// Capability IDs.
pub mod cap {
    /// Power Management.
    pub const POWER: u8 = 0x01;
    /// PCI Express.
    pub const PCIE: u8 = 0x10;
    /// MSI-X.
    pub const MSIX: u8 = 0x11;
}

/// Extended capability IDs.
pub mod ext_cap {
    /// Advanced Error Reporting.
    pub const AER: u16 = 0x0001;
    /// Device Serial Number.
    pub const SERIAL: u16 = 0x0003;
    /// Designated Vendor-Specific.
    pub const DVSEC: u16 = 0x0023;
}

/// Power Management capability, offsets from its start.
pub mod power {
    /// Control/Status; bits 1:0 are the power state.
    pub const CONTROL: u16 = 4;
}

/// PCI Express capability, offsets from its start.
pub mod pcie {
    /// Device Capabilities (32 bits).
    pub const DEV_CAP: u16 = 0x04;
    /// Device Capabilities: Function Level Reset.
    pub const DEV_CAP_FLR: u32 = 1 << 28;
    /// Device Control.
    pub const DEV_CTL: u16 = 0x08;
    /// Device Control: Initiate Function Level Reset; reads zero.
    pub const DEV_CTL_FLR: u16 = 1 << 15;
    /// Device Status.
    pub const DEV_STA: u16 = 0x0A;
    /// Link Capabilities (32 bits).
    pub const LINK_CAP: u16 = 0x0C;
    /// Link Control.
    pub const LINK_CTL: u16 = 0x10;
    /// Link Status.
    pub const LINK_STA: u16 = 0x12;
    /// Device Control 2.
    pub const DEV_CTL2: u16 = 0x28;
    /// Link Capabilities 2 (32 bits).
    pub const LINK_CAP2: u16 = 0x2C;
    /// Link Control 2.
    pub const LINK_CTL2: u16 = 0x30;
    /// Bytes in the capability (version 2).
    pub const LENGTH: u16 = 0x3C;

    /// Device Control and Status: correctable error.
    pub const CORRECTABLE: u16 = 1 << 0;
    /// Device Control and Status: non-fatal error.
    pub const NON_FATAL: u16 = 1 << 1;
    /// Device Control and Status: fatal error.
    pub const FATAL: u16 = 1 << 2;
    /// Device Control and Status: unsupported request.
    pub const UNSUPPORTED: u16 = 1 << 3;
    /// Link Control: Read Completion Boundary is 128 bytes.
    pub const LINK_CTL_RCB_128: u16 = 1 << 3;
}

/// MSI-X capability, offsets from its start, and table layout.
pub mod msix {
    /// Message Control.
    pub const CONTROL: u16 = 2;
    /// Table offset (31:3) and BAR (2:0).
    pub const TABLE: u16 = 4;
    /// Pending-bit array offset (31:3) and BAR (2:0).
    pub const PBA: u16 = 8;
    /// Message Control: MSI-X Enable.
    pub const ENABLE: u16 = 1 << 15;
    /// Message Control: Function Mask.
    pub const FUNCTION_MASK: u16 = 1 << 14;
    /// Bytes in a table entry: address low, address high, data, vector control.
    pub const ENTRY: u64 = 16;
    /// Vector Control: masked.
    pub const VECTOR_MASKED: u32 = 1;
}

/// Advanced Error Reporting, offsets from its start.
pub mod aer {
    /// Uncorrectable Error Status.
    pub const UNCORRECTABLE: u16 = 0x04;
    /// Uncorrectable Error Mask.
    pub const UNCORRECTABLE_MASK: u16 = 0x08;
    /// Uncorrectable Error Severity; a set bit is fatal.
    pub const SEVERITY: u16 = 0x0C;
    /// Correctable Error Status.
    pub const CORRECTABLE: u16 = 0x10;
    /// Correctable Error Mask.
    pub const CORRECTABLE_MASK: u16 = 0x14;
    /// Capabilities and Control; bits 4:0 are the first error pointer.
    pub const CONTROL: u16 = 0x18;
    /// Four DWs of header log.
    pub const HEADER_LOG: u16 = 0x1C;
    /// Bytes in the capability of an endpoint (version 1).
    pub const LENGTH: u16 = 0x2C;

    /// Every uncorrectable error that version 1 defines, and internal errors.
    pub const UNCORRECTABLE_BITS: u32 = 0x005F_F030;
    /// Correctable errors.
    pub const CORRECTABLE_BITS: u32 = 0x0000_F1C1;
    /// Correctable: Advisory Non-Fatal.
    pub const ADVISORY: u32 = 1 << 13;
    /// Severity after reset.
    pub const DEFAULT_SEVERITY: u32 = 0x0046_2030;
    /// Uncorrectable mask after reset: internal errors.
    pub const DEFAULT_MASK: u32 = 0x0040_0000;
    /// Correctable mask after reset: advisory non-fatal, corrected internal, header log overflow.
    pub const DEFAULT_CORRECTABLE_MASK: u32 = 0x0000_E000;
}

/// DVSEC, offsets from its start.
pub mod dvsec {
    /// Length (31:20), revision (19:16), vendor (15:0).
    pub const HEADER1: u16 = 4;
    /// DVSEC ID (16 bits); the body starts in the upper half of this DW.
    pub const ID: u16 = 8;
    /// First byte of the body.
    pub const BODY: u16 = 10;
}
