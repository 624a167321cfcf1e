//! The packets that are measured.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use lb_common::outcome::Outcome;
use lb_common::script::{Script, slot};

use super::Batch;
use super::bed::Bench;
use crate::bench::frame::{Direction, Frames, Segment};
use crate::bench::table::grouped;

/// Connections that packets belong to, in turn.
pub(super) const POOLS: [u32; 4] = [1, 1_000, 100_000, 1_000_000];

/// Clients that have not been seen before begin here.
const STRANGERS: u32 = 1 << 22;

/// More than there are cases.
const OTHERS: u32 = 100;

/// Packets of a batch, and connections that are opened at a time: fewer than the table of half-open ones has room for.
const BATCH: u32 = 10_000;

/// The tables that a load of the program has room in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP, and what belongs to neither.
    Tcp,
    /// UDP.
    Udp,
}

/// Packets of one kind.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// What is measured, in words.
    pub(super) name: String,
    /// For established connections: the name without the size of the pool, and the size.
    pub(super) established: Option<(String, u32)>,
    /// What makes them.
    pub(super) script: Script,
    /// What handles them.
    pub(super) program: u32,
    /// Index of the interface they arrive on.
    pub(super) ingress: u32,
    /// How they must end.
    pub(super) outcome: Option<Outcome>,
    /// Connections they belong to.
    pub(super) pool: u32,
    /// Packets of a batch.
    pub(super) batch: u32,
    /// Packets before it that do not count: what this case has had in caches is back in them.
    pub(super) warm: u32,
}

/// The two families: VIP, real server behind the pool, and an address of this machine.
const FAMILIES: [(&str, &str, &str, &str); 2] = [
    ("IPv4", "192.0.2.10", "10.0.0.21", "198.51.100.1"),
    ("IPv6", "[2001:db8::10]", "[2001:db8:2::21]", "[2001:db8:1::1]"),
];

fn at(host: &str, port: u16) -> Result<SocketAddr> {
    format!("{host}:{port}").parse().with_context(|| format!("address {host}"))
}

/// Frames as they arrive at the balancer.
fn arriving(bench: &Bench, peer: SocketAddr, direction: Direction, segment: Segment) -> (Frames, u32) {
    let interface = if direction == Direction::Request { bench.outside } else { bench.inside };
    let neighbour = [2, 0, 0, 0, 0, 99];
    (Frames { link: (neighbour, interface.mac), peer, direction, segment }, interface.index)
}

