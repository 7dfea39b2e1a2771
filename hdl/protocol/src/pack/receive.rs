//! The receiver, for either direction: framing, rollover, reassembly of data.

use super::{to_line, Event, Extensions, Read, Ring, Write};
use crate::flit::control::Control;
use crate::flit::format::{format, Class, Format, Kind, H_BASE};
use crate::flit::{Direction, Flit, FlitHeader};
use crate::msg::{DecodeError, M2sBiRsp, M2sReq, M2sRwd, M2sRwdOpcode, S2mBiSnp, S2mDrs, S2mNdr};
use core::fmt;

/// A rule that a flit broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlitError {
    /// The CRC is wrong; the flit is dropped.
    Crc {
        /// As received.
        received: u16,
        /// As computed over the slots.
        computed: u16,
    },
    /// A message cannot be acted on.
    Message(DecodeError),
    /// A slot has a format that is reserved, or that the two ends did not agree on.
    Format {
        /// Name of the format.
        format: &'static str,
        /// What it would hold.
        class: Class,
    },
    /// A slot holds a CXL.cache message.
    CacheMessage {
        /// Name of the format.
        format: &'static str,
        /// Position of its Valid bit in the slot.
        bit: u32,
    },
    /// A data slot, but no header owes data.
    DataWithoutHeader,
    /// The rollover makes this slot a data slot, but the flit header says otherwise.
    ForcedSlot {
        /// The code that should be 0.
        code: u8,
    },
    /// A second data header outside a multi-header format.
    TwoDataHeaders,
    /// More data messages than can be in flight.
    TooMuchData,
    /// Sz = 0 with an RwD: M2S data is 64 bytes only.
    HalfLineWrite,
    /// Byte enables with a message that takes none, or MemWrPtl without them.
    ByteEnables,
    /// A control flit with a reserved LLCTRL or SubType.
    Control {
        /// LLCTRL.
        llctrl: u8,
        /// SubType.
        sub_type: u8,
    },
}

impl fmt::Display for FlitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crc { received, computed } => write!(
                f,
                "CRC {received:#06x} received, {computed:#06x} computed: the flit is damaged and was dropped; look at the wire, or resend"
            ),
            Self::Message(error) => write!(f, "{error}"),
            Self::Format { format, class } => write!(
                f,
                "format {format} ({class:?}) is not in use on this link (cxl-mem 3.3, 3.4): the slot was ignored; check what both ends agreed on"
            ),
            Self::CacheMessage { format, bit } => write!(
                f,
                "format {format} holds a CXL.cache message (Valid at slot bit {bit}), which this project does not handle: it was ignored"
            ),
            Self::DataWithoutHeader => write!(
                f,
                "data slot without a header that owes data (cxl-mem 3.5): earlier flits are missing, or the rollover count is wrong"
            ),
            Self::ForcedSlot { code } => write!(
                f,
                "the rollover makes this a data slot, but its format code is {code} and not 0 (cxl-mem 3.5): check the rollover count"
            ),
            Self::TwoDataHeaders => {
                write!(f, "second data header in a flit without a multi-header format (cxl-mem 3.5): the sender must not do this")
            }
            Self::TooMuchData => {
                write!(f, "more data headers than can be in flight (cxl-mem 3.5): the data of this one will be dropped")
            }
            Self::HalfLineWrite => {
                write!(f, "Sz = 0 with an RwD: M2S data is 64 bytes only (cxl-mem 3.2); the write was dropped, the sender must set Sz")
            }
            Self::ByteEnables => write!(
                f,
                "BE in the flit header and the data message do not fit (cxl-mem 1.4.5: BE exactly with MemWrPtl, never in S2M flits)"
            ),
            Self::Control { llctrl, sub_type } => write!(
                f,
                "control flit with reserved LLCTRL {llctrl:#x} / SubType {sub_type:#x} (cxl-mem 3.6): it was ignored"
            ),
        }
    }
}

impl core::error::Error for FlitError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Message(error) => Some(error),
            _ => None,
        }
    }
}

/// Data messages that can wait for chunks: what is left of up to two half lines, and a full multi-header slot or two.
const MAX_PENDING: usize = 8;

#[derive(Clone, Copy, Debug)]
enum Header {
    Rwd(M2sRwd),
    Drs(S2mDrs),
    /// Broken: its data is counted and dropped.
    Dropped,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    header: Header,
    /// Data chunks in all, 4 or 2.
    chunks: u8,
    be: bool,
    got: u8,
    data: [u128; 4],
}

