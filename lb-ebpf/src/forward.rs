//! The decision: what becomes of a packet.
//!
//! [`known`] is the short way of a packet whose connection is known and goes on as before, and of a packet that is none of
//! our business at first sight. Everything else is put on the desk, and [`follow`] leads it along the other [`Way`]s. The
//! kernel verifies each of them apart from the others.

use lb_common::{
    addr::{Mac, V4, V6},
    connection::{Connection, flags},
    mark::NOBODY,
    outcome::{Disposition, Outcome},
    service::{Interface, interface},
};

use crate::{
    answer,
    connection::RealAddress,
    desk::{Desk, Desks, Workspace},
    express::express,
    fragment::{self, Fragmented},
    headers::{Ethernet, ether_type, protocol},
    icmp::Icmp,
    ip::{Ip, Network},
    open,
    packet::Packet,
    parse::{Arrival, Unreadable, datagram},
    quote, review,
    rewrite::{self, Exit, Translation},
    stateless,
    tables::{Route, Tables},
    unproven,
    verdict::{self, Verdict},
    virtual_mac, vlan,
};

/// What the short way found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The packet has ended.
    Ended(Verdict),
    /// It is IPv4, and this is the word of its verdict or of what becomes of it.
    V4(u32),
    /// It is IPv6.
    V6(u32),
    /// It has VLAN tags: see [`vlan::arrive`].
    Tagged,
}

/// Length of the Ethernet header: where IP begins.
pub(crate) const NETWORK: usize = size_of::<Ethernet>();

/// The ways of a packet on the desk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Reads it, of any form.
    Read,
    /// A fragment: [`crate::fragment`].
    Fragment,
    /// ICMP: `quote`.
    Icmp,
    /// As one of a known connection: `review`, `unproven`.
    Connection,
    /// As the first of a connection, or of none: [`crate::open`], `stateless`.
    Begin,
    /// Out as the desk says, to end as the verdict of this word.
    Send(u32),
    /// The answer to a packet that ended as the outcome of this number: `answer`.
    Answer(u32),
}

/// Leads a packet that has come as far as `word` says along its ways: `walk` goes one of them and returns such a word.
#[inline(always)]
pub fn follow(mut word: u32, mut walk: impl FnMut(Way) -> u32) -> Verdict {
    if verdict::is_end(word) {
        return Verdict::from_word(word);
    }
    if word == verdict::UNREAD {
        word = walk(Way::Read);
    }
    word = match word {
        verdict::FRAGMENT => walk(Way::Fragment),
        verdict::ICMP => walk(Way::Icmp),
        word => word,
    };
    if word != verdict::GOES_ON {
        return Verdict::from_word(word);
    }
    word = walk(Way::Connection);
    if word == verdict::GOES_ON {
        word = walk(Way::Begin);
    }
    // What is sent of itself needs no entry.
    let ended = Verdict::from_word(word);
    if ended.disposition() == Disposition::Send && !answer::is_asked_for(ended.number()) {
        word = walk(Way::Send(word));
    }
    let ended = Verdict::from_word(word).number();
    if answer::is_asked_for(ended) {
        word = walk(Way::Answer(ended));
    }
    Verdict::from_word(word)
}

/// Goes one way.
#[inline(always)]
pub fn walk<A: Icmp + Fragmented + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    desk: &mut Desk<A>,
    way: Way,
) -> u32 {
    match way {
        Way::Read => read(packet, tables, desk),
        Way::Fragment => fragment::fragment(packet, tables, desk),
        Way::Icmp => quote::translate(packet, tables, desk).to_word(),
        Way::Connection => follow_connection(packet, tables, desk),
        Way::Begin => Verdict::from(begin(packet, tables, desk)).to_word(),
        Way::Send(sent) => send(packet, tables, desk, Verdict::from_word(sent)).to_word(),
        Way::Answer(outcome) => answer::answer(packet, tables, desk, outcome).to_word(),
    }
}

/// Decides what becomes of `packet` and translates it.
pub fn forward<P: Packet, T: Tables<V4> + Tables<V6>>(
    packet: &mut P,
    tables: &mut T,
    workspace: &mut Workspace,
) -> Verdict {
    let interface = tables.interface(packet.interface()).copied();
    let verdict = match known(packet, tables, workspace, interface) {
        Step::Tagged => match vlan::arrive(packet, tables, &mut workspace.tags) {
            verdict::GOES_ON => {
                let interface = workspace.tags.interface();
                let step = vlan::known(packet, tables, workspace, interface);
                let verdict = lead(packet, tables, workspace, step);
                vlan::depart(packet, tables, &workspace.tags, verdict)
            }
            ended => Verdict::from_word(ended),
        },
        step => lead(packet, tables, workspace, step),
    };
    if verdict.is_tagged() { vlan::leave(packet, tables, verdict) } else { verdict }
}

