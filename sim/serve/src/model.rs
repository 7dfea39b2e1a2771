//! The thread that owns the simulated device. It steps the controller only while something is under way.

mod registers;
mod store;
mod window;

use crate::config::BarView;
use crate::control::Command;
use crate::counters::Counters;
use crate::job::{Bar, Done, Job};
use crate::Options;
use cxlmem_protocol::hdm::Decoder;
use cxlmem_protocol::regs;
use cxlmem_sim::home::HomeOptions;
use cxlmem_sim::link::{Faults, WireFaults};
use cxlmem_sim::pcie::{memory_bar_size, IoOptions};
use cxlmem_sim::shared::SharedMemory;
use cxlmem_sim::system::{self, System, SystemError};
use std::fs::File;
use std::io::{Error, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TryRecvError};
use std::sync::Arc;
use std::time::Duration;
use store::{Home, Map};

/// Jobs that may wait.
const QUEUE: usize = 4096;

/// Cycles between looks at the queue of jobs.
const BURST: u64 = 32;

/// Quiet cycles after which the engine is asked, and if it is idle too, the clock stops.
const LINGER: u64 = 512;

/// Cycles until a register or a line that does not answer fails: well within the time for an answer, at any speed that a simulation has.
const TIMEOUT: u64 = 10_000;

/// Cycles for what is under way to end, before memory is taken away or the device is reset.
const QUIESCE: u64 = 20_000;

/// Cycles after a reset beside one for each page: the link comes up, the directory is swept.
const WAKE: u64 = 8_192;

/// Bytes of a page of the page table, which the controller sweeps after a reset, one a cycle.
const PAGE: u64 = 4096;

/// What the vfio-user side must know of the device.
pub(crate) struct About {
    pub(crate) jobs: SyncSender<Job>,
    /// Bytes of the memory BAR.
    pub(crate) memory_bar: u64,
    /// The file of the memory BAR, if others may map it. The model keeps it open.
    pub(crate) memory_fd: Option<RawFd>,
}

pub(crate) struct Model {
    system: System,
    counters: Arc<Counters>,
    options: Options,
    bars: BarView,
    /// HDM decoder 0, as last read.
    decoder: Decoder,
    /// The decoders are on.
    decoding: bool,
    /// The memory BAR's own memory; without an external port there is none.
    behind_bar: Option<(File, Arc<SharedMemory>)>,
    home: Home,
    maps: Vec<Map>,
    events: [Option<File>; regs::MSIX_VECTORS as usize],
    lose_irqs: u64,
    /// Cycles that run whatever the device says: a sweep after a reset.
    owed: u64,
    /// Cycles in a row in which nothing was under way.
    quiet: u64,
    /// The engine was at work when last asked.
    engine_busy: bool,
    /// A reset failed: nothing answers any more.
    dead: bool,
}

/// Starts the thread and waits until the device is there.
///
/// # Errors
/// [`SystemError`]; the system's, for its memory.
pub(crate) fn start(options: Options, counters: Arc<Counters>) -> Result<About, crate::ServeError> {
    let (jobs, queue) = sync_channel(QUEUE);
    let (to, from) = sync_channel(1);
    let thread = std::thread::Builder::new().name("model".into());
    thread
        .spawn(move || match Model::new(options, counters) {
            Ok(mut model) => {
                let _ = to.send(Ok((model.memory_bar(), model.memory_fd())));
                model.run(&queue);
            }
            Err(e) => {
                let _ = to.send(Err(e));
            }
        })
        .map_err(crate::ServeError::Thread)?;
    let (memory_bar, memory_fd) = from.recv().map_err(|_| crate::ServeError::Gone)??;
    Ok(About {
        jobs,
        memory_bar,
        memory_fd,
    })
}

impl Model {
    fn new(options: Options, counters: Arc<Counters>) -> Result<Self, crate::ServeError> {
        let mut system = System::new(
            &options.config,
            system::Options {
                // The client's memory is all there is.
                host_mem_bytes: 0,
                home: HomeOptions {
                    timeout: TIMEOUT,
                    ..HomeOptions::default()
                },
                io: IoOptions {
                    completion_timeout: TIMEOUT,
                    ..IoOptions::default()
                },
                ..system::Options::default()
            },
        )?;
        let bytes = memory_bar_size(system.capacity());
        let behind_bar = match system.ext_mut() {
            Some(_) => Some(
                SharedMemory::create(c"cxlmem-device-memory", bytes)
                    .map_err(|error| crate::ServeError::Memory { bytes, error })?,
            ),
            None => None,
        };
        let mut model = Self {
            bars: BarView::new(&system),
            system,
            counters,
            options,
            decoder: Decoder::default(),
            decoding: false,
            behind_bar,
            home: Home::Inside,
            maps: Vec::new(),
            events: Default::default(),
            lose_irqs: 0,
            owed: 0,
            quiet: 0,
            engine_busy: false,
            dead: false,
        };
        model.choose_home();
        model.wake()?;
        Ok(model)
    }

