//! From messages to flits and back: packing, rollover, credits (cxl-mem 3.2, 3.5). Struct-based, no allocation.

mod m2s;
mod receive;
mod s2m;

pub use m2s::M2sPacker;
pub use receive::{FlitError, Receiver};
pub use s2m::S2mPacker;

use crate::flit::{control::Control, Credits, Flit, FlitHeader};
use crate::msg::{M2sBiRsp, M2sReq, M2sRwd, S2mBiSnp, S2mDrs, S2mNdr};
use core::fmt;

/// One line of memory, byte 0 first.
pub type Line = [u8; 64];

/// What two ends may have agreed on beyond plain 68-byte flits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// BISnp and BIRsp in 68-byte flits (cxl-mem 8.2).
    pub bi68: bool,
    /// Formats with several data headers.
    pub multi_header: bool,
}

/// A write: header, data, and byte enables if the opcode is MemWrPtl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The header.
    pub header: M2sRwd,
    /// The line.
    pub data: Line,
    /// Bit *n* enables byte *n*; `Some` exactly with MemWrPtl.
    pub be: Option<u64>,
}

/// Read data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The header.
    pub header: S2mDrs,
    /// The line. With `half`, its first 32 bytes are the half that was asked for and the rest is zero.
    pub data: Line,
    /// Only 32 bytes were sent (Sz = 0).
    pub half: bool,
}

/// What a receiver finds in a flit, in bit order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// M2S Req.
    Req(M2sReq),
    /// M2S RwD header; its data follows.
    RwdHeader(M2sRwd),
    /// All of an M2S RwD has arrived.
    Write(Write),
    /// M2S BIRsp (BI-68).
    BiRsp(M2sBiRsp),
    /// S2M NDR.
    Ndr(S2mNdr),
    /// S2M DRS header; its data follows.
    DrsHeader(S2mDrs),
    /// All of an S2M DRS has arrived.
    Read(Read),
    /// S2M BISnp (BI-68).
    BiSnp(S2mBiSnp),
    /// A data chunk was taken, before its line is complete.
    Chunk(u128),
    /// A byte-enable chunk was taken.
    ByteEnables(u64),
    /// Credits returned to us.
    Credits(Credits),
    /// This many of our flits are acknowledged.
    Ack(u8),
    /// A control flit.
    Control(Control),
    /// A rule was broken; the message or flit concerned is dropped, and the receiver goes on.
    Error(FlitError),
}

/// A packer's queue has no room; send flits first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The queue.
    pub queue: &'static str,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the packer's {} queue is full: take flits with next_flit, then push again",
            self.queue
        )
    }
}

impl core::error::Error for Full {}

/// A packer did not take a BI-68 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its queue has no room.
    Full(Full),
    /// The two ends did not agree on BI-68.
    Off,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(full) => write!(f, "{full}"),
            Self::Off => write!(
                f,
                "the packer does not send BI-68 messages: both ends must offer the extension in INIT.Param (cxl-mem 8.2), then set_bi68"
            ),
        }
    }
}

impl core::error::Error for Refused {}

/// A fixed-size FIFO.
#[derive(Clone, Debug)]
struct Ring<T, const N: usize> {
    items: [T; N],
    head: usize,
    len: usize,
}

impl<T: Copy, const N: usize> Ring<T, N> {
    const fn new(filler: T) -> Self {
        Self {
            items: [filler; N],
            head: 0,
            len: 0,
        }
    }
    #[inline]
    fn push(&mut self, item: T) -> bool {
        if self.len == N {
            return false;
        }
        let mut at = self.head + self.len;
        if at >= N {
            at -= N;
        }
        self.items[at] = item;
        self.len += 1;
        true
    }
    #[inline]
    fn front(&self) -> Option<&T> {
        if self.len == 0 {
            None
        } else {
            Some(&self.items[self.head])
        }
    }
    #[inline]
    fn front_mut(&mut self) -> Option<&mut T> {
        if self.len == 0 {
            None
        } else {
            Some(&mut self.items[self.head])
        }
    }
    #[inline]
    fn pop(&mut self) -> Option<T> {
        let item = *self.front()?;
        self.head = if self.head + 1 == N { 0 } else { self.head + 1 };
        self.len -= 1;
        Some(item)
    }
}

