//! Numbers, acknowledgements and repetition of the frames on a serial line: go back N, with a negative acknowledgement and a time-out.
//!
//! One value is one end, sender and receiver. The RTL's (`hdl/src/serial/arq.rs`) does the same with each event.

/// Frames that may be on their way without acknowledgement.
pub const WINDOW: u8 = 16;

/// Pointers of one end. All numbers are modulo 256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arq {
    /// The oldest frame without acknowledgement.
    base: u8,
    /// The number of the next new frame.
    next: u8,
    /// The next frame to send; behind `next` while frames are repeated.
    cursor: u8,
    /// The number that is expected.
    expected: u8,
    /// The other end was asked to repeat; not again until something expected arrives.
    asked: bool,
    /// To ask.
    wants: bool,
    /// To acknowledge.
    owes: bool,
}

impl Arq {
    /// Whether a new frame may be given a number.
    pub const fn has_room(&self) -> bool {
        self.next.wrapping_sub(self.base) < WINDOW
    }

    /// The number of a new frame; only with [`Arq::has_room`].
    pub fn add(&mut self) -> u8 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }

    /// The next frame to send, if there is one.
    pub fn to_send(&self) -> Option<u8> {
        (self.cursor != self.next).then_some(self.cursor)
    }

    /// The frame that [`Arq::to_send`] gave is on its way, and with it the acknowledgement.
    pub fn sent(&mut self) {
        self.cursor = self.cursor.wrapping_add(1);
        self.owes = false;
    }

    /// The number that is expected: what every frame says.
    pub const fn expected(&self) -> u8 {
        self.expected
    }

    /// Frames without acknowledgement are all on their way: if nothing comes for some time, [`Arq::timed_out`].
    pub const fn is_waiting(&self) -> bool {
        self.cursor == self.next && self.base != self.next
    }

    /// A good frame of any kind said what the other end expects. True if that was progress.
    pub fn acknowledged(&mut self, ack: u8) -> bool {
        let gone = ack.wrapping_sub(self.base);
        if gone == 0 || gone > self.next.wrapping_sub(self.base) {
            return false;
        }
        if self.cursor.wrapping_sub(self.base) < gone {
            self.cursor = ack;
        }
        self.base = ack;
        true
    }

    /// The other end asks for everything from the oldest frame on; after [`Arq::acknowledged`].
    pub fn repeat(&mut self) {
        self.cursor = self.base;
    }

    /// Nothing came for too long.
    pub fn timed_out(&mut self) {
        self.cursor = self.base;
    }

    /// A good frame with a number arrived. True if it is the expected one: it is to be delivered.
    pub fn arrived(&mut self, number: u8) -> bool {
        if number == self.expected {
            self.expected = self.expected.wrapping_add(1);
            self.asked = false;
            self.owes = true;
            return true;
        }
        if number.wrapping_sub(self.expected) < 128 {
            self.missed();
        } else {
            // Sent again though it had arrived: the acknowledgement was lost.
            self.owes = true;
        }
        false
    }

    /// Something damaged arrived, or something that there was no room for.
    pub fn missed(&mut self) {
        self.wants |= !self.asked;
        self.asked = true;
    }

    /// Whether to send a negative acknowledgement; after [`Arq::told`] no more.
    pub const fn wants_repeat(&self) -> bool {
        self.wants
    }

    /// Whether to send an acknowledgement, if there is nothing else to send.
    pub const fn owes_ack(&self) -> bool {
        self.owes
    }

    /// An acknowledgement, negative or not, is on its way.
    pub fn told(&mut self) {
        self.wants = false;
        self.owes = false;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::VecDeque;

    /// Two ends with so many frames each over a line that loses and repeats; returns frames on the line.
    fn run(seed: u64, lose: u64, frames: usize) -> usize {
        let mut state = seed;
        let mut random = move |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) % n
        };
        let mut ends = [Arq::default(); 2];
        let mut kept = [[0usize; 256]; 2];
        let mut added = [0; 2];
        let mut delivered = [0; 2];
        let mut quiet = [0; 2];
        // (kind: 0 data, 1 ack, 2 nak; number; ack; content)
        let mut lines: [VecDeque<(u8, u8, u8, usize)>; 2] = Default::default();
        let mut on_line = 0;
        for _ in 0..frames * 400 {
            if delivered == [frames; 2] {
                return on_line;
            }
            for me in 0..2 {
                if added[me] < frames && ends[me].has_room() && random(3) > 0 {
                    let number = ends[me].add();
                    kept[me][usize::from(number)] = added[me];
                    added[me] += 1;
                }
                let end = &mut ends[me];
                let frame = if end.wants_repeat() {
                    end.told();
                    Some((2, 0, end.expected(), 0))
                } else if let Some(number) = end.to_send() {
                    end.sent();
                    quiet[me] = 0;
                    Some((0, number, end.expected(), kept[me][usize::from(number)]))
                } else if end.owes_ack() {
                    end.told();
                    Some((1, 0, end.expected(), 0))
                } else {
                    None
                };
                if let Some(frame) = frame {
                    on_line += 1;
                    lines[me].push_back(frame);
                }
                quiet[me] += 1;
                if ends[me].is_waiting() && quiet[me] > 60 {
                    ends[me].timed_out();
                    quiet[me] = 0;
                }
                // The other end's line, a few frames long.
                let you = 1 - me;
                if lines[you].len() > random(6) as usize {
                    let (kind, number, ack, content) = lines[you].pop_front().unwrap();
                    match random(1000) {
                        r if r < lose => continue,
                        r if r < 2 * lose => {
                            ends[me].missed();
                            continue;
                        }
                        _ => {}
                    }
                    quiet[me] *= usize::from(!ends[me].acknowledged(ack));
                    match kind {
                        0 if ends[me].arrived(number) => {
                            assert_eq!(content, delivered[me], "seed {seed}");
                            delivered[me] += 1;
                        }
                        2 => ends[me].repeat(),
                        _ => {}
                    }
                }
            }
        }
        panic!("seed {seed}: {delivered:?} of {frames} arrived");
    }

    #[test]
    fn everything_arrives_once_and_in_order() {
        let clean = run(1, 0, 5000);
        assert!(clean < 2 * 5000 + 5000, "{clean} frames on a clean line");
        for seed in 0..40 {
            run(seed, 20, 1000);
        }
        run(7, 250, 300);
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut end = Arq::default();
        end.add();
        assert!(!end.acknowledged(2), "a frame that was never sent");
        assert!(!end.acknowledged(255));
        assert!(end.acknowledged(1));
        assert!(!end.is_waiting());
        assert_eq!(end.to_send(), None);
        assert!(!end.arrived(200) && !end.wants_repeat() && end.owes_ack());
        assert!(!end.arrived(5) && end.wants_repeat());
        end.told();
        assert!(!end.arrived(6) && !end.wants_repeat(), "asked once");
    }

    #[test]
    fn the_window_is_never_left() {
        let mut end = Arq::default();
        for _ in 0..WINDOW {
            assert!(end.has_room());
            end.add();
        }
        assert!(!end.has_room());
        assert!(end.acknowledged(3));
        assert!(end.has_room());
        assert_eq!(end.to_send(), Some(3), "what is acknowledged is not sent");
    }
}
