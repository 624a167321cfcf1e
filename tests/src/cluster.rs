//! A cluster: two balancers, one of which owns the addresses that both can have, between a client and real servers.
//!
//! ```text
//!                   ┌── outside [lb1] inside ──┐
//! client ── switch ─┤                          ├─ switch ── web1, web2, ...
//!                   └── outside [lb2] inside ──┘
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::bpffs::Bpffs;
use crate::daemon::Place;
use crate::site::Server;
use crate::xdp::{self, Verdict};
use crate::{Namespace, nginx};

/// The address that clients use.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 100);
/// The real servers' gateway: an address of the balancer that owns [`VIP`].
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
/// The address that clients of IPv6 use.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100);
/// The real servers' gateway of IPv6: an address of the balancer that owns [`VIP6`].
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0xfe);

/// Interfaces of a balancer, each with its bridge of the switch.
const INTERFACES: [&str; 2] = ["outside", "inside"];

/// Client, balancers and real servers; all of it is removed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// Where the real servers are.
    pub servers: Vec<Server>,
    /// Where requests come from.
    pub client: Namespace,
    /// The first has the higher priority.
    pub balancers: [Balancer; 2],
    /// Both switches, as bridges of one host: `outside` and `inside`.
    pub switch: Namespace,
    directory: TempDir,
}

/// Where a daemon of a cluster runs.
#[derive(Debug)]
pub struct Balancer {
    /// `lb1` or `lb2`.
    pub name: String,
    /// The host.
    pub namespace: Namespace,
    number: u8,
    bpffs: Bpffs,
    directory: TempDir,
}

impl Cluster {
    /// Makes the namespaces, connects them, and starts the web servers.
    pub fn create(servers: u8) -> Result<Self> {
        let directory = temporary()?;
        let (client, switch) = (Namespace::create("client")?, Namespace::create("switch")?);
        for bridge in INTERFACES {
            switch
                .ip(&format!("link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"))?;
            switch.ip(&format!("link set {bridge} up"))?;
        }
        plug(&switch, "outside", (&client, "eth0"), "client")?;
        client.ip("address add 198.51.100.200/24 dev eth0")?;
        client.ip("address add 2001:db8:1::200/64 dev eth0 nodad")?;
        client.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        client.sysctl("net/ipv4/tcp_max_tw_buckets", "64")?;
        let balancers = [Balancer::create(&switch, 1)?, Balancer::create(&switch, 2)?];
        let mut cluster = Self { servers: Vec::new(), client, balancers, switch, directory };
        std::fs::create_dir_all(cluster.files())?;
        std::fs::write(cluster.secret(), "the same on both")?;
        for number in 1..=servers {
            cluster.add_server(number)?;
        }
        Ok(cluster)
    }

    fn add_server(&mut self, number: u8) -> Result<()> {
        let name = format!("web{number}");
        let namespace = Namespace::create(&name)?;
        let v4 = Ipv4Addr::new(10, 0, 0, 10 + number);
        plug(&self.switch, "inside", (&namespace, "eth0"), &name)?;
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 10 + u16::from(number));
        namespace.ip(&format!("address add {v4}/24 dev eth0"))?;
        namespace.ip(&format!("address add {v6}/64 dev eth0 nodad"))?;
        namespace.ip(&format!("route add default via {GATEWAY}"))?;
        namespace.ip(&format!("route add default via {GATEWAY6}"))?;
        let nginx = nginx::start(&namespace, &name, &self.directory.path().join(&name), &self.files())?;
        self.servers.push(Server { name, v4, v6, nginx, namespace });
        Ok(())
    }

    /// The directory whose files every web server serves under `/files/` and `/slow/`.
    pub fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// The port of a balancer's interface on its switch.
    pub fn port(&self, balancer: usize, interface: &str) -> String {
        port(&self.balancers[balancer].name, interface)
    }

    fn secret(&self) -> PathBuf {
        self.directory.path().join("secret")
    }

    /// Lines of `[global]` that both daemons need to choose alike.
    pub fn global(&self) -> String {
        format!("cluster_secret_file = {:?}", self.secret())
    }

    /// The elections of a balancer: both addresses move together.
    pub fn elections(&self, balancer: usize, interval: Duration) -> String {
        self.elections_with(balancer, interval, [VIP.into(), GATEWAY.into()], "")
    }

    /// The same of these addresses, the one outside and the one inside, with more keys in both instances.
    pub fn elections_with(
        &self,
        balancer: usize,
        interval: Duration,
        addresses: [IpAddr; 2],
        keys: &str,
    ) -> String {
        let priority = if balancer == 0 { 150 } else { 100 };
        let instances = [0, 1].map(|number| {
            let (name, id, address) = (INTERFACES[number], 51 + number, addresses[number]);
            let length = if address.is_ipv4() { 24 } else { 64 };
            format!(
                r#"[[vrrp_instance]]
name = "{name}"
interface = "{name}"
virtual_router_id = {id}
priority = {priority}
advert_interval = "{}ms"
virtual_ipaddress = ["{address}/{length}"]
{keys}
"#,
                interval.as_millis()
            )
        });
        format!(
            "{}\n[[vrrp_sync_group]]\nname = \"site\"\ngroup = [\"outside\", \"inside\"]\n",
            instances.join("\n")
        )
    }
}

impl Balancer {
    fn create(switch: &Namespace, number: u8) -> Result<Self> {
        let directory = temporary()?;
        let bpffs = Bpffs::mount(&directory.path().join("bpf"))?;
        let name = format!("lb{number}");
        let namespace = Namespace::create(&name)?;
        for (interface, v4, v6) in
            [("outside", "198.51.100", "2001:db8:1"), ("inside", "10.0.0", "2001:db8:2")]
        {
            let far = port(&name, interface);
            plug(switch, interface, (&namespace, interface), &far)?;
            namespace.ip(&format!("address add {v4}.{number}/24 dev {interface}"))?;
            namespace.ip(&format!("address add {v6}::{number}/64 dev {interface} nodad"))?;
            // What the balancer's XDP program sends has to arrive.
            xdp::attach(switch, &far, Verdict::Pass, directory.path())?;
        }
        Ok(Self { name, namespace, number, bpffs, directory })
    }

    /// Its own address on the switch outside.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 51, 100, self.number)
    }

    /// A directory for files of this balancer; its daemon's log is `xlb.log`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl<'a> From<&'a Balancer> for Place<'a> {
    fn from(balancer: &'a Balancer) -> Self {
        Self {
            host: &balancer.namespace,
            interfaces: &INTERFACES,
            bpffs: &balancer.bpffs,
            directory: balancer.directory(),
        }
    }
}

fn temporary() -> Result<TempDir> {
    TempDir::with_prefix(format!("xlb-{}-", std::process::id())).context("no temporary directory")
}

fn port(balancer: &str, interface: &str) -> String {
    format!("{balancer}-{interface}")
}

/// A cable from a host to a port of a bridge of the switch.
fn plug(switch: &Namespace, bridge: &str, (host, interface): (&Namespace, &str), port: &str) -> Result<()> {
    host.ip(&format!("link add {interface} type veth peer name {port} netns {}", switch.name()))?;
    host.ip(&format!("link set {interface} up"))?;
    switch.ip(&format!("link set {port} master {bridge} up"))?;
    Ok(())
}