/// Goes on after the first step with a packet without tags.
fn lead<P: Packet, T: Tables<V4> + Tables<V6>>(
    packet: &mut P,
    tables: &mut T,
    workspace: &mut Workspace,
    step: Step,
) -> Verdict {
    match step {
        Step::Ended(verdict) => verdict,
        Step::Tagged => Outcome::NotIp.into(),
        Step::V4(word) => follow(word, |way| walk(packet, tables, &mut workspace.v4, way)),
        Step::V6(word) => follow(word, |way| walk(packet, tables, &mut workspace.v6, way)),
    }
}

/// The short way of a packet that arrived on this interface.
#[inline(always)]
pub fn known<P: Packet, T: Tables<V4> + Tables<V6>, D: Desks<V4> + Desks<V6>>(
    packet: &mut P,
    tables: &mut T,
    desks: &mut D,
    interface: Option<Interface>,
) -> Step {
    let Some(ethernet) = packet.get::<Ethernet>(0) else { return Step::Ended(Outcome::NotIp.into()) };
    let version = ethernet.ether_type.get();
    if version != ether_type::IPV4 && version != ether_type::IPV6 {
        return if vlan::is_tag(version) { Step::Tagged } else { Step::Ended(Outcome::NotIp.into()) };
    }
    let interface = match interface {
        Some(interface) if interface.flags & interface::ATTACHED != 0 => interface,
        _ => return Step::Ended(Outcome::UnattachedInterface.into()),
    };
    let (own, asked) = (interface.mac.0, ethernet.destination);
    // Word by word: as one comparison they are first put together.
    if (own[0] ^ asked[0]) | (own[1] ^ asked[1]) | (own[2] ^ asked[2]) != 0
        && let Some(outcome) = virtual_mac::gate(tables, packet.interface(), Mac(asked))
    {
        return Step::Ended(outcome.into());
    }
    // Senders there may leave checksums to their hardware, which then is this host.
    let partial = interface.flags & interface::VIRTUAL != 0;
    if version == ether_type::IPV4 {
        Step::V4(express::<V4, P, T, D>(packet, tables, desks, partial))
    } else {
        Step::V6(express::<V6, P, T, D>(packet, tables, desks, partial))
    }
}

/// Reads a packet of any form from its IP header on, and puts it on the desk if it goes on.
#[inline(always)]
fn read<A: Ip, P: Packet, T: Tables<A>>(packet: &P, tables: &mut T, desk: &mut Desk<A>) -> u32 {
    let Some(network) = A::read(packet, NETWORK) else {
        return Verdict::from(Outcome::MalformedForeign).to_word();
    };
    if !network.sound || !network.whole {
        return ours_or(tables, &network, Outcome::MalformedIp, Outcome::MalformedForeign).to_word();
    }
    if network.fragment {
        return verdict::FRAGMENT;
    }
    match datagram(packet, NETWORK, &network) {
        Ok(datagram) => desk.arrival.datagram = datagram,
        Err(Unreadable::Malformed) => {
            return ours_or(tables, &network, Outcome::MalformedTransport, Outcome::MalformedForeign)
                .to_word();
        }
        Err(Unreadable::Protocol) => {
            return match network.protocol {
                protocol::ICMP | protocol::ICMPV6 => verdict::ICMP,
                _ => Verdict::from(Outcome::OtherProtocol).to_word(),
            };
        }
    }
    let datagram = &desk.arrival.datagram;
    if !tables.concerns(datagram.key.source, datagram.key.destination) {
        return Verdict::from(Outcome::NoService).to_word();
    }
    desk.known = tables.connection(datagram.protocol, &datagram.key).is_some();
    if !desk.arrival.complete(tables) {
        return Verdict::from(Outcome::UnattachedInterface).to_word();
    }
    verdict::GOES_ON
}

/// Only what is for a VIP is ever dropped.
#[inline(always)]
pub(crate) fn ours_or<A: Ip, T: Tables<A>>(
    tables: &T,
    network: &Network<A>,
    ours: Outcome,
    foreign: Outcome,
) -> Verdict {
    if tables.is_vip(network.destination) { ours.into() } else { foreign.into() }
}

