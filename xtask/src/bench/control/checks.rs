//! Ten thousand checks in each interval, by a daemon that has one processor.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::{Daemon, Shape, Site, nginx};

use super::pools::Pools;
use super::{ROOM, pass};
use crate::bench::table::{Column, Row, Table, grouped};
use crate::bench::{Effort, Subject, host};

const INTERVAL: Duration = Duration::from_secs(5);

/// Measures from the start on, so that all real servers come up meanwhile, and again when they are.
pub(super) fn run(subject: &Subject) -> Result<Table> {
    let (servers, intervals) = match subject.effort {
        Effort::Quick => (100, 1),
        Effort::Full => (1_000, 6),
    };
    let site = Site::create(Shape { servers: 1, ..Shape::default() })?;
    let server = &site.servers[0];
    // One nginx answers at all addresses.
    server.namespace.ip("route add local 12.0.0.0/8 dev lo")?;
    site.balancer.ip(&format!("route add 12.0.0.0/8 via {}", server.v4))?;
    let pools = Pools { servers, more: "check = { type = \"tcp\" }", network: 12, ..Pools::small() };
    ensure!(nginx::PORT == 8080, "nginx listens elsewhere");

    let daemon = Daemon::start_with(&site, &subject.program, ROOM, &Pools::small().to_string())?;
    let pid = daemon.process.pid();
    host::keep_on_one_processor(pid)?;
    daemon.configure(&site, &pools.to_string())?;
    daemon.xlb(&["reload"])?;
    let mut rows = Vec::new();
    for (name, intervals) in [("while all come up", 1), ("when all are up", intervals)] {
        eprintln!("control: checks {name}");
        let (before, used) = (Counts::read(&daemon)?, host::processor_time(pid)?);
        pass(INTERVAL * intervals);
        let (used, after) = (host::processor_time(pid)? - used, Counts::read(&daemon)?);
        let [run, late, failed] = [
            after.success - before.success,
            after.late - before.late,
            after.failure + after.error - before.failure - before.error,
        ];
        let (time, used) = ((INTERVAL * intervals).as_secs_f64(), used as f64 / 1e9);
        rows.push(Row {
            name: name.to_owned(),
            ours: true,
            figures: [run / time, failed, late, 100.0 * late / run, 100.0 * used / time, used / run * 1e6]
                .map(Some)
                .to_vec(),
        });
    }
    Ok(Table {
        name: "checks",
        title: format!("{} TCP checks every 5 s on one processor", grouped(f64::from(servers) * 10.0, 0)),
        columns: vec![
            Column::new("checks", "1/s", 0),
            Column::new("failed", "", 0),
            Column::new("late", "", 0),
            Column::new("share of late ones", "%", 2),
            Column::new("share of the processor", "%", 1),
            Column::new("processor time of a check", "us", 1),
        ],
        rows,
        drawn: 4,
        notes: vec![
            "Late is a check that begins more than a tenth of its interval after it was due. The processor time is all of \
             the daemon's, the kernel's work for its packets included."
                .into(),
        ],
    })
}

/// What the daemon has counted.
struct Counts {
    success: f64,
    failure: f64,
    error: f64,
    late: f64,
}

impl Counts {
    fn read(daemon: &Daemon) -> Result<Self> {
        let mut stream = UnixStream::connect(daemon.socket())?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: xlb\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.with_context(|| format!("no {name} among the metrics"))?.trim().parse().context("a metric")
        };
        Ok(Self {
            success: figure("xlb_check_results_total{result=\"success\"}")?,
            failure: figure("xlb_check_results_total{result=\"failure\"}")?,
            error: figure("xlb_check_results_total{result=\"error\"}")?,
            late: figure("xlb_check_late_total")?,
        })
    }
}
