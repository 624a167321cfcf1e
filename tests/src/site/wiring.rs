//! Cables, addresses and routes of a site.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{Arms, Offload, Site};
use crate::Namespace;
use crate::xdp::{self, Verdict};

/// Puts client and balancer in their places; the switch has a bridge for the real servers.
pub(super) fn connect_balancer(site: &Site) -> Result<()> {
    site.switch.ip("link add br0 type bridge stp_state 0 forward_delay 0")?;
    site.switch.ip("link set br0 up")?;
    let inside = match site.shape.arms {
        Arms::Two => {
            cable((&site.balancer, "outside"), (&site.client, "eth0"))?;
            xdp::attach(&site.client, "eth0", Verdict::Pass, site.directory())?;
            plug(site, &site.balancer, "inside", "balancer")?;
            "inside"
        }
        Arms::One => {
            plug(site, &site.balancer, "outside", "balancer")?;
            plug(site, &site.client, "eth0", "client")?;
            "outside"
        }
    };
    // What the balancer's XDP program sends has to arrive.
    xdp::attach(&site.switch, "balancer", Verdict::Pass, site.directory())?;
    address(&site.balancer, "outside", "198.51.100.1/24", "2001:db8:1::1/64")?;
    address(&site.balancer, inside, "10.0.0.1/24", "2001:db8:2::1/64")?;
    address(&site.client, "eth0", "198.51.100.2/24", "2001:db8:1::2/64")?;
    settle(&site.client, site.shape.offload, "198.51.100.1", "2001:db8:1::1")?;
    // New connections for each request would find their ports used up by those that wait out their time.
    site.client.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
    site.client.sysctl("net/ipv4/tcp_max_tw_buckets", "64")
}

/// Puts a real server on the switch; the balancer is its way out.
pub(super) fn connect_server(site: &Site, server: &Namespace, number: u8) -> Result<(Ipv4Addr, Ipv6Addr)> {
    let v4 = Ipv4Addr::new(10, 0, 0, 10 + number);
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10 + u16::from(number));
    plug(site, server, "eth0", &format!("web{number}"))?;
    address(server, "eth0", &format!("{v4}/24"), &format!("{v6}/64"))?;
    settle(server, site.shape.offload, "10.0.0.1", "2001:db8:2::1")?;
    Ok((v4, v6))
}

/// A cable from a host to a port of the switch.
fn plug(site: &Site, host: &Namespace, interface: &str, port: &str) -> Result<()> {
    cable((host, interface), (&site.switch, port))?;
    site.switch.ip(&format!("link set {port} master br0"))?;
    Ok(())
}

/// A cable between two hosts: a pair of veth interfaces, both up.
fn cable((a, a_name): (&Namespace, &str), (b, b_name): (&Namespace, &str)) -> Result<()> {
    a.ip(&format!("link add {a_name} type veth peer name {b_name} netns {}", b.name()))?;
    for (host, name) in [(a, a_name), (b, b_name)] {
        host.ip(&format!("link set {name} up"))?;
    }
    Ok(())
}

fn address(host: &Namespace, interface: &str, v4: &str, v6: &str) -> Result<()> {
    host.ip(&format!("address add {v4} dev {interface}"))?;
    host.ip(&format!("address add {v6} dev {interface} nodad"))?;
    Ok(())
}

/// Routes of an ordinary host, and its interface's offloads.
fn settle(host: &Namespace, offload: Offload, gateway4: &str, gateway6: &str) -> Result<()> {
    host.ip(&format!("route add default via {gateway4}"))?;
    host.ip(&format!("-6 route add default via {gateway6}"))?;
    if offload == Offload::Off {
        host.run("ethtool", "-K eth0 tx off tso off gso off")?;
    }
    Ok(())
}
