//! The simulated controller as a PCI device of another process, by the vfio-user protocol: QEMU's `vfio-user-pci` is the client it is made for.
//!
//! [`Service::bind`] powers a device up on a thread of its own and listens; [`Service::run`] serves one client after the other. `docs/developer/interfaces.md`
//! section 9 says what is behind which access.

mod backend;
mod config;
mod control;
mod counters;
mod job;
mod model;
mod socket;

pub use backend::ANSWER;
pub use control::Command;
pub use counters::Counters;

use backend::Backend;
use cxlmem_protocol::regs;
use cxlmem_sim::pcie::{MEMORY_BAR, REGISTER_BAR};
use cxlmem_sim::system::SystemError;
use job::{Job, Reply};
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{sync_channel, SyncSender};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vfio_bindings::bindings::vfio::{
    vfio_region_info, vfio_region_sparse_mmap_area, VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_NORESIZE,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
    VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_MMAP,
    VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE,
};
use vfio_user::{IrqInfo, Server, ServerRegion, SparseArea};

/// Bytes at the start of the memory BAR in which every access is a transaction; what follows is mapped.
pub const WINDOW: u64 = 2 << 20;

/// Longest wait for what the control socket asks.
const CONTROL_ANSWER: Duration = Duration::from_secs(15);

/// Where device memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the DMA range that holds what decoder 0 decodes, if there is one, else behind the memory BAR.
    #[default]
    Auto,
    /// In that DMA range, or nowhere.
    Spm,
    /// Behind the memory BAR.
    Bar,
}

/// Choices for a server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Named configuration.
    pub config: String,
    /// Where device memory is.
    pub mode: Mode,
    /// Nothing of the memory BAR is mapped: every access to it is a transaction.
    pub trap_all: bool,
    /// End when the first client has gone.
    pub once: bool,
    /// No messages on standard error.
    pub quiet: bool,
    /// Faults from the start.
    pub faults: Vec<Command>,
}

/// A server that cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The simulation.
    #[error(transparent)]
    System(#[from] SystemError),
    /// Device memory.
    #[error("no {bytes} bytes for device memory: {error}")]
    Memory {
        /// Bytes.
        bytes: u64,
        /// Why.
        error: std::io::Error,
    },
    /// The thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The thread ended.
    #[error("the simulation ended by itself")]
    Gone,
    /// Someone listens there.
    #[error("{0} is in use by another server; end that one, or give another socket")]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{0} is there and is no socket; remove it, or give another name")]
    NoSocket(PathBuf),
    /// The socket.
    #[error("cannot listen on {path}: {error}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// No client can be taken any more.
    #[error("cannot take a client: {0}")]
    Accept(vfio_user::Error),
    /// A fault from the start was refused.
    #[error("fault {0:?}: {1}")]
    Fault(Command, String),
}

/// A device that waits for clients.
pub struct Service {
    server: Server,
    backend: Backend,
    handle: Handle,
    once: bool,
}

/// What other threads do with a [`Service`].
#[derive(Clone)]
pub struct Handle {
    jobs: SyncSender<Job>,
    counters: Arc<Counters>,
    sockets: Arc<socket::Sockets>,
    ending: Arc<AtomicBool>,
}

impl Handle {
    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Does a command of the control socket.
    ///
    /// # Errors
    /// What to tell whoever gave it.
    pub fn command(&self, command: Command) -> Result<String, String> {
        let (to, from) = sync_channel(1);
        let due = Instant::now() + CONTROL_ANSWER;
        let job = Job::Control(command, Reply { to, due });
        self.jobs
            .try_send(job)
            .map_err(|_| "the model is gone, or too much waits for it".to_string())?;
        from.recv_timeout(CONTROL_ANSWER)
            .map_err(|_| format!("no answer within {CONTROL_ANSWER:?}"))?
    }

    /// Waits for no further client: [`Service::run`] returns when the one that is there has gone. Removes the sockets.
    pub fn end(&self) {
        self.ending.store(true, SeqCst);
        self.sockets.close();
    }
}

