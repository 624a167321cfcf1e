//! The table of half-open connections on the host: the same sets, of which only those are there that were written.

use std::{cell::RefCell, collections::BTreeMap};

use lb_common::{
    addr::Address,
    connection::{ConnectionKey, HalfOpen},
    half_open::{Head, Placement, Seal, Set, Slot, WAYS},
};

use crate::{
    half_open::set::{self, Ways},
    tables::Refused,
};

/// The table.
#[derive(Clone, Debug)]
pub struct HalfOpenTable<A> {
    /// Where keys belong.
    pub placement: Placement,
    sets: BTreeMap<u32, Set<A>>,
}

impl<A> Default for HalfOpenTable<A> {
    fn default() -> Self {
        let placement = Placement {
            last: 0x9e37_79b9_7f4a_7c15,
            secret: std::array::from_fn(|word| 0x9e37_79b1u32.wrapping_mul(word as u32 + 1)),
            sets: 1 << 12,
            reserved: 0,
        };
        Self { placement, sets: BTreeMap::new() }
    }
}

impl<A> HalfOpenTable<A> {
    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&ConnectionKey<A>, &HalfOpen<A>)> {
        self.sets.values().flat_map(|set| {
            let ways = set.seals.0.iter().zip(&set.slots).filter(|(seal, _)| !seal.is_vacant());
            ways.map(|(_, slot)| (&slot.key, &slot.half))
        })
    }

    /// What entries are looked up by.
    pub fn keys(&self) -> impl Iterator<Item = &ConnectionKey<A>> {
        self.iter().map(|(key, _)| key)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes those for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(&ConnectionKey<A>, &HalfOpen<A>) -> bool) {
        for set in self.sets.values_mut() {
            for (seal, slot) in set.seals.0.iter_mut().zip(&set.slots) {
                if !seal.is_vacant() && !keep(&slot.key, &slot.half) {
                    *seal = seal.vacated();
                }
            }
        }
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.sets.clear();
    }
}

impl<A: Address> HalfOpenTable<A> {
    /// The entry of `key`.
    #[must_use]
    pub fn get(&self, key: &ConnectionKey<A>) -> Option<HalfOpen<A>> {
        self.iter().find(|(at, _)| *at == key).map(|(_, half)| *half)
    }

    pub(super) fn read(&mut self, key: &ConnectionKey<A>, into: &mut HalfOpen<A>) -> bool {
        let place = self.placement.place(key);
        self.sets.get_mut(&place.set).is_some_and(|set| set::read(&Alone(set), place.tag, key, into))
    }

    pub(super) fn change(&mut self, key: &ConnectionKey<A>, change: impl FnOnce(&mut HalfOpen<A>)) {
        let place = self.placement.place(key);
        if let Some(set) = self.sets.get_mut(&place.set) {
            set::change(&mut Alone(set), place.tag, key, change);
        }
    }

    pub(super) fn insert(&mut self, key: &ConnectionKey<A>, entry: &HalfOpen<A>) -> Result<u32, Refused> {
        let place = self.placement.place(key);
        let set = self.sets.entry(place.set).or_insert_with(empty);
        insert(&mut Alone(set), place.tag, key, entry)
    }

    pub(super) fn remove(&mut self, key: &ConnectionKey<A>) {
        let place = self.placement.place(key);
        if let Some(set) = self.sets.get_mut(&place.set) {
            set::remove(&mut Alone(set), place.tag, key);
        }
    }
}

/// [`set::insert`] into one set.
pub(crate) fn insert<A: Address>(
    ways: &mut impl Ways<A>,
    tag: u32,
    key: &ConnectionKey<A>,
    half: &HalfOpen<A>,
) -> Result<u32, Refused> {
    let ways = RefCell::new(ways);
    let victim = || set::victim(|way| ways.borrow().seal(way), tag, half.last_used());
    set::insert(victim, |way| set::put(&mut **ways.borrow_mut(), way, tag, key, half))
}

/// A set of zeros, as a map begins with.
pub(crate) fn empty<A: Address>() -> Set<A> {
    let half = HalfOpen::unused();
    let key = half.connection.translated;
    Set { seals: Head::default(), slots: [Slot { key, half }; WAYS] }
}

/// A set that nobody else works on.
pub(crate) struct Alone<'a, A>(pub(crate) &'a mut Set<A>);

impl<A: Address> Ways<A> for Alone<'_, A> {
    fn seal(&self, way: usize) -> Seal {
        self.0.seals.0[way]
    }

    fn exchange(&mut self, way: usize, old: Seal, new: Seal) -> bool {
        let is_old = self.0.seals.0[way] == old;
        if is_old {
            self.0.seals.0[way] = new;
        }
        is_old
    }

    fn release(&mut self, way: usize, new: Seal) {
        self.0.seals.0[way] = new;
    }

    fn slot(&self, way: usize) -> &Slot<A> {
        &self.0.slots[way]
    }

    fn slot_mut(&mut self, way: usize) -> &mut Slot<A> {
        &mut self.0.slots[way]
    }

    fn settle(&self) {}

    fn is_of(&self, way: usize, key: &ConnectionKey<A>) -> bool {
        self.slot(way).key == *key
    }

    fn seek(&self, tag: u32) -> usize {
        set::seek(|way| self.seal(way), tag)
    }
}
