//! Live connections under a flood.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use aya::maps::MapInfo;
use lb_common::{
    connection::flags,
    half_open::WAYS,
    layout::map,
    outcome::Outcome,
    tcp::header::{ACK, SYN},
};
use lb_user::dataplane::pins::Pins;

use super::{Kernel, REDIRECT, tables, with_the_world};
use crate::packet::{Packet, tcp};
use crate::read::read;
use crate::world::{WEB, at};

const LIVE: u32 = 10_000;

#[test]
fn a_flood_of_four_times_the_half_open_table_costs_no_live_connection() {
    with_the_world(|pins| {
        let kernel = Kernel::with_world(LIVE as usize, pins);
        let flood = 4 * half_open_entries(pins);
        let servers: Vec<SocketAddr> =
            (0..LIVE).map(|number| kernel.establishes(client(number), WEB)).collect();
        let untouched = kernel.count(Outcome::Forwarded);
        for number in 0..flood {
            kernel.send(&tcp(stranger([203, 0, 113, 0], number), at(WEB), SYN));
        }
        assert_eq!(kernel.count(Outcome::NewConnection), u64::from(LIVE + flood));
        let half_open = tables::half_open(&kernel.maps.v4.half_open);
        let connections = half_open.values().filter(|half| half.connection.flags & flags::REPLY == 0);
        assert_eq!(kernel.inactive(), connections.count() as u64, "what was evicted is no load");
        for number in 0..flood {
            kernel.send(&tcp(stranger([203, 0, 114, 0], number), at(WEB), ACK));
        }
        assert_eq!(kernel.count(Outcome::Adopted), u64::from(flood));
        assert_eq!(kernel.count(Outcome::Forwarded), untouched);
        let kept = |(number, server): &(u32, SocketAddr)| {
            let (action, bytes) = kernel.send(&tcp(client(*number), at(WEB), ACK));
            action == REDIRECT && read(&bytes).unwrap().destination == *server
        };
        let lost = (0..).zip(servers).filter(|connection| !kept(connection)).count();
        assert_eq!(lost, 0);
        assert_eq!(kernel.count(Outcome::Forwarded), untouched + u64::from(LIVE));
    });
}

/// Entries of the half-open table.
fn half_open_entries(pins: &Pins) -> u32 {
    MapInfo::from_pin(pins.map(map::HALF_OPEN_V4)).unwrap().max_entries() * WAYS as u32
}

fn client(number: u32) -> SocketAddr {
    stranger([198, 18, 0, 0], number)
}

/// An address and port of its own for each number, from this network on.
fn stranger(network: [u8; 4], number: u32) -> SocketAddr {
    const PORTS: u32 = 50_000;
    let address = Ipv4Addr::from_bits(Ipv4Addr::from(network).to_bits() + number / PORTS);
    SocketAddr::new(IpAddr::V4(address), (10_000 + number % PORTS) as u16)
}

impl Kernel {
    /// Connections of all real servers that are not established.
    fn inactive(&self) -> u64 {
        self.maps.loads.iter().map(|load| load.unwrap().inactive).sum()
    }

    /// A client opens a connection and proves it; the real server that it got.
    pub(super) fn establishes(&self, client: SocketAddr, vip: &str) -> SocketAddr {
        let (action, bytes) = self.send(&tcp(client, at(vip), SYN));
        assert_eq!(action, REDIRECT, "{client} -> {vip}");
        let server = read(&bytes).unwrap().destination;
        self.proves(client, vip, server);
        server
    }

    /// The real server answers a SYN and the client acknowledges it.
    pub(super) fn proves(&self, client: SocketAddr, vip: &str, server: SocketAddr) {
        let answer: Packet = tcp(server, client, SYN | ACK).numbered(5000, 1001);
        assert_eq!(self.send(&answer).0, REDIRECT, "{server} -> {client}");
        let ack = tcp(client, at(vip), ACK).numbered(1001, 5001);
        assert_eq!(self.send(&ack).0, REDIRECT, "{client} -> {vip}");
    }
}
