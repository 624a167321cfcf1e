//! The sweep on a thread of its own: a million entries take longer than an operator should wait for a command.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    config::model,
    dataplane::{
        clock::Clock,
        maps::Maps,
        sweep::{Period, Rule, Seen, SweepError, Timeouts, sweep, write_loads},
    },
    pool::passive::UNANSWERED,
};

/// Pause between two sweeps; longer when a sweep takes long, so that it never takes more than a tenth of a CPU.
const PAUSE: Duration = Duration::from_secs(1);

/// What the sweep goes by, by real server index: written by the daemon, read before every sweep.
pub(super) type Rules = Arc<Mutex<Arc<HashMap<u32, Rule>>>>;

/// Idle times as the sweep takes them.
pub(super) fn ticks(clock: Clock, timeouts: &model::Timeouts) -> Timeouts {
    Timeouts {
        syn: clock.ticks(timeouts.syn),
        established: clock.ticks(timeouts.established),
        fin: clock.ticks(timeouts.fin),
        close_wait: clock.ticks(timeouts.close_wait),
        time_wait: clock.ticks(timeouts.time_wait),
        close: clock.ticks(timeouts.close),
        udp: clock.ticks(timeouts.udp),
    }
}

/// For connections whose real server nobody knows any more.
pub(super) fn unknown(clock: Clock) -> Rule {
    Rule { timeouts: ticks(clock, &model::Timeouts::default()), persistence: None, leaving: false }
}

/// Sweeps until nobody takes the results any more.
pub(super) fn run(
    mut maps: Maps,
    clock: Clock,
    read_clock: impl Fn() -> Option<u32>,
    rules: &Rules,
    wake: &std::sync::mpsc::Receiver<()>,
    results: &mpsc::Sender<Result<Seen, SweepError>>,
) {
    let mut pause = PAUSE;
    let unknown = unknown(clock);
    let mut before = None;
    // The daemon ends the thread by dropping its end of `wake`.
    while matches!(wake.recv_timeout(pause), Ok(()) | Err(std::sync::mpsc::RecvTimeoutError::Timeout)) {
        let Some(now) = read_clock() else { continue };
        let rules = Arc::clone(&rules.lock().unwrap_or_else(PoisonError::into_inner));
        let rule = |index: u32| rules.get(&index).copied().unwrap_or(unknown);
        let period =
            Period { since: before.replace(now).unwrap_or(now), now, unanswered: clock.ticks(UNANSWERED) };
        let seen = sweep(&mut maps, period, &rule).and_then(|mut seen| {
            write_loads(&mut maps, &seen, rules.keys().copied())?;
            let leaving = rules.iter().filter(|(_, rule)| rule.leaving).map(|(&index, _)| index);
            seen.unused = leaving.filter(|index| !seen.refers_to(*index)).collect();
            Ok(seen)
        });
        let took = clock.since(now, read_clock());
        pause = PAUSE.max(took * 10);
        if results.blocking_send(seen).is_err() {
            return;
        }
    }
}
