//! The Verilated controller as an [`Endpoint`]: the same workloads, litmus tests and checks as on the model device.
//!
//! The checks number lines from 0; here line *n* is line `n * stride` of the memory, so that a stride of the filter's sets makes all
//! lines compete for the ways of one set.

use super::cover::{self, Cell, Race};
use super::workload::Setup;
use super::{set_word, DeviceError, DeviceOp, Endpoint, FromDevice, Line, Port, LINE};
use crate::link::{Faults, Response, WireFaults};
use crate::port::{Keep, PortError, PortOp};
use crate::rng::Rng;
use crate::system::{Options, System, SystemError};
use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::hdm_db::Dir;
use cxlmem_protocol::msg::{M2sBiRsp, M2sReq, M2sRwd, S2mBiSnpOpcode};
use cxlmem_protocol::regs;
use cxlmem_protocol::retry::Limits;

/// What the device and its wire are like.
#[derive(Clone, Copy, Debug)]
pub struct RtlOptions {
    /// Name of the configuration.
    pub config: &'static str,
    /// Distance of neighbouring lines, in lines.
    pub stride: u64,
    /// What the wire does wrong.
    pub faults: Faults,
    /// Sequence numbers in the CRC: without, lost, repeated and swapped flits are not seen.
    pub seq: bool,
    /// Cycles for the answer to a snoop.
    pub snoop_timeout: u32,
    /// Retries of both ends before the physical layer re-initialises; `None`: as after reset.
    pub max_num_retry: Option<u8>,
}

impl Default for RtlOptions {
    fn default() -> Self {
        Self {
            config: "full",
            stride: 1,
            faults: Faults::default(),
            seq: false,
            snoop_timeout: regs::SnoopTimeout::RESET,
            max_num_retry: None,
        }
    }
}

impl RtlOptions {
    /// A shape for a setup, drawn from its seed: full map or filter, neighbouring or competing lines, a good wire or a bad one.
    pub fn random(setup: &Setup) -> Self {
        let mut rng = Rng::new(setup.device.seed);
        let (config, stride) = match rng.below(4) {
            0 => ("full", 1),
            1 => ("sim", 1),
            2 => ("sim-ext", 1024),
            _ => ("sim", 1024),
        };
        let seq = rng.chance(0.5);
        let lost = if seq { 0.002 } else { 0.0 };
        let wire = WireFaults {
            ber: [0.0, 1e-5, 1e-4][rng.below(3) as usize],
            burst: [0.0, 0.005][rng.below(2) as usize],
            burst_bits: 16,
            lose: lost,
            repeat: lost,
            swap: lost,
            ..WireFaults::default()
        };
        let faults = if rng.chance(0.5) {
            // A wire that stalls for long is another round trip than the one that TIMEOUT is made for.
            Faults {
                tx_stall: [0.0, 0.2][rng.below(2) as usize],
                ..Faults::both(wire)
            }
        } else {
            Faults {
                tx_stall: [0.0, 0.3, 0.9][rng.below(3) as usize],
                ..Faults::default()
            }
        };
        Self {
            config,
            stride,
            faults,
            seq,
            ..Self::default()
        }
    }
}

/// Whether the controller can reach a cell of the functional coverage: [`cover::reachable`], and the orders that the RTL keeps beyond what the
/// protocol asks for.
///
/// # Errors
/// Why it cannot.
pub fn reachable(cell: Cell) -> Result<(), &'static str> {
    const IN_ORDER: &str =
        "RwD are served in their order, BIConflict among them: its ack follows the completion of a write before it";
    const SNOOP_FIRST: &str =
        "a BISnp leaves before any later completion, and flits arrive in order: a host that has the completion of the write that lowered the record has seen the snoop";
    const ANSWER_FIRST: &str =
        "a BIRsp is taken before any write that the host sent after it, so the record is what the write said";
    cover::reachable(cell)?;
    let (row, dir, race) = cell;
    let said = match row {
        Row::WrA | Row::WrKeep => Dir::A,
        Row::WrS => Dir::S,
        _ => Dir::I,
    };
    match (race, dir) {
        (Race::Early(_), _) if row >= Row::WrA => Err(IN_ORDER),
        (Race::Early(_), Dir::I) => Err(SNOOP_FIRST),
        (Race::Early(S2mBiSnpOpcode::BiSnpCur | S2mBiSnpOpcode::BiSnpData), Dir::S) => {
            Err(SNOOP_FIRST)
        }
        (Race::Late(_), _) if row >= Row::WrA && dir != said => Err(ANSWER_FIRST),
        _ => Ok(()),
    }
}

