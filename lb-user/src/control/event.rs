//! What happened, as `xlb events` tells it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, by the wall clock.
    #[serde(with = "humantime_serde")]
    pub at: SystemTime,
    /// Of which kind.
    pub kind: Kind,
    /// To what, such as `web/web1`.
    pub object: String,
    /// In words.
    pub message: String,
}

/// Kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A check's result differs from the one before.
    Check,
    /// A real server's state.
    State,
    /// A virtual server's quorum was met or lost.
    Quorum,
    /// A VRRP transition.
    Vrrp,
    /// Something was changed by hand and put right.
    Reconcile,
    /// The configuration was read.
    Reload,
    /// Somebody's command.
    Command,
}

/// Events for one reader.
#[derive(Debug)]
pub struct Feed {
    /// What happened lately, oldest first.
    pub past: Vec<Event>,
    /// What happens from now on, when that was asked for.
    pub live: Option<broadcast::Receiver<Event>>,
}
