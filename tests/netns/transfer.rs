//! Long transfers over one connection: with the daemon killed and started again in the middle, and in jumbo frames.

use anyhow::Result;
use lb_tests::{Offload, Shape, Site};

use crate::download::Download;
use crate::given::{daemon, tcp_counter, vips, virtual_server};

const SIZE: u64 = 1_000_000_000;

#[test]
fn a_gigabyte_arrives_over_one_connection_while_the_daemon_is_killed_and_restarted() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let [vip, _] = vips();
    // Without checks: the real servers' kernels then count the client's connections only.
    let mut daemon = daemon(&site, &virtual_server(&site, "web", vip, &[1, 1, 1], "")?)?;
    let accepted = || -> Result<u64> {
        site.servers.iter().map(|server| tcp_counter(&server.namespace, "PassiveOpens")).sum()
    };
    let before = accepted()?;

    let download = Download::start(&site, vip, SIZE)?;
    let (server, client) = (download.server.clone(), download.client);
    download.advance(0.25)?;
    daemon.process.kill()?;
    // Without a daemon.
    download.advance(0.5)?;
    // While it starts.
    download.allow(0.75);
    daemon.restart(&site)?;
    download.advance(0.75)?;
    let digest = download.finish()?;

    assert_eq!(accepted()? - before, 1, "connections that the real servers accepted");
    let status = daemon.status()?;
    let web = &status["virtual_servers"][0];
    assert_eq!(web["new_connections"], 1, "{web}");
    assert!(web["bytes_out"].as_u64() >= Some(SIZE), "{web}");
    let retransmitted: u64 =
        site.servers.iter().map(|server| tcp_counter(&server.namespace, "RetransSegs")).sum::<Result<_>>()?;
    eprintln!(
        "{SIZE} bytes from {server} to {client} over one connection, SHA-256 {digest}, {} packets out, {retransmitted} segments retransmitted",
        web["packets_out"]
    );
    Ok(())
}

/// MTU of jumbo frames.
const JUMBO: u64 = 9000;

#[test]
fn bulk_data_arrives_whole_in_frames_larger_than_a_page() -> Result<()> {
    const SIZE: u64 = 100_000_000;
    // Segments leave the hosts one by one, so that no packet is longer than the MTU.
    let site = Site::create(Shape { servers: 1, offload: Offload::Off, ..Shape::default() })?;
    let hosts = [&site.switch, &site.client, &site.balancer, &site.servers[0].namespace];
    for host in hosts {
        let wires = host.ip("-brief link show type veth")?;
        for wire in wires.lines().filter_map(|line| line.split(['@', ' ']).next()) {
            host.ip(&format!("link set {wire} mtu {JUMBO}"))?;
        }
    }
    let [vip, _] = vips();
    let daemon = daemon(&site, &virtual_server(&site, "web", vip, &[1], "")?)?;
    let download = Download::start(&site, vip, SIZE)?;
    download.allow(1.0);
    download.finish()?;

    let status = daemon.status()?;
    let web = &status["virtual_servers"][0];
    let (bytes, packets) = (web["bytes_out"].as_u64(), web["packets_out"].as_u64());
    let length = bytes.unwrap_or_default() / packets.unwrap_or(1);
    assert!((4096..=JUMBO).contains(&length), "{length} bytes to a packet: {web}");
    Ok(())
}
