//! The sweep on the kernel's own tables: what has been idle for as long as its state may be is forgotten, and nothing else.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lb_common::{
    addr::Port,
    tcp::header::{ACK, FIN, RST, SYN},
};
use lb_user::dataplane::sweep::{Period, Rule, Seen, Timeouts, sweep};

use super::{Kernel, tables, with_the_world};
use crate::packet::{tcp, udp};
use crate::read::read;
use crate::world::{DNS, WEB, WEB_AGAIN, at};

/// In ticks, and minutes apart: opening the connections takes seconds.
const TIMEOUTS: Timeouts = Timeouts {
    syn: 100_000,
    close: 200_000,
    fin: 300_000,
    close_wait: 400_000,
    time_wait: 500_000,
    udp: 600_000,
    established: 700_000,
};

/// Of [`WEB_AGAIN`], which has a timeout of its own.
const ELSEWHERE: Timeouts = Timeouts { established: 800_000, ..TIMEOUTS };

/// More than opening takes, less than two timeouts are apart.
const MARGIN: u32 = 50_000;

/// Real servers of [`WEB_AGAIN`].
const OF_WEB_AGAIN: std::ops::RangeInclusive<u32> = 8..=9;

/// What a connection is brought to, and its timeout.
type State = (&'static str, u32, fn(&Kernel, SocketAddr));

const STATES: [State; 10] = [
    ("half-open", TIMEOUTS.syn, |kernel, client| _ = opens(kernel, client)),
    ("half-open and refused", TIMEOUTS.close, |kernel, client| {
        let server = opens(kernel, client);
        kernel.send(&tcp(server, client, RST | ACK));
    }),
    ("open", TIMEOUTS.established, |kernel, client| _ = kernel.establishes(client, WEB)),
    ("open on another virtual server", ELSEWHERE.established, |kernel, client| {
        kernel.establishes(client, WEB_AGAIN);
    }),
    ("closed by the real server", TIMEOUTS.fin, |kernel, client| {
        let server = kernel.establishes(client, WEB);
        kernel.send(&tcp(server, client, FIN | ACK));
    }),
    ("closed by the client", TIMEOUTS.close_wait, |kernel, client| {
        kernel.establishes(client, WEB);
        kernel.send(&tcp(client, at(WEB), FIN | ACK));
    }),
    ("closed by both", TIMEOUTS.time_wait, |kernel, client| {
        let server = kernel.establishes(client, WEB);
        kernel.send(&tcp(client, at(WEB), FIN | ACK));
        kernel.send(&tcp(server, client, FIN | ACK));
    }),
    ("reset by the client", TIMEOUTS.close, |kernel, client| {
        kernel.establishes(client, WEB);
        kernel.send(&tcp(client, at(WEB), RST));
    }),
    ("reset by the real server", TIMEOUTS.close, |kernel, client| {
        let server = kernel.establishes(client, WEB);
        kernel.send(&tcp(server, client, RST));
    }),
    ("UDP", TIMEOUTS.udp, |kernel, client| drop(kernel.send(&udp(client, at(DNS)).with(b"query")))),
];

/// States of TCP and UDP that take part in a real server's active connections.
const ACTIVE: [&str; 5] =
    ["open", "open on another virtual server", "closed by the real server", "closed by the client", "UDP"];

fn opens(kernel: &Kernel, client: SocketAddr) -> SocketAddr {
    let (_, bytes) = kernel.send(&tcp(client, at(WEB), SYN));
    read(&bytes).unwrap().destination
}

fn client(number: usize) -> SocketAddr {
    at(&format!("198.18.0.1:{}", 40_000 + number))
}

impl Kernel {
    /// Sweeps as if so many ticks had passed.
    fn sweeps(&mut self, later: u32) -> Seen {
        let rule = |index| Rule {
            timeouts: if OF_WEB_AGAIN.contains(&index) { ELSEWHERE } else { TIMEOUTS },
            persistence: None,
            leaving: false,
        };
        let now = self.now().wrapping_add(later);
        sweep(&mut self.maps, Period { since: now, now, unanswered: u32::MAX }, &rule).unwrap()
    }

    /// Every port of a client or towards one that is in some table, with the number of its entries.
    fn ports(&self) -> Vec<u16> {
        let tcp = self.maps.v4.tcp.keys().chain(self.maps.v4.udp.keys()).map(Result::unwrap);
        let all = tcp.chain(tables::half_open(&self.maps.v4.half_open).into_keys());
        let of_client = |port: Port| port.number() >= 40_000;
        all.map(|key| if of_client(key.source_port) { key.source_port } else { key.destination_port })
            .map(Port::number)
            .collect()
    }
}

#[test]
fn every_state_has_its_own_idle_time_and_every_virtual_server_too() {
    with_the_world(|pins| {
        let mut kernel = Kernel::with_world(64, pins);
        for (number, (_, _, brings)) in STATES.iter().enumerate() {
            brings(&kernel, client(number));
        }
        assert_eq!(kernel.ports().len(), 2 * STATES.len(), "both directions of each");
        let mut moments: BTreeSet<u32> = STATES.iter().map(|(_, timeout, _)| timeout - MARGIN).collect();
        moments.insert(ELSEWHERE.established + MARGIN);
        for moment in moments {
            let seen = kernel.sweeps(moment);
            let left = STATES.iter().enumerate().filter(|(_, (_, timeout, _))| *timeout > moment);
            let (numbers, names): (Vec<_>, Vec<_>) = left.map(|(number, (name, ..))| (number, *name)).unzip();
            let mut expected: Vec<u16> =
                numbers.iter().flat_map(|&number| [client(number).port(); 2]).collect();
            let mut ports = kernel.ports();
            ports.sort_unstable();
            expected.sort_unstable();
            assert_eq!(ports, expected, "after {moment} ticks these are left: {names:?}");

            let active = names.iter().filter(|name| ACTIVE.contains(name)).count() as u64;
            let counted = seen.live.values().fold((0, 0), |sum, it| (sum.0 + it.active, sum.1 + it.inactive));
            assert_eq!(counted, (active, names.len() as u64 - active), "after {moment} ticks");
        }
    });
}
