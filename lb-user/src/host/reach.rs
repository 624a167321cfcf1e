//! How this machine would reach an address: the kernel's route to it, and whether the next hop is known.

use std::{
    io,
    net::IpAddr,
    pin::{Pin, pin},
};

use netlink_packet_route::{
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
};
use nix::net::if_::if_indextoname;
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio_stream::{Stream, StreamExt as _};

/// The way to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// There is no route.
    NoRoute,
    /// It is an address of this machine.
    Local,
    /// Through an interface.
    Through(Way),
}

/// A route and its next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface.
    pub interface: String,
    /// The router; none for an address on the link.
    pub gateway: Option<IpAddr>,
    /// Our address there, which the kernel would send from.
    pub source: Option<IpAddr>,
    /// Whether the next hop answers.
    pub neighbour: Neighbour,
}

/// What is known of a next hop's link address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// It is known.
    Known,
    /// Nobody has asked for it lately.
    NotAsked,
    /// It was asked for, and nobody answered.
    Silent,
}

/// Ways to these addresses, in their order.
///
/// # Errors
///
/// When there is no netlink socket, or the kernel does not list its neighbours.
pub async fn reach(addresses: &[IpAddr]) -> io::Result<Vec<Reach>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let ask = async {
        let neighbours = collect(pin!(handle.neighbours().get().execute())).await?;
        let mut found = Vec::new();
        for address in addresses {
            found.push(match route(&handle, *address).await {
                Some(route) => way(*address, &route, &neighbours),
                None => Reach::NoRoute,
            });
        }
        Ok(found)
    };
    tokio::select! {
        found = ask => found,
        () = connection => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

async fn collect<T>(
    mut answers: Pin<&mut impl Stream<Item = Result<T, rtnetlink::Error>>>,
) -> io::Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(answer) = answers.next().await {
        all.push(answer.map_err(io::Error::other)?);
    }
    Ok(all)
}

/// None when the kernel has none: it answers with an error then.
async fn route(handle: &Handle, address: IpAddr) -> Option<RouteMessage> {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let question = RouteMessageBuilder::<IpAddr>::new().destination_prefix(address, length).ok()?.build();
    pin!(handle.route().get(question).execute()).next().await?.ok()
}

fn way(address: IpAddr, route: &RouteMessage, neighbours: &[NeighbourMessage]) -> Reach {
    match route.header.kind {
        RouteType::Local => return Reach::Local,
        RouteType::Unicast => {}
        // Blackhole, prohibit and the like.
        _ => return Reach::NoRoute,
    }
    let index = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let Some(index) = index else { return Reach::NoRoute };
    let gateway = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(gateway) => ip(gateway),
        _ => None,
    });
    let source = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(source) => ip(source),
        _ => None,
    });
    let next = gateway.unwrap_or(address);
    let state = neighbours
        .iter()
        .find(|neighbour| neighbour.header.ifindex == index && destination(neighbour) == Some(next));
    Reach::Through(Way {
        interface: if_indextoname(index)
            .map_or_else(|_| index.to_string(), |name| name.to_string_lossy().into_owned()),
        gateway,
        source,
        neighbour: match state.map(|neighbour| neighbour.header.state) {
            None | Some(NeighbourState::None) => Neighbour::NotAsked,
            Some(NeighbourState::Failed | NeighbourState::Incomplete) => Neighbour::Silent,
            Some(_) => Neighbour::Known,
        },
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

pub(super) fn destination(neighbour: &NeighbourMessage) -> Option<IpAddr> {
    neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_is_local_to_itself() {
        let here = ["127.0.0.1".parse().unwrap()];
        assert_eq!(reach(&here).await.unwrap(), [Reach::Local]);
    }
}
