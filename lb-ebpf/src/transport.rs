//! The two transport protocols behind one trait: reading a header, and writing a translation into it.

use lb_common::{
    addr::{Port, Protocol},
    connection::ConnectionKey,
    tcp::header::ACK,
};

use crate::{
    headers::{Tcp, Udp},
    packet::Header,
};

/// The header of TCP or UDP.
pub(crate) trait Transport: Header {
    /// Whose header it is.
    const PROTOCOL: Protocol;

    /// Whether its own lengths are possible and fit into `available` bytes, itself included.
    fn fits(&self, available: usize) -> bool;

    /// Source and destination.
    fn ports(&self) -> (Port, Port);

    /// Flags of TCP; those of an ordinary segment, ACK, for UDP.
    fn flags(&self) -> u8;

    /// The checksum field, as on the wire.
    fn checksum(&self) -> u16;

    /// Writes the ports.
    fn set_ports(&mut self, source: Port, destination: Port);

    /// Writes the checksum. Where there is none, there will be none.
    fn set_checksum(&mut self, checksum: u16);

    /// Writes both.
    #[inline(always)]
    fn translate<A>(&mut self, to: &ConnectionKey<A>, checksum: u16) {
        self.set_ports(to.source_port, to.destination_port);
        self.set_checksum(checksum);
    }
}

impl Transport for Tcp {
    const PROTOCOL: Protocol = Protocol::Tcp;

    #[inline(always)]
    fn fits(&self, available: usize) -> bool {
        let length = (self.data_offset >> 4) as usize * 4;
        length >= size_of::<Self>() && length <= available
    }

    #[inline(always)]
    fn ports(&self) -> (Port, Port) {
        (Port::from_wire(self.source_port), Port::from_wire(self.destination_port))
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        self.flags
    }

    #[inline(always)]
    fn checksum(&self) -> u16 {
        self.checksum
    }

    #[inline(always)]
    fn set_ports(&mut self, source: Port, destination: Port) {
        self.source_port = source.to_wire();
        self.destination_port = destination.to_wire();
    }

    #[inline(always)]
    fn set_checksum(&mut self, checksum: u16) {
        self.checksum = checksum;
    }
}

impl Transport for Udp {
    const PROTOCOL: Protocol = Protocol::Udp;

    #[inline(always)]
    fn fits(&self, available: usize) -> bool {
        let length = self.length.get() as usize;
        length >= size_of::<Self>() && length <= available
    }

    #[inline(always)]
    fn ports(&self) -> (Port, Port) {
        (Port::from_wire(self.source_port), Port::from_wire(self.destination_port))
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        ACK
    }

    #[inline(always)]
    fn checksum(&self) -> u16 {
        self.checksum
    }

    #[inline(always)]
    fn set_ports(&mut self, source: Port, destination: Port) {
        self.source_port = source.to_wire();
        self.destination_port = destination.to_wire();
    }

    #[inline(always)]
    fn set_checksum(&mut self, checksum: u16) {
        // 0 means that there is none (RFC 768), and stays; a computed 0 is written as its other form.
        if self.checksum != 0 {
            self.checksum = if checksum == 0 { 0xffff } else { checksum };
        }
    }
}
