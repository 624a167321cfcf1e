//! What instances of VRRP track, as it is meant.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// Something whose state moves the priority of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// Zero: down is a fault. Positive: added while up. Negative: added while down. -253..=253. What a file adds is its
    /// number times this.
    pub weight: i16,
}

/// What can be tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An interface is up while it has a carrier.
    Interface,
    /// `[[vrrp_script]]`.
    Script,
    /// A virtual server is up while it has its quorum.
    VirtualServer,
    /// `[[vrrp_process]]`.
    Process,
    /// `[[vrrp_file]]`.
    File,
}

impl Kind {
    /// In logs, metrics and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Script => "script",
            Self::VirtualServer => "virtual server",
            Self::Process => "process",
            Self::File => "file",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// `[[vrrp_script]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Unique.
    pub name: String,
    /// Program and arguments, no shell; exit code 0 is up.
    pub command: Vec<String>,
    /// Time between the starts of two runs.
    pub interval: Duration,
    /// After this it is killed and counts as down.
    pub timeout: Duration,
    /// Successes in a row that bring it up, at least 1.
    pub rise: u32,
    /// Failures in a row that take it down, at least 1.
    pub fall: u32,
}

/// `[[vrrp_process]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Unique.
    pub name: String,
    /// Which processes count, never empty. One word without `/` is a process's name as the kernel knows it, of which it
    /// keeps 15 bytes. Else the beginning of a command line; its program is compared without its path where there is none
    /// here.
    pub process: Vec<String>,
    /// It is up while at least so many run.
    pub quorum: u32,
    /// A change counts when it has lasted so long.
    pub delay: Duration,
}

/// `[[vrrp_file]]`. It holds a whole number in decimal digits, with or without a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Unique.
    pub name: String,
    /// Absolute.
    pub file: PathBuf,
}
