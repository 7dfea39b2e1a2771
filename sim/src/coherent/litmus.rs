//! Litmus tests: small programs of which the threads run on cores of the host or on ports of the device, in every placement, many times
//! with random delays. Which outcomes are allowed follows from the model promised here: **sequential consistency**. Cores do one
//! operation at a time and have no store buffer; a port does one access at a time, in order. So the allowed outcomes are those of the
//! interleavings, and all of them are enumerated.

use super::bench::{Bench, Check, Failure};
use super::{set_word, word, CoreOp, DeviceOp, Endpoint, Line, LINE};
use crate::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One step of a thread. Locations are lines 0 and 1, registers are numbered over all threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes a value to a location.
    St(u8, u64),
    /// Reads a location; the next register of the outcome.
    Ld(u8),
}

/// A program.
#[derive(Clone, Copy, Debug)]
pub struct Litmus {
    /// Its usual name.
    pub name: &'static str,
    /// Its threads.
    pub threads: &'static [&'static [Step]],
    /// Does the outcome have the locations' last values too?
    pub finals: bool,
}

use Step::{Ld, St};

/// The programs, with locations x = 0 and y = 1.
pub const ALL: [Litmus; 9] = [
    Litmus {
        name: "MP",
        threads: &[&[St(0, 1), St(1, 1)], &[Ld(1), Ld(0)]],
        finals: false,
    },
    Litmus {
        name: "SB",
        threads: &[&[St(0, 1), Ld(1)], &[St(1, 1), Ld(0)]],
        finals: false,
    },
    Litmus {
        name: "LB",
        threads: &[&[Ld(0), St(1, 1)], &[Ld(1), St(0, 1)]],
        finals: false,
    },
    Litmus {
        name: "IRIW",
        threads: &[&[St(0, 1)], &[St(1, 1)], &[Ld(0), Ld(1)], &[Ld(1), Ld(0)]],
        finals: false,
    },
    Litmus {
        name: "CoRR",
        threads: &[&[St(0, 1)], &[Ld(0), Ld(0)]],
        finals: false,
    },
    Litmus {
        name: "CoWW",
        threads: &[&[St(0, 1), St(0, 2)], &[Ld(0)]],
        finals: true,
    },
    Litmus {
        name: "2+2W",
        threads: &[&[St(0, 1), St(1, 2)], &[St(1, 1), St(0, 2)]],
        finals: true,
    },
    Litmus {
        name: "S",
        threads: &[&[St(0, 2), St(1, 1)], &[Ld(1), St(0, 1)]],
        finals: true,
    },
    Litmus {
        name: "R",
        threads: &[&[St(0, 1), St(1, 1)], &[St(1, 2), Ld(0)]],
        finals: true,
    },
];

/// Registers, then the last values of x and y if they count.
pub type Outcome = Vec<u64>;

impl Litmus {
    /// Every outcome of an interleaving of the threads.
    pub fn allowed(&self) -> BTreeSet<Outcome> {
        let mut found = BTreeSet::new();
        let mut at = vec![0; self.threads.len()];
        let mut registers = vec![0; self.registers()];
        self.interleave(&mut at, [0; 2], &mut registers, &mut found);
        found
    }

    fn registers(&self) -> usize {
        let steps = self.threads.iter().flat_map(|t| t.iter());
        steps.filter(|s| matches!(s, Ld(_))).count()
    }

    /// The register that a thread's step sets.
    fn register(&self, thread: usize, step: usize) -> usize {
        let loads = |steps: &[Step]| steps.iter().filter(|s| matches!(s, Ld(_))).count();
        let before: usize = self.threads[..thread].iter().map(|t| loads(t)).sum();
        before + loads(&self.threads[thread][..step])
    }

    fn interleave(
        &self,
        at: &mut [usize],
        memory: [u64; 2],
        registers: &mut [u64],
        found: &mut BTreeSet<Outcome>,
    ) {
        let mut ended = true;
        for t in 0..self.threads.len() {
            let Some(step) = self.threads[t].get(at[t]) else {
                continue;
            };
            ended = false;
            let (mut after, mut registers) = (memory, registers.to_vec());
            match *step {
                St(l, v) => after[usize::from(l & 1)] = v,
                Ld(l) => registers[self.register(t, at[t])] = memory[usize::from(l & 1)],
            }
            at[t] += 1;
            self.interleave(at, after, &mut registers, found);
            at[t] -= 1;
        }
        if ended {
            found.insert(self.outcome(registers, memory));
        }
    }

    fn outcome(&self, registers: &[u64], memory: [u64; 2]) -> Outcome {
        let finals = if self.finals { &memory[..] } else { &[] };
        registers.iter().chain(finals).copied().collect()
    }
}

/// Outcomes of one program in one placement.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The program.
    pub name: &'static str,
    /// For each thread: `h` on a core of the host, `d` on a port of the device.
    pub placement: String,
    /// How often each outcome came.
    pub seen: BTreeMap<Outcome, u64>,
    /// What may come.
    pub allowed: BTreeSet<Outcome>,
}

impl Tally {
    /// How often an outcome came that is not allowed.
    pub fn forbidden(&self) -> u64 {
        let bad = self.seen.iter().filter(|(o, _)| !self.allowed.contains(*o));
        bad.map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs: u64 = self.seen.values().sum();
        let reached = self
            .seen
            .keys()
            .filter(|o| self.allowed.contains(*o))
            .count();
        write!(
            f,
            "{:5} {:5} {runs:6} runs, {reached:2} of {:2} allowed outcomes seen, {} forbidden",
            self.name,
            self.placement,
            self.allowed.len(),
            self.forbidden()
        )
    }
}

