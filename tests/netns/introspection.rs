//! What operators look into: connections, and what would become of a packet, compared with what the client's kernel and the
//! real servers know.

use std::collections::BTreeMap;
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use lb_tests::udp::{self, Echo};
use lb_tests::{Daemon, Shape, Site, http::Connection, wait_until};
use serde_json::Value;

use crate::given::{PATIENCE, daemon, vips, virtual_server};

fn lines(printed: &str) -> Result<Vec<Value>> {
    Ok(printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn connections(daemon: &Daemon, arguments: &[&str]) -> Result<Vec<Value>> {
    lines(&daemon.xlb(&[&["connections", "--json"], arguments].concat())?)
}

fn explain(daemon: &Daemon, client: &str, vip: &str, arguments: &[&str]) -> Result<Value> {
    let printed = daemon.xlb(&[&["explain", client, vip, "--json"], arguments].concat())?;
    Ok(serde_json::from_str(&printed)?)
}

#[test]
fn connections_are_those_that_the_client_has() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let text = virtual_server(&site, "web", vips()[0], &[1, 1, 1], "scheduler = \"rr\"")?
        + &virtual_server(&site, "web6", vips()[1], &[1, 1, 1], "")?;
    let daemon = daemon(&site, &text)?;
    assert!(connections(&daemon, &[])?.is_empty());

    let open = |vip| site.client.inside(|| TcpStream::connect(vip));
    let streams = [vips()[0], vips()[0], vips()[1]]
        .into_iter()
        .map(|vip| Ok(open(vip)??))
        .collect::<Result<Vec<TcpStream>>>()?;
    wait_until("handshakes to be proven", PATIENCE, || {
        connections(&daemon, &["--state", "established"]).is_ok_and(|found| found.len() == streams.len())
    })?;
    let mut expected: Vec<(String, String)> = Vec::new();
    for stream in &streams {
        expected.push((stream.local_addr()?.to_string(), stream.peer_addr()?.to_string()));
    }
    expected.sort();
    let text = |connection: &Value, key: &str| connection[key].as_str().unwrap_or_default().to_owned();
    let found = connections(&daemon, &[])?;
    let mut seen: Vec<_> = found.iter().map(|one| (text(one, "client"), text(one, "vip"))).collect();
    seen.sort();
    assert_eq!(seen, expected);
    for connection in &found {
        let server = site.servers.iter().find(|server| connection["name"] == server.name.as_str());
        let vip = text(connection, "vip").parse::<std::net::SocketAddr>()?;
        let address = server.context("a real server")?.address(vip.ip());
        assert_eq!(text(connection, "real_server"), address.to_string());
        assert_eq!(connection["half_open"], false, "{connection}");
        let expires = connection["expires_in_seconds"].as_u64().unwrap_or_default();
        assert!((1..=900).contains(&expires), "{connection}");
    }

    // Filters.
    let client = streams[2].local_addr()?.ip().to_string();
    for (arguments, count) in [
        (&["web"][..], 2),
        (&["web6"], 1),
        (&["--client", &client], 1),
        (&["web", "--real-server", "web1"], 1),
        (&["--state", "SYN_SENT"], 0),
        (&["--limit", "2"], 2),
    ] {
        assert_eq!(connections(&daemon, arguments)?.len(), count, "{arguments:?}");
    }
    for unknown in [&["connections", "nope"][..], &["connections", "--real-server", "nope"]] {
        assert_eq!(daemon.try_xlb(unknown)?.status.code(), Some(5), "{unknown:?}");
    }
    Ok(())
}

#[test]
fn an_explanation_comes_true_and_changes_nothing() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let vip = vips()[0].to_string();
    for scheduler in ["rr", "wlc", "mh"] {
        let keys = format!("scheduler = {scheduler:?}");
        let daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1, 1], &keys)?)?;
        let mut kept = Vec::new();
        let mut servers = BTreeMap::<String, u32>::new();
        for _ in 0..4 {
            let said = explain(&daemon, "198.51.100.2", &vip, &["--interface", "outside"])?;
            assert_eq!(said, explain(&daemon, "198.51.100.2", &vip, &["--interface", "outside"])?);
            assert_eq!(
                (&said["outcome"], &said["known"]),
                (&"new_connection".into(), &false.into()),
                "{said}"
            );
            let mut connection = site.client.inside(|| Connection::open(vips()[0]))??;
            let server = connection.get("/")?.trim().to_owned();
            ensure!(said["name"] == server.as_str(), "{server} answered: {said}");
            *servers.entry(server).or_default() += 1;
            kept.push(connection);
        }
        // By address, one real server; else all of them.
        assert_eq!(servers.len(), if scheduler == "mh" { 1 } else { 3 }, "{scheduler}: {servers:?}");
        let found = connections(&daemon, &["--state", "ESTABLISHED"])?;
        assert_eq!(found.len(), kept.len());
        for connection in found {
            let client = connection["client"].as_str().context("a client")?;
            let said = explain(&daemon, client, &vip, &[])?;
            assert_eq!(said["known"], true, "{said}");
            assert_eq!(said["real_server"], connection["real_server"], "{said}");
        }
        assert_eq!(connections(&daemon, &[])?.len(), kept.len());
        daemon.xlb(&["unload", "--yes"])?;
    }
    Ok(())
}

#[test]
fn what_is_not_balanced_is_explained_too() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let text =
        virtual_server(&site, "echo", vips()[0], &[1, 1, 1], "protocol = \"udp\"\nscheduler = \"rr\"")?;
    let daemon = daemon(&site, &text)?;
    let vip = vips()[0].to_string();
    let _echoes = site
        .servers
        .iter()
        .map(|server| Echo::start(&server.namespace, server.address(vips()[0].ip()), &server.name))
        .collect::<Result<Vec<_>>>()?;
    let said = explain(&daemon, "198.51.100.2", &vip, &[])?;
    assert_eq!((&said["outcome"], &said["virtual_server"]), (&"no_service".into(), &Value::Null), "{said}");
    let said = explain(&daemon, "127.0.0.1", &vip, &["--protocol", "udp"])?;
    assert_eq!((&said["outcome"], &said["real_server"]), (&"martian_source".into(), &Value::Null), "{said}");

    let said = explain(&daemon, "198.51.100.2", &vip, &["--protocol", "udp"])?;
    let socket = site.client.inside(|| udp::connect(vips()[0]))??;
    let answer = udp::ask(&socket, "who")?;
    let server = answer.split(' ').next().unwrap_or_default();
    assert_eq!(said["name"], server, "{said}");
    let client = socket.local_addr()?.to_string();
    let found = connections(&daemon, &["echo", "--state", "UDP"])?;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["client"], &found[0]["name"]), (&client.as_str().into(), &server.into()));
    let said = explain(&daemon, &client, &vip, &["--protocol", "udp"])?;
    assert_eq!((&said["known"], &said["name"]), (&true.into(), &server.into()), "{said}");
    Ok(())
}
