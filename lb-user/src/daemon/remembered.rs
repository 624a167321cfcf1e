//! The last health of every check, kept in the state directory with its age: a restart goes on where it was.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::state_file;
use crate::{
    config::model::{Check, Config},
    health::{Carried, Health, Status},
};

/// What was seen longer ago says nothing any more: the configuration's `initial_state` holds.
const STALE: Duration = Duration::from_secs(300);

/// The file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Remembered {
    checks: Vec<Entry>,
}

/// One check of one real server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    virtual_server: String,
    real_server: SocketAddr,
    /// Its place among the real server's checks.
    number: usize,
    /// Who was asked.
    target: SocketAddr,
    health: Health,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    /// When the health changed last.
    #[serde(with = "humantime_serde")]
    since: SystemTime,
    /// When the last result came.
    #[serde(with = "humantime_serde")]
    seen: SystemTime,
    /// That result in words.
    last: String,
}

impl Entry {
    /// How long it has been so.
    pub(super) fn carried(&self, now: SystemTime) -> Carried {
        let age = now.duration_since(self.since).unwrap_or_default();
        Carried { health: self.health, weight: self.weight, age }
    }

    /// For the status, until the check has run.
    pub(super) fn text(&self, now: SystemTime) -> String {
        let age = now.duration_since(self.seen).unwrap_or_default().as_secs();
        format!("carried over, {age} s old: {}", self.last)
    }
}

impl Remembered {
    /// What checks of `config` have found so far.
    pub(super) fn of(
        config: &Config,
        statuses: &HashMap<Check, Status>,
        (now, wall): (Instant, SystemTime),
    ) -> Self {
        let at = |then: Instant| wall - now.saturating_duration_since(then);
        let mut checks = Vec::new();
        for server in &config.virtual_servers {
            for real in &server.real_servers {
                for (number, check) in real.checks.iter().enumerate() {
                    let Some(status) = statuses.get(check) else { continue };
                    let Some((seen, report)) = &status.last else { continue };
                    checks.push(Entry {
                        virtual_server: server.name.clone(),
                        real_server: real.address,
                        number,
                        target: check.target,
                        health: status.health,
                        weight: status.weight,
                        since: at(status.since),
                        seen: at(*seen),
                        last: report.result.text().to_owned(),
                    });
                }
            }
        }
        Self { checks }
    }

    /// What is fresh enough, by the checks of `config`.
    pub(super) fn fresh(self, config: &Config, now: SystemTime) -> HashMap<Check, Entry> {
        let is_fresh = |entry: &Entry| now.duration_since(entry.seen).is_ok_and(|age| age <= STALE);
        let key = |entry: &Entry| (entry.virtual_server.clone(), entry.real_server, entry.number);
        let mut known: HashMap<_, _> =
            self.checks.into_iter().filter(is_fresh).map(|entry| (key(&entry), entry)).collect();
        let mut found = HashMap::new();
        for server in &config.virtual_servers {
            for real in &server.real_servers {
                for (number, check) in real.checks.iter().enumerate() {
                    let entry = known.remove(&(server.name.clone(), real.address, number));
                    if let Some(entry) = entry.filter(|entry| entry.target == check.target) {
                        found.insert(check.clone(), entry);
                    }
                }
            }
        }
        found
    }

    /// From the state directory. A file that is damaged is no reason not to start: checks come at once.
    pub(super) fn load(state_dir: &Path) -> Self {
        let path = path(state_dir);
        state_file::read(&path).map(Option::unwrap_or_default).unwrap_or_else(|error| {
            tracing::warn!("{} is not used: {error}", path.display());
            Self::default()
        })
    }

    /// To the state directory.
    ///
    /// # Errors
    ///
    /// That of the file system; the old file stays.
    pub(super) fn save(&self, state_dir: &Path) -> io::Result<()> {
        state_file::write(&path(state_dir), self)
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("health.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Host, parse},
        health::{CheckResult, Report},
    };

    #[expect(clippy::disallowed_methods, reason = "any moment will do to count from")]
    fn epoch() -> (Instant, SystemTime) {
        (Instant::now(), SystemTime::now())
    }

    fn config() -> Config {
        let text = r#"
            [global]
            interfaces = ["eth0"]
            [[virtual_server]]
            name = "web"
            address = "192.0.2.10:80"
            check = { type = "tcp" }
            real_server = [ { address = "10.0.0.1:80" }, { address = "10.0.0.2:80" } ]
        "#;
        parse(text, &Host::imagined("lb")).0.expect("a good file")
    }

    /// One check was found down five seconds ago, the other has not run.
    fn remembered(config: &Config, (now, wall): (Instant, SystemTime)) -> Remembered {
        let check = |number: usize| config.virtual_servers[0].real_servers[number].checks[0].clone();
        let result = CheckResult::Failure { reason: "connection refused".into(), answered: true };
        let report = Report { result, latency: Duration::ZERO };
        let status = |last| Status { health: Health::Down, weight: None, since: now, last };
        let statuses = HashMap::from([(check(0), status(Some((now, report)))), (check(1), status(None))]);
        Remembered::of(config, &statuses, (now + Duration::from_secs(5), wall))
    }

    #[test]
    fn a_result_is_found_again_with_its_age_and_not_when_it_is_stale() {
        let (config, now) = (config(), epoch());
        let directory = tempfile::tempdir().expect("a directory");
        let written = remembered(&config, now);
        written.save(directory.path()).expect("room");
        let read = Remembered::load(directory.path());
        // Times are kept as people write them, to the nanosecond.
        assert_eq!(read, written);
        let found = read.fresh(&config, now.1 + Duration::from_secs(60));
        let [(check, entry)] = found.iter().collect::<Vec<_>>()[..] else { panic!("{found:?}") };
        assert_eq!(check.target, "10.0.0.1:80".parse().expect("an address"));
        let later = now.1 + Duration::from_secs(60);
        assert_eq!(entry.text(later), "carried over, 65 s old: connection refused");
        let carried = Carried { health: Health::Down, weight: None, age: Duration::from_secs(65) };
        assert_eq!(entry.carried(later), carried);
        assert!(written.fresh(&config, now.1 + STALE).is_empty());
    }

    #[test]
    fn a_file_that_was_cut_in_half_is_no_file() {
        let directory = tempfile::tempdir().expect("a directory");
        remembered(&config(), epoch()).save(directory.path()).expect("room");
        let file = path(directory.path());
        let bytes = std::fs::read(&file).expect("it was written");
        std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("room");
        assert_eq!(Remembered::load(directory.path()), Remembered::default());
    }
}
