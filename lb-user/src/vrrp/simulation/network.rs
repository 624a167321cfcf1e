//! The network of the simulation: what becomes of an advertisement between two nodes.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use super::Rng;
use crate::vrrp::advert::Advert;

/// How one direction between two nodes loses packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Loss {
    None,
    /// Each packet alone, in percent.
    Independent(u64),
    /// Gilbert and Elliott: percent to begin a burst, percent to end it.
    Bursty(u64, u64),
    /// Nothing arrives.
    Cut,
}

#[derive(Clone, Copy, Debug)]
struct Direction {
    loss: Loss,
    in_burst: bool,
}

/// An advertisement on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    at: Instant,
    number: u64,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) link: usize,
    pub(super) advert: Advert,
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Delivery {}

impl PartialOrd for Delivery {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delivery {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Full mesh of `nodes` nodes on `links` links.
pub(super) struct Network {
    nodes: usize,
    directions: Vec<Direction>,
    in_flight: BinaryHeap<Reverse<Delivery>>,
    sent: u64,
    /// No packet takes longer.
    pub(super) delay: Duration,
    /// Percent of packets that arrive twice.
    pub(super) doubled: u64,
}

impl Network {
    pub(super) fn new(nodes: usize, links: usize, delay: Duration) -> Self {
        let good = Direction { loss: Loss::None, in_burst: false };
        let directions = vec![good; nodes * nodes * links];
        Self { nodes, directions, in_flight: BinaryHeap::new(), sent: 0, delay, doubled: 0 }
    }

    pub(super) fn set(&mut self, link: usize, from: usize, to: usize, loss: Loss) {
        *self.direction(link, from, to) = Direction { loss, in_burst: false };
    }

    pub(super) fn heal(&mut self) {
        self.directions.fill(Direction { loss: Loss::None, in_burst: false });
        self.doubled = 0;
    }

    fn direction(&mut self, link: usize, from: usize, to: usize) -> &mut Direction {
        &mut self.directions[(link * self.nodes + from) * self.nodes + to]
    }

    /// Sends to one node; says whether it will arrive.
    pub(super) fn send(
        &mut self,
        (link, from, to): (usize, usize, usize),
        advert: Advert,
        now: Instant,
        rng: &mut Rng,
    ) -> bool {
        let direction = self.direction(link, from, to);
        let lost = match direction.loss {
            Loss::None => false,
            Loss::Cut => true,
            Loss::Independent(percent) => rng.chance(percent),
            Loss::Bursty(begin, end) => {
                direction.in_burst = if direction.in_burst { !rng.chance(end) } else { rng.chance(begin) };
                direction.in_burst
            }
        };
        if lost {
            return false;
        }
        let copies = if self.doubled > 0 && rng.chance(self.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            self.sent += 1;
            let at = now + rng.up_to(self.delay);
            self.in_flight.push(Reverse(Delivery { at, number: self.sent, from, to, link, advert }));
        }
        true
    }

    /// When the next packet arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse(delivery)| delivery.at)
    }

    pub(super) fn arrive(&mut self, now: Instant) -> Option<Delivery> {
        self.next_arrival().filter(|at| *at <= now)?;
        self.in_flight.pop().map(|Reverse(delivery)| delivery)
    }
}
