//! Exhaustive models: the protocol's own rules ([`cxlmem_protocol`]), explored in every order of events with the crate `stateright`.
//!
//! A model is not the RTL. It says that the rules are right; tests that compare RTL and host with the same rules say that they
//! are kept.

pub mod coherence;
mod queue;
pub mod retry;
