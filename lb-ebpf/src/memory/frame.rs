//! The frame on the host: a byte slice.

use crate::{
    checksum::fold,
    headers::Ethernet,
    packet::{Header, Packet, REACH},
};

/// A frame in memory, in one buffer.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Index of the interface it arrived on.
    pub interface: u32,
    /// Its bytes, from the Ethernet header on.
    pub bytes: &'a mut Vec<u8>,
}

impl Packet for Frame<'_> {
    fn interface(&self) -> u32 {
        self.interface
    }

    fn length(&self) -> usize {
        self.bytes.len()
    }

    fn holds(&self, length: usize) -> bool {
        length <= self.bytes.len()
    }

    fn get<T: Header>(&self, offset: usize) -> Option<&T> {
        if offset > REACH {
            return None;
        }
        T::ref_from_prefix(self.bytes.get(offset..)?).ok().map(|(header, _)| header)
    }

    fn get_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        if offset > REACH {
            return None;
        }
        T::mut_from_prefix(self.bytes.get_mut(offset..)?).ok().map(|(header, _)| header)
    }

    fn sum(&self, offset: usize, length: usize) -> Option<u16> {
        if length > 9216 {
            return None;
        }
        let bytes = self.bytes.get(offset..offset.checked_add(length)?)?;
        let sum = bytes.chunks(2).fold(0u32, |sum, pair| {
            sum + u32::from(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
        });
        Some(fold(sum))
    }

    fn truncate(&mut self, length: usize) -> bool {
        let fits = length <= self.bytes.len();
        self.bytes.truncate(length);
        fits
    }

    fn shrink(&mut self, length: usize) -> bool {
        let fits = self.bytes.len() >= length + size_of::<Ethernet>();
        if fits {
            self.bytes.drain(..length);
        }
        fits
    }

    fn grow(&mut self, length: usize) -> bool {
        self.bytes.splice(..0, std::iter::repeat_n(0, length));
        true
    }
}
