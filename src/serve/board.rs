//! A simulated board on a pseudo-terminal: what a serial port is to a program.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{bail, Context, Result};
use cxlmem_hdl::board::simulated;
use cxlmem_sim::serial::{BoardLine, ByteLine, Noise, BOARD_SOURCE};

use crate::cli;

/// Arguments of `cxlmem serve board`.
#[derive(clap::Args, Debug)]
pub struct Board {
    /// Make this a symbolic link to the pseudo-terminal; a link that is there is replaced
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
    /// Probability that a bit of the line is wrong
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = probability)]
    noise: f64,
    /// Probability that a byte is lost
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = probability)]
    lose: f64,
    /// Seed of what the line does wrong (also CXLMEM_SEED)
    #[arg(long)]
    seed: Option<u64>,
}

fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(p) if (0.0..=1.0).contains(&p) => Ok(p),
        _ => Err("a probability is a number from 0 to 1, such as 1e-5".into()),
    }
}

/// The two ends of a pseudo-terminal without line discipline, and the name of the one that looks like a port.
fn pair() -> io::Result<(File, OwnedFd, PathBuf)> {
    let (mut ours, mut theirs) = (0, 0);
    let mut name = [0u8; 128];
    // SAFETY: the pointers are valid for the call; a terminal's name fits into 128 bytes, and ends with a zero.
    let (ours, theirs) = unsafe {
        let mut raw = std::mem::zeroed::<libc::termios>();
        libc::cfmakeraw(&mut raw);
        let failed = libc::openpty(
            &mut ours,
            &mut theirs,
            name.as_mut_ptr().cast(),
            &raw,
            std::ptr::null(),
        );
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::fcntl(ours, libc::F_SETFL, libc::O_NONBLOCK);
        (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    };
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    let name = String::from_utf8_lossy(&name[..end]).into_owned();
    Ok((ours, theirs, name.into()))
}

/// Serves until a signal ends the process.
///
/// # Errors
/// A pseudo-terminal or link that cannot be had.
pub fn run(args: Board) -> Result<()> {
    let seed = cli::seed(args.seed)?;
    let noise = Noise {
        bit: args.noise,
        lose: args.lose,
    };
    let mut line = BoardLine::new(noise, seed).context("cannot start the simulated board")?;
    // `_theirs` stays open: without anybody at the other end, reads would fail.
    let (mut ours, _theirs, name) = pair().context("cannot make a pseudo-terminal")?;
    if let Some(link) = &args.link {
        if link.is_symlink() {
            let _ = std::fs::remove_file(link);
        }
        std::os::unix::fs::symlink(&name, link)
            .with_context(|| format!("cannot make {}: is something there?", link.display()))?;
    }
    let shown = args.link.unwrap_or_else(|| name.clone());
    eprintln!(
        "a simulated board ({BOARD_SOURCE}, configuration {}) on {}; use it as --target serial:{},100000",
        simulated().config.name,
        name.display(),
        shown.display()
    );
    let mut buffer = [0; 256];
    let mut to_board: Vec<u8> = Vec::new();
    let mut from_board: Vec<u8> = Vec::new();
    loop {
        if to_board.is_empty() {
            match ours.read(&mut buffer) {
                Ok(0) => bail!("{} was closed", name.display()),
                Ok(n) => to_board.extend(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e).context("cannot read the pseudo-terminal"),
            }
        }
        let taken = line.send(&to_board)?;
        to_board.drain(..taken);
        line.pass(&mut from_board)?;
        match ours.write(&from_board) {
            Ok(n) => drop(from_board.drain(..n)),
            // Nobody reads: a UART has no way to wait.
            Err(e) if e.kind() == ErrorKind::WouldBlock => from_board.clear(),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e).context("cannot write the pseudo-terminal"),
        }
    }
}
