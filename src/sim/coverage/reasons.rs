//! Why lines of configuration `full` are not covered. A place that has no reason here fails the command, and so does a reason whose places
//! are covered: the list is as long as what is left.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Place;

/// Configuration that the reasons are about.
pub const CONFIG: &str = "full";

/// What kind of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Another configuration uses it; a constant turns it off here.
    Config,
    /// A code that no other block gives: the language wants a `default`, a table has all rows.
    Code,
    /// A bound against what the blocks around it never do.
    Guard,
    /// It can be reached, and no test of the simulator does.
    Untested,
}

/// Uncovered places with a reason.
#[derive(Debug)]
pub struct Reason {
    /// Module.
    pub block: &'static str,
    /// How the first line of each place begins, and how many places begin so.
    pub places: &'static [(&'static str, usize)],
    /// Kind.
    pub class: Class,
    /// For a person.
    pub why: &'static str,
}

/// Uncovered lines that follow one another; each row of a table is one of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The first.
    pub first: &'a Place,
    /// How many.
    pub lines: usize,
}

/// Lines of a class or reason.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Given {
    /// Module.
    pub block: &'static str,
    /// Kind of reason.
    pub class: Class,
    /// Lines with it.
    pub lines: usize,
    /// The reason.
    pub why: &'static str,
}

/// Uncovered lines by what is said of them.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// With a reason.
    pub given: Vec<Given>,
    /// Places with no reason, or more of them than a reason counts.
    pub unexplained: Vec<String>,
    /// Reasons with fewer places than they count: those are covered.
    pub stale: Vec<String>,
}

