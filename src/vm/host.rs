//! The other end of the guest's first serial port: a suite asks the host for what only the host can do, at the moment it chooses.
//!
//! A line `HOST fault COMMAND` goes to the device server's control socket; the guest gets the server's answer as one line, `ok` if all is well.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
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
/// How often the thread looks whether it is to end, ms.
const LOOK_MS: i32 = 50;
/// Longest line that is looked at; what comes after that in the same line is another one.
const LINE: usize = 4096;
/// Room for what the guest writes while the thread waits for the device server. QEMU drops what it cannot get rid of: a socket, which counts each byte
/// as a message, is full after 300.
const ROOM: i32 = 1 << 20;

/// The thread that reads and answers. Dropped after the guest's end, it has read all.
pub struct Host {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Host {
    /// Makes the port, which is two FIFOs for QEMU: `PORT.in` and `PORT.out`. All that the guest writes goes to `output`, requests are answered as
    /// well. `control` is the device server's control socket.
    ///
    /// # Errors
    /// A file that cannot be made.
    pub fn start(port: &Path, output: &Path, control: Option<PathBuf>) -> std::io::Result<Host> {
        let to_guest = fifo(port, ".in")?;
        let from_guest = fifo(port, ".out")?;
        let output = File::create(output)?;
        let ended = Arc::new(AtomicBool::new(false));
        let stop = ended.clone();
        let thread = std::thread::spawn(move || {
            serve(from_guest, to_guest, output, control.as_deref(), &stop)
        });
        Ok(Host {
            ended,
            thread: Some(thread),
        })
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

/// Makes a FIFO and opens it. For reading and writing: so neither end waits for the other.
fn fifo(port: &Path, end: &str) -> std::io::Result<File> {
    let mut path = port.as_os_str().to_owned();
    path.push(end);
    let name = std::ffi::CString::new(path.as_bytes())?;
    // SAFETY: the name ends with a zero.
    if unsafe { libc::mkfifo(name.as_ptr(), 0o600) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = options.custom_flags(libc::O_NONBLOCK).open(path)?;
    // SAFETY: an open file. Where it may not be so large, it is as large as it is.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETPIPE_SZ, ROOM) };
    Ok(file)
}

/// Waits a moment for something to read.
fn wait(file: &File) {
    let mut one = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one open file. That nothing came or the wait was cut short is seen by who reads.
    unsafe { libc::poll(&mut one, 1, LOOK_MS) };
}

/// Copies and answers until the guest is gone and all is read.
fn serve(
    mut from_guest: File,
    mut to_guest: File,
    mut output: File,
    control: Option<&Path>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let (mut line, mut room) = (Vec::new(), [0; 4096]);
    loop {
        let is_over = stop.load(Ordering::Relaxed);
        let read = match from_guest.read(&mut room) {
            Ok(n) => room.get(..n).unwrap_or_default(),
            Err(e) if e.kind() == ErrorKind::WouldBlock && !is_over => {
                wait(&from_guest);
                continue;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        output.write_all(read)?;
        for byte in read {
            if *byte != b'\n' && line.len() < LINE {
                line.push(*byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            if let Some(request) = text.trim_end().strip_prefix(ASKS) {
                let answer = answer(request, control);
                writeln!(to_guest, "{}", answer.replace('\n', " "))?;
            }
            line.clear();
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
    BufReader::new(stream)
        .take(LINE as u64)
        .read_line(&mut text)?;
    Ok(text.trim_end().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn end(port: &Path, end: &str) -> File {
        let path = port.with_extension(end);
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap()
    }

    #[test]
    fn a_request_is_answered_and_other_lines_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let device = UnixListener::bind(at("ctl")).unwrap();
        let host = Host::start(&at("port"), &at("output"), Some(at("ctl"))).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = device.accept().unwrap();
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            reader.read_line(&mut line).unwrap();
            stream.write_all(b"ok\n").unwrap();
            line
        });
        let said = b"PASS a\r\nHOST fault hang on\r\nHOST sing\nno end";
        end(&at("port"), "out").write_all(said).unwrap();
        let mut lines = BufReader::new(end(&at("port"), "in")).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ok");
        assert!(lines.next().unwrap().unwrap().starts_with("error: `sing`"));
        assert_eq!(server.join().unwrap(), "hang on\n");
        drop(host);
        assert_eq!(std::fs::read(at("output")).unwrap(), said);
    }

    /// QEMU writes byte by byte and never waits.
    #[test]
    fn nothing_is_lost_while_the_thread_is_busy() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let device = UnixListener::bind(at("ctl")).unwrap();
        let host = Host::start(&at("port"), &at("output"), Some(at("ctl"))).unwrap();
        let mut out = end(&at("port"), "out");
        out.write_all(b"HOST fault hang on\n").unwrap();
        let (mut stream, _) = device.accept().unwrap();
        // It waits for the device server.
        let said: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        // SAFETY: an open file.
        unsafe { libc::fcntl(out.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        for byte in said.chunks(1) {
            out.write_all(byte).unwrap();
        }
        stream.write_all(b"ok\n").unwrap();
        drop(host);
        let output = std::fs::read(at("output")).unwrap();
        assert!(output.ends_with(&said), "{} bytes", output.len());
    }

    #[test]
    fn without_a_device_it_says_so() {
        assert!(answer("fault hang on", None).contains("no device"));
        let nowhere = Path::new("/nonexistent/control");
        assert!(answer("fault hang on", Some(nowhere)).starts_with("error: "));
    }
}
