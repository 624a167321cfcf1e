//! `xlb run`.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::daemon::{self, RunOptions};

/// Run the daemon in the foreground; it logs to standard error
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/xlb/xlb.toml")]
    config: PathBuf,
    /// Log more; twice: everything (RUST_LOG overrides it)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

pub(super) fn run(args: Args, socket: Option<PathBuf>) -> anyhow::Result<()> {
    let level = match args.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    log.with_ansi(io::stderr().is_terminal()).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(daemon::run(RunOptions { config: args.config, socket }))
}
