//! `bench packet`: what one packet costs in the program, without drivers and wires.
//!
//! Every packet comes from another client of a pool, so that a large table is really touched. Rounds are interleaved: in
//! each, every case runs once, with the empty program beside it, and what counts is the difference.

mod bed;
mod case;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::{Daemon, Site};

use self::bed::Bed;
use self::case::{Case, Kind, POOLS};
use super::spread::Spread;
use super::table::{Column, Row, Table, grouped};
use super::{Effort, Subject, host};
use crate::build_ebpf;

/// How much is measured.
struct Plan {
    /// The program is loaded anew so often: hash seeds and where tables lie in memory differ between loads.
    loads: u32,
    rounds: u32,
    /// The largest pool.
    largest: u32,
}

/// Measures.
pub(crate) fn run(subject: &Subject) -> Result<Vec<Table>> {
    let plan = match subject.effort {
        Effort::Quick => Plan { loads: 1, rounds: 10, largest: 100_000 },
        Effort::Full => Plan { loads: 3, rounds: 100, largest: 1_000_000 },
    };
    let plan = Plan { rounds: subject.rounds.unwrap_or(plan.rounds), ..plan };
    measure(subject, &build_ebpf::bench()?, &plan)?.tables(&plan)
}

/// Every case in one round, with small pools: its name, and nanoseconds of a packet net of the empty program.
pub(super) fn once(subject: &Subject, object: &Path) -> Result<Vec<(String, f64)>> {
    let samples = measure(subject, object, &Plan { loads: 1, rounds: 1, largest: 1_000 })?;
    let cases =
        samples.cases.iter().map(|(case, batches)| (case.name.clone(), Spread::of(&nets(batches)).median));
    Ok(cases.chain(samples.openings.iter().map(|(step, batch)| (step.clone(), batch.net()))).collect())
}

fn measure(subject: &Subject, object: &Path, plan: &Plan) -> Result<Samples> {
    let mut samples = Samples::default();
    for load in 1..=plan.loads {
        for kind in [Kind::Tcp, Kind::Udp] {
            eprintln!("packet: load {load} of {}, {kind:?}", plan.loads);
            let mut bed = Bed::make(subject, object, kind, plan.largest)?;
            bed.inside(|bench| {
                host::stay_on_one_processor()?;
                let mut cases = case::all(bench, kind, plan.largest)?;
                cases.retain(|case| {
                    subject.only.is_empty() || subject.only.iter().any(|part| case.name.contains(part))
                });
                let connections = cases.iter().map(|case| case.pool).max().unwrap_or(0);
                samples.openings.extend(case::fill(bench, kind, connections)?);
                if subject.against.is_some() {
                    cases = cases.into_iter().flat_map(case::with_other).collect();
                }
                for case in &mut cases {
                    bench.check(case).with_context(|| case.name.clone())?;
                }
                for _ in 0..plan.rounds {
                    for case in &mut cases {
                        let measured = bench.measure(case).with_context(|| case.name.clone())?;
                        samples.add(case, measured);
                    }
                }
                Ok(())
            })?;
        }
    }
    Ok(samples)
}

/// A running daemon whose tables are full of established connections.
pub(super) struct Filled {
    pub(super) daemon: Daemon,
    pub(super) site: Site,
    /// Connections of a family that there is room for.
    pub(super) room: u32,
}

/// Opens so many TCP connections of each address family.
pub(super) fn filled(subject: &Subject, connections: u32) -> Result<Filled> {
    let mut bed = Bed::make(subject, &build_ebpf::bench()?, Kind::Tcp, connections)?;
    bed.inside(|bench| case::fill(bench, Kind::Tcp, connections).map(drop))?;
    bed.revived()
}

/// A case's batch: nanoseconds a packet.
#[derive(Clone, Copy, Debug)]
struct Batch {
    empty: f64,
    full: f64,
}

impl Batch {
    fn of(frames: u32, empty: Duration, full: Duration) -> Self {
        let each = |time: Duration| time.as_nanos() as f64 / f64::from(frames);
        Self { empty: each(empty), full: each(full) }
    }

