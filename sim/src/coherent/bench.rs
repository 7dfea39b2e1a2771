//! An agent, a device and the shadow between them, cycle by cycle. Actors are the cores, then the device's ports.

use super::shadow::Shadow;
use super::{
    Agent, AgentError, AgentOptions, CoreOp, DeviceError, DeviceOp, Endpoint, Line, Port, Ticket,
};
use cxlmem_protocol::hdm_db::Policy;
use cxlmem_protocol::msg::{M2sBiRsp, M2sReq, M2sRwd};

/// Cycles between two looks at the errors that are not of one operation.
const LOOK: u64 = 64;

/// What found something wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// A message that the rules do not allow ([`Shadow`]), or that answers nothing.
    Messages,
    /// Values that no memory gives ([`super::history`]).
    Values,
    /// Atomic additions that do not add up.
    Sum,
    /// The agent's own caches: one writer, equal copies.
    OneWriter,
    /// The device says that the host broke a rule.
    Host,
    /// An operation failed, or never ended.
    Progress,
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{check:?}: {what}")]
pub struct Failure {
    /// Which.
    pub check: Check,
    /// What is wrong.
    pub what: String,
}

impl Failure {
    pub(super) fn new(check: Check, what: impl ToString) -> Self {
        Self {
            check,
            what: what.to_string(),
        }
    }
}

impl From<AgentError> for Failure {
    fn from(e: AgentError) -> Self {
        Self::new(Check::Progress, e)
    }
}

impl From<DeviceError> for Failure {
    fn from(e: DeviceError) -> Self {
        Self::new(Check::Progress, e)
    }
}

/// A port whose messages the shadow sees.
struct Watched<'a, P> {
    port: &'a mut P,
    shadow: &'a mut Shadow,
}

impl<P: Port> Port for Watched<'_, P> {
    fn room_for_req(&self) -> bool {
        self.port.room_for_req()
    }
    fn room_for_rwd(&self) -> bool {
        self.port.room_for_rwd()
    }
    fn room_for_birsp(&self) -> bool {
        self.port.room_for_birsp()
    }
    fn send_req(&mut self, req: &M2sReq) {
        self.shadow.send_req(req);
        self.port.send_req(req);
    }
    fn send_rwd(&mut self, header: &M2sRwd, data: &Line, enables: u64) {
        self.shadow.send_rwd(header);
        self.port.send_rwd(header, data, enables);
    }
    fn send_birsp(&mut self, birsp: &M2sBiRsp) {
        self.shadow.send_birsp(birsp);
        self.port.send_birsp(birsp);
    }
}

/// The three together.
pub struct Bench<E> {
    /// The host.
    pub agent: Agent,
    /// The device.
    pub device: E,
    /// What watches them; `None`: nothing does, for speed.
    pub shadow: Option<Shadow>,
    now: u64,
    tickets: Vec<Option<Ticket>>,
}

impl<E: Endpoint> Bench<E> {
    /// An idle host beside `device`, which grants by `policy`.
    pub fn new(options: AgentOptions, device: E, policy: Policy) -> Self {
        let agent = Agent::new(options);
        Self {
            tickets: vec![None; agent.cores()],
            agent,
            device,
            shadow: Some(Shadow::new(policy)),
            now: 0,
        }
    }

    /// Cycles so far.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Cores and ports.
    pub fn actors(&self) -> usize {
        self.agent.cores() + self.device.ports()
    }

    /// Starts an operation of a core.
    ///
    /// # Errors
    /// The agent does not take it.
    pub fn core(
        &mut self,
        core: usize,
        address: u64,
        len: usize,
        op: CoreOp,
    ) -> Result<(), Failure> {
        let ticket = self.agent.issue(self.now, core, address, len, op)?;
        self.tickets[core] = Some(ticket);
        Ok(())
    }

    /// Starts an access of the device's port.
    ///
    /// # Errors
    /// The port is busy.
    pub fn port(&mut self, port: usize, address: u64, op: DeviceOp) -> Result<(), Failure> {
        if self.device.start(port, address, op) {
            return Ok(());
        }
        let what = format!("port {port} does not take an access of {address:#x}");
        Err(Failure::new(Check::Progress, what))
    }

    /// What an actor's operation read, from the operation's first byte on (cores), or the line before it (ports). Once; `None` while it is under way.
    ///
    /// # Errors
    /// The operation failed.
    pub fn poll(&mut self, actor: usize) -> Result<Option<Line>, Failure> {
        let cores = self.tickets.len();
        if actor >= cores {
            return Ok(self.device.finish(actor - cores).transpose()?);
        }
        let Some(ticket) = self.tickets[actor] else {
            return Ok(None);
        };
        let Some(result) = self.agent.poll(ticket) else {
            return Ok(None);
        };
        self.tickets[actor] = None;
        Ok(Some(result?.data))
    }

    /// One cycle.
    ///
    /// # Errors
    /// A check that looks at every message, or from time to time, failed.
    pub fn cycle(&mut self) -> Result<(), Failure> {
        self.now += 1;
        let now = self.now;
        match &mut self.shadow {
            Some(shadow) => {
                let port = &mut self.device;
                self.agent.pump(now, &mut Watched { port, shadow });
            }
            None => self.agent.pump(now, &mut self.device),
        }
        self.device.step();
        while let Some(message) = self.device.receive() {
            if let Some(shadow) = &mut self.shadow {
                let device = &self.device;
                shadow.receive(&message, |address| device.recorded(address));
            }
            self.agent.receive(now, &message);
        }
        if now % LOOK == 0 {
            self.look()?;
        }
        Ok(())
    }

    /// Everything that can be checked at any time.
    ///
    /// # Errors
    /// What is wrong.
    pub fn look(&self) -> Result<(), Failure> {
        let fail = |check, what: &str| Err(Failure::new(check, what));
        if let Some(what) = self.shadow.as_ref().and_then(Shadow::first_error) {
            return fail(Check::Messages, what);
        }
        if let Some(what) = self.agent.first_violation() {
            return fail(Check::Messages, what);
        }
        if let Some(what) = self.device.host_violation() {
            return fail(Check::Host, &what);
        }
        self.agent
            .audit()
            .map_err(|what| Failure::new(Check::OneWriter, what))
    }
}
