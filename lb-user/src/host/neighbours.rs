//! Neighbours that the kernel has not heard of for a while are asked whether they are still there.
//!
//! The kernel asks when it sends to such a neighbour itself. What XDP sends is not known to it, so a neighbour that has got
//! another link address without saying so would never be asked for it.

use std::{collections::HashSet, io, pin::pin};

use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourMessage, NeighbourState};
use tokio_stream::StreamExt as _;

use super::reach::destination;

/// Has the kernel ask all stale neighbours on the interfaces of these indices: at most as many as its tables hold (1,024 by
/// default, `gc_thresh3`), each once in 20 seconds or more (`base_reachable_time`).
///
/// # Errors
///
/// When there is no netlink socket, or the kernel does not list its neighbours.
pub async fn ask_the_stale(interfaces: &HashSet<u32>) -> io::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let ask = async {
        let mut listed = pin!(handle.neighbours().get().execute());
        let mut stale = Vec::new();
        while let Some(neighbour) = listed.next().await {
            let neighbour = neighbour.map_err(io::Error::other)?;
            if is_stale(&neighbour) && interfaces.contains(&neighbour.header.ifindex) {
                stale.extend(destination(&neighbour).map(|address| (neighbour.header.ifindex, address)));
            }
        }
        for (interface, address) in stale {
            let use_it = handle.neighbours().add(interface, address).replace();
            // Without a state and a link address nothing is set; one that has gone meanwhile is asked anew.
            let asked = use_it.state(NeighbourState::None).flags(NeighbourFlags::Use).execute().await;
            if let Err(error) = asked {
                tracing::debug!("cannot ask the neighbour {address}: {error}");
            }
        }
        Ok(())
    };
    tokio::select! {
        asked = ask => asked,
        () = connection => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

fn is_stale(neighbour: &NeighbourMessage) -> bool {
    neighbour.header.state == NeighbourState::Stale
}
