//! `xlb vrrp`.

mod table;

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;

use super::{Guard, complete, output};
use crate::control::{Write, client::Client};

/// Show who owns which addresses, and what was heard; hand a role over
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    Release(Release),
}

/// Give the role to a peer, which keeps it as long as it lives
#[derive(Debug, clap::Args)]
struct Release {
    /// This instance and its sync group; all when none is given
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::vrrp_instances))]
    name: Option<String>,
    #[command(flatten)]
    guard: Guard,
}

pub(super) async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    if let Some(Action::Release(Release { name, guard })) = args.action {
        let changes = client.write(&Write::Release(name), guard.generation).await?;
        return Ok(output::print_changes(&changes)?);
    }
    let instances = client.vrrp().await?;
    if args.json { output::print_json(&instances) } else { Ok(output::print(&table::render(&instances))?) }
}
