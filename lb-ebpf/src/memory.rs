//! The tables on the host: ordinary collections. The frame is in `frame`.

mod frame;
pub(crate) mod half_open;

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use lb_common::{
    addr::{Protocol, V4, V6},
    connection::{Connection, ConnectionKey, HalfOpen, NextHop},
    counter::{Counter, Row},
    hash::{HashKey, siphash},
    mark::{MarkPrefix, MarkRules},
    service::{Interface, Load, RealServer, ServiceKey, Settings, VirtualServer, lease},
    template::{Template, TemplateKey},
    virtual_mac::VirtualMacKey,
    vlan::VlanKey,
};

use crate::{
    connection::RealAddress,
    desk::{Desk, Workspace},
    forward,
    fragment::{FragmentKey, Ports},
    ip::Ip,
    limit::{ANSWERS, Bucket},
    mark::{self, Question},
    open::{self, Added, Pointed},
    scan,
    select::{self, Selection},
    tables::{Common, Refused, Route, Tables, Way},
    verdict::Verdict,
};

pub use self::{frame::Frame, half_open::HalfOpenTable};

/// [`forward::forward`] on the host. Compiled here once for all who call it.
#[inline(never)]
pub fn forward(frame: &mut Frame<'_>, tables: &mut Memory, workspace: &mut Workspace) -> Verdict {
    forward::forward(frame, tables, workspace)
}

/// Tables of one family.
#[derive(Clone, Debug)]
pub struct Family<A> {
    /// VIPs.
    pub vips: Vec<A>,
    /// Slots of the leases of those that need one.
    pub leased: HashMap<A, u32>,
    /// Services by address and port.
    pub services: HashMap<ServiceKey<A>, u32>,
    /// The reverse index.
    pub reverse: HashMap<ServiceKey<A>, ServiceKey<A>>,
    /// The classifier of firewall marks.
    pub marks: BTreeMap<MarkPrefix<A>, MarkRules<A>>,
    /// Templates of persistence.
    pub templates: HashMap<TemplateKey<A>, Template>,
    /// Established TCP connections.
    pub tcp: HashMap<ConnectionKey<A>, Connection<A>>,
    /// UDP connections.
    pub udp: HashMap<ConnectionKey<A>, Connection<A>>,
    /// Unproven TCP connections.
    pub half_open: HalfOpenTable<A>,
    /// Ports of fragmented packets.
    pub fragments: HashMap<FragmentKey<A>, Ports>,
    /// Routes by destination; others are not forwarded.
    pub routes: HashMap<A, NextHop>,
    /// Destinations that have a route but whose neighbour is unknown.
    pub unresolved: Vec<A>,
}

impl<A> Default for Family<A> {
    fn default() -> Self {
        Self {
            vips: Vec::new(),
            leased: HashMap::new(),
            services: HashMap::new(),
            reverse: HashMap::new(),
            marks: BTreeMap::new(),
            templates: HashMap::new(),
            tcp: HashMap::new(),
            udp: HashMap::new(),
            half_open: HalfOpenTable::default(),
            fragments: HashMap::new(),
            routes: HashMap::new(),
            unresolved: Vec::new(),
        }
    }
}

/// All tables.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The clock, in ticks.
    pub now: u32,
    /// Settings, if they were written.
    pub settings: Option<Settings>,
    /// When leases end, by slot.
    pub leases: BTreeMap<u32, u32>,
    /// Interfaces by index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// VLAN devices by where their frames arrive.
    pub vlans: BTreeMap<VlanKey, u32>,
    /// Slots of the leases of virtual routers' masters.
    pub virtual_macs: BTreeMap<VirtualMacKey, u32>,
    /// Virtual servers by index.
    pub virtual_servers: BTreeMap<u32, VirtualServer>,
    /// Scheduling tables by index of the virtual server, head included.
    pub scheduling: BTreeMap<u32, Vec<u32>>,
    /// Positions in the sequences.
    pub cursors: BTreeMap<u32, Cell<u32>>,
    /// Real servers by index.
    pub real_servers: BTreeMap<u32, RealServer>,
    /// One tick after the established table was last found full.
    pub pressure: u32,
    /// Ways to real servers.
    pub ways: BTreeMap<u32, Way>,
    /// What the next random number is made from.
    pub seed: u64,
    /// Their loads.
    pub loads: BTreeMap<u32, Load>,
    /// Their traffic by row.
    pub traffic: BTreeMap<u32, [Counter; Row::EACH as usize]>,
    /// What is left of the answers that may be given; none is no limit.
    pub answers: Option<Bucket<ANSWERS>>,
    /// Entries the established tables take, each direction counted; none is no limit.
    pub capacity: Option<usize>,
    /// IPv4.
    pub v4: Family<V4>,
    /// IPv6.
    pub v6: Family<V6>,
}