    fn net(self) -> f64 {
        self.full - self.empty
    }
}

/// All that was measured, in the order of cases.
#[derive(Default)]
struct Samples {
    cases: Vec<(Case, Vec<Batch>)>,
    /// Steps of TCP handshakes while pools were filled.
    openings: Vec<(String, Batch)>,
}

impl Samples {
    fn add(&mut self, case: &Case, batch: Batch) {
        match self.cases.iter_mut().find(|(other, _)| other.name == case.name) {
            Some((_, batches)) => batches.push(batch),
            None => self.cases.push((case.clone(), vec![batch])),
        }
    }

    fn tables(&self, plan: &Plan) -> Result<Vec<Table>> {
        ensure!(!self.cases.is_empty(), "nothing was measured");
        let floor: Vec<f64> =
            self.cases.iter().flat_map(|(_, batches)| batches).map(|batch| batch.empty).collect();
        let floor = Spread::of(&floor);
        let notes = vec![
            format!(
                "Net of an empty program behind the same frame maker, which takes {} ns; noise, the distance between its \
                 quartiles, {} ns.",
                grouped(floor.median, 0),
                grouped(floor.width(), 0)
            ),
            format!("{} loads of {} interleaved rounds.", plan.loads, plan.rounds),
        ];
        Ok(vec![self.established(&notes), self.every(&notes)])
    }

    /// Medians of established connections, a column for each size of the pool.
    fn established(&self, notes: &[String]) -> Table {
        let mut rows: Vec<Row> = Vec::new();
        for (case, batches) in &self.cases {
            let Some((name, pool)) = &case.established else { continue };
            let median = Spread::of(&nets(batches)).median;
            let row = match rows.iter_mut().position(|row| row.name == *name) {
                Some(position) => &mut rows[position],
                None => {
                    rows.push(Row { name: name.clone(), ours: true, figures: vec![None; POOLS.len()] });
                    let last = rows.len() - 1;
                    &mut rows[last]
                }
            };
            if let Some(place) = POOLS.iter().position(|size| size == pool) {
                row.figures[place] = Some(median);
            }
        }
        let columns = POOLS.map(|size| Column::new(&grouped(size.into(), 0), "ns", 0)).to_vec();
        Table {
            name: "established",
            title: "Packet of an established connection, by connections in use".into(),
            columns,
            rows,
            drawn: 1,
            notes: notes.to_vec(),
        }
    }

    /// Everything, with its spread.
    fn every(&self, notes: &[String]) -> Table {
        let figures = |name: &str, batches: &[Batch]| {
            let spread = Spread::of(&nets(batches));
            Row {
                name: name.to_owned(),
                ours: !name.starts_with("bare"),
                figures: [spread.median, least(batches), spread.lower, spread.upper].map(Some).to_vec(),
            }
        };
        let mut rows: Vec<Row> =
            self.cases.iter().map(|(case, batches)| figures(&case.name, batches)).collect();
        let mut steps: Vec<&str> = self.openings.iter().map(|(step, _)| step.as_str()).collect();
        steps.sort_unstable();
        steps.dedup();
        for step in steps {
            let of_step = self.openings.iter().filter(|(other, _)| other == step);
            rows.push(figures(step, &of_step.map(|(_, batch)| *batch).collect::<Vec<_>>()));
        }
        Table {
            name: "packet",
            title: "Packet in the program".into(),
            columns: ["median", "minimum", "lower quartile", "upper quartile"]
                .map(|name| Column::new(name, "ns", 0))
                .to_vec(),
            rows,
            drawn: 0,
            notes: notes.to_vec(),
        }
    }
}

/// The fastest batch less the fastest of the empty program: one that was slow beside it would make less than nothing of it.
fn least(batches: &[Batch]) -> f64 {
    let least = |of: fn(&Batch) -> f64| Spread::of(&batches.iter().map(of).collect::<Vec<_>>()).minimum;
    least(|batch| batch.full) - least(|batch| batch.empty)
}

fn nets(batches: &[Batch]) -> Vec<f64> {
    batches.iter().map(|batch| batch.net()).collect()
}
