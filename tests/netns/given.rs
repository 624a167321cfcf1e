//! What tests begin with: a virtual server in the configuration, a daemon that serves it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lb_tests::daemon::{built_program, real_servers};
use lb_tests::load::Answers;
use lb_tests::site::{VIP4, VIP6};
use lb_tests::{Daemon, Namespace, Site, http};
use serde_json::Value;

/// How long anything may take that is not the point of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where clients find the web servers.
pub(crate) fn vips() -> [SocketAddr; 2] {
    [(VIP4, 80).into(), (VIP6, 80).into()]
}

/// A virtual server of all web servers of a site, with these weights; `keys` are further keys of it.
pub(crate) fn virtual_server(
    site: &Site,
    name: &str,
    vip: SocketAddr,
    weights: &[u16],
    keys: &str,
) -> Result<String> {
    let mut text =
        format!("[[virtual_server]]\nname = \"{name}\"\naddress = \"{vip}\"\n{keys}\nreal_server = [\n");
    for (server, weight) in site.servers.iter().zip(weights) {
        let address = server.address(vip.ip());
        writeln!(text, "  {{ name = \"{}\", address = \"{address}\", weight = {weight} }},", server.name)?;
    }
    Ok(text + "]\n\n")
}

/// Starts the daemon and waits until every real server is up.
pub(crate) fn daemon(site: &Site, configuration: &str) -> Result<Daemon> {
    let daemon = Daemon::start(site, &built_program()?, configuration)?;
    daemon.wait_all_up(PATIENCE)?;
    Ok(daemon)
}

/// Fails with the first of the failures if there are any.
pub(crate) fn no_failure(answers: &Answers) -> Result<()> {
    let (count, first) = (answers.failures.len(), answers.failures.first());
    ensure!(count == 0, "{count} requests failed and {} did not: {first:?}", answers.total());
    Ok(())
}

/// Makes so many requests over new connections, from several clients at once, so that several CPUs choose at once; counts the
/// answers by server. Every request has to succeed.
pub(crate) fn ask(site: &Site, vip: SocketAddr, requests: u32) -> Result<BTreeMap<String, u32>> {
    const CLIENTS: u32 = 4;
    ensure!(requests.is_multiple_of(CLIENTS), "{requests} requests from {CLIENTS} clients");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| site.client.spawn(move || http::count(vip, requests / CLIENTS)))
        .collect::<Result<_>>()?;
    let mut answers = BTreeMap::new();
    for client in clients {
        for (server, count) in client.join().map_err(|_| anyhow!("a client panicked"))??? {
            *answers.entry(server).or_default() += count;
        }
    }
    Ok(answers)
}

/// A real server of a status, by its name.
pub(crate) fn real_server<'a>(status: &'a Value, name: &str) -> Result<&'a Value> {
    let found = real_servers(status).find(|server| server["name"].as_str() == Some(name));
    found.with_context(|| format!("no real server {name} in {status}"))
}

/// A counter of the TCP of a namespace, by its name in RFC 4022 without `tcp`, such as `PassiveOpens`.
pub(crate) fn tcp_counter(host: &Namespace, name: &str) -> Result<u64> {
    // Not /proc/net, which is the main thread's.
    let text = host.inside(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))??;
    let mut rows = text.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let (names, values) = rows.next().zip(rows.next()).context("no TCP in /proc/net/snmp")?;
    let found = names.zip(values).find(|(other, _)| *other == name);
    Ok(found.with_context(|| format!("no counter {name}"))?.1.parse()?)
}
