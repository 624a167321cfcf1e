//! VLAN devices: which of them are on top of an interface, and with which tags.

use lb_common::vlan::Tag;
use netlink_packet_route::link::{InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

/// A VLAN device that is switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its own Ethernet address.
    pub mac: [u8; 6],
    /// The longest IP packet it takes, in bytes.
    pub mtu: u32,
    /// The outer tag of its frames.
    pub outer: Tag,
    /// The inner one; [`Tag::NONE`] when they have only one.
    pub inner: Tag,
}

/// Those whose frames have tags on the interface with index `parent`: they are on it, or on another VLAN device that is. Those
/// with more tags than two are left out.
pub(super) fn on(parent: u32, messages: &[LinkMessage]) -> Vec<Vlan> {
    let mut found = Vec::new();
    for (outer, message) in above(parent, messages) {
        found.extend(device(message, outer, Tag::NONE));
        let within = above(message.header.index, messages);
        found.extend(within.filter_map(|(inner, message)| device(message, outer, inner)));
    }
    found
}

/// Index of the interface that a VLAN device is on, and the tag that it puts on frames; none of other devices.
///
/// An index in another network namespace is nobody's here.
pub(super) fn parent(message: &LinkMessage) -> Option<(u32, Tag)> {
    let mut parent = None;
    let mut tag = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkNetNsId(_) => return None,
            LinkAttribute::LinkInfo(infos) => tag = infos.iter().find_map(tag_of),
            _ => {}
        }
    }
    Some((parent?, tag?))
}

fn tag_of(info: &LinkInfo) -> Option<Tag> {
    let LinkInfo::Data(InfoData::Vlan(infos)) = info else { return None };
    let id = infos.iter().find_map(|info| match info {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    });
    let protocol = infos.iter().find_map(|info| match info {
        InfoVlan::Protocol(protocol) => Some(u16::from(*protocol)),
        _ => None,
    });
    Some(Tag { protocol: protocol?, id: id? })
}

fn above(parent_index: u32, messages: &[LinkMessage]) -> impl Iterator<Item = (Tag, &LinkMessage)> {
    messages.iter().filter_map(move |message| match parent(message) {
        Some((index, tag)) if index == parent_index => Some((tag, message)),
        _ => None,
    })
}

/// None when it is switched off: the kernel then drops what arrives on it, and so it does with what we leave to it.
fn device(message: &LinkMessage, outer: Tag, inner: Tag) -> Option<Vlan> {
    let (mut name, mut mac, mut mtu) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            _ => {}
        }
    }
    let is_up = message.header.flags.contains(LinkFlags::Up);
    is_up.then_some(Vlan { index: message.header.index, name: name?, mac: mac?, mtu, outer, inner })
}

#[cfg(test)]
mod tests {
    use lb_common::vlan::{C_TAG, S_TAG};
    use netlink_packet_core::Parseable as _;

    use super::*;

    /// A message of the kernel about a VLAN device with index 34 and VLAN id 101, as netlink-packet-route's own tests have
    /// captured it, behind its header: kind, protocol, id, flags and maps of priorities.
    const LINK_INFO: [u8; 80] = [
        0x50, 0x00, 0x12, 0x00, 0x09, 0x00, 0x01, 0x00, 0x76, 0x6c, 0x61, 0x6e, 0x00, 0x00, 0x00, 0x00, 0x40,
        0x00, 0x02, 0x00, 0x06, 0x00, 0x05, 0x00, 0x81, 0x00, 0x00, 0x00, 0x06, 0x00, 0x01, 0x00, 0x65, 0x00,
        0x00, 0x00, 0x0c, 0x00, 0x02, 0x00, 0x01, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x10, 0x00, 0x04,
        0x00, 0x0c, 0x00, 0x01, 0x00, 0x06, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x10, 0x00, 0x03, 0x00,
        0x0c, 0x00, 0x01, 0x00, 0x04, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00,
    ];

    /// The same message of a device with this index, on another, with this tag; switched on.
    fn device(index: u8, on: u8, Tag { protocol, id }: Tag) -> Vec<u8> {
        let mut info = LINK_INFO;
        info[24..26].copy_from_slice(&protocol.to_be_bytes());
        info[32..34].copy_from_slice(&id.to_le_bytes());
        let mut message = vec![0, 0, 1, 0, index, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0];
        // IFLA_LINK, IFLA_IFNAME, IFLA_ADDRESS, IFLA_MTU (linux/if_link.h).
        message.extend([8, 0, 5, 0, on, 0, 0, 0]);
        message.extend([7, 0, 3, 0, b'v', index, 0, 0]);
        message.extend([10, 0, 1, 0, 2, 0, 0, 0, 0, index, 0, 0]);
        message.extend([8, 0, 4, 0, 0xdc, 5, 0, 0]);
        message.extend(info);
        message
    }

    fn parse(messages: &[Vec<u8>]) -> Vec<LinkMessage> {
        messages.iter().map(|bytes| LinkMessage::parse(bytes.as_slice()).unwrap()).collect()
    }

    const fn c_tag(id: u16) -> Tag {
        Tag { protocol: C_TAG, id }
    }

    const PROVIDER: Tag = Tag { protocol: S_TAG, id: 200 };

    #[test]
    fn a_device_is_found_with_its_tag() {
        let found = on(2, &parse(&[device(34, 2, c_tag(101))]));
        let expected = Vlan {
            index: 34,
            name: "v\"".to_owned(),
            mac: [2, 0, 0, 0, 0, 34],
            mtu: 1500,
            outer: c_tag(101),
            inner: Tag::NONE,
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_device_on_a_device_has_both_tags_and_one_on_that_is_left_out() {
        let messages = [
            device(7, 6, c_tag(4)),
            device(6, 5, c_tag(300)),
            device(5, 2, PROVIDER),
            device(9, 3, c_tag(100)),
        ];
        let found: Vec<_> =
            on(2, &parse(&messages)).into_iter().map(|it| (it.index, it.outer, it.inner)).collect();
        assert_eq!(found, [(5, PROVIDER, Tag::NONE), (6, PROVIDER, c_tag(300))]);
    }

    #[test]
    fn what_is_switched_off_or_on_an_interface_of_another_namespace_is_nobodys() {
        let mut off = device(5, 2, c_tag(100));
        off[8] = 0;
        let mut elsewhere = device(6, 2, c_tag(101));
        // IFLA_LINK_NETNSID.
        elsewhere.extend([8, 0, 37, 0, 0, 0, 0, 0]);
        assert_eq!(on(2, &parse(&[off, elsewhere])), []);
    }

    #[test]
    fn an_interface_that_is_no_vlan_device_has_no_parent() {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::Link(2));
        assert_eq!(parent(&peer), None);
    }
}
