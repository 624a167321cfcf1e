//! The decision: what becomes of a packet, in the order of work of ARCHITECTURE.md.

use lb_common::{
    addr::{Mac, Port, Protocol, V4, V6},
    connection::{Connection, ConnectionKey, NextHop, flags},
    limits::ATTEMPTS,
    outcome::{Disposition, Outcome},
    service::{Interface, ServiceKey, VirtualServer, interface, virtual_server},
    tcp::{
        TcpState,
        header::{ACK, FIN, RST, SYN},
    },
};

use crate::{
    connection::{self, Progress, RealAddress, Verified},
    headers::{Ethernet, Tcp, ether_type, protocol},
    ip::{Ip, Network},
    packet::Packet,
    parse::{Datagram, Unreadable, datagram},
    rewrite::{self, Exit, Translation},
    select::{self, Choice},
    tables::{Refused, Route, Tables},
};

/// How a packet ends, and for [`Disposition::Send`] through which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The end.
    pub outcome: Outcome,
    /// Index of the egress interface; 0 unless the packet is sent.
    pub interface: u16,
}

impl From<Outcome> for Verdict {
    #[inline(always)]
    fn from(outcome: Outcome) -> Self {
        Self { outcome, interface: 0 }
    }
}

/// What is known of a packet from where it arrived.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    /// Index of the interface.
    index: u32,
    /// Senders there may leave checksums to their hardware.
    partial: bool,
    /// The way back to whoever sent the frame.
    back: NextHop,
    /// [`lb_common::service::Settings::generation`].
    generation: u32,
    /// [`lb_common::service::Settings::ticks_per_second`].
    ticks_per_second: u32,
    /// [`crate::tables::Common::now`].
    now: u32,
}

/// Length of the Ethernet header: where IP begins.
const NETWORK: usize = size_of::<Ethernet>();

/// Decides what becomes of `packet` and translates it.
#[inline(always)]
pub fn forward<P: Packet, T: Tables<V4> + Tables<V6>>(packet: &mut P, tables: &mut T) -> Verdict {
    let Some(ethernet) = packet.get::<Ethernet>(0) else { return Outcome::NotIp.into() };
    let version = ethernet.ether_type.get();
    if version != ether_type::IPV4 && version != ether_type::IPV6 {
        return Outcome::NotIp.into();
    }
    let index = packet.interface();
    let Some(interface) = tables.interface(index) else { return Outcome::UnattachedInterface.into() };
    if interface.flags & interface::ATTACHED == 0 {
        return Outcome::UnattachedInterface.into();
    }
    let [a, b, c] = ethernet.destination;
    if interface.mac.0 != [a.get(), b.get(), c.get()] {
        return Outcome::ForeignMac.into();
    }
    let [a, b, c] = ethernet.source;
    let arrival = Arrival {
        index,
        partial: interface.flags & interface::PARTIAL_CHECKSUMS != 0,
        back: back(interface, index, Mac([a.get(), b.get(), c.get()])),
        generation: 0,
        ticks_per_second: 0,
        now: tables.now(),
    };
    let Some(settings) = tables.settings() else { return Outcome::UnattachedInterface.into() };
    let arrival =
        Arrival { generation: settings.generation, ticks_per_second: settings.ticks_per_second, ..arrival };
    if version == ether_type::IPV4 {
        network::<V4, _, _>(packet, tables, &arrival)
    } else {
        network::<V6, _, _>(packet, tables, &arrival)
    }
}

#[inline(always)]
const fn back(interface: &Interface, index: u32, neighbour: Mac) -> NextHop {
    NextHop {
        destination: neighbour,
        source: interface.mac,
        interface: index as u16,
        vlan: 0,
        mtu: interface.mtu,
    }
}

#[inline(always)]
fn network<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    arrival: &Arrival,
) -> Verdict {
    let Some(network) = A::read(packet, NETWORK) else { return Outcome::MalformedForeign.into() };
    if !network.sound {
        return ours_or(tables, &network, Outcome::MalformedIp, Outcome::MalformedForeign);
    }
    if network.fragment {
        return ours_or(tables, &network, Outcome::FragmentUnknown, Outcome::Fragment);
    }
    match datagram(packet, NETWORK, &network) {
        Ok(datagram) => transport(packet, tables, arrival, &datagram),
        Err(Unreadable::Malformed) => {
            ours_or(tables, &network, Outcome::MalformedTransport, Outcome::MalformedForeign)
        }
        Err(Unreadable::Protocol) => match network.protocol {
            protocol::ICMP | protocol::ICMPV6 => Outcome::Icmp.into(),
            _ => Outcome::OtherProtocol.into(),
        },
    }
}

