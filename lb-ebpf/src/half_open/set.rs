//! One set of the table of half-open connections, worked on by several CPUs and the controller at once.
//!
//! Nobody waits. Who wants to write claims a way by exchanging its seal for a claimed one; who does not get it goes on as if
//! there were no entry, or no room. Who reads copies and looks at the seal again: an entry that was written meanwhile was not
//! there. What a claim was got for cannot have changed since its seal was read, so nobody ever writes into an entry that has
//! become another connection's.

use lb_common::{
    addr::Address,
    connection::{ConnectionKey, HalfOpen, flags},
    half_open::{Seal, Slot, WAYS},
};

use crate::{select::NONE, tables::Refused};

/// The ways of a set. On the host they are plain memory.
pub trait Ways<A> {
    /// What the head says about a way.
    fn seal(&self, way: usize) -> Seal;

    /// Makes it `new` if it is `old`; says whether it was. All that was written before is seen by whoever sees it.
    fn exchange(&mut self, way: usize, old: Seal, new: Seal) -> bool;

    /// Makes it `new`: only by who has claimed the way.
    fn release(&mut self, way: usize, new: Seal);

    /// The entry of a way, to be read; others may be writing it.
    fn slot(&self, way: usize) -> &Slot<A>;

    /// The entry of a way that was claimed.
    fn slot_mut(&mut self, way: usize) -> &mut Slot<A>;

    /// What was read before, of seals or an entry, was read before what is read next.
    fn settle(&self);

    /// Whether the entry of a way is that of `key`.
    fn is_of(&self, way: usize, key: &ConnectionKey<A>) -> bool;

    /// [`seek`]; the kernel's tables do it in a function that is verified by itself.
    fn seek(&self, tag: u32) -> usize;
}

/// How often a way that somebody else has just got is asked for.
const TRIES: usize = 2;

/// The way whose entry has this tag, which no two of a set have; [`WAYS`] when there is none.
#[inline(always)]
pub fn seek(seal: impl Fn(usize) -> Seal, tag: u32) -> usize {
    let mut found = WAYS;
    for way in 0..WAYS {
        if seal(way).concerns(tag) {
            found = way;
        }
    }
    found
}

/// The way that an entry with this tag is written to: where that tag is already, else where the entry can best be done
/// without; [`WAYS`] when all are claimed.
#[inline(always)]
pub fn victim(seal: impl Fn(usize) -> Seal, tag: u32, now: u32) -> usize {
    // In one number with the way: of equals, the first.
    let mut most = 0;
    for way in 0..WAYS {
        let seal = seal(way);
        let dispensable = if seal.concerns(tag) { Seal::MOST } else { seal.dispensable(now) };
        let this = dispensable * WAYS as u64 + (WAYS - 1 - way) as u64;
        if this > most {
            most = this;
        }
    }
    if most < WAYS as u64 { WAYS } else { WAYS - 1 - most as usize % WAYS }
}

/// The way with the entry of `key`, and its seal from before the entry was looked at.
#[inline(always)]
fn find<A: Address>(ways: &impl Ways<A>, tag: u32, key: &ConnectionKey<A>) -> Option<(usize, Seal)> {
    let way = ways.seek(tag);
    if way >= WAYS {
        return None;
    }
    let seal = ways.seal(way);
    ways.settle();
    (seal.holds(tag) && ways.is_of(way, key)).then_some((way, seal))
}

/// Copies the entry of `key`; false when there is none, and `into` is then anything.
#[inline(always)]
pub fn read<A: Address, W: Ways<A>>(
    ways: &W,
    tag: u32,
    key: &ConnectionKey<A>,
    into: &mut HalfOpen<A>,
) -> bool {
    let Some((way, seal)) = find(ways, tag, key) else { return false };
    into.copy_from(&ways.slot(way).half);
    ways.settle();
    ways.seal(way) == seal
}

/// Changes the entry of `key`; false when there is none that could be got.
#[inline(always)]
pub fn change<A: Address, W: Ways<A>>(
    ways: &mut W,
    tag: u32,
    key: &ConnectionKey<A>,
    change: impl FnOnce(&mut HalfOpen<A>),
) -> bool {
    for _ in 0..TRIES {
        if let Some((way, seal)) = find(ways, tag, key)
            && ways.exchange(way, seal, seal.claimed(tag))
        {
            let half = &mut ways.slot_mut(way).half;
            change(half);
            let released = seal.released(half);
            ways.release(way, released);
            return true;
        }
    }
    false
}

/// Removes the entry of `key`, if there is one and nobody writes it.
#[inline(always)]
pub fn remove<A: Address, W: Ways<A>>(ways: &mut W, tag: u32, key: &ConnectionKey<A>) {
    for _ in 0..TRIES {
        let Some((way, seal)) = find(ways, tag, key) else { return };
        if ways.exchange(way, seal, seal.vacated()) {
            return;
        }
    }
}

/// Adds an entry, unless the key is there already, in place of the one that can best be done without; or of one with the same
/// tag, since no two of a set may have it: of a million that are added to a full set, two are. Answers the real server whose
/// connection was evicted, or [`NONE`].
#[inline(always)]
pub fn insert(
    mut victim: impl FnMut() -> usize,
    mut put: impl FnMut(usize) -> Result<u32, NotPut>,
) -> Result<u32, Refused> {
    for _ in 0..TRIES {
        let way = victim();
        if way >= WAYS {
            break;
        }
        match put(way) {
            Ok(evicted) => return Ok(evicted),
            Err(NotPut::Exists) => return Err(Refused::Exists),
            Err(NotPut::Late) => {}
        }
    }
    Err(Refused::Full)
}

/// Why [`put`] has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPut {
    /// The key is there already.
    Exists,
    /// Somebody else has just got the way.
    Late,
}

/// Writes an entry to the way that was found for it: see [`insert`].
#[inline(always)]
pub fn put<A: Address, W: Ways<A>>(
    ways: &mut W,
    way: usize,
    tag: u32,
    key: &ConnectionKey<A>,
    half: &HalfOpen<A>,
) -> Result<u32, NotPut> {
    let seal = ways.seal(way);
    if seal.concerns(tag) && (seal.is_claimed() || ways.is_of(way, key)) {
        return Err(NotPut::Exists);
    }
    if seal.is_claimed() || !ways.exchange(way, seal, seal.claimed(tag)) {
        return Err(NotPut::Late);
    }
    // Who adds the same key at the same time has claimed another way: of two, one at least sees the other here.
    if is_elsewhere(ways, way, tag) {
        ways.release(way, seal);
        return Err(NotPut::Exists);
    }
    let slot = ways.slot_mut(way);
    let before = &slot.half.connection;
    let evicted =
        if seal.is_vacant() || before.flags & flags::REPLY != 0 { NONE } else { before.real_server };
    slot.key.copy_from(key);
    slot.half.copy_from(half);
    ways.release(way, seal.claimed(tag).released(half));
    Ok(evicted)
}

/// Whether the tag is that of another way, too.
#[inline(always)]
fn is_elsewhere<A>(ways: &impl Ways<A>, mine: usize, tag: u32) -> bool {
    let mut found = false;
    for way in 0..WAYS {
        found |= way != mine && ways.seal(way).concerns(tag);
    }
    found
}

#[cfg(test)]
mod tests;
