//! The CXL.io side: root complex, host memory and the configuration block in front of the controller's TLP pins.

use crate::dut::Dut;
use crate::rng::Rng;
use cxlmem_protocol::hdm::GRANULE;
use cxlmem_protocol::identity::{
    CLASS, DEVICE_ID, DVSEC_DEVICE, DVSEC_LOCATOR, DVSEC_VENDOR, VENDOR_ID,
};
use cxlmem_protocol::regs;
use pcie_sim::config::{ConfigError, ConfigSpace, DvsecBody, PcieEndpoint};
use pcie_sim::host::{OptionError, Options as RootOptions};
use pcie_sim::{BeatDecoder, BeatEncoder, Function, HostMemory, Limits, Packet, RootComplex, Tlp};

/// BAR of the register block, [`regs::BAR0_SIZE`] bytes.
pub const REGISTER_BAR: u8 = 0;
/// BAR that reserves the host physical addresses of HDM decoder 0. No TLP to it reaches the controller: the host's accesses go through CXL.mem.
pub const MEMORY_BAR: u8 = 2;
/// Size of the memory BAR in front of `capacity` bytes: whole granules of an HDM decoder, and a power of two.
pub const fn memory_bar_size(capacity: u64) -> u64 {
    if capacity < GRANULE {
        GRANULE
    } else {
        capacity.next_power_of_two()
    }
}

/// First host physical address of DMA memory: above 4 GiB, so that every DMA takes a 64-bit address.
pub const HOST_MEMORY_BASE: u64 = 0x1_0000_0000;

/// Timing and faults of the CXL.io side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IoOptions {
    /// Cycles from a DMA read to its first completion.
    pub read_latency: u64,
    /// Up to this many cycles more, at random.
    pub jitter: u64,
    /// Cycles until a request of the host that is not completed fails.
    pub completion_timeout: u64,
    /// Probability, each cycle, that the host does not take a beat from the controller.
    pub stall: f64,
}

impl Default for IoOptions {
    fn default() -> Self {
        Self {
            read_latency: 20,
            jitter: 0,
            completion_timeout: 10_000,
            stall: 0.0,
        }
    }
}

