//! `cargo xtask fuzz`: what reads packets under libFuzzer, on all processors.
//!
//! Coverage comes from a pass of LLVM that every compiler has, so neither a nightly one nor cargo-fuzz is needed. Only the
//! decision is compiled with it: what the fuzzer learns is about packets' ends, not about how the harness makes them.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::{setup, step, workspace};

/// What libFuzzer is compiled with.
const PROGRAMS: [(&str, &str); 1] = [("c++", "g++")];

/// What libFuzzer asks of the code under test: see "Fuzzing" and "SanitizerCoverage" in LLVM's documentation.
const COVERAGE: [&str; 4] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
];

/// Set where cargo starts this program in front of the compiler: the crate under test, as the compiler names it.
const WRAPPER: &str = "XLB_FUZZ_CRATE";

/// In front of the compiler: runs it, with coverage for the crate under test. Cargo has flags for one crate of a build only
/// in its nightly versions.
pub(crate) fn compile() -> Option<ExitCode> {
    let under_test = std::env::var_os(WRAPPER)?;
    let mut arguments = std::env::args_os().skip(1);
    let compiler = arguments.next()?;
    let mut arguments: Vec<OsString> = arguments.collect();
    if arguments.windows(2).any(|pair| pair[0] == "--crate-name" && pair[1] == under_test) {
        arguments.extend(COVERAGE.map(OsString::from));
    }
    let ended = Command::new(compiler).args(arguments).status();
    Some(if ended.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is fuzzed: a program of tests/fuzz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// The data plane's decision
    Forward,
    /// VRRP's decoder and its checks
    Vrrp,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Vrrp => "vrrp",
        }
    }

    /// The crate under test: the program itself where it takes modules of ours into it.
    const fn under_test(self) -> &'static str {
        match self {
            Self::Forward => "lb_ebpf",
            Self::Vrrp => "vrrp",
        }
    }

    /// Longest input, in bytes: a history of 50 frames, or a packet.
    const fn longest(self) -> u32 {
        match self {
            Self::Forward => 250,
            Self::Vrrp => 400,
        }
    }
}

/// Runs so many inputs. What was learned stays in target/fuzz/corpus; an input that is a finding is in target/fuzz.
#[expect(clippy::disallowed_methods, reason = "the last line says how long it took")]
pub(crate) fn run(fuzzed: Target, inputs: u64, seed: u32) -> Result<()> {
    setup::run_with(&PROGRAMS)?;
    let target = workspace::target()?.join("fuzz");
    let host = host()?;
    let mut cargo = workspace::cargo();
    cargo
        .args([
            "build",
            "--release",
            "--package=lb-fuzz",
            "--features=libfuzzer",
            "--bin",
            fuzzed.name(),
            "--target",
            &host,
            "--target-dir",
        ])
        .arg(&target)
        .env("RUSTC_WORKSPACE_WRAPPER", std::env::current_exe()?)
        .env(WRAPPER, fuzzed.under_test())
        // Code under test stays in its own crate.
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
        .env("CARGO_PROFILE_RELEASE_LTO", "off");
    step::run("build the fuzz target", cargo)?;

    let program = target.join(&host).join("release").join(fuzzed.name());
    let workers = std::thread::available_parallelism()?.get() as u64;
    let start = Instant::now();
    let children: Vec<Child> = (0..workers)
        .map(|worker| {
            start_worker(
                (fuzzed, &program),
                &target,
                inputs.div_ceil(workers),
                seed.wrapping_add(worker as u32),
            )
        })
        .collect::<Result<_>>()?;
    let mut sound = true;
    for mut child in children {
        sound &= child.wait()?.success();
    }
    if !sound {
        bail!("there is a finding; its input is in {}", target.display());
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "fuzz: {inputs} inputs, no finding, {:.0} inputs/s on {workers} processors, {seconds:.0} s, seed {seed}",
        inputs as f64 / seconds
    );
    Ok(())
}

fn start_worker((fuzzed, program): (Target, &Path), target: &Path, runs: u64, seed: u32) -> Result<Child> {
    let corpus = target.join("corpus").join(fuzzed.name());
    std::fs::create_dir_all(&corpus)?;
    // libFuzzer draws a seed of its own for 0.
    let seed = seed.max(1);
    Command::new(program)
        .arg(&corpus)
        .args([
            format!("-runs={runs}"),
            format!("-seed={seed}"),
            format!("-max_len={}", fuzzed.longest()),
            "-verbosity=0".into(),
            "-print_final_stats=1".into(),
        ])
        .arg(format!("-artifact_prefix={}/finding-", target.display()))
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("{} did not start", program.display()))
}

/// The target that the compiler builds for by itself. Naming it keeps the flags from build scripts.
fn host() -> Result<String> {
    let output =
        Command::new("rustc").args(["--print", "host-tuple"]).current_dir(workspace::root()).output()?;
    ensure!(output.status.success(), "rustc does not say what it builds for");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
