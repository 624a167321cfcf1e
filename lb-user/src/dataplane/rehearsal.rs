//! The tables as the decision function would find them now, with every change kept to itself: nothing is written.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::SocketAddr,
};

use aya::{
    Pod,
    maps::{HashMap as BpfHashMap, MapData, MapError},
};
use lb_common::{
    addr::{Address, Protocol, V4, V6},
    connection::{Connection, ConnectionKey, HalfOpen, NextHop},
    counter::Row,
    half_open::Set,
    mark::{MarkPrefix, MarkRule, MarkRules, NOBODY},
    service::{Interface, Load, RealServer, ServiceKey, Settings, VipKey, VirtualServer, lease},
    template::{Template, TemplateKey},
    virtual_mac::VirtualMacKey,
    vlan::VlanKey,
};
use lb_ebpf::{
    desk::Desk,
    fragment::{FragmentKey, Ports},
    mark::{self, Question},
    open::{self, Added, Pointed},
    scan,
    select::{self, Selection},
    tables::{Common, Refused, Route, Tables, Way},
};

use super::{half_open::HalfOpenTable, maps::Maps};
use crate::plan::Wanted;

/// One thing that was asked on the way to a decision.
#[derive(Clone, Copy, Debug)]
pub enum Note {
    /// The virtual server that listens there.
    Service(SocketAddr, Option<u32>),
    /// The virtual server of the packet's firewall mark.
    Marked(Option<u32>),
    /// The real server that the client is bound to.
    Bound(u32),
    /// The real server for a new connection, or [`select::NONE`].
    Chosen(Selection, u32),
    /// The replies of the chosen real server would be another connection's.
    Taken,
}

/// The tables. What cannot be read counts as not being there.
pub struct Rehearsal<'a> {
    wanted: &'a Wanted,
    maps: &'a Maps,
    settings: Settings,
    now: u32,
    loads: HashMap<u32, Load>,
    pressure: Option<u32>,
    v4: Entries<V4>,
    v6: Entries<V6>,
    /// Scheduling tables, built when they are asked for first.
    scheduling: RefCell<HashMap<u32, Vec<u32>>>,
    notes: RefCell<Vec<Note>>,
}

/// Entries that were looked at, as they would be; none where none is.
#[derive(Debug)]
struct Entries<A> {
    tcp: HashMap<ConnectionKey<A>, Option<Connection<A>>>,
    udp: HashMap<ConnectionKey<A>, Option<Connection<A>>>,
    half_open: HashMap<ConnectionKey<A>, Option<HalfOpen<A>>>,
    templates: HashMap<TemplateKey<A>, Option<Template>>,
    marks: BTreeMap<MarkPrefix<A>, MarkRules<A>>,
}

impl<A: Address + Ord> Entries<A> {
    fn new(marks: &BTreeMap<MarkPrefix<A>, Vec<MarkRule<A>>>, zero: A) -> Self {
        let marks =
            marks.iter().map(|(prefix, rules)| (*prefix, MarkRules::new(rules, MarkRule::unused(zero))));
        Self {
            tcp: HashMap::new(),
            udp: HashMap::new(),
            half_open: HashMap::new(),
            templates: HashMap::new(),
            marks: marks.collect(),
        }
    }
}

impl<A: Address + Hash> Entries<A>
where
    Set<A>: Pod,
{
    /// As [`look`].
    fn half_open(&mut self, table: &HalfOpenTable<A>, key: &ConnectionKey<A>) -> &mut Option<HalfOpen<A>> {
        self.half_open.entry(*key).or_insert_with(|| table.get(key))
    }
}

impl<'a> Rehearsal<'a> {
    /// Of what was written (`wanted`) and of what the data plane has made of it, at the tick `now`.
    ///
    /// # Errors
    ///
    /// The settings cannot be read.
    pub fn new(wanted: &'a Wanted, maps: &'a Maps, now: u32) -> Result<Self, MapError> {
        Ok(Self {
            wanted,
            maps,
            settings: maps.settings.get(&0, 0)?,
            now,
            loads: HashMap::new(),
            pressure: maps.pressure.get(&0, 0).ok(),
            v4: Entries::new(&wanted.v4.marks, V4::from_wire(0)),
            v6: Entries::new(&wanted.v6.marks, V6::from_wire([0; 4])),
            scheduling: RefCell::default(),
            notes: RefCell::default(),
        })
    }

