//! What becomes of a connection on which nobody says a word when its real server is taken out: both ends learn it, judged by their
//! own sockets.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::site::{VIP4, VIP6};
use lb_tests::{Daemon, Namespace, Shape, Site};

use crate::given::daemon;

/// Within which both ends learn it.
const SOON: Duration = Duration::from_secs(1);
/// Far longer, so that a test that fails says by how much.
const LATE: Duration = Duration::from_secs(10);

const PORT: u16 = 9000;

/// Both ends of a connection through a VIP that has said nothing since its handshake.
struct Idle {
    client: TcpStream,
    server: TcpStream,
}

impl Idle {
    /// Between `from`, a host of the site, and who listens behind the VIP.
    fn open(from: &Namespace, vip: SocketAddr, listener: &TcpListener) -> Result<Self> {
        let client = from.inside(|| TcpStream::connect_timeout(&vip, LATE))??;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(LATE))?;
        }
        Ok(Self { client, server })
    }

    /// Waits until both ends were reset.
    fn ends(&self) -> Result<()> {
        for (mut end, name) in [(&self.client, "client"), (&self.server, "real server")] {
            let error = end.read(&mut [0]).err().with_context(|| format!("the {name} reads on"))?;
            ensure!(error.kind() == ErrorKind::ConnectionReset, "the {name} has {error}");
        }
        Ok(())
    }
}

/// Of two real servers, since the last one cannot be removed; the other one gets no connections before.
fn virtual_server(site: &Site, vip: SocketAddr) -> String {
    let name = if vip.is_ipv4() { "four" } else { "six" };
    let address = SocketAddr::new(site.servers[0].address(vip.ip()).ip(), PORT);
    let other = SocketAddr::new(address.ip(), PORT + 1);
    format!(
        "[[virtual_server]]\nname = \"{name}\"\naddress = \"{vip}\"\nscheduler = \"fo\"\n\
         real_server = [{{ name = \"idle\", address = \"{address}\", weight = 2 }}, \
         {{ name = \"other\", address = \"{other}\" }}]\n\n"
    )
}

/// Takes a real server out and says how long it took until both ends of all its connections had learned it.
#[expect(clippy::disallowed_methods, reason = "this test measures how long both ends wait")]
fn part(idle: &[Idle], take_out: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    take_out()?;
    idle.iter().try_for_each(Idle::ends)?;
    let took = started.elapsed();
    eprintln!("both ends of {} connections had learned it after {took:?}", idle.len());
    ensure!(took < SOON, "{took:?}");
    Ok(())
}

/// From outside and from the real server itself (hairpin), by both versions of IP.
fn every_way(take_out: impl Fn(&Daemon, &str) -> Result<()>) -> Result<()> {
    let site = Site::create(Shape { servers: 1, ..Shape::default() })?;
    let vips = [(VIP4, 80).into(), (VIP6, 80).into()];
    let daemon = daemon(&site, &vips.map(|vip| virtual_server(&site, vip)).concat())?;
    for (vip, name) in vips.into_iter().zip(["four", "six"]) {
        let server = &site.servers[0];
        let address = SocketAddr::new(server.address(vip.ip()).ip(), PORT);
        let listener = server.namespace.inside(|| TcpListener::bind(address))??;
        let ends = [&site.client, &server.namespace];
        let idle: Vec<Idle> =
            ends.into_iter().map(|from| Idle::open(from, vip, &listener)).collect::<Result<_>>()?;
        part(&idle, || take_out(&daemon, name))?;
    }
    Ok(())
}

#[test]
fn both_ends_of_an_idle_connection_learn_within_a_second_that_its_real_server_is_disabled() -> Result<()> {
    every_way(|daemon, name| daemon.xlb(&["disable", &format!("{name}/idle")]).map(drop))
}

#[test]
fn both_ends_of_an_idle_connection_learn_within_a_second_that_its_real_server_is_removed() -> Result<()> {
    every_way(|daemon, name| daemon.xlb(&["remove", &format!("{name}/idle")]).map(drop))
}
