//! What a server counts.

use serde_json::{Map, Value};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Makes [`Counters`] and its JSON from one list.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Counts since the server began, for any thread to read.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)*
        }

        impl Counters {
            /// All of them by name, and the sum of the errors.
            pub fn to_json(&self) -> Map<String, Value> {
                let mut all = Map::new();
                all.insert("errors".into(), self.errors().into());
                $(all.insert(stringify!($name).into(), self.$name.load(Relaxed).into());)*
                all
            }
        }
    };
}

counters! {
    /// Clients that came.
    clients,
    /// Accesses to configuration space, read.
    config_reads,
    /// Accesses to configuration space, write.
    config_writes,
    /// DWs read from registers.
    register_reads,
    /// DWs written to registers.
    register_writes,
    /// Loads of device memory that were CXL.mem transactions.
    window_loads,
    /// Stores to device memory that were CXL.mem transactions.
    window_stores,
    /// DMA ranges mapped.
    dma_maps,
    /// DMA ranges without a file, which the device cannot reach.
    dma_maps_ignored,
    /// DMA ranges unmapped.
    dma_unmaps,
    /// Bytes that the device read from memory of the client.
    dma_bytes_read,
    /// Bytes that the device wrote to memory of the client.
    dma_bytes_written,
    /// Interrupts passed on.
    irqs,
    /// Interrupts lost on purpose.
    irqs_lost,
    /// Interrupts for which the client gave no event.
    irqs_unheard,
    /// Resets of the function.
    resets,
    /// Cycles of the controller.
    rtl_cycles,
    /// Of those, cycles with something to do.
    busy_cycles,
    /// Error: an access was not answered in time; a read gave all ones.
    late,
    /// Error: a write was dropped because too many waited.
    dropped,
    /// Error: an access that no region takes, or of a size that it does not take.
    refused,
    /// Error: a register did not answer, or memory space was off.
    register_errors,
    /// Error: device memory was reached without a committed and enabled decoder, or without link.
    undecoded,
    /// Error: the link gave no answer, or the device does not decode the address.
    window_errors,
    /// A load met poison; it gave all ones.
    poisoned_loads,
    /// Error: accesses of the controller beyond the memory behind its external port.
    out_of_range,
}

impl Counters {
    /// Counts one.
    pub(crate) fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Errors of all kinds.
    pub fn errors(&self) -> u64 {
        [
            &self.late,
            &self.dropped,
            &self.refused,
            &self.register_errors,
            &self.undecoded,
            &self.window_errors,
            &self.out_of_range,
        ]
        .iter()
        .map(|c| c.load(Relaxed))
        .sum()
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let of = |c: &AtomicU64| c.load(Relaxed);
        format!(
            "{} clients; registers {} read, {} written; device memory {} loads, {} stores; DMA {} bytes read, {} written; {} interrupts; \
             {} busy of {} cycles; {} errors",
            of(&self.clients),
            of(&self.register_reads),
            of(&self.register_writes),
            of(&self.window_loads),
            of(&self.window_stores),
            of(&self.dma_bytes_read),
            of(&self.dma_bytes_written),
            of(&self.irqs),
            of(&self.busy_cycles),
            of(&self.rtl_cycles),
            self.errors(),
        )
    }
}
