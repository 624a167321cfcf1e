//! The table of half-open connections in a BPF array: the set of a key, and how CPUs work on it at once.
#![allow(unsafe_code, reason = "a part of the map adapter; see ARCHITECTURE.md")]

use core::{
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xchg},
    ptr,
};

use lb_common::{
    addr::{Address, V4, V6},
    connection::{ConnectionKey, HalfOpen},
    half_open::{Head, Seal, Set, Slot, WAYS},
};
use lb_ebpf::{
    half_open::set::{self, NotPut, Ways},
    tables::Refused,
};

use super::{HalfOpenTable, PLACEMENT};

/// See [`set::read`].
#[inline(always)]
pub(super) fn read<A: Placed>(
    table: &HalfOpenTable<A>,
    key: &ConnectionKey<A>,
    into: &mut HalfOpen<A>,
) -> bool {
    read_at(table, A::place(key), key, into)
}

/// Not inlined, and apart from [`Placed::place`]: neither has to be on the stack below the other.
#[inline(never)]
fn read_at<A: Address>(
    table: &HalfOpenTable<A>,
    place: u64,
    key: &ConnectionKey<A>,
    into: &mut HalfOpen<A>,
) -> bool {
    ways(table, place).is_some_and(|ways| set::read(&ways, place as u32, key, into))
}

/// See [`set::change`].
#[inline(always)]
pub(super) fn change<A: Placed>(
    table: &HalfOpenTable<A>,
    key: &ConnectionKey<A>,
    change: impl FnOnce(&mut HalfOpen<A>),
) {
    let place = A::place(key);
    if let Some(mut ways) = ways(table, place) {
        set::change(&mut ways, place as u32, key, change);
    }
}

/// See [`set::insert`].
#[inline(always)]
pub(super) fn insert<A: Placed>(
    table: &HalfOpenTable<A>,
    key: &ConnectionKey<A>,
    half: &HalfOpen<A>,
) -> Result<u32, Refused> {
    let place = A::place(key);
    let victim = || {
        // SAFETY: within the set.
        let head = |ways: Shared<A>| unsafe { &raw const (*ways.0).seals };
        ways(table, place)
            .map_or(WAYS, |ways| xlb_victim(head(ways), place as u32, half.last_used()) as usize)
    };
    set::insert(victim, |way| put_at(table, place, way, key, half))
}

/// As [`read_at`].
#[inline(never)]
fn put_at<A: Address>(
    table: &HalfOpenTable<A>,
    place: u64,
    way: usize,
    key: &ConnectionKey<A>,
    half: &HalfOpen<A>,
) -> Result<u32, NotPut> {
    let Some(mut ways) = ways(table, place) else { return Err(NotPut::Late) };
    set::put(&mut ways, way, place as u32, key, half)
}

/// Not inlined: the compiler would keep the words of a key on the stack to write them later.
#[inline(never)]
fn are_equal<A: Address>(one: &ConnectionKey<A>, other: &ConnectionKey<A>) -> bool {
    one == other
}

/// See [`set::remove`].
#[inline(always)]
pub(super) fn remove<A: Placed>(table: &HalfOpenTable<A>, key: &ConnectionKey<A>) {
    remove_at(table, A::place(key), key);
}

/// As [`read_at`].
#[inline(never)]
fn remove_at<A: Address>(table: &HalfOpenTable<A>, place: u64, key: &ConnectionKey<A>) {
    if let Some(mut ways) = ways(table, place) {
        set::remove(&mut ways, place as u32, key);
    }
}

/// The set of a place.
#[inline(always)]
fn ways<A>(table: &HalfOpenTable<A>, place: u64) -> Option<Shared<A>> {
    table.get_ptr_mut((place >> 32) as u32).map(Shared)
}

/// Addresses whose keys have a place.
pub trait Placed: Address {
    /// [`Placement::place`](lb_common::half_open::Placement::place): the set, and behind it 32 bits with the tag.
    fn place(key: &ConnectionKey<Self>) -> u64;
}

