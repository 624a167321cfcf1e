//! Traffic through a VIP: everything arrives, and in the shares that were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::Result;
use lb_tests::site::{VIP4, VIP6};
use lb_tests::udp::{self, Echo};
use lb_tests::{Arms, Offload, Shape, Site, http};

use crate::given::{ask, daemon, tcp_counter, vips, virtual_server};

/// How far a real server's answers may be from its share, as a part of that share.
const TOLERANCE: f64 = 0.02;
const WEIGHTS: [u16; 3] = [3, 2, 1];

fn all_requests_succeed_in_the_shares_of_the_weights(
    arms: Arms,
    offload: Offload,
    vip: SocketAddr,
    requests: u32,
) -> Result<()> {
    let site = Site::create(Shape { arms, servers: 3, offload })?;
    let daemon = daemon(&site, &virtual_server(&site, "web", vip, &WEIGHTS, "scheduler = \"wrr\"")?)?;

    let answers = ask(&site, vip, requests)?;
    let retransmitted = tcp_counter(&site.client, "RetransSegs")?;
    eprintln!(
        "{vip} {arms:?} {offload:?}: {answers:?}, {retransmitted} segments retransmitted by the client"
    );

    assert_eq!(answers.values().sum::<u32>(), requests);
    for (server, weight) in site.servers.iter().zip(WEIGHTS) {
        let wanted = f64::from(requests) * f64::from(weight) / f64::from(WEIGHTS.iter().sum::<u16>());
        let error = (f64::from(answers[&server.name]) - wanted).abs() / wanted;
        assert!(error <= TOLERANCE, "{} is {:.1} % off: {answers:?}", server.name, error * 100.0);
    }
    let status = daemon.status()?;
    assert_eq!(status["data_plane"]["interfaces"][0]["mode"], "native");
    Ok(())
}

#[test]
fn ten_thousand_requests_with_offloads_succeed_by_weight() -> Result<()> {
    all_requests_succeed_in_the_shares_of_the_weights(Arms::Two, Offload::On, vips()[0], 10_000)
}

#[test]
fn requests_without_offloads_succeed_by_weight() -> Result<()> {
    all_requests_succeed_in_the_shares_of_the_weights(Arms::Two, Offload::Off, vips()[0], 2_000)
}

#[test]
fn requests_by_ipv6_succeed_by_weight() -> Result<()> {
    for offload in [Offload::On, Offload::Off] {
        all_requests_succeed_in_the_shares_of_the_weights(Arms::Two, offload, vips()[1], 2_000)?;
    }
    Ok(())
}

#[test]
fn requests_through_one_arm_succeed_by_weight() -> Result<()> {
    for vip in vips() {
        all_requests_succeed_in_the_shares_of_the_weights(Arms::One, Offload::On, vip, 2_000)?;
    }
    Ok(())
}

#[test]
fn a_udp_flow_stays_on_one_real_server_and_flows_are_spread() -> Result<()> {
    const PORT: u16 = 7007;
    let site = Site::create(Shape::default())?;
    let mut echoes = Vec::new();
    let mut configuration = String::new();
    let vips: [SocketAddr; 2] = [(VIP4, 7).into(), (VIP6, 7).into()];
    for (name, vip) in ["echo4", "echo6"].into_iter().zip(vips) {
        let text = virtual_server(&site, name, vip, &[1, 1, 1], "protocol = \"udp\"\nscheduler = \"rr\"")?;
        configuration += &text.replace(":8080\"", &format!(":{PORT}\""));
        for server in &site.servers {
            let address = SocketAddr::new(server.address(vip.ip()).ip(), PORT);
            echoes.push(Echo::start(&server.namespace, address, &server.name)?);
        }
    }
    let _daemon = daemon(&site, &configuration)?;

    for vip in vips {
        let mut seen = BTreeMap::<String, u32>::new();
        for flow in 0..12 {
            let socket = site.client.inside(|| udp::connect(vip))??;
            let mut servers = BTreeSet::new();
            for number in 0..20 {
                let question = format!("{flow}.{number}");
                let answer = udp::ask(&socket, &question)?;
                let (server, echo) = answer.split_once(' ').expect("an answer is a name and the question");
                assert_eq!(echo, question);
                servers.insert(server.to_owned());
            }
            assert_eq!(servers.len(), 1, "flow {flow} to {vip} was answered by {servers:?}");
            *seen.entry(servers.pop_first().expect("one server")).or_default() += 1;
        }
        eprintln!("{vip}: flows by server {seen:?}");
        assert_eq!(seen.into_values().collect::<Vec<_>>(), [4, 4, 4]);
    }
    Ok(())
}

#[test]
fn with_mh_a_client_address_has_one_real_server_and_addresses_are_spread() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let vip = vips()[0];
    let _daemon = daemon(&site, &virtual_server(&site, "web", vip, &[1, 1, 1], "scheduler = \"mh\"")?)?;

    let mut clients = BTreeMap::<String, u32>::new();
    for number in 100..130 {
        let address = format!("198.51.100.{number}");
        site.client.ip(&format!("address add {address}/24 dev eth0"))?;
        site.client.ip(&format!("route replace {VIP4}/32 via 198.51.100.1 src {address}"))?;
        let answers = site.client.inside(|| http::count(vip, 5))??;
        assert_eq!(answers.len(), 1, "{address} was answered by {answers:?}");
        *clients.entry(answers.into_keys().next().expect("one server")).or_default() += 1;
    }
    eprintln!("client addresses by server {clients:?}");
    assert_eq!(clients.len(), 3, "{clients:?}");
    Ok(())
}
