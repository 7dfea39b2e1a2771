//! The root complex: it issues requests and matches their completions, and serves the device's DMA and interrupts.
//!
//! Nothing here blocks and nothing looks at a clock: the caller says what tick it is. An idle tick costs a few comparisons.

mod blocking;
mod dma;
mod options;
mod report;

pub use blocking::{Blocking, MmioAccess};
pub use dma::{Interrupt, INTERRUPT_QUEUE, INTERRUPT_WINDOW};
pub use options::{OptionError, Options};
pub use report::{Counters, Event, LogEntry, LOG_ENTRIES};

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::completion::{Reassembly, WrongCompletion};
use crate::memory::HostMem;
use crate::rng::Rng;
use crate::tlp::{
    message_code, Bdf, CfgRequest, Completion, Kind, Malformed, MemRequest, Packet, Status, Tlp,
};
use dma::Delayed;
use report::Report;

/// Names one request of the host; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// Why a request could not be issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// All tags are outstanding: tick on and try again.
    #[error("all {tags} tags are outstanding: tick on until one completes")]
    NoFreeTag {
        /// Tags there are.
        tags: u16,
    },
    /// The request breaks a rule.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Why a request of the host failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request could not be issued.
    #[error("not issued: {0}")]
    NotIssued(#[from] IssueError),
    /// Completed with Unsupported Request: nothing is there, or it does not take such a request.
    #[error("Unsupported Request")]
    UnsupportedRequest,
    /// Completed with Completer Abort.
    #[error("Completer Abort")]
    CompleterAbort,
    /// Completed with Request Retry Status: ask again later.
    #[error("the function is not ready for configuration requests yet (Request Retry Status)")]
    Retry,
    /// Completed, but with data known to be bad.
    #[error("poisoned completion")]
    Poisoned,
    /// Completed by something that does not fit the request.
    #[error("wrong completion: {0}")]
    Wrong(#[from] WrongCompletion),
    /// Not completed.
    #[error("completion timeout: no answer within {ticks} ticks")]
    Timeout {
        /// Ticks waited.
        ticks: u64,
    },
}

/// What an outstanding request waits for.
#[derive(Debug)]
enum Waiting {
    Data(Reassembly),
    Done,
}

#[derive(Debug)]
struct Outstanding {
    id: RequestId,
    deadline: u64,
    waiting: Waiting,
    poisoned: bool,
    header: [u32; 4],
}

/// The host's end of a PCIe link. See the [module](self) and the crate's example.
#[derive(Debug)]
pub struct RootComplex {
    options: Options,
    rng: Rng,
    /// By tag.
    outstanding: Vec<Option<Outstanding>>,
    /// Oldest free tag first, so that a late completion meets a tag not yet reused.
    free_tags: VecDeque<u16>,
    /// No request times out before this tick.
    next_deadline: u64,
    next_id: u64,
    finished: VecDeque<(RequestId, Result<Vec<u8>, RequestError>)>,
    out: VecDeque<(Option<RequestId>, Packet)>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    next_order: u64,
    interrupts: VecDeque<Interrupt>,
    report: Report,
    scratch: Vec<u8>,
}

impl RootComplex {
    /// A root complex with nothing outstanding.
    ///
    /// # Errors
    /// [`OptionError`] if an option has no meaning.
    pub fn new(options: Options) -> Result<Self, OptionError> {
        options.check()?;
        Ok(RootComplex {
            rng: Rng::new(options.seed),
            outstanding: (0..options.tags).map(|_| None).collect(),
            free_tags: (0..options.tags).collect(),
            next_deadline: u64::MAX,
            next_id: 0,
            finished: VecDeque::new(),
            out: VecDeque::new(),
            delayed: BinaryHeap::new(),
            next_order: 0,
            interrupts: VecDeque::new(),
            report: Report::default(),
            scratch: Vec::new(),
            options,
        })
    }

    /// The options in force.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Issues a memory read of `bytes` bytes (up to Max_Read_Request_Size, within 4 KiB).
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn mem_read(&mut self, now: u64, addr: u64, bytes: usize) -> Result<RequestId, IssueError> {
        let request = MemRequest::span(self.options.bdf, 0, addr, bytes)?;
        self.issue(now, Kind::MemRead(request), Vec::new(), Some(request))
    }

    /// Issues a posted memory write (up to Max_Payload_Size, within 4 KiB). It has no result.
    ///
    /// # Errors
    /// [`IssueError::Malformed`].
    pub fn mem_write(&mut self, addr: u64, bytes: &[u8]) -> Result<(), IssueError> {
        let tlp = Tlp::mem_write(self.options.bdf, addr, bytes)?;
        tlp.validate(&self.options.limits)?;
        self.out.push_back((None, tlp.encode()));
        Ok(())
    }

    /// Issues a configuration read of the DW at `register`; its result is four bytes, little endian.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn cfg_read(
        &mut self,
        now: u64,
        target: Bdf,
        register: u16,
    ) -> Result<RequestId, IssueError> {
        let one_dw = MemRequest::span(self.options.bdf, 0, 0, 4)?;
        let kind = Kind::CfgRead(self.cfg_request(target, register, 0xF));
        self.issue(now, kind, Vec::new(), Some(one_dw))
    }

    /// Issues a configuration write of the enabled bytes of a DW; its result is empty.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn cfg_write(
        &mut self,
        now: u64,
        target: Bdf,
        register: u16,
        value: u32,
        be: u8,
    ) -> Result<RequestId, IssueError> {
        let kind = Kind::CfgWrite(self.cfg_request(target, register, be));
        self.issue(now, kind, value.to_le_bytes().to_vec(), None)
    }

    fn cfg_request(&self, target: Bdf, register: u16, first_be: u8) -> CfgRequest {
        let type1 = target.bus() != self.options.link_bus;
        CfgRequest {
            requester: self.options.bdf,
            tag: 0,
            target,
            register,
            first_be,
            type1,
        }
    }

    fn issue(
        &mut self,
        now: u64,
        mut kind: Kind,
        data: Vec<u8>,
        expects: Option<MemRequest>,
    ) -> Result<RequestId, IssueError> {
        let &tag = self.free_tags.front().ok_or(IssueError::NoFreeTag {
            tags: self.options.tags,
        })?;
        match &mut kind {
            Kind::MemRead(r) | Kind::MemWrite(r) => r.tag = tag,
            Kind::CfgRead(r) | Kind::CfgWrite(r) => r.tag = tag,
            Kind::Completion(_) | Kind::Message(_) => {}
        }
        let tlp = Tlp::new(kind, data);
        tlp.validate(&self.options.limits)?;
        self.free_tags.pop_front();
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let deadline = now.saturating_add(self.options.completion_timeout);
        self.next_deadline = self.next_deadline.min(deadline);
        let packet = tlp.encode();
        // As requester any boundary the completer may have is taken: 64 is the smallest there is.
        let waiting = expects.map_or(Waiting::Done, |request| {
            Waiting::Data(Reassembly::new(&request, 64))
        });
        self.outstanding[usize::from(tag)] = Some(Outstanding {
            id,
            deadline,
            waiting,
            poisoned: false,
            header: packet.header,
        });
        self.out.push_back((Some(id), packet));
        Ok(id)
    }

    /// The result of a finished request, once; `None` while it is outstanding. A read's bytes are exactly those asked for.
    pub fn take(&mut self, id: RequestId) -> Option<Result<Vec<u8>, RequestError>> {
        let at = self.finished.iter().position(|(done, _)| *done == id)?;
        self.finished.remove(at).map(|(_, result)| result)
    }

    /// The oldest interrupt not yet taken.
    pub fn take_interrupt(&mut self) -> Option<Interrupt> {
        self.interrupts.pop_front()
    }

    /// Requests of the host that wait for completions.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len() - self.free_tags.len()
    }

    /// Packets queued for the device, delayed completions included.
    pub fn queued(&self) -> usize {
        self.out.len() + self.delayed.len()
    }

    /// Whether the device's next packet should be taken. A caller that models back-pressure holds the device while this is false;
    /// [`receive`](Self::receive) takes packets regardless.
    pub fn ready(&self) -> bool {
        self.queued() < self.options.queue
    }

    /// Packets that leave before one issued now would.
    fn ahead(&self) -> usize {
        self.out.len()
    }

    /// Counts of errors and traffic since the start.
    pub fn counters(&self) -> &Counters {
        &self.report.counters
    }

    /// The first [`LOG_ENTRIES`] events since the log was last taken.
    pub fn log(&self) -> &[LogEntry] {
        &self.report.log
    }

    /// Takes the log and starts a new one.
    pub fn take_log(&mut self) -> Vec<LogEntry> {
        std::mem::take(&mut self.report.log)
    }

    /// One tick of a link that always takes a packet: [`receive`](Self::receive), [`expire`](Self::expire),
    /// [`transmit`](Self::transmit). Ticks must not go backwards.
    pub fn tick<M: HostMem>(
        &mut self,
        now: u64,
        mem: &mut M,
        from_device: Option<Packet>,
    ) -> Option<Packet> {
        if let Some(packet) = from_device {
            self.receive(now, mem, packet);
        }
        self.expire(now);
        self.transmit(now)
    }

    /// The next packet for the device, if one is due. Call it only when the link can take one.
    pub fn transmit(&mut self, now: u64) -> Option<Packet> {
        // A completion joins the queue behind the writes issued before it: it must not pass them.
        while self.delayed.peek().is_some_and(|Reverse(d)| d.ready <= now) {
            if let Some(Reverse(delayed)) = self.delayed.pop() {
                self.out.push_back((None, delayed.packet));
            }
        }
        let (_, packet) = self.out.pop_front()?;
        self.report.counters.packets_sent += 1;
        Some(packet)
    }

    /// Fails the requests whose time is up, also those the link never took.
    pub fn expire(&mut self, now: u64) {
        if now < self.next_deadline {
            return;
        }
        self.next_deadline = u64::MAX;
        for tag in 0..self.options.tags {
            let Some(request) = &self.outstanding[usize::from(tag)] else {
                continue;
            };
            if now < request.deadline {
                self.next_deadline = self.next_deadline.min(request.deadline);
                continue;
            }
            let (id, header) = (request.id, request.header);
            self.out.retain(|(queued, _)| *queued != Some(id));
            self.report
                .add(now, Event::CompletionTimeout { tag, id }, header);
            self.finish(
                tag,
                Err(RequestError::Timeout {
                    ticks: self.options.completion_timeout,
                }),
            );
        }
    }

    /// Takes a packet from the device.
    pub fn receive<M: HostMem>(&mut self, now: u64, mem: &mut M, packet: Packet) {
        self.report.counters.packets_received += 1;
        let header = packet.header;
        let tlp = match packet.decode(&self.options.limits) {
            Ok(tlp) => tlp,
            Err(error) => return self.report.add(now, Event::Malformed(error), header),
        };
        match tlp.kind {
            Kind::Completion(completion) => self.complete(now, &completion, &tlp, header),
            Kind::MemWrite(request) => {
                if let Err(event) = self.dma_write(now, mem, &request, &tlp) {
                    self.report.add(now, event, header);
                }
            }
            Kind::MemRead(request) => self.dma_read(now, mem, &request, &tlp, header),
            Kind::CfgRead(request) | Kind::CfgWrite(request) => {
                self.report.add(
                    now,
                    Event::UnsupportedRequest {
                        addr: request.register.into(),
                    },
                    header,
                );
                self.refuse(now, &tlp, Status::UnsupportedRequest);
            }
            Kind::Message(message) => {
                use message_code::{ERR_COR, ERR_FATAL, ERR_NONFATAL};
                if matches!(message.code, ERR_COR | ERR_NONFATAL | ERR_FATAL) {
                    let event = Event::ErrorMessage {
                        requester: message.requester,
                        code: message.code,
                    };
                    self.report.add(now, event, header);
                }
            }
        }
    }

    fn complete(&mut self, now: u64, completion: &Completion, tlp: &Tlp, header: [u32; 4]) {
        let Completion { requester, tag, .. } = *completion;
        let mine = requester == self.options.bdf;
        let Some(Some(request)) = self.outstanding.get_mut(usize::from(tag)).filter(|_| mine)
        else {
            return self
                .report
                .add(now, Event::UnexpectedCompletion { requester, tag }, header);
        };
        if completion.status != Status::Success {
            let error = match completion.status {
                Status::CompleterAbort => RequestError::CompleterAbort,
                Status::Retry => RequestError::Retry,
                Status::UnsupportedRequest | Status::Success => RequestError::UnsupportedRequest,
            };
            self.report.add(
                now,
                Event::RefusedByDevice {
                    tag,
                    status: completion.status,
                },
                header,
            );
            return self.finish(tag, Err(error));
        }
        let progress = match &mut request.waiting {
            Waiting::Data(reassembly) => reassembly.accept(completion, &tlp.data),
            Waiting::Done if tlp.data.is_empty() => Ok(true),
            Waiting::Done => Err(WrongCompletion {
                field: "Length in bytes",
                found: tlp.data.len() as u64,
                expected: 0,
            }),
        };
        // The tag of a poisoned read stays taken until its last completion, so that the rest of them meets it.
        let first_poison = tlp.poisoned && !request.poisoned;
        request.poisoned |= tlp.poisoned;
        let poisoned = request.poisoned;
        if first_poison {
            self.report
                .add(now, Event::PoisonedCompletion { tag }, header);
        }
        match progress {
            Ok(false) => {}
            Ok(true) if poisoned => self.finish(tag, Err(RequestError::Poisoned)),
            Ok(true) => self.finish(tag, Ok(())),
            Err(error) => {
                self.report.add(
                    now,
                    Event::WrongCompletion {
                        tag,
                        error: error.clone(),
                    },
                    header,
                );
                self.finish(tag, Err(RequestError::Wrong(error)));
            }
        }
    }

    /// Frees the tag and files the result; on success the bytes gathered.
    fn finish(&mut self, tag: u16, result: Result<(), RequestError>) {
        let Some(request) = self.outstanding[usize::from(tag)].take() else {
            return;
        };
        self.free_tags.push_back(tag);
        let bytes = match request.waiting {
            Waiting::Data(reassembly) => reassembly.into_bytes(),
            Waiting::Done => Vec::new(),
        };
        self.finished
            .push_back((request.id, result.map(|()| bytes)));
    }
}
