//! An endless stream of frames from a seed: clients, real servers and strangers in any order, some frames damaged.

use std::net::SocketAddr;

use lb_common::{
    addr::{V4, V6},
    connection::ConnectionKey,
    service::{real_server, virtual_server},
    tcp::header::{ACK, FIN, RST, SYN},
    vlan::{C_TAG, S_TAG},
};
use lb_ebpf::memory::{Family, Memory, OfFamily};

use crate::fragments::cut;
use crate::icmp::{Message, quote};
use crate::packet::{Checksum, Packet, Tag, Transport, tcp, udp};
use crate::world::{self, INSIDE, OUTSIDE, arriving, at};

/// Numbers from a seed (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `limit`, which is small.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let numbers = std::iter::repeat_with(|| self.number().to_le_bytes());
        numbers.take(length.div_ceil(8)).flatten().take(length).collect()
    }
}

const CLIENTS: &[&str] = &[
    "198.51.100.7",
    "198.51.100.8",
    "198.51.100.9",
    "198.18.0.3",
    "203.0.113.9",
    "10.0.0.11",
    "198.51.100.39",
];
const CLIENTS_V6: &[&str] = &["2001:db8:1::7", "2001:db8:1::9", "2001:db8:9::9", "2001:db8:3::7"];
const FLAGS: &[u8] =
    &[SYN, SYN, ACK, ACK, ACK, ACK, SYN | ACK, FIN | ACK, FIN | ACK, RST, RST | ACK, SYN | FIN, 0, 0xff];
/// Numbers around those of a real server's answer.
const NUMBERS: &[u32] = &[0, 1, 4999, 5000, 5001, 6461, 70_000, u32::MAX];

/// The next frame and the interface it arrives on. Half of the frames belong to a connection of `memory`.
pub(crate) fn next(dice: &mut Dice, memory: &Memory) -> (u32, Vec<u8>) {
    let packet = match dice.below(20) {
        0 => return (u32::from(dice.of(&[1, OUTSIDE.index, INSIDE.index])), noise(dice)),
        1..=9 => from_a_client(dice),
        10 => from_a_stranger(dice),
        11 | 12 => {
            if let Some(frame) = error(dice, memory) {
                return frame;
            }
            from_a_stranger(dice)
        }
        _ => known(dice, memory).unwrap_or_else(|| from_a_client(dice)),
    };
    let (wire, packet) = arriving(&varied(dice, packet));
    let interface = if dice.one_in(50) { dice.of(&[1, OUTSIDE.index, INSIDE.index]) } else { wire.on };
    let mut frame = packet.bytes();
    if dice.one_in(12) && packet.vlans.is_empty() && packet.extensions.is_empty() {
        let (size, identification) = (8 << dice.below(8), dice.below(4) as u32);
        let pieces = cut(&frame[..frame.len() - packet.trailer.len()], size, identification);
        frame = pieces[dice.below(pieces.len().min(4))].clone();
    }
    if dice.one_in(5) {
        damage(dice, &mut frame);
    }
    (interface.into(), frame)
}

/// Real servers go and come back, and virtual servers change what they do with TCP that is not known.
#[cfg_attr(not(feature = "root"), expect(dead_code, reason = "the kernel and the host change alike"))]
pub(crate) fn change(dice: &mut Dice, memory: &mut Memory) {
    const REAL: &[u16] = &[
        real_server::PRESENT,
        real_server::PRESENT,
        real_server::PRESENT | real_server::RESET,
        real_server::PRESENT | real_server::RESCHEDULE,
        0,
    ];
    const POLICY: &[u32] = &[0, virtual_server::ADOPT, virtual_server::RESET];
    for server in memory.real_servers.values_mut() {
        server.flags = dice.of(REAL);
    }
    for server in memory.virtual_servers.values_mut() {
        server.flags = server.flags & virtual_server::HASH_PORT | dice.of(POLICY);
    }
}

/// Random bytes, most of them behind a header that gets them in.
fn noise(dice: &mut Dice) -> Vec<u8> {
    let length = dice.below(200);
    let mut frame = dice.bytes(length);
    if frame.len() >= 34 && !dice.one_in(4) {
        frame[..6].copy_from_slice(&OUTSIDE.mac);
        let version_4 = dice.one_in(2);
        frame[12..15].copy_from_slice(if version_4 { &[8, 0, 0x45] } else { &[0x86, 0xdd, 0x60] });
        if version_4 {
            frame[30..34].copy_from_slice(&[192, 0, 2, 10]);
        }
    }
    frame
}

fn from_a_client(dice: &mut Dice) -> Packet {
    let ports = 40_000 + dice.below(40);
    let client = |ip: &str| SocketAddr::new(ip.parse().unwrap(), ports as u16);
    if dice.one_in(4) {
        let client = client(dice.of(CLIENTS_V6));
        if dice.one_in(3) {
            udp(client, at(world::DNS_V6))
        } else {
            let vip = dice.of(&[world::WEB_V6, world::PERSISTENT_V6, world::STORAGE_V6]);
            segment(dice, client, at(vip))
        }
    } else {
        let client = client(dice.of(CLIENTS));
        let mut vip = at(dice.of(world::VIPS));
        if vip.port() == 0 {
            vip.set_port(1000 + dice.below(3) as u16);
        }
        if vip.port() == 53 || dice.one_in(20) { udp(client, vip) } else { segment(dice, client, vip) }
    }
}

