//! `bench http`: whole connections through a balancer: requests a second, latency, bulk throughput, processor time.
//!
//! Client, balancer and web server are namespaces of this machine and share its processors, so a request costs what all of
//! them spend on it. Contenders take turns in every round.

mod contender;
mod load;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::contender::{CONTENDERS, Contender, Place};
use self::load::{Answer, Style};
use super::spread::Spread;
use super::table::{Column, Row, Table};
use super::{Effort, Subject};
use crate::setup;

/// Programs and modules that this needs, with Debian's packages of them.
const NEEDED: [(&str, &str); 4] = [
    ("wrk", "wrk"),
    ("iperf3", "iperf3"),
    ("haproxy", "haproxy"),
    (contender::STREAM_MODULE, "libnginx-mod-stream"),
];

/// What was measured of one contender.
#[derive(Default)]
struct Samples {
    new: Vec<Answer>,
    kept: Vec<Answer>,
    /// Gigabits a second.
    bulk: Vec<f64>,
}

/// Measures.
pub(crate) fn run(subject: &Subject) -> Result<Vec<Table>> {
    setup::run_with(&NEEDED)?;
    let (rounds, time) = match subject.effort {
        Effort::Quick => (1, Duration::from_secs(1)),
        Effort::Full => (5, Duration::from_secs(3)),
    };
    let mut places = Vec::new();
    for contender in CONTENDERS {
        let place = Place::make(contender, &subject.program)
            .with_context(|| format!("cannot prepare {}", contender.name()))?;
        places.push((place, Samples::default()));
    }
    for round in 1..=rounds {
        eprintln!("http: round {round} of {rounds}");
        for (place, samples) in &mut places {
            let name = place.contender.name();
            let ask = |style| load::ask(place, style, time).with_context(|| name);
            samples.new.push(ask(Style::New)?);
            samples.kept.push(ask(Style::Kept)?);
            samples.bulk.push(load::bulk(place, time).with_context(|| name)?);
        }
    }
    let noise = noise(&places);
    Ok(vec![
        requests("connections", "New HTTP connections", &places, &noise, |samples| &samples.new)?,
        requests("requests", "HTTP requests over kept connections", &places, &noise, |samples| {
            &samples.kept
        })?,
        bulk(&places, &noise),
    ])
}

/// The spread of plain routing, which all are compared with.
fn noise(places: &[(Place, Samples)]) -> String {
    let floor = places.iter().find(|(place, _)| place.contender == Contender::Route);
    let rates = floor.map_or(vec![], |(_, samples)| samples.new.iter().map(|answer| answer.rate).collect());
    let spread = Spread::of(&rates);
    format!(
        "Medians of {} interleaved rounds; noise, the distance between the quartiles of plain routing, {:.1} %.",
        rates.len(),
        100.0 * spread.width() / spread.median
    )
}

fn requests(
    name: &'static str,
    title: &str,
    places: &[(Place, Samples)],
    noise: &str,
    answers: impl Fn(&Samples) -> &Vec<Answer>,
) -> Result<Table> {
    let mut rows = Vec::new();
    for (place, samples) in places {
        let answers = answers(samples);
        let failed: u64 = answers.iter().map(|answer| answer.failed).sum();
        ensure!(failed == 0, "{title}: {failed} requests through {} failed", place.contender.name());
        let median =
            |of: fn(&Answer) -> f64| Some(Spread::of(&answers.iter().map(of).collect::<Vec<_>>()).median);
        rows.push(Row {
            name: place.contender.name().to_owned(),
            ours: place.contender == Contender::Xlb,
            figures: vec![
                median(|answer| answer.rate),
                median(|answer| answer.cost),
                median(|answer| answer.latency[0]),
                median(|answer| answer.latency[1]),
                median(|answer| answer.latency[2]),
            ],
        });
    }
    Ok(Table {
        name,
        title: title.to_owned(),
        columns: vec![
            Column::new("rate", "1/s", 0),
            Column::new("processor seconds per million, all parties", "s", 1),
            Column::new("latency 50 %", "ms", 2),
            Column::new("90 %", "ms", 2),
            Column::new("99 %", "ms", 2),
        ],
        rows,
        drawn: 1,
        notes: vec![
            "wrk with 16 connections, nginx with one process, an answer of 5 bytes.".into(),
            noise.to_owned(),
        ],
    })
}

fn bulk(places: &[(Place, Samples)], noise: &str) -> Table {
    let rows = places.iter().map(|(place, samples)| Row {
        name: place.contender.name().to_owned(),
        ours: place.contender == Contender::Xlb,
        figures: vec![Some(Spread::of(&samples.bulk).median)],
    });
    Table {
        name: "bulk",
        title: "Bulk TCP over veth".into(),
        columns: vec![Column::new("throughput", "Gbit/s", 1)],
        rows: rows.collect(),
        drawn: 0,
        notes: vec![
            "One connection of iperf3. On veth the kernel's own paths carry segments of 64 KB; XDP goes frame by frame and \
             loses here. A network card delivers frames to everybody."
                .into(),
            noise.to_owned(),
        ],
    }
}
