//! `xlb drain`.

use std::{
    io::{self, IsTerminal, Write as _},
    time::Duration,
};

use clap_complete::engine::ArgValueCompleter;

use super::{Guard, complete, output};
use crate::control::{
    RealServerName, Write,
    client::{Client, ClientError},
};

/// Time between two looks at what is left.
const LOOK: Duration = Duration::from_millis(250);

/// Give a real server no new connections and let those that are there finish
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Virtual server and real server, such as web/web1 or web/10.0.0.11:8080
    #[arg(value_name = "VS/RS", add = ArgValueCompleter::new(complete::real_servers))]
    real_server: RealServerName,
    /// Return when no connection is left
    #[arg(long)]
    wait: bool,
    /// Reset what is left after this time, such as 30s or 5m [default: the virtual server's drain_timeout]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    guard: Guard,
}

/// Connections were left when the time was over.
#[derive(Debug, thiserror::Error)]
#[error("{} at {real_server} after {}", remaining(*left), humantime::format_duration(*timeout))]
pub(super) struct WaitRanOut {
    real_server: RealServerName,
    left: u64,
    timeout: Duration,
}

pub(super) async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let Args { real_server, wait, timeout, guard } = args;
    let write = Write::Drain { real_server: real_server.clone(), timeout };
    output::print_changes(&client.write(&write, guard.generation).await?)?;
    if !wait {
        return Ok(());
    }
    let mut left = connections(client, &real_server).await?;
    let emptied = wait_until_empty(client, &real_server, &mut left);
    match timeout {
        None => emptied.await?,
        Some(timeout) => match tokio::time::timeout(timeout, emptied).await {
            Ok(emptied) => emptied?,
            Err(_) => return Err(WaitRanOut { real_server, left, timeout }.into()),
        },
    }
    Ok(output::print(&format!("{real_server} is drained\n"))?)
}

async fn wait_until_empty(
    client: &Client,
    real_server: &RealServerName,
    left: &mut u64,
) -> Result<(), ClientError> {
    let progress = Progress { visible: io::stderr().is_terminal() };
    while *left > 0 {
        progress.show(*left);
        tokio::time::sleep(LOOK).await;
        *left = connections(client, real_server).await?;
    }
    Ok(())
}

/// A line that is written again and again, and taken away at the end.
struct Progress {
    visible: bool,
}

impl Progress {
    fn show(&self, left: u64) {
        if self.visible {
            // It is a courtesy; the wait goes on without it.
            let _ = write!(io::stderr(), "\r\x1b[K{}", remaining(left));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.visible {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn remaining(left: u64) -> String {
    match left {
        1 => "1 connection left".to_owned(),
        _ => format!("{left} connections left"),
    }
}

/// None are left of a real server that is gone.
async fn connections(client: &Client, name: &RealServerName) -> Result<u64, ClientError> {
    let status = client.status(Some(&name.virtual_server)).await?;
    let mut pool = status.virtual_servers.iter().flat_map(|virtual_server| &virtual_server.real_servers);
    let found = pool.find(|real| real.name == name.real_server || real.address == name.real_server);
    Ok(found.map_or(0, |real_server| real_server.traffic.connections))
}
