//! `cargo xtask lint`: format, clippy and documentation, with warnings as errors. What is fuzzed is looked at where libFuzzer
//! can be compiled.

use anyhow::Result;

use crate::{step, toolchain, workspace};

/// Runs all of them, the quick one first.
pub(crate) fn run() -> Result<()> {
    let mut format = workspace::cargo();
    format.args(["fmt", "--all", "--check"]);
    step::run("format", format)?;

    let mut clippy = workspace::cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--features", workspace::ROOT_TESTS]);
    clippy.args(["--", "--deny=warnings"]);
    step::run("clippy", clippy)?;

    if toolchain::find_program("c++").is_some() {
        let mut fuzz = workspace::cargo();
        fuzz.args(["clippy", "--package=lb-fuzz", "--features=libfuzzer", "--", "--deny=warnings"]);
        step::run("clippy of what is fuzzed", fuzz)?;
    }

    let mut documentation = workspace::cargo();
    documentation.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny=warnings");
    step::run("documentation", documentation)
}
