//! Sets of the half-open table that are full, and two CPUs and the controller that work on them at once.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lb_common::{
    addr::{Port, V4},
    connection::{ConnectionKey, flags},
    half_open::WAYS,
    outcome::Outcome,
    tcp::header::{ACK, RST, SYN},
};
use lb_tests::wait_until;
use lb_user::dataplane::{half_open::Entries, pins::Pins};

use super::{Kernel, REDIRECT, with_the_world};
use crate::lab::Lab;
use crate::packet::{Packet, tcp};
use crate::read::read;
use crate::stream::Dice;
use crate::world::{self, WEB, WEB_AGAIN, at};

/// Connections to a VIP whose entries belong to the set of the first one.
fn of_one_set(kernel: &Kernel, vip: &str, wanted: usize) -> Vec<SocketAddr> {
    let placement = kernel.maps.v4.half_open.placement();
    let set = |client: SocketAddr| placement.place(&key(client, at(vip))).set;
    let first = set(client(0));
    (0..).map(client).filter(|client| set(*client) == first).take(wanted).collect()
}

/// An address and port of its own for each number.
fn client(number: u32) -> SocketAddr {
    at(&format!("198.18.{}.{}:{}", number >> 23, number >> 15 & 0xff, 10_000 + (number & 0x7fff)))
}

fn key(source: SocketAddr, destination: SocketAddr) -> ConnectionKey<V4> {
    let address = |end: SocketAddr| match end.ip() {
        std::net::IpAddr::V4(ip) => V4::from(ip),
        std::net::IpAddr::V6(_) => unreachable!("IPv4 only"),
    };
    ConnectionKey {
        source: address(source),
        destination: address(destination),
        source_port: Port::new(source.port()),
        destination_port: Port::new(destination.port()),
    }
}

/// Seconds since the start, in steps of a hundredth.
fn uptime() -> f64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    uptime.split(' ').next().unwrap().parse().unwrap()
}

/// Returns when the kernel's clock has gone on, which ticks a hundred times a second at least.
fn pass_a_tick() {
    let before = uptime();
    wait_until("a tick", Duration::from_secs(1), || uptime() - before > 0.015).unwrap();
}

#[test]
fn a_full_set_evicts_as_on_the_host_and_what_is_evicted_is_no_load() {
    with_the_world(|pins| {
        let mut kernel = Kernel::with_world(64, pins);
        let clients = of_one_set(&kernel, WEB, 3 * WAYS);
        let mut memory = world::memory(64);
        memory.v4.half_open.placement = kernel.maps.v4.half_open.placement();
        let mut lab = Lab::new(memory, Some(&mut kernel));
        for (number, client) in clients.iter().enumerate() {
            let server = lab.reaches(&tcp(*client, at(WEB), SYN), Outcome::NewConnection);
            if number == 3 {
                lab.answers(&tcp(server, *client, SYN | ACK).numbered(5000, 1001), WEB);
            }
            lab.check();
            let connections = lab.memory.v4.half_open.iter();
            let connections = connections.filter(|(_, half)| half.connection.flags & flags::REPLY == 0);
            assert_eq!(lab.load().inactive, connections.count() as u64, "after {number} more");
            // Who is older has to be so by both clocks.
            lab.memory.now += 1;
            pass_a_tick();
        }
        let kept = |number: usize| lab.memory.v4.half_open.get(&key(clients[number], at(WEB))).is_some();
        let kept: Vec<usize> = (0..clients.len()).filter(|number| kept(*number)).collect();
        assert_eq!(kept, [3, 17, 18, 19, 20, 21, 22, 23], "the last ones, and the one that was answered");
    });
}

#[test]
fn half_open_connections_outlive_the_controller() {
    with_the_world(|pins| {
        let kernel = Kernel::with_world(64, pins);
        let before = kernel.maps.v4.half_open.placement();
        let (_, bytes) = kernel.send(&tcp(client(1), at(WEB), SYN));
        let server = read(&bytes).unwrap().destination;
        drop(kernel);
        let kernel = Kernel::load(64, pins);
        assert_eq!(kernel.maps.v4.half_open.placement(), before);
        kernel.proves(client(1), WEB, server);
        assert_eq!(kernel.count(Outcome::Forwarded), 2);
    });
}

