//! `cxlmem bench`, `sim run` and `list` as a user runs them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn cxlmem(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cxlmem"))
        .args(arguments)
        .env_remove("CXLMEM_SEED")
        .output()
        .unwrap()
}

/// Runs it, expecting failure: status 1, or 2 for wrong usage; its standard error.
fn refused(status: i32, arguments: &[&str]) -> String {
    let out = cxlmem(arguments);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(status), "{arguments:?}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn done(arguments: &[&str]) -> String {
    let out = cxlmem(arguments);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{arguments:?}: {text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    text
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn figure<'a>(all: &'a Value, id: &str) -> &'a Value {
    let found = all["figures"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["id"] == id);
    found.unwrap_or_else(|| panic!("no figure {id}"))
}

#[test]
fn bad_input_is_refused_with_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let path = |p: &Path| p.to_string_lossy().into_owned();
    let (folder, empty, missing) = (
        path(dir.path()),
        path(&empty),
        path(&dir.path().join("missing")),
    );
    let no_folder = path(&dir.path().join("no/such/out.json"));
    for (status, arguments, words) in [
        (
            1,
            vec!["bench", "migrate", "--file", &missing],
            vec!["missing", "No such file", "--file"],
        ),
        (
            1,
            vec!["bench", "migrate", "--file", &folder],
            vec!["is a folder", "--file"],
        ),
        (
            1,
            vec!["bench", "migrate", "--file", &empty],
            vec!["is empty", "--file"],
        ),
        (
            1,
            vec!["bench", "migrate", "--file", "/dev/zero"],
            vec!["not a regular file"],
        ),
        (
            2,
            vec!["bench", "migrate", "--size", "1GiB"],
            vec!["1GiB", "32MiB", "--size"],
        ),
        (
            2,
            vec!["bench", "migrate", "--config", "small", "--size", "1MiB"],
            vec!["32KiB", "--config sim"],
        ),
        (
            2,
            vec!["bench", "all", "--config", "smal"],
            vec!["did you mean `small`?"],
        ),
        (
            1,
            vec!["bench", "all", "--target", "serial:/dev/ttyNONE"],
            vec!["there is no such port"],
        ),
        (
            2,
            vec![
                "bench",
                "latency",
                "--config",
                "full",
                "--target",
                "serial:/dev/ttyNONE",
            ],
            vec!["its own configuration"],
        ),
        (
            1,
            vec!["bench", "latency", "--target", "dev:/dev/cxlmem-none"],
            vec!["there is no /dev/cxlmem-none", "cxlmem vm run"],
        ),
        (
            1,
            vec!["bench", "latency", "--target", "dev:/dev/null"],
            vec!["not a cxlmem device"],
        ),
        (
            2,
            vec!["bench", "latency", "--target", "dev:"],
            vec!["dev:/dev/cxlmem0"],
        ),
        (
            2,
            vec![
                "bench",
                "all",
                "--target",
                "dev:/dev/null",
                "--config",
                "full",
            ],
            vec!["its own configuration"],
        ),
        (
            2,
            vec!["bench", "locality", "--target", "dev:/dev/null"],
            vec!["--target sim"],
        ),
        (
            1,
            vec!["pages", "1073741824"],
            vec!["no process 1073741824"],
        ),
        (
            2,
            vec!["bench", "latency", "--size", "4KiB"],
            vec!["--size", "bench migrate"],
        ),
        (
            2,
            vec!["bench", "latency", "--json", &no_folder],
            vec!["there is no folder"],
        ),
        (
            2,
            vec!["bench", "latency", "--json", &folder],
            vec!["it is a folder"],
        ),
        (
            2,
            vec!["sim", "run", "read", "--config", "nosuch"],
            vec!["nosuch", "sim-ext"],
        ),
        (
            2,
            vec!["sim", "run", "coherence", "--config", "tiny"],
            vec!["no directory", "--config small"],
        ),
        (
            2,
            vec!["sim", "run", "coherence", "--lines", "5"],
            vec!["leave out --lines"],
        ),
        (2, vec!["list", "--target", "moon"], vec!["moon"]),
    ] {
        let text = refused(status, &arguments);
        for word in words {
            assert!(
                text.contains(word),
                "{arguments:?} should say `{word}`: {text}"
            );
        }
    }
}

#[test]
fn unreadable_file_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret").unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read(file.path()).is_ok() {
        println!("not checked: this user may read everything");
        return;
    }
    let text = refused(
        1,
        &["bench", "migrate", "--file", &file.path().to_string_lossy()],
    );
    assert!(
        text.contains("Permission denied") && text.contains("--file"),
        "{text}"
    );
}