/// The CXL.io side cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum PcieError {
    /// Configuration space.
    #[error("configuration space: {0}")]
    Config(#[from] ConfigError),
    /// Root complex.
    #[error(transparent)]
    Root(#[from] OptionError),
}

/// Packets that may wait for the controller before the host's packets are held.
const BACKLOG: usize = 4;

/// Root complex, configuration block and the beat streams between them and the controller.
pub struct Pcie {
    pub(crate) root: RootComplex,
    pub(crate) function: Function,
    pub(crate) memory: HostMemory,
    encoder: BeatEncoder,
    decoder: BeatDecoder,
    stall: f64,
    rng: Rng,
    ready: bool,
    offered: bool,
    /// Something is queued, outstanding or under way. While it is false a cycle costs two branches.
    busy: bool,
    /// Fault: so many completion records of the engine will have a wrong id.
    pub(crate) spoil_records: u64,
}

/// Bytes of a completion record of the engine; no other write of the device has this length.
const RECORD_BYTES: usize = 32;

impl Pcie {
    /// `host_mem_bytes` of DMA memory from [`HOST_MEMORY_BASE`]; the function serves `capacity` bytes.
    pub(crate) fn new(
        options: IoOptions,
        capacity: u64,
        host_mem_bytes: usize,
        rng: &mut Rng,
    ) -> Result<Self, PcieError> {
        let root = RootComplex::new(RootOptions {
            completion_timeout: options.completion_timeout,
            read_latency: options.read_latency,
            jitter: options.jitter,
            random_split: options.jitter > 0,
            seed: rng.next_u64(),
            ..Default::default()
        })?;
        Ok(Self {
            root,
            function: Function::new(config_space(capacity)?),
            memory: HostMemory::new(HOST_MEMORY_BASE, host_mem_bytes),
            encoder: BeatEncoder::new(),
            decoder: BeatDecoder::new(),
            stall: options.stall,
            rng: rng.fork(),
            ready: false,
            offered: false,
            busy: true,
            spoil_records: 0,
        })
    }

    /// Nothing is queued, outstanding or under way.
    pub(crate) fn is_idle(&self) -> bool {
        !self.busy
    }

    /// The root complex, to issue something.
    pub(crate) fn root_mut(&mut self) -> &mut RootComplex {
        self.busy = true;
        &mut self.root
    }

    /// Drives the TLP pins for this cycle.
    #[inline]
    pub(crate) fn drive(&mut self, dut: &mut Dut) {
        let mut room = true;
        if self.busy {
            let beat = self.encoder.peek();
            self.offered = beat.is_some();
            dut.set_tlp_rx_valid(self.offered);
            if let Some(beat) = beat {
                dut.set_tlp_rx_data(beat.data());
                dut.set_tlp_rx_last(beat.last);
            }
            room = self.root.ready();
        }
        self.ready = room && !self.rng.chance(self.stall);
        dut.set_tlp_tx_ready(self.ready);
    }

    /// Passes the state of configuration space to the controller.
    pub(crate) fn drive_config(&self, dut: &mut Dut) {
        dut.set_cfg_bdf(self.function.bdf().raw());
        dut.set_cfg_bme(self.function.bus_master());
        dut.set_cfg_msix_en(self.function.msix_enabled());
        dut.set_cfg_msix_mask(self.function.msix_masked());
    }

    /// Moves beats in this cycle, after the outputs have settled.
    #[inline]
    pub(crate) fn sample(&mut self, dut: &Dut) {
        if self.offered && dut.tlp_rx_ready() {
            self.encoder.advance();
        }
        if self.ready && dut.tlp_tx_valid() {
            let beat = pcie_sim::Beat::from_data(dut.tlp_tx_data(), dut.tlp_tx_last());
            if let Some(mut packet) = self.decoder.push(beat) {
                if self.spoil_records > 0 && packet.payload.len() == RECORD_BYTES {
                    self.spoil_records -= 1;
                    packet.payload[0] ^= 0xFF;
                }
                self.function.receive_device(packet);
                self.busy = true;
            }
        }
    }

    /// Moves packets behind the beats: root complex to function to controller, and back. After the rising edge, because it changes inputs.
    #[inline]
    pub(crate) fn move_packets(&mut self, dut: &mut Dut) {
        if self.busy {
            self.move_busy(dut);
        }
    }

    fn move_busy(&mut self, dut: &mut Dut) {
        let now = dut.cycles();
        if self.function.device_backlog() < BACKLOG {
            if let Some(packet) = self.root.transmit(now) {
                self.pass_to_function(packet);
                self.drive_config(dut);
            }
        }
        while let Some(packet) = self.function.send_host() {
            self.root.receive(now, &mut self.memory, packet);
        }
        if self.encoder.is_idle() {
            if let Some(packet) = self.function.send_device() {
                // The encoder is idle: it takes the packet.
                let _ = self.encoder.start(packet);
            }
        }
        self.root.expire(now);
        // The pins were driven idle before this may become false: an idle encoder was peeked at in the cycle that just ended.
        self.busy = self.offered
            || !self.encoder.is_idle()
            || self.root.queued() > 0
            || self.root.outstanding() > 0
            || self.function.device_backlog() > 0;
    }

    /// A packet from the host. What hits the memory BAR is refused here: only CXL.mem reaches that memory.
    pub(crate) fn pass_to_function(&mut self, packet: Packet) {
        self.busy = true;
        if packet.is_memory_request() {
            if let Ok(tlp) = packet.clone().decode(&Limits::LARGEST) {
                let address = match &tlp.kind {
                    pcie_sim::Kind::MemRead(r) | pcie_sim::Kind::MemWrite(r) => Some(r.addr),
                    _ => None,
                };
                let hit = address.and_then(|a| {
                    self.function
                        .config()
                        .bar_hit(a, 4)
                        .map(|(bar, _)| bar.index)
                });
                if hit == Some(MEMORY_BAR) && self.function.config().memory_enabled() {
                    let refusal = Tlp::refuse(
                        &tlp,
                        self.function.bdf(),
                        pcie_sim::tlp::Status::UnsupportedRequest,
                    );
                    if let Some(refusal) = refusal {
                        // A refusal is a completion: it passes the function towards the host as it is.
                        self.function.receive_device(refusal.encode());
                    }
                    return;
                }
            }
        }
        self.function.receive_host(packet);
    }

    /// The controller was reset: beats under way are gone.
    pub(crate) fn reset_streams(&mut self) {
        self.encoder = BeatEncoder::new();
        self.decoder = BeatDecoder::new();
        self.busy = true;
    }
}

/// Configuration space of the function (cxl-mem 4.1, 4.2).
pub fn config_space(capacity: u64) -> Result<ConfigSpace, ConfigError> {
    ConfigSpace::builder(VENDOR_ID, DEVICE_ID, CLASS)
        .subsystem(VENDOR_ID, DEVICE_ID)
        .bar64(REGISTER_BAR, u64::from(regs::BAR0_SIZE), false)
        .bar64(MEMORY_BAR, memory_bar_size(capacity), true)
        .power_management()
        .pcie_endpoint(PcieEndpoint {
            function_level_reset: true,
            ..PcieEndpoint::default()
        })
        .msix(
            regs::MSIX_VECTORS as u16,
            REGISTER_BAR,
            regs::MSIX_TABLE,
            regs::MSIX_PBA,
        )
        .aer()
        .serial_number(u64::from(regs::Id::RESET))
        .dvsec(cxl_device_dvsec(capacity))
        .dvsec(register_locator_dvsec())
        .build()
}

/// The CXL device DVSEC (id 0): io and mem capable, one HDM range, valid and active.
fn cxl_device_dvsec(capacity: u64) -> DvsecBody {
    // The body starts at offset 0x0A of the capability.
    let at = |offset: usize| offset - 0x0A;
    let mut body = vec![0u8; 0x3C - 0x0A];
    let mut writable = vec![0u8; 0x3C - 0x0A];
    // Capability: io, mem, one range. Control: mem enable is software's to set, io is always on.
    body[at(0x0A)] = 1 << 1 | 1 << 2 | 1 << 4;
    body[at(0x0C)] = 1 << 1;
    writable[at(0x0C)] = 1 << 2;
    // Lock.
    writable[at(0x14)] = 1;
    // Range 1: size in units of 256 MiB, so a small memory shows one unit (the capacity register has the exact size); valid, active.
    let size = capacity.next_multiple_of(GRANULE);
    body[at(0x18)..at(0x1C)].copy_from_slice(&((size >> 32) as u32).to_le_bytes());
    body[at(0x1C)..at(0x20)].copy_from_slice(&(size as u32 & 0xF000_0000 | 0b11).to_le_bytes());
    // Range 1 base.
    writable[at(0x20)..at(0x24)].fill(0xFF);
    writable[at(0x24)..at(0x28)].copy_from_slice(&0xF000_0000u32.to_le_bytes());
    DvsecBody {
        vendor: DVSEC_VENDOR,
        revision: 3,
        id: DVSEC_DEVICE,
        body,
        writable,
        clear_on_one: Vec::new(),
    }
}

/// The register locator (id 8): the component registers (block 1) are all of BAR0.
fn register_locator_dvsec() -> DvsecBody {
    // Entries start at offset 0x0C of the capability, the body at 0x0A.
    let mut body = vec![0u8; 2 + 8];
    body[2] = REGISTER_BAR;
    body[3] = 1;
    DvsecBody {
        vendor: DVSEC_VENDOR,
        revision: 0,
        id: DVSEC_LOCATOR,
        body,
        writable: Vec::new(),
        clear_on_one: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_reads_back() {
        let c = config_space(32 << 20).unwrap();
        assert_eq!(c.read(0), u32::from(VENDOR_ID) | u32::from(DEVICE_ID) << 16);
        assert_eq!(c.read(8) >> 8, 0x050210);
    }
}
