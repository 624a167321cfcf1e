use std::{cell::Cell, collections::BTreeMap, net::Ipv4Addr};

use lb_common::{
    addr::{Port, V4},
    connection::{ConnectionKey, HalfOpen},
    half_open::Set,
};
use proptest::prelude::*;

use super::{Seal, Slot, WAYS, Ways, change, flags, read, remove, seek};
use crate::{
    memory::half_open::{Alone, empty, insert},
    select::NONE,
    tables::Refused,
};

/// Each key has a tag of its own.
const fn tag(number: u16) -> u32 {
    number as u32 + 1
}

fn key(number: u16) -> ConnectionKey<V4> {
    ConnectionKey {
        source: V4::from(Ipv4Addr::new(198, 51, 100, 7)),
        destination: V4::from(Ipv4Addr::new(192, 0, 2, 10)),
        source_port: Port::new(number),
        destination_port: Port::new(80),
    }
}

/// A connection of this real server, last used at this time.
fn half(real_server: u32, now: u32) -> HalfOpen<V4> {
    let mut half = HalfOpen::unused();
    half.connection.real_server = real_server;
    half.connection.last_seen = now;
    half.answered = now;
    half
}

fn get(set: &mut Set<V4>, number: u16) -> Option<HalfOpen<V4>> {
    let mut half = HalfOpen::unused();
    read(&Alone(set), tag(number), &key(number), &mut half).then_some(half)
}

/// A set with a connection in every way, that of number 0 the oldest.
fn full() -> Set<V4> {
    let mut set = empty();
    for number in 0..WAYS as u16 {
        let half = half(number.into(), 100 + u32::from(number));
        assert_eq!(insert(&mut Alone(&mut set), tag(number), &key(number), &half), Ok(NONE));
    }
    set
}

#[test]
fn a_full_set_evicts_whoever_was_used_least_recently_and_says_whose_it_was() {
    let mut set = full();
    change(&mut Alone(&mut set), tag(0), &key(0), |half| half.connection.last_seen = 200);
    for (new, old) in (8..15).zip(1..8) {
        assert_eq!(insert(&mut Alone(&mut set), tag(new), &key(new), &half(new.into(), 200)), Ok(old));
        assert_eq!(get(&mut set, old as u16), None);
    }
    assert!(get(&mut set, 0).is_some());
    assert!((8..15).all(|number| get(&mut set, number) == Some(half(number.into(), 200))));
}

#[test]
fn what_is_removed_makes_room() {
    let mut set = full();
    remove(&mut Alone(&mut set), tag(5), &key(5));
    assert_eq!(get(&mut set, 5), None);
    assert_eq!(insert(&mut Alone(&mut set), tag(20), &key(20), &half(20, 300)), Ok(NONE));
    assert!([0, 1, 2, 3, 4, 6, 7, 20].into_iter().all(|number| get(&mut set, number).is_some()));
}

#[test]
fn an_answered_connection_outlasts_a_flood_of_syns() {
    let mut set = full();
    change(&mut Alone(&mut set), tag(0), &key(0), |half| half.reply_flags |= flags::SYN_ACK);
    for number in 100..200 {
        // The oldest of the seven other ways is seven ticks old.
        let now = 100 + u32::from(number) - 92;
        assert!(insert(&mut Alone(&mut set), tag(number), &key(number), &half(number.into(), now)).is_ok());
        assert_eq!(get(&mut set, 0).is_some(), now < 100 + 56, "after {} ticks", now - 100);
    }
}

#[test]
fn a_signpost_that_is_evicted_was_no_load() {
    let mut set = full();
    change(&mut Alone(&mut set), tag(0), &key(0), |half| half.connection.flags |= flags::REPLY);
    assert_eq!(insert(&mut Alone(&mut set), tag(8), &key(8), &half(8, 200)), Ok(NONE));
    assert_eq!(get(&mut set, 0), None);
}

