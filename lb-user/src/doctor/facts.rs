//! What [`super::examine`] looks at, and how it is found out. Nothing is changed.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use aya::programs::loaded_programs;

use crate::{
    config::model::{Config, SysctlPolicy, XdpMode},
    dataplane::{load, pins},
    host::{
        links::{Link, links},
        reach::{Reach, reach},
        sysctl::{Change, Needs, Sysctls},
    },
};

/// What is known of this machine and of what it is meant to do.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Release of the kernel, such as `6.1.0-18-amd64`.
    pub kernel: String,
    /// Whether the kernel has type information.
    pub btf: bool,
    /// Whether this process may load the program.
    pub permitted: bool,
    /// Where maps are pinned.
    pub bpffs: Bpffs,
    /// How the program is to be attached.
    pub xdp_mode: XdpMode,
    /// Those of the configuration, in its order.
    pub interfaces: Vec<Interface>,
    /// What is done about sysctls.
    pub sysctl_policy: SysctlPolicy,
    /// Those that are not as they should be.
    pub sysctls: Vec<Change>,
    /// Those of the configuration, each address once.
    pub real_servers: Vec<RealServer>,
}

/// The file system that maps are pinned in.
#[derive(Clone, Debug)]
pub struct Bpffs {
    /// The pin directory.
    pub pin_dir: PathBuf,
    /// It is on a BPF file system.
    pub mounted: bool,
    /// It is where the daemon mounts one by itself.
    pub usual: bool,
}

/// An interface of the configuration.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What the kernel says; none when it is not there, or no Ethernet interface.
    pub link: Option<Link>,
    /// Name of the XDP program on it; none without one, and when the kernel does not tell.
    pub program: Option<String>,
    /// The value that counts: the higher one of its own and that of all.
    pub rp_filter: Option<u8>,
}

/// A real server of the configuration.
#[derive(Clone, Debug)]
pub struct RealServer {
    /// Virtual server and name, such as `web/web1`.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// How it is reached.
    pub reach: Reach,
}

impl Facts {
    /// Of this machine, in this network namespace.
    ///
    /// # Errors
    ///
    /// When the kernel does not answer where it always does.
    pub async fn collect(config: &Config) -> anyhow::Result<Self> {
        let global = &config.global;
        let mut interfaces = Vec::new();
        for name in &global.interfaces {
            // One by one: some may not be there.
            let link =
                links(std::slice::from_ref(name)).await.ok().and_then(|links| links.into_iter().next());
            let program = link.as_ref().and_then(|link| link.xdp).and_then(|xdp| program(xdp.program_id));
            interfaces.push(Interface { name: name.clone(), link, program, rp_filter: rp_filter(name) });
        }
        let present =
            interfaces.iter().filter(|one| one.link.is_some()).map(|one| one.name.clone()).collect();
        let mut needs = Needs { interfaces: present, ..Needs::of(config) };
        needs.beneath.retain(|name| Path::new("/proc/sys/net/ipv4/conf").join(name).exists());
        Ok(Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            permitted: load::ensure_permitted().is_ok(),
            bpffs: Bpffs {
                pin_dir: global.pin_dir.clone(),
                mounted: pins::is_on_bpffs(&global.pin_dir),
                usual: global.pin_dir.starts_with(pins::USUAL),
            },
            xdp_mode: global.xdp_mode,
            interfaces,
            sysctl_policy: global.sysctl,
            sysctls: Sysctls::new(&global.state_dir).check(&needs).changes,
            real_servers: real_servers(config).await?,
        })
    }
}

fn program(id: u32) -> Option<String> {
    let mut programs = loaded_programs().flatten();
    programs.find(|program| program.id() == id)?.name_as_str().map(str::to_owned)
}

/// The kernel goes by the higher one of the interface's own value and that of all (ip-sysctl.rst).
fn rp_filter(interface: &str) -> Option<u8> {
    let read = |whose: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{whose}/rp_filter")).ok()?;
        text.trim().parse::<u8>().ok()
    };
    read(interface).max(read("all"))
}

async fn real_servers(config: &Config) -> anyhow::Result<Vec<RealServer>> {
    let mut named: Vec<(String, IpAddr)> = Vec::new();
    for server in &config.virtual_servers {
        for real in &server.real_servers {
            let address = real.address.ip();
            if !named.iter().any(|(_, other)| *other == address) {
                named.push((format!("{}/{}", server.name, real.name), address));
            }
        }
    }
    let addresses: Vec<IpAddr> = named.iter().map(|(_, address)| *address).collect();
    let reached = reach(&addresses).await?;
    let server = |((name, address), reach)| RealServer { name, address, reach };
    Ok(named.into_iter().zip(reached).map(server).collect())
}
