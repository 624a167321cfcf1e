//! The trailer that authenticates an advertisement: draft-cassen-vrrp-auth-hmac, as keepalived 2.4.3 has it.
//!
//! ```text
//! 1 | key id | 0 0 | seconds (4) | their 65536th parts (2) | counter (2) | HMAC-SHA256, its first 16 bytes
//! ```
//! The HMAC covers a pseudo-header (family, version, virtual router id, source), the message with its checksum read as
//! zero, and the trailer with its HMAC read as zero. Over IPv4 the message's checksum leaves the trailer out, over IPv6 it
//! covers it.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::{
    config::vrrp::Key,
    vrrp::{advert::message_length, reject::Reject},
};

const TYPE: u8 = 1;
const PREFIX: usize = 12;
const DIGEST: usize = 16;
/// All of it.
const LENGTH: usize = PREFIX + DIGEST;
/// Where the checksum is in a message.
const CHECKSUM: std::ops::Range<usize> = 6..8;
/// Nodes' clocks may differ by this in any case.
const LEAST_WINDOW: Duration = Duration::from_secs(5);

/// When an advertisement was sent, and its place among those of its sender; compared as RFC 1982 compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence(u64);

impl Sequence {
    /// The moment, with a counter of 0.
    #[must_use]
    pub fn at(wall: SystemTime) -> Self {
        let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let parts = (u64::from(since.subsec_nanos()) << 16) / 1_000_000_000;
        // The 32 bits of seconds wrap.
        Self(since.as_secs() << 32 | parts << 16)
    }

    /// What is sent after `last`: the moment, or one more than before where the clock did not go on. A clock that was put
    /// back by more than the window begins anew: nobody would believe the old one.
    #[must_use]
    pub fn after(last: Option<Self>, wall: SystemTime, window: Duration) -> Self {
        let moment = Self::at(wall);
        match last {
            Some(last) if !moment.is_after(last) && last.is_within(window, moment) => {
                Self(last.0.wrapping_add(1))
            }
            _ => moment,
        }
    }

    fn is_after(self, other: Self) -> bool {
        self.0 != other.0 && self.0.wrapping_sub(other.0) < 1 << 63
    }

    fn is_within(self, window: Duration, of: Self) -> bool {
        let apart = (self.0 >> 32).wrapping_sub(of.0 >> 32) & 0xffff_ffff;
        u64::min(apart, (1 << 32) - apart) <= window.as_secs()
    }
}

/// How far the clocks of two nodes may differ: keepalived's default.
#[must_use]
pub fn window(advert_interval: Duration) -> Duration {
    (advert_interval * 3).max(LEAST_WINDOW)
}

/// The trailer of a message from `source` that is complete except for its checksum.
#[must_use]
pub fn sign(key: &Key, sequence: Sequence, source: IpAddr, message: &[u8]) -> Vec<u8> {
    let mut trailer = vec![TYPE, key.id, 0, 0];
    trailer.extend(sequence.0.to_be_bytes());
    let digest = digest(key, source, message, &trailer).finalize().into_bytes();
    trailer.extend(&digest[..DIGEST]);
    trailer
}

/// Splits a packet where it is as long as one with a trailer.
#[must_use]
pub fn split(packet: &[u8], source: IpAddr) -> (usize, Option<&[u8]>) {
    let length = message_length(packet, source).filter(|length| packet.len() == length + LENGTH);
    length.map_or((packet.len(), None), |length| (length, packet.get(length..)))
}

/// Verifies a trailer.
///
/// # Errors
/// Why it proves nothing.
pub fn verify(keys: &[Key], source: IpAddr, message: &[u8], trailer: &[u8]) -> Result<Sequence, Reject> {
    let Some((prefix, mac)) = trailer.split_at_checked(PREFIX) else { return Err(Reject::Trailer) };
    let ([TYPE, id, 0, 0, ..], Some(sequence)) = (prefix, prefix.last_chunk()) else {
        return Err(Reject::Trailer);
    };
    let key = keys.iter().find(|key| key.id == *id).ok_or(Reject::UnknownKey)?;
    let digest = digest(key, source, message, prefix);
    digest.verify_truncated_left(mac).map_err(|_| Reject::Signature)?;
    Ok(Sequence(u64::from_be_bytes(*sequence)))
}

fn digest(key: &Key, source: IpAddr, message: &[u8], prefix: &[u8]) -> Hmac<Sha256> {
    let mut pseudo = [0; 20];
    pseudo[0] = if source.is_ipv6() { 6 } else { 4 };
    pseudo[1] = message.first().map_or(0, |first| first >> 4);
    pseudo[2] = message.get(1).copied().unwrap_or(0);
    match source {
        IpAddr::V4(source) => pseudo[4..8].copy_from_slice(&source.octets()),
        IpAddr::V6(source) => pseudo[4..].copy_from_slice(&source.octets()),
    }
    // HMAC takes keys of any length.
    let mut hmac = <Hmac<Sha256>>::new_from_slice(&key.secret).unwrap_or_else(|_| Hmac::new(&[0; 64].into()));
    let before = message.get(..CHECKSUM.start).unwrap_or_default();
    let after = message.get(CHECKSUM.end..).unwrap_or_default();
    for part in [&pseudo, before, &[0; 2], after, prefix, &[0; DIGEST]] {
        hmac.update(part);
    }
    hmac
}

/// The last sequence of every sender whose trailer was good.
#[derive(Clone, Debug, Default)]
pub struct Marks(HashMap<IpAddr, Sequence>);

impl Marks {
    /// Takes what was sent after everything before, lately.
    ///
    /// # Errors
    /// It was sent too long ago, or too far in the future; or it is no newer than what was heard before.
    pub fn admit(
        &mut self,
        source: IpAddr,
        sequence: Sequence,
        wall: SystemTime,
        window: Duration,
    ) -> Result<(), Reject> {
        let now = Sequence::at(wall);
        if !sequence.is_within(window, now) {
            return Err(Reject::Stale);
        }
        // What is older would be refused for its age; and there are no more senders than that.
        self.0.retain(|_, mark| mark.is_within(window, now));
        if self.0.get(&source).is_some_and(|mark| !sequence.is_after(*mark)) {
            return Err(Reject::Replayed);
        }
        self.0.insert(source, sequence);
        Ok(())
    }
}

#[cfg(test)]
#[path = "trailer_tests.rs"]
mod tests;
