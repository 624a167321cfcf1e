//! `xlb reload`.

use super::{Guard, output};
use crate::control::{Write, client::Client};

/// Apply the configuration file as a whole, or nothing of it when it has errors
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    guard: Guard,
}

pub(super) async fn run(client: &Client, args: &Args) -> anyhow::Result<()> {
    Ok(output::print_changes(&client.write(&Write::Reload, args.guard.generation).await?)?)
}
