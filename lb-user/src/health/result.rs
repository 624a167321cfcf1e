//! What a check found, in the form that status, events and metrics show.

use std::{io, time::Duration};

use nix::errno::Errno;
use serde::Serialize;

/// The end of one run of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum CheckResult {
    /// The server does what it should.
    Success {
        /// Such as `200 in 1.2 ms`.
        detail: String,
        /// The weight that a script asks for.
        weight: Option<u16>,
    },
    /// The server does not do what it should.
    Failure {
        /// Such as `connection refused` or `timed out after 1 s (connected, no response)`.
        reason: String,
        /// Whether anything came back at all: a refusal shows that the network between us works.
        answered: bool,
    },
    /// The check could not be made for a reason of our own, such as a lack of file descriptors; it says nothing
    /// about the server.
    Error {
        /// Such as `too many open files`.
        reason: String,
    },
}

impl CheckResult {
    /// The text for people.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Success { detail, .. } => detail,
            Self::Failure { reason, .. } | Self::Error { reason } => reason,
        }
    }
}

/// One run of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it found.
    pub result: CheckResult,
    /// From its start to its end.
    pub latency: Duration,
}

/// What a kind of check says when it passed.
pub(super) struct Passed {
    pub(super) detail: String,
    pub(super) weight: Option<u16>,
}

impl Passed {
    pub(super) fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), weight: None }
    }
}

/// What a kind of check says when it did not.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// The server answered, but not as it should.
    Answered(String),
    /// Nothing came back.
    Silent(String),
    /// The check could not be made.
    Ours(String),
}

impl From<Fault> for CheckResult {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Answered(reason) => Self::Failure { reason, answered: true },
            Fault::Silent(reason) => Self::Failure { reason, answered: false },
            Fault::Ours(reason) => Self::Error { reason },
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let Some(code) = error.raw_os_error() else {
            return Self::Answered(match error.kind() {
                io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
                _ => error.to_string(),
            });
        };
        let errno = Errno::from_raw(code);
        let text = errno.desc().to_lowercase();
        match errno {
            // Limits, permissions and missing protocols of this machine.
            Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOMEM
            | Errno::ENOBUFS
            | Errno::EAGAIN
            | Errno::EACCES
            | Errno::EPERM
            | Errno::EADDRNOTAVAIL
            | Errno::EAFNOSUPPORT
            | Errno::EPROTONOSUPPORT => Self::Ours(text),
            Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::EPIPE | Errno::EPROTO => Self::Answered(text),
            _ => Self::Silent(text),
        }
    }
}

/// A duration as status shows it: `1.2 ms`, `100 ms`, `1 s`, `2.5 s`.
pub(super) fn human(duration: Duration) -> String {
    let (value, unit) = if duration < Duration::from_secs(1) {
        (duration.as_secs_f64() * 1000.0, "ms")
    } else {
        (duration.as_secs_f64(), "s")
    };
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (micros, text) in
            [(1_234, "1.2 ms"), (100_000, "100 ms"), (40, "0 ms"), (1_000_000, "1 s"), (2_500_000, "2.5 s")]
        {
            assert_eq!(human(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn what_this_machine_lacks_is_not_blamed_on_the_server() {
        let fault = |errno: Errno| Fault::from(io::Error::from(errno));
        assert_eq!(fault(Errno::EMFILE), Fault::Ours("too many open files".into()));
        assert_eq!(fault(Errno::ECONNREFUSED), Fault::Answered("connection refused".into()));
        assert_eq!(fault(Errno::EHOSTUNREACH), Fault::Silent("no route to host".into()));
    }
}