    fn memory_bar(&self) -> u64 {
        memory_bar_size(self.system.capacity())
    }

    fn memory_fd(&self) -> Option<RawFd> {
        let (file, _) = self.behind_bar.as_ref()?;
        Some(file.as_raw_fd())
    }

    /// After power-on and reset: the controller's own MSI-X table holds messages that name the vector, and configuration space is the client's to set up.
    fn wake(&mut self) -> Result<(), SystemError> {
        self.system.stop_comparing();
        self.system.enable_msix()?;
        self.system.run(TIMEOUT.min(LINGER));
        self.system.unconfigure();
        self.bars.reset();
        self.owed = WAKE + self.system.capacity() / PAGE;
        self.quiet = 0;
        Ok(())
    }

    fn say(&self, text: &str) {
        if !self.options.quiet {
            eprintln!("serve: {text}");
        }
    }

    /// Does jobs, and steps the controller while something is under way, until there is nobody left to ask.
    fn run(&mut self, queue: &Receiver<Job>) {
        loop {
            let job = if self.is_idle() {
                match queue.recv() {
                    Ok(job) => Some(job),
                    Err(_) => return,
                }
            } else {
                match queue.try_recv() {
                    Ok(job) => Some(job),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => return,
                }
            };
            let from = self.system.now();
            let busy = match job {
                Some(Job::Stop) => return,
                Some(job) => {
                    // What only looks, or changes what the device cannot see, does not start the clock.
                    if !matches!(
                        job,
                        Job::ConfigRead { .. }
                            | Job::Map { .. }
                            | Job::Unmap { .. }
                            | Job::Events { .. }
                    ) {
                        self.quiet = 0;
                    }
                    self.perform(job);
                    true
                }
                None => self.step(),
            };
            let cycles = self.system.now() - from;
            self.counters.rtl_cycles.fetch_add(cycles, Relaxed);
            if busy {
                self.counters.busy_cycles.fetch_add(cycles, Relaxed);
            }
            self.deliver();
        }
    }

    fn is_idle(&self) -> bool {
        self.dead || self.owed == 0 && self.quiet >= LINGER && !self.engine_busy
    }

    /// A burst of cycles; true if something was under way in it.
    fn step(&mut self) -> bool {
        self.system.run(BURST);
        self.owed = self.owed.saturating_sub(BURST);
        if !self.system.is_quiet() {
            self.quiet = 0;
            return true;
        }
        self.quiet += BURST;
        let busy = self.owed > 0 || self.engine_busy;
        if self.quiet >= LINGER {
            // Without an answer, because the device hangs or memory space is off, there is nothing to wait for.
            let status = self.system.mmio_read32(regs::EngStatus::OFFSET);
            self.engine_busy = status.is_ok_and(|s| regs::EngStatus::BUSY.is_set(s));
            if self.engine_busy {
                self.quiet = 0;
            }
        }
        busy
    }

    /// Passes interrupts on, and copies what the simulation counts.
    fn deliver(&mut self) {
        for vector in 0..regs::MSIX_VECTORS {
            for _ in 0..self.system.take_irqs(vector as u16) {
                if self.lose_irqs > 0 {
                    self.lose_irqs -= 1;
                    Counters::one(&self.counters.irqs_lost);
                } else {
                    self.signal(vector);
                }
            }
        }
        let io = self.system.io_counters();
        let counters = &self.counters;
        counters.dma_bytes_read.store(io.bytes_read, Relaxed);
        counters.dma_bytes_written.store(io.bytes_written, Relaxed);
        if let Some(ext) = self.system.ext() {
            counters.out_of_range.store(ext.out_of_range(), Relaxed);
        }
    }

    fn signal(&self, vector: u32) {
        let event = self.events.get(vector as usize).and_then(Option::as_ref);
        // An event counts by eight bytes. One that takes no more has not been looked at for 2^64 interrupts.
        match event.map(|mut file| file.write_all(&1u64.to_ne_bytes())) {
            Some(Ok(())) => Counters::one(&self.counters.irqs),
            Some(Err(_)) | None => Counters::one(&self.counters.irqs_unheard),
        }
    }

