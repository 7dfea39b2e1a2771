//! Splitting a read's data into completions, and putting completions together again.

use crate::tlp::{Bdf, Completion, Kind, MemRequest, Status, Tlp};

/// How a completer may cut its completions, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitRules {
    /// Read Completion Boundary, 64 or 128: completions but the last end on a multiple of it.
    pub rcb: u16,
    /// Max_Payload_Size, at least the boundary.
    pub max_payload: u16,
}

/// Answers `request` with as many successful completions as `rules` ask for, in address order.
///
/// `data` is `dwords` DWs from the request's first DW. `choose(n)` picks how many boundaries, 1..=n, the next completion may span;
/// return `n` for the fewest completions.
///
/// Nothing is emitted beyond the end of `data` if it is too short.
pub fn split(
    request: &MemRequest,
    completer: Bdf,
    data: &[u8],
    rules: SplitRules,
    mut choose: impl FnMut(u64) -> u64,
    mut emit: impl FnMut(Tlp),
) {
    let rcb = u64::from(rules.rcb.max(4));
    let max_payload = u64::from(rules.max_payload).max(rcb);
    // A request stays in its 4 KiB page, so offsets in the page do.
    let mut at = request.first_byte() & 0xFFF;
    let end = at + request.byte_count() as u64;
    while at < end {
        let furthest = (at & !3) + max_payload;
        let boundary = at / rcb * rcb;
        let most = if furthest >= end {
            (end - boundary).div_ceil(rcb)
        } else {
            (furthest - boundary) / rcb
        };
        let stop = (boundary + choose(most).clamp(1, most) * rcb).min(end);
        let from = (at & !3).wrapping_sub(request.addr & 0xFFC) as usize;
        let to = stop.next_multiple_of(4).wrapping_sub(request.addr & 0xFFC) as usize;
        let Some(payload) = data.get(from..to) else {
            return;
        };
        let header = Completion {
            completer,
            status: Status::Success,
            bcm: false,
            byte_count: (end - at) as u16,
            requester: request.requester,
            tag: request.tag,
            lower_addr: (at & 0x7F) as u8,
        };
        emit(Tlp::new(Kind::Completion(header), payload.to_vec()));
        at = stop;
    }
}

/// A completion that does not continue its read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("completion field {field} = {found:#x}, the read expects {expected:#x}")]
pub struct WrongCompletion {
    /// The field that disagrees.
    pub field: &'static str,
    /// What the completion says.
    pub found: u64,
    /// What the read's progress asks for.
    pub expected: u64,
}

/// The requester's half: the bytes of one read, as its completions bring them.
#[derive(Debug, Clone)]
pub struct Reassembly {
    next: u64,
    end: u64,
    rcb: u64,
    bytes: Vec<u8>,
}

impl Reassembly {
    /// Waits for the completions of `request` from a completer with the given boundary (64 unless it is known to be larger).
    pub fn new(request: &MemRequest, rcb: u16) -> Self {
        let next = request.first_byte() & 0xFFF;
        let end = next + request.byte_count() as u64;
        Reassembly {
            next,
            end,
            rcb: u64::from(rcb.max(4)),
            bytes: Vec::with_capacity((end - next) as usize),
        }
    }

    /// Takes a successful completion; `Ok(true)` when the read is complete.
    ///
    /// # Errors
    /// [`WrongCompletion`] if Byte Count, Lower Address or the payload's length do not continue the read, or it ends
    /// before the read does and not at the boundary.
    pub fn accept(
        &mut self,
        completion: &Completion,
        data: &[u8],
    ) -> Result<bool, WrongCompletion> {
        let check = |field, found: u64, expected: u64| {
            if found == expected {
                Ok(())
            } else {
                Err(WrongCompletion {
                    field,
                    found,
                    expected,
                })
            }
        };
        let remaining = self.end - self.next;
        check("Byte Count", u64::from(completion.byte_count), remaining)?;
        check(
            "Lower Address",
            u64::from(completion.lower_addr),
            self.next & 0x7F,
        )?;
        let lead = self.next & 3;
        let most = (lead + remaining).next_multiple_of(4);
        let found = data.len() as u64;
        if found > most || found <= lead {
            return Err(WrongCompletion {
                field: "Length in bytes",
                found,
                expected: most,
            });
        }
        let stop = self.next + found - lead;
        if stop < self.end && stop % self.rcb != 0 {
            return Err(WrongCompletion {
                field: "end of payload",
                found: stop,
                expected: stop.next_multiple_of(self.rcb),
            });
        }
        let taken = (stop.min(self.end) - self.next) as usize;
        self.bytes
            .extend_from_slice(&data[lead as usize..lead as usize + taken]);
        self.next += taken as u64;
        Ok(self.next == self.end)
    }

    /// The bytes from the read's first enabled byte on, as far as they came.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
