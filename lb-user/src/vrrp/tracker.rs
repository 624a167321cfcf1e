//! What trackers make of a priority, and when a script or a number of processes counts as up.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::config::vrrp::Priority;

/// What is known of something that is tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It works.
    Up,
    /// It does not.
    Down,
    /// A file holds this.
    Number(i32),
    /// A file cannot be read, or holds no number.
    Unusable,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Down => f.write_str("down"),
            Self::Number(number) => number.fmt(f),
            Self::Unusable => f.write_str("unusable"),
        }
    }
}

/// What a tracker does to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It has said nothing yet.
    Unknown,
    /// The instance cannot be master.
    Fault,
    /// To be added to the priority.
    Adds(i32),
}

/// The least that can be added; a file that takes off more is a fault, as in keepalived.
const LEAST: i64 = -253;

impl Effect {
    /// Of a reading, none when there is none yet, on an instance that gives it this weight.
    #[must_use]
    pub fn of(weight: i16, reading: Option<Reading>) -> Self {
        let weight = i32::from(weight);
        match (reading, weight.signum()) {
            // One that came with a reload must not cost a master its role before it has said anything.
            (None, _) => Self::Unknown,
            (Some(Reading::Unusable), _) | (Some(Reading::Down), 0) => Self::Fault,
            (Some(Reading::Up), 1) | (Some(Reading::Down), -1) => Self::Adds(weight),
            (Some(Reading::Up | Reading::Down), _) | (Some(Reading::Number(0)), 0) => Self::Adds(0),
            (Some(Reading::Number(_)), 0) => Self::Fault,
            (Some(Reading::Number(number)), _) => match i64::from(weight) * i64::from(number) {
                sum if sum < LEAST => Self::Fault,
                // More than fits is more than any priority.
                sum => Self::Adds(i32::try_from(sum).unwrap_or(i32::MAX)),
            },
        }
    }
}

/// What the trackers of an instance say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Every tracker has said something.
    pub known: bool,
    /// One of them is a fault.
    pub faulty: bool,
    /// The base with all weights added, within 1..=254; an owner stays an owner.
    pub priority: Priority,
}

/// Adds up trackers.
pub fn standing(base: Priority, effects: impl IntoIterator<Item = Effect>) -> Standing {
    let mut standing = Standing { known: true, faulty: false, priority: base };
    let mut sum = i32::from(base.0);
    for effect in effects {
        match effect {
            Effect::Unknown => standing.known = false,
            Effect::Fault => standing.faulty = true,
            Effect::Adds(weight) => sum = sum.saturating_add(weight),
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

/// Whether enough of something has been there for long enough.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quorum {
    up: Option<bool>,
    /// When it began to look otherwise.
    otherwise: Option<Instant>,
}

impl Quorum {
    /// How it looks now; says so when the state changes, which is after `delay`. The first look decides at once.
    pub fn look(&mut self, enough: bool, delay: Duration, now: Instant) -> Option<bool> {
        if self.up == Some(enough) {
            self.otherwise = None;
            return None;
        }
        let since = *self.otherwise.get_or_insert(now);
        if self.up.is_some() && now < since + delay {
            return None;
        }
        *self = Self { up: Some(enough), otherwise: None };
        self.up
    }
}

#[cfg(test)]
mod tests {
    use super::{Reading::*, *};

    #[test]
    fn weights_move_the_priority_and_their_absence_is_a_fault() {
        type Case = (u8, &'static [(i16, Reading)], u8, bool);
        let cases: [Case; 16] = [
            (100, &[], 100, false),
            (100, &[(0, Up)], 100, false),
            (100, &[(0, Down)], 100, true),
            (100, &[(20, Up), (5, Up)], 125, false),
            (100, &[(20, Down)], 100, false),
            (100, &[(-20, Up)], 100, false),
            (100, &[(-20, Down), (-5, Down)], 75, false),
            (100, &[(-200, Down)], 1, false),
            (100, &[(253, Up)], 254, false),
            (100, &[(1, Number(20)), (-2, Number(5))], 110, false),
            (100, &[(0, Number(0))], 100, false),
            (100, &[(0, Number(7))], 100, true),
            (100, &[(-1, Number(253))], 1, false),
            (100, &[(-1, Number(254))], 100, true),
            (100, &[(253, Number(i32::MAX)), (253, Number(i32::MAX))], 254, false),
            (100, &[(20, Unusable)], 100, true),
        ];
        for (base, trackers, priority, faulty) in cases {
            let effects = trackers.iter().map(|(weight, reading)| Effect::of(*weight, Some(*reading)));
            let standing = standing(Priority(base), effects);
            let wanted = Standing { known: true, faulty, priority: Priority(priority) };
            assert_eq!(standing, wanted, "{base} {trackers:?}");
        }
    }

    #[test]
    fn an_owner_stays_an_owner() {
        assert_eq!(standing(Priority::OWNER, [Effect::Adds(-20)]).priority, Priority::OWNER);
    }

    #[test]
    fn what_is_not_known_counts_for_nothing_and_is_said() {
        let effects = [(-20, None), (0, None), (5, Some(Up))].map(|(w, reading)| Effect::of(w, reading));
        let unknown = standing(Priority(100), effects);
        assert_eq!(unknown, Standing { known: false, faulty: false, priority: Priority(105) });
    }

    #[test]
    fn a_number_of_processes_counts_when_it_has_lasted_and_the_first_time_at_once() {
        #[expect(clippy::disallowed_methods, reason = "any beginning will do")]
        let began = Instant::now();
        let delay = Duration::from_secs(2);
        let mut quorum = Quorum::default();
        let seen = [true, false, false, true, false, false, false, true, true, true];
        let told: Vec<_> = seen
            .into_iter()
            .zip(0..)
            .filter_map(|(enough, s)| Some((s, quorum.look(enough, delay, began + Duration::from_secs(s))?)))
            .collect();
        assert_eq!(told, [(0, true), (6, false), (9, true)]);
        let mut at_once = Quorum::default();
        assert_eq!(
            seen.map(|enough| at_once.look(enough, Duration::ZERO, began)).iter().flatten().count(),
            5
        );
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
