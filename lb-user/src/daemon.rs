//! The only place that knows everyone: events in, plan, diff, apply.

mod changes;
mod connections;
mod drops;
mod elections;
mod engine;
mod explain;
mod farewell;
mod headers;
mod interfaces;
mod journal;
mod overrides;
mod passive;
mod reconcile;
mod remembered;
mod scrape;
mod secret;
mod start;
mod state_file;
mod sweeper;
pub mod unload;
mod view;
mod vrrp;
mod writes;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    control::{Call, Caller, Code, Failure, Readiness, Reply, Request, Write, event::Kind},
    dataplane::{
        pins::Pins,
        programs::Programs,
        sweep::{Seen, SweepError},
    },
    health::{self, task::Handle},
    host::{on_link, watch::HostEvent},
    pool::blindness::Sight,
};
use drops::Door;
use elections::{Elections, Heard};
use engine::{Engine, News};
use journal::Journal;
use reconcile::Reconciled;
use remembered::Remembered;
use view::Attached;

/// Time between two looks at what somebody may have changed by hand.
const ROUND: Duration = Duration::from_secs(10);

/// Health that does not change is saved every so many rounds, for its age.
const SAVED_EVERY: u64 = 6;

/// What `xlb run` is told.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// Instead of the configuration's `api.socket`.
    pub socket: Option<PathBuf>,
}

/// Runs until it is told to stop. The data plane stays and goes on forwarding.
///
/// # Errors
///
/// It cannot start; the running state is as it was before.
pub async fn run(options: RunOptions) -> anyhow::Result<()> {
    let (daemon, events, server) = start::start(options).await?;
    let shutdown = daemon.shutdown.clone();
    let result = daemon.serve(events).await;
    shutdown.cancel();
    // The reply to the last command is still under way.
    server.await?;
    result
}

/// Writes what the program has said to our log.
type KernelLog = Box<dyn FnMut() + Send>;

/// The daemon.
struct Daemon {
    options: RunOptions,
    engine: Engine,
    programs: Programs,
    /// What the program says; read after every sweep.
    kernel_log: KernelLog,
    /// None once everything was unloaded.
    pins: Option<Pins>,
    attached: Vec<Attached>,
    health: Handle,
    elections: Elections,
    journal: Journal,
    /// Of configuration and overrides; grows with every change.
    generation: u64,
    /// Whether the file was applied when it was last read.
    reloaded: bool,
    /// What was changed by hand and put right.
    reconciled: Reconciled,
    /// Health has changed since it was saved last.
    unsaved: bool,
    /// Room for those who read the connections.
    readers: Arc<Semaphore>,
    drops: Door,
    shutdown: CancellationToken,
}

/// Everything the daemon waits for.
struct Events {
    calls: mpsc::Receiver<Call>,
    health: mpsc::Receiver<health::Event>,
    host: mpsc::Receiver<HostEvent>,
    sweeps: mpsc::Receiver<Result<Seen, SweepError>>,
    vrrp: mpsc::UnboundedReceiver<Heard>,
    /// Dropped at the end, which ends the sweep.
    _sweeper: std::sync::mpsc::Sender<()>,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Events {
    fn signals() -> std::io::Result<(Signal, Signal, Signal)> {
        Ok((
            signal(SignalKind::hangup())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ))
    }
}

/// The present, as this process and as people see it.
#[expect(
    clippy::disallowed_methods,
    reason = "the daemon is the driver of everything that takes the time as an argument"
)]
fn now() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
}

impl Daemon {
    async fn serve(mut self, mut events: Events) -> anyhow::Result<()> {
        self.follow_vrrp();
        let result = self.work(&mut events).await;
        // The data plane stays; who owns its addresses is for others to decide from here on.
        self.elections.stop().await;
        result
    }

