//! A client of a server in the same process: what a driver and QEMU do, without either.

use cxlmem_protocol::engine::{Completion, Descriptor, Opcode, COMPLETION_BYTES, DESCRIPTOR_BYTES};
use cxlmem_protocol::regs;
use cxlmem_serve::{Command, Counters, Handle, Options, Service};
use cxlmem_sim::shared::SharedMemory;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vfio_bindings::bindings::vfio::{VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD};
use vfio_user::Client;

pub const BAR0: u32 = 0;
pub const BAR2: u32 = 2;
pub const CONFIG: u32 = 7;
pub const MSIX: u32 = 2;

/// Guest physical address of the test's memory, and its bytes.
pub const RAM: u64 = 0x1_0000_0000;
pub const RAM_BYTES: u64 = 4 << 20;
/// Rings in it.
const RING: u64 = 0;
const RECORDS: u64 = 0x1_0000;
/// log2 of the descriptors.
const LOG2: u32 = 6;

pub struct Guest {
    pub client: Client,
    pub handle: Handle,
    pub ram: Arc<SharedMemory>,
    pub event: File,
    tail: u32,
    thread: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

pub fn options() -> Options {
    Options {
        config: "sim-ext".into(),
        once: true,
        quiet: true,
        ..Options::default()
    }
}

impl Guest {
    /// A server and its client, with memory, memory space and bus mastering on.
    pub fn new(options: Options) -> Guest {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let service = Service::bind(&socket, options).unwrap();
        let handle = service.handle();
        let thread = std::thread::spawn(move || service.run().unwrap());
        let client = Client::new(&socket).unwrap();
        let (file, ram) = SharedMemory::create(c"ram", RAM_BYTES).unwrap();
        let mut guest = Guest {
            client,
            handle,
            ram,
            event: event(),
            tail: 0,
            thread: Some(thread),
            _dir: dir,
        };
        let fd = file.as_raw_fd();
        guest.client.dma_map(0, RAM, RAM_BYTES, fd).unwrap();
        guest.enable();
        guest
    }

    /// Memory space and bus mastering on.
    pub fn enable(&mut self) {
        self.client.region_write(CONFIG, 4, &[6, 0]).unwrap();
    }

    pub fn counters(&self) -> &Counters {
        self.handle.counters()
    }

    pub fn command(&self, line: &str) {
        let command: Command = line.parse().unwrap();
        self.handle.command(command).unwrap();
    }

    /// Where device memory is.
    pub fn store(&self) -> String {
        let stats = self.handle.command(Command::Stats).unwrap();
        let from = stats.split("\"store\":\"").nth(1).unwrap();
        from.split('"').next().unwrap().to_string()
    }

    pub fn config(&mut self, offset: u64) -> u32 {
        let mut out = [0; 4];
        self.client.region_read(CONFIG, offset, &mut out).unwrap();
        u32::from_le_bytes(out)
    }

    pub fn read(&mut self, register: u32) -> u32 {
        let mut out = [0; 4];
        self.client
            .region_read(BAR0, register.into(), &mut out)
            .unwrap();
        u32::from_le_bytes(out)
    }

    pub fn write(&mut self, register: u32, value: u32) {
        self.client
            .region_write(BAR0, register.into(), &value.to_le_bytes())
            .unwrap();
    }

