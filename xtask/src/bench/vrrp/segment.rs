//! Two nodes and a client on one switch.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::{Namespace, wait_until};

use super::capture::{Capture, Moment, Seen, What, now};
use super::frame::{Repeat, who_has};
use super::node::{Contender, Node, Setting};

/// The virtual router.
pub(super) const ROUTER: u8 = 51;
/// Of version 2: eight bytes.
pub(super) const PASSWORD: &[u8; 8] = b"a-secret";
/// The link address of who asks.
pub(super) const PROBER: [u8; 6] = [2, 0, 0, 0, 0, 99];
/// The client's address.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 9);

/// Between two questions who has the VIP.
const STEP: Duration = Duration::from_millis(5);
/// Silence of so many answers is an answer.
const SILENT: u32 = 20;
/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(30);
/// The nodes' ports of the switch.
const PORTS: [&str; 2] = ["first", "second"];

/// All of it is removed when it is dropped.
pub(super) struct Segment {
    pub(super) nodes: [Node; 2],
    pub(super) capture: Capture,
    pub(super) client: Namespace,
    switch: Namespace,
    vip: Ipv4Addr,
    _question: Repeat,
    _hosts: [Namespace; 2],
}

impl Segment {
    /// Starts a pair; the first node is the only owner of the last VIP, the second one a backup.
    pub(super) fn start(contender: (Contender, &Path), setting: Setting) -> Result<Self> {
        let switch = Namespace::create("switch")?;
        switch.ip("link add bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
        switch.ip("link set bridge up")?;
        let host = |role: &str, port: &str, address: Ipv4Addr| {
            let host = Namespace::create(role)?;
            host.ip(&format!("link add eth0 type veth peer name {port} netns {}", switch.name()))?;
            host.ip(&format!("address add {address}/24 dev eth0"))?;
            host.ip("link set eth0 up")?;
            switch.ip(&format!("link set {port} master bridge up"))?;
            anyhow::Ok(host)
        };
        let client = host("client", "client", CLIENT)?;
        let hosts = [
            host("node1", PORTS[0], [10, 99, 0, 1].into())?,
            host("node2", PORTS[1], [10, 99, 0, 2].into())?,
        ];
        let vip = setting.vips().next_back().context("no virtual address")?;
        let capture = Capture::start(&switch, PORTS)?;
        let question = Repeat::start(&client, who_has(vip), STEP)?;
        // It is certainly up and running when the first one takes the role from it.
        let second = Node::start(contender, &hosts[1], setting, 100)?;
        wait_until("the second node to own the VIP", PATIENCE, || owns(&capture.seen(), 1, vip))?;
        let first = Node::start(contender, &hosts[0], setting, 150)?;
        wait_until("the first node alone to own the VIP", PATIENCE, || owns(&capture.seen(), 0, vip))?;
        let owner_since = now();
        wait_until("the first node to advertise", PATIENCE, || {
            capture.seen().iter().filter(|seen| is_advert(seen, 0) && seen.at > owner_since).count() >= 2
        })?;
        Ok(Self { nodes: [first, second], capture, client, switch, vip, _question: question, _hosts: hosts })
    }

    /// Takes the cable of the first node out.
    pub(super) fn unplug(&self) -> Result<()> {
        self.switch.ip(&format!("link set {} down", PORTS[0])).map(drop)
    }

    /// Whether only this node has the last VIP, to all that can be seen.
    pub(super) fn is_owner(&self, node: usize) -> bool {
        owns(&self.capture.seen(), node, self.vip)
    }

    /// What was seen since then.
    pub(super) fn since(&self, since: Moment) -> Vec<Seen> {
        self.capture.seen().iter().filter(|seen| seen.at >= since).copied().collect()
    }
}

/// An advertisement of a node that does not resign.
pub(super) fn is_advert(seen: &Seen, node: usize) -> bool {
    seen.node == node && matches!(seen.what, What::Advert(1..))
}

fn owns(seen: &[Seen], node: usize, vip: Ipv4Addr) -> bool {
    let recent = now().saturating_sub(STEP * SILENT);
    let answers = |node| {
        let mut latest = seen.iter().rev().take_while(|seen| seen.at >= recent);
        latest.any(|seen| seen.node == node && seen.what == What::Answer(vip))
    };
    answers(node) && !answers(1 - node)
}
