//! Clients on the link of their real server, real servers among them.

use std::net::SocketAddr;

use lb_common::{
    connection::flags,
    outcome::Outcome,
    service::RealServer,
    tcp::header::{ACK, FIN, SYN},
};

use crate::lab::{Lab, reply};
use crate::packet::{Packet, tcp, udp};
use crate::read::read;
use crate::world::{DNS, DNS_V6, ONE_ARM, UNRESOLVED, WEB, WEB_AGAIN, WEB_V6, at, leaving, scheduling_table};

/// A client among the real servers, and real servers as clients.
const AMONG: &str = "10.0.0.13:40000";
const SERVER: &str = "10.0.0.11:40000";
const SERVER_V6: &str = "[2001:db8:2::b]:40000";

cases![
    a_client_among_the_real_servers_is_answered_through_here,
    a_real_server_reaches_itself_through_the_vip,
    a_real_server_of_ipv6_reaches_itself_and_others_through_the_vip,
    datagrams_turn_round_too,
    a_client_on_the_one_wire_is_answered_through_here,
    connections_from_one_address_have_a_port_each,
    without_state_nobody_knows_the_port_so_both_ends_learn,
    a_connection_that_turns_round_closes_and_begins_anew,
    while_the_neighbour_is_unknown_the_kernel_is_handed_a_packet_that_it_takes,
    a_real_server_behind_a_router_is_not_sent_to_itself,
];

impl Lab<'_> {
    /// A client's packet arrives and leaves from one of the balancer's ports; from where and to where it goes.
    #[track_caller]
    pub(super) fn turns_round(&mut self, packet: &Packet, outcome: Outcome) -> (SocketAddr, SocketAddr) {
        let ended = self.send(packet);
        assert_eq!(ended.verdict.outcome(), outcome, "{packet:?}");
        let seen = read(&ended.bytes).expect("a well-formed packet came out");
        let (source, destination) = (seen.source, seen.destination);
        assert_eq!(ended.bytes, leaving(&Packet { source, destination, ..packet.clone() }).bytes());
        assert!((1024..32_768).contains(&source.port()), "{source}");
        (source, destination)
    }

    /// A real server's packet to the balancer arrives and leaves from the VIP to the client.
    #[track_caller]
    fn comes_back(&mut self, packet: &Packet, vip: &str, client: SocketAddr) {
        self.forwards(
            packet,
            Outcome::Forwarded,
            &Packet { source: at(vip), destination: client, ..packet.clone() },
        );
    }

    /// A client opens a connection that turns round, and proves it.
    #[track_caller]
    fn establishes_round(&mut self, client: SocketAddr, vip: &str) -> (SocketAddr, SocketAddr) {
        let (own, server) = self.turns_round(&tcp(client, at(vip), SYN), Outcome::NewConnection);
        self.comes_back(&tcp(server, own, SYN | ACK).numbered(5000, 1001), vip, client);
        let ack = tcp(client, at(vip), ACK).numbered(1001, 5001);
        assert_eq!(self.turns_round(&ack, Outcome::Forwarded), (own, server));
        (own, server)
    }
}

