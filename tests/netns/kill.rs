//! The daemon goes and comes back; packets do not notice. `xlb unload` takes everything away.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use lb_tests::http::Connection;
use lb_tests::{Load, Shape, Site, wait_until};
use serde_json::Value;

use crate::given::{PATIENCE, daemon, no_failure, tcp_counter, vips, virtual_server};

/// Requests in each stage.
const REQUESTS: u64 = 2_000;

fn configuration(site: &Site) -> Result<String> {
    let keys = "scheduler = \"wrr\"\ncheck = { type = \"tcp\", interval = \"1s\" }";
    let servers = ["web", "web6"].into_iter().zip(vips());
    servers.map(|(name, vip)| virtual_server(site, name, vip, &[1, 1, 1], keys)).collect()
}

fn sum(status: &Value, key: &str) -> u64 {
    let servers = status["virtual_servers"].as_array().into_iter().flatten();
    servers.filter_map(|server| server[key].as_u64()).sum()
}

#[test]
fn no_request_fails_while_the_daemon_is_killed_and_takes_over_again() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let mut daemon = daemon(&site, &configuration(&site)?)?;
    let load = Load::start(&site.client, &vips(), 2)?;
    load.next(REQUESTS, PATIENCE)?;

    let before = daemon.status()?;
    daemon.process.kill()?;
    let without = load.next(REQUESTS, PATIENCE)?;
    no_failure(&without)?;
    daemon.restart(&site)?;
    let after = daemon.status()?;
    // What was forwarded meanwhile was counted by the kernel.
    assert!(sum(&after, "new_connections") >= sum(&before, "new_connections") + without.total());
    assert!(sum(&after, "packets_in") > sum(&before, "packets_in"));
    assert!(
        daemon.process.log().contains("took over the running data plane"),
        "the log: {}",
        daemon.process.log()
    );

    let again = load.next(REQUESTS, PATIENCE)?;
    no_failure(&again)?;
    daemon.wait_all_up(PATIENCE)?;
    load.settle(PATIENCE)?;
    let all = load.answers();
    no_failure(&all)?;
    drop(load);
    let total = sum(&daemon.status()?, "new_connections");
    let opened = tcp_counter(&site.client, "ActiveOpens")?;
    // The sweep may overwrite one that is counted at the same moment.
    assert!(total.abs_diff(opened) * 1_000 <= opened, "{total} connections counted, {opened} opened");
    eprintln!(
        "{} requests answered, {} of them without a daemon; xlb counted {total} of {opened} connections",
        all.total(),
        without.total()
    );
    Ok(())
}

/// What `xlb run` may change: sysctls of the network, programs on interfaces, pinned files.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    sysctls: BTreeMap<String, String>,
    programs: Vec<String>,
    pinned: Vec<String>,
}

impl Host {
    fn of(site: &Site) -> Result<Self> {
        let sysctls = site.balancer.run("sysctl", "-a -r ^net\\.ipv[46]\\.")?;
        let sysctls = sysctls.lines().filter_map(|line| line.split_once(" = "));
        let links: Value = serde_json::from_str(&site.balancer.ip("-j -d link show")?)?;
        let links = links.as_array().context("no list of links")?;
        let programs =
            links.iter().filter(|link| !link["xdp"].is_null()).map(|link| link["ifname"].to_string());
        let pinned = std::fs::read_dir(site.bpffs.path())?.map(|entry| Ok(format!("{:?}", entry?.path())));
        Ok(Self {
            sysctls: sysctls.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            programs: programs.collect(),
            pinned: pinned.collect::<Result<_>>()?,
        })
    }
}

#[test]
fn unload_leaves_the_host_as_it_was() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let before = Host::of(&site)?;
    let mut daemon = daemon(&site, &configuration(&site)?)?;
    let load = Load::start(&site.client, &vips(), 1)?;
    no_failure(&load.next(100, PATIENCE)?)?;
    drop(load);

    let running = Host::of(&site)?;
    assert_eq!(running.programs.len(), 2, "{:?}", running.programs);
    assert_eq!(running.pinned.len(), before.pinned.len() + 1, "{:?}", running.pinned);
    assert_eq!(running.sysctls["net.ipv4.ip_forward"], "1");
    assert_eq!(running.sysctls["net.ipv4.ip_nonlocal_bind"], "1");
    assert_ne!(running.sysctls, before.sysctls);

    // Clients have left connections that are not forgotten yet.
    eprint!("{}", daemon.xlb(&["unload", "--yes"])?);
    wait_until("the daemon to end", PATIENCE, || !daemon.process.is_running())?;
    // The kernel detaches in the background.
    wait_until("the programs to go", PATIENCE, || {
        Host::of(&site).is_ok_and(|host| host.programs.is_empty())
    })?;
    let after = Host::of(&site)?;
    let changed: Vec<_> =
        before.sysctls.iter().filter(|(name, value)| after.sysctls[*name] != **value).collect();
    assert!(changed.is_empty(), "sysctls that were not put back, and what they were: {changed:?}");
    assert_eq!(after, before);
    Ok(())
}

#[test]
fn unload_refuses_to_cut_connections_that_nobody_was_asked_about() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let daemon = daemon(&site, &configuration(&site)?)?;
    let mut connection = site.client.inside(|| Connection::open(vips()[0]))??;
    let server = connection.get("/")?;
    wait_until("the connection to be counted", PATIENCE, || {
        daemon.status().is_ok_and(|status| status["data_plane"]["connections"]["established"] == 1)
    })?;
    let refused = daemon.try_xlb(&["unload"])?;
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("1 connections are open; --yes cuts them"), "{message}");
    assert_eq!(connection.get("/")?, server);
    Ok(())
}
