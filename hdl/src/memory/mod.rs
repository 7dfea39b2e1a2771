//! The memory: one port with independent read and write channels (`docs/developer/interfaces.md` section 3) in front of a back end,
//! and the arbiter that shares it between the link and the engine.
//!
//! Back ends: block RAM here; the same port at the pins for an external one. SDRAM and ECC come behind the same port.

pub mod arbiter;
pub mod block;
pub mod sdram;
