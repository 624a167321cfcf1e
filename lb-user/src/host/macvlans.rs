//! Devices with a virtual router's MAC address: macvlan devices, made, switched on and off, removed, and found.
//!
//! Their mode is `bridge`. In the mode `private` the kernel hands a multicast frame from the wire whose source is the device's
//! own address to the device and to nobody else (`macvlan_handle_frame` in drivers/net/macvlan.c): two masters would not hear
//! each other on the interface below.

use std::{fs, io, path::Path, pin::pin};

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode};
use nix::errno::Errno;
use rtnetlink::{Handle, LinkMacVlan, LinkMessageBuilder, LinkUnspec};
use tokio_stream::StreamExt as _;

use super::addresses::errno;
use crate::config::vrrp::VirtualMac;

/// A device on an interface, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its own Ethernet address.
    pub mac: [u8; 6],
    /// The longest IP packet it takes, in bytes.
    pub mtu: u32,
    /// Index of the interface that it is on.
    pub parent: u32,
    /// Switched on.
    pub up: bool,
}

/// Why a device is not as it is wanted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no netlink socket.
    #[error("cannot open a netlink socket")]
    Socket(#[from] io::Error),
    /// The kernel cannot.
    #[error(
        "cannot make {device} for the virtual MAC address {mac} (use_vmac): this kernel has no macvlan devices (CONFIG_MACVLAN, \
         module macvlan)"
    )]
    Unknown {
        /// Its name.
        device: String,
        /// Its address.
        mac: String,
    },
    /// It is somebody else's.
    #[error(
        "{device} is wanted for the virtual MAC address {mac} on {parent} (use_vmac), and is something else: remove it, or give \
         the virtual MAC address another device with use_vmac = \"NAME\""
    )]
    Foreign {
        /// Its name.
        device: String,
        /// The address that is wanted.
        mac: String,
        /// Where.
        parent: String,
    },
    /// The kernel refused.
    #[error(
        "cannot {verb} {device}, the device of the virtual MAC address {mac} (use_vmac; CAP_NET_ADMIN is needed)"
    )]
    Kernel {
        /// What was tried.
        verb: &'static str,
        /// Its name.
        device: String,
        /// Its address.
        mac: String,
        /// What it said.
        source: rtnetlink::Error,
    },
}

/// What became of a device that is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was there already, of an earlier run.
    Adopted,
    /// It was made.
    New,
    /// The interface that it would be on is not there.
    WithoutParent,
}

/// The way to the kernel.
#[derive(Clone, Debug)]
pub struct Macvlans(pub(super) Handle);

impl Macvlans {
    /// Opens a netlink socket in the current network namespace and drives it on the current runtime.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Makes the device, switched off, unless it is there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn make(&self, wanted: &VirtualMac) -> Result<Made, Error> {
        let Some(parent) = self.link(&wanted.parent).await.map(|link| link.header.index) else {
            return Ok(Made::WithoutParent);
        };
        if let Some(present) = self.link(&wanted.device).await {
            let is_ours = macvlan(&present).is_some_and(|found| {
                found.parent == parent && found.mac == wanted.address && is_bridge(&present)
            });
            return if is_ours {
                prepare(wanted);
                Ok(Made::Adopted)
            } else {
                let (device, parent) = (wanted.device.clone(), wanted.parent.clone());
                Err(Error::Foreign { device, mac: wanted.to_string(), parent })
            };
        }
        let message =
            LinkMacVlan::new(&wanted.device, parent, MacVlanMode::Bridge).address(wanted.address.to_vec());
        match self.0.link().add(message.build()).execute().await {
            Ok(()) => {
                prepare(wanted);
                Ok(Made::New)
            }
            Err(error) if errno(&error) == Some(Errno::EOPNOTSUPP) => {
                Err(Error::Unknown { device: wanted.device.clone(), mac: wanted.to_string() })
            }
            Err(source) => Err(failed("make", wanted, source)),
        }
    }

    /// Switches the device on or off; one that is not there is off.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn switch(&self, wanted: &VirtualMac, on: bool) -> Result<(), Error> {
        let Some(found) = self.ours(wanted).await.filter(|found| found.up != on) else { return Ok(()) };
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(found.index);
        let message = if on { message.up() } else { message.down() };
        let verb = if on { "switch on" } else { "switch off" };
        let done = self.0.link().set(message.build()).execute().await;
        done.map_err(|source| failed(verb, wanted, source))
    }

    /// Removes the device if it is there; says whether it was.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn remove(&self, wanted: &VirtualMac) -> Result<bool, Error> {
        let Some(found) = self.ours(wanted).await else { return Ok(false) };
        match self.0.link().del(found.index).execute().await {
            Ok(()) => Ok(true),
            Err(error) if errno(&error) == Some(Errno::ENODEV) => Ok(false),
            Err(source) => Err(failed("remove", wanted, source)),
        }
    }

    /// The device, if it has the address.
    async fn ours(&self, wanted: &VirtualMac) -> Option<Macvlan> {
        let found = macvlan(&self.link(&wanted.device).await?)?;
        (found.mac == wanted.address).then_some(found)
    }

    /// None when there is none of that name.
    async fn link(&self, name: &str) -> Option<LinkMessage> {
        let mut answers = pin!(self.0.link().get().match_name(name).execute());
        answers.next().await?.ok()
    }
}

