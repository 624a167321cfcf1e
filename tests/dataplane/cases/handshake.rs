//! What proves a connection, and what does not.

use lb_common::{
    outcome::Outcome,
    tcp::header::{ACK, FIN, RST, SYN},
};

use crate::lab::Lab;
use crate::packet::{Packet, tcp};
use crate::world::{WEB, at};

const CLIENT: &str = "198.51.100.7:40000";

cases![
    a_flood_of_syns_promotes_nothing,
    an_acknowledgment_before_the_answer_proves_nothing,
    a_wrong_acknowledgment_proves_nothing,
    an_acknowledgment_of_early_data_proves_the_connection,
    numbers_that_wrap_around_prove_the_connection,
    the_real_server_alone_proves_nothing_after_a_syn,
    a_reset_proves_nothing,
    an_adopted_connection_is_proven_by_its_real_server_only,
    a_refused_connection_is_opened_anew,
    a_connection_that_lost_an_entry_to_eviction_recovers,
    impossible_flags_are_dropped,
    impossible_flags_on_an_open_connection_are_dropped,
    impossible_flags_on_a_half_open_connection_are_dropped,
];

/// A SYN that was answered with sequence number 5000.
fn answered(lab: &mut Lab<'_>) -> Packet {
    let server = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    let answer = tcp(server, at(CLIENT), SYN | ACK).numbered(5000, 1001);
    lab.answers(&answer, WEB);
    answer
}

fn a_flood_of_syns_promotes_nothing(lab: &mut Lab<'_>) {
    let live = lab.establishes(at(CLIENT), WEB);
    for port in 1..250 {
        for host in 0..4 {
            let spoofed = tcp(at(&format!("198.18.0.{host}:{port}")), at(WEB), SYN);
            lab.reaches(&spoofed, Outcome::NewConnection);
        }
    }
    assert_eq!(lab.memory.v4.tcp.len(), 2);
    assert_eq!(lab.reaches(&tcp(at(CLIENT), at(WEB), ACK), Outcome::Forwarded), live);
}

fn an_acknowledgment_before_the_answer_proves_nothing(lab: &mut Lab<'_>) {
    lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    for acknowledgment in [0, 1, 5001] {
        let ack = tcp(at(CLIENT), at(WEB), ACK).numbered(1001, acknowledgment);
        lab.reaches(&ack, Outcome::Forwarded);
        assert_eq!(lab.entries(), [2, 0, 0]);
    }
}

fn a_wrong_acknowledgment_proves_nothing(lab: &mut Lab<'_>) {
    answered(lab);
    for acknowledgment in [0, 4999, 5000, 5001 + (1 << 16), 5001 + (1 << 31)] {
        let ack = tcp(at(CLIENT), at(WEB), ACK).numbered(1001, acknowledgment);
        lab.reaches(&ack, Outcome::Forwarded);
        assert_eq!(lab.entries(), [2, 0, 0], "{acknowledgment}");
    }
    lab.reaches(&tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001), Outcome::Forwarded);
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn an_acknowledgment_of_early_data_proves_the_connection(lab: &mut Lab<'_>) {
    answered(lab);
    lab.reaches(&tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001 + 1460), Outcome::Forwarded);
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn numbers_that_wrap_around_prove_the_connection(lab: &mut Lab<'_>) {
    let server = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    lab.answers(&tcp(server, at(CLIENT), SYN | ACK).numbered(u32::MAX, 1001), WEB);
    lab.reaches(&tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 0), Outcome::Forwarded);
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn the_real_server_alone_proves_nothing_after_a_syn(lab: &mut Lab<'_>) {
    let answer = answered(lab);
    lab.answers(&answer, WEB);
    lab.answers(&tcp(answer.source, at(CLIENT), ACK).numbered(5001, 1001), WEB);
    assert_eq!(lab.entries(), [2, 0, 0]);
}

fn a_reset_proves_nothing(lab: &mut Lab<'_>) {
    answered(lab);
    lab.reaches(&tcp(at(CLIENT), at(WEB), RST | ACK).numbered(1001, 5001), Outcome::Forwarded);
    assert_eq!(lab.entries(), [2, 0, 0]);
}

fn an_adopted_connection_is_proven_by_its_real_server_only(lab: &mut Lab<'_>) {
    let data = tcp(at(CLIENT), at(WEB), ACK).with(b"data");
    let server = lab.reaches(&data, Outcome::Adopted);
    lab.reaches(&data, Outcome::Forwarded);
    lab.answers(&tcp(server, at(CLIENT), RST), WEB);
    assert_eq!(lab.entries(), [2, 0, 0], "a reset says that there is no such connection");
    lab.answers(&tcp(server, at(CLIENT), ACK), WEB);
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn a_refused_connection_is_opened_anew(lab: &mut Lab<'_>) {
    let first = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    lab.answers(&tcp(first, at(CLIENT), RST | ACK), WEB);
    let second = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    assert_ne!(first, second, "a SYN on an entry that is closing is a new choice");
}

fn a_connection_that_lost_an_entry_to_eviction_recovers(lab: &mut Lab<'_>) {
    for reply_lost in [true, false] {
        let syn = tcp(at(CLIENT), at(WEB), SYN);
        lab.reaches(&syn, Outcome::NewConnection);
        lab.change(|memory| {
            memory.v4.half_open.retain(|key, _| (key.destination_port.number() == 80) == reply_lost);
        });
        assert_eq!(lab.entries(), [1, 0, 0]);
        let ended = lab.send(&syn);
        let server = crate::read::read(&ended.bytes).unwrap().destination;
        lab.answers(&tcp(server, at(CLIENT), SYN | ACK).numbered(5000, 1001), WEB);
        lab.reaches(&tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001), Outcome::Forwarded);
        assert_eq!(lab.memory.v4.tcp.len(), 2, "reply entry lost: {reply_lost}");
        lab.change(|memory| {
            memory.v4.tcp.clear();
            memory.v4.half_open.clear();
        });
    }
}

const IMPOSSIBLE: [u8; 7] =
    [0, SYN | FIN, SYN | RST, FIN | RST, SYN | FIN | ACK, SYN | FIN | RST | ACK, 0xff];

fn impossible_flags_are_dropped(lab: &mut Lab<'_>) {
    for flags in IMPOSSIBLE {
        lab.leaves_alone(&tcp(at(CLIENT), at(WEB), flags), Outcome::BadTcpFlags);
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn impossible_flags_on_an_open_connection_are_dropped(lab: &mut Lab<'_>) {
    lab.establishes(at(CLIENT), WEB);
    for flags in IMPOSSIBLE {
        lab.leaves_alone(&tcp(at(CLIENT), at(WEB), flags), Outcome::BadTcpFlags);
    }
}

fn impossible_flags_on_a_half_open_connection_are_dropped(lab: &mut Lab<'_>) {
    lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    for flags in IMPOSSIBLE {
        lab.leaves_alone(&tcp(at(CLIENT), at(WEB), flags), Outcome::BadTcpFlags);
    }
}