fn segment(dice: &mut Dice, from: SocketAddr, to: SocketAddr) -> Packet {
    tcp(from, to, dice.of(FLAGS)).numbered(dice.of(NUMBERS), dice.of(NUMBERS))
}

/// Real servers that speak first, the VIP as a source, addresses that cannot be.
fn from_a_stranger(dice: &mut Dice) -> Packet {
    const ENDS: &[&str] = &[
        "10.0.0.11:8080",
        "10.0.0.1:50000",
        "192.0.2.10:80",
        "127.0.0.1:80",
        "224.0.0.1:80",
        "198.51.100.7:40000",
        "255.255.255.255:1",
        "203.0.113.1:443",
    ];
    let (from, to) = (at(dice.of(ENDS)), at(dice.of(ENDS)));
    if dice.one_in(4) { udp(from, to) } else { segment(dice, from, to) }
}

/// A packet of a connection that is in some table, from either end.
fn known(dice: &mut Dice, memory: &Memory) -> Option<Packet> {
    let (from, to, is_udp) =
        if dice.one_in(4) { ends::<V6>(dice, &memory.v6) } else { ends::<V4>(dice, &memory.v4) }?;
    Some(if is_udp { udp(from, to) } else { segment(dice, from, to) })
}

fn ends<A: OfFamily + Ord>(dice: &mut Dice, family: &Family<A>) -> Option<(SocketAddr, SocketAddr, bool)> {
    let order = |key: &ConnectionKey<A>| (key.source, key.destination, key.source_port, key.destination_port);
    let table = dice.below(3);
    // In order of the keys, since that of a hash map is not the seed's.
    let mut keys: Vec<_> = match table {
        0 => family.half_open.keys().collect(),
        1 => family.tcp.keys().collect(),
        _ => family.udp.keys().collect(),
    };
    if keys.is_empty() {
        return None;
    }
    let position = dice.below(keys.len());
    let (_, key, _) = keys.select_nth_unstable_by_key(position, |key| order(key));
    let from = SocketAddr::new(key.source.to_ip(), key.source_port.number());
    let to = SocketAddr::new(key.destination.to_ip(), key.destination_port.number());
    Some((from, to, table == 2))
}

/// An ICMP error about a packet that a connection in some table has sent, or nearly one.
fn error(dice: &mut Dice, memory: &Memory) -> Option<(u32, Vec<u8>)> {
    let packet = known(dice, memory)?;
    let (source, destination) = (packet.destination, packet.source);
    let quoted = varied(dice, Packet { source, destination, ..packet });
    if !quoted.vlans.is_empty() {
        return None;
    }
    let router = if source.is_ipv4() { world::ROUTER } else { "2001:db8:1::9" };
    let message = Message {
        from: if dice.one_in(2) { destination.ip() } else { router.parse().unwrap() },
        to: source.ip(),
        hops: dice.of(&[64, 64, 64, 1]),
        kind: dice.of(&[1, 2, 3, 3, 3, 4, 5, 8, 11, 12, 128, 135]),
        code: dice.below(5) as u8,
        rest: dice.below(1500) as u32,
        quote: quote(&quoted, dice.of(&[0, 20, 27, 28, 37, 38, 48, 56, 128, 548])),
    };
    let (interface, mut frame) = message.arriving();
    if dice.one_in(5) {
        damage(dice, &mut frame);
    }
    Some((interface, frame))
}

/// The packet with something unusual about it, now and then.
fn varied(dice: &mut Dice, mut packet: Packet) -> Packet {
    let length = dice.of(&[0, 0, 1, 3, 20, 511, 512, 1439, 1460, 1461]);
    packet.payload = dice.bytes(length);
    match dice.below(16) {
        0 => packet.hops = dice.below(4) as u8,
        1 => packet.checksum = Checksum::Off(dice.below(0xffff) as u16),
        2 | 3 => packet.checksum = Checksum::Unfinished,
        4 if packet.transport == Transport::Udp => packet.checksum = Checksum::Absent,
        5 if packet.source.is_ipv4() => packet.options = vec![1; 4 * (1 + dice.below(10))],
        5 => {
            packet.extensions =
                vec![(dice.of(&[0, 43, 60]), vec![1; 6 + 8 * dice.below(3)]); 1 + dice.below(5)];
        }
        6 => packet.trailer = vec![0xee; 1 + dice.below(20)],
        7 => packet.traffic_class = dice.below(256) as u8,
        8 => packet.link_destination = dice.of(&[[0xff; 6], [2, 0, 0, 0, 9, 9], [0, 0, 0x5e, 0, 1, 51]]),
        9 => packet.vlans = (0..=dice.below(2)).map(|_| tag(dice)).collect(),
        _ => {}
    }
    packet
}

/// A tag of this world more often than not.
fn tag(dice: &mut Dice) -> Tag {
    let id = dice.of(&[0, 0, 100, 200, 300, 4095]);
    (dice.of(&[C_TAG, C_TAG, S_TAG]), (dice.below(16) as u16) << 12 | id)
}

/// Cut short, or with some bytes changed, most of them in the headers.
fn damage(dice: &mut Dice, frame: &mut Vec<u8>) {
    if dice.one_in(2) {
        let length = dice.below(frame.len().min(120));
        frame.truncate(length);
    } else {
        for _ in 0..=dice.below(3) {
            let position = dice.below(frame.len().min(80));
            frame[position] = dice.below(256) as u8;
        }
    }
}
