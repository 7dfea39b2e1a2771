//! Everything together: the controller, the link and home agent of the host, the host's cache, CXL.io, and external memory if the configuration has it.

mod coherent;
mod io;
mod lines;
mod shared;

pub use coherent::{HostCounters, Recall};
pub use lines::Access;

use crate::coherent::{AgentError, Loss};
use crate::dut::{Dut, DutError};
use crate::ext::{ExtMemory, ExtTiming};
use crate::home::cache::{Cache, CacheShape};
use crate::home::golden::{Golden, LINE};
use crate::home::{Done, Home, HomeError, HomeOptions, Op, Ticket};
use crate::link::{Faults, HostLink, Response};
use crate::pcie::{IoOptions, Pcie, PcieError, MEMORY_BAR, REGISTER_BAR};
use crate::port::DevicePort;
use crate::rng::Rng;
use cxlmem_hdl::{Backend, Config};
use cxlmem_protocol::hdm_db::Dir;
use pcie_sim::config::AccessError;
use pcie_sim::root::{enumerate, EnumerateError, FoundFunction, MsixError, Plan};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;

/// Choices for one simulation. Equal options give equal runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of every random decision.
    pub seed: u64,
    /// Host memory that the device reaches by DMA, bytes.
    pub host_mem_bytes: usize,
    /// What the wire does wrong.
    pub faults: Faults,
    /// FST trace from the first cycle on; needs a build with feature `trace`.
    pub trace: Option<PathBuf>,
    /// Record the controller's inputs from power-on, for [`Dut::replay`].
    pub record: bool,
    /// Home agent.
    pub home: HomeOptions,
    /// Host cache.
    pub cache: CacheShape,
    /// External memory, for configurations that have it.
    pub ext: ExtTiming,
    /// [`System::bring_up`] offers BI-68 at both ends (cxl-mem 8.2).
    pub back_invalidate: bool,
    /// HDM decoder 0 is device-coherent (HDM-DB), with BI-68: for a home agent that answers snoops ([`System::replace_home`]).
    pub device_coherent: bool,
    /// CXL.io side.
    pub io: IoOptions,
    /// A flushed range may be written by the device afterwards: reads of it are not compared with what was flushed. Turn this off in tests that do not use the engine.
    pub forget_on_flush: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            host_mem_bytes: 64 << 20,
            faults: Faults::default(),
            trace: None,
            record: false,
            home: HomeOptions::default(),
            cache: CacheShape::default(),
            ext: ExtTiming::default(),
            back_invalidate: false,
            device_coherent: false,
            io: IoOptions::default(),
            forget_on_flush: true,
        }
    }
}

