//! Frames to measure with, each described once and then made in the kernel, from another client every time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use etherparse::{Ethernet2Header, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader, UdpHeader};
use lb_common::script::{FRAME, Script};

/// The clients' network, IPv4: so large that no measurement runs out of clients.
pub(crate) const CLIENTS4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// The clients' network, IPv6.
pub(crate) const CLIENTS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0);

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From clients.
    Request,
    /// To clients.
    Reply,
}

/// What is in the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// TCP with nothing but SYN.
    Syn,
    /// TCP with SYN and ACK.
    SynAck,
    /// TCP in the middle of a connection.
    Ack,
    /// UDP.
    Udp,
}

/// Frames that differ in their client only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames {
    /// Source and destination of the link.
    pub(crate) link: ([u8; 6], [u8; 6]),
    /// Whom the clients talk to.
    pub(crate) peer: SocketAddr,
    /// Which way.
    pub(crate) direction: Direction,
    /// What.
    pub(crate) segment: Segment,
}

impl Frames {
    /// The script that makes them, from clients `first` and so many more in turn.
    pub(crate) fn script(&self, first: u32, count: u32) -> Result<Script> {
        let (client, base): (IpAddr, u32) = match self.peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), CLIENTS4.to_bits()),
            SocketAddr::V6(_) => (CLIENTS6.into(), 0),
        };
        let client = SocketAddr::new(client, 0);
        let (source, destination) = match self.direction {
            Direction::Request => (client, self.peer),
            Direction::Reply => (self.peer, client),
        };
        let mut bytes = self.bytes(source, destination)?;
        let v4 = self.peer.is_ipv4();
        let network = Ethernet2Header::LEN;
        let transport = network + if v4 { Ipv4Header::MIN_LEN } else { Ipv6Header::LEN };
        let (source_end, address_end) = if v4 { (16, 20) } else { (24, 40) };
        let reply = self.direction == Direction::Reply;
        let transport_checksum = transport + if self.segment == Segment::Udp { 6 } else { 16 };
        let mut script = Script {
            base,
            first,
            count,
            stride: stride(count),
            address: (network + if reply { address_end } else { source_end } - 4) as u32,
            port: (transport + if reply { 2 } else { 0 }) as u32,
            transport_checksum: transport_checksum as u16,
            transport_sum: take(&mut bytes, transport_checksum)?,
            ..Script::default()
        };
        if v4 {
            script.network_checksum = (network + 10) as u16;
            script.network_sum = take(&mut bytes, network + 10)?;
        }
        for (word, bytes) in script.frame.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Ok(script)
    }

    /// One of them, whole.
    fn bytes(&self, source: SocketAddr, destination: SocketAddr) -> Result<Vec<u8>> {
        let link = PacketBuilder::ethernet2(self.link.0, self.link.1);
        let network = match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                link.ipv4(source.octets(), destination.octets(), 64)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                link.ipv6(source.octets(), destination.octets(), 64)
            }
            _ => bail!("both ends are of one family"),
        };
        let headers = Ethernet2Header::LEN
            + if source.is_ipv4() { Ipv4Header::MIN_LEN } else { Ipv6Header::LEN }
            + if self.segment == Segment::Udp { UdpHeader::LEN } else { TcpHeader::MIN_LEN };
        let payload = vec![0; FRAME - headers];
        let mut bytes = Vec::with_capacity(FRAME);
        if self.segment == Segment::Udp {
            network.udp(source.port(), destination.port()).write(&mut bytes, &payload)?;
        } else {
            network.tcp_header(self.tcp(source.port(), destination.port())).write(&mut bytes, &payload)?;
        }
        ensure!(bytes.len() == FRAME, "a frame of {} bytes", bytes.len());
        Ok(bytes)
    }

    /// Numbers are such that the three steps of a handshake belong together.
    fn tcp(&self, source: u16, destination: u16) -> TcpHeader {
        const CLIENT: u32 = 1000;
        const SERVER: u32 = 5000;
        let mut header = TcpHeader::new(source, destination, CLIENT, 0x2000);
        header.syn = matches!(self.segment, Segment::Syn | Segment::SynAck);
        header.ack = self.segment != Segment::Syn;
        if self.direction == Direction::Reply {
            (header.sequence_number, header.acknowledgment_number) = (SERVER, CLIENT + 1);
        } else if header.ack {
            (header.sequence_number, header.acknowledgment_number) = (CLIENT + 1, SERVER + 1);
        }
        header
    }
}

