//! The sweep on a thread of its own: a million entries take longer than an operator should wait for a command.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    dataplane::{
        clock::Clock,
        maps::Maps,
        sweep::{Period, Seen, SweepError, Timeouts, sweep, write_loads},
    },
    pool::passive::UNANSWERED,
};

/// Pause between two sweeps; longer when a sweep takes long, so that it never takes more than a tenth of a CPU.
const PAUSE: Duration = Duration::from_secs(1);

/// What the sweep goes by, by real server index: written by the daemon, read before every sweep.
pub(super) type Rules = Arc<Mutex<HashMap<u32, Timeouts>>>;

/// Idle times of connections whose real server nobody knows any more.
pub(super) const UNKNOWN: fn(Clock) -> Timeouts = |clock| Timeouts {
    established: clock.ticks(Duration::from_secs(900)),
    half_closed: clock.ticks(Duration::from_secs(120)),
    closing: clock.ticks(Duration::from_secs(60)),
    half_open: clock.ticks(Duration::from_secs(60)),
    udp: clock.ticks(Duration::from_secs(300)),
};

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
    let mut before = None;
    // The daemon ends the thread by dropping its end of `wake`.
    while matches!(wake.recv_timeout(pause), Ok(()) | Err(std::sync::mpsc::RecvTimeoutError::Timeout)) {
        let Some(now) = read_clock() else { continue };
        let rules = rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let timeouts = |index: u32| rules.get(&index).copied().unwrap_or_else(|| UNKNOWN(clock));
        let period =
            Period { since: before.replace(now).unwrap_or(now), now, unanswered: clock.ticks(UNANSWERED) };
        let seen = sweep(&mut maps, period, &timeouts)
            .and_then(|seen| write_loads(&mut maps, &seen, rules.keys().copied()).map(|()| seen));
        let took = clock.since(now, read_clock());
        pause = PAUSE.max(took * 10);
        if results.blocking_send(seen).is_err() {
            return;
        }
    }
}
