//! Formal proofs on the emitted Verilog: what is proved is what is synthesised.
//!
//! A property file (`hdl/formal/*.v`) is put inside its module, before `endmodule`, so that it sees the registers. All proofs are
//! unbounded: the CRC by equivalence for all inputs, the others by induction over time. Assumptions about a module's users stand in
//! its file. See `docs/developer/proofs.md`.

use crate::gates::tools::Yosys;
use crate::gates::yosys;
use crate::gates::GateError;

/// How a proof is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A combinational module: for all inputs, by decision diagrams of the difference.
    AllInputs,
    /// Induction over time, to the depth that it needs: holds in every reachable state.
    Induction,
}

impl Method {
    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Method::AllInputs => "all inputs",
            Method::Induction => "induction",
        }
    }
}

/// One proof.
#[derive(Debug)]
pub struct Proof {
    /// Name on the command line.
    pub name: &'static str,
    /// Module of the emitted Verilog.
    pub module: &'static str,
    /// What is proved, in a line.
    pub what: &'static str,
    /// How.
    pub method: Method,
    /// The property file.
    properties: &'static str,
    /// Cells that the properties do not look at: their outputs are free, which proves more and is faster.
    free: Option<&'static str>,
    /// A change of the module (text, replacement) that breaks the property: the proof must fail on it.
    mutant: (&'static str, &'static str),
}

macro_rules! property {
    ($file:literal) => {
        include_str!(concat!("../formal/", $file, ".v"))
    };
}

const CRC: &str = "tree = bit-serial LFSR over a slot";
const COMMIT_FIFO: &str =
    "no overflow with credits; level = committed less read; what is aborted is never visible";
const COMMIT_MUTANT: (&str, &str) = ("committed$d = wr_next;", "committed$d = wr$q;");

/// Every proof.
pub static PROOFS: &[Proof] = &[
    Proof {
        name: "crc-rx",
        module: "top$rx$step",
        what: CRC,
        method: Method::AllInputs,
        properties: property!("crc"),
        free: None,
        mutant: ("crc[3] = ", "crc[3] = acc[0] ^ "),
    },
    Proof {
        name: "crc-tx",
        module: "top$tx$step",
        what: CRC,
        method: Method::AllInputs,
        properties: property!("crc"),
        free: None,
        mutant: ("crc[3] = ", "crc[3] = acc[0] ^ "),
    },
    Proof {
        name: "fifo",
        module: "top$arbiter$owners",
        what: "level, empty and full are accepted writes less reads",
        method: Method::Induction,
        properties: property!("fifo"),
        free: None,
        mutant: ("if (write & ~full) begin", "if (write) begin"),
    },
    Proof {
        name: "req-queue",
        module: "top$rx$reqs",
        what: COMMIT_FIFO,
        method: Method::Induction,
        properties: property!("commit_fifo"),
        free: None,
        mutant: COMMIT_MUTANT,
    },
    Proof {
        name: "rwd-queue",
        module: "top$rx$rwds",
        what: COMMIT_FIFO,
        method: Method::Induction,
        properties: property!("commit_fifo"),
        free: None,
        mutant: COMMIT_MUTANT,
    },
    Proof {
        name: "ndr-queue",
        module: "top$tx$ndrs",
        what: "at most 32 held; count = written less taken",
        method: Method::Induction,
        properties: property!("ndr_queue"),
        free: None,
        mutant: ("more = held$q + 32'h1;", "more = held$q;"),
    },
    Proof {
        name: "retry",
        module: "top$retry",
        what: "abort is final; dropping exactly outside Normal; an entry is always free; replay and RETRY.* never at once",
        method: Method::Induction,
        properties: property!("retry"),
        free: Some("top$retry/flits"),
        mutant: ("room2$d = unacked_next < 32'h3f;", "room2$d = 1'b1;"),
    },
    Proof {
        name: "tracker-pool",
        module: "top$reads$pool",
        what: "none allocated twice, none freed twice, full exactly with 16 out",
        method: Method::Induction,
        properties: property!("pool"),
        free: None,
        mutant: ("head_next = head$q + 32'h1;", "head_next = head$q;"),
    },
    Proof {
        name: "tracker",
        module: "top$reads$pool$trackers$0",
        what: "set by allocation, cleared by completion or reset, by nothing else",
        method: Method::Induction,
        properties: property!("tracker"),
        free: None,
        mutant: ("if (done) begin", "if (done & ~allocate & line$q[0]) begin"),
    },
    Proof {
        name: "snoop-tracker",
        module: "top$order$snoops$trackers$0",
        what: "ends after two ticks whatever the host does; an answer is owed exactly after a snoop that left and got none",
        method: Method::Induction,
        properties: property!("snoop_tracker"),
        free: None,
        mutant: (
            "if (age$q[32'h0]) begin",
            "if (age$q[32'h0] & ~unsent_r$q) begin",
        ),
    },
    Proof {
        name: "credits",
        module: "top$tx",
        what: "nothing is sent without a credit; credits given, owed and held are conserved",
        method: Method::Induction,
        properties: property!("tx_credits"),
        free: Some("top$tx/chunks top$tx/ndrs top$tx/drss top$tx/step"),
        mutant: ("ndr_two = (ndrs$count > 32'h1) & (ndr_credits$q > 32'h1);", "ndr_two = (ndrs$count > 32'h1);"),
    },
    Proof {
        name: "no-passing",
        module: "top$writes",
        what: "completions and BI-ConflictAck leave in the order of the writes, each once",
        method: Method::Induction,
        properties: property!("writes"),
        free: None,
        mutant: ("completion = held_cmp$q;", "completion = cmp;"),
    },
    Proof {
        name: "point-of-coherence",
        module: "top$order",
        what: "one is served at a time, none on a line in use; no snoop overtakes a Req that waits; the directory is not read while written",
        method: Method::Induction,
        properties: property!("order"),
        free: Some("top$order/directory"),
        mutant: ("rule$stalled = 32'h1;", "rule$stalled = 32'h0;"),
    },
    Proof {
        name: "local-access",
        module: "top$local_access",
        what: "grants never overflow a queue or a pool of the device's own accesses",
        method: Method::Induction,
        properties: property!("local"),
        free: None,
        mutant: ("if (~wanted$empty & ~reading$full", "if (~reading$full"),
    },
];

