//! When virtual addresses are announced: at once, again a little later, and never more often than that.

use std::time::{Duration, Instant};

/// The second burst follows the first by this, and no two are closer together.
pub const APART: Duration = Duration::from_secs(5);

/// The pace of announcements of one virtual router.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bursts {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Bursts {
    /// The first announcement of a new master, and the one that follows it.
    pub fn begin(&mut self, now: Instant) {
        self.last = Some(now);
        self.due = Some(now + APART);
    }

    /// Whether to announce now because another master was heard; if not, it happens when it may.
    pub fn again(&mut self, now: Instant) -> bool {
        let earliest = self.last.map_or(now, |last| last + APART);
        if earliest <= now {
            self.begin(now);
            return true;
        }
        self.due = Some(earliest);
        false
    }

    /// Whether an announcement is due.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.last = Some(now);
            self.due = None;
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
