//! The ping check: an ICMP echo is answered.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, SocketAddr},
};

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, Ipv4Slice, icmpv4, icmpv6,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{
    probe::Stage,
    result::{Fault, Passed},
};

/// An echo of ours is 16 bytes; a raw IPv4 socket puts up to 60 before it.
const MAX_REPLY: usize = 128;

pub(super) async fn check(target: IpAddr, stage: &mut Stage) -> Result<Passed, Fault> {
    let (socket, raw) = open(target)?;
    socket.connect(&SocketAddr::new(target, 0).into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    // Tells our echo from all others: a datagram socket's identifier is the kernel's, a raw one hears everybody's.
    let token = RandomState::new().hash_one(target).to_be_bytes();
    socket.send(&request(target, token)).await?;
    *stage = Stage::Sent;
    let mut buffer = [0; MAX_REPLY];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let message = match target {
            IpAddr::V4(_) if raw => without_ip_header(&buffer[..length]),
            IpAddr::V4(_) | IpAddr::V6(_) => Some(&buffer[..length]),
        };
        if message.is_some_and(|message| is_reply(target, message, token)) {
            return Ok(Passed::new("reply"));
        }
    }
}

/// A datagram socket needs no privilege where `net.ipv4.ping_group_range` allows it; a raw one needs `CAP_NET_RAW`.
fn open(target: IpAddr) -> io::Result<(Socket, bool)> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            (Socket::new(domain, Type::RAW, Some(protocol))?, true)
        }
        opened => (opened?, false),
    };
    socket.set_nonblocking(true)?;
    Ok((socket, raw))
}

fn request(target: IpAddr, token: [u8; 8]) -> Vec<u8> {
    let echo = IcmpEchoHeader { id: u16::from_be_bytes([token[0], token[1]]), seq: 1 };
    let mut message = match target {
        IpAddr::V4(_) => {
            Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &token).to_bytes().to_vec()
        }
        // The kernel, which chooses the source address, fills in the checksum (RFC 3542, section 3.1).
        IpAddr::V6(_) => Icmpv6Header::new(Icmpv6Type::EchoRequest(echo)).to_bytes().to_vec(),
    };
    message.extend_from_slice(&token);
    message
}

fn without_ip_header(packet: &[u8]) -> Option<&[u8]> {
    Ipv4Slice::from_slice(packet).ok().map(|packet| packet.payload().payload)
}

fn is_reply(target: IpAddr, message: &[u8], token: [u8; 8]) -> bool {
    let echo_reply = match target {
        IpAddr::V4(_) => icmpv4::TYPE_ECHO_REPLY,
        IpAddr::V6(_) => icmpv6::TYPE_ECHO_REPLY,
    };
    message.first() == Some(&echo_reply) && message.get(8..) == Some(token.as_slice())
}
