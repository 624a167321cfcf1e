//! Raw sockets of IP protocol 112: one for every interface and address family, whatever runs on it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd,
};

use etherparse::Ipv4HeaderSlice;
use nix::{
    cmsg_space, libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
    },
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket as Raw, Type};
use tokio::{io::Interest, net::UdpSocket};

use crate::vrrp::{
    accept::Datagram,
    advert::{GROUP_V4, GROUP_V6, PROTOCOL, Path},
};

pub(super) const HOP_LIMIT: u8 = 255;
/// Internetwork control, as RFC 9568 asks for routing protocols.
pub(super) const TRAFFIC_CLASS: u8 = 0xc0;
/// A header, 255 IPv6 addresses and a trailer, which is more than 255 IPv4 addresses after the longest IPv4 header.
const LONGEST: usize = 8 + 255 * 16 + 28;

/// A packet with its own buffer.
#[derive(Clone, Debug)]
pub struct Received {
    path: Path,
    hop_limit: u8,
    payload: Vec<u8>,
}

impl Received {
    /// For the checks.
    #[must_use]
    pub fn datagram(&self) -> Datagram<'_> {
        Datagram { path: self.path, hop_limit: self.hop_limit, payload: &self.payload }
    }
}

/// Where advertisements of one family go out of and come in from one interface.
#[derive(Debug)]
pub struct Socket {
    /// For tokio it is a datagram socket like any other.
    raw: UdpSocket,
    index: u32,
    ipv6: bool,
}

impl Socket {
    /// Bound to the interface, a member of the multicast group there.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the interface is gone.
    pub fn open(interface: &str, index: u32, ipv6: bool) -> io::Result<Self> {
        let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let kind = Type::RAW.nonblocking().cloexec();
        let raw = Raw::new(domain, kind, Some(Protocol::from(i32::from(PROTOCOL))))?;
        raw.bind_device(Some(interface.as_bytes()))?;
        if ipv6 {
            raw.set_unicast_hops_v6(HOP_LIMIT.into())?;
            raw.set_multicast_hops_v6(HOP_LIMIT.into())?;
            raw.set_multicast_loop_v6(false)?;
            raw.set_tclass_v6(TRAFFIC_CLASS.into())?;
            raw.set_recv_hoplimit_v6(true)?;
            setsockopt(&raw, sockopt::Ipv6RecvPacketInfo, &true)?;
            raw.join_multicast_v6(&GROUP_V6, index)?;
        } else {
            raw.set_ttl_v4(HOP_LIMIT.into())?;
            raw.set_multicast_ttl_v4(HOP_LIMIT.into())?;
            raw.set_multicast_loop_v4(false)?;
            raw.set_tos_v4(TRAFFIC_CLASS.into())?;
            raw.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))?;
        }
        Ok(Self { raw: UdpSocket::from_std(raw.into())?, index, ipv6 })
    }

    /// The interface it was opened on.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Sends the bytes after the IP header.
    ///
    /// # Errors
    /// What the kernel says: no route, the interface is down, the source is not ours.
    pub fn send(&self, path: Path, bytes: &[u8]) -> io::Result<()> {
        let to = SockaddrStorage::from(SocketAddr::new(path.destination, 0));
        let fd = self.raw.as_raw_fd();
        let sent = |message| sendmsg(fd, &[IoSlice::new(bytes)], &[message], MsgFlags::empty(), Some(&to));
        match path.source {
            IpAddr::V4(source) => sent(ControlMessage::Ipv4PacketInfo(&libc::in_pktinfo {
                ipi_ifindex: i32::try_from(self.index).unwrap_or(0),
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
                ipi_addr: libc::in_addr { s_addr: Ipv4Addr::UNSPECIFIED.into() },
            }))?,
            IpAddr::V6(source) => sent(ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: source.octets() },
                ipi6_ifindex: self.index,
            }))?,
        };
        Ok(())
    }

    /// Waits for the next packet. What has no usable IP header is not one.
    ///
    /// # Errors
    /// When the socket is of no more use.
    pub async fn receive(&self) -> io::Result<Received> {
        loop {
            let read = self.raw.async_io(Interest::READABLE, || {
                if self.ipv6 { receive_v6(&self.raw) } else { receive_v4(&self.raw) }
            });
            if let Some(received) = read.await? {
                return Ok(received);
            }
        }
    }
}

fn receive_v4(raw: &UdpSocket) -> io::Result<Option<Received>> {
    let mut buffer = [0; LONGEST];
    let length = nix::unistd::read(raw, &mut buffer)?;
    let Ok(header) = Ipv4HeaderSlice::from_slice(&buffer[..length]) else { return Ok(None) };
    let whole = length.min(usize::from(header.total_len()));
    let path = Path { source: header.source_addr().into(), destination: header.destination_addr().into() };
    let payload = buffer.get(header.slice().len()..whole).unwrap_or_default().to_vec();
    Ok(Some(Received { path, hop_limit: header.ttl(), payload }))
}

fn receive_v6(raw: &UdpSocket) -> io::Result<Option<Received>> {
    let mut buffer = [0; LONGEST];
    let mut space = cmsg_space!(libc::in6_pktinfo, libc::c_int);
    let (mut destination, mut hops) = (None, None);
    let (length, source) = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message =
            recvmsg::<SockaddrStorage>(raw.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty())?;
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    destination = Some(IpAddr::from(info.ipi6_addr.s6_addr));
                }
                ControlMessageOwned::Ipv6HopLimit(limit) => hops = u8::try_from(limit).ok(),
                _ => {}
            }
        }
        let source = message.address.as_ref().and_then(SockaddrStorage::as_sockaddr_in6);
        (message.bytes, source.map(|source| IpAddr::V6(source.ip())))
    };
    let (Some(source), Some(destination), Some(hop_limit)) = (source, destination, hops) else {
        return Ok(None);
    };
    let payload = buffer[..length].to_vec();
    Ok(Some(Received { path: Path { source, destination }, hop_limit, payload }))
}
