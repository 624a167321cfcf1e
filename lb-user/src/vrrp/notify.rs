//! Notify scripts: run in the order of the changes, one after another for each instance and sync group.

use std::{collections::HashMap, time::Duration};

use tokio::{task::JoinHandle, time};

use crate::{
    config::vrrp::{Notify, Priority},
    vrrp::{
        script::{ScriptUser, run},
        state::State,
    },
};

/// A notify script is killed after this.
const LIMIT: Duration = Duration::from_secs(60);
/// The process ends after this, whatever its scripts do.
const LIMIT_AT_END: Duration = Duration::from_secs(5);

/// Whose state has changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose<'a> {
    /// That of an instance with this name and priority.
    Instance(&'a str, Priority),
    /// That of all instances of a sync group with this name.
    Group(&'a str),
}

impl Whose<'_> {
    /// Its kind in keepalived's words, and its name; no two have the same.
    fn key(self) -> (&'static str, String) {
        match self {
            Self::Instance(name, _) => ("INSTANCE", name.to_owned()),
            Self::Group(name) => ("GROUP", name.to_owned()),
        }
    }

    /// keepalived says 0 for a sync group.
    fn priority(self) -> Priority {
        match self {
            Self::Instance(_, priority) => priority,
            Self::Group(_) => Priority(0),
        }
    }
}

/// What is running.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    user: Option<ScriptUser>,
    last: HashMap<(&'static str, String), JoinHandle<()>>,
}

impl Notifier {
    pub(super) fn new(user: Option<ScriptUser>) -> Self {
        Self { user, last: HashMap::new() }
    }

    /// Runs what is configured for a state, after what runs already for that instance or sync group.
    pub(super) fn notify(&mut self, notify: &Notify, whose: Whose<'_>, state: State) {
        let commands = commands(notify, whose, state);
        if commands.is_empty() {
            return;
        }
        let key = whose.key();
        let (user, before) = (self.user, self.last.remove(&key));
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // A panic there is no reason to skip this one.
                let _ = before.await;
            }
            for command in commands {
                if let Err(error) = run(&command, user, LIMIT).await {
                    tracing::warn!(?command, %error, "notify script failed");
                }
            }
        });
        self.last.insert(key, task);
    }

    /// Waits for all of them, if they do not take too long.
    pub(super) async fn finish(self) {
        let all = async {
            for task in self.last.into_values() {
                let _ = task.await;
            }
        };
        if time::timeout(LIMIT_AT_END, all).await.is_err() {
            tracing::warn!("notify scripts are still running");
        }
    }
}

/// The commands with keepalived's arguments: type, name, state, priority.
fn commands(notify: &Notify, whose: Whose<'_>, state: State) -> Vec<Vec<String>> {
    let (own, word) = match state {
        State::Init => (&notify.stop, "STOP"),
        State::Backup => (&notify.backup, "BACKUP"),
        State::Master => (&notify.master, "MASTER"),
        State::Fault => (&notify.fault, "FAULT"),
    };
    let (kind, name) = whose.key();
    let arguments = [kind.to_owned(), name, word.to_owned(), whose.priority().to_string()];
    [own, &notify.any]
        .into_iter()
        .filter(|command| !command.is_empty())
        .map(|command| command.iter().chain(&arguments).cloned().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_gets_the_arguments_that_keepalived_gives() {
        let notify =
            Notify { master: vec!["/m".into(), "x".into()], any: vec!["/any".into()], ..Notify::default() };
        let of = |whose, state| commands(&notify, whose, state).iter().map(|c| c.join(" ")).collect();
        let outside = Whose::Instance("outside", Priority(90));
        let master: Vec<String> = of(outside, State::Master);
        assert_eq!(master, ["/m x INSTANCE outside MASTER 90", "/any INSTANCE outside MASTER 90"]);
        let stop: Vec<String> = of(outside, State::Init);
        assert_eq!(stop, ["/any INSTANCE outside STOP 90"]);
        let group: Vec<String> = of(Whose::Group("site"), State::Master);
        assert_eq!(group, ["/m x GROUP site MASTER 0", "/any GROUP site MASTER 0"]);
    }

    #[tokio::test]
    async fn scripts_of_one_instance_run_in_the_order_of_its_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let append = format!("sleep 0.0$(($$ % 5)); echo $3 >> {}", file.path().display());
        let any = vec!["/bin/sh".into(), "-c".into(), append, "sh".into()];
        let notify = Notify { any, ..Notify::default() };
        let mut notifier = Notifier::new(None);
        for state in [State::Backup, State::Master, State::Fault, State::Init] {
            notifier.notify(&notify, Whose::Instance("outside", Priority(100)), state);
        }
        notifier.finish().await;
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "BACKUP\nMASTER\nFAULT\nSTOP\n");
    }
}
