//! A controller at the other end of a serial line, as something that stands at the pins of a [`crate::System`]: the host's end of
//! `cxlmem_protocol::serial`.
//!
//! A cycle of the host is the time that the line takes for a slot, 16 bytes: so the host's time-outs, which count cycles, fit a line of any speed.

mod board;
mod end;

pub use board::{BoardLine, Noise, SOURCE as BOARD_SOURCE};
pub use end::{EndCounters, HostEnd};

use crate::dut::{wide, words, Dut, Pins, Remote};
use cxlmem_hdl::Config;
use cxlmem_protocol::flit::Flit;
use cxlmem_protocol::serial::{
    tlp_flags, DevicePins, Frame, Hello, HostPins, Kind, TLP_BEATS, VERSION,
};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

/// Bytes of the line that pass in a cycle of the host.
pub const CYCLE_BYTES: u32 = 16;
/// Flits that may wait for the line; more would only hide latency.
const FLITS: usize = 4;
/// TLP frames that may wait for the line or for room at the device.
const TLPS: usize = 8;
/// Cycles of the host that the device may take to answer a reset, and between two tries.
const ANSWER: u32 = 4_000;
const TRY_AGAIN: u32 = 200;
/// Cycles of the host without anything acknowledged, after which the line is given up.
const SILENCE: u32 = 40_000;

/// Bytes to and from a device.
pub trait ByteLine: Send {
    /// Lets the time of [`CYCLE_BYTES`] bytes pass, moves bytes meanwhile, and adds what came to `received`.
    ///
    /// # Errors
    /// The line is gone.
    fn pass(&mut self, received: &mut Vec<u8>) -> io::Result<()>;

    /// Takes bytes; returns how many it had room for.
    ///
    /// # Errors
    /// The line is gone.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

/// Why a device on a line cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Nothing came back at all.
    #[error("no answer: is the board configured (`cxlmem board flash`), the line's rate the board's, and nothing else using the port?")]
    Silent,
    /// Bytes came, and no answer.
    #[error("{bytes} bytes came back and none of them were an answer: is this a cxlmem board, and the line's rate the board's?")]
    Garbage {
        /// How many.
        bytes: u64,
    },
    /// It speaks another version.
    #[error("the board speaks version {found} of the serial protocol, this program version {VERSION}: build and flash a bitstream of this version")]
    Version {
        /// Its version.
        found: u8,
    },
    /// Its configuration is unknown.
    #[error("the board has configuration number {0}, which this program does not know: build and flash a bitstream of this version")]
    Config(u8),
    /// It has stopped answering.
    #[error("the board answers no more")]
    Stopped,
    /// The operating system has something to say.
    #[error("the line is gone: {0}")]
    Io(String),
}

/// What happened to a line, for those who hold its other side.
#[derive(Clone, Default)]
pub struct LineState(Arc<Mutex<Shared>>);

#[derive(Clone, Default)]
struct Shared {
    error: Option<LineError>,
    counters: EndCounters,
}

impl LineState {
    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// Why it is of no use any more.
    pub fn error(&self) -> Option<LineError> {
        self.with(|s| s.error.clone())
    }

    /// Frames and their fates.
    pub fn counters(&self) -> EndCounters {
        self.with(|s| s.counters)
    }
}

/// Finds out what is at the other end, and resets it.
///
/// # Errors
/// [`LineError`].
pub fn open(line: Box<dyn ByteLine>, seed: u8) -> Result<(Dut, Hello, LineState), LineError> {
    let mut device = SerialDevice {
        line,
        end: HostEnd::default(),
        nonce: seed,
        flits_out: VecDeque::new(),
        tlps_out: VecDeque::new(),
        pins_out: None,
        flits_in: VecDeque::new(),
        tlps_in: VecDeque::new(),
        flit: Vec::new(),
        beats: Vec::new(),
        slot: 0,
        host_pins: HostPins::default(),
        device_pins: DevicePins::default(),
        blink: false,
        reset: false,
        tlp_room: 0,
        bytes: 0,
        quiet: 0,
        buffer: Vec::new(),
        unsent: VecDeque::new(),
        state: LineState::default(),
    };
    let hello = device.restart()?;
    let config = Config::by_id(hello.config.into());
    let config = config.ok_or(LineError::Config(hello.config))?;
    let state = device.state.clone();
    Ok((Dut::remote(config.name, Box::new(device)), hello, state))
}

