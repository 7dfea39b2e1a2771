//! `cxlmem serve vfio-user` as a process: its sockets, signals, counters and refusals.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn serve(socket: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cxlmem"));
    command
        .args(["serve", "vfio-user"])
        .arg(socket)
        .args(more)
        .stderr(Stdio::piped());
    command
}

/// A server whose sockets are there.
fn started(socket: &Path, more: &[&str]) -> Child {
    let mut child = serve(socket, more).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while ask(socket, "stats").is_none() {
        assert_eq!(child.try_wait().unwrap(), None, "ended");
        assert!(Instant::now() < end, "no server");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn ask(socket: &Path, line: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket.with_extension("sock.ctl")).ok()?;
    writeln!(stream, "{line}").ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    Some(answer)
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: a child of this process that has not been waited for, so that its id is its own.
    unsafe { libc::kill(child.id() as libc::pid_t, signal) };
}

#[test]
fn it_counts_ends_on_a_signal_and_replaces_what_a_killed_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, json) = (dir.path().join("s.sock"), dir.path().join("j"));
    let json_path = json.to_str().unwrap();
    let mut killed = started(&socket, &[]);
    signal(&killed, libc::SIGKILL);
    killed.wait().unwrap();
    assert!(socket.exists());
    let child = started(&socket, &["--json", json_path, "--fault", "lose-irq 3"]);
    let in_use = serve(&socket, &[]).output().unwrap();
    assert_eq!(in_use.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&in_use.stderr).contains("in use by another server"));
    assert!(ask(&socket, "nonsense")
        .unwrap()
        .starts_with("error: no command"));
    let stats: serde_json::Value = serde_json::from_str(&ask(&socket, "stats").unwrap()).unwrap();
    assert_eq!(stats["store"], "bar");
    signal(&child, libc::SIGUSR1);
    let end = Instant::now() + Duration::from_secs(30);
    let report = loop {
        let text = std::fs::read_to_string(&json).unwrap_or_default();
        if let Ok(report) = serde_json::from_str::<serde_json::Value>(&text) {
            break report;
        }
        assert!(Instant::now() < end, "no report");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(report["rtl_cycles"].as_u64() > Some(0), "{report}");
    signal(&child, libc::SIGTERM);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(text.contains("served: 0 clients;"), "{text}");
    assert!(!socket.exists() && !socket.with_extension("sock.ctl").exists());
}

#[test]
fn what_cannot_be_served_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    let no_folder = dir.path().join("no/s.sock");
    let socket = dir.path().join("s.sock");
    for (socket, more, status, says) in [
        (&file, vec![], 1, "is there and is no socket"),
        (&no_folder, vec![], 1, "cannot listen on"),
        (
            &socket,
            vec!["--fault", "hang"],
            2,
            "there are: hang on|off",
        ),
        (
            &socket,
            vec!["--fault", "poison 99999999"],
            1,
            "there is no line",
        ),
        (&socket, vec!["--config", "nosuch"], 2, "sim-ext"),
        (&socket, vec!["--json", "/proc/none"], 2, "cannot write"),
    ] {
        let out = serve(socket, &more).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(status), "{more:?}: {text}");
        assert!(text.contains(says), "{more:?}: {text}");
        assert!(!socket.with_extension("sock.ctl").exists());
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}
