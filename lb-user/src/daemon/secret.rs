//! The key of all hashing, from the cluster's secret.

use std::{fs, io, path::Path};

use lb_common::hash::HashKey;
use sha2::{Digest as _, Sha256};

/// The key that follows from the secret in `file`; without one, the key of the empty secret: the same on every node too,
/// but known to everybody.
///
/// # Errors
///
/// The file cannot be read.
pub(super) fn hash_key(file: Option<&Path>) -> io::Result<HashKey> {
    let secret = match file {
        Some(file) => fs::read(file)?,
        None => Vec::new(),
    };
    let digest: [u8; 32] = Sha256::digest(secret.trim_ascii()).into();
    let half = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    Ok(HashKey([half(0), half(8)]))
}
