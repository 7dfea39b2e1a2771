//! Memory gate: every memory that the RTL declares as block RAM or LUT RAM is mapped to it, in no more blocks than its shape needs.
//!
//! A RAM that stopped inferring is otherwise silent: it becomes thousands of flip-flops, and on an FPGA too small for them a failure
//! hours later. The expected counts are worked out from the declarations in the Verilog itself, so no number is kept by hand.

use std::collections::{BTreeMap, BTreeSet};

use super::tools::{self, Yosys};
use super::{yosys, Finding, Gate, GateError};

/// What a memory asks to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Block RAM (ECP5: DP16KD).
    Block,
    /// LUT RAM (ECP5: TRELLIS_DPR16X4).
    Distributed,
}

/// One memory declared in the Verilog with a `ram_style`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Module that declares it.
    pub module: String,
    /// What it asks to become.
    pub style: Style,
    /// Bits a word.
    pub width: usize,
    /// Words.
    pub depth: usize,
    /// Bits written together: less than `width` where a write enable covers a lane of the word.
    pub lane: usize,
}

/// Shapes of an ECP5 block RAM: bits a word, words (Lattice TN-02204; 36 bits as one write and one read port).
const BLOCK_SHAPES: &[(usize, usize)] = &[
    (36, 512),
    (18, 1024),
    (9, 2048),
    (4, 4096),
    (2, 8192),
    (1, 16384),
];

impl Memory {
    /// The fewest primitives that hold it.
    pub fn primitives(&self) -> usize {
        let lanes = self.width.div_ceil(self.lane.max(1));
        // A block of nine bits or more has a write enable for each nine.
        let columns = |w: usize| match w {
            9.. => (lanes * self.lane.div_ceil(9)).div_ceil(w / 9),
            _ => lanes * self.lane.div_ceil(w),
        };
        let whole = self.lane == self.width;
        match self.style {
            Style::Block => BLOCK_SHAPES
                .iter()
                .map(|(w, d)| {
                    let across = if whole {
                        self.width.div_ceil(*w)
                    } else {
                        columns(*w)
                    };
                    across * self.depth.div_ceil(*d)
                })
                .min()
                .unwrap_or(0),
            Style::Distributed => lanes * self.lane.div_ceil(4) * self.depth.div_ceil(16),
        }
    }
}

/// The memories declared with a `ram_style`, in the order of the text.
pub fn declared(verilog: &str) -> Vec<Memory> {
    let mut module = String::new();
    let mut found: Vec<Memory> = Vec::new();
    // Name of the last memory declared in this module: its writes follow it.
    let mut name = String::new();
    for line in verilog.lines().map(str::trim) {
        if let Some(m) = module_name(line) {
            module = m.to_string();
            name.clear();
        }
        if let (Some(lane), Some(m)) = (written_lane(line, &name), found.last_mut()) {
            m.lane = m.lane.min(lane);
        }
        let style = if line.contains("ram_style = \"block\"") {
            Style::Block
        } else if line.contains("ram_style = \"distributed\"") {
            Style::Distributed
        } else {
            continue;
        };
        if let [width, depth] = ranges(line)[..] {
            name = line
                .split(']')
                .nth(1)
                .and_then(|s| s.split('[').next())
                .unwrap_or("")
                .trim()
                .to_string();
            found.push(Memory {
                module: module.clone(),
                style,
                width,
                depth,
                lane: width,
            });
        }
    }
    found
}

/// Width of the lane in a write such as `mem[address][15:8] <= ..`.
fn written_lane(line: &str, memory: &str) -> Option<usize> {
    let at = line.find(&format!("{memory}["))?;
    let target = line[at..].split("<=").next()?;
    if memory.is_empty() || !target.contains("][") {
        return None;
    }
    ranges(
        target
            .rsplit("][")
            .next()
            .map(|r| format!("[{r}"))?
            .as_str(),
    )
    .pop()
}

/// Blocks of block RAM that the whole design needs at least.
pub fn block_rams(verilog: &str) -> usize {
    needed(verilog, |_| true)
}

/// The same without the modules whose names begin so: a part that the synthesiser drops.
pub fn block_rams_but(verilog: &str, dropped: &str) -> usize {
    needed(verilog, |m| !m.module.starts_with(dropped))
}

fn needed(verilog: &str, counts: impl Fn(&Memory) -> bool) -> usize {
    declared(verilog)
        .iter()
        .filter(|m| m.style == Style::Block && counts(m))
        .map(Memory::primitives)
        .sum()
}

