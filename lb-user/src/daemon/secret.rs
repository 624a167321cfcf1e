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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &[u8]) -> [u64; 2] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        fs::write(&file, secret).unwrap();
        hash_key(Some(&file)).unwrap().0
    }

    /// SHA-256 of "abc" (FIPS 180-2, appendix B.1) begins ba7816bf8f01cfea414140de5dae2223.
    #[test]
    fn the_key_is_the_same_on_every_node_and_every_machine() {
        assert_eq!(key(b"abc"), [0xeacf_018f_bf16_78ba, 0x2322_ae5d_de40_4141]);
    }

    #[test]
    fn white_space_around_the_secret_does_not_count() {
        assert_eq!(key(b" abc\n"), key(b"abc"));
        assert_ne!(key(b"a bc"), key(b"abc"));
    }

    #[test]
    fn no_file_is_the_empty_secret_and_a_missing_file_is_an_error() {
        assert_eq!(hash_key(None).unwrap().0, key(b""));
        assert!(hash_key(Some(Path::new("/nonexistent/secret"))).is_err());
    }
}
