//! What a PCIe hard block does in front of a device: it owns configuration space and lets through only what the device serves.

use std::collections::VecDeque;

use crate::config::{ConfigSpace, Severity, Uncorrectable};
use crate::tlp::{
    message_code, Bdf, CfgRequest, Completion, Kind, Limits, Message, Packet, Status, Tlp,
};

/// What a [`Function`] counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FunctionCounters {
    /// Malformed packets from the host, dropped.
    pub malformed: u64,
    /// Requests from the host that were refused (reads) or dropped (writes): no BAR hit, or memory space is off.
    pub unsupported: u64,
    /// Completions from the host for another requester, dropped.
    pub unexpected_completion: u64,
    /// Poisoned writes and configuration writes from the host.
    pub poisoned: u64,
    /// Messages from the host, dropped.
    pub messages: u64,
    /// The device's memory requests blocked because Bus Master Enable is off.
    pub blocked: u64,
}

/// One type 0 function: configuration space in front of a device that knows memory requests and completions only.
///
/// Packets from either side go in with `receive_*` and come out with `send_*`; those on the way are queued in order.
#[derive(Debug, Clone)]
pub struct Function {
    config: ConfigSpace,
    bdf: Bdf,
    to_host: VecDeque<Packet>,
    to_device: VecDeque<Packet>,
    counters: FunctionCounters,
}

impl Function {
    /// Function 0 of its device.
    pub fn new(config: ConfigSpace) -> Self {
        Function::numbered(config, 0)
    }

    /// Function `number` (0..=7) of its device.
    pub fn numbered(config: ConfigSpace, number: u8) -> Self {
        Function {
            config,
            bdf: Bdf::new(0, 0, number),
            to_host: VecDeque::new(),
            to_device: VecDeque::new(),
            counters: FunctionCounters::default(),
        }
    }

    /// Configuration space.
    pub fn config(&self) -> &ConfigSpace {
        &self.config
    }

    /// Configuration space, for the device's own updates of it.
    pub fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    /// The routing id: bus and device as captured from the last configuration write.
    pub fn bdf(&self) -> Bdf {
        self.bdf
    }

    /// Bus Master Enable.
    pub fn bus_master(&self) -> bool {
        self.config.bus_master()
    }

    /// MSI-X Enable.
    pub fn msix_enabled(&self) -> bool {
        self.config.msix_enabled()
    }

    /// MSI-X Function Mask.
    pub fn msix_masked(&self) -> bool {
        self.config.msix_masked()
    }

    /// Counts since the start.
    pub fn counters(&self) -> &FunctionCounters {
        &self.counters
    }

    /// A fundamental reset: configuration space and captured id as after power-on, queues empty.
    pub fn reset(&mut self) {
        self.config.reset();
        self.bdf = Bdf::new(0, 0, self.bdf.function());
        self.to_host.clear();
        self.to_device.clear();
    }

    /// Packets waiting for the device. Hold the host's packets while this is more than the device's buffers would take.
    pub fn device_backlog(&self) -> usize {
        self.to_device.len()
    }

    /// The next packet for the device: a memory request that hits a BAR, or a completion.
    pub fn send_device(&mut self) -> Option<Packet> {
        self.to_device.pop_front()
    }

    /// The next packet for the host.
    pub fn send_host(&mut self) -> Option<Packet> {
        self.to_host.pop_front()
    }

    /// Takes a packet from the device. Memory requests are blocked while Bus Master Enable is off: a write is dropped, a read is
    /// refused towards the device, so that it need not wait for its timeout. Anything else passes, malformed packets included: the
    /// root complex reports those.
    pub fn receive_device(&mut self, packet: Packet) {
        if !packet.is_memory_request() || self.bus_master() {
            self.to_host.push_back(packet);
            return;
        }
        self.counters.blocked += 1;
        if let Ok(tlp) = packet.decode(&Limits::LARGEST) {
            let refusal = Tlp::refuse(&tlp, self.bdf, Status::UnsupportedRequest);
            self.to_device.extend(refusal.map(Tlp::encode));
        }
    }

