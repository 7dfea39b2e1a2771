//! Starts the device server and QEMU, waits for the guest's end, and ends what is left.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use cxlmem_hdl::gates::tools::tail;

use super::cache::Cache;
use super::host::Host;
use super::initramfs;
use super::qemu::{Machine, Mode, Port};
use super::space::{end_with_parent, Space};

/// How long the device server may take to listen.
const SERVER_START: Duration = Duration::from_secs(60);
/// How long the device server may outlive QEMU, or QEMU the server.
const SERVER_END: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// What to run in a guest.
#[derive(Clone, Debug)]
pub struct Guest<'a> {
    /// Kernel series.
    pub series: &'a str,
    /// Mapped mode.
    pub mode: Mode,
    /// Guest memory, MiB.
    pub memory_mib: u64,
    /// Whether the simulated device is there.
    pub has_device: bool,
    /// Faults that the device begins with, as `cxlmem serve --fault` takes them.
    pub faults: &'a [String],
    /// What the guest runs, a shell script.
    pub script: &'a str,
    /// More words for the kernel command line.
    pub words: Vec<String>,
    /// Whether the output goes to this terminal instead of into [`Outcome::output`].
    pub to_terminal: bool,
    /// Whether a person types.
    pub is_interactive: bool,
    /// Wall-clock limit.
    pub limit: Option<Duration>,
}

/// How a guest ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code of the script; none if the guest ended without giving one.
    pub code: Option<u8>,
    /// What it printed, unless that went to the terminal.
    pub output: String,
    /// The kernel's log.
    pub log: String,
    /// Why it was ended, or what went wrong outside the guest.
    pub trouble: Option<String>,
    /// From start to end.
    pub took: Duration,
}

/// A child that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder in `run/` for one guest, removed when dropped unless kept.
struct RunFolder {
    path: PathBuf,
    keep: bool,
}

impl RunFolder {
    fn new(cache: &Cache) -> Result<RunFolder> {
        let all = cache.path("run");
        std::fs::create_dir_all(&all).with_context(|| format!("cannot make {}", all.display()))?;
        // What a killed command left.
        for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name.to_string_lossy().split('-').next().map(str::to_string);
            let lives = pid.is_some_and(|p| Path::new("/proc").join(p).exists());
            let is_old = entry
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|t| t.elapsed().is_ok_and(|e| e > Duration::from_secs(3600)));
            if !lives && is_old {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let pid = std::process::id();
        for n in 0.. {
            let path = all.join(format!("{pid}-{n}"));
            // Several guests begin at the same time: who makes the folder has it.
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(RunFolder { path, keep: false }),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).with_context(|| format!("cannot make {}", path.display())),
            }
        }
        bail!("no name is left in {}", all.display());
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The terminal's settings, put back when dropped: QEMU changes them, and may be killed before it puts them back.
struct Terminal(Option<libc::termios>);

impl Terminal {
    fn save() -> Terminal {
        // SAFETY: `settings` is filled in by the call that gets it.
        unsafe {
            let mut settings = std::mem::zeroed::<libc::termios>();
            let is_terminal = libc::tcgetattr(0, &mut settings) == 0;
            Terminal(is_terminal.then_some(settings))
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            // SAFETY: the settings came from the same call's counterpart.
            unsafe { libc::tcsetattr(0, libc::TCSADRAIN, settings) };
        }
    }
}

