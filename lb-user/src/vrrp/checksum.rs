//! The Internet checksum (RFC 1071) over a message and, where it is covered, the pseudo-header.

use std::net::IpAddr;

use crate::vrrp::advert::{PROTOCOL, Path};

/// A one's complement sum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u32);

impl Sum {
    /// Over `message`, at most 64 KiB, after the pseudo-header of `path`.
    pub(super) fn of(message: &[u8], path: Option<Path>) -> Self {
        let mut sum = Self::default();
        if let Some(path) = path {
            sum.address(path.source);
            sum.address(path.destination);
            sum.0 += u32::from(PROTOCOL);
            sum.0 += u32::try_from(message.len()).unwrap_or(u32::MAX) & 0xffff;
        }
        sum.bytes(message);
        sum
    }

    /// What goes into the field, when the field was zero.
    pub(super) fn checksum(self) -> u16 {
        !self.folded()
    }

    /// Whether the field that is in the message fits.
    pub(super) fn is_whole(self) -> bool {
        self.folded() == 0xffff
    }

    fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        u16::try_from(sum).unwrap_or(u16::MAX)
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            self.0 += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
}
