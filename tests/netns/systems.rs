//! Real systems behind one VIP, each on a port of its own: nginx, HAProxy, Varnish, Squid.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lb_tests::http::Connection;
use lb_tests::site::{Server, VIP4};
use lb_tests::{Daemon, Namespace, Process, Shape, Site, nginx, wait_until};

use crate::given::{PATIENCE, daemon};

/// A service: its name, its port on the VIP, its port on each real server.
const SERVICES: [(&str, u16, u16); 4] =
    [("nginx", 80, nginx::PORT), ("haproxy", 81, 8081), ("varnish", 82, 8082), ("squid", 83, 8083)];

/// Starts the others in front of a server's nginx.
fn start(server: &Server, directory: &Path) -> Result<Vec<Process>> {
    fs::create_dir_all(directory)?;
    let started = vec![
        haproxy(&server.namespace, directory)?,
        varnish(&server.namespace, directory)?,
        squid(&server.namespace, server.v4, directory)?,
    ];
    for (name, _, port) in SERVICES {
        let listening = || {
            let lines = server.namespace.run("ss", &format!("-Hltn sport = :{port}"));
            lines.is_ok_and(|lines| !lines.is_empty())
        };
        wait_until(&format!("{name} to listen"), PATIENCE, listening)
            .with_context(|| started.iter().map(Process::log).collect::<String>())?;
    }
    Ok(started)
}

fn haproxy(host: &Namespace, directory: &Path) -> Result<Process> {
    let file = directory.join("haproxy.cfg");
    let text = "global\n  maxconn 512\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
                frontend f\n  bind :8081\n  default_backend b\nbackend b\n  server s 127.0.0.1:8080\n";
    fs::write(&file, text)?;
    let mut command = host.command("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Process::start(command, &directory.join("haproxy.log"))
}

fn varnish(host: &Namespace, directory: &Path) -> Result<Process> {
    let mut command = host.command("varnishd");
    command.args([
        "-F",
        "-a",
        ":8082",
        "-b",
        "127.0.0.1:8080",
        "-s",
        "malloc,16m",
        "-j",
        "none",
        "-T",
        "none",
    ]);
    command.arg("-n").arg(directory.join("varnish"));
    Process::start(command, &directory.join("varnish.log"))
}

fn squid(host: &Namespace, address: Ipv4Addr, directory: &Path) -> Result<Process> {
    let file = directory.join("squid.conf");
    let text = format!(
        "http_port 8083 accel defaultsite={address} no-vhost\n\
         cache_peer 127.0.0.1 parent 8080 0 no-query originserver\nhttp_access allow all\ncache deny all\n\
         pid_filename none\naccess_log none\ncache_log /dev/null\ncoredump_dir /tmp\n\
         shutdown_lifetime 0 seconds\nmemory_cache_shared off\ncache_effective_user proxy\n"
    );
    fs::write(&file, text)?;
    let mut command = host.command("squid");
    // Its shared memory is named after the service, for the whole machine.
    let service: String = host.name().chars().filter(char::is_ascii_alphanumeric).collect();
    command.args(["-N", "-d1", "-n", &service, "-f"]).arg(file);
    Process::start(command, &directory.join("squid.log"))
}

fn configuration(site: &Site, weight: u16) -> String {
    let service = |(name, port, real): (&str, u16, u16)| {
        let servers = site.servers.iter().map(|server| {
            format!(
                "  {{ name = \"{}\", address = \"{}:{real}\", weight = {weight} }},\n",
                server.name, server.v4
            )
        });
        format!(
            "[[virtual_server]]\nname = \"{name}\"\naddress = \"{VIP4}:{port}\"\nscheduler = \"wrr\"\n\
             check = {{ type = \"http\", path = \"/\", interval = \"1s\", timeout = \"1s\" }}\nreal_server = [\n{}]\n\n",
            servers.collect::<String>()
        )
    };
    SERVICES.map(service).concat()
}

/// A connection that is kept, and who answers on it.
struct Kept {
    service: &'static str,
    server: String,
    connection: Connection,
}

impl Kept {
    fn open(site: &Site, (service, port, _): (&'static str, u16, u16)) -> Result<Self> {
        let vip = SocketAddr::new(VIP4.into(), port);
        let mut connection = site.client.inside(|| Connection::open(vip))??;
        let server = connection.get("/")?.trim().to_owned();
        Ok(Self { service, server, connection })
    }

    fn goes_on(&mut self, after: &str) -> Result<()> {
        let Self { service, server, connection } = self;
        let answer = connection.get("/").with_context(|| format!("{service} after {after}"))?;
        ensure!(answer.trim() == server, "{service} after {after}: {answer} instead of {server}");
        Ok(())
    }
}

fn all_go_on(kept: &mut [Kept], after: &str) -> Result<()> {
    kept.iter_mut().try_for_each(|one| one.goes_on(after))
}

#[test]
fn kept_connections_to_real_systems_live_through_whatever_happens_to_others() -> Result<()> {
    let site = Site::create(Shape { servers: 2, ..Shape::default() })?;
    let started = site
        .servers
        .iter()
        .map(|server| start(server, &site.directory().join(format!("{}-more", server.name))));
    let mut running = started.collect::<Result<Vec<_>>>()?;
    let mut daemon: Daemon = daemon(&site, &configuration(&site, 1))?;
    let mut kept = Vec::new();
    for service in SERVICES {
        // Round robin: one for each server.
        for _ in &site.servers {
            kept.push(Kept::open(&site, service)?);
        }
    }
    for (name, ..) in SERVICES {
        let mut servers: Vec<_> =
            kept.iter().filter(|one| one.service == name).map(|one| &*one.server).collect();
        servers.sort_unstable();
        ensure!(servers == ["web1", "web2"], "{name}: {servers:?}");
    }
    for (name, ..) in SERVICES {
        daemon.xlb(&["weight", &format!("{name}/web1"), "7"])?;
    }
    all_go_on(&mut kept, "weights have changed")?;
    for (name, ..) in SERVICES {
        daemon.xlb(&["drain", &format!("{name}/web2"), "--timeout", "1h"])?;
        let mut new =
            Kept::open(&site, SERVICES.into_iter().find(|one| one.0 == name).context("a service")?)?;
        ensure!(new.server == "web1", "{name}: {}", new.server);
        new.goes_on("a drain of the other")?;
    }
    all_go_on(&mut kept, "a drain")?;
    daemon.configure(&site, &configuration(&site, 3))?;
    daemon.xlb(&["reload"])?;
    all_go_on(&mut kept, "a reload")?;
    daemon.process.kill()?;
    all_go_on(&mut kept, "a kill")?;
    daemon.restart(&site)?;
    all_go_on(&mut kept, "a restart")?;
    daemon.xlb(&["revert"])?;
    all_go_on(&mut kept, "everything")?;
    // Squid leaves shared memory behind when it is killed.
    running.iter_mut().flatten().try_for_each(|process| process.stop(PATIENCE).map(drop))
}
