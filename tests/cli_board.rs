//! Boards as a user meets them: the Verilated top of a board on a pseudo-terminal, the loader's command line, and what is refused.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn cxlmem() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cxlmem"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A simulated board, ended when dropped.
struct Board(Child, PathBuf);

impl Board {
    fn start(dir: &Path, more: &[&str]) -> Board {
        let link = dir.join("board");
        let mut child = cxlmem()
            .args(["serve", "board", "--seed", "3", "--link"])
            .arg(&link)
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The line that says that the link is there.
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        while !said.contains("a simulated board") {
            assert_ne!(lines.read_line(&mut said).unwrap(), 0, "{said}");
        }
        Board(child, link)
    }

    /// A rate that the simulator keeps up with on a busy machine.
    fn target(&self) -> String {
        format!("serial:{},40000", self.1.display())
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check(target: &str, more: &[&str]) -> Output {
    cxlmem()
        .args(["board", "check", target, "--seed", "3"])
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn slow_a_board_on_a_pty_is_listed_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &["--noise", "1e-5", "--lose", "1e-5"]);
    let listed = cxlmem()
        .args(["list", "--target", &board.target()])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let list: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(list[0]["config"], "sdram-32m");
    assert_eq!(list[0]["link"]["up"], true);
    let out = check(&board.target(), &["--any-speed", "--json", "-"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(found["failed"], 0);
    let names: Vec<_> = found["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["check"])
        .collect();
    assert_eq!(
        names,
        [
            "identity",
            "link",
            "memory",
            "read rate",
            "migration",
            "engine",
            "line"
        ]
    );
    let out = cxlmem()
        .args(["bench", "all", "--quick", "--size", "8KiB", "--json", "-"])
        .args(["--target", &board.target(), "--seed", "3", "--report"])
        .arg(dir.path().join("report"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let bench: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(bench["device"]["is_simulated"], true);
    let figure = |id: &str| {
        let all = bench["figures"].as_array().unwrap();
        let found = all.iter().find(|f| f["id"] == id);
        found.unwrap_or_else(|| panic!("no {id}")).clone()
    };
    for (id, class, least, most) in [
        ("line.read.us", "emulated", 1e3, 1e7),
        ("line.write.bytes_per_s", "emulated", 10.0, 1e5),
        (
            "line.migrate.to_device.pages_per_s.8KiB",
            "emulated",
            1e-2,
            1e2,
        ),
        (
            "line.migrate.to_host.pages_per_s.8KiB",
            "emulated",
            1e-2,
            1e2,
        ),
        ("line.migrate.intact", "emulated", 1.0, 1.0),
        (
            "locality.chase.device.cycles_per_hop",
            "simulated",
            30.0,
            64.0,
        ),
    ] {
        let f = figure(id);
        let value = f["value"].as_f64().unwrap();
        assert!(
            f["class"] == class && (least..=most).contains(&value),
            "{f}"
        );
    }
    assert_eq!(figure("line.read.share")["class"], "not run");
    // At a rate that the pseudo-terminal is never: the line is judged, and found too slow.
    let slow = check(&board.target().replace("40000", "50000000"), &[]);
    assert_eq!(slow.status.code(), Some(1), "{}", text(&slow.stderr));
}

#[test]
fn ports_that_are_no_boards_are_refused_with_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = format!("serial:{}", file.display());
    for (target, code, said) in [
        ("serial:/dev/ttyNONE", 1, "there is no such port"),
        ("serial:/dev/ttyNONE,fast", 2, "`fast` is no rate"),
        ("serial:", 2, "give the port too"),
        ("sim", 2, "a board is on a port"),
        (&file, 1, "does another program use it"),
    ] {
        let out = check(target, &[]);
        let errors = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{target}: {errors}");
        assert!(errors.contains(said), "{target}: {errors}");
    }
}

#[test]
fn boards_are_listed_and_unknown_ones_answered_with_the_nearest() {
    let out = cxlmem()
        .args(["board", "list", "--json", "-"])
        .output()
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(list
        .as_array()
        .unwrap()
        .iter()
        .any(|b| b["board"] == "ulx3s-85f"));
    for command in ["build", "flash"] {
        let out = cxlmem()
            .args(["board", command, "ulx3s-85"])
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(2));
        assert!(text(&out.stderr).contains("did you mean `ulx3s-85f`"));
    }
}

/// A loader that writes its arguments down and ends with a status.
fn loader(dir: &Path, status: u8) {
    use std::os::unix::fs::PermissionsExt;
    let file = dir.join("openFPGALoader");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >{0}/called\nfor file; do :; done\n/usr/bin/head -c 100 \"$file\" >{0}/head\nexit {status}\n",
        dir.display()
    );
    std::fs::write(&file, script).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_loader_is_called_for_the_board_and_only_with_its_bitstream() {
    let dir = tempfile::tempdir().unwrap();
    let flash = |more: &[&str]| -> Output {
        cxlmem()
            .args(["board", "flash", "ulx3s-85f"])
            .args(more)
            .env("PATH", dir.path())
            .output()
            .unwrap()
    };
    let bitstream = Path::new(env!("CARGO_MANIFEST_DIR")).join("bitstreams/ulx3s-85f.bit");
    let bitstream = bitstream.display().to_string();
    let missing = flash(&[]);
    assert!(
        text(&missing.stderr).contains("apt-get install openfpgaloader"),
        "{}",
        text(&missing.stderr)
    );
    let dry = flash(&["--dry-run"]);
    assert_eq!(
        text(&dry.stdout).trim(),
        format!("openFPGALoader --board ulx3s {bitstream}")
    );
    loader(dir.path(), 0);
    let called = || text(&std::fs::read(dir.path().join("called")).unwrap());
    assert!(flash(&[]).status.success());
    assert_eq!(called().trim(), format!("--board ulx3s {bitstream}"));
    assert!(flash(&["--persist"]).status.success());
    assert_eq!(
        called().trim(),
        format!("--board ulx3s --write-flash {bitstream}")
    );
    std::fs::remove_file(dir.path().join("called")).unwrap();
    // Another board's id code in the head of the file.
    let mut bits = std::fs::read(&bitstream).unwrap();
    let at = bits.windows(4).position(|w| w == [0xE2, 0, 0, 0]).unwrap();
    bits[at + 6] ^= 0x10;
    let wrong = dir.path().join("wrong.bit");
    std::fs::write(&wrong, bits).unwrap();
    let refused = flash(&["--file", wrong.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("id code"),
        "{}",
        text(&refused.stderr)
    );
    assert!(!dir.path().join("called").exists(), "the loader was called");
    // Text is unpacked for the loader.
    let packed = cxlmem()
        .args(["board", "flash", "tang-nano-20k"])
        .env("PATH", dir.path())
        .output()
        .unwrap();
    assert!(packed.status.success(), "{}", text(&packed.stderr));
    let said = called();
    let file = said.trim().strip_prefix("--board tangnano20k ").unwrap();
    assert!(file.ends_with("/tang-nano-20k.fs"), "{file}");
    let head = text(&std::fs::read(dir.path().join("head")).unwrap());
    assert!(head.starts_with("1111") && head.ends_with('1'), "{head}");
    assert!(!Path::new(file).exists(), "it is left behind");
    loader(dir.path(), 3);
    let failed = flash(&[]);
    assert!(text(&failed.stderr).contains("is the board connected"));
}
