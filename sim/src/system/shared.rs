//! What a process needs that puts a [`System`] in front of others: configuration space at once, memory that they map too, and whether anything is under way.

use super::System;
use crate::ext::ExtMemory;
use crate::home::golden::Golden;
use pcie_sim::config::regs::BAR0;
use pcie_sim::ConfigSpace;

impl System {
    /// Configuration space, without a cycle: it answers while the device hangs, as a PCIe hard block does.
    pub fn config_space(&self) -> &ConfigSpace {
        self.pcie.function.config()
    }

    /// Writes the enabled bytes of a DW of configuration space, without a cycle. True: the write started a Function Level Reset, which is the caller's to do
    /// ([`System::reset`]).
    pub fn write_config_space(&mut self, offset: u16, value: u32, enables: u8) -> bool {
        self.pcie
            .function
            .config_mut()
            .write(offset, value, enables);
        self.pcie.drive_config(&mut self.dut);
        self.pcie.function.config_mut().take_reset_request()
    }

    /// Configuration space as at power-on: no memory space, no bus mastering. Only the BARs keep their places, so that whoever gives this function other addresses
    /// may keep them to itself.
    pub fn unconfigure(&mut self) {
        let config = self.pcie.function.config_mut();
        let bars = (0..6).map(|n| BAR0 + 4 * n);
        let kept: Vec<_> = bars.map(|at| (at, config.read(at))).collect();
        config.reset();
        for (at, value) in kept {
            config.write(at, value, 0xF);
        }
        self.pcie.drive_config(&mut self.dut);
    }

    /// External memory, if the configuration has it, to change what is behind it.
    pub fn ext_mut(&mut self) -> Option<&mut ExtMemory> {
        self.ext.as_mut()
    }

    /// Others write device memory too: from now on, and until the next reset, no read is compared with what the host knows.
    pub fn stop_comparing(&mut self) {
        *self.home.golden_mut() = Golden::new(0, 0);
    }

    /// Nothing of the host or of the external memory is under way, and no TLP. The engine may still be at work: `EngStatus` says.
    pub fn is_quiet(&self) -> bool {
        self.pcie.is_idle()
            && self.home.is_idle()
            && self.port.open() == 0
            && self.ext.as_ref().is_none_or(ExtMemory::is_idle)
    }

    /// Fault: the next `count` completion records of the engine carry a wrong id.
    pub fn spoil_records(&mut self, count: u64) {
        self.pcie.spoil_records = count;
    }
}