macro_rules! placed {
    ($address:ty, $place:ident) => {
        impl Placed for $address {
            #[inline(always)]
            fn place(key: &ConnectionKey<Self>) -> u64 {
                $place(key)
            }
        }

        /// [`Placed::place`], of no key any.
        #[inline(never)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $place(key: *const ConnectionKey<$address>) -> u64 {
            let (false, Some(placement)) = (key.is_null(), PLACEMENT.get(0)) else { return 1 };
            // SAFETY: not null, and the verifier has seen that it is a key.
            let place = placement.place(unsafe { &*key });
            u64::from(place.set) << 32 | u64::from(place.tag)
        }
    };
}

placed!(V4, xlb_place_v4);
placed!(V6, xlb_place_v6);

// Searches of a set are verified apart from what is done with their answer: the verifier would follow that for each way.

/// [`set::seek`]; nothing is found in a set that is not there.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_seek(head: *const Head, tag: u32) -> u32 {
    if head.is_null() {
        return WAYS as u32;
    }
    set::seek(|way| seal_of(head, way), tag) as u32
}

/// [`set::victim`]; of a set that is not there, none.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_victim(head: *const Head, tag: u32, now: u32) -> u32 {
    if head.is_null() {
        return WAYS as u32;
    }
    set::victim(|way| seal_of(head, way), tag, now) as u32
}

/// One load.
#[inline(always)]
fn seal_of(head: *const Head, way: usize) -> Seal {
    // SAFETY: within the head, whatever the way, and aligned.
    unsafe { ptr::read_volatile(head.cast::<Seal>().add(way % WAYS)) }
}

/// A set in the map.
struct Shared<A>(*mut Set<A>);

impl<A> Shared<A> {
    #[inline(always)]
    fn seal_of(&self, way: usize) -> *mut u64 {
        // SAFETY: within the set, whatever the way.
        unsafe { (&raw mut (*self.0).seals).cast::<u64>().add(way % WAYS) }
    }

    #[inline(always)]
    fn slot_of(&self, way: usize) -> *mut Slot<A> {
        // SAFETY: within the set, whatever the way.
        unsafe { (&raw mut (*self.0).slots).cast::<Slot<A>>().add(way % WAYS) }
    }
}

impl<A: Address> Ways<A> for Shared<A> {
    #[inline(always)]
    fn seal(&self, way: usize) -> Seal {
        // SAFETY: a seal of the set, aligned; one load.
        Seal(unsafe { ptr::read_volatile(self.seal_of(way)) })
    }

    #[inline(always)]
    fn exchange(&mut self, way: usize, old: Seal, new: Seal) -> bool {
        // SAFETY: a seal of the set, aligned. BPF orders everything before and after it.
        let (_, exchanged) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                self.seal_of(way),
                old.0,
                new.0,
            )
        };
        exchanged
    }

    #[inline(always)]
    fn release(&mut self, way: usize, new: Seal) {
        // x86 makes stores seen in their order, and waiting until they are would cost as much as all the rest.
        if cfg!(bpf_target_arch = "x86_64") {
            compiler_fence();
            // SAFETY: a seal of the set, aligned; one store.
            unsafe { ptr::write_volatile(self.seal_of(way), new.0) };
        } else {
            // SAFETY: a seal of the set, aligned. BPF orders everything before and after it.
            unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(self.seal_of(way), new.0) };
        }
    }

    #[inline(always)]
    fn slot(&self, way: usize) -> &Slot<A> {
        // SAFETY: see the head of `maps`: integers, and what was read while somebody wrote is not used.
        unsafe { &*self.slot_of(way) }
    }

    #[inline(always)]
    fn slot_mut(&mut self, way: usize) -> &mut Slot<A> {
        // SAFETY: as above; claimed, so nobody else writes it.
        unsafe { &mut *self.slot_of(way) }
    }

    #[inline(always)]
    fn settle(&self) {
        // x86 reads in order.
        if cfg!(bpf_target_arch = "x86_64") {
            compiler_fence();
        } else {
            let mut nothing = 0u64;
            // SAFETY: on the stack. BPF orders everything before and after it.
            unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(&raw mut nothing, 1) };
        }
    }

    #[inline(always)]
    fn is_of(&self, way: usize, key: &ConnectionKey<A>) -> bool {
        are_equal(&self.slot(way).key, key)
    }

    #[inline(always)]
    fn seek(&self, tag: u32) -> usize {
        // SAFETY: within the set.
        xlb_seek(unsafe { &raw const (*self.0).seals }, tag.into()) as usize
    }
}

/// What is written before is written before, for the compiler.
#[inline(always)]
fn compiler_fence() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}
