//! Commands run without a shell, as an unprivileged user, in a process group of their own that ends in time.

use std::{process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Gid, Pid, Uid},
};
use tokio::{process::Command, sync::mpsc::Sender, time};

use crate::{
    config::vrrp::{Kind, Script},
    vrrp::{
        tracker::{Reading, Streak},
        watch::Report,
    },
};

/// Who scripts run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptUser {
    /// User.
    pub uid: Uid,
    /// Its primary group; supplementary groups are dropped.
    pub gid: Gid,
}

/// Whether the command ends with exit code 0 within the time.
pub(super) async fn run(
    command: &[String],
    user: Option<ScriptUser>,
    limit: Duration,
) -> Result<(), Failure> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true);
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let mut child = command.spawn().map_err(Failure::Start)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let Ok(ended) = time::timeout(limit, child.wait()).await else {
        if let Some(group) = group {
            // It may have ended meanwhile, which is all that is wanted.
            let _ = killpg(group, Signal::SIGKILL);
        }
        return Err(Failure::Timeout(limit));
    };
    let status = ended.map_err(Failure::Start)?;
    if status.success() { Ok(()) } else { Err(Failure::Status(status)) }
}

/// Why a command counts as failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot be run")]
    Start(#[source] std::io::Error),
    #[error("still running after {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Status(std::process::ExitStatus),
}

/// Runs a tracked script and reports its changes, as long as somebody listens.
pub(super) async fn track(script: Script, user: Option<ScriptUser>, reports: Sender<Report>) {
    let mut ticks = time::interval(script.interval);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut streak = Streak::default();
    loop {
        ticks.tick().await;
        let result = run(&script.command, user, script.timeout).await;
        if let Some(up) = streak.record(result.is_ok(), script.rise, script.fall) {
            let reading = if up { Reading::Up } else { Reading::Down };
            let said = result.err().map_or_else(|| "exit code 0".to_owned(), |failure| failure.to_string());
            if reports.send(Report::new(Kind::Script, &script.name, reading, Some(said))).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    async fn shell(script: &str, limit: Duration) -> Result<(), Failure> {
        run(&["/bin/sh".into(), "-c".into(), script.into()], None, limit).await
    }

    #[tokio::test]
    async fn a_command_succeeds_with_exit_code_0_only() {
        assert!(shell("exit 0", LONG).await.is_ok());
        assert!(matches!(shell("exit 3", LONG).await, Err(Failure::Status(_))));
        assert!(matches!(run(&["/nowhere".into()], None, LONG).await, Err(Failure::Start(_))));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!("sleep 60 & echo $! > {}; wait", file.path().display());
        let result = shell(&script, Duration::from_millis(500)).await;
        assert!(matches!(result, Err(Failure::Timeout(_))));
        let child = std::fs::read_to_string(file.path()).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        while !gone() {
            tokio::task::yield_now().await;
        }
    }
}
