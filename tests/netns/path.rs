//! What is not plain TCP and UDP on its way through the balancer: path-MTU discovery, ICMP errors, fragments.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lb_tests::daemon::built_program;
use lb_tests::site::{VIP4, VIP6};
use lb_tests::udp::{self, Echo};
use lb_tests::{Daemon, Namespace, Shape, Site, wait_until};

use crate::given::{PATIENCE, daemon, virtual_server};

const PORT: u16 = 7007;
/// What a narrow way takes. The kernel forwards by a route's MTU only if that is locked.
const NARROW: &str = "mtu lock 1300";
/// Bytes of a transfer, in each direction: enough to meet a narrow way again and again.
const SIZE: usize = 2_000_000;

fn vips() -> [SocketAddr; 2] {
    [(VIP4, 7).into(), (VIP6, 7).into()]
}

/// One real server behind both VIPs, on [`PORT`], with this weight.
fn given(protocol: &str, weight: u16) -> Result<(Site, Daemon)> {
    let site = Site::create(Shape { servers: 1, ..Shape::default() })?;
    let keys = format!("protocol = \"{protocol}\"");
    let mut configuration = String::new();
    for (name, vip) in ["four", "six"].into_iter().zip(vips()) {
        let text = virtual_server(&site, name, vip, &[weight], &keys)?;
        configuration += &text.replace(":8080\"", &format!(":{PORT}\""));
    }
    // One without weight never counts as up.
    let daemon = if weight == 0 {
        Daemon::start(&site, &built_program()?, &configuration)?
    } else {
        daemon(&site, &configuration)?
    };
    Ok((site, daemon))
}

/// Packets that ended so.
fn count(daemon: &Daemon, outcome: &str) -> Result<u64> {
    let status = daemon.status()?;
    Ok(status["data_plane"]["outcomes"][outcome].as_u64().unwrap_or_default())
}

/// A service that takes everything from one client and then gives it back.
fn mirror(server: &Namespace) -> Result<JoinHandle<Result<Result<()>>>> {
    let listener = server.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)))??;
    server.spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        stream.write_all(&bytes)?;
        Ok(())
    })
}

/// Sends a lot to the VIP and gets it back over one connection.
fn transfer(client: &Namespace, server: &Namespace, vip: SocketAddr) -> Result<()> {
    let mirror = mirror(server)?;
    client.inside(|| -> Result<()> {
        let bytes: Vec<u8> = (0..SIZE).map(|position| (position / 7) as u8).collect();
        let mut stream = TcpStream::connect_timeout(&vip, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&bytes).context("the way there")?;
        stream.shutdown(Shutdown::Write)?;
        let mut back = Vec::new();
        stream.read_to_end(&mut back).context("the way back")?;
        ensure!(back == bytes, "{} bytes came back", back.len());
        Ok(())
    })??;
    mirror.join().map_err(|_| anyhow!("the mirror panicked"))??
}

#[test]
fn a_client_learns_of_a_narrow_way_to_the_real_servers() -> Result<()> {
    let (site, daemon) = given("tcp", 1)?;
    let server = &site.servers[0];
    site.balancer.ip(&format!("route add {}/32 dev inside {NARROW}", server.v4))?;
    site.balancer.ip(&format!("-6 route add {}/128 dev inside {NARROW}", server.v6))?;
    for vip in vips() {
        let before = count(&daemon, "too_big")?;
        transfer(&site.client, &server.namespace, vip)?;
        assert_ne!(count(&daemon, "too_big")?, before, "{vip}");
    }
    Ok(())
}

#[test]
fn a_real_server_learns_of_a_narrow_way_to_the_client() -> Result<()> {
    let (site, daemon) = given("tcp", 1)?;
    site.balancer.ip(&format!("route add 198.51.100.2/32 dev outside {NARROW}"))?;
    site.balancer.ip(&format!("-6 route add 2001:db8:1::2/128 dev outside {NARROW}"))?;
    for vip in vips() {
        let before = count(&daemon, "oversized")?;
        transfer(&site.client, &site.servers[0].namespace, vip)?;
        assert_ne!(count(&daemon, "oversized")?, before, "{vip}");
    }
    Ok(())
}

