//! The nodes of the simulation, what befalls them, and what must hold all the same.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use super::{
    Rng,
    network::{Delivery, Loss, Network},
};
use crate::{
    config::vrrp::{Announce, Priority, Version},
    vrrp::{
        advert::Advert,
        group::Group,
        router::{Action, Settings},
        state::State,
    },
};

/// Troubles before the world is left in peace.
const TROUBLES: u32 = 12;
/// Peace, in intervals: a master-down time, and long enough to see that nothing moves any more.
const PEACE: u32 = 40;
/// A master-down time is less than this many intervals.
const MASTER_DOWN: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Process {
    Runs,
    /// Gets nothing done until then; what arrives waits.
    Hangs(Instant),
    Dead,
}

struct Node {
    group: Group,
    settings: Vec<Settings>,
    process: Process,
    /// Something it tracks is down.
    faulty: bool,
    waiting: Vec<Delivery>,
    /// By member: whether it has the addresses.
    holds: Vec<bool>,
    /// Of the first member, for the limit on its rate.
    sent: [Option<Instant>; 4],
}

impl Node {
    fn can_be_master(&self) -> bool {
        self.process == Process::Runs && !self.faulty
    }

    fn is_master(&self) -> bool {
        self.process == Process::Runs && self.group.routers().any(|router| router.state() == State::Master)
    }
}

