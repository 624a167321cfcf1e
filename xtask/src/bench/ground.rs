//! Who forwards, and the ground it does it on.
//!
//! A test run sends live frames into a veth; the balancer is at its other end and sends them out of another veth, at whose
//! far end a program counts and drops them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_common::script::{Script, name};
use lb_tests::{Daemon, Namespace, Shape, Site, process, wait_until};
use serde::{Deserialize, Serialize};

use super::frame::{Direction, Frames, Segment, pass};
use super::host::{self, Interface};
use super::programs::Programs;
use super::service::{self, Service};

/// Frames that are sent before their receiver is looked after: fewer than a veth has room for.
const BURST: u32 = 64;

/// A way to forward packets.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum Contender {
    /// The product.
    Xlb,
    /// An XDP program that routes by the kernel's tables; no NAT.
    Router,
    /// The kernel's own routing; no NAT.
    Route,
    /// DNAT with conntrack.
    Nftables,
    /// The same, with established connections in a flow table.
    Flowtable,
    /// NAT by IPVS.
    Ipvs,
    /// An XDP program that looks at nothing: the floor of those that forward.
    Redirect,
    /// An XDP program that counts and drops in the balancer's place: the floor of all.
    Sink,
}

impl Contender {
    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Xlb => "xlb",
            Self::Router => "XDP router (no NAT)",
            Self::Route => "kernel routing (no NAT)",
            Self::Nftables => "nftables DNAT",
            Self::Flowtable => "nftables DNAT, flow table",
            Self::Ipvs => "IPVS NAT",
            Self::Redirect => "XDP redirect (no NAT)",
            Self::Sink => "XDP drop",
        }
    }

    /// Whether it translates, and so has to know connections.
    pub(super) const fn translates(self) -> bool {
        match self {
            Self::Xlb | Self::Nftables | Self::Flowtable | Self::Ipvs => true,
            Self::Router | Self::Route | Self::Redirect | Self::Sink => false,
        }
    }

    /// Where a client's packets go: to the VIP, or to the real server where nobody translates.
    fn target(self, service: Service) -> SocketAddr {
        if self.translates() { service.vip() } else { service.server() }
    }
}

/// Client, balancer and what counts behind it.
pub(super) struct Ground {
    pub(super) contender: Contender,
    site: Site,
    programs: Programs,
    /// The balancer's interfaces.
    outside: Interface,
    inside: Interface,
    /// Their other ends: index of the client's interface, and of the switch's.
    client: u32,
    switch: u32,
    /// Where the first packet handler's time is noted: the kernel's threads beside ours.
    helpers: Vec<(String, u32)>,
}

impl Ground {
    /// Makes one; `connections` are xlb's room, of which UDP gets a quarter.
    pub(super) fn make(
        contender: Contender,
        program: &Path,
        object: &Path,
        connections: u32,
    ) -> Result<Self> {
        let site = Site::create(Shape { servers: 0, ..Shape::default() })?;
        host::know_everybody(&site)?;
        let mut programs = Programs::load(object)?;
        for (host, interface) in [(&site.switch, "balancer"), (&site.client, "eth0")] {
            // In the place of the program that only lets frames arrive.
            host.ip(&format!("link set {interface} xdp off"))?;
            attach(&mut programs, host, name::SINK, interface)?;
        }
        let balancer = &site.balancer;
        for (name, value) in
            [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/outside/rp_filter", "0")]
        {
            balancer.sysctl(&format!("net/ipv4/{name}"), value)?;
        }
        match contender {
            Contender::Xlb => {
                let global = format!("max_connections = {connections}\n");
                let mut daemon = Daemon::start_with(&site, program, &global, &service::xlb())?;
                daemon.wait_all_up(Duration::from_secs(60))?;
                // It forwards without it, and nothing disturbs.
                daemon.process.kill()?;
            }
            Contender::Router => attach(&mut programs, balancer, name::ROUTE, "outside")?,
            Contender::Redirect => attach(&mut programs, balancer, name::REDIRECT, "outside")?,
            Contender::Sink => attach(&mut programs, balancer, name::SINK, "outside")?,
            Contender::Route => receive_frames(balancer)?,
            Contender::Nftables | Contender::Flowtable => {
                receive_frames(balancer)?;
                process::run(balancer.command("nft").arg(service::nftables()))?;
                balancer.sysctl("net/netfilter/nf_conntrack_udp_timeout", "600")?;
                if contender == Contender::Flowtable {
                    process::run(balancer.command("nft").arg(service::FLOWTABLE))?;
                }
            }
            Contender::Ipvs => {
                receive_frames(balancer)?;
                // IPVS takes packets that are for this machine.
                balancer.ip(&format!("address add {}/32 dev lo", service::UDP.vip().ip()))?;
                for command in service::ipvs() {
                    balancer.run("ipvsadm", &command)?;
                }
            }
        }
        Ok(Self {
            contender,
            outside: Interface::of(balancer, "outside")?,
            inside: Interface::of(balancer, "inside")?,
            client: Interface::of(&site.client, "eth0")?.index,
            switch: Interface::of(&site.switch, "balancer")?.index,
            helpers: host::packet_threads()?,
            site,
            programs,
        })
    }

    /// Frames between the clients and a service, as they come to this balancer.
    pub(super) fn frames(&self, service: Service, direction: Direction, segment: Segment) -> Frames {
        let neighbour = [2, 0, 0, 0, 0, 99];
        let (interface, peer) = match direction {
            Direction::Request => (self.outside, self.contender.target(service)),
            Direction::Reply => (self.inside, service.server()),
        };
        Frames { link: (neighbour, interface.mac), peer, direction, segment }
    }

    /// Sends so many of the script's frames, which go this way: the processor time of all that handled them, and how many
    /// did not arrive.
    pub(super) fn send(
        &mut self,
        direction: Direction,
        script: &mut Script,
        frames: u32,
    ) -> Result<(Duration, u64)> {
        let (origin, wire, egress) = match direction {
            Direction::Request => (&self.site.client, self.client, self.inside),
            Direction::Reply => (&self.site.switch, self.switch, self.outside),
        };
        script.egress = egress.index;
        self.programs.follow(script)?;
        pass(script, frames)?;
        let (programs, helpers) = (&self.programs, &self.helpers);
        origin.inside(|| {
            let processor = host::stay_on_one_processor()?;
            let helper = helpers.iter().find(|(name, _)| *name == format!("ksoftirqd/{processor}"));
            let (_, helper) = helper.context("no kernel thread for packets")?;
            let (before, time_before) = (programs.arrived()?, host::processor_time(*helper)?);
            let own = programs.send(frames, BURST, wire)?;
            let arrived = || programs.arrived().map_or(0, |now| now - before);
            // What is still under way comes; what is lost does not.
            let _ = wait_until("frames under way", Duration::from_millis(200), || arrived() >= frames.into());
            let helped = host::processor_time(*helper)? - time_before;
            Ok((own + Duration::from_nanos(helped), u64::from(frames).saturating_sub(arrived())))
        })?
    }
}

/// A veth without an XDP program takes frames from one only with GRO.
fn receive_frames(balancer: &Namespace) -> Result<()> {
    for interface in ["outside", "inside"] {
        balancer.run("ethtool", &format!("-K {interface} gro on"))?;
    }
    Ok(())
}

fn attach(programs: &mut Programs, host: &Namespace, program: &str, interface: &str) -> Result<()> {
    host.inside(|| programs.attach(program, interface))?
}
