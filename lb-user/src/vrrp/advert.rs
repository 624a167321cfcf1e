//! Advertisements as bytes: RFC 9568 section 5 (version 3) and RFC 3768 section 5 (version 2).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use crate::{
    config::vrrp::{Checksum, MAX_ADVERTISED, Priority, Version},
    vrrp::{checksum::Sum, reject::Reject},
};

/// IP protocol number.
pub const PROTOCOL: u8 = 112;
/// Where advertisements go over IPv4.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where advertisements go over IPv6.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

const TYPE: u8 = 1;
const HEADER: usize = 8;
const PASSWORD: usize = 8;

/// What an advertisement tells the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// [`Priority::RESIGN`] when the master gives up.
    pub priority: Priority,
    /// How often its sender sends. Carried in seconds (version 2) or hundredths (version 3).
    pub interval: Duration,
}

/// A whole advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which form it has.
    pub version: Version,
    /// 1..=255.
    pub virtual_router_id: u8,
    /// What it says.
    pub advert: Advert,
    /// 1..=255 addresses of the family it travels in.
    pub addresses: Vec<IpAddr>,
    /// Means something for version 3 over IPv4 only; else the only form there is.
    pub checksum: Checksum,
    /// Version 2 only.
    pub password: Option<[u8; PASSWORD]>,
}

/// The addresses of the IP header, for the pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Who sends.
    pub source: IpAddr,
    /// Who is meant.
    pub destination: IpAddr,
}

impl Packet {
    /// The bytes after the IP header. Addresses beyond the 255th, and those of another family than `path`, are
    /// left out; the interval is cut to what the field holds.
    #[must_use]
    pub fn encode(&self, path: Path) -> Vec<u8> {
        self.encode_signed(path, |_| Vec::new())
    }

    /// As [`Packet::encode`], with the trailer that `sign` makes of the message; its checksum is still zero.
    #[must_use]
    pub fn encode_signed(&self, path: Path, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.addresses.len() * 16 + PASSWORD);
        let version = match self.version {
            Version::V2 => 2u8,
            Version::V3 => 3,
        };
        bytes.extend([version << 4 | TYPE, self.virtual_router_id, self.advert.priority.0, 0]);
        bytes.extend(match self.version {
            Version::V2 => [u8::from(self.password.is_some()), seconds(self.advert.interval)],
            Version::V3 => centiseconds(self.advert.interval).to_be_bytes(),
        });
        bytes.extend([0, 0]);
        let family = path.source.is_ipv6();
        let mut count = 0;
        for address in self.addresses.iter().filter(|each| each.is_ipv6() == family).take(MAX_ADVERTISED) {
            match address {
                IpAddr::V4(address) => bytes.extend(address.octets()),
                IpAddr::V6(address) => bytes.extend(address.octets()),
            }
            count += 1;
        }
        bytes[3] = count;
        if self.version == Version::V2 {
            bytes.extend(self.password.unwrap_or_default());
        }
        let length = bytes.len();
        bytes.extend(sign(&bytes));
        let summed = summed(&bytes, length, path);
        let sum = Sum::of(summed, covered(self.version, self.checksum, path)).checksum();
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// Reads what [`Packet::encode`] writes, and refuses everything else.
    ///
    /// # Errors
    /// Every way in which the bytes alone can be wrong has its own [`Reject`].
    pub fn decode(bytes: &[u8], path: Path) -> Result<Self, Reject> {
        Self::decode_signed(bytes, bytes.len(), path)
    }