/// The line as chunks 0 to 3.
#[inline]
fn to_chunks(line: &Line) -> [u128; 4] {
    core::array::from_fn(|n| {
        let mut chunk = [0; 16];
        chunk.copy_from_slice(&line[16 * n..16 * n + 16]);
        u128::from_le_bytes(chunk)
    })
}

/// Chunks 0 to 3 as a line.
#[inline]
fn to_line(chunks: &[u128; 4]) -> Line {
    let mut line = [0; 64];
    for (bytes, chunk) in line.chunks_exact_mut(16).zip(chunks) {
        bytes.copy_from_slice(&chunk.to_le_bytes());
    }
    line
}

/// Chunks a sender owes: at most 3 left from before, and one message of 5.
const MAX_OWED: usize = 8;

/// The sending half that both packers share: owed chunks, credits both ways, acknowledgements, the flit being built.
#[derive(Clone, Debug)]
struct Sender {
    chunks: Ring<u128, MAX_OWED>,
    /// Chunks until the last message with byte enables is out; a second one must wait for that (cxl-mem 3.5).
    be_left: usize,
    /// May still be sent.
    credits: Credits,
    /// To be returned to the other end.
    owed: Credits,
    acks: u16,
    idle: u32,
    flush_after: u32,
    /// BI-68 is in force.
    bi68: bool,
}

/// A protocol flit in the making.
struct Builder {
    header: FlitHeader,
    slots: [u128; 4],
    /// A data header is in this flit; without MDH there is at most one.
    data_header: bool,
    used: bool,
}

impl Builder {
    /// Puts `content` into slot `n` under format `code`.
    #[inline]
    fn place(&mut self, n: usize, code: u8, content: u128) {
        self.header.set_slot(n, code);
        self.slots[n] = content;
        self.used = true;
    }
}

impl Sender {
    const fn new() -> Self {
        Self {
            chunks: Ring::new(0),
            be_left: 0,
            credits: Credits {
                req: 0,
                data: 0,
                rsp: 0,
            },
            owed: Credits {
                req: 0,
                data: 0,
                rsp: 0,
            },
            acks: 0,
            idle: 0,
            flush_after: DEFAULT_FLUSH,
            bi68: false,
        }
    }

    /// Puts a BI-68 message into its queue.
    fn queue_bi(
        &self,
        ring: &mut Ring<u128, 64>,
        message: u128,
        queue: &'static str,
    ) -> Result<(), Refused> {
        if !self.bi68 {
            return Err(Refused::Off);
        }
        ring.push(message)
            .then_some(())
            .ok_or(Refused::Full(Full { queue }))
    }

    #[inline]
    fn take_chunk(&mut self) -> Option<u128> {
        let chunk = self.chunks.pop()?;
        self.be_left = self.be_left.saturating_sub(1);
        Some(chunk)
    }

    /// Queues the data of a header that was just placed.
    #[inline]
    fn owe_data(&mut self, chunks: &[u128; 4], be: Option<u64>) {
        for chunk in chunks {
            self.chunks.push(*chunk);
        }
        if let Some(be) = be {
            self.chunks.push(u128::from(be));
            self.be_left = self.chunks.len;
        }
    }

