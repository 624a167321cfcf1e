//! Frames with VLAN tags. They are decided on without: as if they had arrived on the VLAN device that their tags name, and as
//! if they left through one. Tags are taken off and put on here, and nothing else knows of them.

use lb_common::{
    addr::{V4, V6},
    connection::TAGGED,
    outcome::{Disposition, Outcome},
    service::Interface,
    vlan::{C_TAG, ID, S_TAG, Tag, VlanKey},
};

use crate::{
    desk::Desks,
    forward::{self, Step},
    headers::{Vlan, ether_type},
    packet::{Header, Packet},
    tables::{Common, Tables},
    verdict::{self, Verdict},
};

/// Length of one tag, and of both link addresses, which stand before all tags; in bytes.
const TAG: u32 = 4;
const ADDRESSES: usize = 12;

/// Tags as they stand in a frame, each with its ether type first.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Tags {
    /// Bytes that are tags: of none, one or two.
    length: u32,
    /// Index of the interface that they name.
    interface: u32,
    words: [u16; 4],
}

impl Tags {
    /// Index of the interface that they name.
    #[must_use]
    #[inline(always)]
    pub const fn interface(&self) -> u32 {
        self.interface
    }

    /// What frames of a VLAN device have. Their priority is 0.
    #[inline(always)]
    const fn of(device: &Interface) -> Self {
        let Interface { outer, inner, .. } = device;
        let words = [outer.protocol.to_be(), outer.id.to_be(), inner.protocol.to_be(), inner.id.to_be()];
        Self { length: if inner.id == 0 { TAG } else { 2 * TAG }, interface: 0, words }
    }
}

/// Whether this ether type is that of a tag.
#[inline(always)]
pub(crate) const fn is_tag(ether_type: u16) -> bool {
    ether_type == C_TAG || ether_type == S_TAG
}

/// Takes the tags off a frame and notes them: then it [`GOES_ON`](verdict::GOES_ON) to [`known`], and in the end to
/// [`depart`]. Or the word of the verdict of a frame that ends here, untouched.
#[inline(always)]
pub fn arrive<P: Packet, T: Common>(packet: &mut P, tables: &T, tags: &mut Tags) -> u32 {
    match find(packet, tables, tags) {
        Ok(interface) => {
            tags.interface = interface;
            if pop(packet, tags.length as usize).is_some() {
                verdict::GOES_ON
            } else {
                Verdict::from(Outcome::Unwritable).to_word()
            }
        }
        Err(outcome) => Verdict::from(outcome).to_word(),
    }
}

/// The short way of a frame whose tags were taken off, as on the interface that they name.
#[inline(always)]
pub fn known<P: Packet, T: Tables<V4> + Tables<V6>, D: Desks<V4> + Desks<V6>>(
    packet: &mut P,
    tables: &mut T,
    desks: &mut D,
    interface: u32,
) -> Step {
    let device = Common::interface(tables, interface).copied();
    forward::known(&mut Untagged { packet, interface }, tables, desks, device)
}

/// The last step: what passes or goes up to the kernel gets its tags as they were; what is sent gets those of the interface
/// that it leaves through.
#[inline(always)]
pub fn depart<P: Packet, T: Common>(packet: &mut P, tables: &T, tags: &Tags, verdict: Verdict) -> Verdict {
    match verdict.disposition() {
        Disposition::Drop => verdict,
        Disposition::Send => leave(packet, tables, verdict),
        Disposition::Pass | Disposition::Kernel => {
            push(packet, tags).map_or_else(|| Outcome::Unwritable.into(), |()| verdict)
        }
    }
}

/// Makes ready for the wire what leaves through a VLAN device: it gets the tags and leaves through the device's parent. What
/// leaves through another interface stays as it is.
#[inline(always)]
pub fn leave<P: Packet, T: Common>(packet: &mut P, tables: &T, verdict: Verdict) -> Verdict {
    let index = verdict.interface() & !TAGGED;
    match tables.interface(u32::from(index)) {
        Some(device) if device.parent != 0 => {
            let (parent, tags) = (device.parent, Tags::of(device));
            push(packet, &tags).map_or_else(|| Outcome::Unwritable.into(), |()| verdict.through(parent))
        }
        _ => verdict.through(index),
    }
}

