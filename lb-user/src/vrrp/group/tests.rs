//! Two members on two links: all are masters or none is.

use std::time::Duration;

use super::*;
use crate::config::vrrp::{Announce, Version};

const SECOND: Duration = Duration::from_secs(1);

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "any beginning will do")]
    Instant::now()
}

fn group(sources: [[u8; 4]; 2], now: Instant) -> Group {
    let mut group = Group::new(sources.map(|source| Settings {
        priority: Priority(100),
        interval: SECOND,
        version: Version::V3,
        source: source.into(),
        preempt: true,
        preempt_delay: Duration::ZERO,
        announce: Announce::default(),
    }));
    group.start(now);
    group
}

fn states(group: &Group) -> Vec<State> {
    group.routers().map(Router::state).collect()
}

fn advert(priority: u8) -> Advert {
    Advert { priority: Priority(priority), interval: SECOND }
}

fn pass(group: &mut Group, from: Instant, time: Duration) -> Instant {
    while let Some(due) = group.deadline().filter(|due| *due <= from + time) {
        group.on_deadline(due);
    }
    from + time
}

#[test]
fn a_member_alone_does_not_become_master() {
    let mut now = start();
    let mut group = group([[10, 0, 0, 2], [10, 1, 0, 2]], now);
    for _ in 0..20 {
        group.on_advert(1, &advert(200), [10, 1, 0, 1].into(), now);
        now = pass(&mut group, now, SECOND);
    }
    assert_eq!(states(&group), [State::Backup; 2]);
    pass(&mut group, now, SECOND * 5);
    assert_eq!(states(&group), [State::Master; 2]);
}

#[test]
fn a_member_that_gives_way_takes_the_others_along() {
    let mut group = group([[10, 0, 0, 2], [10, 1, 0, 2]], start());
    let now = pass(&mut group, start(), SECOND * 5);
    while group.next_action().is_some() {}
    group.on_advert(1, &advert(200), [10, 1, 0, 1].into(), now);
    assert_eq!(states(&group), [State::Backup; 2]);
    let released = std::iter::from_fn(|| group.next_action()).filter(|(_, each)| *each == Action::Release);
    assert_eq!(released.map(|(member, _)| member).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn another_master_that_one_member_hears_makes_all_announce_again() {
    let mut group = group([[10, 0, 0, 2], [10, 1, 0, 2]], start());
    let now = pass(&mut group, start(), SECOND * 20);
    while group.next_action().is_some() {}
    let announced = |group: &mut Group| {
        let actions = std::iter::from_fn(|| group.next_action());
        actions.filter(|(_, each)| *each == Action::Announce).map(|(member, _)| member).collect::<Vec<_>>()
    };
    group.on_advert(0, &advert(50), [10, 0, 0, 1].into(), now);
    assert_eq!(announced(&mut group), [0, 1]);
    // Once more, for a link that was not whole yet.
    pass(&mut group, now, SECOND * 5);
    assert_eq!(announced(&mut group), [0, 1]);
}

#[test]
fn a_fault_of_one_is_a_fault_of_all() {
    let mut group = group([[10, 0, 0, 2], [10, 1, 0, 2]], start());
    let now = pass(&mut group, start(), SECOND * 5);
    group.set_faulty(true, now);
    assert_eq!(states(&group), [State::Fault; 2]);
}

#[test]
fn a_tie_heard_on_a_later_link_only_is_broken_there() {
    let began = start();
    let mut group = group([[10, 0, 0, 2], [10, 1, 0, 1]], began);
    let now = pass(&mut group, began, SECOND * 5);
    group.on_advert(1, &advert(100), [10, 1, 0, 2].into(), now);
    assert_eq!(states(&group), [State::Master; 2]);
    group.on_advert(1, &advert(100), [10, 1, 0, 2].into(), now + SECOND);
    assert_eq!(states(&group), [State::Backup; 2]);
}

#[test]
fn a_tie_that_the_links_would_break_differently_has_one_winner() {
    let began = start();
    let mut here = group([[10, 0, 0, 2], [10, 1, 0, 1]], began);
    let mut there = group([[10, 0, 0, 1], [10, 1, 0, 2]], began);
    let now = pass(&mut here, began, SECOND * 5);
    pass(&mut there, began, SECOND * 5);
    here.on_advert(1, &advert(100), [10, 1, 0, 2].into(), now);
    here.on_advert(0, &advert(100), [10, 0, 0, 1].into(), now);
    here.on_advert(1, &advert(100), [10, 1, 0, 2].into(), now + SECOND);
    there.on_advert(0, &advert(100), [10, 0, 0, 2].into(), now);
    assert_eq!(states(&here), [State::Master; 2]);
    assert_eq!(states(&there), [State::Backup; 2]);
}
