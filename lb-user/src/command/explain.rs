//! `xlb explain`.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::output;
use crate::control::{
    client::Client,
    explain::{Explanation, Question},
};

/// Say which real server a client's new connection would get now, and why; nothing is changed
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The client's address, with a port or without, such as 198.51.100.7 or [2001:db8::7]:40000
    #[arg(value_name = "CLIENT[:PORT]")]
    client: Source,
    /// What it connects to, such as 192.0.2.10:80
    #[arg(value_name = "VIP:PORT")]
    vip: SocketAddr,
    /// Protocol
    #[arg(long, default_value = "tcp", value_parser = ["tcp", "udp"])]
    protocol: String,
    /// Interface on which it arrives [default: the first of global.interfaces]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An address, maybe with a port.
#[derive(Clone, Copy, Debug)]
struct Source(IpAddr, Option<u16>);

impl FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
            (Ok(address), _) => Ok(Self(address.ip(), Some(address.port()))),
            (_, Ok(ip)) => Ok(Self(ip, None)),
            _ => Err("expected an address such as 198.51.100.7, 198.51.100.7:40000 or [2001:db8::7]:40000"),
        }
    }
}

pub(super) async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let Source(address, port) = args.client;
    let udp = args.protocol == "udp";
    let question = Question { client: address, port, vip: args.vip, udp, interface: args.interface };
    let explanation = client.explain(&question).await?;
    match args.json {
        true => output::print_json(&explanation),
        false => Ok(output::print(&text(&explanation))?),
    }
}

fn text(explanation: &Explanation) -> String {
    let Explanation { client, vip, protocol, interface, outcome, .. } = explanation;
    let mut text = format!("packet          {protocol} {client} -> {vip} on {interface}\n");
    let none = "none".to_owned();
    let virtual_server = explanation.virtual_server.as_ref().unwrap_or(&none);
    text += &format!("virtual server  {virtual_server}\n");
    let real_server = match (explanation.real_server, &explanation.name) {
        (Some(address), Some(name)) if *name != address.to_string() => format!("{name} {address}"),
        (Some(address), _) => address.to_string(),
        (None, _) => none,
    };
    text += &format!("real server     {real_server}\noutcome         {outcome}\nwhy\n");
    for reason in &explanation.reasons {
        text += &format!("  {reason}\n");
    }
    text
}