/// All cases of a kind, with pools up to `largest`.
pub(super) fn all(bench: &Bench, kind: Kind, largest: u32) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (family, vip, server, here) in FAMILIES {
        let (protocol, segment, first, port, server_port) = match kind {
            Kind::Tcp => ("TCP", Segment::Ack, Segment::Syn, 80, 8160),
            Kind::Udp => ("UDP", Segment::Udp, Segment::Udp, 53, 106),
        };
        for (direction, word, peer) in [
            (Direction::Request, "request", at(vip, port)?),
            (Direction::Reply, "reply", at(server, server_port)?),
        ] {
            for pool in POOLS.into_iter().filter(|pool| *pool <= largest) {
                let (frames, ingress) = arriving(bench, peer, direction, segment);
                let large = pool > BATCH;
                let name = format!("{protocol} {family}, {word}");
                cases.push(Case {
                    name: format!("{name}, {} connections", grouped(pool.into(), 0)),
                    established: Some((name, pool)),
                    script: frames.script(0, pool)?,
                    program: slot::PRODUCT,
                    ingress,
                    outcome: Some(Outcome::Forwarded),
                    pool,
                    batch: if large { 10 * BATCH } else { BATCH },
                    // A pool that fits into no cache needs no warming.
                    warm: if large && pool > 10 * BATCH { 0 } else { pool.max(1_000) },
                });
            }
        }
        let mut stranger = |name: &str, peer: SocketAddr, segment: Segment, outcome: Outcome| -> Result<()> {
            let (frames, ingress) = arriving(bench, peer, Direction::Request, segment);
            cases.push(Case {
                name: format!("{protocol} {family}, {name}"),
                established: None,
                script: frames.script(STRANGERS * (1 + cases.len() as u32), STRANGERS)?,
                program: slot::PRODUCT,
                ingress,
                outcome: Some(outcome),
                pool: 0,
                batch: BATCH,
                warm: 0,
            });
            Ok(())
        };
        match kind {
            Kind::Tcp => {
                stranger("new, wlc of 10", at(vip, 81)?, first, Outcome::NewConnection)?;
                stranger("new, mh of 10", at(vip, 82)?, first, Outcome::NewConnection)?;
                stranger("adopted, mh of 10", at(vip, 82)?, segment, Outcome::Adopted)?;
                stranger("no connection, dropped", at(vip, 83)?, segment, Outcome::WithoutState)?;
            }
            Kind::Udp => stranger("new, wlc of 10", at(vip, 54)?, first, Outcome::NewConnection)?,
        }
        stranger("not ours", at(here, 22)?, segment, Outcome::NoService)?;
    }
    if kind == Kind::Tcp {
        let (frames, ingress) = arriving(bench, at(FAMILIES[0].1, 80)?, Direction::Request, Segment::Ack);
        cases.push(Case {
            name: "bare rewrite, TCP IPv4".into(),
            established: None,
            script: frames.script(0, 1_000)?,
            program: slot::BARE,
            ingress,
            outcome: None,
            pool: 0,
            batch: BATCH,
            warm: 1_000,
        });
    }
    Ok(cases)
}

/// The case, and the same for the other build of the product.
pub(super) fn with_other(case: Case) -> Vec<Case> {
    if case.program != slot::PRODUCT {
        return vec![case];
    }
    let mut other = Case { name: format!("{}, other", case.name), program: slot::OTHER, ..case.clone() };
    other.established = None;
    if other.pool == 0 {
        // Its strangers are others.
        other.script.first += STRANGERS * OTHERS;
    }
    vec![case, other]
}

/// Opens the connections of the pools, as their packets would, and says what each step took.
pub(super) fn fill(bench: &mut Bench, kind: Kind, connections: u32) -> Result<Vec<(String, Batch)>> {
    let mut steps = Vec::new();
    for (family, vip, server, _) in FAMILIES {
        // Of a million connections a few lose their half-open entry to others. The next packets of both sides bring them
        // back, and may take another one's doing so.
        let packets: &[(Option<&str>, Direction, Segment)] = match kind {
            Kind::Tcp => &[
                (Some("1 SYN"), Direction::Request, Segment::Syn),
                (Some("2 SYN-ACK"), Direction::Reply, Segment::SynAck),
                (Some("3 ACK"), Direction::Request, Segment::Ack),
                (None, Direction::Request, Segment::Ack),
                (None, Direction::Reply, Segment::Ack),
                (None, Direction::Request, Segment::Ack),
                (None, Direction::Reply, Segment::Ack),
            ],
            Kind::Udp => &[(None, Direction::Request, Segment::Udp)],
        };
        let service = at(vip, if kind == Kind::Tcp { 80 } else { 53 })?;
        let replies = at(server, 8160)?;
        for first in (0..connections).step_by(BATCH as usize) {
            let clients = BATCH.min(connections - first);
            for &(step, direction, segment) in packets {
                let peer = if direction == Direction::Request { service } else { replies };
                let (frames, ingress) = arriving(bench, peer, direction, segment);
                let mut case = Case {
                    name: format!("opening TCP {family}, step {}", step.unwrap_or_default()),
                    established: None,
                    script: frames.script(first, clients)?,
                    program: slot::PRODUCT,
                    ingress,
                    outcome: None,
                    pool: 0,
                    batch: clients,
                    warm: 0,
                };
                let batch = bench.measure(&mut case)?;
                if step.is_some() {
                    steps.push((case.name, batch));
                }
            }
        }
    }
    Ok(steps)
}
