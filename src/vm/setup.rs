//! `cxlmem vm setup`: the guest's root, QEMU and kernels, from Debian's own packages.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::apt::{self, Shown};
use super::cache::{Cache, DEBUG};
use super::initramfs::workspace;
use super::space::Space;
use super::stamp::Stamps;
use crate::cli::Skipped;
use crate::tools;

/// Debian release of the root.
const SUITE: &str = "trixie";
/// Where newer kernels and QEMU come from.
const BACKPORTS: &str = "trixie-backports";
const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://security.debian.org/debian-security";
/// Compilers for the module and the guest's programs, and what an initramfs is made of.
const PACKAGES: &str = "busybox-static,cpio,kmod,gcc,make,libc6-dev,rustc,cargo,rust-src,lld,ca-certificates,xz-utils,zstd,sqlite3";
/// QEMU with its vfio-user client, and firmware.
const EMULATOR: [&str; 3] = ["qemu-system-x86", "qemu-system-data", "seabios"];
/// Kernel modules that suites load; unpacked for the initramfs with what they depend on. One that a kernel lacks is left out.
const GUEST_MODULES: &str = "null_blk aer_inject dax_hmem kmem device_dax";

/// Options of the debug kernel, from the repository's root.
const DEBUG_OPTIONS: &str = "driver/kernel/debug.config";

/// Downloads and unpacks a kernel with its headers. Arguments: series, version, images, headers, packages to install, modules for the guest, and
/// the suite that packages come from: the same for all, because libraries must fit each other.
const KERNEL: &str = r#"
set -eu
series=$1 version=$2 images=$3 headers=$4 install=$5 modules=$6 suite=$7
part=/vm/kernels/$series.part
rm -rf "$part"
mkdir -p "$part/deb" "$part/tree"
cd "$part/deb"
echo "downloading $images $headers"
apt-get -o APT::Sandbox::User=root download $images $headers
echo "installing $install"
apt-get -o APT::Sandbox::User=root install -y --no-install-recommends -t "$suite" $install
for image in $images; do
    echo "unpacking $image"
    dpkg -x "${image%%=*}"_*.deb "$part/tree"
done
dpkg -x "${headers%%=*}"_*.deb /
tree=$part/tree
[ -e "$tree/lib" ] || ln -s usr/lib "$tree/lib"
for vmlinuz in "$tree/boot/vmlinuz-$version" "$tree/usr/lib/modules/$version/vmlinuz"; do
    if [ -e "$vmlinuz" ]; then mv "$vmlinuz" "$part/vmlinuz"; break; fi
done
mkdir -p "$part/modules/lib/modules" "$part/guest/lib/modules/$version"
mv "$tree/usr/lib/modules/$version" "$part/modules/lib/modules/"
depmod -b "$part/modules" "$version"
echo "unpacking modules for the guest"
to=$part/guest/lib/modules/$version
for module in $modules; do
    modprobe -d "$part/modules" -S "$version" --show-depends "$module" 2>/dev/null || echo "none $module" >&2
done | while read -r kind file _; do
    [ "$kind" = insmod ] || continue
    cp "$file" "$to/"
