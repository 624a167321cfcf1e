//! The reverse index: what a real server's packets come from when no connection is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use crate::config::model::Protocol;

/// Collects who uses which real server. Only one that a single virtual server with a single listen address uses, and
/// with fixed ports on both sides, says where its packets come from.
#[derive(Debug, Default)]
pub(super) struct ReverseIndex {
    claims: BTreeMap<(Protocol, SocketAddr), Claim>,
    /// Real servers that keep the client's destination port: any of their packets may be for those.
    any_port: BTreeSet<(Protocol, IpAddr)>,
}

#[derive(Clone, Copy, Debug)]
enum Claim {
    Only(SocketAddr),
    Ambiguous,
}

impl ReverseIndex {
    /// A virtual server with these listen addresses uses the real server.
    pub(super) fn claim(&mut self, protocol: Protocol, real_server: SocketAddr, listen: &[SocketAddr]) {
        if real_server.port() == 0 {
            self.any_port.insert((protocol, real_server.ip()));
            return;
        }
        let claim = match listen {
            [only] if only.port() != 0 => Claim::Only(*only),
            _ => Claim::Ambiguous,
        };
        self.claims
            .entry((protocol, real_server))
            .and_modify(|known| *known = Claim::Ambiguous)
            .or_insert(claim);
    }

    /// Protocol, real server and the address that its packets come from.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Protocol, SocketAddr, SocketAddr)> {
        self.claims.iter().filter_map(|(&(protocol, real_server), claim)| match claim {
            Claim::Only(listen) if !self.any_port.contains(&(protocol, real_server.ip())) => {
                Some((protocol, real_server, *listen))
            }
            Claim::Only(_) | Claim::Ambiguous => None,
        })
    }
}
