//! `cargo xtask lint`: format, clippy and documentation, with warnings as errors.

use anyhow::Result;

use crate::{step, workspace};

/// Runs all three, the quick one first.
pub(crate) fn run() -> Result<()> {
    let mut format = workspace::cargo();
    format.args(["fmt", "--all", "--check"]);
    step::run("format", format)?;

    let mut clippy = workspace::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--features", workspace::ROOT_TESTS]);
    clippy.args(["--", "--deny=warnings"]);
    step::run("clippy", clippy)?;

    let mut documentation = workspace::cargo();
    documentation.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny=warnings");
    step::run("documentation", documentation)
}
