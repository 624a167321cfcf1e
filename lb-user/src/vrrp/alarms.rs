//! Says what is wrong with a peer, and does not say it again for a while.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What was said, by instance and reason. The peer is no part of it: a forged source must not fill the log.
#[derive(Debug, Default)]
pub(super) struct Alarms(HashMap<(String, String), Instant>);

impl Alarms {
    /// Whether it is to be said now.
    pub(super) fn raise(&mut self, instance: &str, reason: &str, now: Instant) -> bool {
        let said = self.0.entry((instance.to_owned(), reason.to_owned()));
        let mut first = false;
        let last = said.or_insert_with(|| {
            first = true;
            now
        });
        let raise = first || now >= *last + AGAIN_AFTER;
        if raise {
            *last = now;
        }
        raise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute() {
        #[expect(clippy::disallowed_methods, reason = "any beginning will do")]
        let began = Instant::now();
        let mut alarms = Alarms::default();
        let said = (0..3600).filter(|s| alarms.raise("a", "bad", began + Duration::from_secs(*s))).count();
        assert_eq!(said, 60);
        assert!(alarms.raise("b", "bad", began));
        assert!(alarms.raise("a", "worse", began));
    }
}
