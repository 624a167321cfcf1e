//! What trackers make of a priority, and when a script counts as up.

use crate::config::vrrp::Priority;

/// What the trackers of an instance say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Every tracker has said something.
    pub known: bool,
    /// One without weight is down.
    pub faulty: bool,
    /// The base with all weights added, within 1..=254; an owner stays an owner.
    pub priority: Priority,
}

/// Adds up trackers, each with its weight and whether it is up; none when that is not known yet.
pub fn standing(base: Priority, trackers: impl IntoIterator<Item = (i16, Option<bool>)>) -> Standing {
    let mut standing = Standing { known: true, faulty: false, priority: base };
    let mut sum = i32::from(base.0);
    for (weight, up) in trackers {
        match (up, weight.signum()) {
            // One that came with a reload must not cost a master its role before it has said anything.
            (None, _) => standing.known = false,
            (Some(false), 0) => standing.faulty = true,
            (Some(true), 1) | (Some(false), -1) => sum += i32::from(weight),
            (Some(_), _) => {}
        }
    }
    if base != Priority::OWNER {
        standing.priority = Priority(u8::try_from(sum.clamp(1, 254)).unwrap_or(1));
    }
    standing
}

/// Results of a script in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streak {
    up: Option<bool>,
    against: u32,
}

impl Streak {
    /// One more result; says so when the state changes. The first decides at once.
    pub fn record(&mut self, success: bool, rise: u32, fall: u32) -> Option<bool> {
        if self.up == Some(success) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if success { rise } else { fall };
        if self.up.is_some() && self.against < needed {
            return None;
        }
        *self = Self { up: Some(success), against: 0 };
        self.up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_move_the_priority_and_their_absence_is_a_fault() {
        type Case = (u8, &'static [(i16, bool)], u8, bool);
        let cases: [Case; 9] = [
            (100, &[], 100, false),
            (100, &[(0, true)], 100, false),
            (100, &[(0, false)], 100, true),
            (100, &[(20, true), (5, true)], 125, false),
            (100, &[(20, false)], 100, false),
            (100, &[(-20, true)], 100, false),
            (100, &[(-20, false), (-5, false)], 75, false),
            (100, &[(-200, false)], 1, false),
            (100, &[(253, true)], 254, false),
        ];
        for (base, trackers, priority, faulty) in cases {
            let standing = standing(Priority(base), trackers.iter().map(|(w, up)| (*w, Some(*up))));
            let wanted = Standing { known: true, faulty, priority: Priority(priority) };
            assert_eq!(standing, wanted, "{base} {trackers:?}");
        }
    }

    #[test]
    fn an_owner_stays_an_owner() {
        assert_eq!(standing(Priority::OWNER, [(-20, Some(false))]).priority, Priority::OWNER);
    }

    #[test]
    fn what_is_not_known_counts_for_nothing_and_is_said() {
        let unknown = standing(Priority(100), [(-20, None), (0, None), (5, Some(true))]);
        assert_eq!(unknown, Standing { known: false, faulty: false, priority: Priority(105) });
    }

    #[test]
    fn a_script_changes_after_its_rise_or_fall_and_the_first_time_at_once() {
        let mut streak = Streak::default();
        let results = [true, false, true, false, false, true, true, true];
        let changes = results.map(|success| streak.record(success, 3, 2));
        let wanted = [Some(true), None, None, None, Some(false), None, None, Some(true)];
        assert_eq!(changes, wanted);
    }
}
