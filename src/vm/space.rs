//! Runs commands in namespaces of their own, as root or as a user that may map ids: every mount and every process in them ends with the command.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cli::Skipped;

/// Makes the root's mounts and changes into it. Arguments: the root, then pairs of a folder and where it goes (after `ro:`, if read-only), then `--` and the command.
const ENTER: &str = r#"
set -eu
root=$1
shift
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
    to=$root${2#ro:}
    if [ -d "$1" ]; then mkdir -p "$to"; else mkdir -p "${to%/*}"; [ -e "$to" ] || : >"$to"; fi
    mount --bind "$1" "$to"
    # Where the namespace may not tighten a mount, the folder's own permissions remain.
    case $2 in ro:*) mount -o remount,bind,ro "$to" 2>/dev/null || : ;; esac
    shift 2
done
shift
exec chroot "$root" "$@"
"#;

/// How this machine lets us make namespaces.
#[derive(Clone, Debug)]
pub struct Space {
    flags: &'static [&'static str],
}

impl Space {
    /// Finds out.
    ///
    /// # Errors
    /// [`Skipped`] where neither root nor user namespaces are to be had.
    pub fn probe() -> Result<Space> {
        if std::env::consts::ARCH != "x86_64" {
            return Err(Skipped(format!(
                "the guest is for x86-64, and this machine is {}",
                std::env::consts::ARCH
            ))
            .into());
        }
        // SAFETY: takes nothing and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        let space = Space {
            flags: match is_root {
                true => &[],
                false => &["--map-root-user", "--map-auto"],
            },
        };
        let tried = space.outside("mount -t tmpfs none /tmp", &[]).output();
        let why = match tried {
            Ok(o) if o.status.success() => return Ok(space),
            Ok(o) => cxlmem_hdl::gates::tools::tail(&String::from_utf8_lossy(&o.stderr), 1),
            Err(e) => format!("unshare: {e}"),
        };
        let advice = match is_root {
            true => "this root may not mount",
            false => "no root and no user namespaces; they need the package uidmap and a range in /etc/subuid and /etc/subgid",
        };
        Err(Skipped(format!("{advice} ({why})")).into())
    }

    /// A shell script outside the root, in namespaces of its own; it is killed with all that it started when this process ends.
    pub fn outside(&self, script: &str, args: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(self.flags)
            .args(["--mount", "--pid", "--fork", "--kill-child", "--"])
            .args(["sh", "-c", script, "sh"])
            .args(args);
        clean_environment(&mut command);
        end_with_parent(&mut command);
        command
    }

    /// A command inside `root`, with folders and files of this machine mounted there: (what, where), where `ro:/x` is read-only.
    pub fn inside(&self, root: &Path, mounts: &[(PathBuf, String)], args: &[&str]) -> Command {
        let mut command = self.outside(ENTER, &[]);
        command.arg(root);
        for (from, to) in mounts {
            command.arg(from).arg(to);
        }
        command.arg("--").args(args);
        command
    }
}

/// What runs in the root sees none of the user's settings, but for the way to the network.
fn clean_environment(command: &mut Command) {
    let proxies: Vec<_> = std::env::vars_os()
        .filter(|(k, _)| {
            let k = k.to_string_lossy().to_ascii_lowercase();
            k.ends_with("_proxy")
        })
        .collect();
    command
        .env_clear()
        .envs(proxies)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive");
}

/// Has the kernel kill the child when the thread that starts it ends: also if this process is killed.
pub fn end_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are made.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // The parent may have ended before the call.
            if libc::getppid() as u32 != parent {
                libc::_exit(1);
            }
            Ok(())
        });
    }
}
