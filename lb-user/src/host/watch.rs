//! Tells when links or the paths to other hosts change; bursts become one event.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
    time::Duration,
};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteFlags, RouteMessage},
};
use rtnetlink::{MulticastGroup, sys::SocketAddr};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_stream::{Stream, StreamExt as _};

/// The shortest time between two events.
const REST: Duration = Duration::from_millis(50);

const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// What changed on this host. The order is that of what there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostEvent {
    /// A neighbour, address, route or rule: next hops that were looked up before may be wrong.
    Paths,
    /// A link came, went or changed. `Paths` follows, because the kernel tells nothing of the routes that a link takes down.
    Links,
}

/// Watches the current network namespace on the current runtime, until the receiver is dropped.
///
/// The channel closes when the kernel cannot be heard any more.
///
/// # Errors
///
/// When there is no netlink socket to be had.
pub fn watch() -> io::Result<mpsc::Receiver<HostEvent>> {
    let (connection, handle, messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
    let (events, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        // The connection ends when nobody can ask through it.
        let _handle = handle;
        tokio::select! {
            () = connection => {}
            () = publish(messages, events) => {}
        }
    });
    Ok(receiver)
}

/// The first event of a burst goes out at once, the others as one when the rest is over.
async fn publish(
    mut messages: impl Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)> + Unpin,
    events: mpsc::Sender<HostEvent>,
) {
    let mut known = Known::default();
    let mut pending = None;
    let mut rest = interval(REST);
    rest.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some((message, _)) = message else { return };
                pending = pending.max(known.meaning(&message.payload));
            }
            _ = rest.tick(), if pending.is_some() => {
                if pending.take() == Some(HostEvent::Links) && events.send(HostEvent::Links).await.is_err() {
                    return;
                }
                if events.send(HostEvent::Paths).await.is_err() {
                    return;
                }
            }
            () = events.closed() => return,
        }
    }
}

/// What the kernel said before: most of its messages only repeat it.
///
/// What was there before the first message is unknown, and the first word about it counts as a change.
#[derive(Debug, Default)]
struct Known {
    /// By interface and address; none where the neighbour does not answer.
    neighbours: HashMap<(u32, IpAddr), Option<[u8; 6]>>,
    addresses: HashSet<(u32, IpAddr, u8)>,
}

impl Known {
    fn meaning(&mut self, payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<HostEvent> {
        use RouteNetlinkMessage as Message;
        let changed = match payload {
            NetlinkPayload::InnerMessage(message) => match message {
                Message::NewLink(_) | Message::DelLink(_) => return Some(HostEvent::Links),
                Message::NewNeighbour(neighbour) => self.neighbour(neighbour),
                Message::DelNeighbour(neighbour) => self.neighbour_gone(neighbour),
                Message::NewAddress(address) => self.address(address),
                Message::DelAddress(address) => self.address_gone(address),
                Message::NewRoute(route) | Message::DelRoute(route) => !is_cached(route),
                Message::NewRule(_) | Message::DelRule(_) => true,
                _ => false,
            },
            // Messages were lost, and with them what they would have changed.
            NetlinkPayload::Overrun(_) => {
                *self = Self::default();
                return Some(HostEvent::Links);
            }
            _ => false,
        };
        changed.then_some(HostEvent::Paths)
    }

    fn neighbour(&mut self, message: &NeighbourMessage) -> bool {
        let Some(neighbour) = neighbour(message) else { return false };
        let mac = mac(message);
        self.neighbours.insert(neighbour, mac) != Some(mac)
    }

    fn neighbour_gone(&mut self, message: &NeighbourMessage) -> bool {
        let Some(neighbour) = neighbour(message) else { return false };
        // One that did not answer leads nowhere before and after.
        self.neighbours.remove(&neighbour) != Some(None)
    }

    /// The lifetime of an address is renewed again and again.
    fn address(&mut self, message: &AddressMessage) -> bool {
        address(message).is_some_and(|address| self.addresses.insert(address))
    }

    fn address_gone(&mut self, message: &AddressMessage) -> bool {
        address(message).inspect(|address| _ = self.addresses.remove(address)).is_some()
    }
}

/// None for entries of a bridge, and for multicast, whose address needs nobody's answer.
fn neighbour(message: &NeighbourMessage) -> Option<(u32, IpAddr)> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    (!address.is_multicast()).then_some((message.header.ifindex, address))
}

/// Where frames to the neighbour go; none when that is not known.
fn mac(message: &NeighbourMessage) -> Option<[u8; 6]> {
    let is_valid = match message.header.state {
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Noarp
        | NeighbourState::Permanent => true,
        // Incomplete, failed, none.
        _ => false,
    };
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    mac.filter(|_| is_valid)
}

fn address(message: &AddressMessage) -> Option<(u32, IpAddr, u8)> {
    // On IPv4 the address is the peer's where there is one, and the local one is ours.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    Some((message.header.index, address, message.header.prefix_len))
}

/// What the kernel made for one destination out of a route that is there already.
fn is_cached(message: &RouteMessage) -> bool {
    message.header.flags.contains(RouteFlags::Cloned)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
