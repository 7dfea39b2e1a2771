//! The sockets: one for clients, one for commands.

use crate::control::Command;
use crate::{Handle, ServeError};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Longest line of a command.
const LINE: u64 = 4096;

/// The listening sockets; their files are removed with them.
pub(crate) struct Sockets {
    clients: UnixListener,
    control: UnixListener,
    paths: [PathBuf; 2],
}

impl Sockets {
    pub(crate) fn bind(path: &Path) -> Result<Self, ServeError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".ctl");
        let beside = PathBuf::from(beside);
        // The control socket first: to ask a live server's other one would be to be its client.
        let control = listen(&beside)?;
        let clients = listen(path).inspect_err(|_| {
            let _ = std::fs::remove_file(&beside);
        })?;
        Ok(Self {
            clients,
            control,
            paths: [path.to_path_buf(), beside],
        })
    }

    /// The clients' socket, once more.
    pub(crate) fn clients(&self) -> Result<OwnedFd, ServeError> {
        let again = self.clients.try_clone();
        again.map(Into::into).map_err(|error| ServeError::Listen {
            path: self.paths[0].clone(),
            error,
        })
    }

    /// Ends waiting for clients and commands, and removes the files.
    pub(crate) fn close(&self) {
        for (socket, path) in [&self.clients, &self.control].into_iter().zip(&self.paths) {
            // SAFETY: the descriptor is open as long as `socket` lives; no memory is passed.
            unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.close();
    }
}

/// Listens, for this user alone. A socket without a server behind it is removed first.
fn listen(path: &Path) -> Result<UnixListener, ServeError> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(ServeError::NoSocket(path.into()))
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                let _ = std::fs::remove_file(path);
            }
            _ => return Err(ServeError::InUse(path.into())),
        },
        Err(_) => {}
    }
    let failed = |error| ServeError::Listen {
        path: path.into(),
        error,
    };
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Answers commands, one connection at a time, until the socket is closed.
pub(crate) fn control(handle: Handle) -> Result<(), ServeError> {
    let listener = handle
        .sockets
        .control
        .try_clone()
        .map_err(ServeError::Thread)?;
    let thread = std::thread::Builder::new().name("control".into());
    // The thread must not keep the sockets: they close when the last handle of the service goes.
    let (jobs, counters) = (handle.jobs.clone(), handle.counters.clone());
    let (sockets, ending) = (
        std::sync::Arc::downgrade(&handle.sockets),
        handle.ending.clone(),
    );
    thread
        .spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let Some(sockets) = sockets.upgrade() else {
                    return;
                };
                let handle = Handle {
                    jobs: jobs.clone(),
                    counters: counters.clone(),
                    sockets,
                    ending: ending.clone(),
                };
                // Whoever goes away in between has no answer.
                let _ = answer(&handle, stream);
            }
        })
        .map(drop)
        .map_err(ServeError::Thread)
}

fn answer(handle: &Handle, mut stream: UnixStream) -> std::io::Result<()> {
    let lines = BufReader::new(std::io::Read::take(stream.try_clone()?, LINE));
    for line in lines.lines() {
        let result = line?
            .parse::<Command>()
            .and_then(|command| handle.command(command));
        match result {
            Ok(text) => writeln!(stream, "{text}")?,
            Err(text) => writeln!(stream, "error: {text}")?,
        }
    }
    Ok(())
}
