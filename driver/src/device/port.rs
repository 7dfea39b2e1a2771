//! A transport seen as the surroundings of the driver's logic.

use crate::transport::{Transport, TransportError};
use cxlmem_driver_core::{Clock, DmaMem, IoError, Mmio};

/// Adapter from [`Transport`] to the traits of the driver core. Keeps the transport's last error, which says more than an [`IoError`].
pub(crate) struct Port {
    pub transport: Box<dyn Transport>,
    /// Vector of the engine's completions.
    pub vector: u16,
    pub last_error: Option<TransportError>,
    now: u64,
}

impl Port {
    pub fn new(transport: Box<dyn Transport>, vector: u16) -> Port {
        Port {
            transport,
            vector,
            last_error: None,
            now: 0,
        }
    }

    pub fn keep<T>(&mut self, result: Result<T, TransportError>) -> Result<T, IoError> {
        result.map_err(|error| {
            let code = match error {
                TransportError::Gone { .. } => IoError::Gone,
                TransportError::Timeout { .. } => IoError::Timeout,
                TransportError::Address { .. } | TransportError::NoMemory { .. } => {
                    IoError::Address
                }
                _ => IoError::Other(0),
            };
            self.last_error = Some(error);
            code
        })
    }
}

impl Mmio for Port {
    fn read32(&mut self, offset: u32) -> Result<u32, IoError> {
        let result = self.transport.mmio_read32(offset);
        self.keep(result)
    }
    fn write32(&mut self, offset: u32, value: u32) -> Result<(), IoError> {
        let result = self.transport.mmio_write32(offset, value);
        self.keep(result)
    }
}

impl DmaMem for Port {
    fn dma_read(&mut self, bus: u64, out: &mut [u8]) -> Result<(), IoError> {
        let result = self.transport.dma_read(bus, out);
        self.keep(result)
    }
    fn dma_write(&mut self, bus: u64, data: &[u8]) -> Result<(), IoError> {
        let result = self.transport.dma_write(bus, data);
        self.keep(result)
    }
}

impl Clock for Port {
    fn now(&mut self) -> u64 {
        let result = self.transport.now_cycles();
        if let Ok(now) = self.keep(result) {
            self.now = self.now.max(now);
        }
        self.now
    }
    fn pause(&mut self, ticks: u64) {
        let result = self.transport.wait_irq(self.vector, ticks);
        // An error shows again at the next register access; the number of pauses is bounded.
        let _ = self.keep(result);
    }
}