impl Common for Memory {
    fn now(&self) -> u32 {
        self.now
    }

    fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    fn lease(&self, slot: u32) -> u32 {
        self.leases.get(&slot).copied().unwrap_or(lease::NOT_HELD)
    }

    fn interface(&self, index: u32) -> Option<&Interface> {
        self.interfaces.get(&index)
    }

    fn vlan(&self, key: &VlanKey) -> Option<u32> {
        self.vlans.get(key).copied()
    }

    fn virtual_mac(&self, key: &VirtualMacKey) -> Option<u32> {
        self.virtual_macs.get(key).copied()
    }

    fn virtual_server(&self, index: u32) -> Option<&VirtualServer> {
        self.virtual_servers.get(&index)
    }

    fn real_server(&self, index: u32) -> Option<&RealServer> {
        self.real_servers.get(&index)
    }

    fn load(&mut self, index: u32) -> Option<&mut Load> {
        self.loads.get_mut(&index)
    }

    fn scheduling(&self, virtual_server: u32, slot: u32) -> Option<u32> {
        self.scheduling.get(&virtual_server)?.get(slot as usize).copied()
    }

    fn next_turn(&mut self, virtual_server: u32) -> u32 {
        let cursor = self.cursors.entry(virtual_server).or_default();
        let turn = cursor.get();
        cursor.set(turn.wrapping_add(1));
        turn
    }

    fn pressure(&mut self) -> Option<&mut u32> {
        Some(&mut self.pressure)
    }

    fn way(&mut self, real_server: u32) -> Option<&mut Way> {
        Some(self.ways.entry(real_server).or_default())
    }

    fn random(&mut self) -> u32 {
        self.seed = self.seed.wrapping_add(1);
        siphash(HashKey::default(), [self.seed]) as u32
    }

    fn choose(&mut self, selection: &Selection) -> u32 {
        select::choose(self, selection)
    }

    fn may_answer(&mut self, now: u32, ticks_per_second: u32) -> bool {
        self.answers.as_mut().is_none_or(|bucket| bucket.take(now, ticks_per_second))
    }

    fn score(&mut self, selection: &Selection, slot: u32) -> u64 {
        scan::untried(self, selection, slot)
    }

    fn count(&mut self, real_server: u32, row: Row, bytes: u64) {
        self.traffic.entry(real_server).or_default()[row as usize].add(bytes);
    }
}

/// The part of [`Memory`] that is of one family.
pub trait OfFamily: Ip + RealAddress + Hash + Ord + 'static {
    /// Its tables.
    fn family(memory: &Memory) -> &Family<Self>;
    /// Its tables, to be changed.
    fn family_mut(memory: &mut Memory) -> &mut Family<Self>;
}

impl OfFamily for V4 {
    fn family(memory: &Memory) -> &Family<Self> {
        &memory.v4
    }
    fn family_mut(memory: &mut Memory) -> &mut Family<Self> {
        &mut memory.v4
    }
}

impl OfFamily for V6 {
    fn family(memory: &Memory) -> &Family<Self> {
        &memory.v6
    }
    fn family_mut(memory: &mut Memory) -> &mut Family<Self> {
        &mut memory.v6
    }
}

impl<A> Family<A> {
    const fn table(&mut self, protocol: Protocol) -> &mut HashMap<ConnectionKey<A>, Connection<A>> {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }
}

impl<A: OfFamily> Tables<A> for Memory {
    fn is_vip(&self, address: A) -> bool {
        A::family(self).vips.contains(&address)
    }