/// Cycles between two looks at the device's error register.
const LOOK: u32 = 4096;

/// The controller and its link.
pub struct RtlDevice {
    system: System,
    base: u64,
    stride: u64,
    ports: usize,
    /// The access of each port that has one; they share the line port, in order of their start.
    open: Vec<Option<(u64, DeviceOp)>>,
    order: std::collections::VecDeque<usize>,
    done: Vec<Option<Result<Line, DeviceError>>>,
    until_look: u32,
    /// What the device has logged of what the host did.
    violation: Option<String>,
}

impl RtlDevice {
    /// A controller that is up, with device-coherent memory, for the ports and the grant policy of `setup`.
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn new(setup: &Setup, options: RtlOptions) -> Result<Self, SystemError> {
        let policy = setup.device.policy;
        let mut system = System::new(
            options.config,
            Options {
                seed: setup.device.seed,
                device_coherent: true,
                ..Options::default()
            },
        )?;
        if options.seq {
            system.link_mut().offer_seq(true);
        }
        system.bring_up()?;
        system.mmio_write32(
            regs::CohCtrl::OFFSET,
            regs::CohCtrl::SHARED_GETS_E.with(
                regs::CohCtrl::ANY_GETS_E.with(0, u32::from(policy.any_gets_e)),
                u32::from(policy.shared_gets_e),
            ),
        )?;
        system.mmio_write32(regs::SnoopTimeout::OFFSET, options.snoop_timeout)?;
        system.mmio_read32(regs::SnoopTimeout::OFFSET)?;
        if let Some(retries) = options.max_num_retry {
            let limits = regs::LlrLimits::MAX_NUM_RETRY.with(
                regs::LlrLimits::MAX_NUM_PHY_REINIT.with(regs::LlrLimits::RESET, 31),
                u32::from(retries),
            );
            system.mmio_write32(regs::LlrLimits::OFFSET, limits)?;
            system.mmio_read32(regs::LlrLimits::OFFSET)?;
            let limits = Limits {
                max_num_retry: retries,
                max_num_phy_reinit: 31,
                ..system.link().limits()
            };
            system.link_mut().set_limits(limits);
        }
        system.replace_home();
        system.link_mut().set_faults(options.faults);
        Ok(Self {
            base: system.hdm_window().0,
            stride: options.stride,
            ports: setup.device.ports,
            open: vec![None; setup.device.ports],
            order: Default::default(),
            done: vec![None; setup.device.ports],
            until_look: LOOK,
            violation: None,
            system,
        })
    }

    /// The system behind it.
    pub fn system_mut(&mut self) -> &mut System {
        &mut self.system
    }

    /// Brings the link down and up again, as software does when it was given up. What the device has sent and nobody has taken is lost.
    ///
    /// # Errors
    /// [`SystemError`]: it does not come up.
    pub fn cut_link(&mut self) -> Result<(), SystemError> {
        self.system.reset_link()?;
        while self.system.take_response().is_some() {}
        self.port_outcomes();
        Ok(())
    }

    /// The log of the first header that broke a rule, if there is one.
    fn look(&mut self) -> Result<Option<String>, SystemError> {
        let errors = self.system.mmio_read32(regs::RxProtocolErrors::OFFSET)?;
        if errors == 0 {
            return Ok(None);
        }
        let mut log = 0;
        for n in 0..4 {
            let word = self.system.mmio_read32(regs::RasLog0::OFFSET + 4 * n)?;
            log |= u128::from(word) << (32 * n);
        }
        Ok(Some(format!(
            "{errors} offences logged; the header of the first, with the device's line as its address: {log:#034x}"
        )))
    }

    fn to_device(&self, address: u64) -> u64 {
        self.base + address / LINE * self.stride * LINE
    }

    fn to_host(&self, address: u64) -> u64 {
        address.wrapping_sub(self.base) / LINE / self.stride * LINE
    }

