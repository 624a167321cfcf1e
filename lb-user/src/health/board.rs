//! All monitors together: each distinct check once, the earliest first. Pure.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    monitor::{Monitor, Start, Status, Transition},
    result::Report,
};
use crate::config::model::Check;

/// Between the first runs of checks that are new together: few come at once, ten thousand take five seconds.
const STAGGER: Duration = Duration::from_micros(500);

/// One run of a check has ended.
#[derive(Clone, Debug)]
pub struct Event {
    /// Which check; real servers with an equal one share it.
    pub check: Arc<Check>,
    /// Its verdict now.
    pub status: Status,
    /// What the run has changed.
    pub transition: Option<Transition>,
}

/// Names one check for as long as it stays; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(u64);

/// A run to start.
pub(super) struct Run {
    pub(super) id: Id,
    pub(super) check: Arc<Check>,
    /// How much later it starts than it was due.
    pub(super) late: Duration,
}

/// The monitors of a set of checks.
#[derive(Default)]
pub(super) struct Board {
    ids: HashMap<Arc<Check>, Id>,
    monitors: HashMap<Id, (Arc<Check>, Monitor)>,
    /// Every monitor that waits, once.
    due: BTreeSet<(Instant, Id)>,
    next_id: u64,
}

impl Board {
    /// Makes `wanted` the set of checks: a check that stays keeps its state and schedule whatever its `Start`; of
    /// equal checks the first counts. Returns those that have gone.
    pub(super) fn set_checks(&mut self, wanted: &[(Check, Start)], now: Instant) -> HashSet<Id> {
        let mut gone = std::mem::take(&mut self.ids);
        let mut fresh = 0;
        for (check, start) in wanted {
            if self.ids.contains_key(check) {
                continue;
            }
            let (check, id) = match gone.remove_entry(check) {
                Some(kept) => kept,
                None => {
                    fresh += 1;
                    self.add(check, *start, (STAGGER * (fresh - 1)).min(check.interval), now)
                }
            };
            self.ids.insert(check, id);
        }
        for id in gone.values() {
            if let Some((_, monitor)) = self.monitors.remove(id)
                && let Some(at) = monitor.deadline()
            {
                self.due.remove(&(at, *id));
            }
        }
        gone.into_values().collect()
    }

    fn add(&mut self, check: &Check, start: Start, delay: Duration, now: Instant) -> (Arc<Check>, Id) {
        let id = Id(self.next_id);
        self.next_id += 1;
        let check = Arc::new(check.clone());
        let monitor = Monitor::new(&check, start, now).delayed(delay);
        self.due.extend(monitor.deadline().map(|at| (at, id)));
        self.monitors.insert(id, (Arc::clone(&check), monitor));
        (check, id)
    }

    /// When the next run is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next run to start at `now`; to be called until there is none.
    pub(super) fn start(&mut self, now: Instant) -> Option<Run> {
        let (at, id) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, id));
        let (check, monitor) = self.monitors.get_mut(&id)?;
        monitor.on_deadline(now).then(|| Run { id, check: Arc::clone(check), late: now.duration_since(at) })
    }

    /// Takes the result of a run; none when its check has gone.
    pub(super) fn on_result(&mut self, id: Id, report: Report, now: Instant) -> Option<Event> {
        let (check, monitor) = self.monitors.get_mut(&id)?;
        let transition = monitor.on_result(now, report);
        self.due.extend(monitor.deadline().map(|at| (at, id)));
        Some(Event { check: Arc::clone(check), status: monitor.status().clone(), transition })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::model::{CheckKind, InitialState},
        health::{CheckResult, Health},
    };

    const FRESH: Start = Start::Fresh(InitialState::Down);

    fn check(port: u16) -> Check {
        Check {
            kind: CheckKind::Tcp,
            target: ([127, 0, 0, 1], port).into(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
        }
    }

    fn success() -> Report {
        let result = CheckResult::Success { detail: String::new(), weight: None };
        Report { result, latency: Duration::ZERO }
    }

    #[expect(clippy::disallowed_methods, reason = "any moment will do to count from")]
    fn epoch() -> Instant {
        Instant::now()
    }

    #[test]
    fn equal_checks_run_once() {
        let now = epoch();
        let mut board = Board::default();
        board.set_checks(&[(check(1), FRESH), (check(1), FRESH)], now);
        assert!(board.start(now).is_some());
        assert!(board.start(now).is_none());
    }

    #[test]
    fn few_checks_start_at_once_and_many_one_after_the_other_within_their_interval() {
        let now = epoch();
        let mut board = Board::default();
        let checks: Vec<_> = (1..=20_000).map(|port| (check(port), FRESH)).collect();
        board.set_checks(&checks, now);
        let mut started_by = |at: Duration| std::iter::from_fn(|| board.start(now + at)).count();
        assert_eq!(started_by(Duration::ZERO), 1);
        assert_eq!(started_by(Duration::from_millis(5)), 10);
        assert_eq!(started_by(Duration::from_secs(1)), 1_990);
        assert_eq!(started_by(Duration::from_secs(5)), 17_999);
    }

    #[test]
    fn a_check_that_stays_keeps_its_state_and_schedule() {
        let now = epoch();
        let mut board = Board::default();
        board.set_checks(&[(check(1), FRESH)], now);
        let run = board.start(now).expect("due at once");
        let event = board.on_result(run.id, success(), now).expect("still there");
        assert_eq!(event.transition, Some(Transition::Up));
        let due = board.deadline();

        assert!(board.set_checks(&[(check(2), FRESH), (check(1), FRESH)], now).is_empty());
        let new = board.start(now).expect("the new one is due at once");
        assert_eq!(*new.check, check(2));
        assert_eq!(board.deadline(), due);
        let run = board.start(due.expect("waiting")).expect("due");
        let event = board.on_result(run.id, success(), now).expect("still there");
        assert_eq!((event.status.health, event.transition), (Health::Up, None));
    }

    #[test]
    fn a_check_that_has_gone_has_no_more_runs_nor_results() {
        let now = epoch();
        let mut board = Board::default();
        board.set_checks(&[(check(1), FRESH), (check(2), FRESH)], now);
        let run = board.start(now).expect("due at once");
        assert_eq!(board.set_checks(&[], now).len(), 2);
        assert!(board.on_result(run.id, success(), now).is_none());
        assert_eq!(board.deadline(), None);
        // It comes back as another one: a result of the earlier run does not count.
        board.set_checks(&[(check(1), FRESH)], now);
        assert!(board.on_result(run.id, success(), now).is_none());
        assert!(board.start(now).is_some());
    }
}
