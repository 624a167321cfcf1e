//! `cargo xtask test`: all tests, those that need root too.

mod vm;

use anyhow::{Context, Result, bail, ensure};

use crate::{build_ebpf, setup, step, workspace};

/// The tests that need no root; plain `cargo test` runs the same.
const UNIT: &str = "unit";

/// The data plane's tests on other kernels. Only when asked for: downloads them, and qemu.
const VM: &str = "vm";

/// Runs one part of the tests, or all; `filter` goes to the test programs.
pub(crate) fn run(part: Option<&str>, filter: &[String]) -> Result<()> {
    if part == Some(VM) {
        return vm::run(filter);
    }
    let root_parts = root_parts()?;
    let parts = match part {
        None => std::iter::once(UNIT.to_owned()).chain(root_parts).collect(),
        Some(part) if part == UNIT || root_parts.iter().any(|other| other == part) => vec![part.to_owned()],
        Some(part) => {
            bail!("there is no part {part} of the tests; there are {UNIT}, {VM}, {}", root_parts.join(", "))
        }
    };
    let needs_root = parts.iter().any(|part| part != UNIT);
    ensure!(
        !needs_root || nix::unistd::geteuid().is_root(),
        "tests that load programs into the kernel and make network namespaces need root: \
         run as root, or `cargo xtask test {UNIT}` for those that need none"
    );
    setup::run()?;
    build_ebpf::run()?;
    let mut build = workspace::cargo();
    // All at once: the root tests start the program of the same build.
    build.args(["build", "--workspace", "--all-targets", "--features", workspace::ROOT_TESTS]);
    step::run("build program and tests", build)?;

    for part in parts {
        let mut test = workspace::cargo();
        test.args(["test", "--workspace", "--no-fail-fast"]);
        if part != UNIT {
            test.args(["--features", workspace::ROOT_TESTS, "--test", &part]);
        }
        test.arg("--").args(filter);
        step::show(&format!("tests: {part}"), test)?;
    }
    Ok(())
}

/// Every directory of `tests` with a test program, in order.
fn root_parts() -> Result<Vec<String>> {
    let tests = workspace::root().join("tests");
    let entries = std::fs::read_dir(&tests).with_context(|| format!("cannot read {}", tests.display()))?;
    let mut parts: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("main.rs").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    parts.sort();
    Ok(parts)
}