    /// What was asked, in its order.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        self.notes.borrow().clone()
    }

    fn note(&self, note: Note) {
        self.notes.borrow_mut().push(note);
    }
}

/// The entry as it would be now, read when it is asked for first.
fn look<'a, K: Pod + Eq + Hash, V: Pod>(
    known: &'a mut HashMap<K, Option<V>>,
    map: &BpfHashMap<MapData, K, V>,
    key: &K,
) -> Option<&'a mut V> {
    known.entry(*key).or_insert_with(|| map.get(key, 0).ok()).as_mut()
}

impl Common for Rehearsal<'_> {
    fn now(&self) -> u32 {
        self.now
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn lease(&self, slot: u32) -> u32 {
        self.maps.leases.get(&slot, 0).unwrap_or(lease::NOT_HELD)
    }

    fn vlan(&self, key: &VlanKey) -> Option<u32> {
        self.wanted.vlans.get(key).copied()
    }

    fn virtual_mac(&self, key: &VirtualMacKey) -> Option<u32> {
        self.wanted.virtual_macs.get(key).copied()
    }

    fn interface(&self, index: u32) -> Option<&Interface> {
        self.wanted.interfaces.get(&index)
    }

    fn virtual_server(&self, index: u32) -> Option<&VirtualServer> {
        self.wanted.virtual_servers.get(&index)
    }

    fn real_server(&self, index: u32) -> Option<&RealServer> {
        self.wanted.real_servers.get(&index)
    }

    fn load(&mut self, index: u32) -> Option<&mut Load> {
        let load = self.maps.loads.get(&index, 0).ok()?;
        Some(self.loads.entry(index).or_insert(load))
    }

    fn scheduling(&self, virtual_server: u32, slot: u32) -> Option<u32> {
        let input = self.wanted.scheduling.get(&virtual_server)?;
        let mut tables = self.scheduling.borrow_mut();
        tables.entry(virtual_server).or_insert_with(|| input.build()).get(slot as usize).copied()
    }

    /// The next packet's turn, which stays the next packet's.
    fn next_turn(&mut self, virtual_server: u32) -> u32 {
        self.maps.cursors.get(&virtual_server, 0).unwrap_or(0)
    }

    fn pressure(&mut self) -> Option<&mut u32> {
        self.pressure.as_mut()
    }

    fn way(&mut self, _real_server: u32) -> Option<&mut Way> {
        None
    }

    /// As good as any: nobody can know what the data plane will draw.
    fn random(&mut self) -> u32 {
        self.now.wrapping_mul(0x9e37_79b1)
    }

    fn choose(&mut self, selection: &Selection) -> u32 {
        let chosen = select::choose(self, selection);
        self.note(Note::Chosen(*selection, chosen));
        chosen
    }

    fn may_answer(&mut self, _now: u32, _ticks_per_second: u32) -> bool {
        true
    }

    fn score(&mut self, selection: &Selection, slot: u32) -> u64 {
        scan::untried(self, selection, slot)
    }

    fn count(&mut self, _real_server: u32, _row: Row, _bytes: u64) {}
}

