//! How advertisements are authenticated, as it is meant.

use std::fmt;

/// The kind, and its keys.
#[derive(Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Version 2's plain password, padded with zeros. Keeps a wrongly configured router out, not an attacker.
    Pass([u8; 8]),
    /// The trailer of draft-cassen-vrrp-auth-hmac.
    Hmac(Hmac),
}

/// Keys of the trailer.
#[derive(Clone, PartialEq, Eq)]
pub struct Hmac {
    /// No two with one id. The first signs, any verifies.
    pub keys: Vec<Key>,
    /// What is demanded of peers.
    pub mode: Mode,
}

/// A key that all nodes share.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// 1..=255, as in the trailer.
    pub id: u8,
    /// 32 to 64 bytes.
    pub secret: Vec<u8>,
}

/// How far a set of nodes is on its way to trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All trailers are verified, and there must be one.
    Enforce,
    /// What has no trailer is heard too.
    Permissive,
    /// As permissive, and nothing is signed.
    ReceiveOnly,
}

impl Authentication {
    /// What signs, if anything does.
    #[must_use]
    pub fn signing(&self) -> Option<&Key> {
        match self {
            Self::Hmac(hmac) if hmac.mode != Mode::ReceiveOnly => hmac.keys.first(),
            Self::Hmac(_) | Self::Pass(_) => None,
        }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass(_) => f.write_str("Pass(..)"),
            Self::Hmac(Hmac { keys, mode }) => {
                let ids: Vec<u8> = keys.iter().map(|key| key.id).collect();
                write!(f, "Hmac({ids:?}, {mode:?})")
            }
        }
    }
}
