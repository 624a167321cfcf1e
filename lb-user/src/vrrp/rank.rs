//! Which of two masters goes on: the higher priority, then the higher address.

use std::{cmp::Ordering, net::IpAddr};

use crate::config::vrrp::Priority;

/// How a master that is heard compares with this router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// It gives up its role.
    Resigned,
    /// This router outranks it.
    Lower,
    /// Of equal priority, from a lower address (or this router's own).
    TieWon,
    /// Of equal priority, from a higher address.
    TieLost,
    /// It outranks this router.
    Higher,
}

impl Rank {
    /// Of `heard` beside `own`, each with its source address.
    pub(super) fn of(heard: (Priority, IpAddr), own: (Priority, IpAddr)) -> Self {
        if heard.0 == Priority::RESIGN {
            return Self::Resigned;
        }
        match (heard.0.cmp(&own.0), heard.1.cmp(&own.1)) {
            (Ordering::Less, _) => Self::Lower,
            (Ordering::Equal, Ordering::Less | Ordering::Equal) => Self::TieWon,
            (Ordering::Equal, Ordering::Greater) => Self::TieLost,
            (Ordering::Greater, _) => Self::Higher,
        }
    }
}
