//! Every packet is accounted for, compared with what the kernel counts.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use lb_tests::site::VIP4;
use lb_tests::{Arms, Daemon, Offload, Shape, Site, http, udp, wait_until};
use serde_json::Value;

use crate::given::{PATIENCE, ask, daemon, tcp_counter, vips, virtual_server};

const REQUESTS: u32 = 500;

/// What the kernel and xlb counted up to the same moment.
struct Counted {
    /// Frames that arrived on the interfaces xlb is attached to, by the kernel.
    arrived: u64,
    status: Value,
}

/// Reads both while nothing arrives.
fn count(site: &Site, daemon: &Daemon) -> Result<Counted> {
    let mut found = None;
    wait_until("a moment of silence", PATIENCE, || {
        let mut look = || -> Result<bool> {
            let before = arrived(site)?;
            let status = daemon.status()?;
            let quiet = arrived(site)? == before;
            found = quiet.then_some(Counted { arrived: before, status });
            Ok(quiet)
        };
        look().unwrap_or(false)
    })?;
    found.context("no figures")
}

fn arrived(site: &Site) -> Result<u64> {
    let links: Value = serde_json::from_str(&site.balancer.ip("-s -j link show")?)?;
    let links = links.as_array().context("no list of links")?;
    let ours = |link: &&Value| site.interfaces().iter().any(|name| link["ifname"] == *name);
    Ok(links.iter().filter(ours).filter_map(|link| link["stats64"]["rx"]["packets"].as_u64()).sum())
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

/// How much each outcome grew.
fn outcomes(before: &Value, after: &Value) -> BTreeMap<String, u64> {
    let (before, after) = (&before["data_plane"]["outcomes"], &after["data_plane"]["outcomes"]);
    let names = after.as_object().into_iter().flat_map(|outcomes| outcomes.keys());
    names.map(|name| (name.clone(), number(after, name) - number(before, name))).collect()
}

fn every_packet_is_accounted_for(shape: Shape) -> Result<()> {
    let site = Site::create(shape)?;
    let configuration = ["web", "web6"]
        .into_iter()
        .zip(vips())
        .map(|(name, vip)| virtual_server(&site, name, vip, &[3, 2, 1], "scheduler = \"wrr\""))
        .collect::<Result<String>>()?;
    let daemon = daemon(&site, &configuration)?;
    let before = count(&site, &daemon)?;
    let opened = tcp_counter(&site.client, "ActiveOpens")?;

    for vip in vips() {
        ask(&site, vip, REQUESTS)?;
    }
    // Packets that are not for a virtual server count too: to the balancer itself, and to a VIP's other port.
    for nobody in ["198.51.100.1:9", "[2001:db8:1::1]:9"] {
        let socket = site.client.inside(|| udp::connect(nobody.parse()?))??;
        assert!(udp::ask(&socket, "is nobody here?").is_err());
    }
    assert!(site.client.inside(|| http::get((VIP4, 81).into(), "/"))?.is_err());

    let after = count(&site, &daemon)?;
    let opened = tcp_counter(&site.client, "ActiveOpens")? - opened;
    let outcomes = outcomes(&before.status, &after.status);
    let arrived = after.arrived - before.arrived;
    eprintln!("{shape:?}: {arrived} frames arrived: {outcomes:?}");
    assert_eq!(outcomes.values().sum::<u64>(), arrived, "{outcomes:?}");

    // Those that were sent are those of the real servers.
    let sent = ["forwarded", "new_connection", "adopted", "table_full", "stateless_reply", "kernel_route"];
    let sent: u64 = sent.iter().filter_map(|name| outcomes.get(*name)).sum();
    let mut counted = 0;
    let mut new_connections = 0;
    for web in after.status["virtual_servers"].as_array().context("virtual servers")? {
        for key in ["packets_in", "packets_out", "bytes_in", "bytes_out", "new_connections"] {
            let real_servers = web["real_servers"].as_array().context("real servers")?;
            let sum: u64 = real_servers.iter().map(|real| number(real, key)).sum();
            assert_eq!(sum, number(web, key), "{key} of {}", web["name"]);
        }
        counted += number(web, "packets_in") + number(web, "packets_out");
        new_connections += number(web, "new_connections");
    }
    assert_eq!(counted, sent, "{outcomes:?}");
    // One of those that the client opened was for a port that is not served.
    assert_eq!(opened, u64::from(2 * REQUESTS + 1));
    assert_eq!(new_connections, opened - 1);
    Ok(())
}

#[test]
fn every_packet_is_accounted_for_with_two_arms() -> Result<()> {
    every_packet_is_accounted_for(Shape::default())
}

#[test]
fn every_packet_is_accounted_for_with_one_arm_and_without_offloads() -> Result<()> {
    every_packet_is_accounted_for(Shape { arms: Arms::One, servers: 3, offload: Offload::Off })
}
