//! `xlb add`.

use std::net::{IpAddr, SocketAddr};

use clap_complete::engine::ArgValueCompleter;

use super::{Guard, complete, output};
use crate::control::{Write, client::Client};

/// Add a real server to a virtual server until `xlb revert`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Virtual server
    #[arg(value_name = "VS", add = ArgValueCompleter::new(complete::virtual_servers))]
    virtual_server: String,
    /// Address and port; without a port the client's destination port is kept
    #[arg(value_parser = address)]
    address: SocketAddr,
    /// 0 to 65535
    #[arg(long, value_name = "N", default_value_t = 1)]
    weight: u16,
    /// Name [default: the address]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    guard: Guard,
}

pub(super) async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let Args { virtual_server, address, weight, name, guard } = args;
    let write = Write::Add { virtual_server, address, weight, name };
    Ok(output::print_changes(&client.write(&write, guard.generation).await?)?)
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let without_port = |_| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
    text.parse()
        .or_else(without_port)
        .map_err(|_| "expected an address such as 10.0.0.13:8080 or [2001:db8::13]:8080")
}
