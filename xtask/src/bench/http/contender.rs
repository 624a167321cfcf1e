//! Who balances, and the place it does it in.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::site::VIP4;
use lb_tests::{Daemon, Process, Shape, Site, nginx, process, wait_until};

/// Where Debian puts nginx's module for TCP.
pub(super) const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// The port of iperf3.
pub(super) const BULK: u16 = 5201;

/// A way to balance TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    /// The product.
    Xlb,
    /// The kernel's own routing; clients ask the real server itself.
    Route,
    /// DNAT with conntrack.
    Nftables,
    /// nginx as a TCP proxy.
    NginxStream,
    /// HAProxy in TCP mode.
    Haproxy,
}

/// All of them, in the order they are shown.
pub(super) const CONTENDERS: [Contender; 5] =
    [Contender::Xlb, Contender::Route, Contender::Nftables, Contender::NginxStream, Contender::Haproxy];

impl Contender {
    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Xlb => "xlb",
            Self::Route => "plain routing, no balancer",
            Self::Nftables => "nftables DNAT",
            Self::NginxStream => "nginx stream",
            Self::Haproxy => "HAProxy, TCP mode",
        }
    }
}

/// Client, balancer and a real server.
pub(super) struct Place {
    pub(super) contender: Contender,
    pub(super) site: Site,
    /// The balancer, where it is a program.
    balancer: Option<Process>,
    daemon: Option<Daemon>,
    /// The bulk server.
    bulk: Process,
}

impl Place {
    /// Makes one.
    pub(super) fn make(contender: Contender, program: &Path) -> Result<Self> {
        let site = Site::create(Shape { servers: 1, ..Shape::default() })?;
        let server = &site.servers[0];
        site.balancer.sysctl("net/ipv4/ip_forward", "1")?;
        for host in [&site.balancer, &server.namespace] {
            host.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
            host.sysctl("net/ipv4/tcp_max_tw_buckets", "64")?;
        }
        let mut command = server.namespace.command("iperf3");
        command.args(["--server", "--port", &BULK.to_string()]);
        let bulk = Process::start(command, &site.directory().join("iperf3.log"))?;
        let mut place = Self { contender, balancer: None, daemon: None, bulk, site };
        place.start(program)?;
        Ok(place)
    }

    fn start(&mut self, program: &Path) -> Result<()> {
        let real = self.site.servers[0].v4;
        if self.contender != Contender::Xlb {
            // A program at the far end of a cable is for the frames of XDP; without it the kernel sends segments of 64 KB.
            self.site.client.ip("link set eth0 xdp off")?;
            self.site.switch.ip("link set balancer xdp off")?;
        }
        let directory = self.site.directory().to_owned();
        match self.contender {
            Contender::Xlb => {
                let daemon = Daemon::start(&self.site, program, &virtual_servers(real))?;
                daemon.wait_all_up(Duration::from_secs(60))?;
                self.daemon = Some(daemon);
            }
            Contender::Route => {}
            Contender::Nftables => {
                process::run(self.site.balancer.command("nft").arg(rules(real)))?;
            }
            Contender::NginxStream => {
                let path = directory.join("stream.conf");
                std::fs::write(&path, stream(real, &directory))?;
                let mut command = self.site.balancer.command("nginx");
                command.arg("-e").arg(directory.join("stream.log")).arg("-c").arg(&path);
                self.proxy(command)?;
            }
            Contender::Haproxy => {
                let path = directory.join("haproxy.cfg");
                std::fs::write(&path, haproxy(real))?;
                let mut command = self.site.balancer.command("haproxy");
                command.arg("-db").arg("-f").arg(&path);
                self.proxy(command)?;
            }
        }
        Ok(())
    }

    /// Starts a program that accepts connections on the VIP.
    fn proxy(&mut self, command: std::process::Command) -> Result<()> {
        self.site.balancer.ip(&format!("address add {VIP4}/32 dev lo"))?;
        let mut process = Process::start(command, &self.site.directory().join("proxy.log"))?;
        let listening =
            || self.site.balancer.run("ss", "-Hltn sport = :80").is_ok_and(|lines| !lines.is_empty());
        wait_until("the proxy to listen", Duration::from_secs(10), || !process.is_running() || listening())?;
        ensure!(process.is_running(), "{} ended: {}", self.contender.name(), process.log());
        self.balancer = Some(process);
        Ok(())
    }

    /// Where clients find a service that the real server has at `port`.
    pub(super) fn target(&self, port: u16) -> SocketAddr {
        match (self.contender, port) {
            (Contender::Route, _) => (self.site.servers[0].v4, port).into(),
            (_, nginx::PORT) => (VIP4, 80).into(),
            _ => (VIP4, port).into(),
        }
    }

    /// Processes that work on requests, without the client and the kernel's threads.
    pub(super) fn parties(&self) -> Vec<u32> {
        let daemon = self.daemon.as_ref().map(|daemon| daemon.process.pid());
        let balancer = self.balancer.as_ref().map(Process::pid);
        daemon
            .into_iter()
            .chain(balancer)
            .chain([self.site.servers[0].nginx.pid(), self.bulk.pid()])
            .collect()
    }
}

fn virtual_servers(real: Ipv4Addr) -> String {
    let server = |name: &str, from: u16, to: u16| {
        format!(
            "[[virtual_server]]\nname = \"{name}\"\naddress = \"{VIP4}:{from}\"\nreal_server = [{{ address = \"{real}:{to}\" }}]\n\n"
        )
    };
    server("web", 80, nginx::PORT) + &server("bulk", BULK, BULK)
}

fn rules(real: Ipv4Addr) -> String {
    let to = |from: u16, port: u16| format!("ip daddr {VIP4} tcp dport {from} dnat to {real}:{port};");
    format!(
        "table ip nat {{ chain prerouting {{ type nat hook prerouting priority dstnat; {} {} }}; }}",
        to(80, nginx::PORT),
        to(BULK, BULK)
    )
}

fn stream(real: Ipv4Addr, directory: &Path) -> String {
    let directory = directory.display();
    let server = |from: u16, to: u16| {
        format!("server {{ listen {VIP4}:{from} backlog=4096; proxy_pass {real}:{to}; }}")
    };
    format!(
        "load_module {STREAM_MODULE};\ndaemon off;\nmaster_process off;\npid {directory}/stream.pid;\n\
         error_log {directory}/stream.log;\nevents {{ worker_connections 16384; }}\nstream {{ {} {} }}\n",
        server(80, nginx::PORT),
        server(BULK, BULK)
    )
}

fn haproxy(real: Ipv4Addr) -> String {
    let proxy = |name: &str, from: u16, to: u16| {
        format!("listen {name}\n  bind {VIP4}:{from} backlog 4096\n  server real {real}:{to}\n")
    };
    format!(
        "global\n  maxconn 4096\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n{}{}",
        proxy("web", 80, nginx::PORT),
        proxy("bulk", BULK, BULK)
    )
}