    /// One flit: all data if a whole flit is owed, else slots filled by `choose(sender, builder, slot)`, data first.
    #[inline]
    fn next_flit(
        &mut self,
        empty_h: u8,
        empty_g: u8,
        mut choose: impl FnMut(&mut Self, &mut Builder, usize),
    ) -> Option<Flit> {
        if self.chunks.len >= 4 {
            let mut slots = [0; 4];
            for slot in &mut slots {
                *slot = self.take_chunk()?;
            }
            return Some(Flit::new(slots));
        }
        let mut flit = Builder {
            header: FlitHeader {
                slot0: empty_h,
                slot1: empty_g,
                slot2: empty_g,
                slot3: empty_g,
                ..Default::default()
            },
            slots: [0; 4],
            data_header: false,
            used: false,
        };
        // The header in slot 0 comes before the forced chunks in bit order; its data comes after them: one FIFO does both.
        choose(self, &mut flit, 0);
        for n in 1..4 {
            match self.take_chunk() {
                Some(chunk) => flit.place(n, 0, chunk),
                None => choose(self, &mut flit, n),
            }
        }
        if !flit.used {
            return self.flush();
        }
        self.idle = 0;
        flit.header.sz = u8::from(flit.data_header);
        flit.header.return_credits(&mut self.owed);
        if self.acks >= 8 {
            self.acks -= 8;
            flit.header.ak = 1;
        }
        flit.slots[0] |= u128::from(flit.header.pack());
        Some(Flit::new(flit.slots))
    }

    /// With nothing to send: an LLCRD when credits or acknowledgements have waited long enough (cxl-mem 3.8).
    #[inline]
    fn flush(&mut self) -> Option<Flit> {
        if self.owed.is_empty() && self.acks <= 1 {
            self.idle = 0;
            return None;
        }
        self.idle += 1;
        if self.idle <= self.flush_after {
            return None;
        }
        Some(self.acknowledge())
    }

    /// An LLCRD with all acknowledgements and what credits fit.
    fn acknowledge(&mut self) -> Flit {
        self.idle = 0;
        let mut header = FlitHeader::default();
        header.return_credits(&mut self.owed);
        let ack = self.acks.min(255);
        self.acks -= ack;
        Control::LlcrdAck { ack: ack as u8 }.flit(header)
    }
}

/// Idle calls of `next_flit` before credits are returned in a flit of their own.
pub const DEFAULT_FLUSH: u32 = 4;

/// Methods that both packers have.
macro_rules! sender_methods {
    () => {
        /// Adds credits that the other end returned ([`Event::Credits`](crate::pack::Event::Credits)).
        #[inline]
        pub fn grant(&mut self, credits: $crate::flit::Credits) {
            self.sender.credits.add(credits);
        }
        /// Credits left for sending.
        pub const fn credits(&self) -> $crate::flit::Credits {
            self.sender.credits
        }
        /// Owes the other end these credits, for buffers of ours that are (again) free. They ride in the next flits.
        #[inline]
        pub fn owe(&mut self, credits: $crate::flit::Credits) {
            self.sender.owed.add(credits);
        }
        /// Owes one acknowledgement, for a good retryable flit received.
        #[inline]
        pub fn owe_ack(&mut self) {
            self.sender.acks = self.sender.acks.saturating_add(1);
        }
        /// Acknowledgements owed.
        pub const fn acks_owed(&self) -> u16 {
            self.sender.acks
        }
        /// Credits owed to the other end.
        pub const fn credits_owed(&self) -> $crate::flit::Credits {
            self.sender.owed
        }
        /// An LLCRD with all acknowledgements and what credits fit, now. Not while a whole flit of data is owed
        /// ([`Self::rollover`] above 3): nothing may come before it.
        pub fn acknowledge(&mut self) -> $crate::flit::Flit {
            self.sender.acknowledge()
        }
        /// Sets how many idle calls of [`Self::next_flit`] pass before credits or acknowledgements get a flit of their own.
        pub fn set_flush_after(&mut self, calls: u32) {
            self.sender.flush_after = calls;
        }
        /// Turns BI-68 on or off (off in a new packer): at INIT, before any message of it is queued.
        pub fn set_bi68(&mut self, on: bool) {
            self.sender.bi68 = on;
        }
        /// Chunks owed at the start of the next flit (the rollover).
        pub const fn rollover(&self) -> usize {
            self.sender.chunks.len
        }
    };
}
use sender_methods;
