//! Builds what goes into the guest, inside the root, when its sources changed: the driver's module and the suites' programs.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::cache::{Cache, DEBUG};
use super::initramfs::workspace;
use super::space::Space;
use super::stamp::{digest, Stamps};
use crate::tools;

/// The script that builds the module, from the repository's root.
const MODULE: &str = "driver/kernel/build";
/// What the module is built from.
const MODULE_SOURCES: [&str; 5] = [
    "driver/kernel",
    "driver/core",
    "hdl/protocol",
    "Cargo.toml",
    "Cargo.lock",
];

/// Compiles each C file of a folder to a program without libraries, and the kernel's own HMM tests. Arguments: from, to, the kernel's sources.
const PROGRAMS: &str = r#"
set -eu
rm -rf "$2"
mkdir -p "$2"
for source in "$1"/*.c; do
    [ -e "$source" ] || continue
    name=${source##*/}
    echo "compiling $name"
    gcc -O2 -g0 -std=gnu17 -Wall -Wextra -Werror -static -pthread -I/cxlmem/driver/kernel -o "$2/${name%.c}" "$source"
done
echo "compiling arena.c"
mkdir "$2/lib"
gcc -O2 -Wall -Wextra -Werror -shared -fPIC -fno-builtin-malloc -fno-builtin-calloc -I/cxlmem/driver/kernel -o "$2/lib/libcxlmem-arena.so" \
    /cxlmem/driver/preload/arena.c -pthread
# Real programs, with the libraries that they load.
for program in sqlite3 zstd; do
    cp "/usr/bin/$program" "$2/"
    ldd "/usr/bin/$program" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | while read -r library; do
        cp -Lu "$library" "$2/lib/"
    done
done
tests=$3/tools/testing/selftests
if [ -e "$tests/mm/hmm-tests.c" ]; then
    echo "compiling hmm-tests.c"
    gcc -O2 -g0 -static -pthread -D_GNU_SOURCE= -I"$tests" -I"$3" -o "$2/hmm-tests" "$tests/mm/hmm-tests.c" "$tests/mm/vm_util.c" \
        "$tests/mm/hugepage_settings.c"
fi
"#;

/// Builds the kernel's own test_hmm for a kernel. Arguments: kernel version, its source's folder, where the module goes.
const TEST_HMM: &str = r#"
set -eu
work=$3/test_hmm
rm -rf "$work"
mkdir -p "$work/lib" "$work/mm"
cp "$2"/lib/test_hmm.c "$2"/lib/test_hmm_uapi.h "$work/lib/"
echo "obj-m := test_hmm.o" >"$work/lib/Kbuild"
make -s -C "/lib/modules/$1/build" M="$work/lib" modules
strip --strip-debug -o "$3/test_hmm.ko" "$work/lib/test_hmm.ko"
"#;