/// The site's client as a router with a narrow way to another one behind it.
#[test]
fn a_real_server_learns_of_a_narrow_way_behind_a_router() -> Result<()> {
    let (site, daemon) = given("tcp", 1)?;
    let far = Namespace::create("far")?;
    let router = &site.client;
    router.ip(&format!("link add back type veth peer name eth0 netns {}", far.name()))?;
    for (host, interface, v4, v6) in [
        (router, "back", "203.0.113.1/24", "2001:db8:3::1/64"),
        (&far, "eth0", "203.0.113.2/24", "2001:db8:3::2/64"),
    ] {
        host.ip(&format!("link set {interface} up"))?;
        host.ip(&format!("address add {v4} dev {interface}"))?;
        host.ip(&format!("address add {v6} dev {interface} nodad"))?;
    }
    far.ip("route add default via 203.0.113.1")?;
    far.ip("-6 route add default via 2001:db8:3::1")?;
    router.sysctl("net/ipv4/ip_forward", "1")?;
    router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    router.ip(&format!("route add 203.0.113.2/32 dev back {NARROW}"))?;
    router.ip(&format!("-6 route add 2001:db8:3::2/128 dev back {NARROW}"))?;
    site.balancer.ip("route add 203.0.113.0/24 via 198.51.100.2")?;
    site.balancer.ip("-6 route add 2001:db8:3::/64 via 2001:db8:1::2")?;
    for vip in vips() {
        let before = count(&daemon, "icmp_translated")?;
        transfer(&far, &site.servers[0].namespace, vip)?;
        assert_ne!(count(&daemon, "icmp_translated")?, before, "{vip}");
    }
    Ok(())
}

/// Sends a datagram to a VIP and waits for an error.
fn refused(client: &Namespace, vip: SocketAddr) -> Result<ErrorKind> {
    client.inside(|| -> Result<ErrorKind> {
        let socket = udp::connect(vip)?;
        socket.send(b"is nobody here?")?;
        let answer = socket.recv(&mut [0; 100]);
        Ok(answer.err().context("somebody is here")?.kind())
    })?
}

#[test]
fn a_datagram_that_no_service_takes_is_refused() -> Result<()> {
    let (site, daemon) = given("udp", 1)?;
    for vip in vips() {
        assert_eq!(refused(&site.client, vip)?, ErrorKind::ConnectionRefused, "{vip}");
    }
    assert_eq!(count(&daemon, "icmp_translated")?, 2);
    Ok(())
}

#[test]
fn a_datagram_that_no_real_server_takes_is_refused() -> Result<()> {
    let (site, daemon) = given("udp", 0)?;
    for vip in vips() {
        assert_eq!(refused(&site.client, vip)?, ErrorKind::ConnectionRefused, "{vip}");
    }
    assert_eq!(count(&daemon, "refused")?, 2);
    Ok(())
}

#[test]
fn a_connection_that_no_real_server_takes_is_refused_at_once() -> Result<()> {
    let (site, daemon) = given("tcp", 0)?;
    for vip in vips() {
        let connected = site.client.inside(|| TcpStream::connect_timeout(&vip, PATIENCE))?;
        assert_eq!(
            connected.map_err(|error| error.kind()).err(),
            Some(ErrorKind::ConnectionRefused),
            "{vip}"
        );
    }
    assert_eq!(count(&daemon, "refused")?, 2, "nobody had to ask twice");
    Ok(())
}

#[test]
fn a_datagram_larger_than_the_mtu_is_answered_by_one_as_large() -> Result<()> {
    let (site, daemon) = given("udp", 1)?;
    let server = &site.servers[0];
    let question: String = ('a'..='z').cycle().take(4000).collect();
    for vip in vips() {
        let address = SocketAddr::new(server.address(vip.ip()).ip(), PORT);
        let _echo = Echo::start(&server.namespace, address, "web1")?;
        let socket = site.client.inside(|| udp::connect(vip))??;
        for _ in 0..20 {
            assert_eq!(udp::ask(&socket, &question)?, format!("web1 {question}"), "{vip}");
        }
    }
    assert_eq!(count(&daemon, "fragment_unknown")?, 0);
    Ok(())
}