    fn lease_of(&self, vip: A) -> u32 {
        A::family(self).leased.get(&vip).copied().unwrap_or(lease::NONE)
    }

    fn service(&self, key: &ServiceKey<A>) -> Option<u32> {
        A::family(self).services.get(key).copied()
    }

    fn reverse(&self, real_server: &ServiceKey<A>) -> Option<&ServiceKey<A>> {
        A::family(self).reverse.get(real_server)
    }

    fn mark_rules(&self, destination: A) -> Option<&MarkRules<A>> {
        // Narrow prefixes come first.
        let mut prefixes = A::family(self).marks.iter();
        prefixes
            .find(|(prefix, _)| destination.masked(prefix.length) == prefix.address)
            .map(|(_, rules)| rules)
    }

    fn marked(&self, question: &Question<A>) -> u32 {
        mark::classify(self, question)
    }

    fn point(&mut self, desk: &mut Desk<A>, real_server: u32, attempt: u32) -> Pointed {
        open::point(self, desk, real_server, attempt)
    }

    fn add(&mut self, desk: &mut Desk<A>) -> Added {
        open::add(self, desk)
    }

    fn template(&mut self, key: &TemplateKey<A>) -> Option<&mut Template> {
        A::family_mut(self).templates.get_mut(key)
    }

    fn insert_template(&mut self, key: &TemplateKey<A>, template: &Template) -> Result<(), Refused> {
        let table = &mut A::family_mut(self).templates;
        if table.contains_key(key) {
            return Err(Refused::Exists);
        }
        table.insert(*key, *template);
        Ok(())
    }

    fn remove_template(&mut self, key: &TemplateKey<A>) {
        A::family_mut(self).templates.remove(key);
    }

    fn connection(&mut self, protocol: Protocol, key: &ConnectionKey<A>) -> Option<&mut Connection<A>> {
        A::family_mut(self).table(protocol).get_mut(key)
    }

    fn insert(
        &mut self,
        protocol: Protocol,
        key: &ConnectionKey<A>,
        entry: &Connection<A>,
    ) -> Result<(), Refused> {
        let capacity = self.capacity.unwrap_or(usize::MAX);
        let table = A::family_mut(self).table(protocol);
        if table.contains_key(key) {
            return Err(Refused::Exists);
        }
        if protocol == Protocol::Tcp && table.len() >= capacity {
            return Err(Refused::Full);
        }
        table.insert(*key, *entry);
        Ok(())
    }

    fn remove(&mut self, protocol: Protocol, key: &ConnectionKey<A>) {
        A::family_mut(self).table(protocol).remove(key);
    }

    fn half_open(&mut self, key: &ConnectionKey<A>, into: &mut HalfOpen<A>) -> bool {
        A::family_mut(self).half_open.read(key, into)
    }

    fn change_half_open(&mut self, key: &ConnectionKey<A>, change: impl FnOnce(&mut HalfOpen<A>)) {
        A::family_mut(self).half_open.change(key, change);
    }

    fn insert_half_open(&mut self, key: &ConnectionKey<A>, entry: &HalfOpen<A>) -> Result<u32, Refused> {
        A::family_mut(self).half_open.insert(key, entry)
    }

    fn remove_half_open(&mut self, key: &ConnectionKey<A>) {
        A::family_mut(self).half_open.remove(key);
    }

    fn fragment(&self, key: &FragmentKey<A>) -> Option<Ports> {
        A::family(self).fragments.get(key).copied()
    }

    fn insert_fragment(&mut self, key: &FragmentKey<A>, ports: &Ports) {
        A::family_mut(self).fragments.insert(*key, *ports);
    }

    fn route(
        &mut self,
        _protocol: Protocol,
        key: &ConnectionKey<A>,
        _interface: u32,
        next_hop: &mut NextHop,
    ) -> Route {
        let family = A::family(self);
        if let Some(known) = family.routes.get(&key.destination) {
            *next_hop = *known;
            Route::Via
        } else if family.unresolved.contains(&key.destination) {
            Route::NeighbourUnknown
        } else {
            Route::NotForwarded
        }
    }
}