/// Turns the flits of one direction into [`Event`]s.
///
/// The state is what cxl-mem 3.5 calls rollover: the headers whose data has not all come.
#[derive(Clone, Debug)]
pub struct Receiver {
    direction: Direction,
    extensions: Extensions,
    owed: u32,
    pending: Ring<Pending, MAX_PENDING>,
}

impl Receiver {
    /// A receiver that owes nothing.
    pub const fn new(direction: Direction, extensions: Extensions) -> Self {
        let filler = Pending {
            header: Header::Dropped,
            chunks: 0,
            be: false,
            got: 0,
            data: [0; 4],
        };
        Self {
            direction,
            extensions,
            owed: 0,
            pending: Ring::new(filler),
        }
    }

    /// As if a header that owes `chunks` more chunks had been seen before: for decoding from the middle of a stream.
    /// Those chunks are reported as [`Event::Chunk`], their line is not.
    pub fn assume_rollover(&mut self, chunks: u8) {
        self.owed = u32::from(chunks);
        self.pending.len = 0;
        if chunks > 0 {
            self.pending.push(Pending {
                header: Header::Dropped,
                chunks,
                be: false,
                got: 0,
                data: [0; 4],
            });
        }
    }

    /// Chunks owed at the start of the next flit. Above 3, that flit is an all-data flit.
    pub const fn rollover(&self) -> u32 {
        self.owed
    }

    /// Takes a flit; `sink(slot, event)` gets what is in it, in bit order. A flit with a bad CRC is reported and dropped.
    #[inline]
    pub fn push(&mut self, flit: &Flit, mut sink: impl FnMut(usize, Event)) {
        let computed = crate::crc::of(&flit.slots);
        if computed != flit.crc {
            sink(
                0,
                Event::Error(FlitError::Crc {
                    received: flit.crc,
                    computed,
                }),
            );
            return;
        }
        self.accept(&flit.slots, sink);
    }

    /// Takes the slots of a flit whose CRC is known to be good.
    #[inline]
    pub fn accept(&mut self, slots: &[u128; 4], mut sink: impl FnMut(usize, Event)) {
        if self.owed >= 4 {
            for (n, slot) in slots.iter().enumerate() {
                self.chunk(n, *slot, &mut sink);
            }
            return;
        }
        let header = FlitHeader::unpack(slots[0] as u32);
        if header.control == 1 {
            control(slots[0], &header, &mut sink);
            return;
        }
        let credits = header.credits();
        if !credits.is_empty() {
            sink(0, Event::Credits(credits));
        }
        if header.ak == 1 {
            sink(0, Event::Ack(8));
        }
        let forced = self.owed as usize;
        let mut data_headers = 0;
        for (n, slot) in slots.iter().enumerate() {
            let code = header.slot(n);
            if n > 0 && n <= forced {
                if code != 0 {
                    sink(n, Event::Error(FlitError::ForcedSlot { code }));
                }
                self.chunk(n, *slot, &mut sink);
                continue;
            }
            let slot = if n == 0 {
                slot >> H_BASE << H_BASE
            } else {
                *slot
            };
            let format = format(self.direction, n, code);
            let taken = match format.class {
                Class::Data => {
                    if self.owed > 0 {
                        self.chunk(n, slot, &mut sink);
                    } else if slot != 0 {
                        sink(n, Event::Error(FlitError::DataWithoutHeader));
                    }
                    continue;
                }
                Class::Mem | Class::Cache => true,
                Class::Bi68 => self.extensions.bi68,
                Class::MultiHeader => self.extensions.multi_header,
                Class::Ide | Class::Reserved => false,
            };
            if !taken {
                if slot != 0 {
                    sink(
                        n,
                        Event::Error(FlitError::Format {
                            format: format.name,
                            class: format.class,
                        }),
                    );
                }
                continue;
            }
            if let Some(bit) = format.cache_valid.iter().find(|bit| slot >> **bit & 1 == 1) {
                sink(
                    n,
                    Event::Error(FlitError::CacheMessage {
                        format: format.name,
                        bit: *bit,
                    }),
                );
            }
            self.messages(n, slot, format, &header, &mut data_headers, &mut sink);
        }
    }

