//! Inside of the guest: how many instructions a packet takes. Each takes a nanosecond of the guest's clock, so that
//! processor time is instructions.
//!
//! What begins and ends a batch falls out: what counts is the difference between a batch and one that is twice as long.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lb_common::script::Script;
use serde::{Deserialize, Serialize};

use crate::bench::frame::{Direction, Segment};
use crate::bench::ground::{Contender, Ground};
use crate::bench::service::{self, Service};
use crate::bench::spread::Spread;
use crate::bench::table::grouped;
use crate::bench::{Effort, Subject, packet};

/// Files of the guest: xlb, the programs to measure with, what is to be counted.
pub(super) const XLB: &str = "/bin/xlb";
pub(super) const OBJECT: &str = "/bench.o";
pub(super) const ORDER: &str = "/order.json";

/// Packets of a batch.
const BATCH: u32 = 4_000;

/// The same where each is a connection's first: conntrack has room for 65,536 in all rounds of all works.
const BATCH_NEW: u32 = 1_500;

/// Clients whose connections go on.
const CLIENTS: u32 = 1_000;

/// Clients that have not been seen before begin here.
const STRANGERS: u32 = 1 << 20;

/// xlb's room. Instructions do not depend on it, but filling the memory takes time.
const CONNECTIONS: u32 = 1 << 18;

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
pub(super) const WORKS: [Work; 6] = [
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
    new("new UDP, wrr", service::TURNS, Segment::Udp),
    new("new UDP, sh", service::HASH, Segment::Udp),
    new("new UDP, mh", service::MAGLEV, Segment::Udp),
    new("new TCP, wrr", service::TCP_TURNS, Segment::Syn),
];

const fn new(name: &'static str, service: Service, segment: Segment) -> Work {
    Work { name, service, segment, opening: &[] }
}

/// What is to be counted.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Order {
    /// Who takes part.
    pub(super) contenders: Vec<Contender>,
    /// How often each work is counted.
    pub(super) rounds: usize,
    /// Whether the program alone is counted, too.
    pub(super) program: bool,
    /// Parts of the names of its cases; all when there is none.
    pub(super) only: Vec<String>,
}

/// What was counted.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Counted {
    /// For each that took part, its answers to all [`WORKS`].
    pub(super) contenders: Vec<(Contender, Vec<Rounds>)>,
    /// Cases in the program by their names: instructions a packet, net of the empty program.
    pub(super) program: Vec<(String, f64)>,
}

/// Instructions a packet of one [`Work`], for each round; none where packets were lost.
pub(super) type Rounds = Vec<Option<f64>>;

/// Counts what was ordered; the answer is JSON.
pub(crate) fn count() -> Result<String> {
    let order: Order = serde_json::from_slice(&std::fs::read(ORDER)?)?;
    let mut contenders = Vec::new();
    for contender in order.contenders {
        println!("vm: {}", contender.name());
        let counted = all(contender, order.rounds).with_context(|| contender.name())?;
        println!("vm: {}: {}, floor included", contender.name(), said(&counted));
        contenders.push((contender, counted));
    }
    let mut program = Vec::new();
    if order.program {
        println!("vm: xlb, program alone");
        let subject = Subject {
            program: XLB.into(),
            against: None,
            only: order.only,
            rounds: None,
            effort: Effort::Quick,
        };
        program = packet::once(&subject, Path::new(OBJECT))?;
    }
    Ok(serde_json::to_string(&Counted { contenders, program })?)
}

fn said(counted: &[Rounds]) -> String {
    let figures = WORKS.iter().zip(counted).map(|(work, rounds)| {
        let rounds: Vec<f64> = rounds.iter().copied().flatten().collect();
        format!("{} {}", work.name, grouped(Spread::of(&rounds).median, 0))
    });
    figures.collect::<Vec<_>>().join("; ")
}

fn all(contender: Contender, rounds: usize) -> Result<Vec<Rounds>> {
    let mut ground = Ground::make(contender, Path::new(XLB), Path::new(OBJECT), CONNECTIONS)?;
    WORKS.iter().map(|work| each(&mut ground, work, rounds).context(work.name)).collect()
}

fn each(ground: &mut Ground, work: &Work, rounds: usize) -> Result<Rounds> {
    let frames = ground.frames(work.service, Direction::Request, work.segment);
    let (mut script, batch) = if work.opening.is_empty() {
        (frames.script(STRANGERS, u32::MAX)?, BATCH_NEW)
    } else {
        open(ground, work)?;
        (frames.script(0, CLIENTS)?, BATCH)
    };
    // What happens only once happens here.
    ground.send(Direction::Request, &mut script, batch)?;
    (0..rounds).map(|_| round(ground, &mut script, batch)).collect()
}

fn open(ground: &mut Ground, work: &Work) -> Result<()> {
    if !ground.contender.translates() {
        return Ok(());
    }
    // What was opened is used once: a flow table takes a connection with the first packet after.
    let first = [(Direction::Request, work.segment)];
    for &(direction, segment) in work.opening.iter().chain(&first) {
        let mut script = ground.frames(work.service, direction, segment).script(0, CLIENTS)?;
        let (_, lost) = ground.send(direction, &mut script, CLIENTS)?;
        ensure!(lost == 0, "{lost} of {CLIENTS} packets were lost: {direction:?} {segment:?}");
    }
    Ok(())
}

fn round(ground: &mut Ground, script: &mut Script, batch: u32) -> Result<Option<f64>> {
    let (once, lost_once) = ground.send(Direction::Request, script, batch)?;
    let (twice, lost_twice) = ground.send(Direction::Request, script, 2 * batch)?;
    let instructions = twice.as_nanos() as f64 - once.as_nanos() as f64;
    Ok((lost_once + lost_twice == 0).then(|| instructions / f64::from(batch)))
}
