//! Inside of a guest: the first process. It loads modules, does its task, answers on the second serial line and turns
//! the machine off.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

use super::Archive;
use crate::bench;

/// What the first process is told to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Run a program
    Run {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Count the instructions of packets, for `bench vm`
    Count,
}

/// Where modules are, in the order they are loaded.
const MODULES: &str = "modules";
/// The second serial line: the host reads the answer there.
const ANSWER: &str = "/dev/ttyS1";
/// First words of an answer.
const DONE: &str = "done: ";
const FAILED: &str = "failed: ";

/// Adds modules to an archive for [`run`] to load.
pub(crate) fn add_modules(archive: &mut Archive, modules: Vec<Vec<u8>>) {
    for (number, module) in modules.into_iter().enumerate() {
        archive.content(&format!("{MODULES}/{number:03}.ko"), module);
    }
}

/// What the guest said in its answer.
pub(super) fn understand(answer: &str) -> Result<String> {
    let answer = answer.trim();
    match (answer.strip_prefix(DONE), answer.strip_prefix(FAILED)) {
        (Some(said), _) => Ok(said.to_owned()),
        (None, Some(why)) => bail!("{why}"),
        (None, None) => bail!("the kernel stopped before the guest had finished"),
    }
}

/// Does the task and turns the machine off. Does nothing on a machine that was not started for it.
pub(crate) fn run(task: &Task) -> Result<()> {
    ensure!(std::process::id() == 1, "this is for the first process of a guest");
    let answer = match prepare().and_then(|()| perform(task)) {
        Ok(said) => format!("{DONE}{said}\n"),
        Err(error) => format!("{FAILED}{error:#}\n"),
    };
    std::fs::write(ANSWER, answer).with_context(|| format!("cannot write {ANSWER}"))?;
    reboot(RebootMode::RB_AUTOBOOT).map(drop).context("reboot")
}

fn prepare() -> Result<()> {
    for (kind, place) in
        [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run"), ("tmpfs", "/tmp")]
    {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount {place}"))?;
    }
    let modules = Path::new("/").join(MODULES);
    if !modules.exists() {
        return Ok(());
    }
    let mut files: Vec<_> =
        std::fs::read_dir(modules)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    for path in files {
        finit_module(File::open(&path)?, c"", ModuleInitFlags::empty())
            .with_context(|| format!("cannot load {}", path.display()))?;
    }
    Ok(())
}

fn perform(task: &Task) -> Result<String> {
    match task {
        Task::Run { command } => {
            let (program, arguments) = command.split_first().context("no program to run")?;
            let mut command = Command::new(program);
            command.args(arguments).env("PATH", "/bin").env("RUST_BACKTRACE", "0").process_group(0);
            let status = command.status().with_context(|| format!("{program} did not start"))?;
            ensure!(status.success(), "{program}: {status}");
            Ok(program.clone())
        }
        Task::Count => bench::count(),
    }
}
