//! `cargo xtask bench`: how fast xlb is, beside what a user would take instead.
//!
//! A group measures and answers tables; here they are shown, written as JSON and put into the documents. The method is
//! described in tests/bench/README.md.

mod chart;
mod control;
mod document;
mod environment;
mod forward;
mod frame;
mod ground;
mod host;
mod http;
mod packet;
mod programs;
mod service;
mod spread;
mod table;
mod vm;
mod vrrp;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;

use self::environment::Environment;
use self::table::Table;
pub(crate) use self::vm::count;
use crate::{build, remove, setup};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// One packet in the program
    Packet,
    /// One packet from wire to wire, beside nftables and routing
    Forward,
    /// HTTP connections and requests, and bulk TCP, beside proxies and nftables
    Http,
    /// From a file or a command to the data plane, checks, memory, the sweep
    Control,
    /// Failover, beside keepalived
    Vrrp,
    /// Instructions of a packet from wire to wire, beside IPVS, in qemu
    Vm,
    /// Everything but vm
    All,
}

/// What is asked for on the command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure
    #[arg(default_value = "all")]
    group: Group,
    /// Write the figures to a file as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fewer rounds and smaller tables: minutes become seconds, and the figures rougher
    #[arg(long)]
    quick: bool,
    /// Put tables and charts into README.md and tests/bench
    #[arg(long)]
    write: bool,
    /// The xlb to measure [default: build it]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// For `packet`: another kernel object with the same maps, measured in turns with the program's own
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// For `packet` and `vm`: only cases or contenders whose names contain this; may be repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// For `packet`: so many interleaved rounds of each load
    #[arg(long, value_name = "NUMBER")]
    rounds: Option<u32>,
}

/// How thoroughly a group measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Enough to see that all of it works.
    Quick,
    /// What is shown to others.
    Full,
}

/// What a group needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The release program.
    pub(crate) program: PathBuf,
    /// Another kernel object.
    pub(crate) against: Option<PathBuf>,
    /// Parts of the names of the cases or contenders that are wanted; all when there is none.
    pub(crate) only: Vec<String>,
    /// Rounds of a load in place of the usual number.
    pub(crate) rounds: Option<u32>,
    /// How thorough to be.
    pub(crate) effort: Effort,
}

/// A run, as JSON.
#[derive(Debug, Serialize)]
struct Run<'a> {
    environment: &'a Environment,
    tables: &'a [Table],
}

type Measure = fn(&Subject) -> Result<Vec<Table>>;

/// The groups in the order they run.
const GROUPS: [(Group, Measure); 6] = [
    (Group::Packet, packet::run),
    (Group::Forward, forward::run),
    (Group::Http, http::run),
    (Group::Control, control::run),
    (Group::Vrrp, vrrp::run),
    (Group::Vm, vm::run),
];

/// Measures, and shows and keeps what came out.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        args.group == Group::Vm || nix::unistd::geteuid().is_root(),
        "measuring makes network namespaces and loads programs into the kernel, which needs root: run it as root"
    );
    setup::run()?;
    let subject = Subject {
        program: program(args.program.as_deref())?,
        against: args.against.clone(),
        only: args.only.clone(),
        rounds: args.rounds,
        effort: if args.quick { Effort::Quick } else { Effort::Full },
    };
    remove::when_interrupted(&remove::script(std::process::id()))?;
    let environment = Environment::look()?;
    println!("{environment}");
    let mut tables = Vec::new();
    for (group, measure) in GROUPS {
        if args.group == group || (args.group == Group::All && group != Group::Vm) {
            let measured = measure(&subject).with_context(|| format!("bench {group:?} failed"))?;
            for table in &measured {
                println!("\n{table}");
            }
            tables.extend(measured);
        }
    }
    if let Some(path) = &args.json {
        let run = Run { environment: &environment, tables: &tables };
        std::fs::write(path, serde_json::to_string_pretty(&run)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.write {
        document::write(&environment, &tables)?;
    }
    Ok(())
}

fn program(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(program) => program.canonicalize().with_context(|| format!("no program {}", program.display())),
        None => build::run(),
    }
}
