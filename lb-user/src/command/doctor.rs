//! `xlb doctor`.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};

use super::output;
use crate::{
    config::{self, FILE, Host},
    doctor::{self, Finding, Level, facts::Facts},
};

/// Look what this machine lacks for what the configuration says, and say what to do; works without a daemon
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = FILE)]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let (config, _) = config::load(&args.config, &Host::this())?;
    let findings = doctor::examine(&Facts::collect(&config).await?);
    match args.json {
        true => output::print_json(&findings)?,
        false => output::print(&findings.iter().map(lines).collect::<String>())?,
    }
    match findings.iter().filter(|finding| finding.level == Level::Fail).count() {
        0 => Ok(()),
        count => anyhow::bail!("{count} of {} findings must be put right", findings.len()),
    }
}

fn lines(Finding { level, about, found, advice }: &Finding) -> String {
    let (style, word): (Style, _) = match level {
        Level::Ok => (AnsiColor::Green.on_default(), "ok"),
        Level::Warn => (AnsiColor::Yellow.on_default(), "warn"),
        Level::Fail => (AnsiColor::Red.on_default(), "fail"),
    };
    let advice = advice.as_ref().map_or(String::new(), |advice| format!("      {:<12}  -> {advice}\n", ""));
    format!("{style}{word:<4}{style:#}  {about:<12}  {found}\n{advice}")
}
