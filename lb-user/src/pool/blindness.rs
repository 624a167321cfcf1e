//! The guard against our own blindness: when every check falls silent at once, it is we who cannot see.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    config::model::Check,
    health::{CheckResult, Health, Report, Status},
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
    /// What went down while we were blind.
    excused: HashMap<Check, Excuse>,
}

/// After we were blind, a check counts as up until it comes up by itself or fails once more.
#[derive(Clone, Copy, Debug)]
struct Excuse {
    /// When we could see again.
    given: Instant,
    /// When it failed once more.
    ended: Option<Instant>,
}

/// What has become of our sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// Every check is silent; pools stay as they were.
    Lost,
    /// A check has heard something; every other one counts again with its next run.
    Regained,
    /// A check that went down while we were blind has failed since, too: it counts.
    Confirmed,
}

impl Guard {
    /// Takes into account how long the slowest of all checks needs to go down.
    pub fn watch<'a>(&mut self, checks: impl IntoIterator<Item = &'a Check>) {
        let mut excused = std::mem::take(&mut self.excused);
        self.window = Duration::ZERO;
        for check in checks {
            self.window = self.window.max(check.interval * check.fall + check.timeout);
            self.excused.extend(excused.remove_entry(check));
        }
    }

    /// Whether pools are frozen.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.frozen.is_some()
    }

    /// The health of a check that pools go by.
    #[must_use]
    pub fn sees(&self, check: &Check, status: &Status) -> Health {
        match (self.frozen, self.counts_since(check, status)) {
            (_, None) => Health::Up,
            (Some(from), Some(since)) if since >= from => Health::Up,
            (Some(_) | None, Some(_)) => status.health,
        }
    }

    /// To be called after every run of a check, with its verdict and those of all checks.
    pub fn observe<'a>(
        &mut self,
        (check, changed): (&Check, &Status),
        all: impl IntoIterator<Item = (&'a Check, &'a Status)>,
    ) -> Option<Sight> {
        let (now, report) = changed.last.as_ref()?;
        if self.is_blind() {
            return hears(changed).then(|| {
                let down = all.into_iter().filter(|(_, status)| status.health == Health::Down);
                let excused = down.filter(|(check, status)| self.sees(check, status) == Health::Up);
                let excuse = Excuse { given: *now, ended: None };
                self.excused = excused.map(|(check, _)| (check.clone(), excuse)).collect();
                self.frozen = None;
                self.confirm(check, changed.health, *now, report);
                Sight::Regained
            });
        }
        let confirmed = self.confirm(check, changed.health, *now, report);
        let from = now.checked_sub(self.window).unwrap_or(*now);
        if is_down_and_silent(changed) && self.is_silence(all, from) {
            self.frozen = Some(from);
            return Some(Sight::Lost);
        }
        confirmed
    }

    /// Ends the excuse of a check that has come up, or failed where it could see.
    fn confirm(&mut self, check: &Check, health: Health, now: Instant, report: &Report) -> Option<Sight> {
        let excuse = self.excused.get_mut(check)?;
        if health == Health::Up {
            self.excused.remove(check);
            return None;
        }
        let fails = match report.result {
            // A silent run that began before we could see says nothing.
            CheckResult::Failure { answered, .. } => answered || excuse.given + report.latency <= now,
            CheckResult::Success { .. } | CheckResult::Error { .. } => false,
        };
        (fails && excuse.ended.is_none()).then(|| {
            excuse.ended = Some(now);
            Sight::Confirmed
        })
    }

    /// None while it is excused.
    fn counts_since(&self, check: &Check, status: &Status) -> Option<Instant> {
        self.excused.get(check).map_or(Some(status.since), |excuse| excuse.ended)
    }

    /// Whether all checks that have run are down and silent, enough of them since `from`.
    fn is_silence<'a>(&self, all: impl IntoIterator<Item = (&'a Check, &'a Status)>, from: Instant) -> bool {
        let mut lately = 0;
        for (check, status) in all.into_iter().filter(|(_, status)| status.last.is_some()) {
            if !is_down_and_silent(status) {
                return false;
            }
            lately += usize::from(self.counts_since(check, status).is_none_or(|since| since >= from));
        }
        lately >= FEWEST
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
        monitors: Vec<(Check, Monitor)>,
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
            let monitor = |check: Check| {
                let monitor = Monitor::new(&check, Start::Fresh(InitialState::Down), now);
                (check, monitor)
            };
            let mut world = Self { guard, now, monitors: checks.into_iter().map(monitor).collect() };
            for index in 0..world.monitors.len() {
                assert_eq!(world.run(index, Found::Good), None);
            }
            world
        }

        /// Half a second later or more, one check runs.
        fn run(&mut self, index: usize, found: Found) -> Option<Sight> {
            let (_, monitor) = &mut self.monitors[index];
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
            let mut all = self.monitors.iter().map(|(check, monitor)| (check, monitor.status()));
            self.guard.observe(all.clone().nth(index).expect("a check"), all.by_ref())
        }

        fn seen_up(&self) -> usize {
            (0..self.monitors.len()).filter(|index| self.sees(*index) == Health::Up).count()
        }

        fn sees(&self, index: usize) -> Health {
            let (check, monitor) = &self.monitors[index];
            self.guard.sees(check, monitor.status())
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
        assert_eq!(world.seen_up(), 3);
    }

    #[test]
    fn after_blindness_every_check_counts_from_its_own_next_run_on() {
        let mut world = World::of(3);
        for index in 0..3 {
            world.run(index, Found::Silent);
        }
        assert_eq!(world.run(0, Found::Good), Some(Sight::Regained));
        assert_eq!(world.run(1, Found::Good), None);
        assert_eq!(world.run(2, Found::NotMade), None);
        assert_eq!(world.seen_up(), 3);
        assert_eq!(world.run(2, Found::Silent), Some(Sight::Confirmed));
        assert_eq!(world.run(2, Found::Silent), None);
        assert_eq!(world.sees(2), Health::Down);
        assert_eq!(world.seen_up(), 2);
        assert_eq!(world.run(2, Found::Good), None);
        assert_eq!(world.run(2, Found::Refused), None);
        assert_eq!(world.seen_up(), 2);
    }

    #[test]
    fn a_link_that_comes_and_goes_makes_blind_again_and_again() {
        let mut world = World::of(3);
        for _ in 0..3 {
            for index in 0..3 {
                world.run(index, Found::Silent);
            }
            assert!(world.guard.is_blind());
            assert_eq!(world.seen_up(), 3);
            assert_eq!(world.run(1, Found::Good), Some(Sight::Regained));
            assert_eq!(world.seen_up(), 3);
        }
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
        assert_eq!(world.sees(0), Health::Down);
        assert_eq!(world.run(1, Found::Silent), Some(Sight::Confirmed));
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
        assert_eq!(world.sees(0), Health::Down);
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
