#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod beats;
pub mod bus;
pub mod completion;
pub mod config;
pub mod faults;
pub mod function;
pub mod host;
pub mod memory;
mod rng;
pub mod root;
pub mod tlp;

pub use beats::{Beat, BeatDecoder, BeatEncoder};
pub use bus::Bus;
pub use config::{ConfigAccess, ConfigSpace};
pub use function::Function;
pub use host::{Blocking, MmioAccess, RequestError, RequestId, RootComplex};
pub use memory::{HostMem, HostMemory, SharedRegion};
pub use tlp::{Bdf, Kind, Limits, Malformed, Packet, Tlp};
