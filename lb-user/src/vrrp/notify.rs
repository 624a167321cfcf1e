//! Notify scripts: run in the order of the changes, one after another for each instance.

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

/// What is running.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    user: Option<ScriptUser>,
    last: HashMap<String, JoinHandle<()>>,
}

impl Notifier {
    pub(super) fn new(user: Option<ScriptUser>) -> Self {
        Self { user, last: HashMap::new() }
    }

    /// Runs what is configured for a state, after what runs already for that instance.
    pub(super) fn notify(&mut self, notify: &Notify, instance: &str, state: State, priority: Priority) {
        let commands = commands(notify, instance, state, priority);
        if commands.is_empty() {
            return;
        }
        let (user, before) = (self.user, self.last.remove(instance));
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
        self.last.insert(instance.to_owned(), task);
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
fn commands(notify: &Notify, instance: &str, state: State, priority: Priority) -> Vec<Vec<String>> {
    let (own, word) = match state {
        State::Init => (&notify.stop, "STOP"),
        State::Backup => (&notify.backup, "BACKUP"),
        State::Master => (&notify.master, "MASTER"),
        State::Fault => (&notify.fault, "FAULT"),
    };
    let arguments = ["INSTANCE".to_owned(), instance.to_owned(), word.to_owned(), priority.to_string()];
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
        let of =
            |state| commands(&notify, "outside", state, Priority(90)).iter().map(|c| c.join(" ")).collect();
        let master: Vec<String> = of(State::Master);
        assert_eq!(master, ["/m x INSTANCE outside MASTER 90", "/any INSTANCE outside MASTER 90"]);
        let stop: Vec<String> = of(State::Init);
        assert_eq!(stop, ["/any INSTANCE outside STOP 90"]);
    }

    #[tokio::test]
    async fn scripts_of_one_instance_run_in_the_order_of_its_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let append = format!("sleep 0.0$(($$ % 5)); echo $3 >> {}", file.path().display());
        let any = vec!["/bin/sh".into(), "-c".into(), append, "sh".into()];
        let notify = Notify { any, ..Notify::default() };
        let mut notifier = Notifier::new(None);
        for state in [State::Backup, State::Master, State::Fault, State::Init] {
            notifier.notify(&notify, "outside", state, Priority(100));
        }
        notifier.finish().await;
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "BACKUP\nMASTER\nFAULT\nSTOP\n");
    }
}
