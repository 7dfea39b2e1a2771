//! A behavioural transport for tests of the driver: the core's model of a device, behind [`Transport`], with a configuration space.
//!
//! It checks the rules that a transport cannot check by timing: the contract of cxl-mem 8.6 (through the model) and that DMA memory is
//! freed once. It is no evidence for the RTL.
#![allow(dead_code)]

pub mod pages;

#[path = "../../core/tests/model/mod.rs"]
pub mod model;

use cxlmem_driver::transport::{Result, LINE};
use cxlmem_driver::{
    Device, HpaWindow, Intent, Limits, MsiMessage, Options, PageHolder, Transport, TransportError,
};
use cxlmem_driver_core::{DmaMem, IoError, Mmio, PAGE_BYTES};
use cxlmem_protocol::identity::{CLASS as CLASS_CXL_MEMORY, DVSEC_VENDOR};
use cxlmem_protocol::regs;
use model::Model;
use std::sync::{Arc, Mutex, MutexGuard};

pub const PAGE: usize = PAGE_BYTES as usize;
pub const HDM_BASE: u64 = 0x40_0000_0000;
pub const MSIX_CAP: u16 = 0x40;
pub const LOCATOR: u16 = 0x140;

/// Limits small enough for tests of time-outs.
pub const LIMITS: Limits = Limits {
    link: 10_000,
    media: 10_000,
    command: 20_000,
    per_page: 100,
    idle: 5_000,
    slice: 500,
    ..Limits::SIMULATED
};

/// The device, its configuration space, and what the test sees of them.
pub struct Shared {
    pub model: Model,
    pub config: Vec<u32>,
    pub dma_limit: usize,
    /// Lines asked for, with what intent.
    pub reads: Vec<(u64, Intent)>,
    /// Calls of `line_write` that fail from now on.
    pub write_fails: bool,
    /// Time that a store of a line takes, to widen races.
    pub slow_store: std::time::Duration,
    /// Device-coherent memory: who holds lines. The model's engine does not ask; tests do.
    pub pages: Option<Arc<dyn PageHolder>>,
}

#[derive(Clone)]
pub struct TestTransport(Arc<Mutex<Shared>>);

