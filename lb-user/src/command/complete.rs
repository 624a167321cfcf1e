//! Completion in the shell: verbs and options from the definition, names from the running daemon.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use clap_complete::{CompleteEnv, engine::CompletionCandidate};

use super::{SOCKET, definition, wait_for};
use crate::control::{client::Client, status::Status};

/// Nobody waits longer for a tabulator.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers and ends the process when a shell asks for completions; else does nothing.
pub(super) fn answer_shell() {
    CompleteEnv::with_factory(definition).complete();
}

/// Names of virtual servers.
pub(super) fn virtual_servers(typed: &OsStr) -> Vec<CompletionCandidate> {
    matching(typed, |status| {
        status.virtual_servers.iter().map(|virtual_server| virtual_server.name.clone()).collect()
    })
}

/// Names of real servers, as `VS/RS`.
pub(super) fn real_servers(typed: &OsStr) -> Vec<CompletionCandidate> {
    matching(typed, |status| {
        let pools = status.virtual_servers.iter();
        pools.flat_map(|vs| vs.real_servers.iter().map(|rs| format!("{}/{}", vs.name, rs.name))).collect()
    })
}

/// Names of VRRP instances.
pub(super) fn vrrp_instances(typed: &OsStr) -> Vec<CompletionCandidate> {
    matching(typed, |status| status.vrrp.iter().map(|instance| instance.name.clone()).collect())
}

/// Names of virtual servers and of real servers.
pub(super) fn scopes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let mut names = virtual_servers(typed);
    names.append(&mut real_servers(typed));
    names
}

fn matching(typed: &OsStr, names: impl Fn(&Status) -> Vec<String>) -> Vec<CompletionCandidate> {
    let client = Client::new(socket(env::args_os()));
    let status = wait_for(async { Ok(tokio::time::timeout(PATIENCE, client.status(None)).await??) });
    let Ok(status) = status else { return Vec::new() };
    let typed = typed.to_string_lossy();
    names(&status)
        .into_iter()
        .filter(|name| name.starts_with(&*typed))
        .map(CompletionCandidate::new)
        .collect()
}

/// The socket that was typed: nothing is parsed yet when a shell asks.
fn socket(arguments: impl Iterator<Item = OsString>) -> PathBuf {
    let mut from_option = arguments.skip_while(|argument| argument != "-s" && argument != "--socket").skip(1);
    from_option.next().map_or_else(|| SOCKET.into(), PathBuf::from)
}