fn module_name(line: &str) -> Option<&str> {
    line.strip_prefix("module ")?.split(['(', ';', ' ']).next()
}

/// Sizes of the ranges `[high:low]` with literal bounds in a line.
fn ranges(line: &str) -> Vec<usize> {
    let sizes = line.split('[').skip(1).filter_map(|part| {
        let (a, b) = part.split(']').next()?.split_once(':')?;
        let (a, b): (usize, usize) = (a.trim().parse().ok()?, b.trim().parse().ok()?);
        Some(a.abs_diff(b) + 1)
    });
    sizes.collect()
}

/// Maps each declared memory, alone in its module, with `synth_ecp5` up to the RAM stage and compares.
///
/// A module that holds a memory must be a leaf, as the primitives of [`crate::prim`] are. `clean` holds the modules that passed before:
/// configurations share most of their memories.
pub fn check(verilog: &str, clean: &mut BTreeSet<String>) -> Result<Vec<Finding>, GateError> {
    let mut by_module: BTreeMap<String, Vec<Memory>> = BTreeMap::new();
    for m in declared(verilog) {
        by_module.entry(m.module.clone()).or_default().push(m);
    }
    // Blocks of the same shape have the same text but for their name: one run serves them all.
    let mut unique: BTreeMap<String, (String, Vec<Memory>)> = BTreeMap::new();
    for (name, memories) in by_module {
        let text = module_text(verilog, &name);
        unique.entry(text).or_insert((name, memories));
    }
    let mut findings = Vec::new();
    let yosys = Yosys::find()?;
    for (text, (name, memories)) in unique {
        if clean.contains(&text) {
            continue;
        }
        let before = findings.len();
        check_module(&yosys, &text, &name, &memories, &mut findings)?;
        if findings.len() == before {
            clean.insert(text);
        }
    }
    Ok(findings)
}