    /// Takes a packet from the host: answers configuration requests, passes memory requests that hit a BAR and completions on,
    /// refuses the rest.
    pub fn receive_host(&mut self, packet: Packet) {
        let header = packet.header;
        let tlp = match packet.decode(&self.config.receive_limits()) {
            Ok(tlp) => tlp,
            Err(_) => {
                self.counters.malformed += 1;
                return self.record(Uncorrectable::Malformed, header, false);
            }
        };
        match tlp.kind {
            Kind::CfgRead(request) | Kind::CfgWrite(request) => {
                self.configure(&request, &tlp, header)
            }
            Kind::MemRead(request) | Kind::MemWrite(request) => {
                let bytes = u64::from(request.dwords) * 4;
                if !self.config.memory_enabled()
                    || self.config.bar_hit(request.addr, bytes).is_none()
                {
                    return self.refuse(&tlp, header);
                }
                self.pass_on(tlp, header);
            }
            Kind::Completion(completion) if completion.requester == self.bdf => {
                self.pass_on(tlp, header)
            }
            Kind::Completion(_) => {
                self.counters.unexpected_completion += 1;
                self.record(Uncorrectable::UnexpectedCompletion, header, true);
            }
            Kind::Message(_) => self.counters.messages += 1,
        }
    }

    /// Passes the packet to the device as it came, poison included: what to do with bad data is the device's matter.
    fn pass_on(&mut self, tlp: Tlp, header: [u32; 4]) {
        if tlp.poisoned {
            self.counters.poisoned += 1;
            self.record(Uncorrectable::Poisoned, header, true);
        }
        let payload = tlp.encode().payload;
        self.to_device.push_back(Packet { header, payload });
    }

    fn configure(&mut self, request: &CfgRequest, tlp: &Tlp, header: [u32; 4]) {
        if request.type1 || request.target.function() != self.bdf.function() {
            return self.refuse(tlp, header);
        }
        let data = match (&tlp.kind, tlp.data.as_slice()) {
            (Kind::CfgWrite(_), &[a, b, c, d]) => {
                if tlp.poisoned {
                    self.counters.poisoned += 1;
                    self.record(Uncorrectable::Poisoned, header, true);
                    self.to_host.extend(
                        Tlp::refuse(tlp, request.target, Status::UnsupportedRequest)
                            .map(Tlp::encode),
                    );
                    return;
                }
                self.bdf = request.target;
                self.config.write(
                    request.register,
                    u32::from_le_bytes([a, b, c, d]),
                    request.first_be,
                );
                Vec::new()
            }
            _ => self.config.read(request.register).to_le_bytes().to_vec(),
        };
        let completion = Completion {
            completer: request.target,
            status: Status::Success,
            bcm: false,
            byte_count: 4,
            requester: request.requester,
            tag: request.tag,
            lower_addr: 0,
        };
        self.to_host
            .push_back(Tlp::new(Kind::Completion(completion), data).encode());
    }

    /// Answers Unsupported Request to what wants an answer and records the error.
    fn refuse(&mut self, tlp: &Tlp, header: [u32; 4]) {
        self.counters.unsupported += 1;
        let refusal = Tlp::refuse(tlp, self.bdf, Status::UnsupportedRequest);
        let advisory = refusal.is_some();
        self.to_host.extend(refusal.map(Tlp::encode));
        self.record(Uncorrectable::UnsupportedRequest, header, advisory);
    }

    /// Logs the error in configuration space and sends the error message that software asked for.
    fn record(&mut self, error: Uncorrectable, header: [u32; 4], advisory: bool) {
        let code = match self.config.record_error(error, header, advisory) {
            None => return,
            Some(Severity::Correctable) => message_code::ERR_COR,
            Some(Severity::NonFatal) => message_code::ERR_NONFATAL,
            Some(Severity::Fatal) => message_code::ERR_FATAL,
        };
        let message = Message {
            requester: self.bdf,
            tag: 0,
            routing: 0,
            code,
            dw2: 0,
            dw3: 0,
        };
        self.to_host
            .push_back(Tlp::new(Kind::Message(message), Vec::new()).encode());
    }
}