/// The interface that a frame's tags name, with the tags; or how the frame ends, untouched.
///
/// A tag without a VLAN id says only how urgent the frame is (IEEE 802.1Q section 6.9.1): it names nothing.
#[inline(always)]
fn find<P: Packet, T: Common>(packet: &P, tables: &T, tags: &mut Tags) -> Result<u32, Outcome> {
    let first = packet.get::<Vlan>(ADDRESSES).ok_or(Outcome::NotIp)?;
    tags.length = TAG;
    tags.words[0] = first.protocol.to_wire();
    tags.words[1] = first.control.to_wire();
    let (mut outer, mut inner) = (named(first), Tag::NONE);
    let mut network = first.ether_type.get();
    if is_tag(network) {
        let second = packet.get::<Vlan>(ADDRESSES + TAG as usize).ok_or(Outcome::NotIp)?;
        tags.length = 2 * TAG;
        tags.words[2] = second.protocol.to_wire();
        tags.words[3] = second.control.to_wire();
        inner = named(second);
        network = second.ether_type.get();
    }
    if is_tag(network) {
        return Err(Outcome::UnknownVlan);
    }
    if network != ether_type::IPV4 && network != ether_type::IPV6 {
        return Err(Outcome::NotIp);
    }
    if outer.id == 0 {
        outer = inner;
        inner = Tag::NONE;
    }
    if outer.id == 0 {
        return Ok(packet.interface());
    }
    tables.vlan(&VlanKey { parent: packet.interface(), outer, inner }).ok_or(Outcome::UnknownVlan)
}

#[inline(always)]
const fn named(tag: &Vlan) -> Tag {
    let id = tag.control.get() & ID;
    if id == 0 { Tag::NONE } else { Tag { protocol: tag.protocol.get(), id } }
}

/// Takes `length` bytes of tags off the frame.
#[inline(always)]
fn pop<P: Packet>(packet: &mut P, length: usize) -> Option<()> {
    move_addresses(packet, 0, length)?;
    packet.shrink(length).then_some(())
}

/// Puts tags on the frame.
#[inline(always)]
fn push<P: Packet>(packet: &mut P, tags: &Tags) -> Option<()> {
    let length = tags.length as usize;
    if !packet.grow(length) {
        return None;
    }
    move_addresses(packet, length, 0)?;
    let [first_protocol, first_control, second_protocol, second_control] = tags.words;
    let first: &mut [u16; 2] = packet.get_mut(ADDRESSES)?;
    first[0] = first_protocol;
    first[1] = first_control;
    if tags.length > TAG {
        let second: &mut [u16; 2] = packet.get_mut(ADDRESSES + TAG as usize)?;
        second[0] = second_protocol;
        second[1] = second_control;
    }
    Some(())
}

#[inline(always)]
fn move_addresses<P: Packet>(packet: &mut P, from: usize, to: usize) -> Option<()> {
    let [a, b, c, d, e, f] = *packet.get::<[u16; ADDRESSES / 2]>(from)?;
    let moved: &mut [u16; ADDRESSES / 2] = packet.get_mut(to)?;
    moved[0] = a;
    moved[1] = b;
    moved[2] = c;
    moved[3] = d;
    moved[4] = e;
    moved[5] = f;
    Some(())
}

/// A frame whose tags were taken off, on the interface that they name.
struct Untagged<'a, P> {
    packet: &'a mut P,
    interface: u32,
}

impl<P: Packet> Packet for Untagged<'_, P> {
    #[inline(always)]
    fn interface(&self) -> u32 {
        self.interface
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.packet.length()
    }

    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        self.packet.holds(length)
    }

    #[inline(always)]
    fn get<T: Header>(&self, offset: usize) -> Option<&T> {
        self.packet.get(offset)
    }

    #[inline(always)]
    fn get_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        self.packet.get_mut(offset)
    }

    #[inline(always)]
    fn sum(&self, offset: usize, length: usize) -> Option<u16> {
        self.packet.sum(offset, length)
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> bool {
        self.packet.truncate(length)
    }

    #[inline(always)]
    fn shrink(&mut self, length: usize) -> bool {
        self.packet.shrink(length)
    }

    #[inline(always)]
    fn grow(&mut self, length: usize) -> bool {
        self.packet.grow(length)
    }
}