/// Boots a guest and waits for its end.
///
/// # Errors
/// What keeps it from starting. What goes wrong later is in [`Outcome::trouble`].
pub fn boot(cache: &Cache, space: &Space, guest: &Guest) -> Result<Outcome> {
    let mut folder = RunFolder::new(cache)?;
    let at = |name: &str| folder.path.join(name);
    let image = initramfs::make(cache, guest.series, guest.script)?;
    std::fs::write(at("initramfs"), image).context("cannot write the initramfs")?;
    for empty in ["kernel.log", "output"] {
        File::create(at(empty)).with_context(|| format!("cannot write {}", at(empty).display()))?;
    }
    let socket = at("socket");
    let mut server = match guest.has_device {
        true => Some(start_server(&socket, guest.faults, &at("server.log"))?),
        false => None,
    };
    let machine = Machine {
        mode: guest.mode,
        memory_mib: guest.memory_mib,
        kernel: cache.inside(&cache.kernel(guest.series).join("vmlinuz")),
        initramfs: cache.inside(&at("initramfs")),
        words: guest.words.clone(),
        socket: guest.has_device.then(|| cache.inside(&socket)),
        output: (!guest.to_terminal).then(|| Port {
            socket: cache.inside(&at("port")),
            file: cache.inside(&at("output")),
        }),
        log: cache.inside(&at("kernel.log")),
        is_interactive: guest.is_interactive,
    };
    let args = machine.command();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mounts = [(cache.dir().to_path_buf(), "/vm".to_string())];
    let errors = File::create(at("qemu.log")).context("cannot write QEMU's log")?;
    let start = Instant::now();
    let _terminal = Terminal::save();
    let mut command = space.inside(&cache.root(), &mounts, &args);
    command.stderr(errors);
    if !guest.is_interactive {
        command.stdin(Stdio::null());
    }
    let child = command.spawn().context("cannot start unshare")?;
    let mut qemu = Killed(child);
    let control = guest.has_device.then(|| at("socket.ctl"));
    let host = (!guest.to_terminal).then(|| Host::start(at("port"), control));
    let trouble = wait(&mut qemu.0, server.as_mut().map(|s| &mut s.0), guest.limit);
    drop(qemu);
    drop(host);
    let took = start.elapsed();
    let text = |name: &str| {
        let bytes = std::fs::read(at(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut trouble = trouble?;
    if let Some(server) = &mut server {
        let ended = end_server(&mut server.0, &text("server.log"))?;
        trouble = trouble.or(ended);
    }
    let log = text("kernel.log");
    let code = exit_code(&log);
    if code.is_none() && trouble.is_none() {
        let errors = text("qemu.log");
        trouble = Some(match errors.trim() {
            "" => "the guest ended without an exit code".into(),
            errors => format!("QEMU: {}", tail(errors, 3)),
        });
    }
    if let (Some(trouble), false) = (&mut trouble, log.is_empty()) {
        folder.keep = true;
        trouble.push_str(&format!("; logs: {}", folder.path.display()));
    }
    let output = text("output");
    Ok(Outcome {
        code,
        output,
        log,
        trouble,
        took,
    })
}

/// The exit code that the guest wrote into its log.
fn exit_code(log: &str) -> Option<u8> {
    let mut lines = log.lines().rev();
    lines.find_map(|l| l.split_once("CXLMEM-EXIT ")?.1.trim().parse().ok())
}

/// Starts the device server and waits until it listens.
fn start_server(socket: &Path, faults: &[String], log: &Path) -> Result<Killed> {
    // A socket's name has room for 107 bytes.
    let length = socket.as_os_str().len();
    if length > 107 {
        bail!(
            "the path {} is too long for a socket ({length} bytes of 107); give a shorter --dir",
            socket.display()
        );
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(program);
    command
        .args(["serve", "vfio-user"])
        .arg(socket)
        .arg("--once")
        .args(faults.iter().flat_map(|f| ["--fault", f]))
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("cannot share the log")?)
        .stderr(file);
    end_with_parent(&mut command);
    let mut server = Killed(command.spawn().context("cannot start the device server")?);
    let start = Instant::now();
    while !socket.exists() {
        let ended = server
            .0
            .try_wait()
            .context("cannot wait for the device server")?;
        if ended.is_some() || start.elapsed() > SERVER_START {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let how = ended.map_or("does not listen".into(), |s| format!("ended with {s}"));
            bail!("the device server {how}:\n{}", tail(&text, 8));
        }
        std::thread::sleep(POLL);
    }
    Ok(server)
}

/// Waits for QEMU's end. What was wrong is the result: the limit passed, or the device server ended before QEMU.
fn wait(
    qemu: &mut Child,
    mut server: Option<&mut Child>,
    limit: Option<Duration>,
) -> Result<Option<String>> {
    let start = Instant::now();
    let mut alone_since = None;
    loop {
        if qemu.try_wait().context("cannot wait for QEMU")?.is_some() {
            return Ok(None);
        }
        if let Some(limit) = limit.filter(|l| start.elapsed() > *l) {
            return Ok(Some(format!(
                "the guest was ended after {} s, its limit",
                limit.as_secs()
            )));
        }
        if let Some(server) = server.as_mut() {
            let ended = server
                .try_wait()
                .context("cannot wait for the device server")?;
            if let Some(status) = ended {
                let since: &mut Instant = alone_since.get_or_insert_with(Instant::now);
                if since.elapsed() > SERVER_END {
                    return Ok(Some(format!(
                        "the device server ended with {status} while the guest ran"
                    )));
                }
            }
        }
        std::thread::sleep(POLL);
    }
}

/// Waits for the device server, which ends with its only client. What was wrong is the result.
fn end_server(server: &mut Child, log: &str) -> Result<Option<String>> {
    let start = Instant::now();
    let describe = |status: ExitStatus| {
        (!status.success())
            .then(|| format!("the device server ended with {status}: {}", tail(log, 3)))
    };
    while start.elapsed() < SERVER_END {
        if let Some(status) = server
            .try_wait()
            .context("cannot wait for the device server")?
        {
            return Ok(describe(status));
        }
        std::thread::sleep(POLL);
    }
    Ok(Some(format!(
        "the device server did not end within {} s of QEMU",
        SERVER_END.as_secs()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_exit_code_counts() {
        let log = "[    1.0] CXLMEM-EXIT 3\r\n[    2.0] x\r\n[    3.0] CXLMEM-EXIT 7\r\n[    3.1] reboot: Power down\r\n";
        assert_eq!(exit_code(log), Some(7));
        assert_eq!(exit_code("CXLMEM-EXIT \n"), None);
        assert_eq!(exit_code("CXLMEM-EXIT 256\n"), None);
        assert_eq!(exit_code(""), None);
    }

    fn sleeper(seconds: &str) -> Killed {
        Killed(Command::new("sleep").arg(seconds).spawn().unwrap())
    }

    #[test]
    fn limit_ends_the_wait() {
        let mut child = sleeper("30");
        let limit = Some(Duration::from_millis(50));
        let trouble = wait(&mut child.0, None, limit).unwrap().unwrap();
        assert!(trouble.contains("limit"), "{trouble}");
        let mut child = sleeper("0");
        assert_eq!(wait(&mut child.0, None, None).unwrap(), None);
    }

    #[test]
    fn failed_server_is_trouble() {
        let mut child = Killed(Command::new("false").spawn().unwrap());
        let trouble = end_server(&mut child.0, "a\nlast words").unwrap().unwrap();
        assert!(trouble.contains("last words"), "{trouble}");
        let mut child = Killed(Command::new("true").spawn().unwrap());
        assert_eq!(end_server(&mut child.0, "").unwrap(), None);
    }
}