    pub fn wait(&mut self, register: u32, what: &str, done: impl Fn(u32) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !done(self.read(register)) {
            assert!(Instant::now() < end, "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Media ready, decoder 0 over `size` bytes at `base`, decoders on, link up.
    pub fn bring_up(&mut self, base: u64, size: u64) {
        self.wait(regs::MediaStatus::OFFSET, "media", |v| {
            regs::MediaStatus::READY.is_set(v)
        });
        self.write(regs::Hdm0BaseLo::OFFSET, base as u32);
        self.write(regs::Hdm0BaseHi::OFFSET, (base >> 32) as u32);
        self.write(regs::Hdm0SizeLo::OFFSET, size as u32);
        self.write(regs::Hdm0SizeHi::OFFSET, (size >> 32) as u32);
        let control = regs::Hdm0Ctrl::TARGET_TYPE.mask() | regs::Hdm0Ctrl::COMMIT.mask();
        self.write(regs::Hdm0Ctrl::OFFSET, control);
        self.wait(regs::Hdm0Ctrl::OFFSET, "commit", |v| {
            regs::Hdm0Ctrl::COMMITTED.is_set(v)
        });
        self.write(
            regs::HdmGlobalCtrl::OFFSET,
            regs::HdmGlobalCtrl::ENABLE.mask(),
        );
        self.wait(regs::LinkStatus::OFFSET, "link", |v| {
            regs::LinkStatus::UP.is_set(v)
        });
    }

    /// The engine's rings, and its interrupt as an event.
    pub fn engine(&mut self) {
        // MSI-X Enable: the capability is found as a driver finds it.
        let mut at = u64::from(self.config(0x34) & 0xFC);
        while self.config(at) & 0xFF != 0x11 {
            at = u64::from(self.config(at) >> 8 & 0xFC);
            assert_ne!(at, 0, "no MSI-X");
        }
        self.client
            .region_write(CONFIG, at + 2, &0x8000u16.to_le_bytes())
            .unwrap();
        let flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
        let fd = self.event.as_raw_fd();
        self.client.set_irqs(MSIX, flags, 1, 1, &[fd]).unwrap();
        let ring = RAM + RING;
        let records = RAM + RECORDS;
        self.write(regs::EngRingLo::OFFSET, ring as u32);
        self.write(regs::EngRingHi::OFFSET, (ring >> 32) as u32);
        self.write(regs::EngRingLog2::OFFSET, LOG2);
        self.write(regs::EngCplLo::OFFSET, records as u32);
        self.write(regs::EngCplHi::OFFSET, (records >> 32) as u32);
        self.write(regs::EngVector::OFFSET, 1);
        self.write(regs::EngCtrl::OFFSET, regs::EngCtrl::ENABLE.mask());
        self.tail = 0;
    }

    /// Queues one descriptor and rings the doorbell; returns its index.
    pub fn submit(&mut self, descriptor: &Descriptor) -> u32 {
        let n = self.tail;
        let clear = [0; COMPLETION_BYTES];
        let record = RECORDS + u64::from(n) * COMPLETION_BYTES as u64;
        self.ram.write(record, &clear).unwrap();
        let at = RING + u64::from(n) * DESCRIPTOR_BYTES as u64;
        self.ram.write(at, &descriptor.pack()).unwrap();
        self.tail = (n + 1) % (1 << LOG2);
        let tail = self.tail;
        self.write(regs::EngTail::OFFSET, tail);
        n
    }

    pub fn record(&self, n: u32) -> Completion {
        let mut bytes = [0; COMPLETION_BYTES];
        let at = RECORDS + u64::from(n) * COMPLETION_BYTES as u64;
        self.ram.read(at, &mut bytes).unwrap();
        Completion::unpack(&bytes)
    }

    /// Runs one descriptor until its interrupt arrives.
    pub fn run(&mut self, descriptor: &Descriptor) -> Completion {
        let n = self.submit(descriptor);
        assert_eq!(wait_event(&self.event, 60_000), Some(1), "no interrupt");
        self.record(n)
    }

    /// Makes the first `pages` pages of the device the engine's.
    pub fn own(&mut self, pages: u32) {
        let mut d = descriptor(Opcode::SetOwner, pages);
        d.arg = 1;
        let done = self.run(&d);
        assert_eq!((done.status, done.done), (0, pages));
    }

    pub fn load(&mut self, offset: u64, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        self.client.region_read(BAR2, offset, &mut out).unwrap();
        out
    }

    pub fn store_bytes(&mut self, offset: u64, data: &[u8]) {
        self.client.region_write(BAR2, offset, data).unwrap();
    }

    /// BAR2 as QEMU maps it: all of the file, of which it shows the sparse area.
    pub fn bar2(&self) -> Arc<SharedMemory> {
        let region = self.client.region(BAR2).unwrap();
        let file = region.file_offset.as_ref().unwrap();
        SharedMemory::map(file.file(), file.start(), region.size, true).unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.client.shutdown();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server");
        }
    }
}

pub fn descriptor(opcode: Opcode, count: u32) -> Descriptor {
    Descriptor {
        opcode: opcode as u8,
        flags: 1,
        id: 7,
        count,
        ..Descriptor::default()
    }
}

fn event() -> File {
    // SAFETY: a new descriptor is returned, or -1, which the next line refuses.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: the descriptor is new, and nobody else's.
    unsafe { File::from_raw_fd(fd) }
}

/// How often the event was signalled, or `None` if it was not within `ms`.
pub fn wait_event(mut file: &File, ms: i32) -> Option<u64> {
    use std::io::Read;
    let mut poll = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `poll` is one entry.
    if unsafe { libc::poll(&mut poll, 1, ms) } != 1 {
        return None;
    }
    let mut count = [0; 8];
    file.read_exact(&mut count).unwrap();
    Some(u64::from_ne_bytes(count))
}
