//! Tasks that watch what is tracked; one that stays the same in another configuration goes on.

use std::collections::HashMap;

use tokio::sync::mpsc::Sender;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    config::vrrp::{File, Kind, Process, Script, Vrrp},
    vrrp::{
        file, process,
        script::{self, ScriptUser},
        tracker::Reading,
    },
};

/// What was found out about something that is tracked.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) reading: Reading,
    /// For people; none where they need not be told.
    pub(super) said: Option<String>,
}

impl Report {
    pub(super) fn new(kind: Kind, name: &str, reading: Reading, said: Option<String>) -> Self {
        Self { kind, name: name.to_owned(), reading, said }
    }
}

/// What is known of everything that instances track, beside interfaces. What is missing is not known yet.
#[derive(Debug, Default)]
pub(super) struct Readings(HashMap<(Kind, String), Reading>);

impl Readings {
    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<Reading> {
        self.0.get(&(kind, name.to_owned())).copied()
    }

    pub(super) fn set(&mut self, kind: Kind, name: String, reading: Reading) {
        self.0.insert((kind, name), reading);
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Watched {
    Script(Script),
    Process(Process),
    File(File),
}

impl Watched {
    fn of(config: &Vrrp) -> impl Iterator<Item = Self> {
        let scripts = config.scripts.iter().cloned().map(Self::Script);
        let processes = config.processes.iter().cloned().map(Self::Process);
        scripts.chain(processes).chain(config.files.iter().cloned().map(Self::File))
    }

    fn id(&self) -> (Kind, String) {
        match self {
            Self::Script(script) => (Kind::Script, script.name.clone()),
            Self::Process(process) => (Kind::Process, process.name.clone()),
            Self::File(file) => (Kind::File, file.name.clone()),
        }
    }
}

/// The tasks.
#[derive(Debug)]
pub(super) struct Watchers {
    tasks: Vec<(Watched, AbortOnDropHandle<()>)>,
    user: Option<ScriptUser>,
    reports: Sender<Report>,
}

impl Watchers {
    /// None yet. Scripts run as `user`.
    pub(super) fn new(user: Option<ScriptUser>, reports: Sender<Report>) -> Self {
        Self { tasks: Vec::new(), user, reports }
    }

    /// Watches what a configuration names and nothing else; what is known of others is forgotten.
    pub(super) fn follow(&mut self, config: &Vrrp, readings: &mut Readings) {
        let wanted: Vec<Watched> = Watched::of(config).collect();
        self.tasks.retain(|(watched, _)| wanted.contains(watched));
        let goes_on: Vec<_> = self.tasks.iter().map(|(watched, _)| watched.id()).collect();
        readings.0.retain(|id, _| id.0 == Kind::VirtualServer || goes_on.contains(id));
        for watched in wanted.into_iter().filter(|each| !goes_on.contains(&each.id())) {
            let reports = self.reports.clone();
            let task = match watched.clone() {
                Watched::Script(script) => tokio::spawn(script::track(script, self.user, reports)),
                Watched::Process(process) => tokio::spawn(process::track(process, reports)),
                Watched::File(file) => tokio::spawn(file::track(file, reports)),
            };
            self.tasks.push((watched, AbortOnDropHandle::new(task)));
        }
    }
}