impl TestTransport {
    pub fn new(pages: usize) -> TestTransport {
        let mut config = vec![0; 1024];
        let mut put = |offset: u16, value: u32| config[usize::from(offset) / 4] = value;
        put(0x00, 0x0001_1AF4);
        put(0x04, 1 << 20);
        put(0x08, (CLASS_CXL_MEMORY << 8) | 1);
        put(0x34, MSIX_CAP.into());
        put(MSIX_CAP, 0x11 | ((regs::MSIX_VECTORS - 1) << 16));
        put(MSIX_CAP + 4, regs::MSIX_TABLE);
        // A foreign capability first, then the two DVSECs.
        put(0x100, 0x0001 | (1 << 16) | (0x110 << 20));
        put(0x110, 0x0023 | (1 << 16) | (u32::from(LOCATOR) << 20));
        put(0x114, u32::from(DVSEC_VENDOR) | (0x3C << 20));
        put(0x118, 0x001E << 16);
        put(LOCATOR, 0x0023 | (1 << 16));
        put(LOCATOR + 4, u32::from(DVSEC_VENDOR) | (0x24 << 20));
        put(LOCATOR + 8, 8);
        put(LOCATOR + 0xC, 3 << 8 | 1);
        put(LOCATOR + 0x14, 1 << 8);
        TestTransport(Arc::new(Mutex::new(Shared {
            model: Model::new(pages),
            config,
            dma_limit: usize::MAX,
            reads: Vec::new(),
            write_fails: false,
            slow_store: std::time::Duration::ZERO,
            pages: None,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap()
    }

    /// Opens the device with the limits of tests.
    pub fn open(&self) -> Arc<Device> {
        self.try_open().expect("the device opens")
    }

    pub fn try_open(&self) -> cxlmem_driver::Result<Arc<Device>> {
        self.try_open_as(false)
    }

    /// Opens a device that snoops.
    pub fn open_coherent(&self) -> Arc<Device> {
        use regs::Caps;
        let mut shared = self.lock();
        let caps = shared.model.regs.entry(Caps::OFFSET).or_default();
        *caps = Caps::BACK_INVALIDATE.with(*caps, 1);
        drop(shared);
        self.try_open_as(true).expect("the device opens")
    }

    pub fn try_open_as(&self, device_coherent: bool) -> cxlmem_driver::Result<Arc<Device>> {
        Device::open(
            self.clone(),
            &Options {
                device_coherent,
                limits: Some(LIMITS),
                ring_log2: 4,
                ..Options::default()
            },
        )
    }

    /// Nothing broke the contract.
    pub fn assert_clean(&self) {
        let shared = self.lock();
        let violations = &shared.model.violations;
        assert!(
            violations.is_empty(),
            "{} violations, the first: {}",
            violations.len(),
            violations[0]
        );
    }
}

fn map(operation: &'static str, address: u64, bytes: usize) -> impl Fn(IoError) -> TransportError {
    move |error| match error {
        IoError::Gone => TransportError::Gone {
            reason: "injected".into(),
        },
        IoError::Timeout => TransportError::Timeout {
            operation,
            address,
            cycles: 1000,
        },
        _ => TransportError::Address {
            operation,
            address,
            bytes: bytes as u64,
        },
    }
}

impl Transport for TestTransport {
    fn describe(&self) -> String {
        "behavioural test transport".into()
    }
    fn config_read32(&mut self, offset: u16) -> Result<u32> {
        Ok(self.lock().config[usize::from(offset) / 4])
    }
    fn config_write32(&mut self, offset: u16, value: u32) -> Result<()> {
        let mut shared = self.lock();
        let kept = if offset == 4 {
            shared.config[1] & 0xFFFF_0000 | value & 0xFFFF
        } else {
            value
        };
        shared.config[usize::from(offset) / 4] = kept;
        shared.model.msi_enabled = shared.config[usize::from(MSIX_CAP) / 4] >> 31 != 0;
        Ok(())
    }
    fn mmio_read32(&mut self, offset: u32) -> Result<u32> {
        self.lock()
            .model
            .read32(offset)
            .map_err(map("register read", offset.into(), 4))
    }
    fn mmio_write32(&mut self, offset: u32, value: u32) -> Result<()> {
        self.lock()
            .model
            .write32(offset, value)
            .map_err(map("register write", offset.into(), 4))
    }
    fn dma_alloc(&mut self, bytes: usize, align: usize) -> Result<u64> {
        assert!(align <= PAGE);
        let mut shared = self.lock();
        if (shared.model.host_pages() + bytes.div_ceil(PAGE)) > shared.dma_limit {
            return Err(TransportError::OutOfDmaMemory {
                bytes: bytes as u64,
            });
        }
        Ok(shared.model.alloc(bytes))
    }
    fn dma_free(&mut self, bus: u64, bytes: usize) {
        self.lock().model.free(bus, bytes);
    }
    fn dma_read(&mut self, bus: u64, out: &mut [u8]) -> Result<()> {
        let bytes = out.len();
        self.lock()
            .model
            .dma_read(bus, out)
            .map_err(map("DMA memory read", bus, bytes))
    }
    fn dma_write(&mut self, bus: u64, data: &[u8]) -> Result<()> {
        self.lock()
            .model
            .dma_write(bus, data)
            .map_err(map("DMA memory write", bus, data.len()))
    }
    fn hdm_window(&mut self) -> Result<HpaWindow> {
        Ok(HpaWindow {
            base: HDM_BASE,
            size: 1 << 30,
        })
    }
    fn line_read(&mut self, hpa: u64, intent: Intent, line: &mut [u8; LINE]) -> Result<bool> {
        let mut shared = self.lock();
        if shared.model.faults.gone {
            return Err(TransportError::Gone {
                reason: "injected".into(),
            });
        }
        shared.reads.push((hpa, intent));
        shared
            .model
            .line_read(hpa, line)
            .map_err(map("line read", hpa, LINE))
    }
    fn line_write(&mut self, hpa: u64, line: &[u8; LINE]) -> Result<()> {
        let slow = self.lock().slow_store;
        std::thread::sleep(slow);
        let mut shared = self.lock();
        if shared.write_fails || shared.model.faults.gone {
            return Err(TransportError::Timeout {
                operation: "line write",
                address: hpa,
                cycles: 1000,
            });
        }
        shared
            .model
            .line_write(hpa, line)
            .map_err(map("line write", hpa, LINE))
    }
    fn line_flush(&mut self, hpa: u64, bytes: u64) -> Result<()> {
        let mut shared = self.lock();
        if shared.model.faults.gone {
            return Err(TransportError::Gone {
                reason: "injected".into(),
            });
        }
        shared
            .model
            .flush(hpa - HDM_BASE, bytes)
            .map_err(map("flush", hpa, bytes as usize))
    }
    fn device_coherent(&mut self, pages: Arc<dyn PageHolder>) -> Result<()> {
        let mut shared = self.lock();
        shared.model.host_offers_bi = true;
        shared.pages = Some(pages);
        Ok(())
    }
    fn irq_message(&mut self, vector: u16) -> Result<Option<MsiMessage>> {
        Ok(Some(MsiMessage {
            address: 0xFEE0_0000,
            data: 0x40 + u32::from(vector),
        }))
    }
    fn wait_irq(&mut self, _vector: u16, budget: u64) -> Result<bool> {
        let slow = self.lock().model.faults.slow_us;
        if slow > 0 {
            std::thread::sleep(std::time::Duration::from_micros(slow));
        }
        Ok(self.lock().model.advance(budget))
    }
    fn now_cycles(&mut self) -> Result<u64> {
        Ok(self.lock().model.now)
    }
    fn clock_hz(&self) -> u64 {
        100_000_000
    }
}
