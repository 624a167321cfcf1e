//! The harness itself, with the kernel's own routing and address translation in the balancer's place.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::Result;
use lb_tests::site::{VIP4, VIP6};
use lb_tests::udp::{self, Echo};
use lb_tests::xdp::{self, Verdict};
use lb_tests::{Arms, Load, Offload, Shape, Site, http, wait_until};

const REQUESTS: u32 = 30;

/// Balances round robin by nftables, both address families.
fn balance_by_nftables(site: &Site) -> Result<()> {
    let map = |address: fn(&lb_tests::site::Server) -> String| {
        let entries =
            site.servers.iter().enumerate().map(|(index, server)| format!("{index} : {}", address(server)));
        entries.collect::<Vec<_>>().join(", ")
    };
    let rules = format!(
        r#"
table inet balance {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        ip daddr {VIP4} tcp dport 80 dnat ip to numgen inc mod {count} map {{ {v4} }} : 8080
        ip6 daddr {VIP6} tcp dport 80 dnat ip6 to numgen inc mod {count} map {{ {v6} }} : 8080
    }}
}}
"#,
        count = site.servers.len(),
        v4 = map(|server| server.v4.to_string()),
        v6 = map(|server| server.v6.to_string()),
    );
    let file = site.directory().join("rules.nft");
    std::fs::write(&file, rules)?;
    site.balancer.run("nft", &format!("-f {}", file.display()))?;
    site.balancer.sysctl("net/ipv4/ip_forward", "1")?;
    site.balancer.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    // With one arm the kernel would tell servers that the client is on their cable, and their answers would pass it by.
    for server in &site.servers {
        for name in ["ipv4/conf/all", "ipv4/conf/eth0", "ipv6/conf/eth0"] {
            server.namespace.sysctl(&format!("net/{name}/accept_redirects"), "0")?;
        }
    }
    Ok(())
}

fn every_server_answers_its_share(shape: Shape) -> Result<()> {
    let site = Site::create(shape)?;
    balance_by_nftables(&site)?;
    for vip in [(VIP4, 80).into(), (VIP6, 80).into()] {
        let answers = site.client.inside(|| http::count(vip, REQUESTS))??;
        let shares: Vec<_> = answers.iter().map(|(name, share)| (name.as_str(), *share)).collect();
        assert_eq!(shares, [("web1", 10), ("web2", 10), ("web3", 10)], "{vip}");
    }
    Ok(())
}

#[test]
fn two_arms_with_offloads_reach_every_server() -> Result<()> {
    every_server_answers_its_share(Shape { arms: Arms::Two, servers: 3, offload: Offload::On })
}

#[test]
fn two_arms_without_offloads_reach_every_server() -> Result<()> {
    every_server_answers_its_share(Shape { arms: Arms::Two, servers: 3, offload: Offload::Off })
}

#[test]
fn one_arm_reaches_every_server() -> Result<()> {
    every_server_answers_its_share(Shape { arms: Arms::One, servers: 3, offload: Offload::On })
}

#[test]
fn a_file_arrives_whole_over_one_connection() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
    std::fs::write(site.files().join("numbers"), &content)?;
    balance_by_nftables(&site)?;
    let (name, received, again) = site.client.inside(|| {
        let mut connection = http::Connection::open((VIP4, 80).into())?;
        let name = connection.get("/")?;
        let mut received = Vec::new();
        connection.fetch("/files/numbers", &mut received)?;
        anyhow::Ok((name, received, connection.get("/")?))
    })??;
    assert!(received == content, "{} bytes", received.len());
    assert_eq!(name, again);
    Ok(())
}

#[test]
fn a_datagram_is_answered_by_name() -> Result<()> {
    let site = Site::create(Shape { servers: 1, ..Shape::default() })?;
    site.balancer.sysctl("net/ipv4/ip_forward", "1")?;
    site.balancer.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    let server = &site.servers[0];
    for address in [server.address(VIP4.into()), server.address(VIP6.into())] {
        let _echo = Echo::start(&server.namespace, address, "web1")?;
        let socket = site.client.inside(|| udp::connect(address))??;
        assert_eq!(udp::ask(&socket, "who?")?, "web1 who?", "{address}");
    }
    Ok(())
}

#[test]
fn requests_that_fail_are_counted_beside_those_that_succeed() -> Result<()> {
    let mut site = Site::create(Shape { servers: 2, ..Shape::default() })?;
    balance_by_nftables(&site)?;
    let limit = Duration::from_secs(20);
    let load = Load::start(&site.client, &[(VIP4, 80).into()], 2)?;
    let before = load.next(100, limit)?;
    assert_eq!(before.failures, Vec::<String>::new());
    assert!((0.45..0.55).contains(&before.share("web1")), "{before:?}");
    site.servers[0].nginx.kill()?;
    load.settle(limit)?;
    let after = load.next(100, limit)?;
    assert_eq!(after.by_server["web1"], 0);
    assert!((40..60).contains(&after.failures.len()), "{after:?}");
    Ok(())
}

#[test]
fn a_frame_that_xdp_sends_back_arrives() -> Result<()> {
    for arms in [Arms::Two, Arms::One] {
        let site = Site::create(Shape { arms, servers: 0, offload: Offload::On })?;
        let (far, interface) = match arms {
            Arms::Two => (&site.client, "eth0"),
            Arms::One => (&site.switch, "balancer"),
        };
        let received = || -> Result<u64> {
            let links: serde_json::Value =
                serde_json::from_str(&far.ip(&format!("-s -j link show {interface}"))?)?;
            Ok(links[0]["stats64"]["rx"]["packets"].as_u64().unwrap_or_default())
        };
        xdp::attach(&site.balancer, "outside", Verdict::Tx, site.directory())?;
        let before = received()?;
        site.client.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_broadcast(true)?;
            (0..20).try_for_each(|_| socket.send_to(b"there and back", "198.51.100.255:9").map(drop))
        })??;
        wait_until("frames to come back", Duration::from_secs(5), || {
            received().is_ok_and(|now| now >= before + 20)
        })?;
    }
    Ok(())
}

#[test]
fn nothing_is_left_of_a_site_that_is_dropped() -> Result<()> {
    let site = Site::create(Shape { servers: 1, ..Shape::default() })?;
    let directory = site.directory().to_owned();
    let mut paths = vec![directory, site.client.path(), site.balancer.path(), site.switch.path()];
    paths.push(site.servers[0].namespace.path());
    paths.push(format!("/proc/{}", site.servers[0].nginx.pid()).into());
    assert!(paths.iter().all(|path| path.exists()), "{paths:?}");
    drop(site);
    let left: Vec<_> = paths.iter().filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}
