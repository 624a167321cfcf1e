//! What is shown of VRRP: one entry for every instance, as in the `vrrp` array of the status.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    config::vrrp::Priority,
    vrrp::{
        reject::{Mismatch, Reject},
        state::State,
    },
};

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceStatus {
    /// From the configuration.
    pub name: String,
    /// Where it is.
    pub state: State,
    /// What it advertises, after trackers.
    pub priority: Priority,
    /// Who is master as far as it knows.
    pub master: Option<IpAddr>,
    /// The virtual addresses with their prefix.
    pub addresses: Vec<String>,
    /// How often it became master or ceased to be.
    pub transitions: u64,
    /// Whether something that it tracks is down or has said nothing yet.
    pub blocked: bool,
    /// Advertisements.
    pub adverts: Adverts,
    /// Routers that were heard, by address.
    pub peers: BTreeMap<IpAddr, Peer>,
}

/// Counters of advertisements since the start of the instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adverts {
    /// Sent.
    pub sent: u64,
    /// Not sent because the kernel refused.
    pub failed: u64,
    /// Heard, and taken into account.
    pub received: u64,
    /// Dropped, by reason.
    pub rejected: BTreeMap<Reject, u64>,
}

/// What is known of another router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// What it advertised last.
    pub priority: Priority,
    /// How its configuration differs from ours.
    pub mismatches: Vec<Mismatch>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_has_the_names_that_users_know() {
        let status = InstanceStatus {
            name: "outside".into(),
            state: State::Master,
            priority: Priority(100),
            master: Some([198, 51, 100, 1].into()),
            addresses: vec!["192.0.2.10/24".into()],
            transitions: 1,
            blocked: false,
            adverts: Adverts { rejected: [(Reject::HopLimit, 2)].into(), ..Adverts::default() },
            peers: BTreeMap::new(),
        };
        let json = serde_json::to_string(&status).unwrap();
        let wanted = r#"{"name":"outside","state":"master","priority":100,"master":"198.51.100.1","addresses":["192.0.2.10/24"],"transitions":1,"blocked":false,"adverts":{"sent":0,"failed":0,"received":0,"rejected":{"hop-limit":2}},"peers":{}}"#;
        assert_eq!(json, wanted);
    }
}
