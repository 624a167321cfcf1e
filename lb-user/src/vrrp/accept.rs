//! Which packets an instance hears: every check there is, before anything is allowed to move a timer.

use std::net::IpAddr;

use crate::{
    config::vrrp::{Authentication, Mode, Version, VrrpInstance},
    vrrp::{
        advert::{Packet, Path},
        reject::{Mismatch, Reject},
        trailer::{self, Sequence},
    },
};

const HOP_LIMIT: u8 = 255;

/// A packet as the socket gives it.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// From the IP header.
    pub path: Path,
    /// From the IP header.
    pub hop_limit: u8,
    /// After the IP header.
    pub payload: &'a [u8],
}

impl Datagram<'_> {
    /// Whom it is for, as far as can be told before any check.
    #[must_use]
    pub fn virtual_router_id(&self) -> Option<u8> {
        self.payload.get(1).copied()
    }
}

/// A packet that passed, and what is odd about it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What was said.
    pub packet: Packet,
    /// Where the peer's configuration differs.
    pub mismatches: Vec<Mismatch>,
    /// Of one that is signed. Whether it is new is not known here.
    pub sequence: Option<Sequence>,
}

/// Checks a packet against an instance; `own` are the addresses of this host.
///
/// # Errors
/// The first reason against it.
pub fn accept(instance: &VrrpInstance, own: &[IpAddr], datagram: &Datagram<'_>) -> Result<Heard, Reject> {
    if datagram.hop_limit != HOP_LIMIT {
        return Err(Reject::HopLimit);
    }
    let (length, trailer) = trailer::split(datagram.payload, datagram.path.source);
    let packet = Packet::decode_signed(datagram.payload, length, datagram.path)?;
    if packet.version != instance.version {
        return Err(Reject::Version);
    }
    let Path { source, destination } = datagram.path;
    if own.contains(&source) {
        return Err(Reject::OwnAddress);
    }
    if destination.is_multicast() != instance.unicast_peers.is_empty() {
        return Err(Reject::AddressingMode);
    }
    if !destination.is_multicast() && !instance.unicast_peers.contains(&source) {
        return Err(Reject::UnlistedPeer);
    }
    let sequence = match (&instance.authentication, packet.password, trailer) {
        (None, None, None) => None,
        (Some(Authentication::Pass(want)), Some(have), None) if *want == have => None,
        (Some(Authentication::Pass(_)), Some(_), None) => return Err(Reject::Password),
        (Some(Authentication::Hmac(hmac)), None, Some(trailer)) => {
            let message = datagram.payload.get(..length).unwrap_or_default();
            Some(trailer::verify(&hmac.keys, source, message, trailer)?)
        }
        (Some(Authentication::Hmac(hmac)), None, None) => match hmac.mode {
            Mode::Enforce => return Err(Reject::Unsigned),
            Mode::Permissive | Mode::ReceiveOnly => None,
        },
        (Some(_), _, _) | (None, Some(_), _) | (None, _, Some(_)) => return Err(Reject::AuthenticationType),
    };
    let mismatches = mismatches(instance, &packet, source);
    Ok(Heard { packet, mismatches, sequence })
}

fn mismatches(instance: &VrrpInstance, packet: &Packet, source: IpAddr) -> Vec<Mismatch> {
    let addresses = instance.advertised().count() != packet.addresses.len()
        || !instance.advertised().all(|address| packet.addresses.contains(&address));
    let forms = instance.version == Version::V3 && source.is_ipv4();
    [
        (addresses, Mismatch::Addresses),
        (packet.advert.interval != instance.advert_interval, Mismatch::Interval),
        (forms && packet.checksum != instance.checksum, Mismatch::Checksum),
    ]
    .into_iter()
    .filter_map(|(differs, mismatch)| differs.then_some(mismatch))
    .collect()
}

#[cfg(test)]
mod tests;
