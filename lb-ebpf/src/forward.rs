//! The decision: what becomes of a packet. Here is the short way of a packet whose connection is known; the longer ways
//! are in `review`, `unproven`, `open` and `stateless`.

use lb_common::{
    addr::{Protocol, V4, V6},
    connection::{Connection, flags},
    outcome::Outcome,
    service::interface,
    tcp::header::{FIN, RST, SYN},
};

use crate::{
    connection::RealAddress,
    desk::{Desk, Workspace},
    headers::{Ethernet, ether_type, protocol},
    ip::{Ip, Network},
    open,
    packet::Packet,
    parse::{Datagram, Unreadable, datagram},
    review,
    rewrite::{self, Exit, Translation},
    stateless,
    tables::Tables,
    unproven,
};

/// How a packet ends, and through which interface if it is sent.
// `repr(C)`: the outcome comes first, so that the tag of `Option<Verdict>` does. The kernel's BTF has no enums that carry
// data, and refuses what they are described as when the tag lies anywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
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

/// A TCP segment or UDP datagram and the circumstances of its arrival.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<A> {
    /// What arrived.
    pub datagram: Datagram<A>,
    /// Index of the interface it arrived on.
    pub interface: u32,
    /// Senders there may leave checksums to their hardware.
    pub partial: bool,
    /// [`lb_common::service::Settings::generation`].
    pub generation: u32,
    /// [`lb_common::service::Settings::ticks_per_second`].
    pub ticks_per_second: u32,
    /// [`crate::tables::Common::now`].
    pub now: u32,
}

/// What holds for a frame before its IP header is read.
#[derive(Clone, Copy, Debug)]
struct Ingress {
    interface: u32,
    partial: bool,
}

/// Length of the Ethernet header: where IP begins.
const NETWORK: usize = size_of::<Ethernet>();

/// Decides what becomes of `packet` and translates it.
#[inline(always)]
pub fn forward<P: Packet, T: Tables<V4> + Tables<V6>>(
    packet: &mut P,
    tables: &mut T,
    workspace: &mut Workspace,
) -> Verdict {
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
    if interface.mac.0 != ethernet.destination {
        return Outcome::ForeignMac.into();
    }
    let ingress = Ingress { interface: index, partial: interface.flags & interface::VIRTUAL != 0 };
    if version == ether_type::IPV4 {
        network(packet, tables, ingress, &mut workspace.v4)
    } else {
        network(packet, tables, ingress, &mut workspace.v6)
    }
}

#[inline(always)]
fn network<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    ingress: Ingress,
    desk: &mut Desk<A>,
) -> Verdict {
    let Some(network) = A::read(packet, NETWORK) else { return Outcome::MalformedForeign.into() };
    if !network.sound {
        return ours_or(tables, &network, Outcome::MalformedIp, Outcome::MalformedForeign);
    }
    if network.fragment {
        return ours_or(tables, &network, Outcome::FragmentUnknown, Outcome::Fragment);
    }
    let datagram = match datagram(packet, NETWORK, &network) {
        Ok(datagram) => datagram,
        Err(Unreadable::Malformed) => {
            return ours_or(tables, &network, Outcome::MalformedTransport, Outcome::MalformedForeign);
        }
        Err(Unreadable::Protocol) => {
            return match network.protocol {
                protocol::ICMP | protocol::ICMPV6 => Outcome::Icmp.into(),
                _ => Outcome::OtherProtocol.into(),
            };
        }
    };
    let Some(settings) = tables.settings() else { return Outcome::UnattachedInterface.into() };
    let arrival = Arrival {
        datagram,
        interface: ingress.interface,
        partial: ingress.partial,
        generation: settings.generation,
        ticks_per_second: settings.ticks_per_second,
        now: tables.now(),
    };
    transport(packet, tables, &arrival, desk)
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
    arrival: &Arrival<A>,
    desk: &mut Desk<A>,
) -> Verdict {
    let datagram = &arrival.datagram;
    if let Some(entry) = tables.connection(datagram.protocol, &datagram.key) {
        if entry.generation == arrival.generation && datagram.flags & (SYN | FIN | RST) == 0 {
            touch(entry, arrival);
            let (real_server, reply) = (entry.real_server, entry.flags & flags::REPLY != 0);
            let verdict = deliver(packet, arrival, entry, Outcome::Forwarded);
            tables.count_traffic(real_server, reply, datagram.packet_length() as u64);
            return verdict;
        }
        if let Some(verdict) = review::review(packet, tables, arrival, desk) {
            return verdict;
        }
    }
    if datagram.protocol == Protocol::Tcp
        && let Some(verdict) = unproven::unproven(packet, tables, arrival, desk)
    {
        return verdict;
    }
    if tables.is_vip(datagram.key.destination) {
        return open::for_vip(packet, tables, arrival, desk);
    }
    stateless::reply(packet, tables, arrival, desk)
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
pub(crate) fn deliver<A: Ip, P: Packet>(
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
    if fits {
        Verdict { outcome: sent, interface: entry.next_hop.interface }
    } else {
        Outcome::KernelRoute.into()
    }
}

/// [`deliver`], for the longer ways: one copy of its code for all of them.
#[inline(never)]
pub(crate) fn deliver_rarely<A: Ip, P: Packet>(
    packet: &mut P,
    arrival: &Arrival<A>,
    entry: &Connection<A>,
    sent: Outcome,
) -> Verdict {
    deliver(packet, arrival, entry, sent)
}
