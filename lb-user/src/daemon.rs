//! The only place that knows everyone: events in, plan, diff, apply.

use std::path::PathBuf;

/// What `xlb run` is told.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// Instead of the configuration's `api.socket`.
    pub socket: Option<PathBuf>,
}

/// Runs until it is told to stop.
///
/// # Errors
///
/// It cannot start; the running state is as it was before.
#[expect(clippy::unused_async, reason = "the daemon waits for events")]
pub async fn run(options: RunOptions) -> anyhow::Result<()> {
    anyhow::bail!("cannot apply {}: the data plane is not built", options.config.display())
}
