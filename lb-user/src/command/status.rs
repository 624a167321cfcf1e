//! `xlb status`.

mod table;

use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;
use comfy_table::Table;

use super::{complete, output};
use crate::control::client::Client;

/// Time between two pictures of `--watch`.
const REDRAW: Duration = Duration::from_secs(1);

/// Show virtual servers, real servers and the data plane
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this virtual server
    #[arg(value_name = "VS", add = ArgValueCompleter::new(complete::virtual_servers))]
    virtual_server: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show it again every second
    #[arg(short, long)]
    watch: bool,
}

pub(super) async fn run(client: &Client, args: &Args) -> anyhow::Result<()> {
    loop {
        let status = client.status(args.virtual_server.as_deref()).await?;
        // None when standard output is not a terminal, zero when the terminal does not know.
        let width = Table::new().width().filter(|width| *width > 0);
        if args.json {
            output::print_json(&status)?;
        } else if args.watch && width.is_some() {
            // Home, the picture, and away with what is left of the last one: no flicker.
            let picture = table::render(&status, width).replace('\n', "\x1b[K\n");
            output::print(&format!("\x1b[H{picture}\x1b[J"))?;
        } else {
            output::print(&table::render(&status, width))?;
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(REDRAW).await;
    }
}
