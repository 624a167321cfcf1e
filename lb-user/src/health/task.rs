//! Drives all checks: waits for the next one that is due, starts it, feeds its result back, publishes what it means.

use std::{
    collections::HashMap,
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    task::{self, AbortHandle, JoinError, JoinSet},
    time::sleep_until,
};

use super::{
    board::{Board, Event, Id},
    counters::Counters,
    monitor::Start,
    probe::{self, Context},
    result::{CheckResult, Report},
};
use crate::config::model::Check;

/// Tells a running task what to check; dropping it ends the task and its checks.
#[derive(Debug)]
pub struct Handle {
    wanted: mpsc::UnboundedSender<Vec<(Check, Start)>>,
    counters: Arc<Counters>,
}

impl Handle {
    /// Replaces the set of checks, without waiting. A check that stays keeps its state and schedule whatever its
    /// `Start`; equal ones run once and the first one's `Start` counts.
    pub fn set_checks(&self, checks: Vec<(Check, Start)>) {
        // Refused only by a task that has ended with its runtime or its events' receiver.
        let _ = self.wanted.send(checks);
    }

    /// For metrics.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Starts the task on the current runtime. No more than `max_running` checks run at once, each with one file
/// descriptor (a script has a few); a check that finds no room waits for one that ends. Each run publishes one event;
/// while nobody takes them no new checks start.
#[must_use]
pub fn spawn(context: Context, max_running: usize, events: mpsc::Sender<Event>) -> Handle {
    let (sender, wanted) = mpsc::unbounded_channel();
    let counters = Arc::new(Counters::default());
    let task = Task {
        context: Arc::new(context),
        max_running: max_running.max(1),
        counters: Arc::clone(&counters),
        board: Board::default(),
        runs: JoinSet::new(),
        running: HashMap::new(),
    };
    tokio::spawn(task.run(wanted, events));
    Handle { wanted: sender, counters }
}

struct Task {
    context: Arc<Context>,
    max_running: usize,
    counters: Arc<Counters>,
    board: Board,
    runs: JoinSet<Report>,
    running: HashMap<task::Id, (Id, AbortHandle)>,
}

impl Task {
    async fn run(
        mut self,
        mut wanted: mpsc::UnboundedReceiver<Vec<(Check, Start)>>,
        events: mpsc::Sender<Event>,
    ) {
        loop {
            let next_start = self.next_start();
            tokio::select! {
                checks = wanted.recv() => match checks {
                    Some(checks) => self.set_checks(&checks),
                    None => return,
                },
                Some(ended) = self.runs.join_next_with_id() => {
                    if let Some(event) = self.on_end(ended) && events.send(event).await.is_err() {
                        return;
                    }
                }
                () = due(next_start) => self.start(),
            }
        }
    }

    fn set_checks(&mut self, checks: &[(Check, Start)]) {
        self.context.refresh();
        let gone = self.board.set_checks(checks, now());
        for (id, run) in self.running.values() {
            if gone.contains(id) {
                run.abort();
            }
        }
    }

    /// When the next check is due, if there is room for it.
    fn next_start(&self) -> Option<Instant> {
        self.board.deadline().filter(|_| self.running.len() < self.max_running)
    }

    fn start(&mut self) {
        while self.running.len() < self.max_running
            && let Some(run) = self.board.start(now())
        {
            self.counters.on_start(run.late, run.check.interval);
            let context = Arc::clone(&self.context);
            let handle = self.runs.spawn(async move { probe::run(&run.check, &context).await });
            self.running.insert(handle.id(), (run.id, handle));
        }
    }

    fn on_end(&mut self, ended: Result<(task::Id, Report), JoinError>) -> Option<Event> {
        let (run, report) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let result = CheckResult::Error { reason: error.to_string() };
                (error.id(), Report { result, latency: Duration::ZERO })
            }
        };
        let (id, _) = self.running.remove(&run)?;
        let event = self.board.on_result(id, report, now())?;
        if let Some((_, report)) = &event.status.last {
            self.counters.on_result(report);
        }
        Some(event)
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "this driver reads the clock for the pure board")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
