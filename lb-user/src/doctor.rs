//! What this machine lacks for balancing, and what to do about it: every check is a pure function of collected facts.

pub mod facts;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::{
    config::model::{SysctlPolicy, XdpMode},
    dataplane::load::PROGRAM,
    host::{
        links::Mode,
        reach::{Neighbour, Reach, Way},
    },
};
use facts::{Bpffs, Facts, Interface, RealServer};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and something may surprise.
    Warn,
    /// Something does not work.
    Fail,
}

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at, such as `kernel` or the name of an interface.
    pub about: String,
    /// How it is.
    pub found: String,
    /// What to do; none where nothing is to be done.
    pub advice: Option<String>,
}

fn finding(
    level: Level,
    about: impl Into<String>,
    found: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding { level, about: about.into(), found: found.into(), advice: Some(advice.into()) }
}

fn ok(about: impl Into<String>, found: impl Into<String>) -> Finding {
    Finding { level: Level::Ok, about: about.into(), found: found.into(), advice: None }
}

/// All findings, in the order in which they are best put right.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![kernel(&facts.kernel), btf(facts.btf), permission(facts.permitted)];
    findings.push(bpffs(&facts.bpffs));
    for interface in &facts.interfaces {
        findings.extend(examine_interface(interface, facts.xdp_mode));
    }
    findings.extend(mtu(&facts.interfaces));
    findings.extend(sysctls(facts));
    for server in &facts.real_servers {
        findings.push(real_server(server, facts));
    }
    findings.extend(way_back(&facts.real_servers));
    findings
}

/// The oldest kernel that the program is tested on.
const OLDEST: (u32, u32) = (6, 1);

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = OLDEST;
    if version >= OLDEST {
        return ok("kernel", release);
    }
    finding(Level::Fail, "kernel", release, format!("boot Linux {major}.{minor} or newer"))
}

fn btf(is_there: bool) -> Finding {
    if is_there {
        return ok("btf", "/sys/kernel/btf/vmlinux");
    }
    finding(
        Level::Warn,
        "btf",
        "the kernel has no type information",
        "boot a kernel with CONFIG_DEBUG_INFO_BTF, as all distributions build it",
    )
}

fn permission(permitted: bool) -> Finding {
    if permitted {
        return ok("permission", "this user may load the program");
    }
    finding(
        Level::Fail,
        "permission",
        "this user may not load the program",
        "run as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_PERFMON",
    )
}

fn bpffs(bpffs: &Bpffs) -> Finding {
    let at = bpffs.pin_dir.display();
    match (bpffs.mounted, bpffs.usual) {
        (true, _) => ok("pin_dir", format!("{at} is on a BPF file system")),
        (false, true) => {
            ok("pin_dir", format!("{at} is on no BPF file system yet: `xlb run` mounts one at /sys/fs/bpf"))
        }
        (false, false) => finding(
            Level::Fail,
            "pin_dir",
            format!("{at} is not on a BPF file system"),
            "mount one above it with `mount -t bpf bpf DIRECTORY`, or leave global.pin_dir at its default",
        ),
    }
}

fn examine_interface(interface: &Interface, wanted: XdpMode) -> Vec<Finding> {
    let name = interface.name.as_str();
    let Some(link) = &interface.link else {
        let advice = "make it, or take it out of global.interfaces";
        return vec![finding(Level::Fail, name, "there is no such Ethernet interface", advice)];
    };
    let state = match link.up {
        true => ok(name, format!("up, MTU {}", link.mtu)),
        false => finding(
            Level::Fail,
            name,
            "down, or without a carrier",
            format!("`ip link set {name} up`, and look at its cable or its other end"),
        ),
    };
    let strict = (interface.rp_filter == Some(1)).then(|| {
        finding(
            Level::Warn,
            name,
            "rp_filter is strict: the kernel drops packets it would answer through another interface",
            format!(
                "`sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{name}.rp_filter=2`, \
                 unless all routes are symmetric"
            ),
        )
    });
    [Some(state), Some(program(interface, wanted)), strict].into_iter().flatten().collect()
}

