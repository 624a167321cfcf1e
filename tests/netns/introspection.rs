//! What operators look into: connections, and what would become of a packet, compared with what the client's kernel and the
//! real servers know.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use lb_tests::udp::{self, Echo};
use lb_tests::{Daemon, Shape, Site, http::Connection, wait_until};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::given::{PATIENCE, daemon, vips, virtual_server};
use crate::marks::shop;

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
            if scheduler == "wlc" && kept.is_empty() {
                // What it would be itself is not among the loads that it is chosen by.
                let idle = said["reasons"].to_string().matches("weight 1, 0 active, 0 inactive").count();
                assert_eq!(idle, 3, "{said}");
            }
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
        let count = kept.len();
        assert_eq!(connections(&daemon, &[])?.len(), count);
        // The next daemon would adopt what has not ended.
        drop(kept);
        wait_until("both ends to have closed", PATIENCE, || {
            connections(&daemon, &["--state", "TIME_WAIT"]).is_ok_and(|found| found.len() == count)
        })?;
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

#[test]
fn a_mark_and_a_bound_client_are_explained() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let daemon = daemon(&site, &shop(&site))?;
    let [vip, _] = vips();
    let other_port = SocketAddr::new(vip.ip(), 443).to_string();
    let reasons = |said: &Value| said["reasons"].to_string();
    let first = explain(&daemon, "198.51.100.2", &other_port, &["--interface", "outside"])?;
    assert_eq!((&first["virtual_server"], &first["outcome"]), (&"shop".into(), &"new_connection".into()));
    assert!(reasons(&first).contains("a firewall mark of shop fits"), "{first}");
    assert!(!reasons(&first).contains("bound"), "{first}");

    let server = site.client.inside(|| Connection::open(vip)?.get("/"))??.trim().to_owned();
    assert_eq!(first["name"], server.as_str());
    let second = explain(&daemon, "198.51.100.2", &other_port, &["--interface", "outside"])?;
    assert_eq!((&second["name"], &second["known"]), (&server.as_str().into(), &false.into()), "{second}");
    let bound = format!("the client is bound to {server} by persistence");
    assert!(reasons(&second).contains(&bound), "{second}");
    Ok(())
}

#[test]
fn dropped_packets_are_shown_to_those_who_watch_as_many_as_may_be() -> Result<()> {
    /// More than the CPUs tell of in the first second.
    const SHOWN: usize = 420;
    const FLAGS: [u8; 2] = [0x50, 0x03];
    let site = Site::create(Shape::default())?;
    let mut daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1, 1], "")?)?;
    // From port 40000 to 80, SYN and FIN.
    let segment = [&[0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0][..], &FLAGS, &[0; 6]].concat();
    let socket = site.client.inside(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)))??;
    let send = || socket.send_to(&segment, &SocketAddr::new(vips()[0].ip(), 0).into());
    let watch = |daemon: &Daemon, count: usize| -> Result<(Vec<Value>, u64)> {
        let mut sent = 0;
        let mut watcher = daemon.begin(&["drops", "--json", "-n", &count.to_string()])?;
        wait_until("enough dropped packets to be shown", PATIENCE, || {
            sent += (0..100).filter(|_| send().is_ok()).count() as u64;
            !watcher.is_running()
        })?;
        Ok((lines(&watcher.log())?, sent))
    };
    let (shown, sent) = watch(&daemon, SHOWN)?;
    assert_eq!(shown.len(), SHOWN);
    for line in &shown {
        let packet = &line["packet"];
        assert_eq!((&line["outcome"], &line["interface"]), (&"bad_tcp_flags".into(), &"outside".into()));
        assert_eq!((&packet["source"], &packet["source_port"]), (&"198.51.100.2".into(), &40_000.into()));
        assert_eq!(
            (&packet["flags"], &packet["protocol"]),
            (&serde_json::json!(["SYN", "FIN"]), &"tcp".into())
        );
        assert_eq!(line["length"], 14 + 20 + 20);
    }
    let missed: u64 = shown.iter().filter_map(|line| line["missed"].as_u64()).sum();
    assert!(missed > 0 && missed + SHOWN as u64 <= sent, "{missed} of {sent} missed");

    // A new daemon goes on with the same ring buffer, and what was missed before is not its watchers' affair.
    daemon.process.kill()?;
    daemon.restart(&site)?;
    let (both, _) = watch(&daemon, 1)?;
    assert_eq!(both.len(), SHOWN + 1);
    assert_eq!(both[SHOWN]["missed"], 0, "{}", both[SHOWN]);
    Ok(())
}
