//! `xlb diff`.

use super::output;
use crate::control::client::Client;

/// Show what a reload would change
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(client: &Client, args: &Args) -> anyhow::Result<()> {
    let changes = client.diff().await?;
    match args.json {
        true => output::print_json(&changes),
        false => Ok(output::print_changes(&changes)?),
    }
}
