//! The virtual MAC address between two balancers: clients and real servers keep it through a takeover, the switch knows it at
//! the owner's port only, and nothing of it is left behind.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::cluster::{GATEWAY, GATEWAY6, VIP, VIP6};
use lb_tests::daemon::built_program;
use lb_tests::{Cluster, Daemon, Load, Namespace, Streams, process, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::given::PATIENCE;

/// Two virtual routers of a family: clients use the one, real servers the other.
#[derive(Clone, Copy)]
struct Routers {
    vip: IpAddr,
    gateway: IpAddr,
    /// MAC addresses, outside and inside.
    macs: [&'static str; 2],
    /// The device outside.
    device: &'static str,
}

const V4: Routers = Routers {
    vip: IpAddr::V4(VIP),
    gateway: IpAddr::V4(GATEWAY),
    macs: ["00:00:5e:00:01:33", "00:00:5e:00:01:34"],
    device: "vrrp.51",
};
const V6: Routers = Routers {
    vip: IpAddr::V6(VIP6),
    gateway: IpAddr::V6(GATEWAY6),
    macs: ["00:00:5e:00:02:33", "00:00:5e:00:02:34"],
    device: "vrrp6.51",
};

/// Another virtual address, of a network in which the balancers have no other one.
const APART: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);
const INTERVAL: Duration = Duration::from_millis(200);

struct Scene {
    routers: Routers,
    daemons: [Daemon; 2],
    cluster: Cluster,
}

/// A pool behind `vip`, and both elections with these keys.
fn configuration(
    cluster: &Cluster,
    number: usize,
    (routers, vip): (&Routers, IpAddr),
    keys: &str,
) -> Result<String> {
    let at = SocketAddr::new(vip, 80);
    let mut text = format!("[[virtual_server]]\nname = \"web\"\naddress = \"{at}\"\nscheduler = \"mh\"\n");
    text += "check = { type = \"tcp\", interval = \"1s\", fall = 60 }\nreal_server = [\n";
    for server in &cluster.servers {
        writeln!(text, "  {{ address = \"{}\" }},", server.address(vip))?;
    }
    text += "]\n";
    let elections = cluster.elections_with(number, INTERVAL, [routers.vip, routers.gateway], keys);
    text += &if vip == routers.vip {
        elections
    } else {
        elections.replace(&format!("\"{VIP}/24\""), &format!("\"{VIP}/24\", \"{vip}/24\""))
    };
    Ok(text)
}

impl Scene {
    /// Both daemons run, and the first is master. Clients use `vip`, beside which there is always that of the routers.
    fn set(routers: Routers, vip: IpAddr) -> Result<Self> {
        let cluster = Cluster::create(3)?;
        let start = |number: usize| {
            let text = configuration(&cluster, number, (&routers, vip), "use_vmac = true")?;
            Daemon::start_with(&cluster.balancers[number], &built_program()?, &cluster.global(), &text)
        };
        let daemons = [start(0)?, start(1)?];
        for daemon in &daemons {
            daemon.wait_all_up(PATIENCE)?;
        }
        let scene = Self { routers, daemons, cluster };
        scene.is_owned_by(0)?;
        Ok(scene)
    }

    /// Waits until the VIP is on one balancer's device and the switch finds its MAC address there.
    fn is_owned_by(&self, owner: usize) -> Result<()> {
        let port = self.cluster.port(owner, "outside");
        wait_until("one owner, known to the switch", PATIENCE, || {
            (0..2).all(|number| self.has_vip(number) == (number == owner))
                && self.learned(self.routers.macs[0]).is_ok_and(|ports| ports == [port.as_str()])
        })
        .with_context(|| format!("lb{}: {:?}", owner + 1, self.learned(self.routers.macs[0])))
    }

    fn host(&self, number: usize) -> &Namespace {
        &self.cluster.balancers[number].namespace
    }

    fn has_vip(&self, number: usize) -> bool {
        let Routers { vip, device, .. } = self.routers;
        self.host(number)
            .ip(&format!("address show dev {device}"))
            .is_ok_and(|text| text.contains(&format!("{vip}/")))
    }

    /// The ports of the switch at which it has seen a MAC address.
    fn learned(&self, mac: &str) -> Result<Vec<String>> {
        let text = self.cluster.switch.run("bridge", "-j fdb show br outside")?;
        let all: Vec<Value> = serde_json::from_str(&text)?;
        let of = all.into_iter().filter(|entry| entry["mac"] == mac);
        Ok(of.filter_map(|entry| entry["ifname"].as_str().map(str::to_owned)).collect())
    }

    /// The link address that a host has for a neighbour.
    fn neighbour(host: &Namespace, address: impl Into<IpAddr>) -> Result<String> {
        let text = host.ip(&format!("-j neigh show {}", address.into()))?;
        let all: Vec<Value> = serde_json::from_str(&text)?;
        Ok(all.first().and_then(|entry| entry["lladdr"].as_str()).unwrap_or_default().to_owned())
    }

    /// The client and the real servers have the virtual MAC addresses and no others.
    fn neighbours_are_right(&self) -> Result<()> {
        let Routers { vip, gateway, macs, .. } = self.routers;
        let client = Self::neighbour(&self.cluster.client, vip)?;
        ensure!(client == macs[0], "the client's entry for the VIP: {client}");
        let servers = self.cluster.servers.iter();
        let gateways: Vec<String> =
            servers.map(|server| Self::neighbour(&server.namespace, gateway)).collect::<Result<_>>()?;
        // One that this client was never sent to need not know it.
        let mut known = gateways.iter().filter(|mac| !mac.is_empty()).peekable();
        ensure!(known.peek().is_some() && known.all(|mac| mac == macs[1]), "the servers': {gateways:?}");
        Ok(())
    }

    /// How many packets of a node ended so.
    fn ended(&self, node: usize, outcome: &str) -> Result<u64> {
        let status = self.daemons[node].status()?;
        Ok(status["data_plane"]["outcomes"][outcome].as_u64().unwrap_or(0))
    }

    /// Whether a node has the device, and whether it is on.
    fn device(&self, node: usize) -> Option<bool> {
        let text = self.host(node).ip(&format!("-j link show {}", self.routers.device)).ok()?;
        let all: Vec<Value> = serde_json::from_str(&text).ok()?;
        Some(all.first()?["flags"].as_array()?.iter().any(|flag| flag == "UP"))
    }
}

#[test]
fn a_client_keeps_the_virtual_mac_address_through_takeovers_and_its_packets_stay_in_xdp() -> Result<()> {
    takeovers(V4, IpAddr::from([198, 51, 100, 200]))
}

#[test]
fn a_client_of_ipv6_keeps_it_too() -> Result<()> {
    takeovers(V6, IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x200]))
}