/// Only what is for a VIP is ever dropped.
#[inline(always)]
fn ours_or<A: Ip, T: Tables<A>>(
    tables: &T,
    network: &Network<A>,
    ours: Outcome,
    foreign: Outcome,
) -> Verdict {
    if tables.is_vip(network.destination) { ours.into() } else { foreign.into() }
}

#[inline(always)]
fn transport<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    arrival: &Arrival,
    datagram: &Datagram<A>,
) -> Verdict {
    if let Some(entry) = tables.connection(datagram.protocol, &datagram.key) {
        if entry.generation == arrival.generation && datagram.flags & (SYN | FIN | RST) == 0 {
            touch(entry, arrival);
            let (real_server, reply) = (entry.real_server, entry.flags & flags::REPLY != 0);
            let verdict = deliver(packet, datagram, entry, arrival, Outcome::Forwarded);
            tables.count_traffic(real_server, reply, datagram.packet_length() as u64);
            return verdict;
        }
        if let Some(verdict) = review(packet, tables, arrival, datagram) {
            return verdict;
        }
    }
    unknown(packet, tables, arrival, datagram)
}

/// Notes when the entry was last used, at most once a second: a cache line that is only read is not moved between CPUs.
#[inline(always)]
const fn touch<A>(entry: &mut Connection<A>, arrival: &Arrival) {
    if arrival.now.wrapping_sub(entry.last_seen) >= arrival.ticks_per_second {
        entry.last_seen = arrival.now;
    }
}

/// Translates the packet as its entry says and sends it.
#[inline(always)]
fn deliver<A: Ip, P: Packet>(
    packet: &mut P,
    datagram: &Datagram<A>,
    entry: &Connection<A>,
    arrival: &Arrival,
    sent: Outcome,
) -> Verdict {
    if datagram.ttl <= 1 {
        return Outcome::TtlExpired.into();
    }
    // A next hop that is not known has an MTU of 0.
    let fits = datagram.packet_length() <= entry.next_hop.mtu as usize;
    let exit = if fits { Exit::Wire(&entry.next_hop) } else { Exit::Kernel };
    let translation =
        Translation { to: &entry.translated, l3_delta: entry.l3_delta, l4_delta: entry.l4_delta };
    if rewrite::apply(packet, datagram, translation, exit, arrival.partial).is_none() {
        return Outcome::Unwritable.into();
    }
    if fits {
        Verdict { outcome: sent, interface: entry.next_hop.interface }
    } else {
        Outcome::KernelRoute.into()
    }
}

/// A packet of a known connection that changes it, or whose entry is of another generation. `None` when the connection
/// is no more and the packet starts afresh.
#[inline(never)]
fn review<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    arrival: &Arrival,
    datagram: &Datagram<A>,
) -> Option<Verdict> {
    let mut entry = *tables.connection(datagram.protocol, &datagram.key)?;
    let other_key = entry.translated.reversed();
    if datagram.flags & (SYN | ACK) == SYN {
        let other = tables.connection(datagram.protocol, &other_key).map_or(0, |other| other.flags);
        if TcpState::of(entry.flags, other).gives_way_to_syn() {
            connection::remove(tables, datagram.protocol, &datagram.key, &entry.translated);
            return None;
        }
    }
    entry.flags |= connection::seen(datagram.flags);
    touch(&mut entry, arrival);
    if entry.generation != arrival.generation {
        match connection::verify(tables, datagram.protocol, &entry, arrival.index) {
            Verified::Alive(next_hop, cacheable) => {
                entry.next_hop = next_hop;
                entry.generation = if cacheable { arrival.generation } else { 0 };
            }
            Verified::Gone => {
                connection::remove(tables, datagram.protocol, &datagram.key, &entry.translated);
                return None;
            }
        }
    }
    if let Some(stored) = tables.connection(datagram.protocol, &datagram.key) {
        stored.flags |= connection::seen(datagram.flags);
        stored.next_hop = entry.next_hop;
        stored.generation = entry.generation;
        stored.last_seen = entry.last_seen;
    }
    tables.count_traffic(entry.real_server, entry.flags & flags::REPLY != 0, datagram.packet_length() as u64);
    Some(deliver(packet, datagram, &entry, arrival, Outcome::Forwarded))
}

/// A packet without an entry.
#[inline(never)]
fn unknown<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    arrival: &Arrival,
    datagram: &Datagram<A>,
) -> Verdict {
    if datagram.protocol == Protocol::Tcp
        && let Some(verdict) = unproven(packet, tables, arrival, datagram)
    {
        return verdict;
    }
    if tables.is_vip(datagram.key.destination) {
        return for_vip(packet, tables, arrival, datagram);
    }
    stateless_reply(packet, tables, arrival, datagram)
}

