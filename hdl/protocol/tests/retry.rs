//! Two ends of a link with retry over a wire that damages, loses and repeats: everything arrives once, in order.

mod common;

use cxlmem_protocol::flit::control::Control;
use cxlmem_protocol::retry::{Arrival, Limits, Local, Retry, Send, Verdict, RESERVE};
use std::collections::VecDeque;

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
    /// True `n` times in a million.
    fn ppm(&mut self, n: u64) -> bool {
        n > 0 && self.below(1_000_000) < n
    }
}

#[derive(Clone, Copy)]
enum Content {
    Control(Control),
    /// A payload's number (none in a flit that only acknowledges), acknowledgements, the sequence number in the CRC.
    Flit(Option<u32>, u8, u8),
}

#[derive(Clone, Copy)]
struct Token {
    content: Content,
    damaged: bool,
}

/// Faults of the wire, per million flits.
#[derive(Clone, Copy, Default)]
struct Faults {
    damage: u64,
    lose: u64,
    repeat: u64,
}

/// One end: the machines, its buffer, and what it has to send and has received.
struct End {
    retry: Retry,
    buffer: Vec<Content>,
    to_send: u32,
    next: u32,
    got: Vec<u32>,
    acks: u8,
    idle: u32,
    seq: bool,
}

impl End {
    fn new(entries: u8, to_send: u32, limits: Limits, seq: bool) -> Self {
        let mut retry = Retry::new(entries, limits);
        assert!(retry.set_peer_entries(entries));
        Self {
            retry,
            buffer: vec![Content::Flit(None, 0, 0); entries.into()],
            to_send,
            next: 0,
            got: Vec::new(),
            acks: 0,
            idle: 0,
            seq,
        }
    }

    fn send(&mut self) -> Option<Content> {
        match self.retry.next(false) {
            Send::Control(c) => Some(Content::Control(c)),
            Send::Replay(entry) => Some(self.buffer[usize::from(entry)]),
            Send::New { idle } => {
                let late = self.retry.tail_is_late();
                self.idle += 1;
                let flush = self.acks >= 16 || (self.acks > 1 && self.idle > 8) || late;
                let payload = self.next < self.to_send && self.retry.free() >= RESERVE && !flush;
                let acknowledge = flush && self.retry.free() >= RESERVE - 1;
                if !payload && !acknowledge {
                    return idle.then_some(Content::Control(Control::RetryIdle));
                }
                self.idle = 0;
                let paid = if payload { self.acks & !7 } else { self.acks };
                self.acks -= paid;
                let number = payload.then_some(self.next);
                self.next += u32::from(payload);
                let content = Content::Flit(number, paid, self.retry.wr());
                let entry = self.retry.sent(payload);
                self.buffer[usize::from(entry)] = content;
                Some(content)
            }
            Send::Nothing => None,
        }
    }

    fn receive(&mut self, token: Token) {
        let arrival = match token.content {
            _ if token.damaged => Arrival::Damaged,
            Content::Control(c) => Arrival::Retry(c),
            Content::Flit(_, _, number) if self.seq && number != self.retry.eseq() => {
                Arrival::Damaged
            }
            Content::Flit(..) => Arrival::Retryable,
        };
        match (self.retry.receive(arrival), token.content) {
            (Verdict::Deliver, Content::Flit(payload, acks, _)) => {
                assert!(self.retry.acked(acks), "more acknowledged than sent");
                self.acks += 1;
                self.got.extend(payload);
            }
            (Verdict::Deliver, _) => panic!("a RETRY flit was delivered"),
            (Verdict::Broken, _) => panic!("a rule was broken"),
            (Verdict::Drop, _) => {}
        }
    }
}

struct Outcome {
    ends: [End; 2],
    flit_times: u64,
    faults: u64,
    reinits: u64,
}