    fn perform(&mut self, job: Job) {
        match job {
            Job::ConfigRead {
                offset,
                bytes,
                reply,
            } => {
                Counters::one(&self.counters.config_reads);
                let mut out = vec![0; bytes];
                self.bars.read(&self.system, offset, &mut out);
                reply.send(out);
            }
            Job::ConfigWrite { offset, data } => {
                Counters::one(&self.counters.config_writes);
                if self.bars.write(&mut self.system, offset, &data) {
                    // Posted: nobody hears of a failure but by what then reads as ones.
                    let _ = self.reset("Function Level Reset");
                }
            }
            // What nobody waits for any more is not read: a read may have effects.
            Job::Read { reply, .. } if reply.is_late() => {}
            Job::Read {
                bar,
                offset,
                bytes,
                reply,
            } => {
                let mut out = vec![0xFF; bytes];
                match bar {
                    _ if self.dead => Counters::one(&self.counters.register_errors),
                    Bar::Registers => self.read_registers(offset, &mut out, reply.due),
                    Bar::Memory => self.load(offset, &mut out, reply.due),
                }
                reply.send(out);
            }
            Job::Write { bar, offset, data } => match bar {
                _ if self.dead => Counters::one(&self.counters.register_errors),
                Bar::Registers => self.write_registers(offset, &data),
                Bar::Memory => self.store(offset, &data),
            },
            Job::Map {
                address,
                memory,
                reply,
            } => reply.send(self.map(address, memory)),
            Job::Unmap {
                address,
                size,
                reply,
            } => reply.send(self.unmap(address, size)),
            Job::Reset(reply) => reply.send(self.reset("the client")),
            Job::Detach(reply) => reply.send(self.detach()),
            Job::Events {
                start,
                events,
                reply,
            } => {
                let slots = self.events.iter_mut().skip(start as usize);
                slots.zip(events).for_each(|(slot, event)| *slot = event);
                reply.send(Ok(()));
            }
            Job::Trigger {
                start,
                count,
                reply,
            } => {
                (start..start.saturating_add(count)).for_each(|vector| self.signal(vector));
                reply.send(Ok(()));
            }
            Job::Control(command, reply) => {
                let answer = self.control(command);
                reply.send(answer);
            }
            Job::Stop => {}
        }
    }

    /// Runs until nothing is under way, at most [`QUIESCE`] cycles; what is under way after that meets what the caller does next.
    fn quiesce(&mut self) {
        for _ in 0..QUIESCE / BURST {
            if self.system.is_hung() || self.quiet >= LINGER && !self.engine_busy {
                return;
            }
            self.step();
        }
    }

    fn reset(&mut self, whose: &str) -> Done {
        Counters::one(&self.counters.resets);
        self.system.set_hung(false);
        // No DMA begins any more; what was begun ends.
        self.system.unconfigure();
        self.engine_busy = false;
        self.quiesce();
        self.decoder = Decoder::default();
        self.decoding = false;
        self.choose_home();
        let done = self.system.reset().and_then(|()| self.wake());
        self.dead = done.is_err();
        match done {
            Ok(()) => {
                self.say(&format!("reset by {whose}"));
                Ok(())
            }
            Err(e) => {
                self.say(&format!("the device did not come back from a reset by {whose}: {e}; start the server anew"));
                Err(Error::other(e))
            }
        }
    }

    /// The client is gone.
    fn detach(&mut self) -> Done {
        self.events = Default::default();
        let done = self.reset("the end of the connection");
        self.unmap(0, u64::MAX)?;
        done
    }

    fn control(&mut self, command: Command) -> Result<String, String> {
        match command {
            Command::Hang(hung) => self.system.set_hung(hung),
            Command::Stall(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Command::LoseIrqs(n) => self.lose_irqs = n,
            Command::Link(on) => {
                let wire = WireFaults {
                    lose: if on { 0.0 } else { 1.0 },
                    ..WireFaults::default()
                };
                self.system.link_mut().set_faults(Faults::both(wire));
            }
            Command::Poison(line) => {
                let line = usize::try_from(line).unwrap_or(usize::MAX);
                let lines = self.system.capacity() / 64;
                match self.system.ext_mut().map(|ext| ext.poison(line)) {
                    Some(true) => {}
                    Some(false) => return Err(format!("there is no line {line}, only {lines}")),
                    None => return Err("this configuration has no external memory".into()),
                }
            }
            Command::WrongCompletion(n) => self.system.spoil_records(n),
            Command::Stats => {
                let mut all = self.counters.to_json();
                all.insert("store".into(), self.home.name().into());
                return Ok(serde_json::Value::Object(all).to_string());
            }
        }
        Ok("ok".into())
    }
}
