//! The ordered way from what the maps hold to what they should hold.

use std::collections::BTreeMap;

use lb_common::{
    addr::{V4, V6},
    hash::HashKey,
    mark::{MarkPrefix, MarkRule},
    service::{Interface, RealServer, ServiceKey, VipKey, VirtualServer, real_server},
    virtual_mac::VirtualMacKey,
    vlan::VlanKey,
};

use super::{table::TableInput, wanted::Wanted};

/// What becomes of one entry; both values are there so that it can be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<K, V> {
    /// Which entry.
    pub key: K,
    /// What it holds; none when it is not there.
    pub old: Option<V>,
    /// What it is to hold; none removes it.
    pub new: Option<V>,
}

impl<K, V> Change<K, V> {
    fn inverse(self) -> Self {
        Self { key: self.key, old: self.new, new: self.old }
    }
}

/// One write to one map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The settings: the hash key, the ticks a second, the flags; always there.
    Settings(Change<(), (HashKey, u32, u32)>),
    /// A word of the filter before all tables, and bits to be set there. Nothing takes them back: connections may have been
    /// opened by what is taken back, and bits too many cost time only.
    Concern(u32, u64),
    /// By interface index.
    Interface(Change<u32, Interface>),
    /// By interface and tags -> index of the VLAN device.
    Vlan(Change<VlanKey, u32>),
    /// By interface and the end of the address -> slot of the lease.
    VirtualMac(Change<VirtualMacKey, u32>),
    /// By real server index.
    RealServer(Change<u32, RealServer>),
    /// By virtual server index.
    Scheduling(Change<u32, TableInput>),
    /// By virtual server index.
    VirtualServer(Change<u32, VirtualServer>),
    /// By virtual server index.
    Name(Change<u32, String>),
    /// Real server -> what its packets come from.
    ReverseV4(Change<ServiceKey<V4>, ServiceKey<V4>>),
    /// Real server -> what its packets come from.
    ReverseV6(Change<ServiceKey<V6>, ServiceKey<V6>>),
    /// Address, port and protocol -> virtual server index.
    ServiceV4(Change<ServiceKey<V4>, u32>),
    /// Address, port and protocol -> virtual server index.
    ServiceV6(Change<ServiceKey<V6>, u32>),
    /// Destination -> rules of firewall marks.
    MarksV4(Change<MarkPrefix<V4>, Vec<MarkRule<V4>>>),
    /// Destination -> rules of firewall marks.
    MarksV6(Change<MarkPrefix<V6>, Vec<MarkRule<V6>>>),
    /// An address that is listened on -> slot of its lease.
    VipV4(Change<VipKey<V4>, u32>),
    /// An address that is listened on -> slot of its lease.
    VipV6(Change<VipKey<V6>, u32>),
}

impl Write {
    /// The write that takes this one back.
    #[must_use]
    pub fn inverse(self) -> Self {
        match self {
            Self::Settings(change) => Self::Settings(change.inverse()),
            Self::Concern(..) => self,
            Self::Interface(change) => Self::Interface(change.inverse()),
            Self::Vlan(change) => Self::Vlan(change.inverse()),
            Self::VirtualMac(change) => Self::VirtualMac(change.inverse()),
            Self::RealServer(change) => Self::RealServer(change.inverse()),
            Self::Scheduling(change) => Self::Scheduling(change.inverse()),
            Self::VirtualServer(change) => Self::VirtualServer(change.inverse()),
            Self::Name(change) => Self::Name(change.inverse()),
            Self::ReverseV4(change) => Self::ReverseV4(change.inverse()),
            Self::ReverseV6(change) => Self::ReverseV6(change.inverse()),
            Self::ServiceV4(change) => Self::ServiceV4(change.inverse()),
            Self::ServiceV6(change) => Self::ServiceV6(change.inverse()),
            Self::MarksV4(change) => Self::MarksV4(change.inverse()),
            Self::MarksV6(change) => Self::MarksV6(change.inverse()),
            Self::VipV4(change) => Self::VipV4(change.inverse()),
            Self::VipV6(change) => Self::VipV6(change.inverse()),
        }
    }
}