    /// As [`Packet::decode`], of a message of `length` bytes with a trailer after it, which is not looked into.
    ///
    /// # Errors
    /// As of [`Packet::decode`].
    pub fn decode_signed(whole: &[u8], length: usize, path: Path) -> Result<Self, Reject> {
        let bytes = whole.get(..length).ok_or(Reject::Truncated)?;
        let (&[first, virtual_router_id, priority, count, high, low, ..], Some(rest)) =
            (bytes, bytes.get(HEADER..))
        else {
            return Err(Reject::Truncated);
        };
        let version = match (first >> 4, path.source) {
            (2, IpAddr::V4(_)) => Version::V2,
            (3, _) => Version::V3,
            _ => return Err(Reject::UnknownVersion),
        };
        if first & 0xf != TYPE {
            return Err(Reject::Type);
        }
        let size = if path.source.is_ipv6() { 16 } else { 4 };
        let trailer = if version == Version::V2 { PASSWORD } else { 0 };
        let list = usize::from(count) * size;
        match rest.len().cmp(&(list + trailer)) {
            std::cmp::Ordering::Less => return Err(Reject::Truncated),
            std::cmp::Ordering::Greater => return Err(Reject::TrailingBytes),
            std::cmp::Ordering::Equal => {}
        }
        let checksum = [Checksum::PseudoHeader, Checksum::Rfc9568]
            .into_iter()
            .find(|form| Sum::of(summed(whole, length, path), covered(version, *form, path)).is_whole())
            .ok_or(Reject::Checksum)?;
        if virtual_router_id == 0 {
            return Err(Reject::VirtualRouterId);
        }
        if count == 0 {
            return Err(Reject::NoAddress);
        }
        let (list, trailer) = rest.split_at(list);
        let (interval, password) = match version {
            Version::V2 => (Duration::from_secs(u64::from(low)), password(high, trailer)?),
            // The upper four bits are reserved and ignored.
            Version::V3 => {
                (Duration::from_millis(u64::from(u16::from_be_bytes([high & 0xf, low])) * 10), None)
            }
        };
        if interval.is_zero() {
            return Err(Reject::ZeroInterval);
        }
        Ok(Self {
            version,
            virtual_router_id,
            advert: Advert { priority: Priority(priority), interval },
            addresses: addresses(list, size),
            checksum,
            password,
        })
    }
}

/// How long the message is that begins like this, without a trailer; none when it is of no known version.
pub(super) fn message_length(bytes: &[u8], source: IpAddr) -> Option<usize> {
    let (first, count) = (bytes.first()?, usize::from(*bytes.get(3)?));
    match (first >> 4, source) {
        (2, IpAddr::V4(_)) => Some(HEADER + count * 4 + PASSWORD),
        (3, IpAddr::V4(_)) => Some(HEADER + count * 4),
        (3, IpAddr::V6(_)) => Some(HEADER + count * 16),
        _ => None,
    }
}

/// What the checksum covers: over IPv6 all that follows the IP header, as the kernel has it; over IPv4 the message.
fn summed(whole: &[u8], length: usize, path: Path) -> &[u8] {
    if path.source.is_ipv6() { whole } else { whole.get(..length).unwrap_or(whole) }
}

/// The pseudo-header, where the checksum covers one.
fn covered(version: Version, form: Checksum, path: Path) -> Option<Path> {
    match (version, path.source, form) {
        (Version::V2, _, _) | (Version::V3, IpAddr::V4(_), Checksum::Rfc9568) => None,
        (Version::V3, IpAddr::V6(_), _) | (Version::V3, IpAddr::V4(_), Checksum::PseudoHeader) => Some(path),
    }
}

fn password(kind: u8, trailer: &[u8]) -> Result<Option<[u8; PASSWORD]>, Reject> {
    match kind {
        0 => Ok(None),
        1 => trailer.try_into().map(Some).map_err(|_| Reject::Truncated),
        _ => Err(Reject::UnknownAuthentication),
    }
}

fn addresses(list: &[u8], size: usize) -> Vec<IpAddr> {
    list.chunks_exact(size)
        .filter_map(|each| {
            let v4 = <[u8; 4]>::try_from(each).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(each).map(IpAddr::from);
            v4.or(v6).ok()
        })
        .collect()
}

fn seconds(interval: Duration) -> u8 {
    u8::try_from(interval.as_secs()).unwrap_or(u8::MAX).max(1)
}

fn centiseconds(interval: Duration) -> u16 {
    u16::try_from(interval.as_millis() / 10).unwrap_or(u16::MAX).clamp(1, 0xfff)
}

#[cfg(test)]
mod tests;
