//! The link is lost and comes back while cores and ports write: operations end, with an error if need be, and every line that the agent does
//! not name as lost keeps what was last stored there for certain, or what was being stored.

use super::bench::Bench;
use super::{word, AgentOptions, Choices, CoreOp, DeviceOp, Endpoint, Loss, LINE};
use crate::rng::Rng;
use cxlmem_protocol::hdm_db::Policy;

/// Lines that are written.
pub const LINES: u64 = 6;
/// Ports of the device that write.
pub const PORTS: usize = 2;
/// Cores that write.
pub const CORES: usize = 3;
const ACTORS: usize = CORES + PORTS;
/// Cycles in which an operation must have ended after a cut, with an error or without.
const BOUND: u64 = 10_000;

/// What came of the cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// How many.
    pub cuts: u64,
    /// Operations that a cut ended with an error.
    pub failed: u64,
    /// Lines that the agent named as lost.
    pub named: u64,
    /// Words of those that have an older value than the last one stored.
    pub old: u64,
}

impl std::ops::AddAssign for Cuts {
    fn add_assign(&mut self, more: Self) {
        self.cuts += more.cuts;
        self.failed += more.failed;
        self.named += more.named;
        self.old += more.old;
    }
}

/// Every core writes a word of its own in every line, rising; so do the ports. `cut` loses the link and brings it up again, or lets time go
/// by with a device that does nothing first; it is called `cuts` times, at random moments.
///
/// # Errors
/// What is wrong, for a person.
pub fn run<E: Endpoint>(
    device: E,
    policy: Policy,
    cuts: u64,
    rng: &mut Rng,
    mut cut: impl FnMut(&mut Bench<E>) -> Result<(), String>,
) -> Result<Cuts, String> {
    let agent = AgentOptions {
        cores: CORES,
        sets: 1,
        ways: 2,
        choices: Choices::ANYTHING,
        seed: rng.next_u64(),
        ..AgentOptions::default()
    };
    let mut bench = Bench::new(agent, device, policy);
    let mut sum = Cuts::default();
    // What was stored last for certain, and what may have been stored since.
    let mut known = [[0u64; LINES as usize]; ACTORS];
    let mut maybe = known;
    let mut open: [Option<usize>; ACTORS] = [None; ACTORS];
    let mut next = 0u64;
    for _ in 0..cuts {
        for _ in 0..rng.below(400) {
            for actor in 0..ACTORS {
                let done = bench.poll(actor).map_err(|e| e.to_string())?;
                if let (Some(line), Some(_)) = (open[actor], done) {
                    known[actor][line] = maybe[actor][line];
                    open[actor] = None;
                }
                if open[actor].is_some() {
                    continue;
                }
                next += 1;
                let line = rng.below(LINES) as usize;
                maybe[actor][line] = next;
                open[actor] = Some(line);
                store(&mut bench, actor, line as u64 * LINE, next)?;
            }
            bench.cycle().map_err(|e| e.to_string())?;
        }
        sum.cuts += 1;
        cut(&mut bench)?;
        if let Some(shadow) = &mut bench.shadow {
            shadow.lose_link();
        }
        let lost = bench.agent.link_reset(Loss::Link);
        sum.named += lost.len() as u64;
        bench.look().map_err(|e| e.to_string())?;
        for actor in 0..ACTORS {
            let Some(line) = open[actor].take() else {
                continue;
            };
            match end(&mut bench, actor)? {
                // A port may go on by itself.
                Ok(()) => known[actor][line] = maybe[actor][line],
                Err(()) => sum.failed += 1,
            }
        }
        for line in 0..LINES {
            let at = line * LINE;
            let load = bench.core(0, at, LINE as usize, CoreOp::Load);
            load.map_err(|e| e.to_string())?;
            let data = loop {
                bench.cycle().map_err(|e| e.to_string())?;
                if let Some(data) = bench.poll(0).map_err(|e| e.to_string())? {
                    break data;
                }
            };
            let is_named = lost.iter().any(|l| l.address == at);
            for actor in 0..ACTORS {
                let got = word(&data, actor);
                let n = line as usize;
                let (low, high) = (known[actor][n], maybe[actor][n]);
                let fits = got == low || got == high;
                sum.old += u64::from(!fits);
                if !(fits || is_named && got < high) {
                    return Err(format!(
                        "line {line}, actor {actor}: {got}, not {low} or {high}; named as lost: {is_named}"
                    ));
                }
                (known[actor][n], maybe[actor][n]) = (got, got);
            }
        }
    }
    Ok(sum)
}

fn store<E: Endpoint>(
    bench: &mut Bench<E>,
    actor: usize,
    at: u64,
    value: u64,
) -> Result<(), String> {
    let mut data = [0; 64];
    let started = if actor < CORES {
        data[..8].copy_from_slice(&value.to_le_bytes());
        bench.core(actor, at + 8 * actor as u64, 8, CoreOp::Store(data))
    } else {
        data[8 * actor..][..8].copy_from_slice(&value.to_le_bytes());
        let enables = 0xFF << (8 * actor);
        bench.port(actor - CORES, at, DeviceOp::Store { data, enables })
    };
    started.map_err(|e| e.to_string())
}

/// Waits for an actor's operation; whether it was done.
fn end<E: Endpoint>(bench: &mut Bench<E>, actor: usize) -> Result<Result<(), ()>, String> {
    for _ in 0..BOUND {
        match bench.poll(actor) {
            Ok(None) => bench.cycle().map_err(|e| e.to_string())?,
            Ok(Some(_)) => return Ok(Ok(())),
            Err(_) => return Ok(Err(())),
        }
    }
    Err(format!("actor {actor} hangs after the cut"))
}
