//! Who forwards, and the ground it does it on.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_common::script::{Script, name};
use lb_tests::{Daemon, Namespace, Shape, Site, wait_until};

use crate::bench::host::{self, Interface};
use crate::bench::programs::Programs;

/// A way to forward packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    /// The product.
    Xlb,
    /// An XDP program that routes by the kernel's tables; no NAT.
    Router,
    /// The kernel's own routing; no NAT.
    Route,
    /// DNAT with conntrack.
    Nftables,
    /// An XDP program that looks at nothing: the floor.
    Redirect,
}

/// All of them, in the order they are shown.
pub(super) const CONTENDERS: [Contender; 5] =
    [Contender::Xlb, Contender::Router, Contender::Route, Contender::Nftables, Contender::Redirect];

impl Contender {
    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Xlb => "xlb",
            Self::Router => "XDP router (no NAT)",
            Self::Route => "kernel routing (no NAT)",
            Self::Nftables => "nftables DNAT",
            Self::Redirect => "XDP redirect (floor)",
        }
    }

    /// Where its packets go: to the VIP, or to the real server where nobody translates.
    pub(super) fn target(self) -> SocketAddr {
        match self {
            Self::Xlb | Self::Nftables => SocketAddr::from(([192, 0, 2, 10], 53)),
            Self::Router | Self::Route | Self::Redirect => SocketAddr::from(([10, 0, 0, 21], 5300)),
        }
    }
}

/// Client, balancer and what counts behind it.
pub(super) struct Ground {
    pub(super) contender: Contender,
    /// The balancer's interface to the client.
    pub(super) outside: Interface,
    site: Site,
    programs: Programs,
    /// Index of the balancer's interface to the sink.
    egress: u32,
    /// Index of the client's interface.
    wire: u32,
    /// Where the first packet handler's time is noted: the kernel's threads beside ours.
    helpers: Vec<(String, u32)>,
}

const RULES: &str = "table ip nat { chain prerouting { type nat hook prerouting priority dstnat; \
     ip daddr 192.0.2.10 udp dport 53 dnat to 10.0.0.21:5300; }; }";

/// Room for 100,000 UDP connections, which get a quarter.
const GLOBAL: &str = "max_connections = 1_000_000\n";

const VIRTUAL_SERVER: &str = "[[virtual_server]]\nname = \"dns\"\naddress = \"192.0.2.10:53\"\nprotocol = \"udp\"\n\
     real_server = [{ address = \"10.0.0.21:5300\" }]\n";

impl Ground {
    /// Makes one.
    pub(super) fn make(contender: Contender, program: &Path, object: &Path) -> Result<Self> {
        let site = Site::create(Shape { servers: 1, ..Shape::default() })?;
        host::know_everybody(&site)?;
        let mut programs = Programs::load(object)?;
        // The sink takes the place of the program that only lets frames arrive.
        site.switch.ip("link set balancer xdp off")?;
        attach(&mut programs, &site.switch, name::SINK, "balancer")?;
        for (name, value) in
            [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/outside/rp_filter", "0")]
        {
            site.balancer.sysctl(&format!("net/ipv4/{name}"), value)?;
        }
        match contender {
            Contender::Xlb => {
                let mut daemon = Daemon::start_with(&site, program, GLOBAL, VIRTUAL_SERVER)?;
                daemon.wait_all_up(Duration::from_secs(15))?;
                // It forwards without it, and nothing disturbs.
                daemon.process.kill()?;
            }
            Contender::Router => attach(&mut programs, &site.balancer, name::ROUTE, "outside")?,
            Contender::Redirect => attach(&mut programs, &site.balancer, name::REDIRECT, "outside")?,
            Contender::Route => receive_frames(&site.balancer)?,
            Contender::Nftables => {
                receive_frames(&site.balancer)?;
                lb_tests::process::run(site.balancer.command("nft").arg(RULES))?;
                site.balancer.sysctl("net/netfilter/nf_conntrack_udp_timeout", "600")?;
            }
        }
        Ok(Self {
            contender,
            outside: Interface::of(&site.balancer, "outside")?,
            egress: Interface::of(&site.balancer, "inside")?.index,
            wire: Interface::of(&site.client, "eth0")?.index,
            helpers: host::packet_threads()?,
            site,
            programs,
        })
    }

    /// Sends so many of the script's frames: the processor time of all that handled them, and how many did not arrive.
    pub(super) fn send(&mut self, script: &mut Script, frames: u32, burst: u32) -> Result<(Duration, u64)> {
        script.egress = self.egress;
        self.programs.follow(script)?;
        script.next = (script.next + frames) % script.count;
        let (programs, wire, helpers) = (&self.programs, self.wire, &self.helpers);
        self.site.client.inside(|| {
            let processor = host::stay_on_one_processor()?;
            let helper = helpers.iter().find(|(name, _)| *name == format!("ksoftirqd/{processor}"));
            let (_, helper) = helper.context("no kernel thread for packets")?;
            let (before, time_before) = (programs.arrived()?, host::processor_time(*helper)?);
            let own = programs.send(frames, burst, wire)?;
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
    balancer.run("ethtool", "-K outside gro on").map(drop)
}

fn attach(programs: &mut Programs, host: &Namespace, program: &str, interface: &str) -> Result<()> {
    host.inside(|| programs.attach(program, interface))?
}
