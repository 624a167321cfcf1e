//! `xlb events`.

use anstyle::Style;

use super::output;
use crate::control::{
    client::{Client, Followed},
    event::{Event, Kind},
};

/// Show what happened lately: checks, states, quorum, VRRP, reloads, commands
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on with what happens from now
    #[arg(short, long)]
    follow: bool,
    /// Print JSON: a list, or with --follow one event per line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(client: &Client, args: &Args) -> anyhow::Result<()> {
    if args.follow {
        return follow(client, args.json).await;
    }
    let events = client.events().await?;
    match args.json {
        true => output::print_json(&events),
        false => Ok(output::print(&events.iter().map(line).collect::<String>())?),
    }
}

async fn follow(client: &Client, json: bool) -> anyhow::Result<()> {
    let mut events = client.follow().await?;
    while let Some(followed) = events.next().await? {
        match followed {
            Followed::Event(event) if json => output::print_json(&event)?,
            Followed::Event(event) => output::print(&line(&event))?,
            Followed::Lost(count) => {
                anstream::eprintln!("xlb: {count} events were lost, they came faster than they were read");
            }
        }
    }
    anyhow::bail!("the daemon at {} ended", client.socket().display())
}

fn line(Event { at, kind, object, message }: &Event) -> String {
    const FAINT: Style = Style::new().dimmed();
    let at = humantime::format_rfc3339_seconds(*at);
    let kind = match kind {
        Kind::Check => "check",
        Kind::State => "state",
        Kind::Quorum => "quorum",
        Kind::Vrrp => "vrrp",
        Kind::Reconcile => "mend",
        Kind::Reload => "reload",
        Kind::Command => "command",
    };
    format!("{FAINT}{at}{FAINT:#}  {kind:<7}  {object}  {message}\n")
}
