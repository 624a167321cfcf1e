//! The links that packets arrive and leave on, as rtnetlink describes them.

use std::{collections::BTreeMap, fs, io, path::Path, pin::pin};

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp};
use tokio_stream::StreamExt as _;

use super::{
    macvlans::{self, Macvlan},
    vlans::{self, Vlan},
};

/// One Ethernet link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it; another one when it is made anew.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its own Ethernet address.
    pub mac: [u8; 6],
    /// The longest IP packet it takes, in bytes.
    pub mtu: u32,
    /// Switched on and with a carrier.
    pub up: bool,
    /// veth, tun, tap or virtio: the sender is a kernel too, and may have left the checksum to be finished here.
    pub is_virtual: bool,
    /// The XDP program that runs on it, whoever attached it.
    pub xdp: Option<XdpInfo>,
    /// The VLAN devices on it.
    pub vlans: Vec<Vlan>,
    /// The devices with virtual MAC addresses on it and on them.
    pub macvlans: Vec<Macvlan>,
}

/// A program that is attached to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpInfo {
    /// Where it runs.
    pub mode: Mode,
    /// The kernel's number for it.
    pub program_id: u32,
}

/// Where an attached program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, or in the card.
    Native,
    /// In the kernel's generic path.
    Generic,
}

/// Why links cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    /// They are not there.
    #[error(
        "interface {} (global.interfaces) does not exist; this machine has: {}",
        names.join(", "),
        present.join(", ")
    )]
    Missing {
        /// All that are not there.
        names: Vec<String>,
        /// All that are.
        present: Vec<String>,
    },
    /// It has no Ethernet address.
    #[error("interface {0} (global.interfaces) is not an Ethernet interface")]
    NotEthernet(String),
    /// Its frames are seen where they arrive, and were to be seen again.
    #[error(
        "interface {name} (global.interfaces) is a VLAN device on {parent}, which is there too: leave out {name}, its frames \
         are balanced on {parent}"
    )]
    Stacked {
        /// The VLAN device.
        name: String,
        /// The interface it is on.
        parent: String,
    },
    /// There is no netlink socket.
    #[error("cannot open a netlink socket")]
    Socket(#[from] io::Error),
    /// The kernel does not list them.
    #[error("cannot list the interfaces")]
    Kernel(#[from] rtnetlink::Error),
}

/// The links with these names, in this order, in the current network namespace.
///
/// # Errors
///
/// See [`LinksError`].
pub async fn links(names: &[String]) -> Result<Vec<Link>, LinksError> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let messages = tokio::select! {
        messages = list(&handle) => messages?,
        () = connection => return Err(rtnetlink::Error::RequestFailed.into()),
    };
    let mut links = select(names, &messages)?;
    for link in &mut links {
        link.is_virtual |= is_virtio(&link.name);
    }
    Ok(links)
}

async fn list(handle: &rtnetlink::Handle) -> Result<Vec<LinkMessage>, rtnetlink::Error> {
    let mut answers = pin!(handle.link().get().execute());
    let mut messages = Vec::new();
    while let Some(message) = answers.next().await {
        messages.push(message?);
    }
    Ok(messages)
}

fn select(names: &[String], messages: &[LinkMessage]) -> Result<Vec<Link>, LinksError> {
    let present: BTreeMap<String, &LinkMessage> =
        messages.iter().filter_map(|message| Some((name(message)?, message))).collect();
    let missing: Vec<_> = names.iter().filter(|name| !present.contains_key(*name)).cloned().collect();
    if !missing.is_empty() {
        return Err(LinksError::Missing { names: missing, present: present.into_keys().collect() });
    }
    let mut links: Vec<Link> = names
        .iter()
        .filter_map(|name| Some((name, present.get(name)?)))
        .map(|(name, message)| link(name, message).ok_or_else(|| LinksError::NotEthernet(name.clone())))
        .collect::<Result<_, _>>()?;
    for link in &mut links {
        link.vlans = vlans::on(link.index, messages);
        let below = std::iter::once(link.index).chain(link.vlans.iter().map(|vlan| vlan.index));
        link.macvlans = below.flat_map(|index| macvlans::on(index, messages)).collect();
    }
    for parent in &links {
        if let Some(stacked) = parent.vlans.iter().find(|vlan| names.contains(&vlan.name)) {
            let (name, parent) = (stacked.name.clone(), parent.name.clone());
            return Err(LinksError::Stacked { name, parent });
        }
    }
    Ok(links)
}

fn name(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

/// None when there is no Ethernet address.
fn link(name: &str, message: &LinkMessage) -> Option<Link> {
    let running = LinkFlags::Up | LinkFlags::Running;
    let mut mac = None;
    let mut mtu = 0;
    let mut is_virtual = false;
    let mut xdp = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::LinkInfo(infos) => {
                is_virtual =
                    infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth | InfoKind::Tun)));
            }
            LinkAttribute::Xdp(attributes) => xdp = attached(attributes),
            _ => {}
        }
    }
    Some(Link {
        index: message.header.index,
        name: name.to_owned(),
        mac: mac?,
        mtu,
        up: message.header.flags.contains(running),
        is_virtual,
        xdp,
        vlans: Vec::new(),
        macvlans: Vec::new(),
    })
}

