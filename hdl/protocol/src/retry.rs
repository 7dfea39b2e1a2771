//! Link-level retry (cxl-mem 3.9 as corrected by 8.4): the two machines of one end and its pointers, without the flits.
//!
//! Go-back-N. The sender keeps every retryable flit until the other end has acknowledged it; sequence numbers are implicit: a
//! flit's number is its place in the sender's buffer. A receiver that sees a damaged flit drops all that follows and asks for a
//! replay from the number that it expects next. [`Retry`] is the home of these rules: the simulated host runs it as it is, the
//! model checker explores it, and the RTL (`hdl/src/link/retry.rs`) is compared with it.
//!
//! A caller asks [`Retry::next`] at every flit time what to send, reports with [`Retry::sent`] a new retryable flit and with
//! [`Retry::receive`] every flit that arrives. It stores the flits itself, [`Retry::entries`] of them.

use crate::flit::control::Control;

/// RETRY.Frame flits in front of each RETRY.Req and RETRY.Ack.
pub const FRAMES: u8 = 5;
/// Wrap value in force until INIT.Param has been processed (cxl-mem 3.7).
pub const DEFAULT_ENTRIES: u8 = 9;
/// Free entries below which only flits that carry acknowledgements may be sent (cxl-mem 3.9).
pub const RESERVE: u8 = 3;
/// Free entries that a flit with a data header needs: its all-data flits carry no acknowledgement and may not be interrupted.
pub const DATA_RESERVE: u8 = RESERVE + 3;

/// Thresholds (registers `LlrLimits`, `LlrTail`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// RETRY.Frame flits in front of each RETRY.Req and RETRY.Ack: [`FRAMES`] on a link; a model may save states.
    pub frames: u8,
    /// Flits sent while a RETRY.Ack is awaited, before the request is repeated. At least the round trip and 16.
    pub timeout: u16,
    /// Requests for the same flit before the physical layer is asked to re-initialise, up to 31.
    pub max_num_retry: u8,
    /// Re-initialisations before the link is given up, up to 31.
    pub max_num_phy_reinit: u8,
    /// With SEQ: flit times without an acknowledgement for a flit that matters, before a flit is sent that makes the other end notice
    /// that it missed one; 0 is never.
    pub tail: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frames: FRAMES,
            timeout: 24,
            max_num_retry: 10,
            max_num_phy_reinit: 10,
            tail: 0,
        }
    }
}

/// Local retry state machine: this end has seen an error and wants a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Local {
    /// RETRY_LOCAL_NORMAL.
    #[default]
    Normal,
    /// RETRY_LLRREQ: a RETRY.Req is to be sent.
    LlrReq,
    /// RETRY_LOCAL_IDLE: the RETRY.Ack is awaited.
    Idle,
    /// RETRY_PHY_REINIT: the physical layer re-initialises.
    PhyReinit,
    /// RETRY_ABORT: given up; the link is down until it is initialised anew.
    Abort,
}

/// Remote retry state machine: the other end wants a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Remote {
    /// RETRY_REMOTE_NORMAL.
    #[default]
    Normal,
    /// RETRY_LLRACK: a RETRY.Ack is to be sent.
    LlrAck,
}

/// What arrived in a flit time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A flit with a bad CRC.
    Damaged,
    /// A good flit that is not RETRY.*.
    Retryable,
    /// A good RETRY.* flit.
    Retry(Control),
}

/// What becomes of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The flit counts: act on its content, and owe an acknowledgement.
    Deliver,
    /// Nothing of it counts.
    Drop,
    /// The other end broke a rule: an uncorrectable link error.
    Broken,
}

/// What to send in a flit time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// This RETRY.* flit.
    Control(Control),
    /// The stored flit of this entry, again.
    Replay(u8),
    /// A new flit, or nothing if there is none; then RETRY.Idle if `idle`.
    New {
        /// The time-out for RETRY.Ack counts flits: send RETRY.Idle rather than nothing.
        idle: bool,
    },
    /// Nothing: the link is down.
    Nothing,
}

/// One end of a link with retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    limits: Limits,
    entries: u8,
    peer_entries: u8,
    // sender
    wr: u8,
    rd: u8,
    tail: u8,
    unacked: u8,
    replaying: u8,
    matters: u8,
    tail_timer: u16,
    // receiver
    eseq: u8,
    local: Local,
    remote: Remote,
    framed: bool,
    asked: u8,
    echo: u8,
    num_retry: u8,
    num_phy_reinit: u8,
    // sequence of frames on its way out
    frames: u8,
    timer: u16,
}