/// All of them.
pub static ALL: &[Reason] = &[
    Reason {
        block: "top",
        places: &[("if (external) begin", 1)],
        class: Class::Config,
        why: "memory behind the external port",
    },
    Reason {
        block: "top$hdm",
        places: &[("if (committed1 & (granule >= dpa1)) begin", 1)],
        class: Class::Config,
        why: "decoder 1 begins a granule above decoder 0, and the memory is smaller than one",
    },
    Reason {
        block: "top$io$csr",
        places: &[("default:", 1)],
        class: Class::Code,
        why: "no such state",
    },
    Reason {
        block: "top$io$csr$counters",
        places: &[("if (event$8) begin", 1)],
        class: Class::Untested,
        why: "this event does not occur in the cycle in which its counter is added up",
    },
    Reason {
        block: "top$io$csr$hdm0",
        places: &[("default:", 1)],
        class: Class::Code,
        why: "no such state",
    },
    Reason {
        block: "top$io$csr$hdm1",
        places: &[("default:", 1)],
        class: Class::Code,
        why: "no such state",
    },
    Reason {
        block: "top$io$csr$msix",
        places: &[
            ("if (sendable[32'h1]) begin", 1),
            ("if (sendable[32'h0]) begin", 1),
        ],
        class: Class::Untested,
        why: "interrupts of vectors 0 and 1 are not sent in the simulator's tests",
    },
    Reason {
        block: "top$io$csr$msix",
        places: &[("default:", 1)],
        class: Class::Code,
        why: "no such state",
    },
    Reason {
        block: "top$io$endpoint",
        places: &[("default:", 1)],
        class: Class::Code,
        why: "no such state",
    },
    Reason {
        block: "top$io$engine",
        places: &[
            ("else if (patience$timed_out) begin", 3),
            ("else if (abort$q) begin", 1),
            ("if (abort$q | (patience$timed_out & ~chase$done)) begin", 1),
            ("if (patience$timed_out) begin", 2),
            ("if (abort$q) begin", 1),
        ],
        class: Class::Untested,
        why: "the time-out or the abort comes in other states of the engine in the tests",
    },
    Reason {
        block: "top$io$engine",
        places: &[
            ("if (port_out_status == 32'h1) begin", 1),
            ("else if (port_out_status == 32'h3) begin", 1),
        ],
        class: Class::Untested,
        why: "an engine's atomic that ends with this status",
    },
    Reason {
        block: "top$io$engine",
        places: &[("default:", 1)],
        class: Class::Code,
        why: "no such state",
    },
    Reason {
        block: "top$io$engine$admission",
        places: &[("default:", 1)],
        class: Class::Code,
        why: "no such state",
    },
    Reason {
        block: "top$io$engine$chase",
        places: &[("if (hdm_hit) begin", 1)],
        class: Class::Untested,
        why: "a list whose next entry is in the device's own memory",
    },
    Reason {
        block: "top$io$engine$chase",
        places: &[("default:", 1)],
        class: Class::Code,
        why: "no such state",
    },
    Reason {
        block: "top$io$engine$cursor",
        places: &[
            ("if (head[(64'h40)+:(2)] == 32'h1) begin", 1),
            ("if (head[(64'h40)+:(2)] == 32'h2) begin", 1),
        ],
        class: Class::Untested,
        why: "a completion that refuses a read of the host's page list",
    },
    Reason {
        block: "top$io$engine$ring",
        places: &[("if (timed_out) begin", 1), ("if (record_lost) begin", 1)],
        class: Class::Untested,
        why: "the time-out or the abort comes in other states of the engine in the tests",
    },
    Reason {
        block: "top$io$transmit",
        places: &[("default:", 1)],
        class: Class::Code,
        why: "no such state",
    },
    Reason {
        block: "top$local_access$port",
        places: &[
            ("if (|status$q) begin", 1),
            ("if (rsp_valid & rsp_poison) begin", 1),
        ],
        class: Class::Untested,
        why: "the line port's accesses of lines that are refused or poisoned",
    },
    Reason {
        block: "top$order",
        places: &[("if (req_matched | rwd_matched) begin", 1)],
        class: Class::Untested,
        why: "a second request of a device-coherent line whose first is under way",
    },
    Reason {
        block: "top$order$directory",
        places: &[
            ("if (~|hits) begin", 1),
            ("else if (chosen[32'h1]) begin", 1),
            ("else if (chosen[32'h2]) begin", 1),
            ("else if (hits[32'h1]) begin", 1),
            ("else if (hits[32'h2]) begin", 1),
            ("else if (hits[32'h3]) begin", 1),
            ("else if (victim_way == 32'h1) begin", 1),
            ("else if (victim_way == 32'h2) begin", 1),
        ],
        class: Class::Config,
        why: "a full map has one way, which always hits",
    },
    Reason {
        block: "top$order$rule",
        places: &[
            ("6'h4:", 1),
            ("6'h5:", 1),
            ("6'h6:", 1),
            ("6'h7:", 1),
            ("6'h14:", 1),
            ("6'h15:", 1),
            ("6'h16:", 1),
            ("6'h17:", 1),
            ("6'h24:", 1),
            ("6'h25:", 1),
            ("6'h26:", 1),
            ("6'h27:", 1),
            ("6'h34:", 1),
            ("6'h35:", 1),
            ("6'h36:", 1),
            ("6'h37:", 1),
        ],
        class: Class::Code,
        why: "a code of a directory state that there is not",
    },
    Reason {
        block: "top$order$rule",
        places: &[
            ("6'h18:", 1),
            ("6'h19:", 1),
            ("6'h38:", 1),
            ("6'h39:", 1),
            ("6'h3a:", 1),
        ],
        class: Class::Untested,
        why: "an access of a line that the host may hold, while an earlier answer is overdue",
    },
    Reason {
        block: "top$order$rule",
        places: &[
            ("6'h1b:", 1),
            ("6'h1f:", 1),
            ("6'h2b:", 1),
            ("6'h2f:", 1),
            ("6'h3b:", 1),
            ("6'h3f:", 1),
        ],
        class: Class::Untested,
        why: "an eviction while an answer is overdue, or while a request waits for the victim",
    },
    Reason {
        block: "top$order$settle",
        places: &[
            ("7'h8:", 1),
            ("7'h9:", 1),
            ("7'hb:", 1),
            ("7'h28:", 1),
            ("7'h29:", 1),
            ("7'h2b:", 1),
            ("7'h2c:", 1),
            ("7'h48:", 1),
            ("7'h49:", 1),
            ("7'h4b:", 1),
            ("7'h4d:", 1),
            ("7'h68:", 1),
            ("7'h69:", 1),
            ("7'h6b:", 1),
            ("7'h6c:", 1),
            ("7'h6d:", 1),
        ],
        class: Class::Code,
        why: "a code of a directory state that there is not",
    },
    Reason {
        block: "top$order$settle",
        places: &[
            ("7'h46:", 1),
            ("7'h47:", 1),
            ("7'h4e:", 1),
            ("7'h4f:", 1),
            ("7'h56:", 1),
            ("7'h57:", 1),
            ("7'h5e:", 1),
            ("7'h5f:", 1),
            ("7'h66:", 1),
            ("7'h67:", 1),
            ("7'h6e:", 1),
            ("7'h6f:", 1),
            ("7'h76:", 1),
            ("7'h77:", 1),
            ("7'h7e:", 1),
            ("7'h7f:", 1),
        ],
        class: Class::Code,
        why: "a code of `Next` that there is not",
    },
    Reason {
        block: "top$order$snoops$trackers$0",
        places: &[("if (age$q[32'h0]) begin", 1)],
        class: Class::Untested,
        why: "the answer to an eviction is overdue",
    },
    Reason {
        block: "top$order$snoops$trackers$0$rule",
        places: &[
            ("6'h10:", 1),
            ("6'h11:", 1),
            ("6'h12:", 1),
            ("6'h20:", 1),
            ("6'h21:", 1),
            ("6'h22:", 1),
        ],
        class: Class::Code,
        why: "tracker 0 snoops for evictions alone",
    },
    Reason {
        block: "top$order$snoops$trackers$0$rule",
        places: &[("6'h31:", 1), ("6'h32:", 1)],
        class: Class::Untested,
        why: "a host that keeps a copy that an eviction takes away",
    },
    Reason {
        block: "top$order$snoops$trackers$1$rule",
        places: &[("6'h10:", 1), ("6'h11:", 1), ("6'h12:", 1)],
        class: Class::Code,
        why: "the engine does not ask for shared copies",
    },
    Reason {
        block: "top$order$snoops$trackers$1$rule",
        places: &[("6'h21:", 1)],
        class: Class::Untested,
        why: "a host that keeps a copy that the engine's snoop takes away",
    },
    Reason {
        block: "top$order$snoops$trackers$1$rule",
        places: &[("6'h30:", 1), ("6'h31:", 1), ("6'h32:", 1)],
        class: Class::Code,
        why: "evictions are tracker 0's",
    },
    Reason {
        block: "top$order$snoops$trackers$2$rule",
        places: &[("6'h10:", 1), ("6'h11:", 1), ("6'h12:", 1)],
        class: Class::Code,
        why: "the engine does not ask for shared copies",
    },
    Reason {
        block: "top$order$snoops$trackers$2$rule",
        places: &[("6'h21:", 1)],
        class: Class::Untested,
        why: "a host that keeps a copy that the engine's snoop takes away",
    },
    Reason {
        block: "top$order$snoops$trackers$2$rule",
        places: &[("6'h30:", 1), ("6'h31:", 1), ("6'h32:", 1)],
        class: Class::Code,
        why: "evictions are tracker 0's",
    },
    Reason {
        block: "top$order$snoops$trackers$3$rule",
        places: &[("6'h30:", 1), ("6'h31:", 1), ("6'h32:", 1)],
        class: Class::Code,
        why: "evictions are tracker 0's",
    },
    Reason {
        block: "top$retry",
        places: &[("default:", 1)],
        class: Class::Code,
        why: "no such state",
    },
    Reason {
        block: "top$rx$snoop_answers",
        places: &[("if (tag$1$again) begin", 1), ("if (tag$3$again) begin", 1)],
        class: Class::Untested,
        why: "two answers with one BITag in one flit",
    },
    Reason {
        block: "top$rx$snoop_answers",
        places: &[("if (sum[32'h3]) begin", 1)],
        class: Class::Guard,
        why: "the host owes at most four answers, one for each snoop",
    },
    Reason {
        block: "top$tx",
        places: &[("if (birsp_more > 32'h4) begin", 1)],
        class: Class::Guard,
        why: "the host owes at most four answers, one for each snoop",
    },
];

