//! Kernels from Debian's packages: downloaded and unpacked below the target directory, nothing is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::module;
use crate::{step, workspace};

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// What `uname -r` says on it.
    pub(crate) release: String,
    /// The image that qemu boots.
    pub(crate) image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// The newest kernel of a series such as "6.1" among the packages, or the one that was unpacked before.
    pub(crate) fn of_series(series: &str) -> Result<Self> {
        let directory = workspace::target()?.join("vm").join(format!("linux-{series}"));
        if !directory.join("boot").is_dir() {
            fetch(&newest(series)?, &directory)?;
        }
        Self::unpacked(&directory)
    }

    fn unpacked(directory: &Path) -> Result<Self> {
        let boot = directory.join("boot");
        let entries = std::fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))?;
        let release = entries
            .filter_map(Result::ok)
            .find_map(|entry| entry.file_name().to_str()?.strip_prefix("vmlinuz-").map(str::to_owned))
            .with_context(|| format!("no kernel in {}", boot.display()))?;
        let image = boot.join(format!("vmlinuz-{release}"));
        let modules = directory.join("lib/modules").join(&release);
        Ok(Self { release, image, modules })
    }

    /// The contents of these modules and of those they depend on, in an order in which they can be loaded.
    pub(crate) fn modules(&self, names: &[&str]) -> Result<Vec<Vec<u8>>> {
        module::ordered(&self.modules, names)
    }
}

/// The package of the newest kernel of a series. Cloud kernels are the smallest ones with everything that is needed here.
fn newest(series: &str) -> Result<String> {
    let output = Command::new("apt-cache")
        .args(["search", "--names-only", r"^linux-image-.*-cloud-amd64-unsigned$"])
        .output()
        .context("apt-cache did not start; kernels come from Debian's packages")?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let Some(package) = newest_of(series, &listed) else {
        bail!("Debian's packages known here have no Linux {series}; `apt-get update` renews what is known");
    };
    Ok(package.to_owned())
}

/// Of lines `NAME - DESCRIPTION`. Numbers in names compare as numbers.
fn newest_of<'a>(series: &str, listed: &'a str) -> Option<&'a str> {
    let numbers = |name: &str| -> Vec<u32> {
        name.split(|character: char| !character.is_ascii_digit())
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    let prefix = format!("linux-image-{series}.");
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with(&prefix)).max_by_key(|name| numbers(name))
}

/// Puts the package's files there, whole or not at all.
fn fetch(package: &str, directory: &Path) -> Result<()> {
    let unfinished = directory.with_extension("new");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    std::fs::create_dir_all(&unfinished)?;
    let mut download = Command::new("apt-get");
    download.args(["download", "--quiet", package]).current_dir(&unfinished);
    step::run(&format!("apt-get: download {package}"), download)?;
    let mut files = std::fs::read_dir(&unfinished)?.filter_map(Result::ok).map(|entry| entry.path());
    let archive = files.next().with_context(|| format!("{package} was not downloaded"))?;
    let unpacked =
        Command::new("dpkg-deb").arg("-x").args([&archive, &unfinished]).status().context("dpkg-deb")?;
    ensure!(unpacked.success(), "cannot unpack {}", archive.display());
    std::fs::remove_file(archive)?;
    Ok(std::fs::rename(unfinished, directory)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_series_is_found_by_number() {
        let listed = "linux-image-6.1.0-9-cloud-amd64-unsigned - Linux 6.1\n\
                      linux-image-6.1.0-10-cloud-amd64-unsigned - Linux 6.1\n\
                      linux-image-6.12.9+deb12-cloud-amd64-unsigned - Linux 6.12\n\
                      linux-image-6.12.41+deb12-cloud-amd64-unsigned - Linux 6.12\n";
        assert_eq!(newest_of("6.1", listed), Some("linux-image-6.1.0-10-cloud-amd64-unsigned"));
        assert_eq!(newest_of("6.12", listed), Some("linux-image-6.12.41+deb12-cloud-amd64-unsigned"));
        assert_eq!(newest_of("6.6", listed), None);
    }
}
