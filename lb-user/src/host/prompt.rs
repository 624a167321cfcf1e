//! Makes the ends of a TCP connection say where they stand.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use etherparse::PacketBuilder;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Packets with headers of our own (`raw(7)`).
const IPPROTO_RAW: i32 = 255;

/// Half the sequence space apart: one of them at least is outside of any window.
const SEQUENCES: [u32; 2] = [0, 1 << 31];

/// Sends segments that no receiver accepts and every receiver answers: with an acknowledgment of what it does expect (RFC
/// 9293 section 3.10.7.4).
#[derive(Debug)]
pub struct Prompter {
    v4: Socket,
    /// None where there is no IPv6.
    v6: Option<Socket>,
}

impl Prompter {
    /// Opens its sockets.
    ///
    /// # Errors
    /// Without CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let open = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW)));
        Ok(Self { v4: open(Domain::IPV4)?, v6: open(Domain::IPV6).ok() })
    }

    /// Prompts `to`, whose other end, as it knows it, is `from`.
    ///
    /// # Errors
    /// What the kernel says: no route, a firewall.
    pub fn prompt(&self, from: SocketAddr, to: SocketAddr) -> io::Result<()> {
        let socket = if to.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
        let Some(socket) = socket else { return Err(io::ErrorKind::NetworkUnreachable.into()) };
        // The port is in the packet; here it would be a protocol.
        let destination = SockAddr::from(SocketAddr::new(to.ip(), 0));
        for sequence in SEQUENCES {
            socket.send_to(&segment(from, to, sequence)?, &destination)?;
        }
        Ok(())
    }
}

/// An acknowledgment without data, from its IP header on.
fn segment(from: SocketAddr, to: SocketAddr, sequence: u32) -> io::Result<Vec<u8>> {
    const HOPS: u8 = 64;
    let network = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), HOPS),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), HOPS),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let segment = network.tcp(from.port(), to.port(), sequence, 0).ack(0);
    let mut bytes = Vec::with_capacity(segment.size(0));
    segment.write(&mut bytes, &[]).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn a_prompt_is_an_acknowledgment_without_data_from_the_other_end() {
        for (from, to) in
            [("192.0.2.10:80", "198.51.100.7:40000"), ("[2001:db8::10]:80", "[2001:db8:1::7]:40000")]
        {
            let bytes = segment(from.parse().unwrap(), to.parse().unwrap(), 1 << 31).unwrap();
            let packet = SlicedPacket::from_ip(&bytes).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("not TCP: {bytes:02x?}") };
            assert_eq!((tcp.source_port(), tcp.destination_port()), (80, 40000));
            assert!(tcp.ack() && !(tcp.syn() || tcp.fin() || tcp.rst()));
            assert_eq!((tcp.sequence_number(), tcp.payload().len()), (1 << 31, 0));
        }
        let mixed = segment("192.0.2.10:80".parse().unwrap(), "[2001:db8:1::7]:1".parse().unwrap(), 0);
        assert!(mixed.is_err());
    }
}
