//! `xlb weight`.

use clap_complete::engine::ArgValueCompleter;

use super::{Guard, complete, output};
use crate::control::{RealServerName, Write, client::Client};

/// Set the weight of a real server until `xlb revert`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Virtual server and real server, such as web/web1 or web/10.0.0.11:8080
    #[arg(value_name = "VS/RS", add = ArgValueCompleter::new(complete::real_servers))]
    real_server: RealServerName,
    /// 0 to 65535; 0 takes no new connections
    #[arg(value_name = "N", allow_negative_numbers = true)]
    weight: u16,
    #[command(flatten)]
    guard: Guard,
}

pub(super) async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let write = Write::SetWeight { real_server: args.real_server, weight: args.weight };
    Ok(output::print_changes(&client.write(&write, args.guard.generation).await?)?)
}
