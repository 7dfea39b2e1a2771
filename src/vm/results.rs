//! Reads what suites print: `PASS name`, `FAIL name: why`, `SKIP name: why`, one line a test.

use serde::Serialize;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It held.
    Pass,
    /// It did not, or nothing shows that it did.
    Fail,
    /// It was not run.
    Skip,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Test {
    /// Name, without blanks.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it failed or was skipped, or what it measured.
    pub note: String,
}

impl Test {
    /// A test that failed.
    pub fn failed(name: &str, why: impl Into<String>) -> Test {
        Test {
            name: name.into(),
            verdict: Verdict::Fail,
            note: why.into(),
        }
    }
}

/// The test that a line is the result of, if it is one.
fn line(text: &str) -> Option<Test> {
    let (verdict, rest) = text.trim_end().split_once(' ')?;
    let verdict = match verdict {
        "PASS" => Verdict::Pass,
        "FAIL" => Verdict::Fail,
        "SKIP" => Verdict::Skip,
        _ => return None,
    };
    let (name, note) = rest.split_once(": ").unwrap_or((rest, ""));
    let (name, note) = (name.trim_end_matches(':'), note.trim());
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Some(Test::failed(name, "its name is no single word"));
    }
    if verdict == Verdict::Skip && note.is_empty() {
        return Some(Test::failed(name, "skipped without a reason"));
    }
    Some(Test {
        name: name.into(),
        verdict,
        note: note.into(),
    })
}

/// All tests in a suite's output. What is wrong with the output as a whole is a failed test of the name of the suite.
pub fn read(suite: &str, output: &str, code: Option<u8>) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for test in output.lines().filter_map(line) {
        match tests.iter_mut().find(|t| t.name == test.name) {
            // The second result of a name would hide the first.
            Some(first) => *first = Test::failed(&test.name, "two tests of this name"),
            None => tests.push(test),
        }
    }
    let has_failed = tests.iter().any(|t| t.verdict == Verdict::Fail);
    if tests.is_empty() {
        tests.push(Test::failed(suite, "the suite printed no result"));
    } else if let (Some(code @ 1..), false) = (code, has_failed) {
        let why = format!("the suite ended with status {code}, though no test failed");
        tests.push(Test::failed(suite, why));
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::*;

    fn of(output: &str, code: u8) -> Vec<(String, Verdict, String)> {
        let tests = read("suite", output, Some(code));
        let parts = tests.into_iter().map(|t| (t.name, t.verdict, t.note));
        parts.collect()
    }

    fn test(name: &str, verdict: Verdict, note: &str) -> (String, Verdict, String) {
        (name.into(), verdict, note.into())
    }

    #[test]
    fn verdicts_and_notes() {
        let output = "noise\nPASS a\r\nPASS b: 3 us\nFAIL c: x: y\nSKIP hmm.d/e-1: no device\nPASSED f\n PASS g\n";
        assert_eq!(
            of(output, 1),
            [
                test("a", Pass, ""),
                test("b", Pass, "3 us"),
                test("c", Fail, "x: y"),
                test("hmm.d/e-1", Skip, "no device"),
            ]
        );
    }

    #[test]
    fn nothing_passes_by_accident() {
        assert_eq!(
            of("", 0),
            [test("suite", Fail, "the suite printed no result")]
        );
        assert_eq!(
            of("SKIP a\n", 0),
            [test("a", Fail, "skipped without a reason")]
        );
        assert_eq!(of("PASS a b\n", 0)[0].1, Fail);
        assert_eq!(of("PASS a\n", 0).len(), 1);
        let ended = of("PASS a\n", 3);
        assert_eq!((ended.len(), ended[1].1), (2, Fail));
        assert!(ended[1].2.contains("status 3"), "{ended:?}");
        assert_eq!(
            of("FAIL a: x\nPASS a\nPASS b\n", 0),
            [
                test("a", Fail, "two tests of this name"),
                test("b", Pass, "")
            ]
        );
    }
}