    /// The messages of one slot.
    #[inline]
    fn messages(
        &mut self,
        n: usize,
        slot: u128,
        format: &Format,
        header: &FlitHeader,
        data_headers: &mut u32,
        sink: &mut impl FnMut(usize, Event),
    ) {
        for place in format.places {
            let raw = place.get(slot);
            if raw & 1 == 0 {
                continue;
            }
            if place.kind.has_data() {
                *data_headers += 1;
                if *data_headers > 1 && format.class != Class::MultiHeader {
                    sink(n, Event::Error(FlitError::TwoDataHeaders));
                }
            }
            let result = match place.kind {
                Kind::Req => M2sReq::unpack(raw).map(|m| m.map(Event::Req)),
                Kind::BiRsp => M2sBiRsp::unpack(raw).map(|m| m.map(Event::BiRsp)),
                Kind::Ndr => S2mNdr::unpack(raw).map(|m| m.map(Event::Ndr)),
                Kind::BiSnp => S2mBiSnp::unpack(raw).map(|m| m.map(Event::BiSnp)),
                Kind::Rwd => {
                    let message = M2sRwd::unpack(raw);
                    self.owe_rwd(n, message.ok().flatten(), header, sink);
                    message.map(|m| m.map(Event::RwdHeader))
                }
                Kind::Drs => {
                    let message = S2mDrs::unpack(raw);
                    self.owe_drs(n, message.ok().flatten(), header, sink);
                    message.map(|m| m.map(Event::DrsHeader))
                }
            };
            match result {
                Ok(Some(event)) => sink(n, event),
                Ok(None) => {}
                Err(error) => sink(n, Event::Error(FlitError::Message(error))),
            }
        }
    }

    #[inline]
    fn owe_rwd(
        &mut self,
        n: usize,
        message: Option<M2sRwd>,
        header: &FlitHeader,
        sink: &mut impl FnMut(usize, Event),
    ) {
        let be = header.be == 1;
        let mut kept = message.map_or(Header::Dropped, Header::Rwd);
        if header.sz == 0 {
            sink(n, Event::Error(FlitError::HalfLineWrite));
            kept = Header::Dropped;
        }
        if message.is_some_and(|m| (m.opcode == M2sRwdOpcode::MemWrPtl) != be) {
            sink(n, Event::Error(FlitError::ByteEnables));
            kept = Header::Dropped;
        }
        self.owe(n, kept, header.sz, be, sink);
    }

    #[inline]
    fn owe_drs(
        &mut self,
        n: usize,
        message: Option<S2mDrs>,
        header: &FlitHeader,
        sink: &mut impl FnMut(usize, Event),
    ) {
        if header.be == 1 {
            sink(n, Event::Error(FlitError::ByteEnables));
        }
        self.owe(
            n,
            message.map_or(Header::Dropped, Header::Drs),
            header.sz,
            false,
            sink,
        );
    }

    #[inline]
    fn owe(
        &mut self,
        n: usize,
        header: Header,
        sz: u8,
        be: bool,
        sink: &mut impl FnMut(usize, Event),
    ) {
        let chunks = if sz == 1 { 4 } else { 2 };
        self.owed += u32::from(chunks) + u32::from(be);
        if !self.pending.push(Pending {
            header,
            chunks,
            be,
            got: 0,
            data: [0; 4],
        }) {
            sink(n, Event::Error(FlitError::TooMuchData));
        }
    }

    /// One chunk for the oldest message that owes data.
    #[inline]
    fn chunk(&mut self, n: usize, chunk: u128, sink: &mut impl FnMut(usize, Event)) {
        self.owed = self.owed.saturating_sub(1);
        let Some(oldest) = self.pending.front_mut() else {
            sink(n, Event::Chunk(chunk));
            return;
        };
        if oldest.got < oldest.chunks {
            oldest.data[usize::from(oldest.got & 3)] = chunk;
            sink(n, Event::Chunk(chunk));
        } else {
            sink(n, Event::ByteEnables(chunk as u64));
        }
        oldest.got += 1;
        if oldest.got < oldest.chunks + u8::from(oldest.be) {
            return;
        }
        let be = oldest.be.then_some(chunk as u64);
        match oldest.header {
            Header::Rwd(header) => sink(
                n,
                Event::Write(Write {
                    header,
                    data: to_line(&oldest.data),
                    be,
                }),
            ),
            Header::Drs(header) => {
                sink(
                    n,
                    Event::Read(Read {
                        header,
                        data: to_line(&oldest.data),
                        half: oldest.chunks == 2,
                    }),
                );
            }
            Header::Dropped => {}
        }
        self.pending.pop();
    }
}

fn control(slot0: u128, header: &FlitHeader, sink: &mut impl FnMut(usize, Event)) {
    match Control::unpack(slot0) {
        Ok(control) => {
            sink(0, Event::Control(control));
            if let Control::LlcrdAck { ack } = control {
                let credits = header.credits();
                if !credits.is_empty() {
                    sink(0, Event::Credits(credits));
                }
                if ack > 0 {
                    sink(0, Event::Ack(ack));
                }
            }
        }
        Err((llctrl, sub_type)) => sink(0, Event::Error(FlitError::Control { llctrl, sub_type })),
    }
}
