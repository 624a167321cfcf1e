//! `xlb revert`.

use clap_complete::engine::ArgValueCompleter;

use super::{Guard, complete, output};
use crate::control::{Scope, Write, client::Client};

/// Forget runtime changes: of everything, of a virtual server, or of a real server
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to put back as it is configured [default: everything]
    #[arg(value_name = "VS[/RS]", add = ArgValueCompleter::new(complete::scopes))]
    scope: Option<Scope>,
    #[command(flatten)]
    guard: Guard,
}

pub(super) async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let write = Write::Revert(args.scope.unwrap_or(Scope::Everything));
    Ok(output::print_changes(&client.write(&write, args.guard.generation).await?)?)
}
