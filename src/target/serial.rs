//! A board on a serial port of this machine.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cxlmem_sim::serial::{ByteLine, CYCLE_BYTES};
use serialport::{ClearBuffer, SerialPort};

/// Rate of a board whose rate is not given.
pub const BAUD: u32 = 3_000_000;
/// Bits of a byte on the line.
const BYTE_BITS: u32 = 10;
/// A process that slept longer than this does not make up for it.
const LATE: Duration = Duration::from_millis(5);

/// Cycles of the host in a second, on a line of that rate.
pub fn cycles_per_second(baud: u32) -> u64 {
    u64::from((baud / BYTE_BITS / CYCLE_BYTES).max(1))
}

/// A port whose bytes pass at the line's rate, whatever the system buffers.
pub struct PortLine {
    port: Box<dyn SerialPort>,
    cycle: Duration,
    due: Instant,
    /// Bytes that the line has time for.
    room: usize,
}

impl PortLine {
    /// Opens a port, alone.
    ///
    /// # Errors
    /// What the system says, and what to do.
    pub fn open(path: &Path, baud: u32) -> Result<PortLine> {
        let name = path.display().to_string();
        let open = || -> serialport::Result<Box<dyn SerialPort>> {
            let port = serialport::new(&name, baud)
                .timeout(Duration::from_millis(1))
                .open_native()?;
            port.clear(ClearBuffer::All)?;
            Ok(Box::new(port))
        };
        let port = open()
            .with_context(|| format!("cannot open {name} at {baud} baud: {}", advice(path)))?;
        Ok(PortLine {
            port,
            cycle: Duration::from_nanos(1_000_000_000 / cycles_per_second(baud)),
            due: Instant::now(),
            room: 0,
        })
    }
}

/// What to do about a port that does not open.
fn advice(path: &Path) -> String {
    let ports = serialport::available_ports().unwrap_or_default();
    let names: Vec<String> = ports.into_iter().map(|p| p.port_name).collect();
    match (path.exists(), names.is_empty()) {
        (false, true) => "there is no such port, nor any other: is the board connected?".into(),
        (false, false) => format!("there is no such port; there are {}", names.join(", ")),
        (true, _) => "it is there: does another program use it, are you in its group (often `dialout`), and does it know that rate?".into(),
    }
}

impl ByteLine for PortLine {
    fn pass(&mut self, received: &mut Vec<u8>) -> io::Result<()> {
        self.due += self.cycle;
        let now = Instant::now();
        match self.due.checked_duration_since(now) {
            Some(early) => std::thread::sleep(early),
            None if now - self.due > LATE => self.due = now,
            None => {}
        }
        self.room = (self.room + CYCLE_BYTES as usize).min(4 * CYCLE_BYTES as usize);
        let waiting = self.port.bytes_to_read()? as usize;
        if waiting > 0 {
            let start = received.len();
            received.resize(start + waiting, 0);
            let got = match self.port.read(&mut received[start..]) {
                Ok(n) => n,
                Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => 0,
                Err(e) => return Err(e),
            };
            received.truncate(start + got);
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(self.room)];
        if bytes.is_empty() {
            return Ok(0);
        }
        let sent = match self.port.write(bytes) {
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => 0,
            Err(e) => return Err(e),
        };
        self.room -= sent;
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_not_there_or_is_none_says_what_to_do() {
        let missing = PortLine::open(Path::new("/dev/ttyNONE"), BAUD)
            .err()
            .unwrap();
        let text = format!("{missing:#}");
        assert!(
            text.contains("/dev/ttyNONE") && text.contains("no such port"),
            "{text}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("{:#}", PortLine::open(file.path(), BAUD).err().unwrap());
        assert!(text.contains("another program"), "{text}");
    }

    #[test]
    fn a_cycle_is_the_time_of_a_slot() {
        assert_eq!(cycles_per_second(3_000_000), 18_750);
        assert_eq!(cycles_per_second(1), 1);
    }
}