fn is_row(text: &str) -> bool {
    text.split_once("'h")
        .is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Uncovered lines, in the order of the text, as runs.
pub fn runs(lines: &[Place]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run> = Vec::new();
    for line in lines {
        match runs.last_mut() {
            Some(r)
                if r.first.block == line.block
                    && r.first.line + r.lines == line.line
                    && !is_row(&line.text) =>
            {
                r.lines += 1;
            }
            _ => runs.push(Run {
                first: line,
                lines: 1,
            }),
        }
    }
    runs
}

/// What `reasons` say of the uncovered lines.
pub fn explain(lines: &[Place], reasons: &'static [Reason]) -> Explained {
    let mut out = Explained::default();
    let mut left: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (n, reason) in reasons.iter().enumerate() {
        for (m, (_, count)) in reason.places.iter().enumerate() {
            left.insert((n, m), *count);
        }
    }
    let mut given = vec![0; reasons.len()];
    for run in runs(lines) {
        let fits = |(n, m): &(usize, usize)| {
            reasons[*n].block == run.first.block
                && run.first.text.starts_with(reasons[*n].places[*m].0)
        };
        match left.iter_mut().find(|(key, left)| **left > 0 && fits(key)) {
            Some(((n, _), left)) => {
                *left -= 1;
                given[*n] += run.lines;
            }
            None => out.unexplained.push(format!(
                "{} top.v:{}: {} ({} lines)",
                run.first.block, run.first.line, run.first.text, run.lines
            )),
        }
    }
    for ((n, m), left) in left {
        if left > 0 {
            let reason = &reasons[n];
            out.stale.push(format!(
                "{}: {} of {} places `{}` are covered",
                reason.block, left, reason.places[m].1, reason.places[m].0
            ));
        }
    }
    out.given = reasons
        .iter()
        .zip(given)
        .filter(|(_, lines)| *lines > 0)
        .map(|(r, lines)| Given {
            block: r.block,
            class: r.class,
            lines,
            why: r.why,
        })
        .collect();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(block: &str, line: usize, text: &str) -> Place {
        Place {
            block: block.into(),
            line,
            kind: "if".into(),
            text: text.into(),
        }
    }

    static REASONS: &[Reason] = &[
        Reason {
            block: "top$a",
            places: &[("default:", 2)],
            class: Class::Code,
            why: "no such state",
        },
        Reason {
            block: "top$a",
            places: &[("6'h1:", 1), ("6'h2:", 1)],
            class: Class::Untested,
            why: "rows",
        },
    ];

    #[test]
    fn every_uncovered_place_has_a_reason_or_is_told() {
        let mut lines = vec![
            place("top$a", 4, "default:"),
            place("top$a", 5, "begin"),
            place("top$a", 9, "default:"),
            place("top$a", 20, "6'h1: x = 1;"),
            place("top$a", 21, "6'h2: x = 2;"),
        ];
        let all = explain(&lines, REASONS);
        assert_eq!((all.unexplained.len(), all.stale.len()), (0, 0), "{all:?}");
        let counted: Vec<_> = all.given.iter().map(|g| (g.class, g.lines)).collect();
        assert_eq!(counted, [(Class::Code, 3), (Class::Untested, 2)]);

        // One more of a kind, the same in another block, and a row that has no reason.
        lines.push(place("top$a", 30, "default:"));
        lines.push(place("top$b", 31, "default:"));
        lines.push(place("top$b", 32, "6'h3: x = 3;"));
        let more = explain(&lines, REASONS);
        assert_eq!(more.unexplained.len(), 3, "{more:?}");
        assert!(more.unexplained[0].contains("top$a top.v:30"), "{more:?}");
    }

    #[test]
    fn a_reason_whose_lines_are_covered_is_stale() {
        let lines = [
            place("top$a", 4, "default:"),
            place("top$a", 20, "6'h1: x = 1;"),
        ];
        let some = explain(&lines, REASONS);
        assert!(some.unexplained.is_empty());
        assert_eq!(
            some.stale,
            [
                "top$a: 1 of 2 places `default:` are covered",
                "top$a: 1 of 1 places `6'h2:` are covered"
            ]
        );
    }
}
