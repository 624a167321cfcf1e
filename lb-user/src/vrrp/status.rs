//! What is shown of VRRP: one entry for every instance, as in the `vrrp` array of the status.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    config::vrrp::{Kind, Priority, Tracked, VirtualMac},
    vrrp::{
        reject::{Mismatch, Reject},
        state::State,
        tracker::{Effect, Reading},
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
    /// The MAC address that its virtual addresses have, when it is not the interface's own.
    pub virtual_mac: Option<VirtualMacStatus>,
    /// Routes that follow it, as `ip route` takes them.
    pub routes: Vec<String>,
    /// Rules that follow it, as `ip rule` takes them.
    pub rules: Vec<String>,
    /// How often it became master or ceased to be.
    pub transitions: u64,
    /// What it tracks, in the order of the configuration.
    pub trackers: Vec<TrackerStatus>,
    /// Whether something that it tracks is down or has said nothing yet.
    pub blocked: bool,
    /// Advertisements.
    pub adverts: Adverts,
    /// Routers that were heard, by address.
    pub peers: BTreeMap<IpAddr, Peer>,
}

/// The MAC address of a virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualMacStatus {
    /// Such as `00:00:5e:00:01:33`.
    pub address: String,
    /// Name of the device that has it.
    pub device: String,
}

impl From<&VirtualMac> for VirtualMacStatus {
    fn from(mac: &VirtualMac) -> Self {
        Self { address: mac.to_string(), device: mac.device.clone() }
    }
}

/// Something that an instance tracks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerStatus {
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// 0 where it is a fault when it is down.
    pub weight: i16,
    /// Whether it counts as up here.
    pub state: TrackerState,
    /// What a file holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i32>,
}

/// How a tracker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackerState {
    /// It has said nothing yet.
    Unknown,
    /// It is, or a file that takes no role away.
    Up,
    /// It is not, or a file that cannot be used or takes the role away.
    Down,
}

impl fmt::Display for TrackerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

impl TrackerStatus {
    /// Of what is tracked, as last read.
    #[must_use]
    pub fn new(tracked: &Tracked, reading: Option<Reading>) -> Self {
        let state = match (Effect::of(tracked.weight, reading), reading) {
            (Effect::Unknown, _) => TrackerState::Unknown,
            (Effect::Fault, _) | (Effect::Adds(_), Some(Reading::Down)) => TrackerState::Down,
            (Effect::Adds(_), _) => TrackerState::Up,
        };
        let number = if let Some(Reading::Number(number)) = reading { Some(number) } else { None };
        let Tracked { kind, name, weight } = tracked.clone();
        Self { kind, name, weight, state, number }
    }
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
            virtual_mac: Some(VirtualMacStatus {
                address: "00:00:5e:00:01:33".into(),
                device: "vrrp.51".into(),
            }),
            routes: vec![],
            rules: vec!["from 192.0.2.10/32 table 100 priority 50".into()],
            transitions: 1,
            trackers: vec![TrackerStatus {
                kind: Kind::File,
                name: "load".into(),
                weight: -1,
                state: TrackerState::Up,
                number: Some(10),
            }],
            blocked: false,
            adverts: Adverts { rejected: [(Reject::HopLimit, 2)].into(), ..Adverts::default() },
            peers: BTreeMap::new(),
        };
        let json = serde_json::to_string(&status).unwrap();
        let wanted = r#"{"name":"outside","state":"master","priority":100,"master":"198.51.100.1","addresses":["192.0.2.10/24"],"virtual_mac":{"address":"00:00:5e:00:01:33","device":"vrrp.51"},"routes":[],"rules":["from 192.0.2.10/32 table 100 priority 50"],"transitions":1,"trackers":[{"kind":"file","name":"load","weight":-1,"state":"up","number":10}],"blocked":false,"adverts":{"sent":0,"failed":0,"received":0,"rejected":{"hop-limit":2}},"peers":{}}"#;
        assert_eq!(json, wanted);
    }
}
