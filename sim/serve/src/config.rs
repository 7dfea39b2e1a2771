//! Configuration space as the client sees it.

use cxlmem_sim::System;
use pcie_sim::config::regs::{BAR0, SPACE};

/// BAR registers.
const BARS: u16 = 6;

/// The BARs as the client programmed them. Inside, the function keeps the addresses that enumeration gave it: what the client maps where is the client's matter, as it is
/// with VFIO in the kernel.
pub(crate) struct BarView {
    values: [u32; BARS as usize],
    masks: [u32; BARS as usize],
    flags: [u32; BARS as usize],
}

impl BarView {
    pub(crate) fn new(system: &System) -> Self {
        let (mut masks, mut flags) = ([0; 6], [0; 6]);
        for bar in system.config_space().bars() {
            let n = usize::from(bar.index);
            let mask = !(bar.size - 1);
            masks[n] = mask as u32;
            flags[n] = u32::from(bar.is_64) << 2 | u32::from(bar.prefetchable) << 3;
            if bar.is_64 {
                masks[n + 1] = (mask >> 32) as u32;
            }
        }
        Self {
            values: [0; 6],
            masks,
            flags,
        }
    }

    /// As at power-on.
    pub(crate) fn reset(&mut self) {
        self.values = [0; 6];
    }

    /// Which BAR register a DW of configuration space is.
    fn index(dw: u16) -> Option<usize> {
        (BAR0..BAR0 + 4 * BARS)
            .contains(&dw)
            .then(|| usize::from(dw - BAR0) / 4)
    }

    /// Fills `out` from byte `offset` on; zero beyond the end.
    pub(crate) fn read(&self, system: &System, offset: u64, out: &mut [u8]) {
        for (at, byte) in (offset..).zip(out) {
            let Some(at) = u16::try_from(at).ok().filter(|at| *at < SPACE) else {
                *byte = 0;
                continue;
            };
            let dw = at & !3;
            let value = match Self::index(dw) {
                Some(n) => self.values[n] | self.flags[n],
                None => system.config_space().read(dw),
            };
            *byte = value.to_le_bytes()[usize::from(at - dw)];
        }
    }

    /// Writes `data` from byte `offset` on. True: a Function Level Reset was asked for.
    pub(crate) fn write(&mut self, system: &mut System, offset: u64, data: &[u8]) -> bool {
        let end = offset.saturating_add(data.len() as u64);
        let mut reset = false;
        let mut dw = offset & !3;
        while dw < end.min(u64::from(SPACE)) {
            let (mut bytes, mut enables) = ([0; 4], 0u8);
            for n in 0..4u64 {
                let at = dw + n;
                if (offset..end).contains(&at) {
                    bytes[n as usize] = data[(at - offset) as usize];
                    enables |= 1 << n;
                }
            }
            let value = u32::from_le_bytes(bytes);
            match Self::index(dw as u16) {
                Some(n) => {
                    let lanes = (0..4)
                        .filter(|l| enables >> l & 1 != 0)
                        .fold(0, |m, l| m | 0xFF << (8 * l));
                    self.values[n] = (self.values[n] & !lanes | value & lanes) & self.masks[n];
                }
                None => reset |= system.write_config_space(dw as u16, value, enables),
            }
            dw += 4;
        }
        reset
    }
}