#[test]
fn a_key_is_there_once() {
    let mut set = full();
    let before = get(&mut set, 3);
    assert_eq!(insert(&mut Alone(&mut set), tag(3), &key(3), &half(9, 300)), Err(Refused::Exists));
    assert_eq!(get(&mut set, 3), before);
}

#[test]
fn of_two_keys_with_one_tag_the_later_one_is_there() {
    let mut set = full();
    assert_eq!(insert(&mut Alone(&mut set), tag(5), &key(8), &half(8, 200)), Ok(5));
    assert_eq!(get(&mut set, 5), None);
    let mut found = HalfOpen::unused();
    assert!(read(&Alone(&mut set), tag(5), &key(8), &mut found));
    assert_eq!(found, half(8, 200));
    assert!((0..5).all(|number| get(&mut set, number).is_some()), "nobody else was evicted");
}

#[test]
fn what_somebody_writes_is_not_there_for_others_and_is_not_evicted() {
    let mut set = full();
    let claimed = set.seals.0[0].claimed(tag(0));
    set.seals.0[0] = claimed;
    assert_eq!(get(&mut set, 0), None);
    assert!(!change(&mut Alone(&mut set), tag(0), &key(0), |_| panic!("it is somebody else's")));
    remove(&mut Alone(&mut set), tag(0), &key(0));
    assert_eq!(set.seals.0[0], claimed);
    // It might become this key.
    assert_eq!(insert(&mut Alone(&mut set), tag(0), &key(8), &half(8, 200)), Err(Refused::Exists));
    assert_eq!(insert(&mut Alone(&mut set), tag(8), &key(8), &half(8, 200)), Ok(1));
    set.seals.0 = set.seals.0.map(|seal| Seal(seal.0 | 1));
    assert_eq!(insert(&mut Alone(&mut set), tag(9), &key(9), &half(9, 200)), Err(Refused::Full));
}

/// A set on which somebody else works at the same time.
struct Shared<'a> {
    set: &'a mut Set<V4>,
    /// A seal that turns up between reading an entry and looking at its seal again.
    settled: Cell<Option<(usize, Seal)>>,
    /// One that turns up just before a seal is exchanged.
    before: Option<(usize, Seal)>,
    /// One that turns up just after.
    after: Option<(usize, Seal)>,
    turned_up: Cell<[Option<Seal>; WAYS]>,
}

impl<'a> Shared<'a> {
    fn of(set: &'a mut Set<V4>) -> Self {
        Self { set, settled: Cell::default(), before: None, after: None, turned_up: Cell::default() }
    }
}

impl Ways<V4> for Shared<'_> {
    fn seal(&self, way: usize) -> Seal {
        self.turned_up.get()[way].unwrap_or(self.set.seals.0[way])
    }

    fn exchange(&mut self, way: usize, old: Seal, new: Seal) -> bool {
        if let Some((way, seal)) = self.before.take() {
            self.set.seals.0[way] = seal;
        }
        let exchanged = Alone(self.set).exchange(way, old, new);
        if let Some((way, seal)) = self.after.take() {
            self.set.seals.0[way] = seal;
        }
        exchanged
    }

    fn release(&mut self, way: usize, new: Seal) {
        self.set.seals.0[way] = new;
    }

    fn slot(&self, way: usize) -> &Slot<V4> {
        &self.set.slots[way]
    }

    fn slot_mut(&mut self, way: usize) -> &mut Slot<V4> {
        &mut self.set.slots[way]
    }

    fn settle(&self) {
        if let Some((way, seal)) = self.settled.take() {
            let mut seals = self.turned_up.get();
            seals[way] = Some(seal);
            self.turned_up.set(seals);
        }
    }

    fn is_of(&self, way: usize, key: &ConnectionKey<V4>) -> bool {
        self.slot(way).key == *key
    }

    fn seek(&self, tag: u32) -> usize {
        seek(|way| self.seal(way), tag)
    }
}

