//! When virtual addresses are announced: at once, again a little later, and never more often than that; then as configured.

use std::time::Instant;

use crate::config::vrrp::Announce;

/// The pace of announcements of one virtual router.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bursts {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Bursts {
    /// The first announcement of a new master, and the one that follows it.
    pub fn begin(&mut self, pace: Announce, now: Instant) {
        self.last = Some(now);
        self.due = Some(now + pace.delay);
    }

    /// Whether to announce now because another master was heard; if not, it happens when it may.
    pub fn again(&mut self, pace: Announce, now: Instant) -> bool {
        let earliest = self.last.map_or(now, |last| last + pace.delay);
        if earliest <= now {
            self.begin(pace, now);
            return true;
        }
        self.due = Some(earliest);
        false
    }

    /// Whether an announcement is due.
    pub fn take(&mut self, pace: Announce, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.last = Some(now);
            self.due = (!pace.refresh.is_zero()).then(|| now + pace.refresh);
        }
        due
    }

    /// When [`Bursts::take`] has something to say.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// No longer master.
    pub fn end(&mut self) {
        *self = Self::default();
    }
}
