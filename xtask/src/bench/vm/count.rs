//! Inside of the guest: how many instructions a packet takes, by the guest's own clock, of which each takes a nanosecond.
//!
//! That holds while the guest never waits: it has one processor, and sending, forwarding and counting keep it busy. What
//! begins and ends a batch falls out of the difference between a batch and one that is twice as long.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lb_common::script::Script;

use super::{CONTENDERS, OBJECT, XLB};
use crate::bench::frame::{Direction, Segment};
use crate::bench::ground::Ground;
use crate::bench::service::{self, Service};

/// Packets of a batch.
const BATCH: u32 = 4_000;

/// Clients whose connections go on.
const CLIENTS: u32 = 1_000;

/// Clients that have not been seen before begin here.
const STRANGERS: u32 = 1 << 20;

/// xlb's room. Instructions do not depend on it, but filling the memory takes time.
const CONNECTIONS: u32 = 1 << 17;

/// Packets of one kind.
pub(super) struct Work {
    /// What it is called.
    pub(super) name: &'static str,
    service: Service,
    segment: Segment,
    /// How its connections are opened beforehand; not at all where each packet is a connection's first.
    opening: &'static [(Direction, Segment)],
}

/// What is counted, in order.
pub(super) const WORKS: [Work; 4] = [
    Work {
        name: "UDP",
        service: service::UDP,
        segment: Segment::Udp,
        opening: &[(Direction::Request, Segment::Udp), (Direction::Reply, Segment::Udp)],
    },
    Work {
        name: "TCP",
        service: service::TCP,
        segment: Segment::Ack,
        opening: &[
            (Direction::Request, Segment::Syn),
            (Direction::Reply, Segment::SynAck),
            (Direction::Request, Segment::Ack),
        ],
    },
    Work { name: "UDP, new", service: service::UDP_POOL, segment: Segment::Udp, opening: &[] },
    Work { name: "TCP, new", service: service::TCP_POOL, segment: Segment::Syn, opening: &[] },
];

/// Instructions a packet of one [`Work`], for each round; none where packets were lost.
pub(super) type Rounds = Vec<Option<f64>>;

/// Counts for one contender: an answer for each of [`WORKS`], as JSON.
pub(crate) fn count(contender: usize, rounds: usize) -> Result<String> {
    let contender = *CONTENDERS.get(contender).context("no such contender")?;
    let mut ground = Ground::make(contender, Path::new(XLB), Path::new(OBJECT), CONNECTIONS)?;
    let counted: Vec<Rounds> =
        WORKS.iter().map(|work| each(&mut ground, work, rounds).context(work.name)).collect::<Result<_>>()?;
    Ok(serde_json::to_string(&counted)?)
}

fn each(ground: &mut Ground, work: &Work, rounds: usize) -> Result<Rounds> {
    let frames = ground.frames(work.service, Direction::Request, work.segment);
    let mut script = if work.opening.is_empty() {
        frames.script(STRANGERS, u32::MAX)?
    } else {
        open(ground, work)?;
        frames.script(0, CLIENTS)?
    };
    (0..rounds).map(|_| round(ground, &mut script)).collect()
}

fn open(ground: &mut Ground, work: &Work) -> Result<()> {
    if !ground.contender.translates() {
        return Ok(());
    }
    // What was opened is used once: a flow table takes a connection with the first packet after.
    let first = [(Direction::Request, work.segment)];
    for &(direction, segment) in work.opening.iter().chain(&first) {
        let mut script = ground.frames(work.service, direction, segment).script(0, CLIENTS)?;
        let lost = ground.send(direction, &mut script, CLIENTS)?.lost;
        ensure!(lost == 0, "{lost} of {CLIENTS} packets were lost: {direction:?} {segment:?}");
    }
    Ok(())
}

fn round(ground: &mut Ground, script: &mut Script) -> Result<Option<f64>> {
    let once = ground.send(Direction::Request, script, BATCH)?;
    let twice = ground.send(Direction::Request, script, 2 * BATCH)?;
    let instructions = twice.elapsed.as_nanos() as f64 - once.elapsed.as_nanos() as f64;
    Ok((once.lost == 0 && twice.lost == 0).then(|| instructions / f64::from(BATCH)))
}
