//! The configuration of VRRP as it is meant: always valid, every default filled in, every name resolved.

use std::{fmt, net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use super::{
    vrrp_key::{Authentication, Hmac, Key, Mode},
    vrrp_mac::VirtualMac,
    vrrp_routes::{RouteKind, VirtualRoute, VirtualRule},
    vrrp_track::{File, Kind, Process, Script, Tracked},
};

/// Everything that concerns VRRP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vrrp {
    /// In the order of the file; no two with one name, or one virtual router id on one interface and family.
    pub instances: Vec<VrrpInstance>,
    /// No instance is in two of them.
    pub sync_groups: Vec<SyncGroup>,
    /// Unique by name.
    pub scripts: Vec<Script>,
    /// Unique by name.
    pub processes: Vec<Process>,
    /// Unique by name.
    pub files: Vec<File>,
    /// How long nobody is elected after the daemon has become ready: until switches have learned the links.
    pub startup_delay: Duration,
}

impl Vrrp {
    /// Whether some instance tracks this virtual server.
    #[must_use]
    pub fn tracks(&self, virtual_server: &str) -> bool {
        let mut tracked = self.instances.iter().flat_map(|each| &each.trackers);
        tracked.any(|each| each.kind == Kind::VirtualServer && each.name == virtual_server)
    }

    /// The virtual MAC addresses.
    pub fn virtual_macs(&self) -> impl Iterator<Item = &VirtualMac> {
        self.instances.iter().filter_map(|each| each.virtual_mac.as_ref())
    }

    /// The sync group of an instance.
    #[must_use]
    pub fn group_of(&self, instance: &str) -> Option<&SyncGroup> {
        self.sync_groups.iter().find(|group| group.group.iter().any(|name| name == instance))
    }

    /// Whether there is anything to be run when a state changes.
    #[must_use]
    pub fn notifies(&self) -> bool {
        let instances = self.instances.iter().map(|each| &each.notify);
        let mut all = instances.chain(self.sync_groups.iter().map(|group| &group.notify));
        all.any(|notify| *notify != Notify::default())
    }
}

/// `[[vrrp_instance]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpInstance {
    /// Unique.
    pub name: String,
    /// Where advertisements are sent and heard.
    pub interface: String,
    /// Shared by all routers of one virtual router, 1..=255.
    pub virtual_router_id: u8,
    /// Before trackers add to it; never 0.
    pub priority: Priority,
    /// Version 2 is for IPv4 only.
    pub version: Version,
    /// Version 2: whole seconds, 1 s..=255 s. Version 3: 10 ms..=40.95 s in steps of 10 ms.
    pub advert_interval: Duration,
    /// A MAC address of the virtual router, on a device of its own, where its addresses are put.
    pub virtual_mac: Option<VirtualMac>,
    /// At least one. The family of the first is the family of the advertisements; addresses of the other
    /// family, and those beyond [`MAX_ADVERTISED`], are held without being advertised.
    pub virtual_ipaddress: Vec<VirtualAddress>,
    /// What a master puts after its addresses and removes before them.
    pub virtual_routes: Vec<VirtualRoute>,
    /// As `virtual_routes`, after them.
    pub virtual_rules: Vec<VirtualRule>,
    /// Whether a master of lower priority is replaced; the owner always does.
    pub preempt: bool,
    /// How long a master of lower priority is left in place first.
    pub preempt_delay: Duration,
    /// Multicast when empty; of the family of the advertisements.
    pub unicast_peers: Vec<IpAddr>,
    /// The interface's primary address when none (link-local for IPv6).
    pub source_address: Option<IpAddr>,
    /// IPv4 with version 3 only.
    pub checksum: Checksum,
    /// Nothing is authenticated when none.
    pub authentication: Option<Authentication>,
    /// Beside `interface`, which is always tracked and always a fault. What its sync group tracks comes last.
    pub trackers: Vec<Tracked>,
    /// How its addresses are announced.
    pub announce: Announce,
    /// What is run when the state changes.
    pub notify: Notify,
}

/// How many addresses the count field of an advertisement can hold.
pub const MAX_ADVERTISED: usize = 255;

impl VrrpInstance {
    /// Whether the advertisements are IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.virtual_ipaddress.first().is_some_and(|first| first.address.addr().is_ipv6())
    }

    /// The addresses that an advertisement lists.
    pub fn advertised(&self) -> impl Iterator<Item = IpAddr> {
        self.virtual_ipaddress
            .iter()
            .map(|each| each.address.addr())
            .filter(|address| address.is_ipv6() == self.is_ipv6())
            .take(MAX_ADVERTISED)
    }
}

/// The priority of a router, as in an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(pub u8);

impl Priority {
    /// Sent by a master that gives up its role.
    pub const RESIGN: Self = Self(0);
    /// The router whose own addresses the virtual ones are; trackers do not change it.
    pub const OWNER: Self = Self(255);
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The protocol's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// RFC 3768.
    V2,
    /// RFC 9568.
    V3,
}

/// What the checksum of a version 3 advertisement over IPv4 covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// The pseudo-header too, as keepalived and FRR do.
    PseudoHeader,
    /// The message alone, as RFC 9568 and most vendors do.
    Rfc9568,
}

/// A virtual address and where it is put.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualAddress {
    /// With the prefix length it gets on the device.
    pub address: IpNet,
    /// `dev` of the entry, else the device of the virtual MAC address, else the instance's interface.
    pub device: String,
    /// `scope` of the entry, else global.
    pub scope: Scope,
}

/// How far an address is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// Inside the site.
    Site,
    /// On the link.
    Link,
    /// On this host.
    Host,
}

/// How virtual addresses are announced to the neighbours: gratuitous ARP, unsolicited neighbour advertisements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Each so many times in a burst, at least once.
    pub repeat: u32,
    /// From the first burst of a new master to its second, and at least between any two. At least a second.
    pub delay: Duration,
    /// Between later bursts, at least a second; zero: there are none.
    pub refresh: Duration,
}

impl Default for Announce {
    fn default() -> Self {
        Self { repeat: 5, delay: Duration::from_secs(5), refresh: Duration::ZERO }
    }
}

/// Commands run without a shell, with the arguments type, name, state and priority appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// On becoming master; empty runs nothing, here as below.
    pub master: Vec<String>,
    /// On becoming backup.
    pub backup: Vec<String>,
    /// On a fault.
    pub fault: Vec<String>,
    /// When the process or the instance ends.
    pub stop: Vec<String>,
    /// On every change, stop too.
    pub any: Vec<String>,
}

/// `[[vrrp_sync_group]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroup {
    /// Unique.
    pub name: String,
    /// Names of its instances, at least one. Ties are broken on the first that hears one.
    pub group: Vec<String>,
    /// What is run when all of them have changed to one state.
    pub notify: Notify,
}