/// Builds a module of one file. Arguments: kernel version, its folder, where the module goes.
const PROVOKE: &str = r#"
set -eu
work=$3/provoke
rm -rf "$work"
mkdir -p "$work"
cp "$2"/* "$work/"
make -s -C "/lib/modules/$1/build" M="$work" modules
strip --strip-debug -o "$3/provoke.ko" "$work/provoke.ko"
"#;

/// Takes the symbols off this program, and puts the libraries that it loads beside it. Argument: where it is, and where all goes.
const TOOL: &str = r#"
set -eu
mkdir -p "$1/bin" "$1/lib"
strip -o "$1/bin/cxlmem" "$1/unstripped"
rm "$1/unstripped"
ldd "$1/bin/cxlmem" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | while read -r library; do
    cp -Lu "$library" "$1/lib/"
done
"#;

/// Builds in the root of a cache folder whose lock is held.
pub struct Build<'a> {
    cache: &'a Cache,
    space: &'a Space,
    stamps: Stamps,
}

impl<'a> Build<'a> {
    /// In this folder.
    pub fn new(cache: &'a Cache, space: &'a Space) -> Build<'a> {
        Build {
            cache,
            space,
            stamps: Stamps::new(cache.path("stamps")),
        }
    }

    /// Builds the driver's module for a kernel series. The result is whether there is one to build.
    ///
    /// # Errors
    /// What the build says.
    pub fn module(&self, series: &str) -> Result<bool> {
        if !workspace().join(MODULE).exists() {
            eprintln!("{MODULE} is not there: the guest starts without the driver");
            return Ok(false);
        }
        let version = self.cache.kernel_version(series).unwrap_or_default();
        let inputs = format!("{version} {}", digest(workspace(), &MODULE_SOURCES)?);
        let out = self.cache.path("modules").join(&version);
        let results = [out.join("cxlmem.ko")];
        let step = format!("module-{series}");
        self.stamps.step(&step, &inputs, &results, || {
            let command = [
                "/cxlmem/driver/kernel/build",
                &version,
                &self.cache.inside(&out),
                "--sysroot-cache",
                "/vm/sysroot",
            ];
            std::fs::create_dir_all(&out)
                .with_context(|| format!("cannot make {}", out.display()))?;
            self.stage(&step, &command)
        })?;
        Ok(true)
    }

    /// Compiles the programs of `tests/guest`.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn programs(&self) -> Result<()> {
        let inputs = digest(
            workspace(),
            &["tests/guest", "driver/kernel", "driver/preload"],
        )?;
        let inputs = format!("{inputs} {PROGRAMS}");
        let inputs = format!("{inputs} {}", digest(self.cache.dir(), &["selftests"])?);
        let results = [self.cache.path("guest")];
        self.stamps.step("programs", &inputs, &results, || {
            let command = [
                "sh",
                "-c",
                PROGRAMS,
                "sh",
                "/cxlmem/tests/guest",
                "/vm/guest",
                "/vm/selftests",
            ];
            self.stage("programs", &command)
        })?;
        Ok(())
    }

    /// Builds the kernel's own test_hmm. None, but a reason, where its source does not fit the kernel.
    ///
    /// # Errors
    /// What the build says.
    pub fn test_hmm(&self, series: &str) -> Result<Option<String>> {
        let version = self.cache.kernel_version(series).unwrap_or_default();
        // The sources that setup fetches are those of the newest.
        let newest = self.cache.series().into_iter().next().unwrap_or_default();
        if series != newest || !self.cache.path("selftests/lib/test_hmm.c").exists() {
            return Ok(Some(format!("its source here is that of kernel {newest}")));
        }
        let out = self.cache.path("modules").join(&version);
        let digest = digest(self.cache.dir(), &["selftests/lib"])?;
        let inputs = format!("{version} {digest}");
        let step = format!("test-hmm-{series}");
        self.stamps
            .step(&step, &inputs, &[out.join("test_hmm.ko")], || {
                let command = [
                    "sh",
                    "-c",
                    TEST_HMM,
                    "sh",
                    &version,
                    "/vm/selftests",
                    &self.cache.inside(&out),
                ];
                self.stage(&step, &command)
            })?;
        Ok(None)
    }

    /// Puts this program, which is the guest's as well, into the cache folder with the root's libraries.
    ///
    /// # Errors
    /// Those of copying, and what the root's tools say.
    pub fn tool(&self) -> Result<()> {
        // Also if the file was replaced or removed while it runs.
        let this = std::path::Path::new("/proc/self/exe");
        let meta = std::fs::metadata(this).context("cannot find this program")?;
        let inputs = format!(
            "{} {}.{:09} {} {TOOL}",
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ino()
        );
        let tool = self.cache.path("tool");
        let results = [tool.join("bin/cxlmem")];
        self.stamps.step("tool", &inputs, &results, || {
            if tool.exists() {
                std::fs::remove_dir_all(&tool)
                    .with_context(|| format!("cannot remove {}", tool.display()))?;
            }
            std::fs::create_dir_all(&tool)
                .with_context(|| format!("cannot make {}", tool.display()))?;
            std::fs::copy(this, tool.join("unstripped")).context("cannot copy this program")?;
            self.stage("tool", &["sh", "-c", TOOL, "sh", "/vm/tool"])
        })?;
        Ok(())
    }

    /// Builds the module that makes mistakes for the debug kernel to find.
    ///
    /// # Errors
    /// What the build says.
    pub fn provoke(&self) -> Result<()> {
        let version = self.cache.kernel_version(DEBUG).unwrap_or_default();
        let out = self.cache.path("modules").join(&version);
        let inputs = format!(
            "{version} {PROVOKE} {}",
            digest(workspace(), &["tests/guest/provoke"])?
        );
        let results = [out.join("provoke.ko")];
        self.stamps.step("provoke", &inputs, &results, || {
            let out = self.cache.inside(&out);
            let from = "/cxlmem/tests/guest/provoke";
            self.stage(
                "provoke",
                &["sh", "-c", PROVOKE, "sh", &version, from, &out],
            )
        })?;
        Ok(())
    }

    fn stage(&self, name: &str, args: &[&str]) -> Result<()> {
        let mut mounts: Vec<(PathBuf, String)> = vec![
            (self.cache.dir().to_path_buf(), "/vm".into()),
            (workspace().to_path_buf(), "ro:/cxlmem".into()),
        ];
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        if let Some(registry) = home.map(|h| h.join("registry")).filter(|r| r.is_dir()) {
            mounts.push((registry, "ro:/cargo/registry".into()));
        }
        let mut command: Command = self.space.inside(&self.cache.root(), &mounts, args);
        command
            .env("CARGO_HOME", "/cargo")
            .env("CARGO_NET_OFFLINE", "true");
        let logs = self.cache.path("log");
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("cannot make {}", logs.display()))?;
        let log = logs.join(format!("build-{name}"));
        tools::stage(&format!("build: {name}"), &mut command, &log, &log)?;
        Ok(())
    }
}
