//! Where device memory is: behind the memory BAR, or in memory that the client mapped for DMA.

use super::Model;
use crate::counters::Counters;
use crate::job::Done;
use crate::Mode;
use cxlmem_sim::shared::SharedMemory;
use std::io::{Error, ErrorKind};
use std::sync::Arc;

/// DMA ranges at once: more than any machine has memory slots.
const MAPS: usize = 4096;

/// A DMA range.
pub(super) struct Map {
    address: u64,
    size: u64,
    memory: Arc<SharedMemory>,
}

/// Where device memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// In the controller: the configuration has no external port.
    Inside,
    /// Behind the memory BAR.
    Bar,
    /// In a DMA range, from this address on.
    Mapped(u64),
    /// Nowhere: it has to be in a DMA range, and is in none.
    Nowhere,
}

impl Home {
    /// Name in figures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Bar => "bar",
            Self::Mapped(_) => "spm",
            Self::Nowhere => "none",
        }
    }
}

impl Model {
    pub(super) fn map(&mut self, address: u64, memory: Arc<SharedMemory>) -> Done {
        use pcie_sim::SharedRegion;
        let size = memory.size();
        if self.maps.len() >= MAPS {
            return Err(Error::other(format!("{MAPS} DMA ranges are mapped")));
        }
        self.system
            .memory_mut()
            .add_region(address, memory.clone())
            .map_err(|e| Error::new(ErrorKind::AlreadyExists, e))?;
        Counters::one(&self.counters.dma_maps);
        self.maps.push(Map {
            address,
            size,
            memory,
        });
        self.choose_home();
        Ok(())
    }

    /// Takes ranges away, once nothing is under way: a device that is still at work then gets Unsupported Request.
    pub(super) fn unmap(&mut self, address: u64, size: u64) -> Done {
        let end = address.saturating_add(size);
        let inside = |m: &Map| m.address >= address && m.address + m.size <= end;
        if self.maps.iter().any(inside) {
            self.quiesce();
        }
        let removed = self
            .system
            .memory_mut()
            .remove_regions(address, size)
            .map_err(|e| Error::new(ErrorKind::InvalidInput, e))?;
        self.maps.retain(|m| !inside(m));
        self.counters
            .dma_unmaps
            .fetch_add(removed as u64, std::sync::atomic::Ordering::Relaxed);
        self.choose_home();
        Ok(())
    }

    /// The DMA range that holds what decoder 0 decodes, and where in it.
    fn decoded_map(&self) -> Option<(&Map, u64)> {
        let d = &self.decoder;
        let bytes = d.size.min(self.system.capacity());
        let end = d.base.checked_add(bytes)?;
        let holds = |m: &&Map| m.address <= d.base && end <= m.address + m.size;
        let map = self.maps.iter().find(holds)?;
        (d.committed && d.skip == 0 && bytes > 0).then_some((map, d.base - map.address))
    }

    /// Decides where device memory is, and moves there. Called when decoder 0, the DMA ranges or the device's life change, and at no other time. What memory holds
    /// stays where it was.
    pub(super) fn choose_home(&mut self) {
        let mapped = match self.options.mode {
            Mode::Bar => None,
            Mode::Auto | Mode::Spm => self.decoded_map(),
        };
        let mapped = mapped.map(|(map, offset)| (map.memory.clone(), offset));
        let strict = self.options.mode == Mode::Spm && self.decoder.committed;
        let base = self.decoder.base;
        let own = self.behind_bar.as_ref().map(|(_, memory)| memory.clone());
        let Some(ext) = self.system.ext_mut() else {
            return;
        };
        let home = match (mapped, own) {
            (Some((memory, offset)), _) => {
                ext.share(memory, offset);
                Home::Mapped(base)
            }
            (None, Some(own)) if !strict => {
                ext.share(own, 0);
                Home::Bar
            }
            (None, _) => {
                ext.detach();
                Home::Nowhere
            }
        };
        if home != self.home {
            self.home = home;
            self.say(&match home {
                Home::Mapped(base) => {
                    format!("device memory is the client's, at {base:#x} (spm)")
                }
                Home::Nowhere => {
                    format!("decoder 0 is committed at {base:#x}, where the client mapped no memory for DMA: nothing answers (--mode spm)")
                }
                Home::Bar | Home::Inside => "device memory is behind BAR2 (bar)".into(),
            });
        }
    }
}
