//! The script check: a command's exit code, without a shell, in a process group that does not outlive it.

use std::{net::SocketAddr, process::Stdio};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::{Pid, User, geteuid},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    probe::Stage,
    result::{Fault, Passed},
};

/// What is kept of a script's output; the rest is read and dropped, so that no script blocks on a full pipe.
const KEPT_OUTPUT: usize = 1024;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who scripts run as.
pub(super) enum ScriptUser {
    /// Who the daemon runs as.
    Same,
    Other(User),
    Missing(String),
}

impl ScriptUser {
    pub(super) fn find(name: &str) -> Self {
        match User::from_name(name) {
            Ok(Some(user)) if user.uid == geteuid() => Self::Same,
            Ok(Some(user)) => Self::Other(user),
            Ok(None) => Self::Missing(format!("user {name}: no such user")),
            Err(error) => Self::Missing(format!("user {name}: {}", error.desc().to_lowercase())),
        }
    }
}

/// Kills the whole group when dropped, whatever way the check ends.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // The leader may have been reaped already; its number stays taken while any of its group lives, and the
        // kernel gives out all others before a freed one.
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}

pub(super) async fn check(
    command: &[String],
    dynamic_weight: bool,
    target: SocketAddr,
    user: &ScriptUser,
    stage: &mut Stage,
) -> Result<Passed, Fault> {
    *stage = Stage::Script;
    let (mut child, group) = spawn(command, target, user)?;
    let output = AbortOnDropHandle::new(tokio::spawn(keep(child.stdout.take())));
    let status = child.wait().await?;
    // What the script has left behind goes, which also ends its output.
    drop(group);
    match status.code() {
        Some(0) => Ok(Passed::new("exit code 0")),
        Some(code @ 2..=255) if dynamic_weight => {
            let weight = u16::try_from(code - 2).ok();
            Ok(Passed { detail: format!("exit code {code}"), weight })
        }
        _ => Err(Fault::Answered(with_output(&status.to_string(), &output.await.unwrap_or_default()))),
    }
}

fn spawn(command: &[String], target: SocketAddr, user: &ScriptUser) -> Result<(Child, Group), Fault> {
    let [program, arguments @ ..] = command else { return Err(Fault::Ours("empty command".to_owned())) };
    let mut spawning = Command::new(program);
    spawning
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("XLB_ADDRESS", target.ip().to_string())
        .env("XLB_PORT", target.port().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    match user {
        ScriptUser::Same => {}
        // The standard library drops the supplementary groups when it leaves root.
        ScriptUser::Other(user) => {
            spawning.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        ScriptUser::Missing(reason) => return Err(Fault::Ours(reason.clone())),
    }
    let child = spawning.spawn().map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
        Fault::Ours(format!("{program}: {}", errno.desc().to_lowercase()))
    })?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = pid.ok_or_else(|| Fault::Ours(format!("{program}: no process id")))?;
    Ok((child, Group(Pid::from_raw(pid))))
}

/// Reads to the end of `output`, returns its beginning.
async fn keep(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut output) = output else { return kept };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        let room = KEPT_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
    kept
}

fn with_output(status: &str, kept: &[u8]) -> String {
    let text = String::from_utf8_lossy(kept);
    match text.lines().next() {
        None | Some("") => status.to_owned(),
        Some(line) => format!("{status}: {}", line.trim_end()),
    }
}