/// The segment or datagram on the desk as one of a connection that is known, however far; it [`GOES_ON`](verdict::GOES_ON)
/// when there is none.
#[inline(always)]
fn follow_connection<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
) -> u32 {
    let mut ended = review::review(packet, tables, desk);
    if ended.is_none() {
        ended = unproven::unproven(packet, tables, desk);
    }
    ended.map_or(verdict::GOES_ON, |outcome| Verdict::from(outcome).to_word())
}

/// How the packet on the desk ends when no connection is known; if it is sent, then as `desk.entry` says.
#[inline(always)]
fn begin<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
) -> Outcome {
    match open::service(tables, &desk.arrival) {
        open::ELSEWHERE => stateless::reply(tables, desk),
        NOBODY => Outcome::NoService,
        index => open::for_service(packet, tables, desk, index),
    }
}

/// Sends the packet on the desk as `desk.entry` says, unless it cannot go on.
#[inline(always)]
fn send<A: Ip, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    desk: &mut Desk<A>,
    sent: Verdict,
) -> Verdict {
    let reply = desk.entry.flags & flags::REPLY != 0;
    if desk.arrival.datagram.ttl <= 1 {
        return if reply { Outcome::TtlExpired } else { Outcome::TimeExceeded }.into();
    }
    let exit = match fit(packet, tables, desk) {
        Fit::Fits => Exit::Wire(&desk.entry.next_hop),
        Fit::Kernel => Exit::Kernel,
        Fit::TooBig => return if reply { Outcome::Oversized } else { Outcome::TooBig }.into(),
    };
    deliver(packet, &desk.arrival, &desk.entry, exit, sent)
}

/// How the packet gets through its next hop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Fits,
    /// The next hop is not known, or the kernel divides the packet.
    Kernel,
    /// It does not, and its sender has to learn that.
    TooBig,
}

/// Compares the packet with the MTU of its next hop, which is asked for again before a sender is told of it.
#[inline(always)]
fn fit<A: Ip, P: Packet, T: Tables<A>>(packet: &P, tables: &mut T, desk: &mut Desk<A>) -> Fit {
    let arrival = &desk.arrival;
    let length = arrival.datagram.packet_length();
    let next_hop = &mut desk.entry.next_hop;
    if length <= next_hop.mtu as usize {
        return Fit::Fits;
    }
    // Longer than the wire it came from takes: segments that were joined on the way (GRO), which the kernel divides again.
    let joined = tables.interface(arrival.interface).is_none_or(|wire| length > wire.mtu as usize);
    if next_hop.mtu == 0 || joined || A::may_fragment(packet, arrival.datagram.network as usize) {
        return Fit::Kernel;
    }
    match tables.route(arrival.datagram.protocol, &desk.entry.translated, arrival.interface, next_hop) {
        Route::Via if length <= next_hop.mtu as usize => Fit::Fits,
        Route::Via => Fit::TooBig,
        Route::NeighbourUnknown | Route::NotForwarded => Fit::Kernel,
    }
}

/// Notes when the entry was last used, at most once a second: a cache line that is only read stays where it is.
#[inline(always)]
pub(crate) const fn touch<A>(entry: &mut Connection<A>, now: u32, ticks_per_second: u32) {
    if is_stale(entry, now, ticks_per_second) {
        entry.last_seen = now;
    }
}

/// Not used for a second. A datagram then goes the longer way, where the other direction is looked after.
#[inline(always)]
pub(crate) const fn is_stale<A>(entry: &Connection<A>, now: u32, ticks_per_second: u32) -> bool {
    now.wrapping_sub(entry.last_seen) >= ticks_per_second
}

/// Translates the packet as its entry says; it then ends as `sent`, unless the kernel has to deliver it.
#[inline(always)]
fn deliver<A: Ip, P: Packet>(
    packet: &mut P,
    arrival: &Arrival<A>,
    entry: &Connection<A>,
    exit: Exit<'_>,
    sent: Verdict,
) -> Verdict {
    let translation =
        Translation { to: &entry.translated, l3_delta: entry.l3_delta, l4_delta: entry.l4_delta };
    if rewrite::apply(packet, &arrival.datagram, translation, exit, arrival.partial).is_none() {
        return Outcome::Unwritable.into();
    }
    match exit {
        Exit::Wire(next_hop) => sent.through(next_hop.interface),
        Exit::Kernel => Outcome::KernelRoute.into(),
    }
}