/// Whose XDP program runs there, and how.
fn program(interface: &Interface, wanted: XdpMode) -> Finding {
    let name = interface.name.as_str();
    let Some(xdp) = interface.link.as_ref().and_then(|link| link.xdp) else {
        return ok(name, "no XDP program yet: `xlb run` attaches one, and `xlb status` says in which mode");
    };
    match (interface.program.as_deref(), xdp.mode) {
        (Some(PROGRAM), Mode::Native) => ok(name, "xlb runs in native mode"),
        (Some(PROGRAM), Mode::Generic) if wanted == XdpMode::Generic => {
            ok(name, "xlb runs in generic mode, as global.xdp_mode says")
        }
        (Some(PROGRAM), Mode::Generic) => finding(
            Level::Warn,
            name,
            "xlb runs in generic mode, which is slower",
            "its driver cannot do better, or not with these settings: look into the kernel's log, and at \
             `ethtool -l` and `ethtool -k` for queues and LRO",
        ),
        (other, _) => {
            let other = other.unwrap_or("of unknown name");
            finding(
                Level::Fail,
                name,
                format!("another XDP program is attached: {other}, number {}", xdp.program_id),
                format!("stop who has attached it, or `ip link set {name} xdp off`"),
            )
        }
    }
}

/// Packets that are too large for where they go are answered by us, or divided by the kernel.
fn mtu(interfaces: &[Interface]) -> Option<Finding> {
    let sizes = interfaces.iter().filter_map(|one| Some((one.link.as_ref()?.mtu, one.name.as_str())));
    let (smallest, largest) = (sizes.clone().min()?, sizes.max()?);
    (smallest.0 < largest.0).then(|| {
        finding(
            Level::Warn,
            "mtu",
            format!("{} takes {} bytes, {} takes {}", largest.1, largest.0, smallest.1, smallest.0),
            "give both the same MTU, or make sure that ICMP \"too big\" reaches everybody",
        )
    })
}

fn sysctls(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts
        .sysctls
        .iter()
        .map(|change| {
            let (name, to) = (&change.name, &change.to);
            let found = format!("{name} is {} and should be {to}", change.from);
            match facts.sysctl_policy {
                SysctlPolicy::Apply => finding(Level::Warn, "sysctl", found, "`xlb run` sets it"),
                SysctlPolicy::Check | SysctlPolicy::Off => finding(
                    Level::Fail,
                    "sysctl",
                    found,
                    format!("`sysctl -w {name}={to}`, or say sysctl = \"apply\" in [global]"),
                ),
            }
        })
        .collect();
    if findings.is_empty() {
        findings.push(ok("sysctl", "forwarding and binding are as they should be"));
    }
    findings
}

fn real_server(server: &RealServer, facts: &Facts) -> Finding {
    let (name, address) = (server.name.as_str(), server.address);
    let Way { interface, gateway, neighbour, .. } = match &server.reach {
        Reach::NoRoute => {
            return finding(Level::Fail, name, format!("there is no route to {address}"), "add one");
        }
        Reach::Local => {
            return finding(
                Level::Fail,
                name,
                format!("{address} is an address of this machine"),
                "name the real server's own address: what is forwarded does not come back to this machine",
            );
        }
        Reach::Through(way) => way,
    };
    let next = gateway.unwrap_or(address);
    let through = match gateway {
        Some(gateway) => format!("{address} by way of {gateway} on {interface}"),
        None => format!("{address} on {interface}"),
    };
    if !facts.interfaces.iter().any(|one| one.name == *interface) {
        return finding(
            Level::Fail,
            name,
            format!("{through}, which is not one of global.interfaces"),
            format!("add {interface} to global.interfaces, or mend the route"),
        );
    }
    match neighbour {
        Neighbour::Known => ok(name, through),
        Neighbour::NotAsked => ok(name, format!("{through}; nobody has asked for its link address lately")),
        Neighbour::Silent => finding(
            Level::Warn,
            name,
            format!("{through}, but {next} does not answer there"),
            format!("see whether it is up and on that link: `ip neigh show {next}`"),
        ),
    }
}

/// Replies have to pass through here too, and only the real servers know where they send them.
fn way_back(servers: &[RealServer]) -> Option<Finding> {
    let mut sources: Vec<String> = servers
        .iter()
        .filter_map(|server| match &server.reach {
            Reach::Through(way) => way.source.map(|source| source.to_string()),
            Reach::NoRoute | Reach::Local => None,
        })
        .collect();
    sources.sort();
    sources.dedup();
    (!sources.is_empty()).then(|| Finding {
        level: Level::Ok,
        about: "way back".to_owned(),
        found: "cannot be seen from here".to_owned(),
        advice: Some(format!(
            "on every real server `ip route get CLIENT` must lead to this machine ({}), or to an address that it shares",
            sources.join(", ")
        )),
    })
}