/// As with VRRP: the owner has the VIP's address.
#[test]
fn a_reply_that_the_kernel_divides_may_come_from_an_address_of_its_own() -> Result<()> {
    let (site, daemon) = given("udp", 1)?;
    let server = &site.servers[0];
    site.balancer.ip(&format!("address add {VIP4}/32 dev lo"))?;
    site.balancer.ip(&format!("route add 198.51.100.2/32 dev outside {NARROW}"))?;
    server.namespace.sysctl("net/ipv4/ip_no_pmtu_disc", "1")?;
    let _echo = Echo::start(&server.namespace, SocketAddr::new(server.v4.into(), PORT), "web1")?;
    let socket = site.client.inside(|| udp::connect(vips()[0]))??;
    let question = "x".repeat(1400);
    assert_eq!(udp::ask(&socket, &question)?, format!("web1 {question}"));
    assert_ne!(count(&daemon, "kernel_route")?, 0);
    Ok(())
}

/// Neither the kernel nor a check talks to it, and it says nothing of itself.
#[test]
fn a_real_server_that_gets_another_link_address_silently_is_found_again() -> Result<()> {
    let (site, _daemon) = given("udp", 1)?;
    let (server, balancer) = (&site.servers[0], &site.balancer);
    for (name, value) in [("base_reachable_time_ms", "1000"), ("delay_first_probe_time", "1")] {
        balancer.sysctl(&format!("net/ipv4/neigh/inside/{name}"), value)?;
    }
    let _echo = Echo::start(&server.namespace, SocketAddr::new(server.v4.into(), PORT), "web1")?;
    let socket = site.client.inside(|| udp::connect(vips()[0]))??;
    udp::ask(&socket, "first")?;
    let gateway = server.namespace.ip("-4 -json neighbour show dev eth0")?;
    let gateway: serde_json::Value = serde_json::from_str(&gateway)?;
    let (address, link) =
        gateway[0]["dst"].as_str().zip(gateway[0]["lladdr"].as_str()).context("a gateway")?;
    server.namespace.ip("link set eth0 address 02:00:00:aa:bb:cc")?;
    server.namespace.ip(&format!("neighbour replace {address} lladdr {link} dev eth0 nud permanent"))?;
    ensure!(udp::ask(&socket, "lost").is_err(), "the way to the old link address works");
    wait_until("the real server to be found", Duration::from_secs(60), || udp::ask(&socket, "found").is_ok())
}

/// As traceroute asks: the VIP tells that it is a hop, the real server's port that it is the end.
#[test]
fn hops_run_out_at_the_vip() -> Result<()> {
    let (site, daemon) = given("udp", 1)?;
    let probe = |hops: u32| -> Result<()> {
        site.client.inside(|| -> Result<()> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.set_ttl(hops)?;
            socket.send_to(b"probe", vips()[0])?;
            Ok(())
        })?
    };
    let exceeded = || -> Result<u64> {
        let text = site.client.inside(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let mut rows = text.lines().filter(|line| line.starts_with("Icmp:")).map(str::split_whitespace);
        let (names, values) = rows.next().zip(rows.next()).context("no ICMP in /proc/net/snmp")?;
        let found = names.zip(values).find(|(name, _)| *name == "InTimeExcds").context("no InTimeExcds")?;
        Ok(found.1.parse()?)
    };
    probe(1)?;
    wait_until("the client to learn it", PATIENCE, || exceeded().is_ok_and(|count| count == 1))?;
    assert_eq!(count(&daemon, "time_exceeded")?, 1);
    probe(2)?;
    wait_until("the real server's port to be unreachable", PATIENCE, || {
        count(&daemon, "icmp_translated").is_ok_and(|count| count == 1)
    })?;
    Ok(())
}