/// The writes from `old` to `new`, none when they are equal.
///
/// After every write a scheduling table names only real servers that are there, a virtual server has a scheduling table,
/// and a service or a mark points to a virtual server that is there: what others refer to is added first and removed last.
/// The filter lets through whatever may concern any of them.
#[must_use]
pub fn diff(old: &Wanted, new: &Wanted) -> Vec<Write> {
    let mut steps = Steps::default();
    let settings = |wanted: &Wanted| (wanted.hash_key, wanted.ticks_per_second, wanted.flags);
    if settings(old) != settings(new) {
        let change = Change { key: (), old: Some(settings(old)), new: Some(settings(new)) };
        steps.puts.push(Write::Settings(change));
    }
    for (&word, &bits) in &new.concerns {
        if bits & !old.concerns.get(&word).copied().unwrap_or(0) != 0 {
            steps.puts.push(Write::Concern(word, bits));
        }
    }
    steps.compare(&old.interfaces, &new.interfaces, Write::Interface);
    steps.compare(&old.vlans, &new.vlans, Write::Vlan);
    steps.compare(&old.virtual_macs, &new.virtual_macs, Write::VirtualMac);
    steps.compare(&old.real_servers, &new.real_servers, Write::RealServer);
    steps.compare(&old.scheduling, &new.scheduling, Write::Scheduling);
    steps.compare(&old.virtual_servers, &new.virtual_servers, Write::VirtualServer);
    steps.compare(&old.names, &new.names, Write::Name);
    steps.compare(&old.v4.reverse, &new.v4.reverse, Write::ReverseV4);
    steps.compare(&old.v6.reverse, &new.v6.reverse, Write::ReverseV6);
    steps.compare(&old.v4.services, &new.v4.services, Write::ServiceV4);
    steps.compare(&old.v6.services, &new.v6.services, Write::ServiceV6);
    // Narrow prefixes are put first and removed last: a destination has its old rules or its new ones.
    steps.compare(&old.v4.marks, &new.v4.marks, Write::MarksV4);
    steps.compare(&old.v6.marks, &new.v6.marks, Write::MarksV6);
    steps.compare(&old.v4.vips, &new.v4.vips, Write::VipV4);
    steps.compare(&old.v6.vips, &new.v6.vips, Write::VipV6);
    steps.puts.extend(steps.removals.into_iter().rev());
    steps.puts
}

/// Whether connections must look again at their route and their real server.
#[must_use]
pub fn needs_new_generation(writes: &[Write]) -> bool {
    // What packets do not ask for makes none of them look again.
    let flags =
        |server: &Option<RealServer>| server.as_ref().map(|server| server.flags & !real_server::ALIVE);
    writes.iter().any(|write| match write {
        Write::Interface(_) => true,
        Write::RealServer(change) => flags(&change.old) != flags(&change.new),
        // Another lease decides whether its connections are ours.
        Write::VipV4(Change { old, new, .. }) => old.is_some() && new.is_some(),
        Write::VipV6(Change { old, new, .. }) => old.is_some() && new.is_some(),
        Write::Settings(_)
        | Write::Concern(..)
        | Write::Vlan(_)
        | Write::VirtualMac(_)
        | Write::Scheduling(_)
        | Write::VirtualServer(_)
        | Write::Name(_)
        | Write::ReverseV4(_)
        | Write::ReverseV6(_)
        | Write::ServiceV4(_)
        | Write::ServiceV6(_)
        | Write::MarksV4(_)
        | Write::MarksV6(_) => false,
    })
}

/// Writes in the order in which entries are added; removals go the other way, when all the rest is done.
#[derive(Default)]
struct Steps {
    puts: Vec<Write>,
    removals: Vec<Write>,
}

impl Steps {
    fn compare<K, V>(&mut self, old: &BTreeMap<K, V>, new: &BTreeMap<K, V>, write: fn(Change<K, V>) -> Write)
    where
        K: Clone + Ord,
        V: Clone + PartialEq,
    {
        let mut remove = |(key, value): (&K, &V)| {
            self.removals.push(write(Change { key: key.clone(), old: Some(value.clone()), new: None }));
        };
        // Side by side: both are in the order of their keys.
        let mut old = old.iter().peekable();
        for (key, value) in new {
            while let Some(gone) = old.next_if(|(known, _)| *known < key) {
                remove(gone);
            }
            let known = old.next_if(|(known, _)| *known == key).map(|(_, value)| value);
            if known != Some(value) {
                let change = Change { key: key.clone(), old: known.cloned(), new: Some(value.clone()) };
                self.puts.push(write(change));
            }
        }
        old.for_each(remove);
    }
}
