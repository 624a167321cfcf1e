//! The only place that knows everyone: events in, plan, diff, apply.

mod changes;
mod connections;
mod engine;
mod explain;
mod journal;
mod overrides;
mod scrape;
mod secret;
mod start;
mod sweeper;
pub mod unload;
mod view;
mod writes;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Semaphore, mpsc},
    time::sleep_until,
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
    host::watch::HostEvent,
    pool::blindness::Sight,
};
use engine::{Engine, News};
use journal::Journal;
use view::Attached;

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
    journal: Journal,
    /// Of configuration and overrides; grows with every change.
    generation: u64,
    /// Whether the file was applied when it was last read.
    reloaded: bool,
    /// Room for those who read the connections.
    readers: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Everything the daemon waits for.
struct Events {
    calls: mpsc::Receiver<Call>,
    health: mpsc::Receiver<health::Event>,
    host: mpsc::Receiver<HostEvent>,
    sweeps: mpsc::Receiver<Result<Seen, SweepError>>,
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
        while self.pins.is_some() {
            let deadline = self.engine.deadline();
            tokio::select! {
                Some(call) = events.calls.recv() => self.call(call).await,
                Some(event) = events.health.recv() => self.heard(event),
                event = events.host.recv() => match event {
                    Some(event) => self.host_changed(event).await,
                    None => {
                        // The socket is gone; a new one begins with what may have been missed.
                        events.host = crate::host::watch::watch()?;
                        self.host_changed(HostEvent::Links).await;
                    }
                },
                Some(sweep) = events.sweeps.recv() => self.swept(sweep),
                () = wait_until(deadline) => self.apply(),
                Some(()) = events.hangup.recv() => {
                    // Written to the journal either way.
                    let _ = self.write(Write::Reload, None).await;
                }
                Some(()) = events.terminate.recv() => break,
                Some(()) = events.interrupt.recv() => break,
            }
        }
        Ok(())
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
                view::status(&self.engine, &self.attached, self.generation, virtual_server.as_deref(), now())
                    .map(|status| Reply::Status(Box::new(status)))
                    .map_err(|error| failed(&error))
            }
            Request::Diff => self.difference().map(Reply::Changes),
            Request::Events { follow } => Ok(Reply::Events(self.journal.feed(follow))),
            Request::Connections(query) => self.connections(query),
            Request::Explain(question) => {
                self.explain(&question).map(|explanation| Reply::Explanation(Box::new(explanation)))
            }
            Request::Metrics => self.metrics().map(Reply::Metrics),
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

    /// A check has run.
    fn heard(&mut self, event: health::Event) {
        let Some(status) = self.engine.statuses.get_mut(&*event.check) else { return };
        *status = event.status;
        let engine = &mut self.engine;
        let sight = engine
            .statuses
            .get(&*event.check)
            .and_then(|changed| engine.guard.observe(changed, engine.statuses.values()));
        match sight {
            Some(Sight::Lost) => {
                self.note(Kind::Check, "checks", "every check is silent: pools stay as they are");
            }
            Some(Sight::Regained) => self.note(Kind::Check, "checks", "a check has heard something again"),
            None => {}
        }
        if event.transition.is_some() || sight.is_some() {
            self.apply();
        }
    }

    /// Something about this host has changed.
    async fn host_changed(&mut self, event: HostEvent) {
        if event == HostEvent::Links
            && let Err(error) = self.relink().await
        {
            tracing::warn!("{error:#}");
        }
        if let Err(error) = self.engine.paths_changed() {
            tracing::error!("{error:#}");
        }
    }

    fn swept(&mut self, sweep: Result<Seen, SweepError>) {
        (self.kernel_log)();
        match sweep {
            Ok(seen) => {
                if self.engine.swept(seen) {
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

    fn tell(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::RealServer { name, from: None, to } => {
                    self.note(Kind::State, &name, &format!("{name} is {to}"));
                }
                News::RealServer { name, from: Some(from), to } => {
                    self.note(Kind::State, &name, &format!("{name} goes from {from} to {to}"));
                }
                News::Quorum { name, up } => {
                    let word = if up { "met" } else { "lost" };
                    self.note(Kind::Quorum, &name, &format!("quorum of {name} is {word}"));
                }
            }
        }
    }

    fn note(&mut self, kind: Kind, object: &str, message: &str) {
        self.journal.note(now().1, kind, object, message);
    }
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
