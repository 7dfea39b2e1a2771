//! Searches the kernel's log for what a healthy kernel does not say.

/// Words that stand for a fault: part of a line, what to call it. The first that fits counts.
const FAULTS: [(&str, &str); 34] = [
    ("Kernel panic", "panic"),
    ("KASAN:", "KASAN"),
    ("KCSAN:", "KCSAN"),
    ("KFENCE:", "KFENCE"),
    ("UBSAN:", "UBSAN"),
    ("kmemleak: ", "kmemleak"),
    ("kernel BUG at", "BUG"),
    ("BUG: ", "BUG"),
    ("WARNING: ", "WARN"),
    ("Oops: ", "Oops"),
    ("general protection fault", "Oops"),
    ("unable to handle", "Oops"),
    ("possible circular locking", "lockdep"),
    ("possible recursive locking", "lockdep"),
    ("possible irq lock inversion", "lockdep"),
    ("inconsistent lock state", "lockdep"),
    ("suspicious RCU usage", "lockdep"),
    ("sleeping function called from invalid", "lockdep"),
    ("bad unlock balance", "lockdep"),
    ("list_add corruption", "corruption"),
    ("list_del corruption", "corruption"),
    ("pagealloc: memory corruption", "corruption"),
    ("Poison overwritten", "corruption"),
    ("trying to register non-static key", "lockdep"),
    ("turning off the locking correctness validator", "lockdep"),
    ("refcount_t: ", "corruption"),
    ("Bad page ", "corruption"),
    ("Bad rss-counter", "corruption"),
    ("segfault at", "crash"),
    ("blocked for more than", "hang"),
    ("soft lockup", "hang"),
    ("hard LOCKUP", "hang"),
    ("self-detected stall", "stall"),
    ("detected stalls on", "stall"),
];

/// Lines that hold such words and are no fault: what the stock kernels say of a debugging aid that is at work.
const HARMLESS: [&str; 3] = [
    "kmemleak: Kernel memory leak detector initialized",
    "kmemleak: Automatic memory scanning thread started",
    // An allocation that a test made fail: it looks at more than it has to.
    "kmemleak: Cannot allocate a scan area",
];

/// How the guest's `/init` says in the log that a test ended.
const MARK: &str = "cxlmem: result: ";

/// A fault that the kernel reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind.
    pub kind: &'static str,
    /// The line, without its time.
    pub line: String,
    /// The test after which the log was clean for the last time; none before the first test ended.
    pub after: Option<String>,
}

/// All faults in a log, in their order.
pub fn faults(log: &str) -> Vec<Fault> {
    let (mut found, mut after) = (Vec::new(), None);
    for line in log.lines() {
        let line = without_time(line.trim_end());
        if let Some(name) = line.strip_prefix(MARK) {
            after = name.split([' ', ':']).nth(1).map(str::to_string);
            continue;
        }
        if HARMLESS.iter().any(|h| line.contains(h)) {
            continue;
        }
        let kind = FAULTS.iter().find(|(words, _)| line.contains(words));
        if let Some((_, kind)) = kind {
            found.push(Fault {
                kind,
                line: line.to_string(),
                after: after.clone(),
            });
        }
    }
    found
}

/// A line without `[   12.345678] ` and, where the kernel names the caller, `[    T1] `.
fn without_time(mut line: &str) -> &str {
    while let Some(rest) = line.strip_prefix('[') {
        let Some((inside, rest)) = rest.split_once("] ") else {
            break;
        };
        let is_stamp = inside
            .trim_start_matches([' ', 'T', 'C'])
            .chars()
            .all(|c| c.is_ascii_digit() || c == '.');
        if !is_stamp {
            break;
        }
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_log_has_no_faults() {
        let log = "\
[    0.000000] Linux version 7.3.4
[    0.812345] Performance Events: PMU not available due to virtualization, using software events only.
[    1.350399] PCI: Using host bridge windows from ACPI; if necessary, use \"pci=nocrs\" and report a bug
[    2.000000] kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)
[    2.733875] RAS: Correctable Errors collector initialized.
[    3.000000] cxlmem: result: PASS BUG:-in-a-name
";
        assert_eq!(faults(log), []);
    }

    #[test]
    fn every_kind_is_found() {
        for (words, kind) in FAULTS {
            let log = format!("[    1.000000] x\n[   12.000000] a {words} b\r\n[   13.000000] x\n");
            let found = faults(&log);
            assert_eq!(found.len(), 1, "{words}");
            assert_eq!(found[0].line, format!("a {words} b"));
            assert_eq!(found[0].kind, kind, "{words}");
        }
        let kinds = |line: &str| -> Vec<&str> { faults(line).iter().map(|f| f.kind).collect() };
        assert_eq!(
            kinds("[ 1.0] WARNING: CPU: 0 PID: 1 at mm/memremap.c:1"),
            ["WARN"]
        );
        assert_eq!(kinds("BUG: KASAN: use-after-free in f"), ["KASAN"]);
        assert_eq!(kinds("BUG: Bad page state in process x"), ["BUG"]);
        assert_eq!(kinds("Oops: 0000 [#1]"), ["Oops"]);
        assert_eq!(
            kinds("kmemleak: 3 new suspected memory leaks"),
            ["kmemleak"]
        );
        assert_eq!(
            kinds("WARNING: possible recursive locking detected"),
            ["WARN"]
        );
    }

    #[test]
    fn fault_is_after_the_last_result() {
        let log = "\
[    3.0] WARNING: early
[    4.0] [    T1] cxlmem: result: PASS one
[    5.0] cxlmem: result: FAIL two: why
[    6.0] [    T7] BUG: late
";
        let found = faults(log);
        let after: Vec<Option<&str>> = found.iter().map(|f| f.after.as_deref()).collect();
        assert_eq!(after, [None, Some("two")]);
        assert_eq!(found[1].line, "BUG: late");
    }
}
