//! Where a virtual router can be, and the words for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a virtual router is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not started, or stopped.
    Init,
    /// Listens to a master.
    Backup,
    /// Owns the addresses.
    Master,
    /// Something that is tracked is down.
    Fault,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Init, Self::Backup, Self::Master, Self::Fault];

    /// In status, metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup => "backup",
            Self::Master => "master",
            Self::Fault => "fault",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
