//! Two ports of one address as one virtual server by a firewall mark, with persistence: real browsers' view of a shop.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::site::VIP4;
use lb_tests::{Shape, Site, wait_until};
use socket2::{Domain, Socket, Type};

use crate::given::{PATIENCE, daemon, real_server};

const PORTS: [u16; 2] = [80, 443];
const CLIENTS: u8 = 6;

/// Marks both ports; real servers keep the port.
pub(crate) fn shop(site: &Site) -> String {
    let reals: Vec<_> = site
        .servers
        .iter()
        .map(|server| format!("  {{ name = \"{}\", address = \"{}\" }},\n", server.name, server.v4))
        .collect();
    format!(
        "[[fwmark]]\nmark = 7\nmatch = {{ destination = \"{VIP4}/32\", protocol = \"tcp\", ports = [80, 443] }}\n\n\
         [[virtual_server]]\nname = \"shop\"\nfwmark = 7\nscheduler = \"rr\"\npersistence_timeout = \"5m\"\n\
         check = {{ type = \"tcp\", port = 80, interval = \"500ms\", timeout = \"500ms\", fall = 1 }}\n\
         real_server = [\n{}]\n",
        reals.concat()
    )
}

/// Address of one of the clients, which are all on the client's host.
fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 100 + number)
}

/// One request from this address; the name of the server that answered.
fn ask(from: Ipv4Addr, port: u16) -> Result<String> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&SocketAddr::from((VIP4, port)).into(), Duration::from_secs(5))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().last().context("no answer")?.to_owned())
}

/// The one server that answers a client on both ports, several times.
fn server_of(site: &Site, number: u8) -> Result<String> {
    let answers = site.client.inside(|| {
        let ports = PORTS.iter().cycle().take(6);
        ports.map(|port| ask(client(number), *port)).collect::<Result<Vec<_>>>()
    })??;
    ensure!(answers.iter().all(|answer| *answer == answers[0]), "{}: {answers:?}", client(number));
    Ok(answers[0].clone())
}

fn servers(site: &Site) -> Result<Vec<String>> {
    (0..CLIENTS).map(|number| server_of(site, number)).collect()
}

#[test]
fn a_client_of_a_mark_stays_on_one_server_for_both_ports_and_moves_when_it_dies() -> Result<()> {
    let mut site = Site::create(Shape::default())?;
    for number in 0..CLIENTS {
        site.client.ip(&format!("address add {}/24 dev eth0", client(number)))?;
    }
    let mut daemon = daemon(&site, &shop(&site))?;
    let before = servers(&site)?;
    for name in ["web1", "web2", "web3"] {
        assert_eq!(before.iter().filter(|server| *server == name).count(), 2, "{before:?}");
    }
    assert_eq!(servers(&site)?, before);
    wait_until("the clients to be counted", PATIENCE, || {
        daemon.status().is_ok_and(|status| {
            let shop = &status["virtual_servers"][0];
            shop["address"] == "fwmark 7" && shop["persistent_clients"] == u64::from(CLIENTS)
        })
    })?;

    // A new daemon takes templates and rules over.
    daemon.process.kill()?;
    assert_eq!(servers(&site)?, before);
    daemon.restart(&site)?;
    daemon.wait_all_up(PATIENCE)?;
    assert_eq!(servers(&site)?, before);
    ensure!(daemon.xlb(&["reload"])?.contains("nothing"), "nothing has changed");

    site.servers[0].nginx.kill()?;
    wait_until("web1 to be down", PATIENCE, || {
        let down = |status| real_server(&status, "web1").is_ok_and(|real| real["state"] == "down");
        daemon.status().is_ok_and(down)
    })?;
    let after = servers(&site)?;
    for (before, after) in before.iter().zip(&after) {
        assert!(if before == "web1" { after != "web1" } else { after == before }, "{after:?}");
    }
    assert_eq!(servers(&site)?, after);
    Ok(())
}
