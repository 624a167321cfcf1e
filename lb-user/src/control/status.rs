//! The reply of `xlb status`: its JSON is a stable interface.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::SystemTime};

use serde::{Deserialize, Serialize};

pub use crate::{
    pool::RealServerState,
    vrrp::{
        state::State as VrrpState,
        status::{
            Adverts as VrrpAdverts, Peer as VrrpPeer, TrackerState as VrrpTrackerState,
            TrackerStatus as VrrpTracker, VirtualMacStatus,
        },
    },
};

/// The daemon at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `global.router_id`.
    pub name: String,
    /// Of the configuration; grows with every change, for compare-and-set.
    pub generation: u64,
    /// Packets and tables.
    pub data_plane: DataPlane,
    /// In the order of the configuration.
    pub virtual_servers: Vec<VirtualServer>,
    /// In the order of the configuration.
    pub vrrp: Vec<Vrrp>,
}

/// Packets and tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPlane {
    /// Where the program is attached.
    pub interfaces: Vec<Interface>,
    /// The connection table.
    pub connections: Connections,
    /// Packets by what became of them.
    pub outcomes: BTreeMap<String, u64>,
    /// What was changed by hand and put right, by its kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reconciled: BTreeMap<String, u64>,
}

/// An interface the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
}

/// Fill of the connection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Open in one direction at least.
    pub established: u64,
    /// Closed in both directions, not forgotten yet.
    pub closing: u64,
    /// Not answered yet.
    pub half_open: u64,
    /// Of all these, those whose client is on the link of its real server, which sees them come from this machine.
    pub source_nat: u64,
    /// Entries there is room for.
    pub capacity: u64,
}

/// A virtual server and its pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualServer {
    /// Unique.
    pub name: String,
    /// As configured, or `fwmark 7`.
    pub address: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// As configured.
    pub scheduler: String,
    /// Whether its quorum is met.
    pub state: VirtualServerState,
    /// Sums of weights.
    pub quorum: Quorum,
    /// Clients that persistence binds to a real server, as last counted; none without persistence.
    pub persistent_clients: Option<u64>,
    /// Of all its real servers.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// In the order of the configuration, then those that were added.
    pub real_servers: Vec<RealServer>,
}

/// Whether the quorum is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VirtualServerState {
    /// It is.
    Up,
    /// It is not; the sorry server serves if there is one.
    Down,
}

/// Sums of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// At least this.
    pub need: u32,
    /// Of the real servers that are up.
    pub have: u32,
}

/// Counters since the data plane was loaded, except `connections`, which is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Open now.
    pub connections: u64,
    /// From clients.
    pub packets_in: u64,
    /// To clients.
    pub packets_out: u64,
    /// From clients, bytes of IP packets.
    pub bytes_in: u64,
    /// To clients, bytes of IP packets.
    pub bytes_out: u64,
    /// Opened so far.
    pub new_connections: u64,
}

/// A real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServer {
    /// Unique in its virtual server.
    pub name: String,
    /// Address and port.
    pub address: String,
    /// What it gets.
    pub state: RealServerState,
    /// In force.
    pub weight: u16,
    /// By the file; none when it was added at run time.
    pub configured_weight: Option<u16>,
    /// Its own.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// None when nothing is checked.
    pub check: Option<Check>,
    /// What passive health has taken it out for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive: Option<String>,
}

/// The check that decides, or the worst of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// As configured.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its last result in words, such as `200 in 1.2 ms`.
    pub last: String,
    /// When it last turned good or bad.
    #[serde(with = "humantime_serde")]
    pub since: SystemTime,
}

/// A VRRP instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vrrp {
    /// Unique.
    pub name: String,
    /// Of the state machine.
    pub state: VrrpState,
    /// In force, after trackers.
    pub priority: u8,
    /// By the file.
    pub configured_priority: u8,
    /// Address of the master; none when there is no master.
    pub master: Option<String>,
    /// Virtual addresses as configured.
    pub addresses: Vec<String>,
    /// The MAC address that the virtual addresses have, when it is not the interface's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_mac: Option<VirtualMacStatus>,
    /// Virtual routes, as `ip route` takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Virtual rules, as `ip rule` takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Times it became master or ceased to be.
    pub transitions: u64,
    /// When its state last changed; none before the first change.
    #[serde(with = "humantime_serde")]
    pub since: Option<SystemTime>,
    /// What it tracks, in the order of the configuration.
    #[serde(default)]
    pub trackers: Vec<VrrpTracker>,
    /// Something that it tracks is down or has said nothing yet.
    pub blocked: bool,
    /// Advertisements since the start.
    pub adverts: VrrpAdverts,
    /// Routers that were heard, by address.
    pub peers: BTreeMap<IpAddr, VrrpPeer>,
}

impl fmt::Display for VirtualServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}
