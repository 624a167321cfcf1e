//! What holds for every frame whatever comes in: nobody else's packet is harmed, and nothing malformed goes out.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::addr::{V4, V6};
use lb_common::connection::ConnectionKey;
use lb_common::outcome::{Disposition, Outcome};
use lb_ebpf::memory::{Family, Memory, OfFamily};

use crate::icmp;
use crate::lab::{Ended, Lab, hex};
use crate::packet::untagged;
use crate::read::{Seen, is_left_to_hardware, read};
use crate::reset;
use crate::stream::Dice;
use crate::world;

/// A frame arrives; why what became of it is not safe, if it is not.
pub(crate) fn try_frame(lab: &mut Lab<'_>, interface: u32, frame: &[u8]) -> Result<(), String> {
    let ours = is_ours(&untagged(frame), &lab.memory);
    let ended = lab.frame(interface, frame);
    is_safe(ours, frame, &ended)
        .map_err(|fault| format!("{fault}\nout {}\n{:?}", hex(&ended.bytes), ended.verdict))
}

/// The controller, the sweep and eviction at their worst: tables that contradict each other.
pub(crate) fn upset(dice: &mut Dice, memory: &mut Memory) {
    let real = dice.below(memory.real_servers.len()) as u32;
    match dice.below(10) {
        0 => memory.settings.as_mut().unwrap().generation += 1,
        1 => drop(memory.real_servers.remove(&real)),
        2 => memory.real_servers.values_mut().for_each(|server| server.flags = dice.below(8) as u16),
        7 => memory.virtual_servers.values_mut().for_each(|server| server.flags = dice.below(8) as u32),
        8 => {
            memory
                .virtual_servers
                .values_mut()
                .for_each(|server| server.client_prefix = dice.below(40) as u32);
            memory.v4.templates.values_mut().for_each(|template| template.real_server = real);
            let rules = memory.v4.marks.values_mut().flat_map(|table| &mut table.rules);
            rules.for_each(|rule| rule.virtual_server = dice.below(60) as u32);
        }
        3 => drop(memory.loads.remove(&real)),
        4 => memory.scheduling.values_mut().for_each(|table| table.truncate(dice.below(table.len() + 1))),
        5 => memory.scheduling.values_mut().flatten().for_each(|slot| *slot = dice.below(60) as u32),
        6 => {
            memory.v4.tcp.retain(|_, _| dice.below(3) != 0);
            memory.v4.half_open.retain(|_, _| dice.below(3) != 0);
            memory.v6.half_open.retain(|_, _| dice.below(3) != 0);
        }
        _ => {
            memory.v4.routes.retain(|_, _| dice.below(4) != 0);
            memory.now = dice.below(1 << 32) as u32;
        }
    }
}

/// For a VIP or of a connection, as the addresses in the raw bytes say, and the ports where etherparse can read them.
fn is_ours(frame: &[u8], memory: &Memory) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => is_of::<V4, 4>(frame, 26, &memory.v4, |bytes| Ipv4Addr::from(bytes).into()),
        Some([0x86, 0xdd]) => is_of::<V6, 16>(frame, 22, &memory.v6, |bytes| Ipv6Addr::from(bytes).into()),
        _ => false,
    }
}

/// `first` is the offset of the source address, of `LENGTH` bytes; the destination follows.
fn is_of<A: OfFamily, const LENGTH: usize>(
    frame: &[u8],
    first: usize,
    family: &Family<A>,
    address: fn([u8; LENGTH]) -> A,
) -> bool {
    let at = |offset: usize| Some(address(frame.get(offset..offset + LENGTH)?.try_into().ok()?));
    let (Some(source), Some(destination)): (Option<A>, Option<A>) = (at(first), at(first + LENGTH)) else {
        return false;
    };
    // An error is of the connection whose packet it quotes.
    let (source, destination) = match icmp::quoted_ends(frame) {
        Some((from, to)) if !family.vips.contains(&destination) => {
            return keys(family).any(|key| (key.source.to_ip(), key.destination.to_ip()) == (to, from));
        }
        _ => (source, destination),
    };
    let ports = read(frame).map(|seen| (seen.source.port(), seen.destination.port()));
    family.vips.contains(&destination)
        || family.marks.keys().any(|prefix| destination.masked(prefix.length) == prefix.address)
        || keys(family).filter(|key| (key.source, key.destination) == (source, destination)).any(|key| {
            ports.is_none_or(|ports| ports == (key.source_port.number(), key.destination_port.number()))
        })
}

/// What the connections of a family are looked up by.
fn keys<A>(family: &Family<A>) -> impl Iterator<Item = &ConnectionKey<A>> {
    family.tcp.keys().chain(family.udp.keys()).chain(family.half_open.keys())
}

fn is_safe(ours: bool, frame: &[u8], ended: &Ended) -> Result<(), String> {
    let disposition = ended.verdict.outcome().disposition();
    let outcome = ended.verdict.outcome();
    let resets = outcome == Outcome::Reset;
    let answers = matches!(outcome, Outcome::Refused | Outcome::TimeExceeded | Outcome::TooBig);
    if disposition == Disposition::Pass && ended.bytes != frame {
        return Err("it passes and was changed".into());
    }
    // A frame that is sent has the tags of where it goes.
    let (frame, bytes) = (&*untagged(frame), &*untagged(&ended.bytes));
    if !resets && !answers && bytes.len() != frame.len() {
        return Err("its length changed".into());
    }
    if !ours && disposition != Disposition::Pass {
        return Err("it is not ours".into());
    }
    if resets {
        return reset::check(frame, bytes);
    }
    if answers {
        return icmp::is_answer(outcome, frame, bytes);
    }
    if outcome == Outcome::IcmpTranslated {
        return icmp::is_translated(frame, bytes);
    }
    if !matches!(disposition, Disposition::Send | Disposition::Kernel) {
        return Ok(());
    }
    let (Some(before), after) = (read(frame), read(bytes)) else { return Ok(()) };
    let Some(after) = after else { return Err("it was well-formed and came out malformed".into()) };
    let hops = before.hops - u8::from(disposition == Disposition::Send);
    if (after.protocol, after.hops, &after.payload) != (before.protocol, hops, &before.payload) {
        return Err("more than its addresses changed".into());
    }
    // What the kernel is to finish, and is right by chance, looks like any other.
    let whole = before.transport_whole
        && !(disposition == Disposition::Kernel && is_left_to_hardware(frame, &before));
    if before.network_whole != after.network_whole || whole && !after.transport_whole {
        return Err("a checksum that was right is wrong".into());
    }
    let kept = (before.source == after.source, before.destination == after.destination);
    if kept == (false, false) && !turns_round(&before, &after) {
        return Err("both of its ends changed".into());
    }
    Ok(())
}

/// Client and real server are on one link, and the real server speaks with the balancer's address there.
fn turns_round(before: &Seen, after: &Seen) -> bool {
    let link = world::link_of(before.source.ip());
    link.is_some_and(|link| {
        link == world::link_of(after.destination.ip()).unwrap_or_default()
            && [before.destination.ip(), after.source.ip()].contains(&link.addr())
    })
}