struct SerialDevice {
    line: Box<dyn ByteLine>,
    end: HostEnd,
    nonce: u8,
    flits_out: VecDeque<Flit>,
    tlps_out: VecDeque<Frame>,
    pins_out: Option<HostPins>,
    flits_in: VecDeque<Flit>,
    tlps_in: VecDeque<(u128, bool)>,
    /// Slots of the flit that the host is sending, and beats of its TLP.
    flit: Vec<u128>,
    beats: Vec<u128>,
    /// Slot of the flit at the host's pins.
    slot: usize,
    host_pins: HostPins,
    device_pins: DevicePins,
    /// The link was disabled and enabled between two looks: the host has to see it.
    blink: bool,
    reset: bool,
    tlp_room: u8,
    /// Bytes received since the reset.
    bytes: u64,
    /// Cycles without progress.
    quiet: u32,
    buffer: Vec<u8>,
    unsent: VecDeque<u8>,
    state: LineState,
}

fn payload_of(flit: &Flit) -> Vec<u8> {
    let slots = flit.slots.iter().flat_map(|s| s.to_le_bytes());
    slots.chain(flit.crc.to_le_bytes()).collect()
}

fn flit_of(payload: &[u8]) -> Option<Flit> {
    let (slots, crc) = payload.split_at_checked(64)?;
    let mut flit = Flit::default();
    for (slot, bytes) in flit.slots.iter_mut().zip(slots.chunks_exact(16)) {
        *slot = bytes.try_into().map_or(0, u128::from_le_bytes);
    }
    flit.crc = u16::from_le_bytes(crc.try_into().ok()?);
    Some(flit)
}

impl SerialDevice {
    /// Resets the device and waits for its answer.
    fn restart(&mut self) -> Result<Hello, LineError> {
        self.nonce = self.nonce.wrapping_add(1).max(1);
        self.end = HostEnd::default();
        self.flits_out.clear();
        self.tlps_out.clear();
        self.pins_out = None;
        self.flits_in.clear();
        self.tlps_in.clear();
        self.flit.clear();
        self.beats.clear();
        self.slot = 0;
        self.host_pins = HostPins::default();
        self.device_pins = DevicePins::default();
        self.blink = false;
        self.bytes = 0;
        self.quiet = 0;
        self.unsent.clear();
        // What is half sent ends here.
        self.unsent.push_back(0);
        let mut frame = Frame::new(Kind::Reset, &[]);
        frame.number = self.nonce;
        for n in 0..ANSWER {
            if n % TRY_AGAIN == 0 {
                self.end.wire(&frame, &mut self.unsent);
            }
            self.move_bytes()?;
            let answer = self.end.take_hello(self.nonce);
            let Some(hello) = answer.and_then(|f| Hello::of(f.payload())) else {
                continue;
            };
            if hello.version != VERSION {
                return Err(LineError::Version {
                    found: hello.version,
                });
            }
            self.end.begin();
            self.tlp_room = hello.tlp_room;
            return Ok(hello);
        }
        Err(match self.bytes {
            0 => LineError::Silent,
            bytes => LineError::Garbage { bytes },
        })
    }

    /// A cycle's time on the line.
    fn move_bytes(&mut self) -> Result<(), LineError> {
        let io = |e: io::Error| LineError::Io(e.to_string());
        while !self.unsent.is_empty() {
            let (first, _) = self.unsent.as_slices();
            let sent = self.line.send(first).map_err(io)?;
            if sent == 0 {
                break;
            }
            self.unsent.drain(..sent);
        }
        self.buffer.clear();
        self.line.pass(&mut self.buffer).map_err(io)?;
        self.bytes += self.buffer.len() as u64;
        let progress = self.end.receive(&self.buffer);
        self.quiet = if progress || self.end.is_idle() {
            0
        } else {
            self.quiet + 1
        };
        match self.quiet {
            SILENCE.. => Err(LineError::Stopped),
            _ => Ok(()),
        }
    }

    /// Frames from what waits, and bytes from frames, as long as the line has use for them.
    fn feed(&mut self) {
        while self.end.has_room() {
            if let Some(pins) = self.pins_out.take() {
                self.end.add(Frame::new(Kind::Pins, &pins.bytes()));
            } else if let Some(flit) = self.flits_out.pop_front() {
                self.end.add(Frame::new(Kind::Flit, &payload_of(&flit)));
            } else if self.end.tlps_ahead() < self.tlp_room {
                match self.tlps_out.pop_front() {
                    Some(frame) => self.end.add(frame),
                    None => break,
                }
            } else {
                break;
            }
        }
        // Two cycles' worth of bytes ahead: the line never idles, and an acknowledgement is never old.
        while self.unsent.len() < 2 * CYCLE_BYTES as usize && self.end.send(&mut self.unsent) {}
        while let Some(frame) = self.end.take() {
            let payload = frame.payload();
            match frame.kind {
                Kind::Flit => self.flits_in.extend(flit_of(payload)),
                Kind::Tlp => {
                    let beats = payload.get(1..).unwrap_or_default().chunks_exact(16);
                    let count = beats.len();
                    let ends = payload.first().is_some_and(|f| f & 1 != 0);
                    for (n, bytes) in beats.enumerate() {
                        let beat = bytes.try_into().map_or(0, u128::from_le_bytes);
                        self.tlps_in.push_back((beat, ends && n + 1 == count));
                    }
                }
                _ => {
                    let pins = DevicePins::of(payload.first().copied().unwrap_or_default());
                    if pins.epoch != self.device_pins.epoch {
                        self.blink = true;
                        self.flits_in.clear();
                        self.slot = 0;
                        self.flits_out.clear();
                        self.flit.clear();
                    }
                    self.device_pins = pins;
                }
            }
        }
    }

