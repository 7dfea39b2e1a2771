//! The other end of the guest's first serial port: a suite asks the host for what only the host can do, at the moment it chooses.
//!
//! A line `HOST fault COMMAND` goes to the device server's control socket; the guest gets the server's answer as one line, `ok` if all is well.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How a line begins that asks for something.
const ASKS: &str = "HOST ";
/// How long the device server may take to answer.
const ANSWER: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Longest line that is looked at; what comes after that in the same line is another one.
const LINE: u64 = 4096;

/// The thread that answers. Dropped after the guest's end, it ends too.
pub struct Host {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Connects to the guest's port as soon as it is there, and answers. `control` is the device server's control socket.
    pub fn start(port: PathBuf, control: Option<PathBuf>) -> Host {
        let ended = Arc::new(AtomicBool::new(false));
        let stop = ended.clone();
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Ok(stream) = UnixStream::connect(&port) {
                    // An error is the guest's end.
                    let _ = serve(&stream, control.as_deref());
                    return;
                }
                std::thread::sleep(POLL);
            }
        });
        Host {
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers until the guest is gone.
fn serve(stream: &UnixStream, control: Option<&Path>) -> std::io::Result<()> {
    let (mut reader, mut line) = (BufReader::new(stream), Vec::new());
    loop {
        line.clear();
        if reader.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(request) = text.trim_end().strip_prefix(ASKS) {
            let answer = answer(request, control);
            writeln!(&mut &*stream, "{}", answer.replace('\n', " "))?;
        }
    }
}

/// Does what a line asks for.
fn answer(request: &str, control: Option<&Path>) -> String {
    let (Some(command), Some(control)) = (request.strip_prefix("fault "), control) else {
        return match control {
            Some(_) => format!("error: `{request}`: the host knows `fault COMMAND`"),
            None => "error: this guest has no device".into(),
        };
    };
    tell(control, command).unwrap_or_else(|e| format!("error: the device server: {e}"))
}

/// Gives the device server a command. Its answer.
fn tell(control: &Path, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(control)?;
    stream.set_read_timeout(Some(ANSWER))?;
    writeln!(stream, "{command}")?;
    let mut text = String::new();
    BufReader::new(stream).take(LINE).read_line(&mut text)?;
    Ok(text.trim_end().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_request_is_answered_and_other_lines_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let device = UnixListener::bind(at("ctl")).unwrap();
        let guest = UnixListener::bind(at("port")).unwrap();
        let host = Host::start(at("port"), Some(at("ctl")));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = device.accept().unwrap();
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            reader.read_line(&mut line).unwrap();
            stream.write_all(b"ok\n").unwrap();
            line
        });
        let (mut stream, _) = guest.accept().unwrap();
        stream
            .write_all(b"PASS a\r\nHOST fault hang on\r\nHOST sing\n")
            .unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ok");
        assert!(lines.next().unwrap().unwrap().starts_with("error: `sing`"));
        assert_eq!(server.join().unwrap(), "hang on\n");
        // The guest's end is the thread's.
        drop(lines);
        drop(host);
    }

    #[test]
    fn without_a_device_it_says_so() {
        assert!(answer("fault hang on", None).contains("no device"));
        let nowhere = Path::new("/nonexistent/control");
        assert!(answer("fault hang on", Some(nowhere)).starts_with("error: "));
    }
}
