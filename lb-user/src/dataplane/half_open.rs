//! The table of half-open connections, read and thinned out through a mapping while the data plane works on it.
#![allow(unsafe_code, reason = "a part of the map adapter; see ARCHITECTURE.md")]

use std::{
    ffi::c_void,
    io,
    marker::PhantomData,
    num::NonZeroUsize,
    ops::ControlFlow,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use aya::{
    Pod,
    maps::{Array, IterableMap as _, MapData, MapError},
};
use lb_common::{
    addr::Address,
    connection::{ConnectionKey, HalfOpen},
    half_open::{Placement, Seal, Set, Slot, WAYS},
    layout::map,
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::{maps::open, pins::Pins};

/// The table of one family.
pub struct HalfOpenTable<A>
where
    Set<A>: Pod,
{
    sets: Array<MapData, Set<A>>,
    placement: Placement,
}

impl<A: Address> HalfOpenTable<A>
where
    Set<A>: Pod,
{
    /// Opens the one of this name.
    pub(super) fn open(pins: &Pins, name: &str) -> Result<Self, MapError> {
        let placement: Array<MapData, Placement> = open(pins, map::PLACEMENT)?;
        Ok(Self { sets: open(pins, name)?, placement: placement.get(&0, 0)? })
    }

    /// The entry of `key`; none while somebody writes it.
    #[must_use]
    pub fn get(&self, key: &ConnectionKey<A>) -> Option<HalfOpen<A>> {
        let place = self.placement.place(key);
        // The kernel copies a set while others write it: what has the same seal in a later copy was whole in the earlier one.
        let (set, later) = (self.sets.get(&place.set, 0).ok()?, self.sets.get(&place.set, 0).ok()?);
        let mut ways = set.seals.0.iter().zip(&set.slots).zip(&later.seals.0);
        let found = ways.find(|((seal, slot), _)| seal.holds(place.tag) && slot.key == *key);
        found.filter(|((before, _), after)| before == after).map(|((_, slot), _)| slot.half)
    }

    /// Makes all entries readable.
    ///
    /// # Errors
    ///
    /// That of the mapping.
    pub fn entries(&self) -> io::Result<Entries<'_, A>> {
        let sets = self.sets.len() as usize;
        let length = NonZeroUsize::new(sets * size_of::<Set<A>>()).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of the map's elements, which are sets, one after the other without gaps: their size is a
        // multiple of 8. The kernel refuses a length beyond the map.
        let memory =
            unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, self.sets.map().fd(), 0)? };
        Ok(Entries { memory, length, sets, table: PhantomData })
    }

    /// Where keys belong.
    #[must_use]
    pub const fn placement(&self) -> Placement {
        self.placement
    }
}

/// All entries, in the memory that the data plane works on.
pub struct Entries<'a, A> {
    memory: NonNull<c_void>,
    length: NonZeroUsize,
    sets: usize,
    table: PhantomData<&'a Set<A>>,
}

/// An entry as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    set: u32,
    way: u8,
    seal: Seal,
}

impl<A: Address> Entries<'_, A> {
    /// Calls `visit` with every entry, until it has seen enough. Entries that come or go meanwhile may be seen or not, and
    /// none is seen half written.
    pub fn while_each(&self, mut visit: impl FnMut(Spot, ConnectionKey<A>, HalfOpen<A>) -> ControlFlow<()>) {
        for set in 0..self.sets {
            for way in 0..WAYS {
                if let Some((seal, slot)) = self.entry(set, way) {
                    let spot = Spot { set: set as u32, way: way as u8, seal };
                    if visit(spot, slot.key, slot.half).is_break() {
                        return;
                    }
                }
            }
        }
    }

    /// Removes an entry, if it is still the same: one that was used since then stays. Says whether it was removed.
    #[must_use]
    pub fn remove(&self, spot: Spot) -> bool {
        let seal = self.seal(spot.set as usize, spot.way.into());
        let vacated = spot.seal.vacated().0;
        seal.compare_exchange(spot.seal.0, vacated, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn entry(&self, set: usize, way: usize) -> Option<(Seal, Slot<A>)> {
        let seal = self.seal(set, way);
        let before = Seal(seal.load(Ordering::Acquire));
        if before.is_vacant() || before.is_claimed() {
            return None;
        }
        // SAFETY: within the mapping, aligned, integers. What was read while somebody wrote is not used.
        let slot = unsafe { (&raw const (*self.at(set)).slots[way]).read_volatile() };
        fence(Ordering::Acquire);
        (Seal(seal.load(Ordering::Relaxed)) == before).then_some((before, slot))
    }

    fn seal(&self, set: usize, way: usize) -> &AtomicU64 {
        // SAFETY: within the mapping, aligned; everybody who changes a seal changes it as one word.
        unsafe { AtomicU64::from_ptr((&raw mut (*self.at(set)).seals.0[way]).cast()) }
    }

    fn at(&self, set: usize) -> *mut Set<A> {
        assert!(set < self.sets, "no such set");
        // SAFETY: within the mapping.
        unsafe { self.memory.cast::<Set<A>>().as_ptr().add(set) }
    }
}

impl<A> Drop for Entries<'_, A> {
    fn drop(&mut self) {
        // SAFETY: this mapping, of which nothing borrows any more.
        let unmapped = unsafe { munmap(self.memory, self.length.get()) };
        debug_assert!(unmapped.is_ok(), "cannot unmap the table: {unmapped:?}");
    }
}
