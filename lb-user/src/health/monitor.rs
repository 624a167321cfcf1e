//! One check's schedule and verdict: rise, fall, phase, faster while changing. Pure: time is an argument.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::result::{CheckResult, Report};
use crate::config::model::{Check, InitialState};

/// While results and health disagree, checks come this many times as often.
const HASTE: u32 = 4;
/// But not more often than this.
const SHORTEST_HASTE: Duration = Duration::from_millis(100);

/// What a check's results in a row have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Takes connections.
    Up,
    /// Does not.
    Down,
}

/// What is known of a check before its first result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing; the configuration says what to assume.
    Fresh(InitialState),
    /// What it was before a restart, or before a reload that changed the check.
    Carried(Carried),
}

/// A check's verdict as the state file keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The last health.
    pub health: Health,
    /// The weight a script had asked for.
    pub weight: Option<u16>,
    /// How long it has been so.
    pub age: Duration,
}

/// A check's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What its results in a row have shown.
    pub health: Health,
    /// The weight a script has asked for last.
    pub weight: Option<u16>,
    /// When the health changed last.
    pub since: Instant,
    /// The last run and when it ended.
    pub last: Option<(Instant, Report)>,
}

impl Status {
    /// The verdict before the first result.
    #[must_use]
    pub fn starting(start: Start, now: Instant) -> Self {
        let (health, weight, age) = match start {
            Start::Fresh(InitialState::Up) => (Health::Up, None, Duration::ZERO),
            Start::Fresh(InitialState::Down) => (Health::Down, None, Duration::ZERO),
            Start::Carried(carried) => (carried.health, carried.weight, carried.age),
        };
        Self { health, weight, since: now.checked_sub(age).unwrap_or(now), last: None }
    }

    /// What a restart has to know.
    #[must_use]
    pub fn carry(&self, now: Instant) -> Carried {
        let age = now.saturating_duration_since(self.since);
        Carried { health: self.health, weight: self.weight, age }
    }
}

/// What a result has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// `rise` successes in a row.
    Up,
    /// `fall` failures in a row.
    Down,
    /// The health stays, a script asks for another weight.
    Weight,
}

/// The state machine of one check.
#[derive(Clone, Debug)]
pub struct Monitor {
    interval: Duration,
    rise: u32,
    fall: u32,
    /// Any moment of the regular schedule; the others are whole intervals away.
    grid: Instant,
    turn: Turn,
    /// Results in a row that disagree with the health.
    streak: u32,
    status: Status,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    Waiting { until: Instant },
    Running { started: Instant },
}

impl Monitor {
    /// A monitor whose first check is due at once and whose next ones follow a phase of the check's own, so that
    /// many checks spread over their interval.
    #[must_use]
    pub fn new(check: &Check, start: Start, now: Instant) -> Self {
        let interval = check.interval.max(Duration::from_millis(1));
        Self {
            interval,
            rise: check.rise,
            fall: check.fall,
            grid: now + phase(check, interval),
            turn: Turn::Waiting { until: now },
            streak: 0,
            status: Status::starting(start, now),
        }
    }

    /// The same with its first check due so much later.
    #[must_use]
    pub fn delayed(self, by: Duration) -> Self {
        match self.turn {
            Turn::Waiting { until } => Self { turn: Turn::Waiting { until: until + by }, ..self },
            Turn::Running { .. } => self,
        }
    }

    /// The verdict so far.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// When the next run is due; none while one is under way.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.turn {
            Turn::Waiting { until } => Some(until),
            Turn::Running { .. } => None,
        }
    }

    /// Whether a run has to start now. After `true` there is no other until `on_result`.
    #[must_use]
    pub fn on_deadline(&mut self, now: Instant) -> bool {
        match self.turn {
            Turn::Waiting { until } if until <= now => {
                self.turn = Turn::Running { started: now };
                true
            }
            Turn::Waiting { .. } | Turn::Running { .. } => false,
        }
    }

    /// Takes the result of the run under way; ignored when there is none.
    pub fn on_result(&mut self, now: Instant, report: Report) -> Option<Transition> {
        let Turn::Running { started } = self.turn else { return None };
        let transition = self.judge(now, &report.result);
        self.status.last = Some((now, report));
        self.turn = Turn::Waiting { until: self.after(started) };
        transition
    }

    fn judge(&mut self, now: Instant, result: &CheckResult) -> Option<Transition> {
        match (result, self.status.health) {
            (CheckResult::Error { .. }, Health::Up | Health::Down) => None,
            (CheckResult::Failure { .. }, Health::Down) => {
                self.streak = 0;
                None
            }
            (CheckResult::Failure { .. }, Health::Up) => self.disagree(now, Health::Down, self.fall),
            (CheckResult::Success { weight, .. }, health) => {
                let changed = weight.is_some() && *weight != self.status.weight;
                self.status.weight = weight.or(self.status.weight);
                let weighed = changed.then_some(Transition::Weight);
                match health {
                    Health::Down => self.disagree(now, Health::Up, self.rise).or(weighed),
                    Health::Up => {
                        self.streak = 0;
                        weighed
                    }
                }
            }
        }
    }

    fn disagree(&mut self, now: Instant, shown: Health, needed: u32) -> Option<Transition> {
        self.streak += 1;
        if self.streak < needed {
            return None;
        }
        self.streak = 0;
        self.status.health = shown;
        self.status.since = now;
        Some(match shown {
            Health::Up => Transition::Up,
            Health::Down => Transition::Down,
        })
    }

    /// The start after `started`: soon while the health is changing, else the next moment of the schedule, which
    /// lateness and haste do not shift.
    fn after(&self, started: Instant) -> Instant {
        if self.streak > 0 {
            return started + (self.interval / HASTE).max(SHORTEST_HASTE).min(self.interval);
        }
        match started.checked_duration_since(self.grid) {
            None => self.grid,
            Some(since) => started + self.interval - remainder(since.as_nanos(), self.interval),
        }
    }
}

/// Where in its interval a check runs: the same at every start of the program, different for every check.
fn phase(check: &Check, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    check.hash(&mut hasher);
    remainder(hasher.finish().into(), interval)
}

fn remainder(nanos: u128, interval: Duration) -> Duration {
    Duration::from_nanos_u128(nanos % interval.as_nanos())
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