#[test]
fn an_entry_that_was_written_while_it_was_read_was_not_there() {
    let mut set = full();
    let seal = set.seals.0[2];
    let (claimed, changed) = (seal.claimed(tag(2)), seal.claimed(tag(2)).released(&half(2, 102)));
    for turns_up in [claimed, changed, seal.vacated()] {
        let shared = Shared::of(&mut set);
        shared.settled.set(Some((2, turns_up)));
        assert!(!read(&shared, tag(2), &key(2), &mut HalfOpen::unused()), "{turns_up:?}");
    }
    let shared = Shared::of(&mut set);
    shared.settled.set(Some((3, claimed)));
    assert!(read(&shared, tag(2), &key(2), &mut HalfOpen::unused()), "another way is nothing to it");
}

#[test]
fn a_change_is_made_to_what_was_found_or_not_at_all() {
    let mut set = full();
    let before = set.seals.0[2];
    // Somebody has changed it: it is found again and changed then.
    let mut shared = Shared::of(&mut set);
    shared.before = Some((2, before.claimed(tag(2)).released(&half(2, 102))));
    assert!(change(&mut shared, tag(2), &key(2), |half| half.server_sequence = 5));
    assert_eq!(get(&mut set, 2).unwrap().server_sequence, 5);
    // Somebody is writing it, and be it for another connection.
    let mut shared = Shared::of(&mut set);
    shared.before = Some((2, before.claimed(tag(50))));
    assert!(!change(&mut shared, tag(2), &key(2), |_| panic!("it is somebody else's")));
}

#[test]
fn of_two_who_add_the_same_key_not_both_succeed() {
    let mut set = full();
    let before = set.seals;
    let mut shared = Shared::of(&mut set);
    shared.after = Some((1, before.0[1].claimed(tag(8))));
    assert_eq!(insert(&mut shared, tag(8), &key(8), &half(8, 200)), Err(Refused::Exists));
    assert_eq!(set.seals.0[0], before.0[0], "what was to be evicted is as it was");
    assert_eq!(get(&mut set, 0), Some(half(0, 100)));
}

#[test]
fn who_does_not_get_a_way_takes_another() {
    let mut set = full();
    let mut shared = Shared::of(&mut set);
    shared.before = Some((0, shared.set.seals.0[0].claimed(tag(50))));
    assert_eq!(insert(&mut shared, tag(8), &key(8), &half(8, 200)), Ok(1));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u16),
    Change(u16),
    Remove(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0u16..12;
    prop_oneof![
        number.clone().prop_map(Step::Insert),
        number.clone().prop_map(Step::Change),
        number.prop_map(Step::Remove),
    ]
}

proptest! {
    /// A set is a map of eight entries that forgets the least recently used one.
    #[test]
    fn a_set_does_what_a_small_map_does(steps in prop::collection::vec(step(), 0..200)) {
        let mut set = empty();
        let mut model: BTreeMap<u16, HalfOpen<V4>> = BTreeMap::new();
        for (now, step) in (1000u32..).zip(steps) {
            match step {
                Step::Insert(number) => {
                    let new = half(number.into(), now);
                    let expected = if model.contains_key(&number) {
                        Err(Refused::Exists)
                    } else {
                        let oldest = model.iter().min_by_key(|(_, half)| half.last_used());
                        let evicted = oldest.filter(|_| model.len() == WAYS).map(|(number, _)| *number);
                        evicted.map(|number| model.remove(&number));
                        model.insert(number, new);
                        Ok(evicted.map_or(NONE, u32::from))
                    };
                    prop_assert_eq!(insert(&mut Alone(&mut set), tag(number), &key(number), &new), expected);
                }
                Step::Change(number) => {
                    let touch = |half: &mut HalfOpen<V4>| half.connection.last_seen = now;
                    let changed = change(&mut Alone(&mut set), tag(number), &key(number), touch);
                    prop_assert_eq!(changed, model.get_mut(&number).map(touch).is_some());
                }
                Step::Remove(number) => {
                    remove(&mut Alone(&mut set), tag(number), &key(number));
                    model.remove(&number);
                }
            }
            for number in 0..12 {
                prop_assert_eq!(get(&mut set, number), model.get(&number).copied());
            }
        }
    }
}
