//! `cargo xtask`: builds, shows, tests and measures xlb. One file per verb.

mod bench;
mod build;
mod build_ebpf;
mod demo;
mod fuzz;
mod lint;
mod object;
mod remove;
mod setup;
mod step;
mod test;
mod toolchain;
mod vm;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, shows, tests and measures xlb.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building and testing need and this machine lacks
    Setup,
    /// Build the kernel object and check it
    BuildEbpf,
    /// Build the kernel object and target/release/xlb with the object in it
    Build,
    /// Check format, clippy and documentation
    Lint,
    /// Run all tests, or one part of them: unit, a directory of tests/ such as netns, or vm: other kernels, in qemu
    Test {
        /// The part [default: all]
        part: Option<String>,
        /// Arguments for the test programs, such as a test's name
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Give what reads packets inputs that libFuzzer makes up
    Fuzz {
        /// What
        #[arg(default_value = "forward")]
        target: fuzz::Target,
        /// How many
        #[arg(long, default_value_t = 10_000_000)]
        inputs: u64,
        /// Where chance begins: the same seed and corpus try the same
        #[arg(long, default_value_t = 1)]
        seed: u32,
    },
    /// Show xlb at work between network namespaces of this machine
    Demo {
        /// Leave everything standing and print commands to try
        #[arg(long)]
        keep: bool,
        /// The xlb to show [default: build it]
        #[arg(long, value_name = "FILE")]
        program: Option<PathBuf>,
    },
    /// Measure xlb beside what a user would take instead
    Bench(bench::Args),
    /// What CI runs: lint, then test
    Ci,
    /// What the first process of a guest does
    #[command(hide = true)]
    Guest {
        #[command(subcommand)]
        task: vm::guest::Task,
    },
}

fn main() -> ExitCode {
    if let Some(ended) = fuzz::compile() {
        return ended;
    }
    match perform(&Args::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Setup => setup::run(),
        Verb::BuildEbpf => build_ebpf::run().map(drop),
        Verb::Build => build::run().map(drop),
        Verb::Lint => lint::run(),
        Verb::Test { part, arguments } => test::run(part.as_deref(), arguments),
        Verb::Fuzz { target, inputs, seed } => fuzz::run(*target, *inputs, *seed),
        Verb::Demo { keep, program } => demo::run(program.clone(), *keep),
        Verb::Bench(args) => bench::run(args),
        Verb::Ci => {
            lint::run()?;
            test::run(None, &[])
        }
        Verb::Guest { task } => vm::guest::run(task),
    }
}