/// The number after `n` of `entries`.
const fn after(n: u8, entries: u8) -> u8 {
    if n + 1 >= entries {
        0
    } else {
        n + 1
    }
}

/// `n` numbers after `from`.
const fn plus(from: u8, n: u8, entries: u8) -> u8 {
    let sum = from as u16 + n as u16;
    (if sum >= entries as u16 {
        sum - entries as u16
    } else {
        sum
    }) as u8
}

impl Retry {
    /// An end with a buffer of `entries` flits (7 to 255; at least 22 recommended), which is also the wrap value of its INIT.Param.
    pub const fn new(entries: u8, limits: Limits) -> Self {
        Self {
            limits,
            entries,
            peer_entries: DEFAULT_ENTRIES,
            wr: 0,
            rd: 0,
            tail: 0,
            unacked: 0,
            replaying: 0,
            matters: 0,
            tail_timer: 0,
            eseq: 0,
            local: Local::Normal,
            remote: Remote::Normal,
            framed: false,
            asked: 0,
            echo: 0,
            num_retry: 0,
            num_phy_reinit: 0,
            frames: 0,
            timer: 0,
        }
    }

    /// Entries of the buffer.
    pub const fn entries(&self) -> u8 {
        self.entries
    }
    /// State of the local machine.
    pub const fn local(&self) -> Local {
        self.local
    }
    /// State of the remote machine.
    pub const fn remote(&self) -> Remote {
        self.remote
    }
    /// Number of the next new flit: its entry, and what SEQ mixes into its CRC.
    pub const fn wr(&self) -> u8 {
        self.wr
    }
    /// Entry that would be replayed next, if a replay is under way.
    pub const fn replay(&self) -> Option<u8> {
        if self.replaying > 0 {
            Some(self.rd)
        } else {
            None
        }
    }
    /// Number that the next retryable flit should have: what SEQ takes out of its CRC.
    pub const fn eseq(&self) -> u8 {
        self.eseq
    }
    /// Requests sent for the flit that is awaited.
    pub const fn num_retry(&self) -> u8 {
        self.num_retry
    }
    /// Flits sent and not yet acknowledged.
    pub const fn unacked(&self) -> u8 {
        self.unacked
    }
    /// Free entries (NumFreeBuf).
    pub const fn free(&self) -> u8 {
        self.entries - self.unacked
    }
    /// Changes the thresholds.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }
    /// Takes the wrap value of the other end's INIT.Param; false if it is too small to be used.
    pub fn set_peer_entries(&mut self, entries: u8) -> bool {
        self.peer_entries = entries;
        entries > DATA_RESERVE
    }

    /// Reports a new retryable flit, sent after [`Send::New`], and returns its entry. `matters`: it carries more than
    /// acknowledgements. There must be a free entry beside it (NumFreeBuf never reaches 0).
    pub fn sent(&mut self, matters: bool) -> u8 {
        debug_assert!(self.free() > 1, "the retry buffer overflows");
        let entry = self.wr;
        self.wr = after(self.wr, self.entries);
        self.unacked += 1;
        if matters {
            self.matters = self.unacked;
        }
        entry
    }

    /// Takes `count` acknowledgements: frees the oldest entries. False if that is more than were sent.
    #[must_use]
    pub fn acked(&mut self, count: u8) -> bool {
        if count > self.unacked {
            return false;
        }
        if count > 0 {
            self.tail_timer = 0;
        }
        self.unacked -= count;
        self.matters = self.matters.saturating_sub(count);
        self.tail = plus(self.tail, count, self.entries);
        true
    }

    /// True if a flit should be sent for its number alone: one that matters has waited too long for its acknowledgement, and
    /// with nothing behind it the other end cannot know that it missed it. Starts the wait anew.
    pub fn tail_is_late(&mut self) -> bool {
        let late = self.limits.tail > 0 && self.tail_timer >= self.limits.tail;
        if late {
            self.tail_timer = 0;
        }
        late
    }

    /// What to send in this flit time. `all_data`: the flit that comes next, new or replayed, is an all-data flit, which nothing
    /// may be put in front of.
    pub fn next(&mut self, all_data: bool) -> Send {
        if self.local == Local::Abort || self.local == Local::PhyReinit {
            return Send::Nothing;
        }
        if self.matters > 0 && self.tail_timer < self.limits.tail {
            self.tail_timer += 1;
        }
        if self.local == Local::Idle {
            self.timer += 1;
            if self.timer >= self.limits.timeout {
                self.local = Local::LlrReq;
                self.timer = 0;
            }
        }
        if !all_data {
            if self.local == Local::LlrReq && self.frames == 0 && !self.may_ask() {
                return Send::Nothing;
            }
            if self.remote == Remote::LlrAck || self.local == Local::LlrReq {
                return Send::Control(self.sequence());
            }
        }
        if self.replaying > 0 {
            let entry = self.rd;
            self.rd = after(self.rd, self.entries);
            self.replaying -= 1;
            return Send::Replay(entry);
        }
        Send::New {
            idle: self.local == Local::Idle,
        }
    }

