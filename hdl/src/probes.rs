//! Where a line operation stands in the pipeline: named stages, each recognised by registers and wires that the RTL has anyway.
//!
//! The simulator makes these signals readable and turns each stage into one bit (`Dut::probes`). Nothing is added to the Verilog: what is
//! simulated is what is synthesised. Whoever moves a register of the pipeline moves the stage here; a signal that is gone fails the test
//! below and the simulator's build, with its name.

/// A signal of the emitted Verilog that has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Path of the block from the top, by instance: `top`, `top.rx`.
    pub block: &'static str,
    /// A wire of the block's module, at most 32 bits: the output of a flip-flop (`name$q`) or of a child (`child$port`). Verilator keeps those; what
    /// an `always` block computes (`reg`) may be gone.
    pub signal: &'static str,
    /// The value that counts.
    pub value: u32,
}

impl Condition {
    /// The Verilog module of the block.
    pub fn module(&self) -> String {
        self.block.replace('.', "$")
    }
}

/// A stage of the pipeline: an operation is in it from the first cycle in which all conditions hold until the next stage's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Short name, as in figures.
    pub name: &'static str,
    /// What happens in it.
    pub what: &'static str,
    /// All must hold.
    pub when: &'static [Condition],
}

const fn at(block: &'static str, signal: &'static str, value: u32) -> Condition {
    Condition {
        block,
        signal,
        value,
    }
}

/// The stage before the first probe: the flit's last slot at the pins.
pub const PINS: &str = "pins";

/// Every stage; bit *n* of the simulator's probe word is entry *n*.
pub static STAGES: &[Stage] = &[
    Stage {
        name: "crc",
        what: "last slot registered, CRC step",
        when: &[at("top.rx", "s1_valid$q", 1), at("top.rx", "s1_index$q", 3)],
    },
    Stage {
        name: "commit",
        what: "CRC compared, the flit's messages committed to their queues",
        when: &[at("top.rx", "s2_valid$q", 1), at("top.rx", "s2_index$q", 3)],
    },
    Stage {
        name: "req",
        what: "request at the head of the Req queue, its rule looked up",
        when: &[at("top", "rx$req_valid", 1)],
    },
    Stage {
        name: "rwd",
        what: "write at the head of the RwD queue, tracker allocated, first chunk fetched",
        when: &[at("top", "rx$rwd_valid", 1)],
    },
    Stage {
        name: "track",
        what: "request checked against the trackers, tracker allocated, memory asked; until the memory answers",
        when: &[at("top.reads", "stage_valid$q", 1)],
    },
    Stage {
        name: "memory",
        what: "first beat of the line from the memory",
        when: &[at("top", "arbiter$link_rsp_valid", 1)],
    },
    Stage {
        name: "answer",
        what: "beat registered; the completion is queued with the first beat, or with the last where beats may come apart",
        when: &[at("top.reads", "answer_valid$q", 1)],
    },
    Stage {
        name: "beats",
        what: "four beats to the memory port; the completion is queued with the last",
        when: &[at("top", "writes$wr_valid", 1)],
    },
    Stage {
        name: "drs",
        what: "DRS at the head of its queue, flit header packed",
        when: &[at("top.tx", "drss$empty", 0)],
    },
    Stage {
        name: "ndr",
        what: "NDR at the head of its queue, flit header packed",
        when: &[at("top.tx", "ndrs$count", 1)],
    },
    Stage {
        name: "slot",
        what: "slot 0 packed, CRC step; at the pins in the next cycle",
        when: &[at("top.tx", "p_valid$q", 1), at("top.tx", "p_first$q", 1)],
    },
];

/// A read's way through [`STAGES`], after [`PINS`].
pub static READ: &[&str] = &[
    "crc", "commit", "req", "track", "memory", "answer", "drs", "slot",
];

/// A write's way through [`STAGES`], after [`PINS`].
pub static WRITE: &[&str] = &["crc", "commit", "rwd", "beats", "ndr", "slot"];

/// What goes into the directory in this cycle: whether anything does, the line, and the code of its state (`coherence::directory`).
pub static DIRECTORY: [Condition; 3] = [
    at("top.order", "put$q", 0),
    at("top.order", "put_line$q", 0),
    at("top.order", "put_state$q", 0),
];

/// Every signal that the simulator reads.
pub fn signals() -> impl Iterator<Item = &'static Condition> {
    STAGES.iter().flat_map(|s| s.when).chain(&DIRECTORY)
}

/// The bit of a stage in the probe word.
pub fn bit(name: &str) -> Option<u32> {
    let n = STAGES.iter().position(|s| s.name == name)?;
    u32::try_from(n).ok()
}

/// Checks that the Verilog of a configuration declares every signal as a wire of at most 32 bits.
///
/// # Errors
/// Names the stage, the signal and where it should be.
pub fn check(verilog: &str) -> Result<(), String> {
    let stages = STAGES.iter().map(|s| (s.name, s.when));
    for (name, when) in stages.chain([("directory", &DIRECTORY[..])]) {
        for c in when {
            let missing = || {
                format!(
                    "stage `{}`: module {} has no wire `{}` of at most 32 bits: correct hdl/src/probes.rs",
                    name,
                    c.module(),
                    c.signal
                )
            };
            let head = format!("module {}(", c.module());
            let start = verilog.find(&head).ok_or_else(missing)?;
            let body = &verilog[start..];
            let body = &body[..body.find("endmodule").unwrap_or(body.len())];
            let declares = |line: &str| {
                let Some((kind, name)) = line.trim().trim_end_matches(';').rsplit_once(' ') else {
                    return false;
                };
                name == c.signal && kind.starts_with("wire") && width(kind) <= 32
            };
            body.lines().find(|l| declares(l)).ok_or_else(missing)?;
        }
    }
    Ok(())
}

/// Bits of a declaration without its name: `wire [1:0]`.
fn width(kind: &str) -> usize {
    let range = kind.split_once('[').and_then(|(_, r)| r.split_once(':'));
    range
        .and_then(|(high, _)| high.trim().parse::<usize>().ok())
        .map_or(1, |high| high + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_has_the_signals() {
        for c in crate::Config::all() {
            check(&crate::emit(c).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", c.name));
        }
    }

    #[test]
    fn ways_consist_of_stages_and_every_stage_is_on_one() {
        for name in READ.iter().chain(WRITE) {
            assert!(bit(name).is_some(), "{name}");
        }
        for s in STAGES {
            assert!(READ.contains(&s.name) || WRITE.contains(&s.name));
            assert!(s.name != PINS && !s.when.is_empty());
        }
        assert!(STAGES.len() <= 32, "the probe word has 32 bits");
    }

    #[test]
    fn a_signal_that_is_gone_is_named() {
        let verilog = crate::emit(&crate::Config::all()[0]).unwrap();
        let renamed = verilog.replace("s2_index$q", "s2_place$q");
        let e = check(&renamed).unwrap_err();
        assert!(
            e.contains("`commit`") && e.contains("top$rx") && e.contains("`s2_index$q`"),
            "{e}"
        );
        let wider = verilog.replace("stage_valid$q", "stage_gone$q");
        assert!(check(&wider).unwrap_err().contains("stage_valid$q"));
    }

    #[test]
    fn widths_of_declarations() {
        assert_eq!(width("wire"), 1);
        assert_eq!(width("wire  [5:0]"), 6);
        assert_eq!(width("wire [127:0]"), 128);
    }
}
