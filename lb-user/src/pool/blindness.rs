//! The guard against our own blindness: when every check falls silent at once, it is we who cannot see.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{
    config::model::Check,
    health::{CheckResult, Health, Status},
};

/// Fewer checks than this going down together mean nothing.
const FEWEST: usize = 2;

/// Freezes the pools while we are blind.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Checks that go down within it go down together.
    window: Duration,
    /// While blind: what went down since this counts as up.
    frozen: Option<Instant>,
}

/// What has become of our sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// Every check is silent; pools stay as they were.
    Lost,
    /// A check has heard something; what it and all others say counts again.
    Regained,
}

impl Guard {
    /// Takes into account how long the slowest of all checks needs to go down.
    pub fn watch<'a>(&mut self, checks: impl IntoIterator<Item = &'a Check>) {
        let longest = |check: &Check| check.interval * check.fall + check.timeout;
        self.window = checks.into_iter().map(longest).max().unwrap_or_default();
    }

    /// Whether pools are frozen.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.frozen.is_some()
    }

    /// The health that pools go by.
    #[must_use]
    pub fn sees(&self, status: &Status) -> Health {
        match self.frozen {
            Some(from) if status.since >= from => Health::Up,
            Some(_) | None => status.health,
        }
    }

    /// To be called after every run of a check, with its verdict and those of all checks.
    pub fn observe<'a>(
        &mut self,
        changed: &Status,
        all: impl IntoIterator<Item = &'a Status>,
    ) -> Option<Sight> {
        let (now, _) = changed.last.as_ref()?;
        match self.frozen {
            Some(_) if hears(changed) => {
                self.frozen = None;
                Some(Sight::Regained)
            }
            Some(_) => None,
            None => {
                let from = now.checked_sub(self.window).unwrap_or(*now);
                let blind = is_down_and_silent(changed) && is_silence(all, from);
                blind.then(|| {
                    self.frozen = Some(from);
                    Sight::Lost
                })
            }
        }
    }
}

/// Whether a check's last run got anything back from its server. A refused connection or a wrong status shows that
/// the network between us works, and that the failure is the server's own.
fn hears(status: &Status) -> bool {
    match status.last.as_ref().map(|(_, report)| &report.result) {
        Some(CheckResult::Success { .. }) => true,
        Some(CheckResult::Failure { answered, .. }) => *answered,
        Some(CheckResult::Error { .. }) | None => false,
    }
}

fn is_down_and_silent(status: &Status) -> bool {
    status.health == Health::Down && !hears(status)
}

/// Whether all checks that have run are down and silent, enough of them since `from`.
fn is_silence<'a>(all: impl IntoIterator<Item = &'a Status>, from: Instant) -> bool {
    let mut lately = 0;
    for status in all.into_iter().filter(|status| status.last.is_some()) {
        if !is_down_and_silent(status) {
            return false;
        }
        lately += usize::from(status.since >= from);
    }
    lately >= FEWEST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::model::{CheckKind, InitialState},
        health::{Monitor, Report, Start},
    };

    #[derive(Clone, Copy)]
    enum Found {
        Good,
        Refused,
        Silent,
        NotMade,
    }

    /// Some checks, each with its monitor, and the guard.
    struct World {
        guard: Guard,
        now: Instant,
        monitors: Vec<Monitor>,
    }

    impl World {
        #[expect(clippy::disallowed_methods, reason = "any moment will do to count from")]
        fn of(checks: u16) -> Self {
            let now = Instant::now();
            let check = |port| Check {
                kind: CheckKind::Tcp,
                target: ([10, 0, 0, 1], port).into(),
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                rise: 1,
                fall: 1,
            };
            let checks: Vec<_> = (1..=checks).map(check).collect();
            let mut guard = Guard::default();
            guard.watch(&checks);
            let monitor = |check| Monitor::new(check, Start::Fresh(InitialState::Down), now);
            let mut world = Self { guard, now, monitors: checks.iter().map(monitor).collect() };
            for index in 0..world.monitors.len() {
                assert_eq!(world.run(index, Found::Good), None);
            }
            world
        }

        /// Half a second later or more, one check runs.
        fn run(&mut self, index: usize, found: Found) -> Option<Sight> {
            let monitor = &mut self.monitors[index];
            self.now = monitor.deadline().expect("waiting").max(self.now + Duration::from_millis(500));
            assert!(monitor.on_deadline(self.now));
            let text = String::new();
            let result = match found {
                Found::Good => CheckResult::Success { detail: text, weight: None },
                Found::Refused => CheckResult::Failure { reason: text, answered: true },
                Found::Silent => CheckResult::Failure { reason: text, answered: false },
                Found::NotMade => CheckResult::Error { reason: text },
            };
            monitor.on_result(self.now, Report { result, latency: Duration::ZERO });
            self.guard.observe(self.monitors[index].status(), self.monitors.iter().map(Monitor::status))
        }

        fn seen_up(&self) -> usize {
            let seen = |monitor: &&Monitor| self.guard.sees(monitor.status()) == Health::Up;
            self.monitors.iter().filter(seen).count()
        }
    }

    #[test]
    fn all_checks_silent_at_once_freeze_the_pools_until_one_hears_again() {
        let mut world = World::of(3);
        assert_eq!(world.run(0, Found::Silent), None);
        assert_eq!(world.run(1, Found::Silent), None);
        assert_eq!(world.seen_up(), 1);
        assert_eq!(world.run(2, Found::Silent), Some(Sight::Lost));
        assert_eq!(world.seen_up(), 3);
        assert_eq!(world.run(1, Found::Silent), None);
        assert_eq!(world.run(1, Found::NotMade), None);
        assert!(world.guard.is_blind());
        assert_eq!(world.run(0, Found::Good), Some(Sight::Regained));
        assert_eq!(world.seen_up(), 1);
    }

    #[test]
    fn a_refused_connection_shows_that_we_can_see() {
        let mut world = World::of(2);
        assert_eq!(world.run(0, Found::Refused), None);
        assert_eq!(world.run(1, Found::Silent), None);
        assert_eq!(world.seen_up(), 0);
        // The machine that refused is gone too, within the same window.
        assert_eq!(world.run(0, Found::Silent), Some(Sight::Lost));
        assert_eq!(world.run(0, Found::Refused), Some(Sight::Regained));
        assert_eq!(world.seen_up(), 0);
    }

    #[test]
    fn one_check_alone_is_no_evidence() {
        let mut world = World::of(1);
        assert_eq!(world.run(0, Found::Silent), None);
        assert_eq!(world.seen_up(), 0);
    }

    #[test]
    fn what_was_down_long_before_stays_down() {
        let mut world = World::of(3);
        assert_eq!(world.run(0, Found::Silent), None);
        for _ in 0..10 {
            assert_eq!(world.run(1, Found::Good), None);
            assert_eq!(world.run(2, Found::Good), None);
        }
        assert_eq!(world.run(1, Found::Silent), None);
        assert_eq!(world.run(2, Found::Silent), Some(Sight::Lost));
        assert_eq!(world.guard.sees(world.monitors[0].status()), Health::Down);
        assert_eq!(world.seen_up(), 2);
    }

    #[test]
    fn servers_that_go_one_after_the_other_are_taken_out() {
        let mut world = World::of(2);
        assert_eq!(world.run(0, Found::Silent), None);
        for _ in 0..10 {
            assert_eq!(world.run(1, Found::Good), None);
        }
        assert_eq!(world.run(1, Found::Silent), None);
        assert_eq!(world.seen_up(), 0);
    }
}