#[test]
fn wrong_usage_has_its_own_status() {
    for arguments in [
        vec!["hdl", "emit", "--config", "huge", "-o", "target/x"],
        vec!["hdl", "lint", "--json", "/"],
        vec!["hdl", "synth", "--json", "/no/such/folder/x"],
        vec!["hdl", "synth", "--part", "iCE40"],
        vec!["bench", "latency", "--report", "/proc/none"],
        vec!["list", "--config", "huge"],
        vec!["flit", "decode", "--direction", "up", "00"],
        vec!["bench", "nothing"],
        vec!["bench", "migrate", "--size", "12XB"],
        vec!["sim", "run", "read", "--ops", "0"],
    ] {
        assert_eq!(cxlmem(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn quick_bench_moves_a_file_and_labels_every_figure() {
    let dir = tempfile::tempdir().unwrap();
    let (out, report) = (dir.path().join("figures.json"), dir.path().join("report"));
    let text = done(&[
        "bench",
        "all",
        "--quick",
        "--seed",
        "5",
        "--json",
        &out.to_string_lossy(),
        "--report",
        &report.to_string_lossy(),
    ]);
    assert!(text.contains("seed 5"), "{text}");
    let all = json(&out);
    assert_eq!(all["seed"], 5);
    assert_eq!(all["config"], "sim");
    for id in [
        "read.idle.cycles",
        "write.idle.cycles",
        "read.saturated.share",
        "write.saturated.share",
        "engine.copy.share",
        "sim.cycles_per_s",
        "sim.harness.ratio",
        "migrate.intact",
    ] {
        let f = figure(&all, id);
        let class = if id.starts_with("sim.") {
            "measured here"
        } else {
            "simulated"
        };
        assert_eq!(f["class"], class, "{id}");
        assert!(f["value"].as_f64().is_some(), "{id}");
    }
    assert_eq!(figure(&all, "migrate.intact")["value"], 1.0);
    for f in all["figures"].as_array().unwrap() {
        let id = f["id"].as_str().unwrap();
        let class = f["class"].as_str().unwrap();
        assert!(
            [
                "simulated",
                "measured here",
                "model",
                "synthesized",
                "not run"
            ]
            .contains(&class),
            "{id}: {class}"
        );
        assert!(
            class != "synthesized" || ["read.idle.ns", "write.idle.ns"].contains(&id),
            "{id}: only what is divided by a placed clock"
        );
        assert_eq!(f["value"].is_null(), class == "not run", "{id}");
        assert!(
            !id.contains('<'),
            "{id} has an argument that was not filled in"
        );
        let by_wall_clock = id.starts_with("dram.") || id.starts_with("sim.");
        assert!(
            class == "not run" || by_wall_clock == (class == "measured here"),
            "{id}: {class}"
        );
        // A share over 1 would be work that was not done. Lines that lie across the edges of a window count whole: at most a few in 8000 cycles.
        if id.ends_with(".share") && f["target"].is_number() {
            assert!(
                f["value"].as_f64().unwrap() <= 1.002,
                "{id}: {}",
                f["value"]
            );
        }
    }
    let page = std::fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("migrate.intact"));
    assert_eq!(
        json(&report.join("figures.json"))["figures"]
            .as_array()
            .unwrap()
            .len(),
        all["figures"].as_array().unwrap().len()
    );
}

#[test]
fn equal_seeds_give_equal_simulated_figures() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    // Three pages and a bit: the whole file is a size of its own.
    std::fs::write(
        &file,
        (0..13_000u32)
            .map(|n| ((n * n) >> 3) as u8)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    let run = |name: &str| {
        let out = dir.path().join(name);
        done(&[
            "bench",
            "migrate",
            "--quick",
            "--quiet",
            "--config",
            "full",
            "--seed",
            "9",
            "--file",
            &file.to_string_lossy(),
            "--json",
            &out.to_string_lossy(),
        ]);
        json(&out)
    };
    let (a, b) = (run("a"), run("b"));
    assert_eq!(a["figures"], b["figures"]);
    assert_eq!(figure(&a, "migrate.intact")["value"], 1.0);
    assert!(
        figure(&a, "migrate.to_host.pages_per_s.16KiB")["value"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    assert_eq!(
        figure(&a, "migrate.to_device.pages_per_s.64KiB")["class"],
        "not run"
    );
}

#[test]
fn configuration_without_engine_says_what_is_not_run() {
    // Asked for a migration alone, it cannot do what it is asked.
    let text = refused(2, &["bench", "migrate", "--quick", "--config", "tiny"]);
    assert!(
        text.contains("no engine") && text.contains("--config small"),
        "{text}"
    );
    // Among everything else, the figure says why it is missing.
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tiny.json");
    done(&[
        "bench",
        "all",
        "--quick",
        "--quiet",
        "--config",
        "tiny",
        "--report",
        &dir.path().to_string_lossy(),
        "--json",
        &out.to_string_lossy(),
    ]);
    let f = json(&out);
    let f = figure(&f, "migrate.intact");
    assert_eq!(f["class"], "not run");
    assert!(f["what"].as_str().unwrap().contains("no engine"));
}

#[test]
fn a_run_that_checks_nothing_fails() {
    // A single operation that happens to be no read.
    let nothing = (1..40).find_map(|seed| {
        let seed = seed.to_string();
        let run = [
            "sim", "run", "random", "--ops", "1", "--config", "tiny", "--seed", &seed,
        ];
        let out = cxlmem(&run);
        (!out.status.success()).then(|| String::from_utf8_lossy(&out.stderr).into_owned())
    });
    let text = nothing.expect("in 40 draws a write");
    assert!(text.contains("nothing was checked"), "{text}");
    let text = refused(
        2,
        &["sim", "run", "read", "--lines", "513", "--config", "tiny"],
    );
    assert!(text.contains("--lines 512"), "{text}");
}

#[test]
fn sim_run_coherence_checks_messages_and_values_and_delivers_each_once() {
    let text = done(&[
        "sim",
        "run",
        "coherence",
        "--ops",
        "3000",
        "--seed",
        "3",
        "--seq",
        "--faults",
        "ber=1e-4,lose=1e-3,swap=1e-3",
        "--json",
    ]);
    let out: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(out["operations"], 3000);
    assert!(out["messages_checked"].as_u64() > Some(1000));
    assert!(out["coverage"]["reached"].as_u64() > Some(20));
    let way = &out["link"]["to_device"];
    assert!(way["damaged"].as_u64() > Some(0) && way["replayed"].as_u64() > Some(0));
    assert_eq!(way["birsp_or_bisnp_sent"], way["birsp_or_bisnp_delivered"]);
    assert_eq!(out["link"]["losses"].as_array().map(Vec::len), Some(0));
}

#[test]
fn sim_run_checks_every_read() {
    let text = done(&[
        "sim", "run", "random", "--ops", "2000", "--seed", "3", "--config", "small", "--json",
    ]);
    let outcome: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(outcome["seed"], 3);
    assert_eq!(outcome["operations"], 2000);
    assert!(outcome["compared_reads"].as_u64().unwrap() > 500, "{text}");
    assert_eq!(outcome["protocol_errors_device"], 0);
}

#[test]
fn sim_run_compares_the_first_read_and_counts_cycles_one_by_one() {
    let run = |ops: &str| -> Value {
        let text = done(&[
            "sim", "run", "read", "--ops", ops, "--config", "tiny", "--json",
        ]);
        serde_json::from_str(&text).unwrap()
    };
    let (one, two) = (run("1"), run("2"));
    assert_eq!(one["compared_reads"], 1);
    assert_eq!(
        (&two["operations"], &two["compared_reads"]),
        (&2.into(), &2.into())
    );
    // A read takes two flits back: the second of two that leave together ends a line later, four data slots and no header flit of its own at best.
    let cycles = |v: &Value| v["cycles"].as_u64().unwrap();
    let more = cycles(&two) - cycles(&one);
    assert!((1..=8).contains(&more), "{one} {two}");
}

#[test]
fn list_is_an_array_of_devices() {
    assert_eq!(cxlmem(&["list", "--json", "-u"]).status.code(), Some(2));
    let all: Value = serde_json::from_str(&done(&["list", "--json"])).unwrap();
    let device = &all.as_array().unwrap()[0];
    assert_eq!(device["memdev"], "mem0");
    assert_eq!(device["ram_size"], 32 << 20);
    assert_eq!(device["link"]["up"], true);
    assert_eq!(device["regions"][0]["type"], "host-only");
    assert!(device["errors"]["uncorrectable"]
        .as_array()
        .unwrap()
        .is_empty());
    assert!(done(&["list", "-u", "--config", "tiny"]).contains("32KiB"));
}

#[test]
fn a_bad_seed_in_the_environment_is_refused() {
    for arguments in [
        vec!["sim", "run", "read", "--config", "tiny"],
        vec!["bench", "latency", "--quick"],
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_cxlmem"))
            .args(&arguments)
            .env("CXLMEM_SEED", "seven")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{text}");
        assert!(text.contains("CXLMEM_SEED=\"seven\""), "{text}");
    }
}

#[test]
fn json_on_standard_output_is_nothing_but_json() {
    for arguments in [
        vec![
            "sim", "run", "random", "--config", "tiny", "--ops", "100", "--json", "-",
        ],
        vec!["list", "--config", "tiny", "--json", "-"],
        vec!["bench", "locality", "--quick", "--json", "-"],
    ] {
        let _: Value = serde_json::from_str(&done(&arguments)).unwrap();
    }
}

#[test]
fn a_signal_removes_temporary_folders() {
    let temporary = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(temporary.path()).unwrap().count();
    let mut child = Command::new(env!("CARGO_BIN_EXE_cxlmem"))
        .args(["hdl", "lint"])
        .env("TMPDIR", temporary.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while files() == 0 {
        assert_eq!(child.try_wait().unwrap(), None, "ended without a folder");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // SIGINT would do, but is ignored in what a shell starts in the background.
    // SAFETY: a child of this process that has not been waited for, so that its id is its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    let status = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGTERM)
    );
    assert_eq!(files(), 0);
}
