//! What the decision function asks and tells: BPF maps in the kernel, collections on the host.

use lb_common::{
    addr::{Address, Protocol},
    connection::{Connection, ConnectionKey, HalfOpen, NextHop},
    counter::Row,
    mark::MarkRules,
    service::{Interface, Load, RealServer, ServiceKey, Settings, VirtualServer},
    template::{Template, TemplateKey},
    virtual_mac::VirtualMacKey,
    vlan::VlanKey,
};

use crate::{
    desk::Desk,
    fragment::{FragmentKey, Ports},
    mark::Question,
    open::{Added, Pointed},
    select::Selection,
};

/// Why an entry was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The key is there already.
    Exists,
    /// The table is full.
    Full,
}

/// How a packet gets to its destination, as the kernel's routing knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Out of an interface, to a neighbour: the next hop was written.
    Via,
    /// There is a route, but the neighbour's link address is not known yet.
    NeighbourUnknown,
    /// To this machine itself, to an interface that is not ours, or nowhere.
    NotForwarded,
}

/// The last route to a real server that was asked for, so that the next new connection need not ask. Good for a second, so
/// that it does not matter for long who asked: a rule may route by the client's address, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Way {
    /// [`Settings::generation`] when it was asked for; 0 when nothing is here.
    pub generation: u32,
    /// Time when it was asked for, in ticks.
    pub asked: u32,
    /// Index of the interface that the packet had arrived on.
    pub interface: u32,
    /// Index of the real server.
    pub real_server: u32,
    /// The answer.
    pub next_hop: NextHop,
    /// Always 0.
    pub reserved: u16,
}

/// A connection, and what its packets are judged by.
pub struct Known<'a, A> {
    /// The packet's direction.
    pub entry: &'a mut Connection<A>,
    /// What holds for every packet.
    pub settings: Settings,
    /// [`Common::now`].
    pub now: u32,
}

/// Tables that do not depend on the address family.
pub trait Common {
    /// The clock, in ticks; wraps around.
    fn now(&self) -> u32;

    /// What holds for every packet.
    fn settings(&self) -> Option<&Settings>;

    /// The tick at which the lease in this slot ends, or that it is not held.
    fn lease(&self, slot: u32) -> u32;

    /// The interface with this index.
    fn interface(&self, index: u32) -> Option<&Interface>;

    /// Index of the VLAN device that frames with these tags arrive on.
    fn vlan(&self, key: &VlanKey) -> Option<u32>;

    /// The slot of the lease of a virtual router's master.
    fn virtual_mac(&self, key: &VirtualMacKey) -> Option<u32>;

    /// The virtual server with this index.
    fn virtual_server(&self, index: u32) -> Option<&VirtualServer>;

    /// The real server with this index.
    fn real_server(&self, index: u32) -> Option<&RealServer>;

    /// Live connections of the real server with this index.
    fn load(&mut self, index: u32) -> Option<&mut Load>;

    /// One slot of the scheduling table of a virtual server.
    fn scheduling(&self, virtual_server: u32, slot: u32) -> Option<u32>;

    /// The position in the sequence of a virtual server; moves on by one.
    fn next_turn(&mut self, virtual_server: u32) -> u32;

    /// One tick after the established table was last found full; 0 when it never was.
    fn pressure(&mut self) -> Option<&mut u32>;

    /// The slot for the way to this real server, which may hold another's.
    fn way(&mut self, real_server: u32) -> Option<&mut Way>;

    /// A random number.
    fn random(&mut self) -> u32;

    /// [`crate::select::choose`]; the kernel's tables do it in a function that is verified by itself.
    fn choose(&mut self, selection: &Selection) -> u32;

    /// Whether one more packet may be answered now: see [`crate::limit::Bucket`].
    fn may_answer(&mut self, now: u32, ticks_per_second: u32) -> bool;

    /// [`crate::scan::untried`]; the kernel's tables do it in a function that is verified by itself.
    fn score(&mut self, selection: &Selection, slot: u32) -> u64;

    /// Counts an IP packet of `bytes` bytes of a real server.
    fn count(&mut self, real_server: u32, row: Row, bytes: u64);
}