fn run(count: u32, faults: Faults, limits: Limits, seq: bool, delay: usize, seed: u64) -> Outcome {
    let mut rng = Rng(seed | 1);
    let mut ends = [(); 2].map(|()| End::new(32, count, limits, seq));
    let mut wires: [VecDeque<Option<Token>>; 2] = [(); 2].map(|()| vec![None; delay].into());
    let mut again = [None; 2];
    let (mut hit, mut reinits, mut flit_times) = (0, 0, 0);
    let over = |end: &End| {
        end.retry.local() == Local::Abort
            || (end.next == count && end.retry.unacked() <= 1 && end.retry.local() == Local::Normal)
    };
    while !ends.iter().all(over) && flit_times < 200 * u64::from(count) + 100_000 {
        flit_times += 1;
        for n in 0..2 {
            // A repeated flit takes the place of the next one's time.
            if let Some(token) = again[n].take() {
                wires[n].push_back(Some(token));
                continue;
            }
            let token = ends[n].send().map(|content| Token {
                content,
                damaged: false,
            });
            let (damage, lose, repeat) = (
                rng.ppm(faults.damage),
                rng.ppm(faults.lose),
                rng.ppm(faults.repeat),
            );
            hit += u64::from(token.is_some() && (damage || lose || repeat));
            let token = token.filter(|_| !lose).map(|t| Token {
                damaged: damage,
                ..t
            });
            wires[n].push_back(token);
            again[n] = token.filter(|_| repeat);
        }
        for n in 0..2 {
            if let Some(Some(token)) = wires[1 - n].pop_front() {
                ends[n].receive(token);
            }
        }
        // The physical layer: a re-initialisation takes both ends down and empties the wires.
        if ends.iter().any(|e| e.retry.local() == Local::PhyReinit) {
            reinits += 1;
            for (end, wire) in ends.iter_mut().zip(&mut wires) {
                end.retry.phy_down();
                end.retry.phy_up();
                wire.iter_mut().for_each(|t| *t = None);
            }
        }
    }
    Outcome {
        ends,
        flit_times,
        faults: hit,
        reinits,
    }
}

fn assert_all_arrived(outcome: &Outcome, count: u32) {
    for end in &outcome.ends {
        assert_eq!(end.retry.local(), Local::Normal);
        assert!(
            end.got.iter().copied().eq(0..count),
            "lost, repeated or out of order: {} arrived of {count}",
            end.got.len()
        );
    }
}

fn limits(timeout: u16) -> Limits {
    Limits {
        timeout,
        ..Limits::default()
    }
}

#[test]
fn a_clean_wire_costs_nothing() {
    let o = run(1000, Faults::default(), limits(64), false, 2, 1);
    assert_all_arrived(&o, 1000);
    assert!(o.flit_times < 1020, "{} flit times", o.flit_times);
}

#[test]
fn damaged_flits_are_replayed() {
    let seed = common::seed();
    for damage in [1_000, 5_000, 50_000] {
        let faults = Faults {
            damage,
            ..Faults::default()
        };
        let o = run(20_000, faults, limits(32), false, 2, seed ^ damage);
        assert_all_arrived(&o, 20_000);
        assert!(o.faults > 0);
        let share = 20_000.0 / o.flit_times as f64;
        println!(
            "{damage} of 10^6 flits damaged: {} faults, {share:.3} of the clean throughput",
            o.faults
        );
    }
}

#[test]
fn with_seq_lost_and_repeated_flits_are_noticed() {
    let seed = common::seed();
    let faults = Faults {
        damage: 2_000,
        lose: 2_000,
        repeat: 2_000,
    };
    let tail = Limits {
        tail: 128,
        ..limits(64)
    };
    let o = run(20_000, faults, tail, true, 3, seed);
    assert_all_arrived(&o, 20_000);
    assert!(o.faults > 60);
}

/// The hole of implicit numbers (cxl-mem 8.4): without SEQ a lost flit is not noticed. This is what the option is for.
#[test]
fn without_seq_a_lost_flit_goes_unnoticed() {
    let faults = Faults {
        lose: 1_000,
        ..Faults::default()
    };
    let o = run(20_000, faults, limits(64), false, 2, 7);
    let lost = o.ends.iter().any(|e| !e.got.iter().copied().eq(0..20_000));
    assert!(
        o.faults > 0 && lost,
        "the hole has gone: say so in the departures"
    );
}