macro_rules! tables {
    ($address:ty, $family:ident) => {
        impl Tables<$address> for Rehearsal<'_> {
            fn is_vip(&self, address: $address) -> bool {
                self.wanted.$family.vips.contains_key(&VipKey(address))
            }

            fn lease_of(&self, vip: $address) -> u32 {
                self.wanted.$family.vips.get(&VipKey(vip)).copied().unwrap_or(lease::NONE)
            }

            fn mark_rules(&self, destination: $address) -> Option<&MarkRules<$address>> {
                // Narrow prefixes come first.
                let mut marks = self.$family.marks.iter();
                let found = marks.find(|(prefix, _)| destination.masked(prefix.length) == prefix.address);
                found.map(|(_, rules)| rules)
            }

            fn marked(&self, question: &Question<$address>) -> u32 {
                let found = mark::classify(self, question);
                self.note(Note::Marked((found != NOBODY).then_some(found)));
                found
            }

            fn point(&mut self, desk: &mut Desk<$address>, real_server: u32, attempt: u32) -> Pointed {
                open::point(self, desk, real_server, attempt)
            }

            fn add(&mut self, desk: &mut Desk<$address>) -> Added {
                open::add(self, desk)
            }

            fn template(&mut self, key: &TemplateKey<$address>) -> Option<&mut Template> {
                let bound = look(&mut self.$family.templates, &self.maps.$family.templates, key)
                    .map(|template| template.real_server);
                if let Some(real_server) = bound {
                    self.note(Note::Bound(real_server));
                }
                self.$family.templates.get_mut(key)?.as_mut()
            }

            fn insert_template(
                &mut self,
                key: &TemplateKey<$address>,
                template: &Template,
            ) -> Result<(), Refused> {
                self.$family.templates.insert(*key, Some(*template));
                Ok(())
            }

            fn remove_template(&mut self, key: &TemplateKey<$address>) {
                self.$family.templates.insert(*key, None);
            }

            fn service(&self, key: &ServiceKey<$address>) -> Option<u32> {
                let found = self.wanted.$family.services.get(key).copied();
                self.note(Note::Service(SocketAddr::new(key.address.to_ip(), key.port.number()), found));
                found
            }

            fn reverse(&self, real_server: &ServiceKey<$address>) -> Option<&ServiceKey<$address>> {
                self.wanted.$family.reverse.get(real_server)
            }

            fn connection(
                &mut self,
                protocol: Protocol,
                key: &ConnectionKey<$address>,
            ) -> Option<&mut Connection<$address>> {
                match protocol {
                    Protocol::Tcp => look(&mut self.$family.tcp, &self.maps.$family.tcp, key),
                    Protocol::Udp => look(&mut self.$family.udp, &self.maps.$family.udp, key),
                }
            }

            fn insert(
                &mut self,
                protocol: Protocol,
                key: &ConnectionKey<$address>,
                entry: &Connection<$address>,
            ) -> Result<(), Refused> {
                if self.connection(protocol, key).is_some() {
                    self.note(Note::Taken);
                    return Err(Refused::Exists);
                }
                match protocol {
                    Protocol::Tcp => self.$family.tcp.insert(*key, Some(*entry)),
                    Protocol::Udp => self.$family.udp.insert(*key, Some(*entry)),
                };
                Ok(())
            }

            fn remove(&mut self, protocol: Protocol, key: &ConnectionKey<$address>) {
                match protocol {
                    Protocol::Tcp => self.$family.tcp.insert(*key, None),
                    Protocol::Udp => self.$family.udp.insert(*key, None),
                };
            }

            fn half_open(&mut self, key: &ConnectionKey<$address>, into: &mut HalfOpen<$address>) -> bool {
                let found = self.$family.half_open(&self.maps.$family.half_open, key).as_ref();
                if let Some(half) = found {
                    into.copy_from(half);
                }
                found.is_some()
            }

            fn change_half_open(
                &mut self,
                key: &ConnectionKey<$address>,
                change: impl FnOnce(&mut HalfOpen<$address>),
            ) {
                if let Some(half) = self.$family.half_open(&self.maps.$family.half_open, key) {
                    change(half);
                }
            }

            fn insert_half_open(
                &mut self,
                key: &ConnectionKey<$address>,
                entry: &HalfOpen<$address>,
            ) -> Result<u32, Refused> {
                if self.$family.half_open(&self.maps.$family.half_open, key).is_some() {
                    self.note(Note::Taken);
                    return Err(Refused::Exists);
                }
                self.$family.half_open.insert(*key, Some(*entry));
                // Whom it evicts is nothing to this packet.
                Ok(select::NONE)
            }

            fn remove_half_open(&mut self, key: &ConnectionKey<$address>) {
                self.$family.half_open.insert(*key, None);
            }

            fn fragment(&self, _key: &FragmentKey<$address>) -> Option<Ports> {
                None
            }

            fn insert_fragment(&mut self, _key: &FragmentKey<$address>, _ports: &Ports) {}

            /// The kernel's routing is not asked: it decides how a packet leaves, not which real server it gets.
            fn route(
                &mut self,
                _protocol: Protocol,
                _key: &ConnectionKey<$address>,
                interface: u32,
                next_hop: &mut NextHop,
            ) -> Route {
                *next_hop = NextHop { interface: interface as u16, mtu: u16::MAX, ..NextHop::default() };
                Route::Via
            }
        }
    };
}

tables!(V4, v4);
tables!(V6, v6);
