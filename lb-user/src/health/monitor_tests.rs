use proptest::prelude::*;

use super::*;
use crate::config::model::CheckKind;

const INTERVAL: Duration = Duration::from_secs(5);

fn check(rise: u32, fall: u32, port: u16) -> Check {
    Check {
        kind: CheckKind::Tcp,
        target: ([127, 0, 0, 1], port).into(),
        interval: INTERVAL,
        timeout: Duration::from_secs(1),
        rise,
        fall,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Success,
    Failure,
    Error,
}

fn report(found: Found) -> Report {
    let text = String::new();
    let result = match found {
        Found::Success => CheckResult::Success { detail: text, weight: None },
        Found::Failure => CheckResult::Failure { reason: text, answered: true },
        Found::Error => CheckResult::Error { reason: text },
    };
    Report { result, latency: Duration::ZERO }
}

#[expect(clippy::disallowed_methods, reason = "any moment will do to count from")]
fn epoch() -> Instant {
    Instant::now()
}

/// Runs the check that is due next and gives it a result at once.
fn step(monitor: &mut Monitor, found: Found) -> Option<Transition> {
    let at = monitor.deadline().expect("waiting");
    assert!(monitor.on_deadline(at));
    monitor.on_result(at, report(found))
}

#[test]
fn rise_and_fall_count_results_in_a_row() {
    use Found::{Error as E, Failure as F, Success as S};
    use InitialState::{Down, Up};
    let cases: [(InitialState, &[Found], &[Transition]); 7] = [
        (Down, &[S, S], &[Transition::Up]),
        (Down, &[S, F, S, F, S], &[]),
        (Up, &[F, F, F], &[Transition::Down]),
        (Up, &[F, F, S, F, F, S], &[]),
        (Up, &[F, F, E, E, E, F], &[Transition::Down]),
        (Up, &[E, E, E, E, E, E], &[]),
        (Down, &[S, S, F, F, F, S, S], &[Transition::Up, Transition::Down, Transition::Up]),
    ];
    for (initial, found, wanted) in cases {
        let mut monitor = Monitor::new(&check(2, 3, 80), Start::Fresh(initial), epoch());
        let seen: Vec<_> = found.iter().filter_map(|found| step(&mut monitor, *found)).collect();
        assert_eq!(seen, wanted, "{initial:?} {found:?}");
    }
}

#[test]
fn the_first_check_comes_at_once_and_no_second_one_beside_it() {
    let now = epoch();
    let mut monitor = Monitor::new(&check(1, 3, 80), Start::Fresh(InitialState::Down), now);
    assert_eq!(monitor.deadline(), Some(now));
    assert!(monitor.on_deadline(now));
    assert_eq!(monitor.deadline(), None);
    assert!(!monitor.on_deadline(now + 10 * INTERVAL));
}

#[test]
fn a_result_that_nobody_waits_for_is_ignored() {
    let now = epoch();
    let mut monitor = Monitor::new(&check(1, 1, 80), Start::Fresh(InitialState::Down), now);
    assert_eq!(monitor.on_result(now, report(Found::Success)), None);
    assert_eq!(monitor.status(), &Status::starting(Start::Fresh(InitialState::Down), now));
}

#[test]
fn carried_health_keeps_its_age() {
    let now = epoch();
    let carried = Carried { health: Health::Up, weight: Some(7), age: Duration::from_secs(60) };
    let monitor = Monitor::new(&check(1, 1, 80), Start::Carried(carried), now);
    assert_eq!(monitor.status().carry(now), carried);
    let later = now + Duration::from_secs(5);
    assert_eq!(monitor.status().carry(later).age, Duration::from_secs(65));
}

#[test]
fn a_script_changes_the_weight_without_a_change_of_health() {
    let weighed = |weight| Report {
        result: CheckResult::Success { detail: String::new(), weight },
        latency: Duration::ZERO,
    };
    let mut monitor = Monitor::new(&check(1, 1, 80), Start::Fresh(InitialState::Up), epoch());
    let mut seen = Vec::new();
    for weight in [Some(5), Some(5), None, Some(0)] {
        let at = monitor.deadline().expect("waiting");
        assert!(monitor.on_deadline(at));
        seen.push((monitor.on_result(at, weighed(weight)), monitor.status().weight));
    }
    let changed = Some(Transition::Weight);
    assert_eq!(seen, [(changed, Some(5)), (None, Some(5)), (None, Some(5)), (changed, Some(0))]);
}

#[test]
fn ten_thousand_checks_spread_over_their_interval() {
    let now = epoch();
    let mut slots = [0_u32; 100];
    for port in 0..10_000 {
        let mut monitor = Monitor::new(&check(1, 3, port), Start::Fresh(InitialState::Up), now);
        step(&mut monitor, Found::Success);
        let wait = monitor.deadline().expect("waiting") - now;
        assert!(wait <= INTERVAL);
        slots[(wait.as_millis() / 50).min(99) as usize] += 1;
    }
    // 100 are expected in each; six standard deviations are 60.
    assert!(slots.iter().all(|count| (40..160).contains(count)), "{slots:?}");
}

/// One turn of the simulated driver: how late it starts the check, how long that runs, what it finds.
fn turns() -> impl Strategy<Value = Vec<(u64, u64, Found)>> {
    let found = prop_oneof![3 => Just(Found::Success), 3 => Just(Found::Failure), 1 => Just(Found::Error)];
    let late = prop_oneof![3 => Just(0), 1 => 0..200_u64];
    let takes = prop_oneof![3 => 0..900_u64, 1 => 0..12_000_u64];
    proptest::collection::vec((late, takes, found), 1..60)
}

/// The health that a history shows, said without counting: the latest run of `rise` successes or `fall` failures.
fn shown(history: &[Found], rise: usize, fall: usize, initial: Health) -> Health {
    let ends_with = |end: usize, found: Found, length: usize| {
        end >= length && history[end - length..end].iter().all(|each| *each == found)
    };
    (1..=history.len())
        .rev()
        .find_map(|end| {
            let up = ends_with(end, Found::Success, rise).then_some(Health::Up);
            up.or_else(|| ends_with(end, Found::Failure, fall).then_some(Health::Down))
        })
        .unwrap_or(initial)
}

proptest! {
    #[test]
    fn every_interleaving_keeps_the_invariants(
        turns in turns(), rise in 1..4_u32, fall in 1..4_u32, port: u16, up: bool
    ) {
        let start = epoch();
        let initial = if up { InitialState::Up } else { InitialState::Down };
        let mut monitor = Monitor::new(&check(rise, fall, port), Start::Fresh(initial), start);
        let initial = monitor.status().health;
        let mut conclusive = Vec::new();
        let mut now = start;
        for (late, takes, found) in turns {
            let due = monitor.deadline().expect("waiting");
            if due > now {
                prop_assert!(!monitor.on_deadline(due - Duration::from_nanos(1)), "started early");
            }
            let started = due.max(now) + Duration::from_millis(late);
            prop_assert!(monitor.on_deadline(started));
            prop_assert!(!monitor.on_deadline(started + INTERVAL), "two at once");

            now = started + Duration::from_millis(takes);
            let before = monitor.status().health;
            let transition = monitor.on_result(now, report(found));
            if found != Found::Error {
                conclusive.push(found);
            }
            let after = monitor.status().health;
            prop_assert_eq!(after, shown(&conclusive, rise as usize, fall as usize, initial));
            let expected = (before != after).then_some(match after {
                Health::Up => Transition::Up,
                Health::Down => Transition::Down,
            });
            prop_assert_eq!(transition, expected);
            if transition.is_some() {
                prop_assert_eq!(monitor.status().since, now);
            }

            let next = monitor.deadline().expect("waiting");
            prop_assert!(next > started && next - started <= INTERVAL, "start to start: {:?}", next - started);
            let changing = conclusive.last().is_some_and(|last| (*last == Found::Success) != (after == Health::Up));
            if changing {
                prop_assert_eq!(next - started, INTERVAL / HASTE);
            } else {
                prop_assert!(on_grid(&monitor, next), "the schedule has shifted");
            }
        }
    }
}

fn on_grid(monitor: &Monitor, at: Instant) -> bool {
    let apart = at.max(monitor.grid) - at.min(monitor.grid);
    apart.as_nanos().is_multiple_of(INTERVAL.as_nanos())
}
