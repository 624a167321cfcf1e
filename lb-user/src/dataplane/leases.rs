//! Ownership leases: until when this node certainly owns the VIPs of an election. The data plane forwards for them no
//! longer than that, whatever becomes of this process.

use std::{collections::BTreeMap, time::Duration};

use aya::maps::{Array, MapData};
use lb_common::{
    limits::LEASES,
    service::{Settings, lease},
};

use super::{
    clock::Clock,
    maps::Maps,
    programs::Programs,
    write::{self, WriteError},
};

/// Writes leases.
pub struct Leases {
    leases: Array<MapData, u32>,
    settings: Array<MapData, Settings>,
    held: Held,
    clock: Clock,
    programs: Programs,
}

impl Leases {
    /// None is held, whatever an earlier process has left.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub fn new(maps: Maps, clock: Clock, programs: Programs) -> Result<Self, WriteError> {
        let held = Held::default();
        let mut leases = Self { leases: maps.leases, settings: maps.settings, held, clock, programs };
        (1..LEASES).try_for_each(|slot| leases.set(slot, lease::NOT_HELD))?;
        leases.refresh()?;
        Ok(leases)
    }

    /// No VIP needs a lease.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub fn unneeded(maps: &mut Maps) -> Result<(), WriteError> {
        write::change_settings(&mut maps.settings, |settings| settings.lease = lease::NOT_HELD)
    }

    /// The lease in `slot` is held for so long from now.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; it is held for no longer than before.
    pub fn hold(&mut self, slot: u32, duration: Duration) -> Result<(), WriteError> {
        // A kernel that does not say the time gives no lease.
        let Some(now) = self.programs.now() else { return Ok(()) };
        let end = lease::until(now, self.clock.ticks(duration));
        self.set(slot, end)?;
        self.held.0.insert(slot, end);
        self.refresh()
    }

    /// The lease in `slot` is somebody else's from now on; connections ask before their next packet.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub fn release(&mut self, slot: u32) -> Result<(), WriteError> {
        self.set(slot, lease::NOT_HELD)?;
        if self.held.0.remove(&slot).is_some() {
            write::change_settings(&mut self.settings, write::next_generation)?;
        }
        self.refresh()
    }

    /// Says until when nothing has to be looked at. To be repeated at least once a week: ticks wrap around.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub fn refresh(&mut self) -> Result<(), WriteError> {
        let Some(now) = self.programs.now() else { return Ok(()) };
        let first = self.held.first_end(now);
        write::change_settings(&mut self.settings, |settings| settings.lease = first)
    }

    fn set(&mut self, slot: u32, end: u32) -> Result<(), WriteError> {
        self.leases.set(slot, end, 0).map_err(|error| WriteError::of("LEASES", error))
    }
}

/// Ends of leases by slot.
#[derive(Debug, Default)]
struct Held(BTreeMap<u32, u32>);

impl Held {
    /// When the first of them ends; without any, as late as ticks can say.
    fn first_end(&self, now: u32) -> u32 {
        let left = |end: &u32| end.wrapping_sub(now) as i32;
        self.0.values().copied().min_by_key(left).unwrap_or_else(|| lease::until(now, i32::MAX as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_counts_also_where_ticks_wrap_around() {
        let now = u32::MAX - 10;
        let end = |ticks| lease::until(now, ticks);
        let held = Held([(1, end(300)), (2, end(5)), (3, end(100))].into());
        assert_eq!(held.first_end(now), end(5));
        assert!(lease::holds(end(300), now) && lease::holds(end(300), now.wrapping_add(300)));
        assert!(!lease::holds(end(300), now.wrapping_add(301)));
    }

    #[test]
    fn without_leases_nothing_lapses_for_long() {
        let end = Held::default().first_end(7);
        assert!(lease::holds(end, 7 + (1 << 30)));
    }

    #[test]
    fn no_end_of_a_lease_looks_like_none() {
        assert_ne!(lease::until(u32::MAX, 1), lease::NOT_HELD);
        assert!(!lease::holds(lease::NOT_HELD, 0));
    }
}
