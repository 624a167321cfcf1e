//! `xlb unload`.

use std::{
    io::{self, IsTerminal, Write as _},
    path::{Path, PathBuf},
};

use anyhow::anyhow;

use super::output;
use crate::{
    config::{self, FILE, Host, PIN_DIR, STATE_DIR, diagnostic::count, model::Config},
    control::{
        Changes, Write,
        client::{Client, ClientError},
    },
    daemon::unload::{self, Unloaded},
    dataplane::pins::{PinError, Pins, is_pinned},
};

/// Stop forwarding: detach and remove everything, then end the daemon; works without a daemon too
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Do not ask, even when connections would be cut
    #[arg(short, long)]
    yes: bool,
    /// Configuration file that says where things are pinned, when no daemon runs [default: /etc/xlb/xlb.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn run(client: &Client, args: &Args) -> anyhow::Result<()> {
    match through_daemon(client, args.yes).await {
        Err(error) => match error.downcast() {
            Ok(unreachable @ ClientError::Unreachable { .. }) => directly(unreachable, args).await,
            Ok(refused) => Err(refused.into()),
            Err(error) => Err(error),
        },
        done => done,
    }
}

async fn through_daemon(client: &Client, yes: bool) -> anyhow::Result<()> {
    if !yes {
        let open = client.status(None).await?.data_plane.connections.established;
        if open > 0 && !confirmed(&format!("{open} connections are open and will be cut"))? {
            anyhow::bail!("nothing was unloaded: {open} connections are open; --yes cuts them");
        }
    }
    Ok(output::print_changes(&client.write(&Write::Unload, None).await?)?)
}

/// Without the daemon, which may be unable to start because of what is pinned.
async fn directly(unreachable: ClientError, args: &Args) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(anyhow!(unreachable).context("only root can unload without the daemon"));
    }
    let config = configuration(args.config.as_deref())?;
    let (pin_dir, state_dir) = match &config {
        Some(config) => (config.global.pin_dir.clone(), config.global.state_dir.clone()),
        None => (PIN_DIR.into(), STATE_DIR.into()),
    };
    let pins = match is_pinned(&pin_dir).then(|| Pins::open(&pin_dir)).transpose() {
        Err(PinError::Busy(_)) => {
            return Err(anyhow!(unreachable).context(format!("a daemon uses {}", pin_dir.display())));
        }
        pins => pins?,
    };
    if let (false, Some(pins)) = (args.yes, &pins) {
        let interfaces: Vec<String> = pins.links()?.into_iter().map(unload::name).collect();
        let attached = format!("the program is attached to {} and may forward", interfaces.join(", "));
        if !interfaces.is_empty() && !confirmed(&attached)? {
            anyhow::bail!("nothing was unloaded: {attached}; --yes ends that");
        }
    }
    let Unloaded { mut changes, errors } = unload::unload(pins.as_ref(), &state_dir)?;
    changes.extend(unload::devices(config.as_ref()).await);
    match changes.is_empty() {
        true => output::print("nothing is loaded\n")?,
        false => output::print_changes(&Changes { generation: 0, changes })?,
    }
    let failed = errors.len();
    for error in errors {
        output::complain(&error.into());
    }
    anyhow::ensure!(failed == 0, "{} not put back", count(failed, "sysctl"));
    Ok(())
}

/// What says where things are pinned, where originals are kept, and which devices there are: the file; none if there is none,
/// and then they are where they usually are.
fn configuration(file: Option<&Path>) -> anyhow::Result<Option<Config>> {
    let usual = Path::new(FILE);
    if file.is_none() && !usual.exists() {
        return Ok(None);
    }
    Ok(Some(config::load(file.unwrap_or(usual), &Host::this())?.0))
}

/// Asks on a terminal; elsewhere the answer is no.
fn confirmed(what: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    write!(io::stderr(), "{what}. Unload? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
