//! What a program of this machine needs to run elsewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The libraries that the dynamic linker would load for it, the linker among them; none for a static program.
pub(super) fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd did not start")?;
    Ok(listed(&String::from_utf8_lossy(&output.stdout)))
}

/// `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the linker.
fn listed(output: &str) -> BTreeSet<PathBuf> {
    let path = |word: &&str| word.starts_with('/');
    output.lines().filter_map(|line| line.split_whitespace().rfind(path)).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_linker_are_found_by_their_paths() {
        let output = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(listed(output), expected.map(PathBuf::from).into());
        assert_eq!(listed("\tstatically linked\n"), BTreeSet::new());
    }
}