/// Runs a program `runs` times in every placement of its threads that the bench has cores and ports for. Lines 0 and 1 are used.
///
/// # Errors
/// A check of the bench failed, or an operation did not end in a million cycles.
pub fn run<E: Endpoint>(
    bench: &mut Bench<E>,
    litmus: &Litmus,
    runs: usize,
    seed: u64,
) -> Result<Vec<Tally>, Failure> {
    let mut rng = Rng::new(seed);
    let threads = litmus.threads.len();
    let (cores, ports) = (bench.agent.cores(), bench.device.ports());
    let allowed = litmus.allowed();
    let mut tallies = Vec::new();
    for mask in 0..1u32 << threads {
        let on_device = mask.count_ones() as usize;
        if on_device > ports || threads - on_device > cores {
            continue;
        }
        let (mut core, mut port) = (0..cores, cores..cores + ports);
        let place = |t: usize| {
            if mask >> t & 1 == 1 {
                port.next()
            } else {
                core.next()
            }
        };
        let actors: Vec<usize> = (0..threads).filter_map(place).collect();
        let letter = |t: usize| if mask >> t & 1 == 1 { 'd' } else { 'h' };
        let mut tally = Tally {
            name: litmus.name,
            placement: (0..threads).map(letter).collect(),
            seen: BTreeMap::new(),
            allowed: allowed.clone(),
        };
        for _ in 0..runs {
            let outcome = once(bench, litmus, &actors, &mut rng)?;
            *tally.seen.entry(outcome).or_default() += 1;
        }
        tallies.push(tally);
    }
    Ok(tallies)
}

fn start<E: Endpoint>(bench: &mut Bench<E>, actor: usize, step: Step) -> Result<(), Failure> {
    let cores = bench.agent.cores();
    let mut data: Line = [0; 64];
    let (St(location, _) | Ld(location)) = step;
    let address = u64::from(location & 1) * LINE;
    if let St(_, value) = step {
        set_word(&mut data, 0, value);
    }
    match step {
        St(..) if actor < cores => bench.core(actor, address, 8, CoreOp::Store(data)),
        Ld(_) if actor < cores => bench.core(actor, address, 8, CoreOp::Load),
        St(..) => bench.port(
            actor - cores,
            address,
            DeviceOp::Store {
                data,
                enables: 0xFF,
            },
        ),
        Ld(_) => bench.port(actor - cores, address, DeviceOp::Load),
    }
}

/// Does one step to its end.
fn whole<E: Endpoint>(bench: &mut Bench<E>, actor: usize, step: Step) -> Result<u64, Failure> {
    start(bench, actor, step)?;
    for _ in 0..1_000_000 {
        bench.cycle()?;
        if let Some(data) = bench.poll(actor)? {
            return Ok(word(&data, 0));
        }
    }
    let what = format!("actor {actor}: {step:?} does not end");
    Err(Failure::new(Check::Progress, what))
}

fn once<E: Endpoint>(
    bench: &mut Bench<E>,
    litmus: &Litmus,
    actors: &[usize],
    rng: &mut Rng,
) -> Result<Outcome, Failure> {
    let all = bench.actors() as u64;
    for location in 0..2 {
        whole(bench, rng.below(all) as usize, St(location, 0))?;
        // Copies here and there to begin with.
        for _ in 0..rng.below(3) {
            whole(bench, rng.below(all) as usize, Ld(location))?;
        }
    }
    let mut registers = vec![0; litmus.registers()];
    let mut at = vec![0; actors.len()];
    let mut open = vec![false; actors.len()];
    let begin = bench.now();
    let mut ready: Vec<u64> = actors.iter().map(|_| begin + rng.below(40)).collect();
    loop {
        let mut ended = true;
        for (t, &actor) in actors.iter().enumerate() {
            let Some(&step) = litmus.threads[t].get(at[t]) else {
                continue;
            };
            ended = false;
            if open[t] {
                let Some(data) = bench.poll(actor)? else {
                    continue;
                };
                if let Ld(_) = step {
                    registers[litmus.register(t, at[t])] = word(&data, 0);
                }
                (open[t], at[t]) = (false, at[t] + 1);
                ready[t] = bench.now() + rng.below(8);
            } else if ready[t] <= bench.now() {
                start(bench, actor, step)?;
                open[t] = true;
            }
        }
        if ended {
            break;
        }
        if bench.now() - begin > 1_000_000 {
            let what = format!("{} does not end", litmus.name);
            return Err(Failure::new(Check::Progress, what));
        }
        bench.cycle()?;
    }
    let mut memory = [0; 2];
    if litmus.finals {
        for (location, value) in memory.iter_mut().enumerate() {
            *value = whole(bench, rng.below(all) as usize, Ld(location as u8))?;
        }
    }
    Ok(litmus.outcome(&registers, memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coherent_litmus_outcomes_are_those_of_interleavings() {
        // The outcome that gives each program its name, never to be seen.
        let forbidden: [(&str, &[u64]); 9] = [
            ("MP", &[1, 0]),
            ("SB", &[0, 0]),
            ("LB", &[1, 1]),
            ("IRIW", &[1, 0, 1, 0]),
            ("CoRR", &[1, 0]),
            ("CoWW", &[0, 1, 0]),
            ("2+2W", &[1, 1]),
            ("S", &[1, 2, 1]),
            ("R", &[0, 1, 2]),
        ];
        for (litmus, (name, outcome)) in ALL.iter().zip(forbidden) {
            assert_eq!(litmus.name, name);
            let allowed = litmus.allowed();
            assert!(!allowed.contains(outcome), "{name}");
            assert!(allowed.len() > 1, "{name}: {allowed:?}");
        }
    }
}
