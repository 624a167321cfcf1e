//! The decision: what becomes of a packet.
//!
//! Two steps. [`known`] is the short way of a packet whose connection is known and goes on as before, and of a packet that
//! is none of our business at first sight. Everything else is put on the desk, and [`longer`] decides about it. The kernel
//! verifies the two apart from each other.

use lb_common::{
    addr::{V4, V6},
    connection::{Connection, flags},
    counter::Row,
    outcome::{Disposition, Outcome},
    service::{Interface, interface},
    tcp::header::{ACK, FIN, RST, SYN},
};

use crate::{
    connection::RealAddress,
    desk::{Desk, Workspace},
    headers::{Ethernet, ether_type, protocol},
    ip::{Ip, Network},
    open,
    packet::Packet,
    parse::{Arrival, Unreadable, datagram},
    reset, review,
    rewrite::{self, Exit, Translation},
    stateless,
    tables::Tables,
    unproven,
    verdict::Verdict,
};

/// What the short way found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The packet has ended.
    Ended(Verdict),
    /// It is on the IPv4 desk.
    Longer4,
    /// It is on the IPv6 desk.
    Longer6,
}

/// Length of the Ethernet header: where IP begins.
const NETWORK: usize = size_of::<Ethernet>();

/// Decides what becomes of `packet` and translates it.
pub fn forward<P: Packet, T: Tables<V4> + Tables<V6>>(
    packet: &mut P,
    tables: &mut T,
    workspace: &mut Workspace,
) -> Verdict {
    match known(packet, tables, workspace) {
        Step::Ended(verdict) => verdict,
        Step::Longer4 => longer(packet, tables, &mut workspace.v4),
        Step::Longer6 => longer(packet, tables, &mut workspace.v6),
    }
}

/// The short way.
#[inline(always)]
pub fn known<P: Packet, T: Tables<V4> + Tables<V6>>(
    packet: &mut P,
    tables: &mut T,
    workspace: &mut Workspace,
) -> Step {
    let Some(ethernet) = packet.get::<Ethernet>(0) else { return Step::Ended(Outcome::NotIp.into()) };
    let version = ethernet.ether_type.get();
    if version != ether_type::IPV4 && version != ether_type::IPV6 {
        return Step::Ended(Outcome::NotIp.into());
    }
    let interface = match tables.interface(packet.interface()) {
        Some(interface) if interface.flags & interface::ATTACHED != 0 => interface,
        _ => return Step::Ended(Outcome::UnattachedInterface.into()),
    };
    if interface.mac.0 != ethernet.destination {
        return Step::Ended(Outcome::ForeignMac.into());
    }
    let partial = is_partial(interface);
    if version == ether_type::IPV4 {
        network(packet, tables, &mut workspace.v4, partial).map_or(Step::Longer4, Step::Ended)
    } else {
        network(packet, tables, &mut workspace.v6, partial).map_or(Step::Longer6, Step::Ended)
    }
}

/// Senders on this interface may leave checksums to their hardware, which then is this host.
#[inline(always)]
const fn is_partial(interface: &Interface) -> bool {
    interface.flags & interface::VIRTUAL != 0
}

/// The short way from the IP header on; `None` when the packet is on the desk. Not inlined, so that the longer way, called
/// when this has returned, has all of the stack.
#[inline(never)]
fn network<A: Ip, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    desk: &mut Desk<A>,
    partial: bool,
) -> Option<Verdict> {
    let Some(network) = A::read(packet, NETWORK) else { return Some(Outcome::MalformedForeign.into()) };
    if !network.sound {
        return Some(ours_or(tables, &network, Outcome::MalformedIp, Outcome::MalformedForeign));
    }
    if network.fragment {
        return Some(ours_or(tables, &network, Outcome::FragmentUnknown, Outcome::Fragment));
    }
    let datagram = match datagram(packet, NETWORK, &network) {
        Ok(datagram) => datagram,
        Err(Unreadable::Malformed) => {
            return Some(ours_or(tables, &network, Outcome::MalformedTransport, Outcome::MalformedForeign));
        }
        Err(Unreadable::Protocol) => {
            return Some(match network.protocol {
                protocol::ICMP | protocol::ICMPV6 => Outcome::Icmp.into(),
                _ => Outcome::OtherProtocol.into(),
            });
        }
    };
    let now = tables.now();
    let Some(settings) = tables.settings() else { return Some(Outcome::UnattachedInterface.into()) };
    let lapsed = settings.has_lapsed(now);
    let arrival = Arrival {
        datagram,
        interface: packet.interface(),
        partial,
        generation: settings.generation,
        ticks_per_second: settings.ticks_per_second,
        now,
    };
    let entry = tables.connection(datagram.protocol, &datagram.key);
    desk.known = entry.is_some();
    if let Some(entry) = entry
        && entry.generation == arrival.generation
        && datagram.flags & (SYN | FIN | RST | ACK) == ACK
        && !lapsed
    {
        touch(entry, &arrival);
        let (real_server, reply) = (entry.real_server, entry.flags & flags::REPLY != 0);
        let verdict = deliver(packet, &arrival, entry, Outcome::Forwarded);
        tables.count(real_server, Row::of(reply), datagram.packet_length() as u64);
        return Some(verdict);
    }
    desk.arrival = arrival;
    None
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

/// The longer way of the packet on the desk.
#[inline(always)]
pub fn longer<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    desk: &mut Desk<A>,
) -> Verdict {
    let outcome = decide(packet, tables, desk);
    if outcome == Outcome::Reset {
        return reset::answer(packet, &desk.arrival);
    }
    if outcome.disposition() != Disposition::Send {
        return outcome.into();
    }
    deliver(packet, &desk.arrival, &desk.entry, outcome)
}

/// How the packet on the desk ends; if it is sent, then as `desk.entry` says.
#[inline(always)]
fn decide<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
) -> Outcome {
    if let Some(outcome) = review::review(tables, desk) {
        return outcome;
    }
    if let Some(outcome) = unproven::unproven(packet, tables, desk) {
        return outcome;
    }
    if tables.is_vip(desk.arrival.datagram.key.destination) {
        return open::for_vip(packet, tables, desk);
    }
    stateless::reply(tables, desk)
}

/// Notes when the entry was last used, at most once a second: a cache line that is only read stays where it is.
#[inline(always)]
pub(crate) const fn touch<A>(entry: &mut Connection<A>, arrival: &Arrival<A>) {
    if arrival.now.wrapping_sub(entry.last_seen) >= arrival.ticks_per_second {
        entry.last_seen = arrival.now;
    }
}

/// Translates the packet as its entry says; it then ends as `sent`, unless the kernel has to deliver it.
#[inline(always)]
fn deliver<A: Ip, P: Packet>(
    packet: &mut P,
    arrival: &Arrival<A>,
    entry: &Connection<A>,
    sent: Outcome,
) -> Verdict {
    let datagram = &arrival.datagram;
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
    if fits { Verdict::sent(sent, entry.next_hop.interface) } else { Outcome::KernelRoute.into() }
}
