//! Runs one check once: its kind asks, one deadline bounds it, one report comes out.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{
    dns, http, ping,
    result::{CheckResult, Fault, Passed, Report, human},
    script::{self, ScriptUser},
    smtp, tcp,
    tls::TlsConfigs,
    udp,
};
use crate::{
    config::model::{Check, CheckKind},
    health::http::Patterns,
};

/// What all checks share.
pub struct Context {
    script_user: ScriptUser,
    tls: TlsConfigs,
    patterns: Patterns,
}

impl Context {
    /// Looks up `global.script_user`; a name that does not exist is reported by each script check.
    #[must_use]
    pub fn new(script_user: &str) -> Self {
        Self {
            script_user: ScriptUser::find(script_user),
            tls: TlsConfigs::default(),
            patterns: Patterns::default(),
        }
    }

    /// Forgets what was read from files and compiled; the next checks do it again.
    pub(super) fn refresh(&self) {
        self.tls.clear();
        self.patterns.clear();
    }
}

/// How far a check has come, for the text of a time-out.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Connecting,
    Connected,
    Handshake,
    Body,
    Sent,
    /// Datagrams came back, none was the reply.
    Unrelated,
    /// An ICMP error may still come; silence is good.
    Listening,
    Script,
}

impl Stage {
    /// Whether something has come back from the server.
    fn answered(self) -> bool {
        match self {
            Self::Connecting | Self::Sent | Self::Listening | Self::Script => false,
            Self::Connected | Self::Handshake | Self::Body | Self::Unrelated => true,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "not connected",
            Self::Connected => "connected, no response",
            Self::Handshake => "connected, TLS handshake incomplete",
            Self::Body => "response begun, body incomplete",
            Self::Sent => "no reply",
            Self::Unrelated => "no reply to the question",
            Self::Listening => "no error",
            Self::Script => "killed",
        })
    }
}

/// Runs `check` once, for no longer than its time-out.
pub async fn run(check: &Check, context: &Context) -> Report {
    let started = now();
    let mut stage = Stage::Connecting;
    let found = tokio::time::timeout(check.timeout, ask(check, context, &mut stage)).await;
    let latency = now() - started;
    let result = match found {
        Ok(Ok(Passed { detail, weight })) => {
            CheckResult::Success { detail: format!("{detail} in {}", human(latency)), weight }
        }
        Ok(Err(fault)) => fault.into(),
        Err(_) => timed_out(stage, check.timeout),
    };
    Report { result, latency }
}

async fn ask(check: &Check, context: &Context, stage: &mut Stage) -> Result<Passed, Fault> {
    let target = check.target;
    match &check.kind {
        CheckKind::Tcp => tcp::check(target, stage).await,
        CheckKind::Http(http) => http::check(http, target, &context.tls, &context.patterns, stage).await,
        CheckKind::Udp { payload, require_reply } => udp::check(payload, *require_reply, target, stage).await,
        CheckKind::Dns { name, record } => dns::check(name, record, target, stage).await,
        CheckKind::Smtp { helo } => smtp::check(helo, target, stage).await,
        CheckKind::Ping => ping::check(target.ip(), stage).await,
        CheckKind::Script { command, dynamic_weight } => {
            script::check(command, *dynamic_weight, target, &context.script_user, stage).await
        }
    }
}

fn timed_out(stage: Stage, timeout: Duration) -> CheckResult {
    match stage {
        Stage::Listening => {
            CheckResult::Success { detail: format!("{stage} in {}", human(timeout)), weight: None }
        }
        _ => CheckResult::Failure {
            reason: format!("timed out after {} ({stage})", human(timeout)),
            answered: stage.answered(),
        },
    }
}

#[expect(clippy::disallowed_methods, reason = "this driver measures how long a check takes")]
fn now() -> Instant {
    Instant::now()
}
