//! Load, and what it cost.

use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::{nginx, process};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use super::contender::{BULK, Place};
use crate::bench::host;

/// How clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A connection for each request.
    New,
    /// Connections that stay.
    Kept,
}

/// What came of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answer {
    /// Requests a second.
    pub(super) rate: f64,
    /// Processor seconds of all parties for a million requests.
    pub(super) cost: f64,
    /// Milliseconds: half of the answers came sooner, 90 %, 99 %.
    pub(super) latency: [f64; 3],
    /// Requests that were not answered.
    pub(super) failed: u64,
}

/// Asks for so long.
pub(super) fn ask(place: &Place, style: Style, time: Duration) -> Result<Answer> {
    let mut command = place.site.client.command("wrk");
    command.args(["--threads", "1", "--connections", "16", "--latency", "--duration"]);
    command.arg(format!("{}s", time.as_secs()));
    if style == Style::New {
        command.args(["--header", "Connection: close"]);
    }
    command.arg(format!("http://{}/", place.target(nginx::PORT)));
    let before = spent(place)?;
    let report = process::run(&mut command)?;
    let spent = spent(place)? - before;
    read(&report, spent).with_context(|| format!("wrk said:\n{report}"))
}

/// Sends over one connection for so long: gigabits a second that arrived.
pub(super) fn bulk(place: &Place, time: Duration) -> Result<f64> {
    let target = place.target(BULK);
    let mut command = place.site.client.command("iperf3");
    command.args(["--json", "--client", &target.ip().to_string(), "--port", &target.port().to_string()]);
    command.args(["--time", &time.as_secs().to_string()]);
    let report: serde_json::Value = serde_json::from_str(&process::run(&mut command)?)?;
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.context("iperf3 names no rate")? / 1e9)
}

/// Seconds of processor time that clients that have ended, servers, balancer and the kernel's packet threads have had.
fn spent(place: &Place) -> Result<f64> {
    let clients = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let clients = clients.user_time() + clients.system_time();
    let kernel = host::packet_threads()?.into_iter().map(|(_, pid)| pid);
    let mut others = 0;
    for pid in place.parties().into_iter().chain(kernel) {
        others += host::processor_time(pid)?;
    }
    Ok(clients.num_microseconds() as f64 / 1e6 + others as f64 / 1e9)
}

/// Reads wrk's report.
fn read(report: &str, spent: f64) -> Option<Answer> {
    let lines = || report.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let quantile = |name: &str| {
        lines().find(|words| words.first() == Some(&name)).and_then(|words| milliseconds(words.get(1)?))
    };
    let requests: f64 = lines().find(|words| words.get(1) == Some(&"requests"))?.first()?.parse().ok()?;
    let rate = lines().find(|words| words.first() == Some(&"Requests/sec:"))?.get(1)?.parse().ok()?;
    // "Socket errors: connect 0, read 1, write 0, timeout 0" and "Non-2xx or 3xx responses: 1"
    let failures = report.lines().filter(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
    let numbers =
        failures.flat_map(|line| line.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()));
    Some(Answer {
        rate,
        cost: spent / requests * 1e6,
        latency: [quantile("50%")?, quantile("90%")?, quantile("99%")?],
        failed: numbers.sum(),
    })
}

/// A time as wrk writes it: `812.00us`, `1.20ms`, `1.01s`.
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    units.into_iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by wrk 4.1.0.
    const REPORT: &str = "Running 1s test @ http://192.0.2.10:80/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   586.86us  812.00us  10.01ms   93.77%
    Req/Sec    10.04k     1.55k   12.02k    72.73%
  Latency Distribution
     50%  390.00us
     75%  583.00us
     90%    1.01ms
     99%    4.37ms
  10964 requests in 1.10s, 1.74MB read
Requests/sec:   9966.05
Transfer/sec:      1.58MB
";

    #[test]
    fn the_report_of_wrk_is_read() {
        let answer = read(REPORT, 1.0964).unwrap();
        assert_eq!((answer.rate, answer.failed), (9966.05, 0));
        for (is, should) in answer.latency.iter().zip([0.39, 1.01, 4.37]) {
            assert!((is - should).abs() < 1e-9, "{is}");
        }
        assert!((answer.cost - 100.0).abs() < 1e-9, "{}", answer.cost);
        let broken = format!("{REPORT}  Socket errors: connect 0, read 3, write 0, timeout 1\n");
        assert_eq!(read(&broken, 1.0).unwrap().failed, 4);
        assert_eq!(read("nothing", 1.0), None);
    }
}