fn a_client_among_the_real_servers_is_answered_through_here(lab: &mut Lab<'_>) {
    let (own, server) = lab.establishes_round(at(AMONG), WEB);
    assert_eq!(own.ip(), at("10.0.0.1:0").ip());
    let request = tcp(at(AMONG), at(WEB), ACK).with(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(lab.turns_round(&request, Outcome::Forwarded), (own, server));
    lab.comes_back(&tcp(server, own, ACK).with(b"HTTP/1.1 200 OK\r\n\r\n"), WEB, at(AMONG));
    assert_eq!(lab.entries(), [0, 2, 0]);
    assert!(lab.memory.v4.tcp.values().all(|entry| entry.flags & flags::SOURCE_NAT != 0));
    // Clients elsewhere keep their addresses.
    lab.establishes(at("198.51.100.7:40000"), WEB);
}

fn a_real_server_reaches_itself_through_the_vip(lab: &mut Lab<'_>) {
    let mut met = Vec::new();
    for port in [40_000, 40_001] {
        let client = SocketAddr::new(at(SERVER).ip(), port);
        met.push(lab.establishes_round(client, WEB).1);
    }
    met.sort();
    assert_eq!(met, ["10.0.0.11:8080", "10.0.0.12:8080"].map(at), "itself, and the other");
}

fn a_real_server_of_ipv6_reaches_itself_and_others_through_the_vip(lab: &mut Lab<'_>) {
    let mut met = Vec::new();
    for port in [40_000, 40_001] {
        let client = SocketAddr::new(at(SERVER_V6).ip(), port);
        let (own, server) = lab.establishes_round(client, WEB_V6);
        assert_eq!(own.ip(), at("[2001:db8:2::1]:0").ip());
        met.push(server);
    }
    met.sort();
    assert_eq!(met, ["[2001:db8:2::b]:8080", "[2001:db8:2::c]:8080"].map(at), "itself, and the other");
}

fn datagrams_turn_round_too(lab: &mut Lab<'_>) {
    for (client, vip) in [(SERVER, DNS), (AMONG, DNS), (SERVER_V6, DNS_V6)] {
        let query = udp(at(client), at(vip)).with(b"query");
        let (own, server) = lab.turns_round(&query, Outcome::NewConnection);
        let answer = Packet { destination: own, ..reply(server, &query).with(b"answer!") };
        lab.comes_back(&answer, vip, at(client));
        assert_eq!(lab.turns_round(&query, Outcome::Forwarded), (own, server));
    }
}

fn a_client_on_the_one_wire_is_answered_through_here(lab: &mut Lab<'_>) {
    let (own, server) = lab.establishes_round(at("198.51.100.7:40000"), ONE_ARM);
    assert_eq!((own.ip(), server), (at("198.51.100.1:0").ip(), at("198.51.100.13:8080")));
}

fn connections_from_one_address_have_a_port_each(lab: &mut Lab<'_>) {
    let mut ports = std::collections::BTreeSet::new();
    for client in 0..200 {
        let client = SocketAddr::new(at(AMONG).ip(), 40_000 + client);
        for vip in [WEB, WEB_AGAIN] {
            let (own, server) = lab.turns_round(&tcp(client, at(vip), SYN), Outcome::NewConnection);
            assert!(ports.insert((own, server)), "{client} -> {vip} shares {own}");
        }
    }
}

fn without_state_nobody_knows_the_port_so_both_ends_learn(lab: &mut Lab<'_>) {
    lab.resets(&tcp(at(AMONG), at(WEB), ACK).with(b"more"));
    lab.leaves_alone(&tcp(at(AMONG), at(WEB_AGAIN), ACK), Outcome::WithoutState);
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn a_connection_that_turns_round_closes_and_begins_anew(lab: &mut Lab<'_>) {
    let (own, server) = lab.establishes_round(at(AMONG), WEB);
    lab.turns_round(&tcp(at(AMONG), at(WEB), FIN | ACK), Outcome::Forwarded);
    lab.comes_back(&tcp(server, own, FIN | ACK), WEB, at(AMONG));
    lab.turns_round(&tcp(at(AMONG), at(WEB), SYN), Outcome::NewConnection);
    assert_eq!(lab.entries(), [2, 0, 0]);
    // Half of it is lost.
    lab.change(|memory| memory.v4.half_open.retain(|_, half| half.connection.flags & flags::REPLY != 0));
    lab.turns_round(&tcp(at(AMONG), at(WEB), SYN), Outcome::NewConnection);
}

fn while_the_neighbour_is_unknown_the_kernel_is_handed_a_packet_that_it_takes(lab: &mut Lab<'_>) {
    let syn = tcp(at(AMONG), at(UNRESOLVED), SYN);
    lab.hands_up(&syn, &Packet { destination: at("10.0.0.14:8080"), ..syn.clone() });
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn a_real_server_behind_a_router_is_not_sent_to_itself(lab: &mut Lab<'_>) {
    let client = at(SERVER);
    let away = |memory: &mut lb_ebpf::memory::Memory| {
        for server in memory.real_servers.values_mut() {
            *server = RealServer { own: [0; 4], link: [0; 4], ..*server };
        }
    };
    lab.change(away);
    for port in 0..4 {
        let client = SocketAddr::new(client.ip(), client.port() + port);
        let server = lab.reaches(&tcp(client, at(WEB), SYN), Outcome::NewConnection);
        assert_eq!(server, at("10.0.0.12:8080"));
    }
    lab.change(|memory| drop(memory.scheduling.insert(0, scheduling_table(&[(0, 1)]))));
    let late = SocketAddr::new(client.ip(), client.port() + 9);
    lab.leaves_alone(&tcp(late, at(WEB), SYN), Outcome::Collision);
}
