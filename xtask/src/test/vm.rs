//! `cargo xtask test vm`: the data plane's tests in the kernel, on Debian's kernels in qemu. Needs no root.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::vm::{self, Archive, Counting, Kernel, Machine};
use crate::{build_ebpf, setup, step, toolchain, workspace};

/// The oldest kernel that xlb supports, and a newer one.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// What the tests use of the machine's.
const MODULES: [&str; 1] = ["veth"];

/// The test program in the guest.
const PROGRAM: &str = "/bin/dataplane";

/// What is run: verifier and cases. Floods and streams of packets say nothing about a kernel that the cases do not, and an
/// emulated processor is slow.
const TESTS: [&str; 2] = ["kernel::loading", "kernel::every_case"];

/// Of one kernel.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Runs the tests on each kernel; `filter` goes to the test program in the place of our choice.
pub(super) fn run(filter: &[String]) -> Result<()> {
    setup::run_with(&vm::PROGRAMS)?;
    build_ebpf::run()?;
    let program = test_program()?;
    let ip = toolchain::find_program("ip").context("there is no program ip")?;
    let tests: Vec<&str> =
        if filter.is_empty() { TESTS.to_vec() } else { filter.iter().map(String::as_str).collect() };
    let task = [&["run", PROGRAM, "--nocapture", "--test-threads=1"], tests.as_slice()].concat();
    let mut failed = Vec::new();
    for series in SERIES {
        let kernel = Kernel::of_series(series)?;
        let mut archive = Archive::new()?;
        archive.program(&program, PROGRAM.trim_start_matches('/'))?;
        archive.program(&ip, "bin/ip")?;
        vm::guest::add_modules(&mut archive, kernel.modules(&MODULES)?);
        let machine = Machine {
            kernel: &kernel,
            archive: &archive,
            counting: Counting::Off,
            memory: 2048,
            patience: PATIENCE,
        };
        println!("tests: vm: Linux {}", kernel.release);
        if let Err(error) = machine.run(&task, |line| println!("{line}")) {
            eprintln!("{error:#}");
            failed.push(series);
        }
    }
    if !failed.is_empty() {
        bail!("tests: vm: failed on Linux {}", failed.join(", "));
    }
    Ok(())
}

/// Builds the test program and returns its path, which has a hash in it that cargo alone knows.
fn test_program() -> Result<PathBuf> {
    let build = |format: &str| {
        let mut cargo = workspace::cargo();
        cargo.args(["test", "--package=lb-tests", "--features", workspace::ROOT_TESTS, "--test=dataplane"]);
        cargo.args(["--no-run", format]);
        cargo
    };
    step::run("build the tests of the data plane", build("--message-format=human"))?;
    let output = build("--message-format=json").output().context("cargo did not start")?;
    ensure!(output.status.success(), "cargo failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "dataplane")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo names no test program dataplane")
}
