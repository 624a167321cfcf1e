//! Where things are: the workspace, its target directory and what is built into it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The feature that builds the tests that need root.
pub(crate) const ROOT_TESTS: &str = "lb-tests/root";

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member)
}

/// The cargo that runs us, else the first in PATH; always started in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// The directory that cargo builds into, whoever set it: an environment variable or a configuration file.
pub(crate) fn target() -> Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()
        .context("cargo metadata did not start")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(target))
}

/// Where `build-ebpf` puts the kernel object and lb-user's build script looks for it.
pub(crate) fn kernel_object() -> Result<PathBuf> {
    Ok(target()?.join("ebpf").join("xlb-ebpf.o"))
}