impl Service {
    /// Powers a device up and listens on `socket`; its control socket is beside it, with `.ctl` appended. A socket that an ended server left is replaced.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn bind(socket: &Path, options: Options) -> Result<Self, ServeError> {
        let sockets = socket::Sockets::bind(socket)?;
        let counters = Arc::<Counters>::default();
        let about = model::start(options.clone(), counters.clone())?;
        let fd = about.memory_fd.filter(|_| !options.trap_all);
        let listener: OwnedFd = sockets.clients()?;
        let server = Server::from_owned_fd(listener, true, irqs(), regions(about.memory_bar, fd));
        let handle = Handle {
            jobs: about.jobs.clone(),
            counters: counters.clone(),
            sockets: Arc::new(sockets),
            ending: Arc::default(),
        };
        for fault in options.faults {
            handle
                .command(fault)
                .map_err(|e| ServeError::Fault(fault, e))?;
        }
        socket::control(handle.clone())?;
        Ok(Self {
            server,
            backend: Backend {
                jobs: about.jobs,
                counters,
                memory_bar: about.memory_bar,
            },
            handle,
            once: options.once,
        })
    }

    /// For other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves clients until [`Handle::end`], with [`Options::once`] a single one.
    ///
    /// # Errors
    /// [`ServeError::Accept`].
    pub fn run(mut self) -> Result<(), ServeError> {
        loop {
            let Self {
                server, backend, ..
            } = &mut self;
            // The library panics at some malformed messages; the client that sent one is gone then, and nothing else.
            let served =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.run(backend)));
            if self.handle.ending.load(SeqCst) {
                break;
            }
            match served {
                Ok(Err(e @ vfio_user::Error::SocketAccept(_))) => {
                    return Err(ServeError::Accept(e))
                }
                Ok(Err(e)) => eprintln!("serve: the connection broke: {e}"),
                Err(_) => eprintln!("serve: the client sent a malformed message"),
                Ok(Ok(())) => {}
            }
            Counters::one(&self.handle.counters.clients);
            if let Err(e) = self.backend.detach() {
                eprintln!("serve: {e}");
            }
            if self.once {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.handle.end();
        let _ = self.handle.jobs.try_send(Job::Stop);
    }
}

/// Interrupts by index. QEMU wants to be able to set the error interrupt up; it is never raised.
fn irqs() -> Vec<IrqInfo> {
    (0..VFIO_PCI_NUM_IRQS)
        .map(|index| IrqInfo {
            index,
            flags: VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
            count: match index {
                VFIO_PCI_MSIX_IRQ_INDEX => regs::MSIX_VECTORS,
                VFIO_PCI_ERR_IRQ_INDEX => 1,
                _ => 0,
            },
        })
        .collect()
}

/// Regions by index; all but the first of the memory BAR's bytes are mapped, if there is a file.
fn regions(memory_bar: u64, file: Option<RawFd>) -> Vec<ServerRegion> {
    (0..VFIO_PCI_NUM_REGIONS)
        .map(|index| {
            let size = match index {
                VFIO_PCI_CONFIG_REGION_INDEX => u64::from(pcie_sim::config::regs::SPACE),
                i if i == u32::from(REGISTER_BAR) => u64::from(regs::BAR0_SIZE),
                i if i == u32::from(MEMORY_BAR) => memory_bar,
                _ => 0,
            };
            let mmap_fd = file.filter(|_| index == u32::from(MEMORY_BAR));
            let access = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
            let mapped = SparseArea {
                area: vfio_region_sparse_mmap_area {
                    offset: WINDOW,
                    size: memory_bar - WINDOW,
                },
            };
            ServerRegion {
                region_info: vfio_region_info {
                    argsz: std::mem::size_of::<vfio_region_info>() as u32,
                    index,
                    size,
                    flags: match (size, mmap_fd) {
                        (0, _) => 0,
                        (_, Some(_)) => access | VFIO_REGION_INFO_FLAG_MMAP,
                        (_, None) => access,
                    },
                    ..Default::default()
                },
                sparse_areas: mmap_fd.map(|_| mapped).into_iter().collect(),
                mmap_fd,
            }
        })
        .collect()
}
