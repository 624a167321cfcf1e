//! `xlb drops`.

use std::net::{IpAddr, SocketAddr};

use anstyle::Style;

use super::output;
use crate::control::{
    client::Client,
    drops::{Dropped, Fragment, Packet},
};

/// Show packets as they are dropped, 100 a second of each CPU at most, until interrupted
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// End after N packets
    #[arg(short, long, value_name = "N")]
    number: Option<u64>,
    /// Print JSON, one packet per line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(client: &Client, args: &Args) -> anyhow::Result<()> {
    let mut drops = client.drops().await?;
    let mut shown = 0;
    while args.number != Some(shown) {
        let Some(dropped) = drops.next::<Dropped>().await? else {
            anyhow::bail!("the daemon at {} ended", client.socket().display());
        };
        match args.json {
            true => output::print_json(&dropped)?,
            false => output::print(&line(&dropped))?,
        }
        shown += 1;
    }
    Ok(())
}

fn line(dropped: &Dropped) -> String {
    const FAINT: Style = Style::new().dimmed();
    let at = humantime::format_rfc3339_millis(dropped.at);
    let Dropped { interface, outcome, length, missed, .. } = dropped;
    let packet = words(&dropped.packet);
    let missed = if *missed > 0 { format!("  ({missed} before it are not shown)") } else { String::new() };
    format!("{FAINT}{at}{FAINT:#}  {interface:<10}  {outcome:<19}  {packet}, {length} bytes{missed}\n")
}

/// As `tcp 198.51.100.7:40000 > 192.0.2.10:80 SYN,FIN`.
fn words(packet: &Packet) -> String {
    let mut words: Vec<String> = packet.vlans.iter().map(|vlan| format!("vlan {vlan}")).collect();
    words.extend(packet.protocol.clone());
    if let (Some(source), Some(destination)) = (packet.source, packet.destination) {
        let (source, destination) =
            (end(source, packet.source_port), end(destination, packet.destination_port));
        words.push(format!("{source} > {destination}"));
    }
    if !packet.flags.is_empty() {
        words.push(packet.flags.join(","));
    }
    if let Some(Fragment { identification, offset, more }) = packet.fragment {
        let more = if more { "+" } else { "" };
        words.push(format!("fragment {identification} at {offset}{more}"));
    }
    if let Some(reason) = &packet.malformed {
        words.push(format!("[{reason}]"));
    }
    words.join(" ")
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string())
}