/// Why the simulation could not be set up, or an access failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// Model.
    #[error(transparent)]
    Dut(#[from] DutError),
    /// CXL.io side.
    #[error(transparent)]
    Pcie(#[from] PcieError),
    /// Enumeration.
    #[error("enumeration: {0}")]
    Enumerate(#[from] EnumerateError),
    /// The function is not what a controller must look like.
    #[error("enumeration found no function with memory BARs {REGISTER_BAR} and {MEMORY_BAR}")]
    NoFunction,
    /// Register or configuration access.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// MSI-X set-up.
    #[error(transparent)]
    Msix(#[from] MsixError),
    /// Line operation.
    #[error(transparent)]
    Line(#[from] HomeError),
    /// Line operation of the coherent host.
    #[error(transparent)]
    Coherent(#[from] AgentError),
    /// A changed line came back that the host's caches do not own.
    #[error("the changed line at {0:#x} is not the host's any more: its last value is lost; was the device reset?")]
    NotOwned(u64),
    /// No HDM decoder takes the address, or it is beyond the capacity.
    #[error(
        "no memory behind host physical address {0:#x}: check the HDM decoder and the capacity"
    )]
    NoMemory(u64),
    /// Something did not happen in time.
    #[error("{what} did not happen within {after} cycles")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// Cycles waited.
        after: u64,
    },
    /// No more DMA memory.
    #[error("no {0} bytes of DMA memory left: free some, or start with more")]
    OutOfDmaMemory(u64),
    /// Not DMA memory.
    #[error("{bytes} bytes at bus address {address:#x} are not all DMA memory")]
    DmaAddress {
        /// First byte.
        address: u64,
        /// Length.
        bytes: u64,
    },
}

/// A simulated device with its host.
pub struct System {
    config: &'static Config,
    options: Options,
    dut: Dut,
    link: HostLink,
    home: Home,
    cache: Cache,
    pcie: Pcie,
    ext: Option<ExtMemory>,
    function: FoundFunction,
    hdm_base: u64,
    registers: u64,
    hung: bool,
    port: DevicePort,
    /// Someone else is the home agent: what the device sent.
    tapped: Option<VecDeque<Response>>,
    /// Cores with caches are the home agent ([`System::use_coherent_host`]).
    coherent: Option<Box<coherent::Host>>,
    /// What the directory says of the lines of which it ever said something, while someone else is the home agent.
    directory: HashMap<u32, u8>,
    irqs: [u64; cxlmem_protocol::regs::MSIX_VECTORS as usize],
}

/// Cycles of reset at power-on.
const RESET_CYCLES: u32 = 8;

impl System {
    /// Powers a device up and enumerates it: BARs are placed, memory space and bus mastering are on. The HDM decoder and the link are left to the driver, or to
    /// [`System::bring_up`].
    ///
    /// # Errors
    /// [`SystemError`]: no such configuration, no trace in this build, or a device that does not answer.
    pub fn new(config: &str, options: Options) -> Result<Self, SystemError> {
        System::over(Dut::new(config)?, options)
    }

    /// As [`System::new`], with what stands at the controller's pins.
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn over(mut dut: Dut, options: Options) -> Result<Self, SystemError> {
        let config = dut.config();
        let known = Config::all()
            .iter()
            .map(|c| c.name)
            .collect::<Vec<_>>()
            .join(", ");
        let config = Config::by_name(config).ok_or(DutError::UnknownConfig {
            name: config.into(),
            known,
        })?;
        if let Some(path) = &options.trace {
            dut.trace_to(path)?;
        }
        if options.record {
            dut.start_recording();
        }
        let mut rng = Rng::new(options.seed);
        let link = HostLink::new(options.faults, &mut rng);
        let pcie = Pcie::new(
            options.io,
            config.capacity(),
            options.host_mem_bytes,
            &mut rng,
        )?;
        let ext = (config.backend == Backend::External && !dut.is_remote())
            .then(|| ExtMemory::new((config.capacity() / LINE) as usize, options.ext, rng.fork()));
        let mut system = Self {
            config,
            dut,
            link,
            home: Home::new(options.home, Golden::new(0, 0)),
            cache: Cache::new(options.cache),
            pcie,
            ext,
            function: FoundFunction {
                bdf: pcie_sim::Bdf::new(1, 0, 0),
                vendor: 0,
                device: 0,
                class: 0,
                revision: 0,
                bars: Vec::new(),
                capabilities: Vec::new(),
                extended: Vec::new(),
            },
            hdm_base: 0,
            registers: 0,
            hung: false,
            port: DevicePort::default(),
            tapped: None,
            coherent: None,
            directory: HashMap::new(),
            irqs: Default::default(),
            options,
        };
        system.power_on()?;
        Ok(system)
    }

    /// A conventional reset, and enumeration again. Memory content, caches and line operations under way are lost.
    ///
    /// # Errors
    /// As [`System::new`].
    pub fn reset(&mut self) -> Result<(), SystemError> {
        self.home.link_reset();
        self.link.device_reset(&mut self.dut);
        if let Some(host) = &mut self.coherent {
            host.reset(Loss::Device);
        }
        self.cache.discard();
        if let Some(ext) = &mut self.ext {
            ext.reset_port();
        }
        self.pcie.function.reset();
        self.pcie.reset_streams();
        self.port.clear();
        self.directory.clear();
        self.power_on()
    }

    fn power_on(&mut self) -> Result<(), SystemError> {
        self.dut.set_tx_ready(false);
        self.pcie.drive_config(&mut self.dut);
        self.dut.reset(RESET_CYCLES);
        let found = enumerate(self, &Plan::default())?;
        let function = found.into_iter().next().ok_or(SystemError::NoFunction)?;
        let (Some(registers), Some(memory)) =
            (function.bar(REGISTER_BAR), function.bar(MEMORY_BAR))
        else {
            return Err(SystemError::NoFunction);
        };
        self.registers = registers.address;
        self.hdm_base = memory.address;
        *self.home.golden_mut() = Golden::new(self.hdm_base, self.config.capacity());
        self.function = function;
        Ok(())
    }

    /// One clock cycle of everything.
    #[inline]
    pub fn cycle(&mut self) {
        let now = self.dut.cycles();
        match &mut self.coherent {
            Some(host) => host.pump(now, &mut self.link),
            None if self.tapped.is_none() => self.home.pump(now, &mut self.link),
            None => {}
        }
        if self.hung {
            self.dut.skip_cycle();
            self.pcie.root.expire(now);
            return;
        }
        self.link.drive(&mut self.dut);
        self.pcie.drive(&mut self.dut);
        self.port.drive(&mut self.dut);
        if let Some(ext) = &mut self.ext {
            ext.drive(&mut self.dut);
        }
        self.dut.settle();
        let home = &mut self.home;
        let tapped = &mut self.tapped;
        let coherent = &mut self.coherent;
        self.link
            .sample(&self.dut, |response| match (&mut *coherent, &mut *tapped) {
                (Some(host), _) => host.receive(now, response),
                (None, Some(queue)) => queue.push_back(response),
                (None, None) => home.receive(now, &response),
            });
        self.port.sample(now, &self.dut);
        if self.tapped.is_some() {
            if let Some((line, state)) = self.dut.directory_write() {
                self.directory.insert(line, state);
            }
        }
        if self.link.take_restart() {
            self.home.link_reset();
            if let Some(host) = &mut self.coherent {
                host.reset(Loss::Link);
            }
        }
        if let Some(ext) = &mut self.ext {
            ext.sample(&self.dut);
        }
        self.pcie.sample(&self.dut);
        self.dut.edge();
        self.pcie.move_packets(&mut self.dut);
    }

    /// `cycles` clock cycles.
    pub fn run(&mut self, cycles: u64) {
        for _ in 0..cycles {
            self.cycle();
        }
    }

    /// Cycles until `done`, at most `bound`; returns how many it took.
    ///
    /// # Errors
    /// [`SystemError::Timeout`] with `what`.
    pub fn run_until(
        &mut self,
        bound: u64,
        what: &'static str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<u64, SystemError> {
        for n in 0..=bound {
            if done(self) {
                return Ok(n);
            }
            self.cycle();
        }
        Err(SystemError::Timeout { what, after: bound })
    }

    /// Cycles since power-on.
    pub fn now(&self) -> u64 {
        self.dut.cycles()
    }

    /// The configuration.
    pub fn config(&self) -> &'static Config {
        self.config
    }

    /// The options it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Cycles per second that a cycle count stands for: the configuration's clock, not the simulator's speed.
    pub fn clock_hz(&self) -> u64 {
        u64::from(self.config.clock_khz) * 1000
    }

    /// Fault: while true, the device's clock stands still and nothing passes its pins. Time goes on for the host.
    pub fn set_hung(&mut self, hung: bool) {
        self.hung = hung;
    }

    /// Whether the device hangs ([`System::set_hung`]).
    pub fn is_hung(&self) -> bool {
        self.hung
    }

    /// The model, for pins and recordings.
    pub fn dut_mut(&mut self) -> &mut Dut {
        &mut self.dut
    }

    /// From now on someone else is the home agent: the caller sends by [`System::link_mut`] and takes what the device sends by
    /// [`System::take_response`].
    pub fn replace_home(&mut self) {
        self.tapped.get_or_insert_default();
    }

    /// The next message of the device, after [`System::replace_home`].
    pub fn take_response(&mut self) -> Option<Response> {
        self.tapped.as_mut().and_then(VecDeque::pop_front)
    }

    /// What the device's directory says of a line by its number, since [`System::replace_home`]: for coverage.
    pub fn directory(&self, line: u32) -> Dir {
        match self.directory.get(&line) {
            // 1 is I as well, kept while a snoop is out.
            None | Some(0 | 1) => Dir::I,
            Some(code) => Dir::from_code(*code),
        }
    }

    /// The accelerator at the controller's line port.
    pub fn port_mut(&mut self) -> &mut DevicePort {
        &mut self.port
    }

    /// The link, for its faults and counters.
    pub fn link_mut(&mut self) -> &mut HostLink {
        &mut self.link
    }

    /// The link.
    pub fn link(&self) -> &HostLink {
        &self.link
    }

    /// The home agent.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The home agent, for its golden memory.
    pub fn home_mut(&mut self) -> &mut Home {
        &mut self.home
    }

    /// The host's cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// External memory, if the configuration has it.
    pub fn ext(&self) -> Option<&ExtMemory> {
        self.ext.as_ref()
    }

    /// What enumeration found.
    pub fn function(&self) -> &FoundFunction {
        &self.function
    }

    /// Host physical addresses reserved for the device's memory: first address and bytes.
    pub fn hdm_window(&self) -> (u64, u64) {
        (
            self.hdm_base,
            crate::pcie::memory_bar_size(self.config.capacity()),
        )
    }

    /// Bytes of device memory.
    pub fn capacity(&self) -> u64 {
        self.config.capacity()
    }

    /// Starts a line operation on host physical address `address`, past the host's cache.
    ///
    /// # Errors
    /// [`HomeError::BadAddress`], [`HomeError::QueueFull`].
    pub fn issue(&mut self, address: u64, op: Op) -> Result<Ticket, HomeError> {
        self.home.issue(self.dut.cycles(), address, op)
    }

    /// As [`System::issue`], for an operation that nobody will poll.
    ///
    /// # Errors
    /// As [`System::issue`].
    pub fn post(&mut self, address: u64, op: Op) -> Result<(), HomeError> {
        self.home.post(self.dut.cycles(), address, op)
    }

    /// The result of an operation, once; `None` while it is under way.
    pub fn poll(&mut self, ticket: Ticket) -> Option<Result<Done, HomeError>> {
        self.home.poll(ticket)
    }

    /// Runs until the operation is done. Bounded by the home agent's time-out.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn wait(&mut self, ticket: Ticket) -> Result<Done, HomeError> {
        loop {
            if let Some(result) = self.home.poll(ticket) {
                return result;
            }
            self.cycle();
        }
    }

    /// Issues an operation and runs until it is done.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn operate(&mut self, address: u64, op: Op) -> Result<Done, HomeError> {
        let ticket = self.issue(address, op)?;
        self.wait(ticket)
    }
}
