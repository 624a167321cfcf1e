//! `xlb connections`.

use std::{net::IpAddr, time::Duration};

use clap_complete::engine::ArgValueCompleter;

use super::{complete, output};
use crate::control::{
    client::Client,
    connections::{Connection, Query, State},
};

/// Show connections, half-open ones too, in the order of the tables
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only of this virtual server
    #[arg(value_name = "VS", add = ArgValueCompleter::new(complete::virtual_servers))]
    virtual_server: Option<String>,
    /// Only of this client
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Only to this real server: its name, or its address and port
    #[arg(long, value_name = "RS")]
    real_server: Option<String>,
    /// Only in this state
    #[arg(long, value_name = "STATE", ignore_case = true)]
    state: Option<State>,
    /// At most N; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u64,
    /// Print JSON, one connection per line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let limit = (args.limit > 0).then_some(args.limit);
    let query = Query {
        virtual_server: args.virtual_server,
        client: args.client,
        real_server: args.real_server,
        state: args.state,
        // One more tells whether there are more.
        limit: limit.map(|limit| limit.saturating_add(1)),
    };
    let mut connections = client.connections(&query).await?;
    if !args.json {
        output::print(&row(["PROTO", "CLIENT", "VIP", "REAL SERVER", "STATE", "IDLE", "EXPIRES", "FLAGS"]))?;
    }
    let mut shown = 0;
    while let Some(connection) = connections.next::<Connection>().await? {
        if Some(shown) == limit {
            anstream::eprintln!("xlb: there are more than {shown} connections; --limit shows more, 0 all");
            break;
        }
        match args.json {
            true => output::print_json(&connection)?,
            false => output::print(&line(&connection))?,
        }
        shown += 1;
    }
    Ok(())
}

/// Widths that hold any IPv4 address with its port; longer ones push the rest of their line to the right.
fn row(cells: [&str; 8]) -> String {
    let [protocol, client, vip, real, state, idle, expires, flags] = cells;
    let line = format!(
        "{protocol:<5}  {client:<21}  {vip:<21}  {real:<21}  {state:<11}  {idle:>6}  {expires:>7}  {flags}"
    );
    format!("{}\n", line.trim_end())
}

fn line(connection: &Connection) -> String {
    let marks = [
        (connection.half_open, "half-open"),
        (connection.adopted, "adopted"),
        (connection.source_nat, "source-nat"),
    ];
    let marks: Vec<&str> = marks.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
    let seconds = |seconds| humantime::format_duration(Duration::from_secs(seconds)).to_string();
    row([
        &connection.protocol,
        &connection.client.to_string(),
        &connection.vip.to_string(),
        &connection.real_server.to_string(),
        &connection.state.to_string(),
        &seconds(connection.idle_seconds).replace(' ', ""),
        &seconds(connection.expires_in_seconds).replace(' ', ""),
        &marks.join(","),
    ])
}
