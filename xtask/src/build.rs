//! `cargo xtask build`: the program with the kernel object in it.

use std::path::PathBuf;

use anyhow::Result;

use crate::{build_ebpf, step, workspace};

/// Builds the object and the release program; returns the program's path.
pub(crate) fn run() -> Result<PathBuf> {
    build_ebpf::run()?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--package=lb-user", "--bin=xlb"]);
    step::run("build xlb", cargo)?;
    let program = workspace::target()?.join("release").join("xlb");
    println!("{}", program.display());
    Ok(program)
}
