//! What happened lately, and who is listening to what happens next.

use std::{collections::VecDeque, time::SystemTime};

use tokio::sync::broadcast;

use crate::control::event::{Event, Feed, Kind};

/// Events that are remembered.
pub(super) const REMEMBERED: usize = 1000;

/// Events a listener may be behind by.
const BEHIND: usize = 256;

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    past: VecDeque<Event>,
    live: broadcast::Sender<Event>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { past: VecDeque::new(), live: broadcast::channel(BEHIND).0 }
    }
}

impl Journal {
    /// Notes an event, logs it and tells who listens.
    pub(super) fn note(
        &mut self,
        at: SystemTime,
        kind: Kind,
        object: impl Into<String>,
        message: impl Into<String>,
    ) {
        let event = Event { at, kind, object: object.into(), message: message.into() };
        tracing::info!(object = event.object, "{}", event.message);
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(event.clone());
        // Nobody listening is fine.
        let _ = self.live.send(event);
    }

    /// What a listener gets.
    pub(super) fn feed(&self, follow: bool) -> Feed {
        Feed { past: self.past.iter().cloned().collect(), live: follow.then(|| self.live.subscribe()) }
    }
}