fn takeovers(routers: Routers, client: IpAddr) -> Result<()> {
    let mut scene = Scene::set(routers, routers.vip)?;
    let vip = SocketAddr::new(routers.vip, 80);
    let streams = Streams::start(&scene.cluster.client, &[client], vip, &scene.cluster.files())?;
    let load = Load::start(&scene.cluster.client, &[vip], 2)?;
    load.next(300, PATIENCE)?;
    scene.neighbours_are_right()?;
    ensure!(scene.device(0) == Some(true) && scene.device(1) == Some(false), "a standby's device is off");
    let forwarded = scene.ended(0, "forwarded")?;
    let before = load.answers().total();
    load.next(1000, PATIENCE)?;
    let requests = load.answers().total() - before;
    ensure!(
        scene.ended(0, "forwarded")? - forwarded >= 4 * requests,
        "not all of {requests} requests in XDP"
    );
    let shown: Value = serde_json::from_str(&scene.daemons[0].xlb(&["vrrp", "--json"])?)?;
    ensure!(shown[0]["virtual_mac"]["address"] == routers.macs[0], "{shown}");

    for (signal, left) in [(Signal::SIGKILL, true), (Signal::SIGTERM, false)] {
        let before = load.answers();
        scene.daemons[0].process.signal(signal)?;
        scene.is_owned_by(1)?;
        load.next(300, PATIENCE)?;
        scene.neighbours_are_right()?;
        ensure!(streams.go_on()? == 1, "after {signal} the download has ended");
        wait_until("the device", PATIENCE, || scene.device(0).is_some() == left)?;
        let Scene { daemons, cluster, .. } = &mut scene;
        wait_until("its end", PATIENCE, || !daemons[0].process.is_running())?;
        daemons[0].restart(&cluster.balancers[0])?;
        scene.is_owned_by(0)?;
        load.next(300, PATIENCE)?;
        scene.neighbours_are_right()?;
        ensure!(streams.go_on()? == 1, "after the return from {signal} the download has ended");
        wait_until("the standby's device to be off", PATIENCE, || scene.device(1) == Some(false))?;
        load.settle(PATIENCE)?;
        let since = load.answers().since(&before);
        eprintln!(
            "measured: {signal} and back: {} of {} requests failed",
            since.failures.len(),
            since.total()
        );
    }
    Ok(())
}

