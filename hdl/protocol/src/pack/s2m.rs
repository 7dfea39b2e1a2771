//! The device's packer, for tests and tools: NDR, DRS with data, BISnp into flits.

use super::{sender_methods, to_chunks, Full, Read, Refused, Ring, Sender};
use crate::flit::format::{s2m_g, s2m_h, Format, Kind, S2M_G, S2M_H};
use crate::flit::Flit;
use crate::msg::{S2mBiSnp, S2mNdr};

/// NDR in a flit at most (cxl-mem 3.5).
const MAX_NDR: usize = 2;
/// BISnp in a flit at most (cxl-mem 8.2).
const MAX_BISNP: usize = 2;

/// Queues and packs messages from device to host. `NDRS` and `READS` are the sizes of its queues.
///
/// NDR is one FIFO of which only the head is packed, so no completion passes another (cxl-mem 8.1).
#[derive(Clone, Debug)]
pub struct S2mPacker<const NDRS: usize = 64, const READS: usize = 64> {
    ndrs: Ring<u128, NDRS>,
    reads: Ring<(u128, [u128; 4]), READS>,
    bisnps: Ring<u128, 64>,
    sender: Sender,
    snoop_turn: bool,
}

impl<const NDRS: usize, const READS: usize> Default for S2mPacker<NDRS, READS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const NDRS: usize, const READS: usize> S2mPacker<NDRS, READS> {
    /// An empty packer without credits.
    pub const fn new() -> Self {
        Self {
            ndrs: Ring::new(0),
            reads: Ring::new((0, [0; 4])),
            bisnps: Ring::new(0),
            sender: Sender::new(),
            snoop_turn: false,
        }
    }

    sender_methods!();

    /// Queues a completion.
    ///
    /// # Errors
    /// [`Full`] if the queue is.
    #[inline]
    pub fn push_ndr(&mut self, ndr: &S2mNdr) -> Result<(), Full> {
        self.ndrs
            .push(ndr.pack())
            .then_some(())
            .ok_or(Full { queue: "NDR" })
    }

    /// Queues read data; the whole line is sent, whatever `read.half` says.
    ///
    /// # Errors
    /// [`Full`] if the queue is.
    #[inline]
    pub fn push_read(&mut self, read: &Read) -> Result<(), Full> {
        self.reads
            .push((read.header.pack(), to_chunks(&read.data)))
            .then_some(())
            .ok_or(Full { queue: "DRS" })
    }

    /// Queues a back-invalidate snoop (BI-68).
    ///
    /// # Errors
    /// [`Refused`] if the queue is full or BI-68 is off.
    pub fn push_bisnp(&mut self, bisnp: &S2mBiSnp) -> Result<(), Refused> {
        self.sender
            .queue_bi(&mut self.bisnps, bisnp.pack(), "BISnp")
    }

    /// True if nothing is queued and no chunk is owed (credits may still be owed to the other end).
    pub const fn is_idle(&self) -> bool {
        self.ndrs.len == 0
            && self.reads.len == 0
            && self.bisnps.len == 0
            && self.sender.chunks.len == 0
    }

    /// The next flit, or `None` if there is nothing that may be sent. Call once per flit time.
    #[inline]
    pub fn next_flit(&mut self) -> Option<Flit> {
        let Self {
            ndrs,
            reads,
            bisnps,
            sender,
            snoop_turn,
        } = self;
        let mut ndr_count = 0;
        let mut bisnp_count = 0;
        sender.next_flit(s2m_h::EMPTY, s2m_g::EMPTY, |sender, flit, n| {
            let can_read = reads.len > 0 && sender.credits.data > 0 && !flit.data_header;
            let can_ndr = ndrs.len > 0 && sender.credits.rsp > 0 && ndr_count < MAX_NDR;
            let can_snoop = bisnps.len > 0 && sender.credits.req > 0 && bisnp_count < MAX_BISNP;
            let snoop = can_snoop && (*snoop_turn || !(can_read || can_ndr));
            let code = match (n, snoop, can_read, can_ndr) {
                (_, false, false, false) => return,
                (0, true, ..) => s2m_h::BISNP,
                (_, true, ..) => s2m_g::BISNP_NDR,
                (0, _, true, _) => s2m_h::DRS_NDR,
                (_, _, true, _) => s2m_g::DRS_NDR2,
                (0, ..) => s2m_h::NDR2,
                _ => s2m_g::NDR2,
            };
            *snoop_turn = !snoop;
            let format: &Format = if n == 0 {
                &S2M_H[usize::from(code)]
            } else {
                &S2M_G[usize::from(code)]
            };
            let mut slot = 0;
            for place in format.places {
                match place.kind {
                    Kind::Ndr if ndr_count < MAX_NDR && sender.credits.rsp > 0 => {
                        if let Some(ndr) = ndrs.pop() {
                            sender.credits.rsp -= 1;
                            ndr_count += 1;
                            slot = place.put(slot, ndr);
                        }
                    }
                    Kind::Drs => {
                        if let Some((header, chunks)) = reads.pop() {
                            sender.credits.data -= 1;
                            flit.data_header = true;
                            slot = place.put(slot, header);
                            sender.owe_data(&chunks, None);
                        }
                    }
                    Kind::BiSnp => {
                        if let Some(bisnp) = bisnps.pop() {
                            sender.credits.req -= 1;
                            bisnp_count += 1;
                            slot = place.put(slot, bisnp);
                        }
                    }
                    _ => {}
                }
            }
            flit.place(n, code, slot);
        })
    }
}