    fn port_outcomes(&mut self) {
        while let Some(outcome) = self.system.port_mut().poll() {
            let Some(port) = self.order.pop_front() else {
                return;
            };
            let Some((address, op)) = self.open[port] else {
                return;
            };
            let mut line = outcome.data;
            // An atomic's outcome is one word.
            if let DeviceOp::FetchAdd { word, .. } | DeviceOp::CompareSwap { word, .. } = op {
                let old = super::word(&line, 0);
                line = [0; 64];
                set_word(&mut line, usize::from(word), old);
            }
            self.done[port] = Some(match outcome.result {
                Ok(()) => Ok(line),
                Err(PortError::Poison) => Err(DeviceError::Poison(address)),
                Err(PortError::NotReleased) => Err(DeviceError::Snoop(address)),
                Err(PortError::BadLine) => Err(DeviceError::Range(address)),
            });
        }
    }
}

impl Port for RtlDevice {
    fn room_for_req(&self) -> bool {
        self.system.link().room_for_req()
    }
    fn room_for_rwd(&self) -> bool {
        self.system.link().room_for_rwd()
    }
    fn room_for_birsp(&self) -> bool {
        self.system.link().room_for_birsp()
    }
    fn send_req(&mut self, req: &M2sReq) {
        let address = self.to_device(req.address);
        self.system.link_mut().send_req(&M2sReq { address, ..*req });
    }
    fn send_rwd(&mut self, header: &M2sRwd, data: &Line, enables: u64) {
        let address = self.to_device(header.address);
        let header = M2sRwd { address, ..*header };
        self.system.link_mut().send_rwd(header, *data, enables);
    }
    fn send_birsp(&mut self, birsp: &M2sBiRsp) {
        self.system.link_mut().send_birsp(birsp);
    }
}

impl Endpoint for RtlDevice {
    fn step(&mut self) {
        self.system.cycle();
        self.port_outcomes();
        self.until_look = self.until_look.saturating_sub(1);
        // A device that hangs answers nobody: to look at it would take as long as the time-out of CXL.io.
        if self.until_look == 0 && !self.system.is_hung() {
            self.until_look = LOOK;
            if self.system.link().has_failed() {
                let faults = self.system.options().faults;
                self.violation = Some(format!("the link was given up; its faults: {faults:?}"));
            }
            if self.violation.is_none() {
                self.violation = self.look().unwrap_or_else(|e| Some(e.to_string()));
            }
        }
    }

    fn receive(&mut self) -> Option<FromDevice> {
        Some(match self.system.take_response()? {
            Response::Ndr(ndr) => FromDevice::Ndr(ndr),
            Response::Drs(drs, line) => FromDevice::Drs(drs, line),
            Response::BiSnp(mut snoop) => {
                snoop.address = self.to_host(snoop.address);
                FromDevice::BiSnp(snoop)
            }
        })
    }

    fn ports(&self) -> usize {
        self.ports
    }

    fn start(&mut self, port: usize, address: u64, op: DeviceOp) -> bool {
        if self.open[port].is_some() || self.done[port].is_some() {
            return false;
        }
        self.open[port] = Some((address, op));
        self.order.push_back(port);
        let line = address / LINE * self.stride;
        let op = match op {
            DeviceOp::Load => PortOp::Load(Keep::Shared),
            DeviceOp::LoadOnce => PortOp::Load(Keep::All),
            DeviceOp::Store { data, enables } => PortOp::Store(data, enables),
            DeviceOp::FetchAdd { word, add } => PortOp::FetchAdd { word, add },
            DeviceOp::CompareSwap {
                word,
                expected,
                new,
            } => PortOp::CompareSwap {
                word,
                compare: expected,
                swap: new,
            },
        };
        self.system.port_mut().issue(line, op);
        true
    }

    fn finish(&mut self, port: usize) -> Option<Result<Line, DeviceError>> {
        let result = self.done[port].take()?;
        self.open[port] = None;
        Some(result)
    }

    fn recorded(&self, address: u64) -> Option<Dir> {
        let line = address / LINE * self.stride;
        Some(self.system.directory(line as u32))
    }

    fn host_violation(&self) -> Option<String> {
        self.violation.clone()
    }
}