/// A link may have a program of each mode; the driver's sees the packets first.
fn attached(attributes: &[LinkXdp]) -> Option<XdpInfo> {
    let native = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::DrvProgId(id) | LinkXdp::HwProgId(id) => {
            Some(XdpInfo { mode: Mode::Native, program_id: *id })
        }
        _ => None,
    });
    native.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            LinkXdp::SkbProgId(id) => Some(XdpInfo { mode: Mode::Generic, program_id: *id }),
            _ => None,
        })
    })
}

fn is_virtio(name: &str) -> bool {
    let driver = Path::new("/sys/class/net").join(name).join("device/driver");
    fs::read_link(driver).is_ok_and(|driver| driver.ends_with("virtio_net"))
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{InfoData, InfoVlan, VlanProtocol};

    use super::*;

    fn message(index: u32, name: &str, more: &[LinkAttribute]) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.extend_from_slice(more);
        message
    }

    fn select_one(more: &[LinkAttribute]) -> Result<Link, LinksError> {
        let mut attributes = vec![LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]), LinkAttribute::Mtu(1500)];
        attributes.extend_from_slice(more);
        let links = select(&["eth0".to_owned()], &[message(4, "eth0", &attributes)])?;
        Ok(links.into_iter().next().unwrap())
    }

    #[test]
    fn every_missing_interface_is_named_beside_what_there_is() {
        let present = [message(2, "eth1", &[]), message(1, "lo", &[])];
        let wanted = ["eth1", "eth7", "eth8"].map(String::from);
        let error = select(&wanted, &present).unwrap_err();
        assert_eq!(
            error.to_string(),
            "interface eth7, eth8 (global.interfaces) does not exist; this machine has: eth1, lo"
        );
    }

    #[test]
    fn an_interface_without_ethernet_address_is_refused() {
        let error = select(&["wg0".to_owned()], &[message(3, "wg0", &[])]).unwrap_err();
        assert!(matches!(error, LinksError::NotEthernet(name) if name == "wg0"));
    }

    #[test]
    fn a_vlan_device_beside_its_parent_is_refused_and_alone_is_not() {
        let address = LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]);
        let infos = vec![InfoVlan::Id(100), InfoVlan::Protocol(VlanProtocol::Ieee8021Q)];
        let info = LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Vlan(infos))]);
        let mut vlan = message(5, "eth0.100", &[address.clone(), LinkAttribute::Link(4), info]);
        vlan.header.flags = LinkFlags::Up;
        let present = [message(4, "eth0", &[address]), vlan];
        let error = select(&["eth0".to_owned(), "eth0.100".to_owned()], &present).unwrap_err();
        assert_eq!(
            error.to_string(),
            "interface eth0.100 (global.interfaces) is a VLAN device on eth0, which is there too: leave out eth0.100, its \
             frames are balanced on eth0"
        );
        let names = |wanted: &str| {
            let links = select(&[wanted.to_owned()], &present).unwrap();
            links[0].vlans.iter().map(|vlan| vlan.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names("eth0"), ["eth0.100"]);
        assert!(names("eth0.100").is_empty());
    }

    #[test]
    fn a_kind_tells_whether_the_sender_is_a_kernel_too() {
        let cases = [(InfoKind::Veth, true), (InfoKind::Tun, true), (InfoKind::Vlan, false)];
        for (kind, expected) in cases {
            let link = select_one(&[LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind.clone())])]).unwrap();
            assert_eq!(link.is_virtual, expected, "{kind}");
        }
        assert!(!select_one(&[]).unwrap().is_virtual);
    }

    #[test]
    fn the_attached_program_is_known_by_mode_and_number() {
        let native = Some(XdpInfo { mode: Mode::Native, program_id: 7 });
        let generic = Some(XdpInfo { mode: Mode::Generic, program_id: 9 });
        let cases: [(&[LinkXdp], _); 4] = [
            (&[], None),
            (&[LinkXdp::DrvProgId(7), LinkXdp::ProgId(7)], native),
            (&[LinkXdp::SkbProgId(9), LinkXdp::ProgId(9)], generic),
            (&[LinkXdp::SkbProgId(9), LinkXdp::DrvProgId(7)], native),
        ];
        for (attributes, expected) in cases {
            let link = select_one(&[LinkAttribute::Xdp(attributes.to_vec())]).unwrap();
            assert_eq!(link.xdp, expected, "{attributes:?}");
        }
    }

    #[tokio::test]
    async fn the_kernel_lists_the_loopback_interface() {
        let links = links(&["lo".to_owned()]).await.unwrap();
        let said = fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        assert_eq!(links.first().unwrap().mtu.to_string(), said.trim());
    }
}