done
for file in "$to"/*.xz; do [ ! -e "$file" ] || xz -d -f "$file"; done
cp "$part/modules/lib/modules/$version/modules.builtin" "$part/modules/lib/modules/$version/modules.order" "$to/"
depmod -b "$part/guest" "$version"
rm -rf "$part/deb" "$tree"
printf '%s\n' "$version" >"$part/version"
rm -rf "/vm/kernels/$series"
mv "$part" "/vm/kernels/$series"
"#;

/// Takes the kernel's own tests of its memory interface out of its source package. Arguments: package with version, series.
const SELFTESTS: &str = r#"
set -eu
part=/vm/selftests.part
rm -rf "$part"
mkdir -p "$part"
cd "$part"
apt-get -o APT::Sandbox::User=root download "$1=$2"
dpkg --fsys-tarfile "$1"_*.deb | tar -xO "./usr/src/$1.tar.xz" >source.tar.xz
rm ./*.deb
set -- lib/test_hmm.c lib/test_hmm_uapi.h mm/gup_test.h tools/testing/selftests/kselftest.h tools/testing/selftests/kselftest_harness.h \
    tools/testing/selftests/mm/hmm-tests.c tools/testing/selftests/mm/vm_util.c tools/testing/selftests/mm/vm_util.h \
    tools/testing/selftests/mm/hugepage_settings.c tools/testing/selftests/mm/hugepage_settings.h
# Exact names make tar stop early, once each was seen; the top folder's name is that of the first entry.
top=$(xz -dc source.tar.xz 2>/dev/null | head -c 512 | cut -d/ -f1)
for file; do set -- "$@" "$top/$file"; shift; done
xz -dc -T0 source.tar.xz 2>/dev/null | tar -x --occurrence=1 --strip-components=1 "$@"
rm source.tar.xz
rm -rf /vm/selftests
mv "$part" /vm/selftests
"#;

/// Builds the debug kernel from a kernel's source package. Arguments: package, its version, the options (a file), modules for the guest, and the
/// suite that packages come from.
const DEBUG_KERNEL: &str = r#"
set -eu
part=/vm/kernels/debug.part
rm -rf "$part"
mkdir -p "$part/source"
cd "$part"
echo "installing what the kernel's build needs"
apt-get -o APT::Sandbox::User=root install -y --no-install-recommends -t "$5" flex bison bc libelf-dev perl python3-minimal
echo "downloading $1=$2"
apt-get -o APT::Sandbox::User=root download "$1=$2"
echo "unpacking $1"
dpkg --fsys-tarfile "$1"_*.deb | tar -xO "./usr/src/$1.tar.xz" | xz -dc -T0 | tar -x --strip-components=1 -C source     --exclude='*/arch/[a-tv-wyz]*/*.[chS]' --exclude='*.dts*' --exclude='*/drivers/gpu/*.[ch]' --exclude='*/drivers/net/*/*.[ch]' --exclude='*/sound/*.[ch]'     --exclude='*/Documentation/*/*.rst' --exclude='*/tools/testing/*'
rm ./*.deb
cd source
make -s tinyconfig
./scripts/kconfig/merge_config.sh -m .config "$3" >/dev/null
make -s olddefconfig
# An option that did not survive means a debugging aid that looks at nothing.
missing=$(grep '^CONFIG' "$3" | grep -vxFf .config || :)
[ -z "$missing" ] || { echo "options that this kernel does not take: $missing"; exit 1; }
make -j"$(nproc)" bzImage modules
version=$(make -s kernelrelease)
cd ..
mv source build
make -s -C build INSTALL_MOD_PATH="$part/modules" modules_install
cp build/arch/x86/boot/bzImage vmlinuz
mkdir -p "$part/guest/lib/modules/$version"
to=$part/guest/lib/modules/$version
for module in $4; do
    modprobe -d "$part/modules" -S "$version" --show-depends "$module" 2>/dev/null || echo "none $module" >&2
done | while read -r kind file _; do
    [ "$kind" = insmod ] || continue
    cp "$file" "$to/"
done
cp "$part/modules/lib/modules/$version/modules.builtin" "$part/modules/lib/modules/$version/modules.order" "$to/"
depmod -b "$part/guest" "$version"
# What only the kernel itself is linked from.
find build -name '*.o' -not -path 'build/scripts/*' -not -path 'build/tools/*' -delete
mkdir -p "/usr/lib/modules/$version"
ln -sfn /vm/kernels/debug/build "/usr/lib/modules/$version/build"
printf '%s\n' "$version" >version
rm -rf /vm/kernels/debug
mv "$part" /vm/kernels/debug
"#;

/// What a kernel is made from.
#[derive(Debug, PartialEq, Eq)]
struct Kernel {
    series: String,
    /// As `uname -r` says it.
    version: String,
    debian: String,
    /// Packages to unpack, `NAME=VERSION`.
    images: Vec<String>,
    headers: String,
    /// Packages to install for the headers.
    install: Vec<String>,
}

impl Kernel {
    /// What to take of a kernel, from what apt shows of its packages.
    fn plan(series: &str, version: &str, debian: &str, shown: &[Shown]) -> Result<Kernel> {
        let has = |name: &str| {
            shown
                .iter()
                .any(|s| s.package == name && s.version == debian)
        };
        let pinned = |name: String| format!("{name}={debian}");
        let binary = format!("linux-binary-{version}");
        // Since 7.x linux-image-VERSION holds nothing itself; the lists of what is built in are in linux-base-VERSION.
        let images = match has(&binary) {
            true => ["binary", "modules", "base"]
                .map(|part| pinned(format!("linux-{part}-{version}")))
                .to_vec(),
            false => vec![pinned(format!("linux-image-{version}"))],
        };
        let headers = format!("linux-headers-{version}");
        let of_headers = shown
            .iter()
            .find(|s| s.package == headers && s.version == debian);
        let Some(of_headers) = of_headers else {
            bail!(
                "Debian offers kernel {version} without {headers}; run `cxlmem vm setup --refresh`"
            );
        };
        let depends = of_headers.depends.iter();
        // The image is unpacked, not installed: installing makes an initramfs.
        let install =
            depends.filter(|d| !d.starts_with("linux-image-") && !d.starts_with("linux-base"));
        Ok(Kernel {
            series: series.to_string(),
            version: version.to_string(),
            debian: debian.to_string(),
            images,
            headers: pinned(headers),
            install: install.cloned().collect(),
        })
    }
}

/// Carries out the setup.
pub struct Setup<'a> {
    cache: &'a Cache,
    space: &'a Space,
    stamps: Stamps,
    done: usize,
}

impl<'a> Setup<'a> {
    /// Of a cache folder whose lock is held.
    pub fn new(cache: &'a Cache, space: &'a Space) -> Setup<'a> {
        Setup {
            cache,
            space,
            stamps: Stamps::new(cache.path("stamps")),
            done: 0,
        }
    }

    /// Sets up the named kernel series, or all on offer if none is named.
    ///
    /// # Errors
    /// [`Skipped`] without network or mmdebstrap; else what failed with the end of its log.
    pub fn run(&mut self, series: &[String], refresh: bool) -> Result<()> {
        let start = Instant::now();
        self.root()?;
        self.index(refresh)?;
        self.emulator()?;
        let stock: Vec<String> = series.iter().filter(|s| *s != DEBUG).cloned().collect();
        let with_debug = stock.len() < series.len();
        let offered = self.kernels(&stock)?;
        // Of the debug kernel alone, what is on offer says which source.
        let kernels: &[Kernel] = if with_debug && stock.is_empty() {
            &[]
        } else {
            &offered
        };
        for kernel in kernels {
            self.kernel(kernel)?;
        }
        if let Some(newest) = offered.first() {
            self.selftests(newest)?;
        }
        let mut versions: Vec<String> = kernels.iter().map(|k| k.version.clone()).collect();
        if let Some(newest) = offered.first().filter(|_| with_debug) {
            self.debug_kernel(newest)?;
            versions.extend(self.cache.kernel_version(DEBUG));
        }
        println!(
            "{}: Linux {} ({} steps done, {:.1} s)",
            self.cache.dir().display(),
            versions.join(", "),
            self.done,
            start.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// A step, with progress, its log in the cache folder.
    fn step(
        &mut self,
        name: &str,
        inputs: &str,
        results: &[PathBuf],
        command: impl FnOnce(&Self) -> Result<Command>,
    ) -> Result<()> {
        let ran = self.stamps.step(name, inputs, results, || {
            need_network()?;
            let logs = self.cache.path("log");
            std::fs::create_dir_all(&logs)
                .with_context(|| format!("cannot make {}", logs.display()))?;
            let log = logs.join(format!("setup-{name}"));
            let mut command = command(self)?;
            tools::stage(&format!("setup: {name}"), &mut command, &log, &log)?;
            Ok(())
        })?;
        self.done += usize::from(ran);
        Ok(())
    }

    fn in_root(&self, args: &[&str]) -> Command {
        let mut mounts = vec![(self.cache.dir().to_path_buf(), "/vm".to_string())];
        let resolv = PathBuf::from("/etc/resolv.conf");
        if resolv.exists() {
            mounts.push((resolv, "ro:/etc/resolv.conf".into()));
        }
        self.space.inside(&self.cache.root(), &mounts, args)
    }

    fn root(&mut self) -> Result<()> {
        let root = self.cache.root();
        let inputs = format!("{SUITE} {BACKPORTS} {MIRROR} {SECURITY} {PACKAGES}\n");
        let results = [root.join("usr/bin/busybox"), root.join("usr/bin/gcc")];
        self.step("root", &inputs, &results, |this| {
            need_mmdebstrap()?;
            // What somebody mounted in the old root would be deleted with it.
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            if let Some(mount) = mount_below(&mounts, this.cache.dir()) {
                bail!("{mount} is mounted in the folder, whose root is to be made anew: unmount it first");
            }
            let sources = format!(
                "deb {MIRROR} {SUITE} main\ndeb {MIRROR} {SUITE}-updates main\ndeb {SECURITY} {SUITE}-security main\ndeb {MIRROR} {BACKPORTS} main\n"
            );
            let list = this.cache.path("sources.list");
            std::fs::write(&list, sources).with_context(|| format!("cannot write {}", list.display()))?;
            let script = format!(
                "set -eu; rm -rf --one-file-system root.part root stamps; mmdebstrap --mode=root --variant=minbase --include={PACKAGES} --aptopt='Acquire::Languages \"none\"' \
                 --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
                 {SUITE} root.part sources.list; mv root.part root"
            );
            let mut command = this.space.outside(&script, &[]);
            command.current_dir(this.cache.dir());
            Ok(command)
        })
    }

    fn index(&mut self, refresh: bool) -> Result<()> {
        if refresh {
            self.stamps.forget("index")?;
        }
        let results = [self.cache.root().join("var/lib/apt/lists")];
        self.step("index", BACKPORTS, &results, |this| {
            Ok(this.in_root(&["apt-get", "-o", "APT::Sandbox::User=root", "update"]))
        })
    }

    /// What a query of the root's apt prints.
    fn query(&self, args: &[&str]) -> Result<String> {
        let output = self
            .in_root(args)
            .output()
            .context("cannot start unshare")?;
        // `apt-cache show` fails if one of several packages is not there; what it has of the others counts.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.is_empty() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!(
                "`{}` in the root says nothing: {}; run `cxlmem vm setup --refresh`",
                args.join(" "),
                error.trim()
            );
        }
        Ok(text)
    }

    fn emulator(&mut self) -> Result<()> {
        let mut args = vec!["apt-cache", "madison"];
        args.extend(EMULATOR);
        let offers = apt::madison(&self.query(&args)?);
        let newest: Vec<String> = EMULATOR
            .iter()
            .filter_map(|p| offers.iter().find(|o| o.package == *p))
            .map(|o| format!("{}={}", o.package, o.version))
            .collect();
        if newest.len() != EMULATOR.len() {
            bail!("Debian offers only {newest:?} of {EMULATOR:?}; run `cxlmem vm setup --refresh`");
        }
        let root = self.cache.root();
        let results = [
            root.join("usr/bin/qemu-system-x86_64"),
            root.join("usr/share/qemu/qboot.rom"),
            root.join("usr/share/seabios/bios-256k.bin"),
        ];
        self.step("emulator", &newest.join(" "), &results, |this| {
            let mut args = vec!["apt-get", "-o", "APT::Sandbox::User=root", "install", "-y"];
            args.extend(["--no-install-recommends", "-t", BACKPORTS]);
            args.extend(newest.iter().map(String::as_str));
            Ok(this.in_root(&args))
        })
    }

    /// The kernels to set up, newest first.
    fn kernels(&self, series: &[String]) -> Result<Vec<Kernel>> {
        let offers = apt::madison(&self.query(&["apt-cache", "madison", "linux-image-amd64"])?);
        let offered = apt::kernels(&offers);
        for wanted in series {
            if !offered.iter().any(|(s, _)| s == wanted) {
                let all: Vec<&str> = offered.iter().map(|(s, _)| s.as_str()).collect();
                bail!(
                    "Debian offers no kernel {wanted}, but {}; run `cxlmem vm setup --refresh` if that is old",
                    all.join(", ")
                );
            }
        }
        let mut kernels = Vec::new();
        for (name, offer) in offered {
            if !series.is_empty() && !series.contains(&name) {
                continue;
            }
            let image = format!("linux-image-amd64={}", offer.version);
            let shown = apt::show(&self.query(&["apt-cache", "show", &image])?);
            let version = shown.first().and_then(apt::kernel_version);
            let Some(version) = version else {
                bail!("{image} depends on no kernel; run `cxlmem vm setup --refresh`");
            };
            let (headers, binary) = (
                format!("linux-headers-{version}"),
                format!("linux-binary-{version}"),
            );
            let shown = self.query(&["apt-cache", "show", &headers, &binary])?;
            kernels.push(Kernel::plan(
                &name,
                &version,
                &offer.version,
                &apt::show(&shown),
            )?);
        }
        Ok(kernels)
    }

    fn kernel(&mut self, kernel: &Kernel) -> Result<()> {
        let images = kernel.images.join(" ");
        let install = kernel.install.join(" ");
        let inputs = format!("{images} {} {install} {GUEST_MODULES}", kernel.headers);
        let dir = self.cache.kernel(&kernel.series);
        let root = self.cache.root();
        let results = [
            dir.join("vmlinuz"),
            dir.join("version"),
            root.join("usr/src")
                .join(format!("linux-headers-{}", kernel.version)),
        ];
        let name = format!("kernel-{}", kernel.series);
        self.step(&name, &inputs, &results, |this| {
            let args = [
                &kernel.series,
                &kernel.version,
                &images,
                &kernel.headers,
                &install,
            ];
            let mut command = this.in_root(&["sh", "-c", KERNEL, "sh"]);
            command.args(args).args([GUEST_MODULES, BACKPORTS]);
            Ok(command)
        })
    }

    /// The debug kernel, from the source of a stock one.
    fn debug_kernel(&mut self, kernel: &Kernel) -> Result<()> {
        let package = format!("linux-source-{}", kernel.series);
        let options = workspace().join(DEBUG_OPTIONS);
        let text = std::fs::read_to_string(&options)
            .with_context(|| format!("cannot read {}", options.display()))?;
        let here = self.cache.path("debug.config");
        std::fs::write(&here, &text).with_context(|| format!("cannot write {}", here.display()))?;
        let inputs = format!(
            "{package}={} {text} {GUEST_MODULES} {DEBUG_KERNEL}",
            kernel.debian
        );
        let dir = self.cache.kernel(DEBUG);
        let results = [dir.join("vmlinuz"), dir.join("version")];
        self.step("kernel-debug", &inputs, &results, |this| {
            let mut command = this.in_root(&["sh", "-c", DEBUG_KERNEL, "sh"]);
            command.args([&package, &kernel.debian, &this.cache.inside(&here)]);
            command.args([GUEST_MODULES, BACKPORTS]);
            Ok(command)
        })
    }

    /// The kernel's own tests of device memory, from the newest kernel's source.
    fn selftests(&mut self, kernel: &Kernel) -> Result<()> {
        let package = format!("linux-source-{}", kernel.series);
        let results = [
            self.cache.path("selftests/lib/test_hmm.c"),
            self.cache
                .path("selftests/tools/testing/selftests/mm/hmm-tests.c"),
            self.cache
                .path("selftests/tools/testing/selftests/mm/vm_util.c"),
        ];
        let inputs = format!("{package}={} {SELFTESTS}", kernel.debian);
        self.step("selftests", &inputs, &results, |this| {
            Ok(this.in_root(&["sh", "-c", SELFTESTS, "sh", &package, &kernel.debian]))
        })
    }
}

/// A mount point below a folder, in the text of `/proc/self/mounts`.
fn mount_below<'t>(mounts: &'t str, dir: &Path) -> Option<&'t str> {
    let mut points = mounts.lines().filter_map(|l| l.split(' ').nth(1));
    points.find(|p| {
        let point = Path::new(p);
        point != dir && point.starts_with(dir)
    })
}

/// Fails before a download where there is no way to the mirror.
fn need_network() -> Result<()> {
    let has_proxy =
        std::env::vars().any(|(k, v)| k.eq_ignore_ascii_case("http_proxy") && !v.is_empty());
    if has_proxy {
        return Ok(());
    }
    let host = MIRROR.split('/').nth(2).unwrap_or(MIRROR);
    let reached = (host, 80).to_socket_addrs().and_then(|mut all| {
        let none = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let first = all.find(|a| a.is_ipv4()).ok_or_else(none)?;
        TcpStream::connect_timeout(&first, Duration::from_secs(10))
    });
    match reached {
        Ok(_) => Ok(()),
        Err(e) => Err(Skipped(format!("no network: cannot reach {host} ({e})")).into()),
    }
}

/// Installs mmdebstrap where it is missing and that is allowed.
fn need_mmdebstrap() -> Result<()> {
    let has = || cxlmem_hdl::gates::tools::on_path("mmdebstrap").is_some();
    if has() {
        return Ok(());
    }
    // SAFETY: takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    if is_root && cxlmem_hdl::gates::tools::on_path("apt-get").is_some() {
        eprintln!("setup: installing mmdebstrap");
        let script = "apt-get install -y --no-install-recommends mmdebstrap || { apt-get update && apt-get install -y --no-install-recommends mmdebstrap; }";
        let output = Command::new("sh")
            .args(["-c", script])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .context("cannot start sh")?;
        if output.status.success() && has() {
            return Ok(());
        }
    }
    Err(
        Skipped("mmdebstrap is missing: install the package (apt-get install mmdebstrap)".into())
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(package: &str, version: &str, depends: &[&str]) -> Shown {
        Shown {
            package: package.into(),
            version: version.into(),
            depends: depends.iter().map(|d| d.to_string()).collect(),
        }
    }

    #[test]
    fn kernel_in_two_packages_or_one() {
        let headers = |deps: &[&str]| shown("linux-headers-7.3.4-amd64", "7.3.4-1", deps);
        let deps = [
            "linux-base",
            "linux-image-7.3.4-amd64",
            "linux-kbuild-7.3.4",
            "gcc-14",
        ];
        let split = [
            headers(&deps),
            shown("linux-binary-7.3.4-amd64", "7.3.4-1", &[]),
        ];
        let k = Kernel::plan("7.3", "7.3.4-amd64", "7.3.4-1", &split).unwrap();
        assert_eq!(
            k.images,
            [
                "linux-binary-7.3.4-amd64=7.3.4-1",
                "linux-modules-7.3.4-amd64=7.3.4-1",
                "linux-base-7.3.4-amd64=7.3.4-1"
            ]
        );
        assert_eq!(k.headers, "linux-headers-7.3.4-amd64=7.3.4-1");
        assert_eq!(k.install, ["linux-kbuild-7.3.4", "gcc-14"]);
        let k = Kernel::plan("7.3", "7.3.4-amd64", "7.3.4-1", &split[..1]).unwrap();
        assert_eq!(k.images, ["linux-image-7.3.4-amd64=7.3.4-1"]);
        // Headers of another version than the image's are none.
        let e = Kernel::plan("7.3", "7.3.4-amd64", "7.3.5-1", &split).unwrap_err();
        assert!(e.to_string().contains("without linux-headers"), "{e}");
    }

    #[test]
    fn mounts_below_the_folder_are_seen() {
        let mounts =
            "/dev/a / ext4 rw 0 0\ntmpfs /cache tmpfs rw 0 0\nproc /cache/root/proc proc rw 0 0\n";
        let below = |dir| mount_below(mounts, Path::new(dir));
        assert_eq!(below("/cache"), Some("/cache/root/proc"));
        assert_eq!(below("/cache/root/proc"), None);
        assert_eq!(below("/cac"), None);
    }
}
