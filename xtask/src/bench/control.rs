//! `bench control`: how long the controller takes from a file or a command to the data plane, and what it occupies.
//!
//! Everything is measured from outside: the commands a person would type, the daemon's memory and processor time as the
//! kernel counts them.

mod checks;
mod command;
mod pools;
mod tables;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::{Daemon, Shape, Site};

use self::command::weigh;
use self::pools::{Pools, SIZES};
use super::spread::Spread;
use super::table::{Column, Row, Table, grouped};
use super::{Effort, Subject};

/// Room for the largest configuration.
const ROOM: &str = "max_virtual_servers = 16384\nmax_real_servers = 131072\n";

/// Measures.
pub(crate) fn run(subject: &Subject) -> Result<Vec<Table>> {
    let rounds = match subject.effort {
        Effort::Quick => 1,
        Effort::Full => 5,
    };
    Ok(vec![
        configurations(subject, rounds)?,
        maglev(subject, rounds)?,
        checks::run(subject)?,
        tables::run(subject)?,
    ])
}

/// From a file to the data plane, by its size.
fn configurations(subject: &Subject, rounds: u32) -> Result<Table> {
    let mut rows = Vec::new();
    for servers in SIZES {
        let mut samples: [Vec<f64>; 7] = Default::default();
        for round in 1..=rounds {
            eprintln!("control: {servers} virtual servers, round {round} of {rounds}");
            let measured = apply(subject, servers)?;
            samples.iter_mut().zip(measured).for_each(|(samples, figure)| samples.push(figure));
        }
        rows.push(Row {
            name: format!("{} virtual servers", grouped(f64::from(servers), 0)),
            ours: true,
            figures: samples.iter().map(|samples| Some(Spread::of(samples).median)).collect(),
        });
    }
    Ok(Table {
        name: "control",
        title: "From a file to the data plane".into(),
        columns: vec![
            Column::new("check", "ms", 1),
            Column::new("apply", "ms", 1),
            Column::new("reload without change", "ms", 1),
            Column::new("weight command to the data plane", "ms", 1),
            Column::new("to its end", "ms", 1),
            Column::new("memory", "MB", 1),
            Column::new("at most", "MB", 1),
        ],
        rows,
        drawn: 1,
        notes: vec![format!("Ten real servers each. Medians of {rounds} rounds, a daemon for each.")],
    })
}

/// In milliseconds and megabytes, in the order of the columns.
fn apply(subject: &Subject, servers: u32) -> Result<[f64; 7]> {
    let site = Site::create(Shape { servers: 0, ..Shape::default() })?;
    let daemon = Daemon::start_with(&site, &subject.program, ROOM, &Pools::small().to_string())?;
    daemon.configure(&site, &Pools { servers, ..Pools::small() }.to_string())?;
    let file = site.directory().join("xlb.toml");
    let (_, check) = timed(|| daemon.xlb(&["check", "-c", &file.display().to_string()]))?;
    let (said, apply) = timed(|| daemon.xlb(&["reload"]))?;
    let added = said.lines().count();
    ensure!(added + 1 >= servers as usize, "a reload of {servers} virtual servers said {added} lines");
    let (_, unchanged) = timed(|| daemon.xlb(&["reload"]))?;
    let [reached, ended] = weigh(&site, &daemon)?;
    let [now, most] = memory(daemon.process.pid())?;
    Ok([check, apply, unchanged, reached, ended, now, most])
}

/// A new table for each weight, by the size of the pool.
fn maglev(subject: &Subject, rounds: u32) -> Result<Table> {
    let mut rows = Vec::new();
    for real_servers in [10, 100, 256] {
        let mut commands = Vec::new();
        for scheduler in ["mh", "wlc"] {
            let site = Site::create(Shape { servers: 0, ..Shape::default() })?;
            let pools = Pools { real_servers, scheduler, ..Pools::small() };
            let daemon = Daemon::start_with(&site, &subject.program, ROOM, &pools.to_string())?;
            let times: Result<Vec<f64>> =
                (0..rounds).map(|_| weigh(&site, &daemon).map(|[reached, _]| reached)).collect();
            commands.push(Some(Spread::of(&times?).median));
        }
        rows.push(Row { name: format!("{real_servers} real servers"), ours: true, figures: commands });
    }
    Ok(Table {
        name: "maglev",
        title: "From a weight command to a new scheduling table".into(),
        columns: vec![Column::new("mh, 65,537 slots", "ms", 1), Column::new("wlc, 100 slots each", "ms", 1)],
        rows,
        drawn: 0,
        notes: vec![
            "From the command's start to the table's being in place. A pool has 256 real servers at most."
                .into(),
        ],
    })
}

/// A command's answer, and how long it took, in milliseconds.
fn timed<T>(command: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let begin = now();
    let answer = command()?;
    Ok((answer, (now() - begin).as_secs_f64() * 1e3))
}

#[expect(clippy::disallowed_methods, reason = "this is what measures")]
fn now() -> Instant {
    Instant::now()
}

/// What a process occupies, and what it has occupied at most, in megabytes.
fn memory(pid: u32) -> Result<[f64; 2]> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no memory in status")?;
        let kilobytes: f64 = line.trim_start_matches(':').trim_end_matches("kB").trim().parse()?;
        anyhow::Ok(kilobytes * 1024.0 / 1e6)
    };
    Ok([figure("VmRSS")?, figure("VmHWM")?])
}

/// Waits so long, because a rate has to be measured over a time.
#[expect(clippy::disallowed_methods, reason = "what is measured goes by the clock")]
fn pass(time: Duration) {
    std::thread::sleep(time);
}