#[test]
fn a_client_in_a_network_of_the_virtual_address_alone_is_answered_from_xdp() -> Result<()> {
    let scene = Scene::set(V4, APART.into())?;
    scene.cluster.client.ip("address add 203.0.113.200/24 dev eth0")?;
    let load = Load::start(&scene.cluster.client, &[(APART, 80).into()], 2)?;
    load.next(300, PATIENCE)?;
    let route = scene.host(0).ip("route get 203.0.113.200")?;
    ensure!(route.contains("dev vrrp.51"), "the kernel's way leads through the device: {route}");
    ensure!(Scene::neighbour(&scene.cluster.client, APART)? == V4.macs[0]);
    let (forwarded, kernel) = (scene.ended(0, "forwarded")?, scene.ended(0, "kernel_route")?);
    let before = load.answers().total();
    load.next(1000, PATIENCE)?;
    let requests = load.answers().total() - before;
    ensure!(
        scene.ended(0, "forwarded")? - forwarded >= 4 * requests,
        "not all of {requests} requests in XDP"
    );
    ensure!(scene.ended(0, "kernel_route")? == kernel, "some went through the kernel");
    let failed = load.answers().failures;
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(())
}

#[test]
fn a_killed_daemons_device_is_removed_by_unload_and_a_foreign_one_is_refused() -> Result<()> {
    let mut scene = Scene::set(V4, V4.vip)?;
    scene.daemons[0].process.signal(Signal::SIGKILL)?;
    scene.is_owned_by(1)?;
    ensure!(scene.device(0) == Some(true), "what is killed leaves its device");
    let file = scene.cluster.balancers[0].directory().join("xlb.toml");
    let unload = scene.cluster.balancers[0].namespace.command(built_program()?);
    let mut unload = unload;
    let socket = scene.cluster.balancers[0].directory().join("none.sock");
    unload.arg("-s").arg(socket).args(["unload", "--yes", "-c"]).arg(&file);
    let said = process::run(&mut unload)?;
    ensure!(said.contains("- vrrp.51, the device of 00:00:5e:00:01:33"), "{said}");
    ensure!(scene.device(0).is_none());
    let arp = scene.host(0).run("cat", "/proc/sys/net/ipv4/conf/outside/arp_ignore")?;
    ensure!(arp.trim() == "0", "put back: {arp}");

    // Not with the virtual MAC address.
    scene.host(0).ip("link add vrrp.51 link outside type macvlan mode bridge")?;
    let Scene { daemons, cluster, .. } = &mut scene;
    let refused = daemons[0].restart(&cluster.balancers[0]).unwrap_err().to_string();
    ensure!(
        refused.contains("vrrp.51 is wanted for the virtual MAC address 00:00:5e:00:01:33 on outside"),
        "{refused}"
    );
    ensure!(scene.host(0).ip("link show vrrp.52").is_err(), "what was made is taken back");
    Ok(())
}

#[test]
fn a_reload_turns_it_off_and_on_again_and_nothing_is_reset() -> Result<()> {
    let scene = Scene::set(V4, V4.vip)?;
    let vip: SocketAddr = (VIP, 80).into();
    let sources = [Ipv4Addr::new(198, 51, 100, 200)];
    let streams = Streams::start(&scene.cluster.client, &sources, vip, &scene.cluster.files())?;
    let load = Load::start(&scene.cluster.client, &[vip], 2)?;
    load.next(300, PATIENCE)?;
    scene.neighbours_are_right()?;
    let cluster = &scene.cluster;
    let reload = |keys: &str| -> Result<()> {
        for (number, daemon) in scene.daemons.iter().enumerate().rev() {
            let text = configuration(cluster, number, (&V4, V4.vip), keys)?;
            daemon.configure(&cluster.balancers[number], &text)?;
            daemon.xlb(&["reload"])?;
        }
        Ok(())
    };
    let own = |interface: &str| -> Result<String> {
        let text = scene.host(0).ip(&format!("-j link show {interface}"))?;
        let all: Vec<Value> = serde_json::from_str(&text)?;
        Ok(all.first().and_then(|link| link["address"].as_str()).unwrap_or_default().to_owned())
    };

    reload("use_vmac = false")?;
    let mac = own("outside")?;
    wait_until("the interface's own address", PATIENCE, || {
        scene.device(0).is_none() && Scene::neighbour(&cluster.client, VIP).is_ok_and(|known| known == mac)
    })?;
    load.next(300, PATIENCE)?;
    ensure!(streams.go_on()? == 1, "without the virtual MAC address the download has ended");

    reload("use_vmac = true")?;
    wait_until("the virtual MAC address", PATIENCE, || {
        scene.device(0) == Some(true) && scene.neighbours_are_right().is_ok()
    })?;
    load.next(300, PATIENCE)?;
    ensure!(streams.go_on()? == 1, "with it again the download has ended");
    let failed = load.answers().failures;
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(())
}
