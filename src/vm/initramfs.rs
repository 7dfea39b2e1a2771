//! The guest's whole file system: busybox, kernel modules, programs and suites.

use std::path::Path;

use anyhow::{Context, Result};

use super::cache::Cache;
use super::cpio::Archive;

/// Where the repository is: the module's and the suites' sources.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Makes the initramfs of a kernel series in which `/run.sh` is `script`.
///
/// # Errors
/// A file that cannot be read.
pub fn make(cache: &Cache, series: &str, script: &str) -> Result<Vec<u8>> {
    let version = cache.kernel_version(series).unwrap_or_default();
    let mut archive = Archive::default();
    for folder in [
        "bin",
        "dev",
        "etc",
        "proc",
        "sys",
        "tmp",
        "root",
        "lib",
        "lib/modules",
        "modules",
        "suites",
    ] {
        archive.folder(folder);
    }
    // The kernel opens it before /init mounts /dev.
    archive.device("dev/console", 5, 1);
    archive.link("sbin", "bin");
    archive.link("usr", ".");
    add_file(
        &mut archive,
        "bin/busybox",
        &cache.root().join("usr/bin/busybox"),
        true,
    )?;
    let guest = workspace().join("tests/guest");
    add_file(&mut archive, "init", &guest.join("init"), true)?;
    archive.file("run.sh", true, script.as_bytes());
    add_folder(&mut archive, "suites", &guest)?;
    add_folder(&mut archive, "bin", &cache.path("guest"))?;
    // Programs that are not static look for their loader in lib64, and the loader for libraries in lib.
    archive.link("lib64", "lib");
    add_folder(&mut archive, "lib", &cache.path("guest/lib"))?;
    add_folder(&mut archive, "bin", &cache.path("tool/bin"))?;
    add_folder(&mut archive, "lib", &cache.path("tool/lib"))?;
    let modules = format!("lib/modules/{version}");
    archive.folder(&modules);
    add_folder(
        &mut archive,
        &modules,
        &cache.kernel(series).join("guest").join(&modules),
    )?;
    add_folder(
        &mut archive,
        "modules",
        &cache.path("modules").join(&version),
    )?;
    Ok(archive.finish())
}

/// Words for a shell that give a command with exactly these arguments.
pub fn quote(command: &[String]) -> String {
    let quoted = command
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

fn add_file(archive: &mut Archive, name: &str, from: &Path, is_program: bool) -> Result<()> {
    let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    archive.file(name, is_program, &bytes);
    Ok(())
}

/// The files of a folder, without the folders in it; one that is not there has none.
fn add_folder(archive: &mut Archive, name: &str, from: &Path) -> Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(from)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.path().is_file())
        .collect();
    files.sort_by_key(|e| e.file_name());
    for file in files {
        let name = format!("{name}/{}", file.file_name().to_string_lossy());
        add_file(archive, &name, &file.path(), true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_stay_what_they_were() {
        let words = ["a b", "it's", "$HOME;", "", "\\'\n*"].map(String::from);
        let script = format!("printf '%s|' {}", quote(&words));
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let expected: String = words.iter().map(|w| format!("{w}|")).collect();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}