pub(super) struct World {
    seed: u64,
    rng: Rng,
    now: Instant,
    interval: Duration,
    preempt: bool,
    nodes: Vec<Node>,
    network: Network,
    /// When something last went wrong anywhere.
    disturbed: Instant,
    /// Since when there is no master, or more than one.
    without: Instant,
    several: Option<Instant>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        #[expect(clippy::disallowed_methods, reason = "any beginning will do: all times are relative to it")]
        let now = Instant::now();
        let interval = rng.pick(&[100, 1000, 1000, 2000].map(Duration::from_millis));
        let nodes = rng.pick(&[2, 2, 3]);
        let links = rng.pick(&[1, 1, 2]);
        let preempt = rng.chance(70);
        let version =
            if interval < Duration::from_secs(1) || rng.chance(70) { Version::V3 } else { Version::V2 };
        let equal = rng.chance(30);
        let network = Network::new(nodes, links, interval / 20);
        let nodes = (0..nodes).map(|node| {
            let priority = if equal { 100 } else { 1 + u8::try_from(rng.below(254)).unwrap() };
            let settings: Vec<_> = (0..links)
                .map(|link| {
                    // On the second link the addresses are ordered the other way.
                    let host = if link == 0 { node } else { nodes - node };
                    Settings {
                        priority: Priority(priority),
                        interval,
                        version,
                        source: Ipv4Addr::from(0x0a00_0001 + u32::try_from((link << 8) + host).unwrap())
                            .into(),
                        preempt,
                        preempt_delay: Duration::ZERO,
                        announce: Announce::default(),
                    }
                })
                .collect();
            let mut group = Group::new(settings.iter().copied());
            group.start(now);
            let holds = vec![false; links];
            Node {
                group,
                settings,
                process: Process::Runs,
                faulty: false,
                waiting: vec![],
                holds,
                sent: [None; 4],
            }
        });
        let nodes = nodes.collect();
        Self {
            seed,
            rng,
            now,
            interval,
            preempt,
            nodes,
            network,
            disturbed: now,
            without: now,
            several: None,
        }
    }

    /// Trouble, then peace; returns how long it lasted.
    pub(super) fn run(mut self) -> Duration {
        let began = self.now;
        for _ in 0..TROUBLES {
            self.trouble();
            let pause = self.rng.up_to(self.interval * 10);
            self.pass(pause);
        }
        self.end_trouble();
        self.pass(self.interval * PEACE);
        self.now - began
    }

    fn trouble(&mut self) {
        self.disturbed = self.now;
        let count = self.nodes.len() as u64;
        let node = usize::try_from(self.rng.below(count)).unwrap();
        let other = (node + 1 + usize::try_from(self.rng.below(count - 1)).unwrap()) % self.nodes.len();
        let link = usize::try_from(self.rng.below(self.nodes[node].settings.len() as u64)).unwrap();
        match self.rng.below(9) {
            0 => self.network.set(link, node, other, Loss::Cut),
            1 => {
                for (from, to) in [(node, other), (other, node)] {
                    self.network.set(link, from, to, Loss::Cut);
                }
            }
            2 => {
                let percent = 1 + self.rng.below(80);
                self.network.set(link, node, other, Loss::Independent(percent));
            }
            3 => {
                let (begin, end) = (1 + self.rng.below(30), 5 + self.rng.below(50));
                self.network.set(link, node, other, Loss::Bursty(begin, end));
            }
            4 => self.network.doubled = self.rng.below(50),
            5 => self.nodes[node].process = Process::Dead,
            6 if self.nodes[node].process == Process::Runs => {
                let until = self.now + self.rng.up_to(self.interval * 12);
                self.nodes[node].process = Process::Hangs(until);
            }
            6 => {}
            7 => self.set_faulty(node, true),
            _ => self.end_trouble(),
        }
    }

    fn set_faulty(&mut self, index: usize, faulty: bool) {
        if self.nodes[index].process == Process::Runs {
            self.nodes[index].faulty = faulty;
            self.nodes[index].group.set_faulty(faulty, self.now);
            self.act(index);
        }
    }

    fn end_trouble(&mut self) {
        self.disturbed = self.now;
        self.network.heal();
        for index in 0..self.nodes.len() {
            self.set_faulty(index, false);
            let node = &mut self.nodes[index];
            match node.process {
                Process::Runs => {}
                Process::Dead => {
                    node.process = Process::Runs;
                    node.faulty = false;
                    node.group = Group::new(node.settings.iter().copied());
                    node.group.start(self.now);
                    node.waiting.clear();
                    // A dead process's addresses end with their lifetime.
                    node.holds.fill(false);
                    node.sent = [None; 4];
                }
                Process::Hangs(_) => {
                    self.wake(index);
                    self.set_faulty(index, false);
                }
            }
        }
        self.check();
    }

    /// What has waited is read before timers are looked at, as the driver does.
    fn wake(&mut self, index: usize) {
        self.disturbed = self.now;
        self.nodes[index].process = Process::Runs;
        for delivery in std::mem::take(&mut self.nodes[index].waiting) {
            self.hear(&delivery);
        }
        self.nodes[index].group.on_deadline(self.now);
        self.act(index);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, node)) = self.next_event().filter(|(at, _)| *at <= end) {
            self.now = at.max(self.now);
            match node {
                None => {
                    if let Some(delivery) = self.network.arrive(self.now) {
                        self.hear(&delivery);
                    }
                }
                Some(node) if matches!(self.nodes[node].process, Process::Hangs(_)) => self.wake(node),
                Some(node) => {
                    self.nodes[node].group.on_deadline(self.now);
                    self.act(node);
                }
            }
            self.check();
        }
        self.now = end;
    }

    /// The next thing to happen: a packet arrives, or a node has something to do.
    fn next_event(&self) -> Option<(Instant, Option<usize>)> {
        let timers = self.nodes.iter().enumerate().filter_map(|(index, node)| {
            let at = match node.process {
                Process::Runs => node.group.deadline()?,
                Process::Hangs(until) => until,
                Process::Dead => return None,
            };
            Some((at, Some(index)))
        });
        timers.chain(self.network.next_arrival().map(|at| (at, None))).min_by_key(|(at, _)| *at)
    }

    fn hear(&mut self, delivery: &Delivery) {
        let source = self.source(delivery);
        let node = &mut self.nodes[delivery.to];
        match node.process {
            Process::Runs => {
                node.group.on_advert(delivery.link, &delivery.advert, source, self.now);
                self.act(delivery.to);
            }
            Process::Hangs(_) => node.waiting.push(*delivery),
            Process::Dead => {}
        }
    }

    fn source(&self, delivery: &Delivery) -> IpAddr {
        self.nodes[delivery.from].settings[delivery.link].source
    }

    /// Does what a node's machine asks for.
    fn act(&mut self, index: usize) {
        while let Some((link, action)) = self.nodes[index].group.next_action() {
            let seed = self.seed;
            match action {
                Action::Advertise(priority) => self.send(link, index, priority),
                Action::Hold | Action::Release => {
                    let holds = action == Action::Hold;
                    let before = std::mem::replace(&mut self.nodes[index].holds[link], holds);
                    assert_ne!(before, holds, "seed {seed}: {action:?} twice");
                }
                Action::Entered(_) => {
                    assert!(!self.is_settled(), "seed {seed}: node {index} moves in peace");
                    self.nodes[index].sent = [None; 4];
                }
                Action::Announce => {}
            }
        }
        let node = &self.nodes[index];
        for (router, holds) in node.group.routers().zip(&node.holds) {
            let master = router.state() == State::Master;
            assert_eq!(master, *holds, "seed {}: masters and only masters have the addresses", self.seed);
            assert_eq!(master, node.is_master(), "seed {}: a group moves as a whole", self.seed);
        }
    }

    fn send(&mut self, link: usize, from: usize, priority: Priority) {
        if link == 0 && priority != Priority::RESIGN {
            let sent = &mut self.nodes[from].sent;
            let awake = sent[3].is_none_or(|last| self.now - last <= self.interval * 3);
            assert!(awake, "seed {}: a master that was silent for an election goes on", self.seed);
            sent.rotate_left(1);
            sent[3] = Some(self.now);
            let far = sent[0].is_none_or(|first| self.now - first >= self.interval);
            assert!(far, "seed {}: four advertisements in an interval", self.seed);
        }
        let advert = Advert { priority, interval: self.interval };
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            if !self.network.send((link, from, to), advert, self.now, &mut self.rng) {
                self.disturbed = self.now;
            }
        }
    }

    fn quiet(&self) -> Duration {
        let hanging = self.nodes.iter().any(|node| matches!(node.process, Process::Hangs(_)));
        if hanging { Duration::ZERO } else { self.now - self.disturbed }
    }

    /// Whether everything must have found its place.
    fn is_settled(&self) -> bool {
        self.quiet() > self.interval * (2 * MASTER_DOWN)
    }

    fn check(&mut self) {
        let seed = self.seed;
        let masters = self.nodes.iter().filter(|node| node.is_master()).count();
        let slack = self.network.delay * 2;
        if masters > 0 {
            self.without = self.now;
        }
        self.several = (masters > 1).then(|| self.several.unwrap_or(self.now));
        if let Some(since) = self.several {
            let lasted = (self.now - since).min(self.quiet());
            assert!(lasted <= self.interval + slack, "seed {seed}: {masters} masters for {lasted:?}");
        }
        if self.nodes.iter().any(Node::can_be_master) {
            let lasted = (self.now - self.without).min(self.quiet());
            assert!(lasted <= self.interval * MASTER_DOWN + slack, "seed {seed}: no master for {lasted:?}");
        }
        if self.preempt && self.is_settled() {
            let running = || self.nodes.iter().filter(|node| node.can_be_master());
            let best = running().map(|node| node.settings[0].priority).max();
            let master = running().find(|node| node.is_master()).map(|node| node.settings[0].priority);
            assert_eq!(master, best, "seed {seed}: not the best is master");
        }
    }
}