/// What came of a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The properties hold, without a bound.
    Proved,
    /// There is a counterexample, or induction does not close.
    Failed,
    /// The tool came to no end; its last words.
    Unknown(String),
}

/// Seconds that the solver may take for one proof.
const SECONDS: u32 = 120;

impl Proof {
    /// Proves the properties on emitted Verilog, or on it with the mutant, on which they must fail.
    ///
    /// # Errors
    /// [`GateError`] if yosys is missing or cannot be run.
    pub fn run(&self, verilog: &str, with_mutant: bool) -> Result<Verdict, GateError> {
        let (start, end) = (
            format!("module {}(", self.module),
            format!("endmodule // {}\n", self.module),
        );
        let unknown = |what: String| Ok(Verdict::Unknown(what));
        let (Some(from), Some(to)) = (verilog.find(&start), verilog.find(&end)) else {
            return unknown(format!("no module {} in the Verilog", self.module));
        };
        let mut module = verilog[from..to].to_string();
        if with_mutant {
            let (text, replacement) = self.mutant;
            if !module.contains(text) {
                return unknown(format!("the mutant's text `{text}` is not in the module"));
            }
            module = module.replacen(text, replacement, 1);
        }
        let design = format!(
            "{}{module}{}{}",
            &verilog[..from],
            self.properties,
            &verilog[to..]
        );
        let yosys = Yosys::find()?;
        let log = yosys::run(&yosys, &[("design.v", &design)], &self.script(&yosys))?;
        let says = |text: &str| log.text.contains(text);
        Ok(if says("SUCCESS!") && log.ok {
            Verdict::Proved
        } else if says("proof did fail") || says("model found: FAIL!") {
            Verdict::Failed
        } else {
            Verdict::Unknown(crate::gates::tools::tail(&log.text, 3))
        })
    }

    fn script(&self, yosys: &Yosys) -> String {
        let module = self.module;
        // Debian's 0.23 has assertions as cells of their own; the pinned version must be told to make them.
        let lower = match yosys {
            Yosys::Python(_) => "chformal -lower\n",
            Yosys::Native(_) => "",
        };
        let free = self
            .free
            .map_or(String::new(), |cell| format!("delete {cell}\n"));
        let solve = match self.method {
            // As an output the tree would stay in the diagrams; without it only the sixteen differences do.
            Method::AllInputs => format!(
                "techmap\nopt\ndelete -output {module}/crc\nopt_clean\n\
                 abc -g AND,XOR -script +strash;collapse;strash;map\nopt_clean\n\
                 sat -verify -prove-asserts -timeout {SECONDS}\n"
            ),
            Method::Induction => format!(
                "sat -verify -tempinduct -prove-asserts -set-assumes -maxsteps 8 -timeout {SECONDS}\n"
            ),
        };
        format!(
            "read_verilog -sv -formal design.v\nhierarchy -check -top {module}\n{free}proc\nflatten\n{lower}opt_clean\nmemory_map\n{solve}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn every_proof_closes_and_fails_on_its_mutant() {
        let verilog = crate::emit(Config::by_name("full").unwrap()).unwrap();
        for proof in PROOFS {
            assert_eq!(
                proof.run(&verilog, false).unwrap(),
                Verdict::Proved,
                "{}",
                proof.name
            );
            assert_eq!(
                proof.run(&verilog, true).unwrap(),
                Verdict::Failed,
                "{} with its mutant",
                proof.name
            );
        }
    }

    #[test]
    fn a_module_that_is_gone_is_not_proved() {
        let verdict = PROOFS[0].run("module other(); endmodule", false).unwrap();
        assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");
    }
}