    /// True if another RETRY.Req may be tried; else gives up, or hands over to the physical layer.
    fn may_ask(&mut self) -> bool {
        if self.num_retry < self.limits.max_num_retry {
            return true;
        }
        self.frames = 0;
        if self.num_phy_reinit >= self.limits.max_num_phy_reinit {
            self.local = Local::Abort;
        } else {
            self.num_phy_reinit += 1;
            self.local = Local::PhyReinit;
        }
        false
    }

    /// Five frames, then the message: RETRY.Ack before RETRY.Req.
    fn sequence(&mut self) -> Control {
        if self.frames < self.limits.frames {
            self.frames += 1;
            return Control::RetryFrame;
        }
        self.frames = 0;
        if self.remote == Remote::LlrAck {
            self.remote = Remote::Normal;
            let acked_already = (self.asked as u16 + self.entries as u16 - self.tail as u16)
                % self.entries.max(1) as u16;
            self.rd = self.asked;
            self.replaying = self.unacked.saturating_sub(acked_already as u8);
            return Control::RetryAck {
                empty: self.replaying == 0,
                viral: false,
                num_retry: self.echo,
                wr_ptr: self.wr,
                eseq: self.asked,
                num_free_buf: self.free(),
                viral_ld: 0,
            };
        }
        self.num_retry += 1;
        self.timer = 0;
        self.local = Local::Idle;
        Control::RetryReq {
            eseq: self.eseq,
            num_retry: self.num_retry,
            num_phy_reinit: self.num_phy_reinit,
        }
    }

    /// Takes what arrived in a flit time.
    pub fn receive(&mut self, arrival: Arrival) -> Verdict {
        let framed = self.framed;
        // A damaged flit may be one of the five frames: those before it still count.
        if arrival != Arrival::Damaged {
            self.framed = arrival == Arrival::Retry(Control::RetryFrame);
        }
        if self.local == Local::Abort {
            return Verdict::Drop;
        }
        match arrival {
            Arrival::Damaged => {
                if self.local == Local::Normal {
                    self.local = Local::LlrReq;
                }
                Verdict::Drop
            }
            Arrival::Retryable if self.local == Local::Normal => {
                self.eseq = after(self.eseq, self.peer_entries);
                self.num_retry = 0;
                self.num_phy_reinit = 0;
                Verdict::Deliver
            }
            Arrival::Retry(Control::RetryReq {
                eseq, num_retry, ..
            }) if framed => self.replay_wanted(eseq, num_retry),
            Arrival::Retry(Control::RetryAck {
                empty, num_retry, ..
            }) if framed => match self.local {
                Local::Idle if num_retry == self.num_retry => {
                    self.local = Local::Normal;
                    self.timer = 0;
                    if empty {
                        self.num_retry = 0;
                        self.num_phy_reinit = 0;
                    }
                    Verdict::Drop
                }
                // Late answers to requests that were repeated.
                _ => Verdict::Drop,
            },
            _ => Verdict::Drop,
        }
    }

    fn replay_wanted(&mut self, eseq: u8, num_retry: u8) -> Verdict {
        if eseq >= self.entries {
            return Verdict::Broken;
        }
        let ahead = (eseq as u16 + self.entries as u16 - self.tail as u16) % self.entries as u16;
        if ahead > u16::from(self.unacked) {
            return Verdict::Broken;
        }
        self.remote = Remote::LlrAck;
        self.asked = eseq;
        self.echo = num_retry;
        Verdict::Drop
    }

    /// The physical layer re-initialises: what was under way is lost, and so is what the two machines had said.
    pub fn phy_down(&mut self) {
        if self.local != Local::Abort {
            self.local = Local::PhyReinit;
        }
        self.remote = Remote::Normal;
        self.framed = false;
        self.frames = 0;
        self.replaying = 0;
    }

    /// The physical layer is up again: a replay is asked for.
    pub fn phy_up(&mut self) {
        if self.local == Local::PhyReinit {
            self.num_retry = 0;
            self.local = Local::LlrReq;
        }
    }

    /// The other end broke a rule, or software gave up: terminal until the link is initialised anew.
    pub fn abort(&mut self) {
        self.local = Local::Abort;
    }
}
