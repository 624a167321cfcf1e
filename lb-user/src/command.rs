//! The command line: what can be said, which verb it is, and the exit code.

mod add;
mod check;
mod complete;
mod completions;
mod connections;
mod diff;
mod doctor;
mod drain;
mod drops;
mod events;
mod explain;
mod man;
mod output;
mod real_server;
mod reload;
mod revert;
mod run;
mod status;
mod unload;
mod vrrp;
mod weight;

use std::{io, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    config::ConfigError,
    control::{
        Write,
        client::{Client, ClientError},
    },
};

/// Where the daemon listens unless it is told otherwise.
const SOCKET: &str = "/run/xlb/xlb.sock";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed or refused
  2  wrong usage or configuration
  3  daemon not reachable
  4  --wait ran out of time
  5  no such name";

/// Layer-4 load balancer on XDP
#[derive(Debug, Parser)]
#[command(name = "xlb", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Control socket of the daemon [default: /run/xlb/xlb.sock]
    #[arg(short, long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Check(check::Args),
    Status(status::Args),
    Weight(weight::Args),
    Drain(drain::Args),
    /// Take a real server out at once, without its connections, until `xlb enable`
    Disable(real_server::Args),
    /// Put a real server back that was drained or disabled
    Enable(real_server::Args),
    Revert(revert::Args),
    Add(add::Args),
    /// Remove a real server from its virtual server
    Remove(real_server::Args),
    Reload(reload::Args),
    Diff(diff::Args),
    Doctor(doctor::Args),
    Events(events::Args),
    Vrrp(vrrp::Args),
    Connections(connections::Args),
    Drops(drops::Args),
    Explain(explain::Args),
    Unload(unload::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What every write takes.
#[derive(Debug, clap::Args)]
struct Guard {
    /// Refuse unless the configuration's generation is still N (`xlb status` shows it)
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
}

/// Parses the command line, does what it says, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    complete::answer_shell();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(Cli { socket, verb }: Cli) -> anyhow::Result<()> {
    let client = Client::new(socket.clone().unwrap_or_else(|| SOCKET.into()));
    match verb {
        Verb::Run(args) => run::run(args, socket),
        Verb::Check(args) => check::run(&args),
        Verb::Doctor(args) => wait_for(doctor::run(&args)),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
        Verb::Status(args) => wait_for(status::run(&client, &args)),
        Verb::Weight(args) => wait_for(weight::run(&client, args)),
        Verb::Drain(args) => wait_for(drain::run(&client, args)),
        Verb::Disable(args) => wait_for(real_server::run(&client, args, Write::Disable)),
        Verb::Enable(args) => wait_for(real_server::run(&client, args, Write::Enable)),
        Verb::Revert(args) => wait_for(revert::run(&client, args)),
        Verb::Add(args) => wait_for(add::run(&client, args)),
        Verb::Remove(args) => wait_for(real_server::run(&client, args, Write::Remove)),
        Verb::Reload(args) => wait_for(reload::run(&client, &args)),
        Verb::Diff(args) => wait_for(diff::run(&client, &args)),
        Verb::Events(args) => wait_for(events::run(&client, &args)),
        Verb::Vrrp(args) => wait_for(vrrp::run(&client, args)),
        Verb::Connections(args) => wait_for(connections::run(&client, args)),
        Verb::Drops(args) => wait_for(drops::run(&client, &args)),
        Verb::Explain(args) => wait_for(explain::run(&client, args)),
        Verb::Unload(args) => wait_for(unload::run(&client, &args)),
    }
}

fn wait_for<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        error.exit_code()
    } else if error.is::<ConfigError>() {
        2
    } else if error.is::<drain::WaitRanOut>() {
        4
    } else {
        1
    }
}

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The command line's definition, for completion and the manual.
fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }
}
