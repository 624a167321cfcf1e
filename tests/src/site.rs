//! A site: a client, a balancer and real servers, each a namespace, wired up and answering.
//!
//! ```text
//! two arms   client ── outside [balancer] inside ── switch ── web1, web2, ...
//! one arm    client ── switch ── outside [balancer]
//!                        └────── web1, web2, ...
//! ```

mod wiring;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::bpffs::Bpffs;
use crate::{Namespace, Process, nginx};

/// The address that clients use, IPv4; nobody has it, it is routed to the balancer.
pub const VIP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The address that clients use, IPv6.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);

/// How the balancer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    /// An interface to each side: `outside`, `inside`.
    Two,
    /// One interface, `outside`, with everyone on one switch.
    One,
}

/// Whether hosts leave checksums and segmentation to their interfaces, as they do by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Frames leave hosts with checksums to be filled in, several segments in one.
    On,
    /// Frames leave hosts as they are on a wire.
    Off,
}

/// What a site consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How the balancer is connected.
    pub arms: Arms,
    /// How many real servers there are, up to 200.
    pub servers: u8,
    /// What client and real servers leave to their interfaces.
    pub offload: Offload,
}

impl Default for Shape {
    fn default() -> Self {
        Self { arms: Arms::Two, servers: 3, offload: Offload::On }
    }
}

/// A real server: a namespace with a web server in it.
#[derive(Debug)]
pub struct Server {
    /// Its name, which its web server answers with.
    pub name: String,
    /// Its address, IPv4.
    pub v4: Ipv4Addr,
    /// Its address, IPv6.
    pub v6: Ipv6Addr,
    /// The web server.
    pub nginx: Process,
    /// The host.
    pub namespace: Namespace,
}

impl Server {
    /// Where its web server listens, as the configuration of a real server takes it.
    pub fn address(&self, vip: IpAddr) -> SocketAddr {
        match vip {
            IpAddr::V4(_) => SocketAddr::new(self.v4.into(), nginx::PORT),
            IpAddr::V6(_) => SocketAddr::new(self.v6.into(), nginx::PORT),
        }
    }
}

/// Client, balancer and real servers; all of it is removed when it is dropped.
#[derive(Debug)]
pub struct Site {
    /// Where the real servers are.
    pub servers: Vec<Server>,
    /// Where requests come from.
    pub client: Namespace,
    /// Where the daemon runs; its interfaces are `outside` and, with two arms, `inside`.
    pub balancer: Namespace,
    /// The bridge between them, `br0`.
    pub switch: Namespace,
    /// A BPF file system for this site's daemon.
    pub bpffs: Bpffs,
    shape: Shape,
    directory: TempDir,
}

impl Site {
    /// Makes the namespaces, connects them, and starts the web servers.
    pub fn create(shape: Shape) -> Result<Self> {
        let directory =
            TempDir::with_prefix(format!("xlb-{}-", std::process::id())).context("no temporary directory")?;
        let bpffs = Bpffs::mount(&directory.path().join("bpf"))?;
        let client = Namespace::create("client")?;
        let balancer = Namespace::create("balancer")?;
        let switch = Namespace::create("switch")?;
        let mut site = Self { servers: Vec::new(), client, balancer, switch, bpffs, shape, directory };
        wiring::connect_balancer(&site)?;
        let files = site.files();
        std::fs::create_dir_all(&files)?;
        for number in 1..=shape.servers {
            let name = format!("web{number}");
            let namespace = Namespace::create(&name)?;
            let (v4, v6) = wiring::connect_server(&site, &namespace, number)?;
            let nginx = nginx::start(&namespace, &name, &site.directory().join(&name), &files)?;
            site.servers.push(Server { name, v4, v6, nginx, namespace });
        }
        Ok(site)
    }

    /// The interfaces of the balancer.
    pub fn interfaces(&self) -> &'static [&'static str] {
        match self.shape.arms {
            Arms::Two => &["outside", "inside"],
            Arms::One => &["outside"],
        }
    }

    /// A directory for files of this site.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The directory whose files every web server serves under `/files/` and `/slow/`.
    pub fn files(&self) -> PathBuf {
        self.directory().join("files")
    }
}