fn failed(verb: &'static str, wanted: &VirtualMac, source: rtnetlink::Error) -> Error {
    Error::Kernel { verb, device: wanted.device.clone(), mac: wanted.to_string(), source }
}

/// What frames of the device need, and nothing that would make it speak by itself. The sysctls vanish with it.
///
/// It answers ARP for its own addresses only, and asks in nobody else's name; it takes packets that the routes would send
/// elsewhere, and from addresses of this machine. An address that goes takes no other one of its network along. For IPv6 it
/// neither makes an address of its MAC address (RFC 9568 section 7.4) nor listens to routers; without IPv6 addresses it has no
/// IPv6.
fn prepare(wanted: &VirtualMac) {
    let v4 = [
        ("arp_ignore", "1"),
        ("arp_announce", "2"),
        ("rp_filter", "0"),
        ("accept_local", "1"),
        ("send_redirects", "0"),
        ("promote_secondaries", "1"),
    ];
    let off = [("disable_ipv6", "1")];
    let on = [("disable_ipv6", "0"), ("addr_gen_mode", "1"), ("accept_ra", "0"), ("autoconf", "0")];
    let v6 = if wanted.ipv6 { &on[..] } else { &off[..] };
    for (family, settings) in [("ipv4", &v4[..]), ("ipv6", v6)] {
        let directory = Path::new("/proc/sys/net").join(family).join("conf").join(&wanted.device);
        if family == "ipv6" && !directory.exists() {
            continue;
        }
        for (name, value) in settings {
            if let Err(error) = fs::write(directory.join(name), value) {
                tracing::warn!(device = wanted.device, %error, "cannot set {name} of a virtual MAC address's device");
            }
        }
    }
}

fn is_bridge(message: &LinkMessage) -> bool {
    use netlink_packet_route::link::{InfoData, InfoMacVlan};
    let infos = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos.flatten().any(|info| match info {
        LinkInfo::Data(InfoData::MacVlan(infos)) => infos.contains(&InfoMacVlan::Mode(MacVlanMode::Bridge)),
        _ => false,
    })
}

/// Those with a virtual router's address on the interface with index `parent`.
pub(super) fn on(parent: u32, messages: &[LinkMessage]) -> Vec<Macvlan> {
    let is_virtual = |found: &Macvlan| found.parent == parent && found.mac[..4] == [0x00, 0x00, 0x5e, 0x00];
    messages.iter().filter_map(macvlan).filter(is_virtual).collect()
}

/// None of other devices. An index in another network namespace is nobody's here.
fn macvlan(message: &LinkMessage) -> Option<Macvlan> {
    let (mut name, mut mac, mut mtu, mut parent, mut is_macvlan) = (None, None, 0, None, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkNetNsId(_) => return None,
            LinkAttribute::LinkInfo(infos) => is_macvlan = infos.contains(&LinkInfo::Kind(InfoKind::MacVlan)),
            _ => {}
        }
    }
    let (index, up) = (message.header.index, message.header.flags.contains(LinkFlags::Up));
    let found = Macvlan { index, name: name?, mac: mac?, mtu, parent: parent?, up };
    is_macvlan.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(index: u32, mac: [u8; 6], kind: InfoKind) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![
            LinkAttribute::IfName("vrrp.51".to_owned()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::Link(2),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
        ];
        message
    }

    #[test]
    fn only_macvlan_devices_with_a_virtual_routers_address_are_found() {
        let virtual_ = [0, 0, 0x5e, 0, 1, 51];
        let messages = [
            message(7, virtual_, InfoKind::MacVlan),
            message(8, [2, 0, 0, 0, 0, 8], InfoKind::MacVlan),
            message(9, virtual_, InfoKind::Veth),
        ];
        let found = on(2, &messages);
        let (name, mac) = ("vrrp.51".to_owned(), virtual_);
        assert_eq!(found, [Macvlan { index: 7, name, mac, mtu: 1500, parent: 2, up: false }]);
        assert_eq!(on(3, &messages), []);
        let mut elsewhere = message(7, virtual_, InfoKind::MacVlan);
        elsewhere.attributes.push(LinkAttribute::LinkNetNsId(0));
        assert_eq!(on(2, &[elsewhere]), []);
    }
}
