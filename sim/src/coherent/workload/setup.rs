//! What a workload does, drawn from a seed.

use crate::coherent::model_device::{DeviceOptions, ModelDevice, Mutant, Speeds};
use crate::coherent::{AgentOptions, Choices};
use crate::rng::Rng;
use cxlmem_protocol::hdm_db::Policy;
use std::fmt;

/// What an actor does. Devices do a load for [`Kind::Flush`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads a word.
    Load,
    /// Reads a whole line; a device reads once.
    LoadLine,
    /// Writes a word.
    Store,
    /// Writes a whole line; a word if the line has a counter.
    StoreLine,
    /// Adds to the line's counter; a compare-and-swap if it has none.
    FetchAdd,
    /// Replaces a word, expecting what the actor read last.
    CompareSwap,
    /// Gives the line up.
    Flush,
}

const KINDS: [Kind; 7] = [
    Kind::Load,
    Kind::LoadLine,
    Kind::Store,
    Kind::StoreLine,
    Kind::FetchAdd,
    Kind::CompareSwap,
    Kind::Flush,
];

/// One operation of a workload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WorkOp {
    /// Position in the list before any was left out: makes its value unlike all others.
    pub number: u32,
    /// Core, or device port after the cores.
    pub actor: u8,
    /// What it does.
    pub kind: Kind,
    /// Line, from 0.
    pub line: u16,
    /// Word of the line, 1 to 7; a counter is word 0.
    pub word: u8,
    /// Cycles that the actor waits before it.
    pub think: u8,
}

impl fmt::Debug for WorkOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, line, word) = (self.kind, self.line, self.word);
        write!(
            f,
            "#{} actor {}: {kind:?} line {line} word {word}",
            self.number, self.actor
        )?;
        write!(f, ", after {} cycles", self.think)
    }
}

/// Everything that a run follows from. Equal setups run equally.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The host.
    pub agent: AgentOptions,
    /// The device, as far as it is a model; lines, ports and policy are meant for every device.
    pub device: DeviceOptions,
    /// Operations.
    pub ops: usize,
    /// Seed of the operations.
    pub seed: u64,
    /// Does the shadow watch?
    pub shadow: bool,
}

impl Setup {
    /// Shapes drawn from a seed: from one core and one line up, with and without a filter, all policies, slow and fast.
    pub fn random(seed: u64, ops: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut below = |n: u64| rng.below(n);
        let lines = 1 + below(12);
        let entries = (below(2) == 0).then(|| 1 + below(4) as usize);
        let agent = AgentOptions {
            cores: 1 + below(6) as usize,
            sets: 1 + below(2) as usize,
            ways: 1 + below(3) as usize,
            outstanding: 1 + below(16) as usize,
            choices: if below(4) == 0 {
                Choices::default()
            } else {
                Choices::ANYTHING
            },
            seed: below(u64::MAX),
            ..AgentOptions::default()
        };
        // Each channel on its own, so that messages overtake each other.
        let mut speed = || [0.05, 0.3, 0.9][below(3) as usize];
        let speed = Speeds {
            req: speed(),
            rwd: speed(),
            birsp: speed(),
            ndr: speed(),
            drs: speed(),
            bisnp: speed(),
            port: speed(),
        };
        let device = DeviceOptions {
            lines,
            entries,
            depth: [1, 2, 16][below(3) as usize],
            ports: below(4) as usize,
            policy: Policy {
                shared_gets_e: below(2) == 0,
                any_gets_e: below(2) == 0,
            },
            speed,
            seed: below(u64::MAX),
            mutant: None,
        };
        Self {
            agent,
            device,
            ops,
            seed: below(u64::MAX),
            shadow: true,
        }
    }

    /// As [`Setup::random`], with two lines that do not fit into the caches together and channels of very different speed: for the
    /// races that need one message to wait while others come and go.
    pub fn hot(seed: u64, ops: usize) -> Self {
        let mut setup = Self::random(seed, ops);
        let mut rng = Rng::new(seed);
        setup.agent = AgentOptions {
            cores: 1 + rng.below(2) as usize,
            sets: 1,
            ways: 1,
            choices: Choices {
                uncached: 0.5,
                clean_evict: 0.3,
                ..Choices::ANYTHING
            },
            ..setup.agent
        };
        let fast = Speeds::all(0.9);
        let mut speed = || [0.02, 0.2, 0.9][rng.below(3) as usize];
        let mixed = Speeds {
            req: speed(),
            rwd: speed(),
            birsp: speed(),
            ndr: speed(),
            drs: speed(),
            bisnp: speed(),
            port: 0.9,
        };
        setup.device.speed = match rng.below(4) {
            // A snoop waits while the host writes back, drops and asks again.
            0 => {
                setup.agent.choices.extra = 0.6;
                setup.agent.choices.uncached = 0.7;
                setup.agent.choices.clean_evict = 0.0;
                Speeds {
                    bisnp: 0.02,
                    rwd: 0.3,
                    ..fast
                }
            }
            // An answer is passed by a write, and the next snoop passes that one's completion.
            1 => Speeds {
                birsp: 0.08,
                ndr: 0.02,
                ..fast
            },
            _ => mixed,
        };
        setup.device.lines = 2;
        setup.device.entries = setup.device.entries.map(|_| 1);
        setup.device.ports = 1 + rng.below(3) as usize;
        setup
    }

    /// The same with a broken device.
    pub fn with(mut self, mutant: Mutant) -> Self {
        self.device.mutant = Some(mutant);
        self
    }

    /// The operations.
    pub fn operations(&self) -> Vec<WorkOp> {
        let mut rng = Rng::new(self.seed);
        let actors = (self.agent.cores + self.device.ports) as u64;
        let hurry = rng.below(2) == 0;
        // Each workload leaves out some kinds, so that the others crowd (swarm testing).
        let mut kinds: Vec<Kind> = KINDS.into_iter().filter(|_| rng.below(3) != 0).collect();
        if kinds.is_empty() {
            kinds.extend(KINDS);
        }
        let op = |number| WorkOp {
            number: number as u32,
            actor: rng.below(actors) as u8,
            kind: kinds[rng.below(kinds.len() as u64) as usize],
            line: rng.below(self.device.lines) as u16,
            word: 1 + rng.below(7) as u8,
            think: if hurry { 0 } else { rng.below(32) as u8 },
        };
        (0..self.ops).map(op).collect()
    }

    /// A model device for this setup.
    pub fn model(&self) -> ModelDevice {
        ModelDevice::new(self.device)
    }
}