#[test]
fn whoever_has_a_secret_of_where_keys_belong_has_one_of_its_own() {
    let placement = |pins: &Pins| Kernel::load(64, pins).maps.v4.half_open.placement();
    with_the_world(move |first| {
        let first = placement(first);
        assert_eq!(first.sets as usize * WAYS, 32_768);
        with_the_world(move |second| assert_ne!(first.secret, placement(second).secret));
    });
}

/// Frames that each CPU sends to the same set.
const FRAMES: usize = 150_000;

/// What one CPU sends meanwhile: anything of any connection. What comes out has to be that connection's.
fn hammer(kernel: &Kernel, clients: &[SocketAddr], seed: u64) -> u64 {
    let mut dice = Dice(seed);
    let mut servers: Vec<Option<SocketAddr>> = vec![None; 2 * clients.len()];
    let mut forwarded = 0;
    for _ in 0..FRAMES {
        let number = dice.below(servers.len());
        let (client, vip) = (clients[number / 2], at([WEB, WEB_AGAIN][number % 2]));
        let reply = servers[number].filter(|_| dice.below(2) == 0);
        let packet: Packet = match reply {
            Some(server) => tcp(server, client, [SYN | ACK, SYN | ACK, ACK, RST][dice.below(4)]),
            // Acknowledges nothing that was sent, so nothing is ever proven.
            None => tcp(client, vip, [SYN, SYN, SYN, ACK, RST][dice.below(5)]),
        };
        let packet = packet.numbered(5000, 9).with(&number.to_be_bytes());
        let (action, bytes) = kernel.send(&packet);
        if action != REDIRECT {
            continue;
        }
        forwarded += 1;
        let seen = read(&bytes).expect("it is well-formed");
        assert!(seen.network_whole && seen.transport_whole, "{packet:?} became {seen:?}");
        assert_eq!(seen.payload, number.to_be_bytes(), "{packet:?}");
        if reply.is_some() {
            // Both VIPs are in front of the same real servers: the reply is of whoever had the real server last.
            assert_eq!(seen.destination, client, "{packet:?}");
            assert!([at(WEB), at(WEB_AGAIN)].contains(&seen.source), "{packet:?} became {seen:?}");
        } else {
            assert_eq!(seen.source, client, "{packet:?}");
            servers[number] = Some(seen.destination);
        }
    }
    forwarded
}

/// The controller's part: removes what it likes. No key may be there twice.
fn thin_out(entries: &Entries<'_, V4>, done: &AtomicBool) -> (u64, u64) {
    let mut dice = Dice(99);
    let (mut removed, mut used) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        entries.while_each(|spot, _, _| {
            match dice.below(4) == 0 && entries.remove(spot) {
                true => removed += 1,
                false => used += 1,
            }
            ControlFlow::Continue(())
        });
        thread::yield_now();
    }
    (removed, used)
}

#[test]
fn nothing_is_translated_wrongly_where_everybody_writes() {
    with_the_world(|pins| {
        let kernel = Kernel::with_world(64, pins);
        // Half again as many as there is room for, so that there is always somebody to evict.
        let clients = of_one_set(&kernel, WEB, WAYS * 3 / 2);
        let (done, forwarded) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut removed = (0, 0);
        thread::scope(|scope| {
            let table = &kernel.maps.v4.half_open;
            let controller = scope.spawn(|| thin_out(&table.entries().unwrap(), &done));
            let cpus = [1, 2].map(|seed| {
                let (kernel, clients, forwarded) = (&kernel, &clients, &forwarded);
                scope.spawn(move || forwarded.fetch_add(hammer(kernel, clients, seed), Ordering::Relaxed))
            });
            let ended = cpus.map(thread::ScopedJoinHandle::join);
            done.store(true, Ordering::Relaxed);
            removed = controller.join().unwrap();
            for end in ended {
                end.unwrap();
            }
        });
        println!("forwarded {forwarded:?}, removed {removed:?}");
        assert!(forwarded.into_inner() > 1000 && removed.0 > 10, "{removed:?}");
        let left = super::tables::half_open(&kernel.maps.v4.half_open);
        assert!(!left.is_empty(), "each of them once");
    });
}
