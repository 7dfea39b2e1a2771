//! The host's packer: Req, RwD with data, BIRsp into flits.

use super::{sender_methods, to_chunks, Builder, Full, Refused, Ring, Sender, Write};
use crate::flit::format::{m2s_g, m2s_h, M2S_G, M2S_H};
use crate::flit::Flit;
use crate::msg::{M2sBiRsp, M2sReq, M2sRwdOpcode};

/// Req in a flit at most (cxl-mem 3.5).
const MAX_REQ: u8 = 2;
/// BIRsp in a flit at most (cxl-mem 8.2).
const MAX_BIRSP: usize = 3;

/// A slot that holds `message` alone, in the first place of format `code`.
#[inline]
fn alone(n: usize, code: u8, message: u128) -> u128 {
    let table = if n == 0 { &M2S_H } else { &M2S_G };
    table[usize::from(code)]
        .places
        .first()
        .map_or(0, |place| place.put(0, message))
}

#[derive(Clone, Copy, Debug)]
struct Packed {
    header: u128,
    chunks: [u128; 4],
    be: Option<u64>,
}

/// Queues and packs messages from host to device. `REQS` and `WRITES` are the sizes of its queues.
///
/// Each queue is a FIFO; between them slots are shared fairly. Reads alone travel two to a flit, writes alone at 4/5 of the
/// slots, both mixed 1:1 at 2/3 (cxl-mem 8.3).
#[derive(Clone, Debug)]
pub struct M2sPacker<const REQS: usize = 64, const WRITES: usize = 64> {
    reqs: Ring<u128, REQS>,
    writes: Ring<Packed, WRITES>,
    birsps: Ring<u128, 64>,
    sender: Sender,
    write_turn: bool,
}

impl<const REQS: usize, const WRITES: usize> Default for M2sPacker<REQS, WRITES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const REQS: usize, const WRITES: usize> M2sPacker<REQS, WRITES> {
    /// An empty packer without credits.
    pub const fn new() -> Self {
        Self {
            reqs: Ring::new(0),
            writes: Ring::new(Packed {
                header: 0,
                chunks: [0; 4],
                be: None,
            }),
            birsps: Ring::new(0),
            sender: Sender::new(),
            write_turn: true,
        }
    }

    sender_methods!();

    /// Queues a request.
    ///
    /// # Errors
    /// [`Full`] if the queue is.
    #[inline]
    pub fn push_req(&mut self, req: &M2sReq) -> Result<(), Full> {
        self.reqs
            .push(req.pack())
            .then_some(())
            .ok_or(Full { queue: "Req" })
    }

    /// Queues a write. Byte enables travel with MemWrPtl only; a MemWrPtl without `be` enables all bytes.
    ///
    /// # Errors
    /// [`Full`] if the queue is.
    #[inline]
    pub fn push_write(&mut self, write: &Write) -> Result<(), Full> {
        let partial = write.header.opcode == M2sRwdOpcode::MemWrPtl;
        let packed = Packed {
            header: write.header.pack(),
            chunks: to_chunks(&write.data),
            be: partial.then_some(write.be.unwrap_or(u64::MAX)),
        };
        self.writes
            .push(packed)
            .then_some(())
            .ok_or(Full { queue: "RwD" })
    }

    /// Queues a snoop response (BI-68).
    ///
    /// # Errors
    /// [`Refused`] if the queue is full or BI-68 is off.
    pub fn push_birsp(&mut self, birsp: &M2sBiRsp) -> Result<(), Refused> {
        self.sender
            .queue_bi(&mut self.birsps, birsp.pack(), "BIRsp")
    }

    /// Requests queued.
    pub const fn reqs_queued(&self) -> usize {
        self.reqs.len
    }
    /// Snoop responses queued.
    pub const fn birsps_queued(&self) -> usize {
        self.birsps.len
    }
    /// Writes queued whose header has not been sent.
    pub const fn writes_queued(&self) -> usize {
        self.writes.len
    }
    /// True if nothing is queued and no chunk is owed (credits may still be owed to the other end).
    pub const fn is_idle(&self) -> bool {
        self.reqs.len == 0
            && self.writes.len == 0
            && self.birsps.len == 0
            && self.sender.chunks.len == 0
    }
    /// True if a message is queued and only missing credits keep it from being sent.
    pub const fn is_starved(&self) -> bool {
        let credits = self.sender.credits;
        (self.reqs.len > 0 && credits.req == 0)
            || (self.writes.len > 0 && credits.data == 0)
            || (self.birsps.len > 0 && credits.rsp == 0)
    }

    /// The next flit, or `None` if there is nothing that may be sent. Call once per flit time.
    #[inline]
    pub fn next_flit(&mut self) -> Option<Flit> {
        let Self {
            reqs,
            writes,
            birsps,
            sender,
            write_turn,
        } = self;
        let mut req_count = 0;
        let mut birsp_count = 0;
        sender.next_flit(m2s_h::EMPTY, m2s_g::EMPTY, |sender, flit, n| {
            if birsps.len > 0 && sender.credits.rsp > 0 && birsp_count < MAX_BIRSP {
                birsp_count += place_birsps(birsps, sender, flit, n, MAX_BIRSP - birsp_count);
                return;
            }
            let can_req = reqs.len > 0 && sender.credits.req > 0 && req_count < MAX_REQ;
            let can_write = match writes.front() {
                Some(write) => {
                    sender.credits.data > 0
                        && !flit.data_header
                        && (write.be.is_none() || sender.be_left == 0)
                }
                None => false,
            };
            if can_write && (*write_turn || !can_req) {
                if let Some(write) = writes.pop() {
                    *write_turn = false;
                    sender.credits.data -= 1;
                    let code = if n == 0 { m2s_h::RWD } else { m2s_g::RWD };
                    flit.place(n, code, alone(n, code, write.header));
                    flit.data_header = true;
                    flit.header.be = u8::from(write.be.is_some());
                    sender.owe_data(&write.chunks, write.be);
                }
            } else if can_req {
                if let Some(req) = reqs.pop() {
                    *write_turn = true;
                    req_count += 1;
                    sender.credits.req -= 1;
                    let code = if n == 0 { m2s_h::REQ } else { m2s_g::REQ };
                    flit.place(n, code, alone(n, code, req));
                }
            }
        })
    }
}

/// Fills one slot with BIRsp and returns how many.
fn place_birsps(
    birsps: &mut Ring<u128, 64>,
    sender: &mut Sender,
    flit: &mut Builder,
    n: usize,
    limit: usize,
) -> usize {
    let (code, places) = if n == 0 {
        (m2s_h::BIRSP, M2S_H[usize::from(m2s_h::BIRSP)].places)
    } else {
        (m2s_g::BIRSP, M2S_G[usize::from(m2s_g::BIRSP)].places)
    };
    let mut slot = 0;
    let mut count = 0;
    for place in places.iter().take(limit) {
        if sender.credits.rsp == 0 {
            break;
        }
        let Some(birsp) = birsps.pop() else { break };
        sender.credits.rsp -= 1;
        slot = place.put(slot, birsp);
        count += 1;
    }
    flit.place(n, code, slot);
    count
}