/// A packet of a TCP connection whose handshake is not proven.
#[inline(always)]
fn unproven<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    arrival: &Arrival,
    datagram: &Datagram<A>,
) -> Option<Verdict> {
    let mut entry = tables.half_open(&datagram.key)?.connection;
    let other_key = entry.translated.reversed();
    let other = tables.half_open(&other_key).map(|other| (other.connection, other.server_sequence));
    let server_sequence = match other {
        Some((other, sequence)) if other.flags & flags::SYN_ACK != 0 => Some(sequence),
        _ => None,
    };
    let header: &Tcp = packet.get(datagram.transport)?;
    let (sequence, acknowledgment) = (header.sequence.get(), header.acknowledgment.get());
    if entry.generation != arrival.generation {
        match connection::verify(tables, Protocol::Tcp, &entry, arrival.index) {
            Verified::Alive(next_hop, cacheable) => {
                entry.next_hop = next_hop;
                entry.generation = if cacheable { arrival.generation } else { 0 };
            }
            Verified::Gone => {
                connection::remove_half_open(tables, &datagram.key, &entry.translated);
                return None;
            }
        }
    }
    entry.flags |= connection::seen(datagram.flags);
    entry.last_seen = arrival.now;
    let mut outcome = Outcome::Forwarded;
    let mut server_isn = None;
    match (connection::progress(entry.flags, server_sequence, datagram.flags, acknowledgment), other) {
        (Progress::Answered, _) => {
            entry.flags |= flags::SYN_ACK;
            server_isn = Some(sequence);
        }
        (Progress::Proven, Some((other, _))) => {
            if connection::promote(tables, &datagram.key, &entry, &other) == Err(Refused::Full) {
                outcome = Outcome::Stateless;
            }
        }
        _ => {}
    }
    if let Some(stored) = tables.half_open(&datagram.key) {
        stored.connection = entry;
        if let Some(sequence) = server_isn {
            stored.server_sequence = sequence;
        }
    }
    tables.count_traffic(entry.real_server, entry.flags & flags::REPLY != 0, datagram.packet_length() as u64);
    Some(deliver(packet, datagram, &entry, arrival, outcome))
}

/// A packet for a VIP that no connection is known for.
#[inline(always)]
fn for_vip<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    arrival: &Arrival,
    datagram: &Datagram<A>,
) -> Verdict {
    let key = &datagram.key;
    let mut service = ServiceKey {
        address: key.destination,
        port: key.destination_port,
        protocol: datagram.protocol as u16,
    };
    let index = match tables.service(&service) {
        Some(index) => index,
        None => {
            service.port = Port::ANY;
            match tables.service(&service) {
                Some(index) => index,
                None => return Outcome::NoService.into(),
            }
        }
    };
    let Some(server) = tables.virtual_server(index).copied() else { return Outcome::NoRealServer.into() };
    if key.source == key.destination {
        return Outcome::Land.into();
    }
    if key.source.is_martian_source() {
        return Outcome::MartianSource.into();
    }
    if datagram.has_bad_flags() {
        return Outcome::BadTcpFlags.into();
    }
    let begins = datagram.protocol == Protocol::Udp || datagram.flags & (SYN | ACK) == SYN;
    if begins {
        return open(packet, tables, arrival, datagram, (index, &server), Choice::Scheduled);
    }
    // A reset of nothing, or an answer to a SYN that nobody sent, opens nothing.
    if datagram.flags & (SYN | RST) != 0 || server.flags & virtual_server::ADOPT == 0 {
        return Outcome::WithoutState.into();
    }
    open(packet, tables, arrival, datagram, (index, &server), Choice::Deterministic)
}

/// Chooses a real server, adds both directions and sends the packet.
#[inline(always)]
fn open<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    arrival: &Arrival,
    datagram: &Datagram<A>,
    (index, server): (u32, &VirtualServer),
    choice: Choice,
) -> Verdict {
    let (direction, outcome) = match choice {
        Choice::Scheduled => (0, Outcome::NewConnection),
        Choice::Deterministic => (flags::ADOPTED, Outcome::Adopted),
    };
    let mut refusal = Outcome::NoRealServer;
    for attempt in 0..ATTEMPTS {
        let Some(chosen) = select::choose(tables, index, server, &datagram.key, choice, attempt) else {
            break;
        };
        let Some(real) = tables.real_server(chosen).copied() else { continue };
        if let Some(load) = tables.load(chosen)
            && select::is_full(&real, load)
        {
            continue;
        }
        let translated = connection::to_real_server(&datagram.key, &real);
        if is_taken(tables, datagram.protocol, &datagram.key, &translated) {
            refusal = Outcome::Collision;
            continue;
        }
        let mut entry = connection::entry(&datagram.key, &translated, direction, chosen, arrival.now);
        match tables.route(datagram.protocol, &translated, arrival.index) {
            Route::Via(next_hop) => {
                entry.next_hop = next_hop;
                entry.generation = arrival.generation;
            }
            Route::NeighbourUnknown => {}
            Route::NotForwarded => entry.generation = arrival.generation,
        }
        match add(tables, arrival, datagram.protocol, &datagram.key, &entry) {
            Ok(()) => {}
            Err(Refused::Exists) => {
                refusal = Outcome::Collision;
                continue;
            }
            Err(Refused::Full) => return deliver(packet, datagram, &entry, arrival, Outcome::Stateless),
        }
        tables.count_traffic(chosen, false, datagram.packet_length() as u64);
        return deliver(packet, datagram, &entry, arrival, outcome);
    }
    refusal.into()
}