#[test]
fn a_lost_last_flit_is_noticed_by_the_tail_timer() {
    let mut hits = 0;
    for seed in 0..200 {
        let faults = Faults {
            lose: 200_000,
            ..Faults::default()
        };
        let tail = Limits {
            tail: 100,
            ..limits(64)
        };
        let o = run(3, faults, tail, true, 2, seed);
        for end in &o.ends {
            assert!(
                end.got.iter().copied().eq(0..3),
                "seed {seed}: {:?}",
                end.got
            );
        }
        hits += o.faults;
    }
    assert!(hits > 100);
}

/// A wire that passes nothing good: requests, re-initialisations, and then the end, within a bound.
#[test]
fn a_dead_wire_ends_in_abort() {
    let faults = Faults {
        damage: 1_000_000,
        ..Faults::default()
    };
    let o = run(10, faults, limits(32), false, 2, 1);
    for end in &o.ends {
        assert_eq!(end.retry.local(), Local::Abort);
        assert!(end.got.is_empty());
    }
    assert_eq!(o.reinits, 10, "as many as max_num_phy_reinit, both at once");
}

#[test]
fn nonsense_from_the_other_end_is_an_error_and_never_a_panic() {
    let mut rng = Rng(common::seed() | 1);
    for _ in 0..2_000 {
        let mut end = Retry::new(7 + rng.below(249) as u8, limits(20));
        end.set_peer_entries(rng.below(256) as u8);
        for _ in 0..200 {
            let _ = match rng.below(8) {
                0 => end.receive(Arrival::Damaged),
                1 => end.receive(Arrival::Retryable),
                2 => end.receive(Arrival::Retry(Control::RetryReq {
                    eseq: rng.below(256) as u8,
                    num_retry: rng.below(32) as u8,
                    num_phy_reinit: 0,
                })),
                3 => end.receive(Arrival::Retry(Control::RetryAck {
                    empty: rng.below(2) == 0,
                    viral: false,
                    num_retry: rng.below(12) as u8,
                    wr_ptr: 0,
                    eseq: 0,
                    num_free_buf: 0,
                    viral_ld: 0,
                })),
                4 if end.free() > 1 => {
                    end.sent(true);
                    Verdict::Drop
                }
                5 => {
                    let _ = end.acked(rng.below(4) as u8);
                    Verdict::Drop
                }
                6 => {
                    end.next(rng.below(2) == 0);
                    Verdict::Drop
                }
                _ => end.receive(Arrival::Retry(Control::RetryFrame)),
            };
            assert!(end.unacked() < end.entries());
        }
    }
}

#[test]
fn an_unframed_message_is_discarded() {
    let mut end = Retry::new(32, limits(32));
    end.sent(true);
    let req = Arrival::Retry(Control::RetryReq {
        eseq: 0,
        num_retry: 1,
        num_phy_reinit: 0,
    });
    end.receive(req);
    assert!(matches!(end.next(false), Send::New { .. }));
    end.receive(Arrival::Retry(Control::RetryFrame));
    end.receive(Arrival::Retry(Control::RetryIdle));
    end.receive(req);
    end.receive(Arrival::Damaged);
    let mut sent = Vec::new();
    for _ in 0..6 {
        sent.push(end.next(false));
    }
    assert!(
        matches!(
            sent[5],
            Send::Control(Control::RetryReq {
                eseq: 0,
                num_retry: 1,
                ..
            })
        ),
        "the damaged flit is asked for, the unframed request is not answered: {sent:?}"
    );
    end.receive(Arrival::Retry(Control::RetryFrame));
    end.receive(req);
    // An all-data flit goes first.
    assert!(matches!(end.next(true), Send::New { idle: true }));
    for _ in 0..5 {
        assert_eq!(end.next(false), Send::Control(Control::RetryFrame));
    }
    assert!(matches!(
        end.next(false),
        Send::Control(Control::RetryAck {
            empty: false,
            eseq: 0,
            num_retry: 1,
            ..
        })
    ));
    assert_eq!(end.next(false), Send::Replay(0));
}