/// Tables of one address family.
pub trait Tables<A: Address>: Common {
    /// Whether a packet with these addresses can be ours; that it can costs the lookups, nothing else. See
    /// [`lb_common::concern`].
    #[inline(always)]
    fn concerns(&self, _source: A, _destination: A) -> bool {
        true
    }

    /// Whether some virtual server listens on this address.
    fn is_vip(&self, address: A) -> bool;

    /// The slot of this VIP's lease; [`lb_common::service::lease::NONE`] when it needs none.
    fn lease_of(&self, vip: A) -> u32;

    /// Index of the virtual server that listens on exactly this.
    fn service(&self, key: &ServiceKey<A>) -> Option<u32>;

    /// The rules of firewall marks of the narrowest prefix with this address in it.
    fn mark_rules(&self, destination: A) -> Option<&MarkRules<A>>;

    /// [`crate::mark::classify`]; the kernel's tables do it in a function that is verified by itself.
    fn marked(&self, question: &Question<A>) -> u32;

    /// The template of a client of a persistent virtual server.
    fn template(&mut self, key: &TemplateKey<A>) -> Option<&mut Template>;

    /// Adds a template, unless the key is there already. Evicts the least recently used.
    fn insert_template(&mut self, key: &TemplateKey<A>, template: &Template) -> Result<(), Refused>;

    /// Removes a template.
    fn remove_template(&mut self, key: &TemplateKey<A>);

    /// [`crate::open::point`]; the kernel's tables do it in a function that is verified by itself.
    fn point(&mut self, desk: &mut Desk<A>, real_server: u32, attempt: u32) -> Pointed;

    /// [`crate::open::add`]; the kernel's tables do it in a function that is verified by itself.
    fn add(&mut self, desk: &mut Desk<A>) -> Added;

    /// What the replies of this real server come from, where that is unambiguous.
    fn reverse(&self, real_server: &ServiceKey<A>) -> Option<&ServiceKey<A>>;

    /// A proven connection (TCP), or any (UDP).
    fn connection(&mut self, protocol: Protocol, key: &ConnectionKey<A>) -> Option<&mut Connection<A>>;

    /// [`Tables::connection`] with what it is compared to.
    fn known(&mut self, protocol: Protocol, key: &ConnectionKey<A>) -> Option<Known<'_, A>> {
        let (settings, now) = (*self.settings()?, self.now());
        self.connection(protocol, key).map(|entry| Known { entry, settings, now })
    }

    /// Adds one direction, unless the key is there already.
    fn insert(
        &mut self,
        protocol: Protocol,
        key: &ConnectionKey<A>,
        entry: &Connection<A>,
    ) -> Result<(), Refused>;

    /// Removes one direction.
    fn remove(&mut self, protocol: Protocol, key: &ConnectionKey<A>);

    /// Copies what is known of a TCP connection that is not proven yet; false when there is none, and `into` is then anything.
    fn half_open(&mut self, key: &ConnectionKey<A>, into: &mut HalfOpen<A>) -> bool;

    /// Changes it, if it is there.
    fn change_half_open(&mut self, key: &ConnectionKey<A>, change: impl FnOnce(&mut HalfOpen<A>));

    /// Adds it, unless the key is there already. Answers the real server whose connection was evicted for it, or
    /// [`crate::select::NONE`]: see [`crate::half_open::set`].
    fn insert_half_open(&mut self, key: &ConnectionKey<A>, entry: &HalfOpen<A>) -> Result<u32, Refused>;

    /// Removes it.
    fn remove_half_open(&mut self, key: &ConnectionKey<A>);

    /// What the first fragment of a packet said.
    fn fragment(&self, key: &FragmentKey<A>) -> Option<Ports>;

    /// Notes it, in place of what was noted before. Evicts the least recently used.
    fn insert_fragment(&mut self, key: &FragmentKey<A>, ports: &Ports);

    /// Finds the route of a packet with these addresses that arrived on `interface`; writes `next_hop` if it is [`Route::Via`].
    fn route(
        &mut self,
        protocol: Protocol,
        key: &ConnectionKey<A>,
        interface: u32,
        next_hop: &mut NextHop,
    ) -> Route;
}
