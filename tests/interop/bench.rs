//! A laboratory with both sides in it, and what is asked of it again and again.

use std::time::{Duration, Instant};

use crate::{
    capture::Capture,
    lab::{Host, Lab, holds, now, until},
    peers::{Flavour, Process, Role},
};

/// On a machine shared with other tests, everything may be a little late.
pub(crate) const LATE: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Keepalived,
}

impl Kind {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Ours => Self::Keepalived,
            Self::Keepalived => Self::Ours,
        }
    }
}

/// A laboratory with both sides, ours on host A.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) capture: Capture,
    pub(crate) flavour: Flavour,
}

impl Bench {
    pub(crate) fn new(flavour: Flavour) -> Self {
        let lab = Lab::new();
        let capture = Capture::start(&lab);
        Self { lab, capture, flavour }
    }

    pub(crate) fn host(kind: Kind) -> Host {
        if kind == Kind::Ours { Host::A } else { Host::B }
    }

    pub(crate) fn start(&self, kind: Kind, priority: u8, preempt: bool) -> Process {
        let role = Role { priority, preempt };
        match kind {
            Kind::Ours => Process::ours(&self.lab, Host::A, &self.flavour, role),
            Kind::Keepalived => Process::keepalived(&self.lab, Host::B, &self.flavour, role),
        }
    }

    /// Whether one side has all the addresses; half of them is neither.
    pub(crate) fn owns(&self, kind: Kind) -> bool {
        self.lab.has(Self::host(kind), &self.flavour.addresses()) == Some(true)
    }

    pub(crate) fn lacks(&self, kind: Kind) -> bool {
        self.lab.has(Self::host(kind), &self.flavour.addresses()) == Some(false)
    }

    pub(crate) fn until_owner(&self, kind: Kind) {
        until(&format!("{kind:?} alone has the address"), || self.owns(kind) && self.lacks(kind.other()));
    }

    /// From the last sign of life of the old master to the first of the new one.
    pub(crate) fn takeover(&self, from: Host, since: Instant) -> Duration {
        let first = || first_of(&self.capture.adverts(from.other(), since));
        until("the other advertises", || first().is_some());
        let began = self.capture.all().first().map_or(since, |seen| seen.at);
        let last =
            self.capture.adverts(from, began).into_iter().chain(self.capture.resignation(from, since)).max();
        first().unwrap() - last.unwrap()
    }

    /// Only one of them sends for a while, and neither has anything to say about the other.
    pub(crate) fn is_calm(&self, master: Kind, ours: &Process, keepalived: &Process) {
        // At 10 ms a busy peer is soon silent for as long as an election takes: it gets more than one try.
        let tries = if self.flavour.interval < Duration::from_millis(50) { 50 } else { 1 };
        let window = (self.flavour.interval * 4).max(Duration::from_millis(200));
        let other = Self::host(master).other();
        let calm = (0..tries).any(|_| {
            let since = now();
            holds(window, || self.owns(master) && self.lacks(master.other()))
                && self.capture.adverts(other, since).is_empty()
                && self.capture.adverts(other.other(), since).len() >= 2
        });
        assert!(calm, "not one owner and one sender");
        for status in ours.status() {
            assert_eq!(status["adverts"]["rejected"], serde_json::json!({}), "{status}");
            assert_eq!(status["adverts"]["failed"], 0, "{status}");
            for peer in status["peers"].as_object().unwrap().values() {
                assert_eq!(peer["mismatches"], serde_json::json!([]), "{status}");
            }
        }
        assert_eq!(keepalived.complaints(), Vec::<String>::new());
    }
}

pub(crate) fn first_of(times: &[Instant]) -> Option<Instant> {
    times.iter().min().copied()
}

pub(crate) fn report(flavour: &Flavour, what: &str, time: Duration) {
    println!("measured: {}, {what}: {time:.3?}", flavour.name);
}

impl Bench {
    /// Both are cut off from each other until both are masters, then meet again.
    pub(crate) fn capture_split(&self) {
        let switch = self.lab.switch();
        let isolate = |state: &str| {
            for host in [Host::A, Host::B] {
                let arguments =
                    ["-n", &switch, "link", "set", host.port(), "type", "bridge_slave", "isolated", state];
                assert!(std::process::Command::new("ip").args(arguments).status().unwrap().success());
            }
        };
        isolate("on");
        until("two masters", || self.owns(Kind::Ours) && self.owns(Kind::Keepalived));
        isolate("off");
    }
}

/// With a checksum over the message alone, as RFC 9568 has it.
pub(crate) fn whole(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes).ones_complement().to_be();
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}
