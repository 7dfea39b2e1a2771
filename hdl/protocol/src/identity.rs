//! Who the device says it is in configuration space (cxl-mem 4.1, 4.2).
//!
//! Vendor and device id are this project's own choice for simulation and experiments, assigned by nobody: no product may carry them.

/// Vendor id.
pub const VENDOR_ID: u16 = 0xC31E;
/// Device id.
pub const DEVICE_ID: u16 = 0x0068;
/// Class code: memory controller, CXL memory device.
pub const CLASS: u32 = 0x05_0210;
/// Vendor id in the CXL DVSECs.
pub const DVSEC_VENDOR: u16 = 0x1E98;
/// DVSEC id of the CXL device.
pub const DVSEC_DEVICE: u16 = 0;
/// DVSEC id of the register locator.
pub const DVSEC_LOCATOR: u16 = 8;
