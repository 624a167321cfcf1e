//! `bench forward`: what one packet costs on its way through a balancer, from wire to wire.
//!
//! All of it happens on one processor, so that packets a second are those of a core.

use std::time::Duration;

use anyhow::{Context, Result};
use lb_common::script::Script;

use super::frame::{Direction, Segment};
use super::ground::{Contender, Ground};
use super::service;
use super::spread::Spread;
use super::table::{Column, Row, Table, grouped};
use super::{Effort, Subject};
use crate::build_ebpf;

/// All that take part, in the order they are shown.
const CONTENDERS: [Contender; 5] =
    [Contender::Xlb, Contender::Router, Contender::Route, Contender::Nftables, Contender::Redirect];

/// Room for 100,000 UDP connections, which get a quarter.
const CONNECTIONS: u32 = 1_000_000;

/// Packets from clients in turn.
struct Workload {
    name: &'static str,
    /// How many clients.
    clients: u32,
    /// Packets of a batch.
    batch: u32,
    /// Packets before it that do not count.
    warm: u32,
}

/// Connections that go on.
const KNOWN: [Workload; 2] = [
    Workload { name: "1,000 connections", clients: 1_000, batch: 50_000, warm: 2_000 },
    Workload { name: "100,000 connections", clients: 100_000, batch: 100_000, warm: 100_000 },
];

/// Conntrack holds 262,144 connections: so many rounds fit into it.
const NEW: [Workload; 1] =
    [Workload { name: "a new connection each packet", clients: u32::MAX, batch: 10_000, warm: 0 }];

/// What was measured of one contender with one workload.
struct Samples {
    contender: Contender,
    workload: &'static str,
    /// Nanoseconds a packet, for each round; none where packets were lost.
    rounds: Vec<Option<f64>>,
}

/// Measures.
pub(crate) fn run(subject: &Subject) -> Result<Vec<Table>> {
    let rounds = match subject.effort {
        Effort::Quick => 5,
        Effort::Full => 20,
    };
    let object = build_ebpf::bench()?;
    let mut samples = Vec::new();
    for workloads in [&KNOWN[..], &NEW[..]] {
        eprintln!("forward: {}", workloads[0].name);
        let mut grounds = Vec::new();
        for contender in CONTENDERS {
            let ground = Ground::make(contender, &subject.program, &object, CONNECTIONS)
                .with_context(|| format!("cannot prepare {}", contender.name()))?;
            grounds.push(ground);
        }
        samples.extend(interleaved(&mut grounds, workloads, rounds)?);
    }
    Ok(vec![table(&samples, rounds)])
}

fn interleaved(
    grounds: &mut [Ground],
    workloads: &'static [Workload],
    rounds: usize,
) -> Result<Vec<Samples>> {
    let mut samples = Vec::new();
    for workload in workloads {
        let mut scripts = Vec::new();
        for ground in grounds.iter() {
            scripts.push(
                ground.frames(service::UDP, Direction::Request, Segment::Udp).script(0, workload.clients)?,
            );
            let rounds = Vec::with_capacity(rounds);
            samples.push(Samples { contender: ground.contender, workload: workload.name, rounds });
        }
        let first = samples.len() - grounds.len();
        for _ in 0..rounds {
            for (position, ground) in grounds.iter_mut().enumerate() {
                let script = &mut scripts[position];
                let measured = round(ground, script, workload)
                    .with_context(|| format!("{}, {}", ground.contender.name(), workload.name))?;
                samples[first + position].rounds.push(measured);
            }
        }
    }
    Ok(samples)
}

/// Nanoseconds a packet; none when packets were lost.
fn round(ground: &mut Ground, script: &mut Script, workload: &Workload) -> Result<Option<f64>> {
    if workload.warm > 0 {
        ground.send(Direction::Request, script, workload.warm)?;
    }
    let (time, lost) = ground.send(Direction::Request, script, workload.batch)?;
    Ok((lost == 0).then(|| per_packet(time, workload.batch)))
}

fn per_packet(time: Duration, packets: u32) -> f64 {
    time.as_nanos() as f64 / f64::from(packets)
}

fn table(samples: &[Samples], rounds: usize) -> Table {
    let of = |contender: Contender, workload: &str| {
        samples.iter().find(|other| other.contender == contender && other.workload == workload)
    };
    let mut rows = Vec::new();
    let mut floors = Vec::new();
    let mut losses = Vec::new();
    for workload in KNOWN.iter().chain(&NEW).map(|workload| workload.name) {
        let Some(floor) = of(Contender::Redirect, workload) else { continue };
        floors.extend(floor.rounds.iter().copied().flatten());
        let net = |contender: Contender| -> Vec<f64> {
            let rounds = of(contender, workload).into_iter().flat_map(|samples| &samples.rounds);
            rounds.zip(&floor.rounds).filter_map(|(all, floor)| Some((*all)? - (*floor)?)).collect()
        };
        let nftables = Spread::of(&net(Contender::Nftables)).median;
        for contender in CONTENDERS {
            let Some(measured) = of(contender, workload) else { continue };
            let whole: Vec<f64> = measured.rounds.iter().copied().flatten().collect();
            let lost = measured.rounds.len() - whole.len();
            let name = format!("{}, {workload}", contender.name());
            if lost > 0 {
                losses.push(format!(
                    "{name}: packets were lost in {lost} of {rounds} rounds, which do not count."
                ));
            }
            let spread = Spread::of(&net(contender));
            let figures = if whole.is_empty() {
                vec![None; 5]
            } else if contender == Contender::Redirect {
                vec![None, None, None, None, Some(1e3 / Spread::of(&whole).median)]
            } else {
                vec![
                    Some(spread.median),
                    Some(spread.lower),
                    Some(spread.upper),
                    Some(nftables / spread.median),
                    Some(1e3 / Spread::of(&whole).median),
                ]
            };
            rows.push(Row { name, ours: contender == Contender::Xlb, figures });
        }
    }
    let floor = Spread::of(&floors);
    let mut notes = vec![format!(
        "UDP over IPv4, frames of 80 bytes; net of sending, redirecting and counting, which take {} ns; noise, the distance \
         between the floor's quartiles, {} ns. {rounds} interleaved rounds; a round in which a packet is lost does not count.",
        grouped(floor.median, 0),
        grouped(floor.width(), 0)
    )];
    notes.extend(losses);
    Table {
        name: "forward",
        title: "Packet from wire to wire".into(),
        columns: vec![
            Column::new("median", "ns", 0),
            Column::new("lower quartile", "ns", 0),
            Column::new("upper quartile", "ns", 0),
            Column::new("times faster than nftables", "", 1),
            Column::new("packets on a core", "M/s", 2),
        ],
        rows,
        drawn: 0,
        notes,
    }
}
