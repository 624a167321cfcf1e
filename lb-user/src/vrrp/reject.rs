//! Why a packet is not heard, and what is wrong with a peer that is.

use serde::{Deserialize, Serialize};

/// The reason for which a packet was dropped. No timer moves for any of them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "kebab-case")]
pub enum Reject {
    /// Not sent by a router on this link (RFC 9568 5.1.1.3).
    #[error("hop limit is not 255")]
    HopLimit,
    /// Shorter than its header, or than its count of addresses says.
    #[error("shorter than its header says")]
    Truncated,
    /// Longer than its count of addresses says.
    #[error("longer than its header says")]
    TrailingBytes,
    /// Neither 2 nor 3, or 2 over IPv6.
    #[error("unknown protocol version")]
    UnknownVersion,
    /// The only type is 1, advertisement.
    #[error("not an advertisement")]
    Type,
    /// Virtual router id 0.
    #[error("virtual router id is 0")]
    VirtualRouterId,
    /// Neither form of the checksum fits.
    #[error("wrong checksum")]
    Checksum,
    /// Count of addresses 0.
    #[error("lists no address")]
    NoAddress,
    /// A master that never advertises.
    #[error("interval is 0")]
    ZeroInterval,
    /// Version 2 authentication of a type nobody uses.
    #[error("unknown authentication type")]
    UnknownAuthentication,
    /// The peer speaks the version that is not configured.
    #[error("the other protocol version")]
    Version,
    /// Multicast where unicast is configured, or the other way round.
    #[error("multicast where unicast is configured, or the reverse")]
    AddressingMode,
    /// Unicast from an address that is not listed.
    #[error("not from a listed peer")]
    UnlistedPeer,
    /// From one of our own addresses: a loop, or an address used twice.
    #[error("from our own address")]
    OwnAddress,
    /// Authenticated where nothing is configured, or the other way round.
    #[error("authenticated where nothing is configured, or the reverse")]
    AuthenticationType,
    /// A wrong password.
    #[error("wrong password")]
    Password,
    /// Without the trailer that is demanded.
    #[error("not signed")]
    Unsigned,
    /// A trailer of another type, or with reserved bits.
    #[error("malformed trailer")]
    Trailer,
    /// Signed with a key that is not configured.
    #[error("signed with an unknown key")]
    UnknownKey,
    /// Forged, or signed with another key of the same id.
    #[error("wrong signature")]
    Signature,
    /// Signed too long ago, or in the future: the clocks differ, or it was recorded.
    #[error("signed at another time")]
    Stale,
    /// Heard before.
    #[error("replayed")]
    Replayed,
}

impl Reject {
    /// As in the status and the metrics.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Whether it says that a peer is configured differently, which leaves two masters until somebody acts.
    #[must_use]
    pub fn is_mismatch(self) -> bool {
        match self {
            Self::Version
            | Self::AddressingMode
            | Self::UnlistedPeer
            | Self::OwnAddress
            | Self::AuthenticationType
            | Self::Password
            | Self::Unsigned
            | Self::UnknownKey
            | Self::Signature
            | Self::Stale => true,
            Self::HopLimit
            | Self::Truncated
            | Self::TrailingBytes
            | Self::UnknownVersion
            | Self::Type
            | Self::VirtualRouterId
            | Self::Checksum
            | Self::NoAddress
            | Self::ZeroInterval
            | Self::UnknownAuthentication
            | Self::Trailer
            | Self::Replayed => false,
        }
    }
}

/// A difference between a peer's configuration and ours that is no reason to ignore it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mismatch {
    /// Another list of virtual addresses.
    #[error("lists other virtual addresses")]
    Addresses,
    /// Another interval.
    #[error("advertises at another interval")]
    Interval,
    /// The other form of the checksum.
    #[error("uses the other form of the checksum")]
    Checksum,
}