    /// Takes what the host has driven.
    fn sample(&mut self, pins: &Pins) {
        if pins.rx_valid != 0 {
            if pins.rx_sof != 0 {
                self.flit.clear();
            }
            self.flit.push(wide(pins.rx_slot));
            if let Ok(slots) = <[u128; 4]>::try_from(&self.flit[..]) {
                self.flit.clear();
                self.flits_out.push_back(Flit {
                    slots,
                    crc: pins.rx_crc,
                });
            }
        }
        if pins.tx_valid != 0 && pins.tx_ready != 0 {
            self.slot += 1;
            if self.slot == 4 {
                self.slot = 0;
                self.flits_in.pop_front();
            }
        }
        if pins.tlp_rx_valid != 0 && pins.tlp_rx_ready != 0 {
            self.beats.push(wide(pins.tlp_rx_data));
            let is_last = pins.tlp_rx_last != 0;
            if is_last || self.beats.len() == TLP_BEATS {
                let mut payload = vec![tlp_flags(self.beats.len(), is_last)];
                payload.extend(self.beats.drain(..).flat_map(u128::to_le_bytes));
                self.tlps_out.push_back(Frame::new(Kind::Tlp, &payload));
            }
        }
        if pins.tlp_tx_valid != 0 && pins.tlp_tx_ready != 0 {
            self.tlps_in.pop_front();
        }
        let now = HostPins {
            bdf: pins.cfg_bdf,
            bme: pins.cfg_bme != 0,
            msix_en: pins.cfg_msix_en != 0,
            msix_mask: pins.cfg_msix_mask != 0,
            phy_down: pins.phy_down != 0,
            epoch: self.device_pins.epoch,
        };
        if now != self.host_pins {
            self.host_pins = now;
            self.pins_out = Some(now);
        }
    }

    /// Sets what the host sees in the next cycle.
    fn drive(&mut self, pins: &mut Pins) {
        let blink = std::mem::take(&mut self.blink);
        pins.link_enabled = u8::from(self.device_pins.link_enabled && !blink);
        pins.phy_reinit = self.device_pins.phy_reinit.into();
        pins.tlp_rx_ready = u8::from(self.tlps_out.len() < TLPS);
        pins.tx_valid = 0;
        if let (Some(flit), false) = (self.flits_in.front(), blink) {
            pins.tx_valid = 1;
            pins.tx_slot = words(flit.slots[self.slot]);
            pins.tx_sof = u8::from(self.slot == 0);
            pins.tx_crc = flit.crc;
        }
        pins.tlp_tx_valid = 0;
        if let Some((beat, is_last)) = self.tlps_in.front() {
            pins.tlp_tx_valid = 1;
            pins.tlp_tx_data = words(*beat);
            pins.tlp_tx_last = u8::from(*is_last);
        }
    }

    fn cycle(&mut self, pins: &mut Pins) -> Result<(), LineError> {
        if pins.reset != 0 {
            self.reset = true;
            return Ok(());
        }
        if std::mem::take(&mut self.reset) {
            self.restart()?;
        }
        self.sample(pins);
        self.feed();
        self.move_bytes()?;
        // The host's pins have no way to say that the line is slower than the host: its time stands still.
        while self.flits_out.len() > FLITS {
            self.feed();
            self.move_bytes()?;
        }
        self.feed();
        self.drive(pins);
        Ok(())
    }
}

impl Remote for SerialDevice {
    fn edge(&mut self, pins: &mut Pins) {
        // A line that is gone: the pins stay still, and the host's time-outs end what is under way.
        if self.state.error().is_some() {
            pins.tx_valid = 0;
            pins.tlp_tx_valid = 0;
            pins.link_enabled = 0;
            return;
        }
        let result = self.cycle(pins);
        let counters = self.end.counters();
        self.state.with(|s| {
            s.counters = counters;
            s.error = result.err();
        });
    }
}

#[cfg(test)]
mod tests;