/// The module's text under the name `ram_under_test`.
fn module_text(verilog: &str, name: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in verilog.lines() {
        if module_name(line.trim()) == Some(name) {
            inside = true;
            text.push_str(&line.replacen(&format!("module {name}"), "module ram_under_test", 1));
        } else if inside && line.trim_start().starts_with("endmodule") {
            text.push_str("endmodule");
            break;
        } else if inside {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

fn check_module(
    yosys: &Yosys,
    text: &str,
    name: &str,
    memories: &[Memory],
    findings: &mut Vec<Finding>,
) -> Result<(), GateError> {
    let log = yosys::run(
        yosys,
        &[("ram.v", text)],
        "read_verilog ram.v\n\
         synth_ecp5 -no-rw-check -top ram_under_test -run begin:map_gates\n\
         echo off\nlog BEGIN-STAT\nstat -json\nlog END-STAT\n",
    )?;
    let mut report = |rule, message| {
        findings.push(Finding {
            gate: Gate::Ram,
            rule,
            place: name.to_string(),
            message,
        });
    };
    if !log.ok {
        match log.text.lines().find(|l| l.contains("ERROR: ")) {
            Some(line) => report("refused", line.trim().to_string()),
            None => return Err(tools::failed("yosys", &"non-zero exit", &log.text)),
        }
        return Ok(());
    }
    let cells = cells_by_type(&log.text)?;
    let count = |types: &[&str]| types.iter().filter_map(|t| cells.get(*t)).sum::<usize>();
    for (style, primitive, types) in [
        (Style::Block, "block RAM", &["DP16KD", "PDPW16KD"][..]),
        (Style::Distributed, "LUT RAM", &["TRELLIS_DPR16X4"][..]),
    ] {
        let wanted: usize = memories
            .iter()
            .filter(|m| m.style == style)
            .map(Memory::primitives)
            .sum();
        let found = count(types);
        if wanted != found {
            report(
                if found < wanted { "not-inferred" } else { "too-many" },
                format!("its shape needs {wanted} {primitive} primitives and the synthesiser used {found}"),
            );
        }
    }
    Ok(())
}

/// Cell counts of the last `stat -json` in a log.
pub fn cells_by_type(log: &str) -> Result<BTreeMap<String, usize>, GateError> {
    let bad = |what: String| GateError::BadOutput {
        tool: "yosys",
        what,
    };
    let start = log
        .rfind("BEGIN-STAT")
        .ok_or_else(|| bad("no statistics in the log".into()))?;
    let part = &log[start..];
    let (Some(open), Some(close)) = (part.find('{'), part.rfind('}')) else {
        return Err(bad("no JSON in the statistics".into()));
    };
    let json: serde_json::Value = serde_json::from_str(&part[open..=close])
        .map_err(|e| bad(format!("statistics are not JSON: {e}")))?;
    let cells = json["design"]["num_cells_by_type"]
        .as_object()
        .ok_or_else(|| bad("no cell counts in the statistics".into()))?;
    Ok(cells
        .iter()
        .filter_map(|(k, v)| Some((k.clone(), usize::try_from(v.as_u64()?).ok()?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(verilog: &str) -> Vec<Finding> {
        check(verilog, &mut BTreeSet::new()).unwrap()
    }

    fn block(width: usize, depth: usize, read: &str) -> String {
        let a = depth.ilog2();
        format!(
            "module r(clock,w,wa,wd,ra,rd);\ninput wire clock;\ninput wire w;\ninput wire [{a1}:0] wa;\ninput wire [{w1}:0] wd;\n\
             input wire [{a1}:0] ra;\noutput reg [{w1}:0] rd;\n\
             (* ram_style = \"block\" *) reg [{w1}:0] mem [0:{d1}];\n\
             always @(posedge clock) if (w) mem[wa] <= wd;\n{read}\nendmodule\n",
            a1 = a - 1,
            w1 = width - 1,
            d1 = depth - 1,
        )
    }
    const SYNC: &str = "always @(posedge clock) rd <= mem[ra];";

    #[test]
    fn declarations_are_read() {
        let v = block(128, 2048, SYNC);
        assert_eq!(
            declared(&v),
            [Memory {
                module: "r".into(),
                style: Style::Block,
                width: 128,
                depth: 2048,
                lane: 128
            }]
        );
        // 128 bits in words of 9 (15 wide) or 36 (4 wide, 4 deep).
        assert_eq!(block_rams(&v), 15);
        assert_eq!(block_rams_but(&v, &declared(&v)[0].module), 0);
        assert_eq!(block_rams("module m(); reg [7:0] mem [0:15]; endmodule"), 0);
    }

    #[test]
    fn inferred_block_ram_passes() {
        assert_eq!(found_in(&block(40, 256, SYNC)), []);
        assert_eq!(found_in(&block(128, 512, SYNC)), []);
    }

    #[test]
    fn asynchronous_read_cannot_be_block_ram() {
        let found = found_in(&block(40, 256, "always @(*) rd = mem[ra];"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].place, "r");
        assert!(
            found[0].rule == "refused" || found[0].rule == "not-inferred",
            "{found:?}"
        );
    }

    #[test]
    fn byte_lanes_are_counted() {
        let lanes: Vec<String> = (0..16)
            .map(|i| {
                let range = format!("{}:{}", 8 * i + 7, 8 * i);
                format!("if (w & wd[{i}]) mem[wa[10:0]][{range}] <= wd[{range}];")
            })
            .collect();
        let lanes = format!("begin\n{}\nend", lanes.join("\n"));
        let v = block(128, 2048, SYNC).replace("if (w) mem[wa] <= wd;", &lanes);
        assert_eq!(declared(&v)[0].lane, 8);
        // 16 lanes in slots of 9 bits, where whole words would need 15 blocks.
        assert_eq!(block_rams(&v), 16);
        assert_eq!(found_in(&v), []);
    }

    #[test]
    fn two_read_ports_cost_twice() {
        let v = block(
            18,
            512,
            "reg [17:0] p, q;\nalways @(posedge clock) p <= mem[ra];\nalways @(posedge clock) q <= mem[wd[8:0]];\nalways @(*) rd = p ^ q;",
        );
        let found = found_in(&v);
        assert_eq!(
            found.iter().map(|f| f.rule).collect::<Vec<_>>(),
            ["too-many"],
            "{found:?}"
        );
    }

    #[test]
    fn lut_ram_passes_and_its_loss_is_found() {
        let good =
            block(8, 16, "always @(*) rd = mem[ra];").replace("\"block\"", "\"distributed\"");
        assert_eq!(found_in(&good), []);
        let cleared = good.replace(
            "if (w) mem[wa] <= wd;",
            "if (w) mem[wa] <= wd; else begin mem[0] <= 0; mem[1] <= 0; mem[2] <= 0; end",
        );
        assert!(!found_in(&cleared).is_empty());
    }
}
