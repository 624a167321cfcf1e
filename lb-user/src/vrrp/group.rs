//! A sync group: virtual routers that move together, with one election. An instance alone is a group of one.

use std::{net::IpAddr, time::Instant};

use crate::{
    config::vrrp::Priority,
    vrrp::{
        advert::Advert,
        router::{Action, Event, Router, Settings},
        state::State,
    },
};

/// The members of a sync group, in the order of the configuration.
#[derive(Clone, Debug)]
pub struct Group {
    members: Vec<Member>,
    started: bool,
    faulty: bool,
}

#[derive(Clone, Debug)]
struct Member {
    router: Router,
    tie: Option<Tie>,
}

/// Another master of the same priority is heard.
#[derive(Clone, Copy, Debug)]
struct Tie {
    since: Instant,
    until: Instant,
}

impl Group {
    /// All members in [`State::Init`].
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Settings>) -> Self {
        let member = |settings| Member { router: Router::new(settings), tie: None };
        Self { members: members.into_iter().map(member).collect(), started: false, faulty: false }
    }

    /// The members, in the order of the configuration.
    pub fn routers(&self) -> impl Iterator<Item = &Router> {
        self.members.iter().map(|member| &member.router)
    }

    /// The data plane is attached, the configuration applied, every tracker known.
    pub fn start(&mut self, now: Instant) {
        self.started = true;
        self.each(if self.faulty { Event::Fail } else { Event::Start }, now);
    }

    /// Gives up the role and ends.
    pub fn stop(&mut self, now: Instant) {
        self.started = false;
        self.each(Event::Stop, now);
    }

    /// Gives the role to a peer, which keeps it as long as it lives.
    pub fn hand_over(&mut self, now: Instant) {
        self.each(Event::HandOver, now);
    }

    /// Whether something that any member tracks without weight is down.
    pub fn set_faulty(&mut self, faulty: bool, now: Instant) {
        if self.faulty == faulty {
            return;
        }
        self.faulty = faulty;
        if self.started {
            self.each(if faulty { Event::Fail } else { Event::Clear }, now);
        }
    }

    /// The priority of a member after trackers.
    pub fn set_priority(&mut self, member: usize, priority: Priority) {
        if let Some(member) = self.members.get_mut(member) {
            member.router.set_priority(priority);
        }
    }

    /// Other settings for a member; its state stays.
    pub fn set(&mut self, member: usize, settings: Settings) {
        if let Some(member) = self.members.get_mut(member) {
            member.router.set(settings);
        }
    }

    /// A valid advertisement was heard by a member.
    ///
    /// Two groups of equal priority must not break their tie differently on two links, or both would give
    /// way: the first link decides, a later one only when the tie was not heard on an earlier one for an
    /// interval.
    pub fn on_advert(&mut self, member: usize, advert: &Advert, source: IpAddr, now: Instant) {
        let earlier = self.members.iter().take(member).any(|each| each.is_tied(now));
        let (first, index) = (member == 0, member);
        let Some(member) = self.members.get_mut(member) else { return };
        if member.router.ties_with(advert) {
            let since = member.tie(now);
            if !first && (earlier || now < since + advert.interval) {
                return;
            }
        }
        let was_master = member.router.state() == State::Master;
        member.router.step(Event::Heard(*advert, source), now);
        let contested =
            was_master && member.router.state() == State::Master && advert.priority != Priority::RESIGN;
        if contested {
            // After a split the links may heal one after the other, and the group of the other master gives way on all of
            // them at once: on a later one it is never heard.
            for (_, other) in self.members.iter_mut().enumerate().filter(|(other, _)| *other != index) {
                other.router.step(Event::Contested, now);
            }
        }
        self.settle(now);
    }

    /// When [`Group::on_deadline`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.members.iter().filter_map(|member| member.router.deadline()).min()
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, now: Instant) {
        for member in &mut self.members {
            member.router.on_deadline(now);
        }
        self.settle(now);
    }

    /// What a member has to do next.
    pub fn next_action(&mut self) -> Option<(usize, Action)> {
        let members = self.members.iter_mut().enumerate();
        members.filter_map(|(index, member)| Some((index, member.router.next_action()?))).next()
    }

    fn each(&mut self, event: Event, now: Instant) {
        for member in &mut self.members {
            member.router.step(event, now);
        }
        self.settle(now);
    }

    /// Masters are all members or none.
    fn settle(&mut self, now: Instant) {
        let masters = self.routers().filter(|router| router.state() == State::Master).count();
        let event = if masters > 0 && masters < self.members.len() {
            Event::Demoted
        } else if self.routers().all(Router::is_candidate) {
            Event::Elected
        } else {
            return;
        };
        for member in &mut self.members {
            member.router.step(event, now);
        }
    }
}

impl Member {
    fn is_tied(&self, now: Instant) -> bool {
        self.tie.is_some_and(|tie| now < tie.until)
    }

    /// Remembers that a tie was heard; returns since when.
    fn tie(&mut self, now: Instant) -> Instant {
        let since = self.tie.filter(|tie| now < tie.until).map_or(now, |tie| tie.since);
        self.tie = Some(Tie { since, until: now + self.router.master_down() });
        since
    }
}

#[cfg(test)]
mod tests;
