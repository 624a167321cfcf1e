//! `xlb unload`.

use std::{
    io::{self, IsTerminal, Write as _},
    path::PathBuf,
};

use super::output;
use crate::{
    control::{Write, client::Client},
    daemon,
};

/// Stop forwarding: detach and remove everything, then end the daemon
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Do not ask, even when connections would be cut
    #[arg(short, long)]
    yes: bool,
    /// Remove what a daemon with this configuration file has left; it must not be running
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    if let Some(config) = &args.config {
        return Ok(output::print_changes(&daemon::unload(config)?)?);
    }
    if !args.yes {
        let open = client.status(None).await?.data_plane.connections.established;
        if open > 0 && !confirmed(open)? {
            anyhow::bail!("nothing was unloaded: {open} connections are open; --yes cuts them");
        }
    }
    Ok(output::print_changes(&client.write(&Write::Unload, None).await?)?)
}

/// Asks on a terminal; elsewhere the answer is no.
fn confirmed(open: u64) -> io::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    write!(io::stderr(), "{open} connections are open and will be cut. Unload? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
