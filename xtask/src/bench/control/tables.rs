//! Up to a million entries of connections: what a sweep over them takes, and what memory they need.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use lb_common::layout::map;
use lb_tests::wait_until;

use super::pass;
use crate::bench::spread::Spread;
use crate::bench::table::{Column, Row, Table, grouped};
use crate::bench::{Effort, Subject, packet};

/// A thread that has had no processor time for so long has done its work: sweeps are a second apart or more.
const QUIET: Duration = Duration::from_millis(400);

/// Measures.
pub(super) fn run(subject: &Subject) -> Result<Table> {
    let (sizes, sweeps): (&[u32], _) = match subject.effort {
        Effort::Quick => (&[25_000], 1),
        Effort::Full => (&[125_000, 250_000], 5),
    };
    Ok(Table {
        name: "tables",
        title: "The sweep and the tables of connections".into(),
        columns: vec![
            Column::new("a sweep's processor time", "ms", 0),
            Column::new("an entry", "ns", 0),
            Column::new("memory of a TCP connection, IPv4", "bytes", 0),
            Column::new("IPv6", "bytes", 0),
            Column::new("all maps", "MB", 1),
        ],
        rows: sizes.iter().map(|&connections| row(subject, connections, sweeps)).collect::<Result<_>>()?,
        drawn: 0,
        notes: vec![
            "Memory is what the kernel says the established table occupies, both directions and buckets included, for \
             each connection it has room for; it is reserved at start. There is room for a sixteenth more connections than \
             there are. All maps are those of the data plane with such tables."
                .into(),
        ],
    })
}

fn row(subject: &Subject, connections: u32, sweeps: u32) -> Result<Row> {
    // Two directions of a connection in each of two families.
    let entries = 4.0 * f64::from(connections);
    eprintln!("control: the sweep of {} entries", grouped(entries, 0));
    let place = packet::filled(subject, connections)?;
    let sweeper = Sweeper::of(place.daemon.process.pid())?;
    sweeper.time()?;
    let times: Vec<f64> = (0..sweeps).map(|_| sweeper.time()).collect::<Result<_>>()?;
    let counted = place.daemon.status()?["data_plane"]["connections"]["established"].as_u64();
    ensure!(counted == Some(2 * u64::from(connections)), "the sweep has counted {counted:?}");

    let maps = place.site.bpffs.path().join("xlb").join("maps");
    let of_family = |map: &str| Ok::<_, anyhow::Error>(memory(&maps.join(map))? / f64::from(place.room));
    let mut all = 0.0;
    for pin in fs::read_dir(&maps)? {
        all += memory(&pin?.path())?;
    }
    let sweep = Spread::of(&times).median;
    let figures =
        [sweep * 1e3, sweep * 1e9 / entries, of_family(map::TCP_V4)?, of_family(map::TCP_V6)?, all / 1e6];
    Ok(Row {
        name: format!("{} entries", grouped(entries, 0)),
        ours: true,
        figures: figures.map(Some).to_vec(),
    })
}

/// The daemon's thread that sweeps.
struct Sweeper(PathBuf);

impl Sweeper {
    fn of(pid: u32) -> Result<Self> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
        let mut paths = tasks.filter_map(|task| Some(task.ok()?.path()));
        let is_sweeper =
            |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "sweep");
        Ok(Self(paths.find(is_sweeper).context("the daemon has no thread that sweeps")?))
    }

    /// Processor time of the next sweep, in seconds.
    fn time(&self) -> Result<f64> {
        let before = self.used()?;
        wait_until("a sweep to begin", Duration::from_secs(60), || {
            self.used().is_ok_and(|used| used > before)
        })?;
        loop {
            let used = self.used()?;
            pass(QUIET);
            if self.used()? == used {
                return Ok((used - before) as f64 / 1e9);
            }
        }
    }

    /// Nanoseconds so far.
    fn used(&self) -> Result<u64> {
        let said = fs::read_to_string(self.0.join("schedstat"))?;
        said.split(' ').next().context("an empty schedstat")?.parse().context("schedstat")
    }
}

/// What the kernel says that a pinned map occupies, in bytes.
fn memory(pin: &Path) -> Result<f64> {
    let map = MapData::from_pin(pin).with_context(|| format!("no map {}", pin.display()))?;
    let said = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()))?;
    let line = said.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.context("the kernel does not say what a map occupies")?.trim().parse().context("memlock")
}