/// So many of the script's frames have been made.
pub(crate) fn pass(script: &mut Script, frames: u32) -> Result<()> {
    let steps = u64::from(frames) * u64::from(script.stride);
    let next = (u64::from(script.next) + steps) % u64::from(script.count);
    script.next = u32::try_from(next)?;
    Ok(())
}

/// How far to go from one client to the next so that all have their turn and neighbours do not follow each other: entries that
/// lie in memory as they were made would be fetched before they are asked for.
fn stride(count: u32) -> u32 {
    let golden = (f64::from(count) * 0.618) as u32;
    (golden.max(1)..=count).find(|&stride| gcd(stride, count) == 1).unwrap_or(1)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Clears a checksum; what the sum was.
fn take(bytes: &mut [u8], offset: usize) -> Result<u32> {
    let field = bytes.get_mut(offset..offset + 2).context("a checksum behind the frame")?;
    let sum = !u16::from_ne_bytes([field[0], field[1]]);
    field.fill(0);
    Ok(sum.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_its_turn_and_neighbours_are_far_apart() {
        for count in [1, 2, 6, 1_000, 10_000] {
            let mut script = Script { count, stride: stride(count), ..Script::default() };
            let mut seen = vec![false; count as usize];
            for _ in 0..count {
                assert!(!std::mem::replace(&mut seen[script.next as usize], true));
                pass(&mut script, 1).unwrap();
            }
            assert_eq!(script.next, 0);
            pass(&mut script, u32::MAX).unwrap();
            assert!(script.next < count);
        }
        assert!((600..1_000).contains(&stride(1_000)));
    }

    #[test]
    fn the_parts_of_a_script_make_the_frame_of_a_client() {
        for (peer, direction, segment) in [
            ("192.0.2.10:80", Direction::Request, Segment::Syn),
            ("10.0.0.21:8080", Direction::Reply, Segment::SynAck),
            ("192.0.2.10:53", Direction::Request, Segment::Udp),
            ("[2001:db8::10]:80", Direction::Request, Segment::Ack),
            ("[2001:db8:2::21]:53", Direction::Reply, Segment::Udp),
        ] {
            let frames = Frames { link: ([1; 6], [2; 6]), peer: peer.parse().unwrap(), direction, segment };
            let script = frames.script(0, 1).unwrap();
            let client: SocketAddr = if frames.peer.is_ipv4() {
                "198.18.0.3:1029".parse().unwrap()
            } else {
                "[2001:db8:9::3]:1029".parse().unwrap()
            };
            let expected = match direction {
                Direction::Request => frames.bytes(client, frames.peer),
                Direction::Reply => frames.bytes(frames.peer, client),
            }
            .unwrap();
            let mut made: Vec<u8> = script.frame.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let address = (script.base + 3).to_be_bytes();
            let mut put = |offset: u32, bytes: &[u8]| {
                made[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            };
            put(script.address, &address);
            put(script.port, &1029u16.to_be_bytes());
            let fold = |sum: u32| {
                let sum = (sum & 0xffff) + (sum >> 16);
                (!((sum & 0xffff) + (sum >> 16)) as u16).to_ne_bytes()
            };
            let word = u32::from_ne_bytes(address);
            let words = (word >> 16) + (word & 0xffff);
            if script.network_checksum != 0 {
                put(script.network_checksum.into(), &fold(script.network_sum + words));
            }
            let port = u32::from(1029u16.to_be());
            put(script.transport_checksum.into(), &fold(script.transport_sum + words + port));
            assert_eq!(made, expected, "{peer} {direction:?} {segment:?}");
        }
    }
}
