//! Verbs that need only a real server: `xlb disable`, `xlb enable`, `xlb remove`.

use clap_complete::engine::ArgValueCompleter;

use super::{Guard, complete, output};
use crate::control::{RealServerName, Write, client::Client};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Virtual server and real server, such as web/web1 or web/10.0.0.11:8080
    #[arg(value_name = "VS/RS", add = ArgValueCompleter::new(complete::real_servers))]
    real_server: RealServerName,
    #[command(flatten)]
    guard: Guard,
}

pub(super) async fn run(
    client: &Client,
    args: Args,
    write: fn(RealServerName) -> Write,
) -> anyhow::Result<()> {
    let changes = client.write(&write(args.real_server), args.guard.generation).await?;
    Ok(output::print_changes(&changes)?)
}