    async fn work(&mut self, events: &mut Events) -> anyhow::Result<()> {
        let mut rounds = interval_at(tokio::time::Instant::now() + ROUND, ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0u64;
        while self.pins.is_some() {
            let deadline = self.engine.deadline();
            tokio::select! {
                Some(call) = events.calls.recv() => self.call(call).await,
                Some(results) = waiting(&mut events.health) => self.heard(&results),
                event = events.host.recv() => match event {
                    Some(event) => self.host_changed(event).await,
                    None => {
                        // The socket is gone; a new one begins with what may have been missed.
                        events.host = crate::host::watch::watch()?;
                        self.host_changed(HostEvent::Links).await;
                    }
                },
                Some(sweep) = events.sweeps.recv() => self.swept(sweep),
                Some(heard) = events.vrrp.recv() => self.heard_of_vrrp(heard)?,
                () = wait_until(deadline) => self.apply(),
                _ = rounds.tick() => {
                    round += 1;
                    self.reconcile().await;
                    if self.unsaved || round.is_multiple_of(SAVED_EVERY) {
                        self.save_health().await;
                    }
                }
                Some(()) = events.hangup.recv() => {
                    // Written to the journal either way.
                    let _ = self.write(Write::Reload, None).await;
                }
                Some(()) = events.terminate.recv() => break,
                Some(()) = events.interrupt.recv() => break,
            }
        }
        if self.pins.is_some() {
            self.save_health().await;
        }
        Ok(())
    }

    /// Keeps what checks have found. A disk that is full harms nothing: the pinned maps say who is alive.
    async fn save_health(&mut self) {
        self.unsaved = false;
        let remembered = Remembered::of(&self.engine.config, &self.engine.statuses, now());
        let directory = self.engine.config.global.state_dir.clone();
        let saved =
            spawn_blocking(move || remembered.save(&directory).map_err(|error| (directory, error))).await;
        if let Ok(Err((directory, error))) = saved {
            tracing::warn!("cannot keep the health of checks in {}: {error}", directory.display());
        }
    }

    async fn call(&mut self, call: Call) {
        let Call { request, caller, reply } = call;
        let result = self.answer(request, caller).await;
        // A client that is gone does not want the answer.
        let _ = reply.send(result);
    }

    async fn answer(&mut self, request: Request, caller: Caller) -> Result<Reply, Failure> {
        match request {
            Request::Ready => Ok(Reply::Ready(self.readiness())),
            Request::Status { virtual_server } => {
                if let Some(name) = &virtual_server {
                    self.virtual_server(name)?;
                }
                let vrrp = self.vrrp().await;
                let only = virtual_server.as_deref();
                let beside = (self.attached.as_slice(), &self.reconciled);
                view::status(&self.engine, beside, self.generation, only, vrrp, now())
                    .map(|status| Reply::Status(Box::new(status)))
                    .map_err(|error| failed(&error))
            }
            Request::Vrrp => Ok(Reply::Vrrp(self.vrrp().await)),
            Request::Diff => self.difference().map(Reply::Changes),
            Request::Events { follow } => Ok(Reply::Events(self.journal.feed(follow))),
            Request::Connections(query) => self.connections(query),
            Request::Drops => self.drops.enter(),
            Request::Explain(question) => {
                self.explain(&question).map(|explanation| Reply::Explanation(Box::new(explanation)))
            }
            Request::Metrics => self.metrics().await.map(Reply::Metrics),
            Request::Write { write, if_generation } => {
                let words = write.to_string();
                let changes = self.write(write, if_generation).await?;
                self.journal.note(now().1, Kind::Command, words, format!("by {caller}"));
                Ok(Reply::Changes(changes))
            }
        }
    }

    fn readiness(&self) -> Readiness {
        let unknown = self.engine.statuses.values().filter(|status| status.last.is_none()).count();
        match unknown {
            0 => Readiness::Ready,
            _ => Readiness::NotReady(format!("{unknown} checks have not run yet")),
        }
    }

    /// Checks have run: what they change is applied once, however many they are.
    fn heard(&mut self, results: &[health::Event]) {
        let mut changed = false;
        for event in results {
            changed |= self.take_in(event);
        }
        if changed {
            self.apply();
        }
        self.follow_vrrp();
    }

    /// Whether the result of a check changes a pool.
    fn take_in(&mut self, event: &health::Event) -> bool {
        let Some(status) = self.engine.statuses.get_mut(&*event.check) else { return false };
        status.clone_from(&event.status);
        self.engine.remembered.remove(&*event.check);
        self.unsaved |= event.transition.is_some();
        let engine = &mut self.engine;
        let sight = engine
            .statuses
            .get(&*event.check)
            .and_then(|changed| engine.guard.observe((&event.check, changed), &engine.statuses));
        match sight {
            Some(Sight::Lost) => {
                self.note(Kind::Check, "checks", "every check is silent: pools stay as they are");
            }
            Some(Sight::Regained) => self.note(Kind::Check, "checks", "a check has heard something again"),
            Some(Sight::Confirmed) | None => {}
        }
        event.transition.is_some() || sight.is_some()
    }

    /// Something about this host has changed.
    async fn host_changed(&mut self, event: HostEvent) {
        if event == HostEvent::Links
            && let Err(error) = self.relink().await
        {
            tracing::warn!("{error:#}");
        }
        match on_link::read() {
            Ok(links) if links != self.engine.host.links => {
                self.engine.host.links = links;
                self.apply();
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("cannot read this machine's addresses: {error}"),
        }
        if let Err(error) = self.engine.paths_changed() {
            tracing::error!("{error:#}");
        }
    }

    fn swept(&mut self, sweep: Result<Seen, SweepError>) {
        (self.kernel_log)();
        match sweep {
            Ok(seen) => {
                let released = self.engine.swept(seen);
                let changes = self.engine.look(now().0);
                if released || !changes.is_empty() {
                    self.suspect(&changes);
                    self.apply();
                }
            }
            Err(error) => tracing::warn!("{error:#}"),
        }
    }

    /// Brings the data plane in step with everything that is known.
    fn apply(&mut self) {
        let (instant, wall) = now();
        match self.engine.apply(instant, wall) {
            Ok(news) => self.tell(news),
            Err(error) => tracing::error!("{:#}", anyhow::Error::new(error)),
        }
    }

    fn tell(&mut self, mut news: Vec<News>) {
        let new = news.iter().filter(|news| news.is_new()).count();
        if new > journal::REMEMBERED {
            news.retain(|news| !news.is_new());
            let words = format!("{new} virtual servers and real servers are new, too many to name each");
            self.note(Kind::State, "configuration", &words);
        }
        for news in news {
            match news {
                News::RealServer { name, from: None, to } => {
                    self.note(Kind::State, &name, &format!("{name} is {to}"));
                }
                News::RealServer { name, from: Some(from), to } => {
                    self.note(Kind::State, &name, &format!("{name} goes from {from} to {to}"));
                }
                News::Lost(real_servers) => self.part(real_servers),
                News::Quorum { name, up, is_new: _ } => {
                    let word = if up { "met" } else { "lost" };
                    self.note(Kind::Quorum, &name, &format!("quorum of {name} is {word}"));
                }
            }
        }
        self.follow_vrrp();
    }

    fn note(&mut self, kind: Kind, object: &str, message: &str) {
        self.journal.note(now().1, kind, object, message);
    }
}

/// All results of checks that wait: the slower they are taken, the more there are at once.
async fn waiting(health: &mut mpsc::Receiver<health::Event>) -> Option<Vec<health::Event>> {
    let mut results = Vec::new();
    (health.recv_many(&mut results, start::RESULTS).await > 0).then_some(results)
}

/// Until `deadline`; for ever without one.
async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// An error nobody asked for, with all its causes.
fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Code::Failed, with_causes(error))
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