/// Whether replies from the chosen real server would already be another connection's: another VIP in front of the same
/// real server, and a client that uses one port for both.
#[inline(always)]
fn is_taken<A: Ip, T: Tables<A>>(
    tables: &mut T,
    protocol: Protocol,
    key: &ConnectionKey<A>,
    translated: &ConnectionKey<A>,
) -> bool {
    let reply_key = translated.reversed();
    let Some(reply) = tables.connection(protocol, &reply_key) else { return false };
    let owner = reply.translated.reversed();
    let reply_flags = reply.flags;
    if owner == *key {
        // What is left of this connection itself, after its other half was evicted.
        tables.remove(protocol, &reply_key);
        return false;
    }
    match tables.connection(protocol, &owner) {
        Some(forward) => {
            let closing =
                protocol == Protocol::Tcp && TcpState::of(forward.flags, reply_flags).gives_way_to_syn();
            if closing {
                connection::remove(tables, protocol, &owner, translated);
            }
            !closing
        }
        None => {
            tables.remove(protocol, &reply_key);
            false
        }
    }
}

/// Adds both directions, the reply first: if that is refused, nothing was added.
#[inline(always)]
fn add<A: Ip, T: Tables<A>>(
    tables: &mut T,
    arrival: &Arrival,
    protocol: Protocol,
    key: &ConnectionKey<A>,
    entry: &Connection<A>,
) -> Result<(), Refused> {
    let reply_key = entry.translated.reversed();
    let mut reply = connection::entry(
        &reply_key,
        &key.reversed(),
        entry.flags | flags::REPLY,
        entry.real_server,
        arrival.now,
    );
    reply.next_hop = arrival.back;
    match protocol {
        Protocol::Tcp => {
            if let Some(other) = tables.half_open(&reply_key) {
                if other.connection.translated != reply.translated {
                    return Err(Refused::Exists);
                }
                tables.remove_half_open(&reply_key);
            }
            tables.insert_half_open(&reply_key, &connection::half(reply))?;
            if let Err(refused) = tables.insert_half_open(key, &connection::half(*entry)) {
                tables.remove_half_open(&reply_key);
                return Err(refused);
            }
        }
        Protocol::Udp => {
            tables.insert(protocol, &reply_key, &reply)?;
            if let Err(refused) = tables.insert(protocol, key, entry) {
                tables.remove(protocol, &reply_key);
                return Err(refused);
            }
        }
    }
    if let Some(load) = tables.load(entry.real_server) {
        load.total = load.total.wrapping_add(1);
        match protocol {
            Protocol::Tcp => load.inactive = load.inactive.wrapping_add(1),
            Protocol::Udp => load.active = load.active.wrapping_add(1),
        }
    }
    Ok(())
}

/// A packet that is not for a VIP and has no entry: a real server's reply whose connection is known nowhere, or a
/// packet that is none of our business.
#[inline(always)]
fn stateless_reply<A: Ip, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    arrival: &Arrival,
    datagram: &Datagram<A>,
) -> Verdict {
    let key = &datagram.key;
    let real = ServiceKey { address: key.source, port: key.source_port, protocol: datagram.protocol as u16 };
    let Some(service) = tables.reverse(&real) else { return Outcome::NoService.into() };
    let translated = ConnectionKey { source: service.address, source_port: service.port, ..*key };
    // This machine's own traffic with the real server, health checks among it, is not forwarded and stays as it is.
    let Route::Via(next_hop) = tables.route(datagram.protocol, &translated, arrival.index) else {
        return Outcome::NoService.into();
    };
    let mut entry = connection::entry(key, &translated, flags::REPLY, 0, arrival.now);
    entry.next_hop = next_hop;
    deliver(packet, datagram, &entry, arrival, Outcome::StatelessReply)
}

const _: () = {
    // What `deliver` is told to call a sent packet must be sent.
    assert!(matches!(Outcome::Forwarded.disposition(), Disposition::Send));
    assert!(matches!(Outcome::KernelRoute.disposition(), Disposition::Kernel));
};
