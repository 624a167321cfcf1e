//! Numbers for keys: as small as can be, the same while the key is held, not given again before they are released.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
};

/// Who has which number.
#[derive(Clone, Debug)]
pub(super) struct Indices<K> {
    capacity: u32,
    numbers: HashMap<K, u32>,
    holders: BTreeMap<u32, Holder<K>>,
    /// Free numbers below `unused`.
    released: BTreeSet<u32>,
    /// From here on all are free.
    unused: u32,
}

#[derive(Clone, Debug)]
struct Holder<K> {
    key: K,
    leaving: bool,
}

impl<K: Clone + Eq + Hash> Indices<K> {
    /// Numbers below `capacity`, those of `held` taken and leaving.
    pub(super) fn restore(capacity: u32, held: impl IntoIterator<Item = (u32, K)>) -> Self {
        let holders: BTreeMap<_, _> =
            held.into_iter().map(|(index, key)| (index, Holder { key, leaving: true })).collect();
        let unused = holders.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        Self {
            capacity,
            numbers: holders.iter().map(|(index, holder)| (holder.key.clone(), *index)).collect(),
            released: (0..unused.min(capacity)).filter(|index| !holders.contains_key(index)).collect(),
            holders,
            unused,
        }
    }

    /// Takes every holder for leaving until it is held again.
    pub(super) fn leave_all(&mut self) {
        for holder in self.holders.values_mut() {
            holder.leaving = true;
        }
    }

    /// The number of `key`, a new one when it has none; none when all are taken.
    pub(super) fn hold(&mut self, key: K) -> Option<u32> {
        if let Some(&index) = self.numbers.get(&key) {
            if let Some(holder) = self.holders.get_mut(&index) {
                holder.leaving = false;
            }
            return Some(index);
        }
        let index = match self.released.pop_first() {
            Some(index) => index,
            None if self.unused < self.capacity => {
                self.unused += 1;
                self.unused - 1
            }
            None => return None,
        };
        self.numbers.insert(key.clone(), index);
        self.holders.insert(index, Holder { key, leaving: false });
        Some(index)
    }

    /// Frees a number whose holder is leaving; that of any other stays.
    pub(super) fn release(&mut self, index: u32) {
        if !self.is_leaving(index) {
            return;
        }
        let Some(holder) = self.holders.remove(&index) else { return };
        // A restored number may belong to a key that has a second one.
        if self.numbers.get(&holder.key) == Some(&index) {
            self.numbers.remove(&holder.key);
        }
        if index < self.capacity {
            self.released.insert(index);
        }
    }

    pub(super) fn is_leaving(&self, index: u32) -> bool {
        self.holders.get(&index).is_some_and(|holder| holder.leaving)
    }

    pub(super) fn number(&self, key: &K) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &K)> {
        self.holders.iter().map(|(index, holder)| (*index, &holder.key))
    }

    /// In ascending order.
    pub(super) fn leaving(&self) -> impl Iterator<Item = (u32, &K)> {
        let leaving = self.holders.iter().filter(|(_, holder)| holder.leaving);
        leaving.map(|(index, holder)| (*index, &holder.key))
    }

    pub(super) const fn capacity(&self) -> u32 {
        self.capacity
    }
}
