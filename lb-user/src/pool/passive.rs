//! Passive health: what the data plane sees of connections that a real server refuses or never answers takes it out between
//! checks. Pure.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::config::model::Passive;

/// What one virtual server's real servers have done to connections lately.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    records: HashMap<SocketAddr, Record>,
}

/// One real server at one look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Which.
    pub address: SocketAddr,
    /// It takes new connections.
    pub up: bool,
    /// When its checks have last passed, all of them; without checks the present.
    pub passed: Option<Instant>,
    /// SYNs that it has not answered, since the last look.
    pub unanswered: u64,
    /// SYNs that it has answered with a reset, since the last look.
    pub refused: u64,
    /// Connections that were opened to it, ever.
    pub opened: u64,
}

/// A real server goes out, or comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub address: SocketAddr,
    /// What it is taken out for; none when it is tried again.
    pub out: Option<Evidence>,
}

/// What a real server is taken out for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// SYNs without an answer.
    pub unanswered: u64,
    /// SYNs answered with a reset.
    pub refused: u64,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unanswered, refused } = self;
        match (unanswered, refused) {
            (unanswered, 0) => write!(f, "{unanswered} connections unanswered"),
            (0, refused) => write!(f, "{refused} connections refused"),
            (unanswered, refused) => write!(f, "{refused} connections refused, {unanswered} unanswered"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Record {
    /// Failures are counted since `from`.
    Counting { from: Instant, opened: u64, evidence: Evidence },
    /// Taken out; not before `until` it is tried again.
    Out { until: Instant, evidence: Evidence },
    /// Tried again, nothing held against it.
    Back { at: Instant },
}

impl Watch {
    /// What a real server is out for, if it is.
    #[must_use]
    pub fn out(&self, address: SocketAddr) -> Option<Evidence> {
        match self.records.get(&address)? {
            Record::Out { evidence, .. } => Some(*evidence),
            Record::Counting { .. } | Record::Back { .. } => None,
        }
    }

    /// When a real server came back, for the slow start.
    #[must_use]
    pub fn back(&self, address: SocketAddr) -> Option<Instant> {
        match self.records.get(&address)? {
            Record::Back { at } => Some(*at),
            Record::Counting { .. } | Record::Out { .. } => None,
        }
    }

    /// Looks at the whole pool. At most half of it is out at once, and never the last one that is up: passive health is a
    /// suspicion, and few real servers that may work are better than none.
    pub fn look(&mut self, rule: &Passive, pool: &[Look], now: Instant) -> Vec<Change> {
        self.records.retain(|address, _| pool.iter().any(|look| look.address == *address));
        let mut out = self.records.values().filter(|record| matches!(record, Record::Out { .. })).count();
        let mut up = pool.iter().filter(|look| look.up && self.out(look.address).is_none()).count();
        let mut changes = Vec::new();
        for look in pool {
            let may_leave = look.up && up > 1 && out < pool.len() / 2;
            let old = self.records.get(&look.address).copied();
            match next(old, rule, look, may_leave, now) {
                Some(record) => _ = self.records.insert(look.address, record),
                None => _ = self.records.remove(&look.address),
            }
            let (was, is) = (matches!(old, Some(Record::Out { .. })), self.out(look.address));
            if is.is_some() != was {
                changes.push(Change { address: look.address, out: is });
                (out, up) = if is.is_some() { (out + 1, up - 1) } else { (out - 1, up + 1) };
            }
        }
        changes
    }
}

/// What is noted of a real server after this look.
fn next(old: Option<Record>, rule: &Passive, look: &Look, may_leave: bool, now: Instant) -> Option<Record> {
    let failed = look.unanswered + look.refused > 0;
    let (from, opened, before) = match old {
        Some(Record::Out { until, .. }) => {
            let passed = look.passed.is_some_and(|at| at >= until);
            return if now >= until && passed { Some(Record::Back { at: now }) } else { old };
        }
        Some(Record::Counting { from, opened, evidence }) if now < from + rule.within => {
            (from, opened, evidence)
        }
        Some(Record::Back { .. }) if !failed => return old,
        _ if !failed => return None,
        Some(Record::Counting { .. } | Record::Back { .. }) | None => (now, look.opened, Evidence::default()),
    };
    let evidence =
        Evidence { unanswered: before.unanswered + look.unanswered, refused: before.refused + look.refused };
    let enough = reached(evidence.unanswered, rule.unanswered) || reached(evidence.refused, rule.refused);
    // One that serves most of those who come is busy, not broken.
    let most = (evidence.unanswered + evidence.refused) * 2 >= look.opened.saturating_sub(opened);
    Some(if enough && most && may_leave {
        Record::Out { until: now + rule.retry.max(UNANSWERED), evidence }
    } else {
        Record::Counting { from, opened, evidence }
    })
}

/// A count of 0 is a rule that is off.
fn reached(count: u64, limit: u32) -> bool {
    limit > 0 && count >= u64::from(limit)
}

/// A SYN is unanswered when its SYN-ACK has not come after this: its second repetition is under way (RFC 6298). What was
/// opened before a real server went out is counted by the time it is tried again.
pub const UNANSWERED: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Passive = Passive {
        unanswered: 5,
        refused: 5,
        within: Duration::from_secs(10),
        retry: Duration::from_secs(10),
    };

    #[expect(clippy::disallowed_methods, reason = "any moment will do to count from")]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn address(number: u8) -> SocketAddr {
        ([10, 0, 0, number], 80).into()
    }

    /// A pool of `size`, looked at once a second; everyone gets a connection a second and checks always pass.
    struct World {
        watch: Watch,
        start: Instant,
        second: u64,
        size: u8,
    }

    impl World {
        fn of(size: u8) -> Self {
            Self { watch: Watch::default(), start: epoch(), second: 0, size }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_secs(self.second)
        }

        fn pool(&self) -> Vec<Look> {
            let look = |number| Look {
                address: address(number),
                up: self.watch.out(address(number)).is_none(),
                passed: Some(self.now()),
                unanswered: 0,
                refused: 0,
                opened: self.second,
            };
            (1..=self.size).map(look).collect()
        }

        /// A second passes; `change` says what is special about it. Returns who went out (true) and who came back.
        fn pass(&mut self, change: impl FnOnce(&mut [Look])) -> Vec<(SocketAddr, bool)> {
            self.second += 1;
            let mut pool = self.pool();
            change(&mut pool);
            let now = self.now();
            let changes = self.watch.look(&RULE, &pool, now);
            changes.iter().map(|change| (change.address, change.out.is_some())).collect()
        }
    }

    #[test]
    fn a_server_that_refuses_or_ignores_everybody_goes_out_and_is_tried_again() {
        let failures: [fn(&mut [Look]); 2] = [|pool| pool[0].refused = 1, |pool| pool[0].unanswered = 1];
        for fail in failures {
            let mut world = World::of(3);
            for _ in 0..4 {
                assert_eq!(world.pass(fail), []);
            }
            assert_eq!(world.pass(fail), [(address(1), true)]);
            for _ in 0..9 {
                assert_eq!(world.pass(|_| ()), []);
            }
            assert_eq!(world.pass(|_| ()), [(address(1), false)]);
            assert_eq!(world.watch.back(address(1)), Some(world.now()));
        }
    }

    #[test]
    fn failures_that_come_slowly_are_never_enough() {
        let mut world = World::of(3);
        for _ in 0..20 {
            assert_eq!(world.pass(|pool| pool[0].refused = 1), []);
            for _ in 0..3 {
                assert_eq!(world.pass(|_| ()), []);
            }
        }
    }

    #[test]
    fn a_server_that_serves_most_of_those_who_come_stays() {
        let mut world = World::of(3);
        for _ in 0..20 {
            let busy =
                |pool: &mut [Look], second: u64| (pool[0].unanswered, pool[0].opened) = (3, second * 100);
            let second = world.second;
            assert_eq!(world.pass(|pool| busy(pool, second)), []);
        }
    }

    #[test]
    fn no_more_than_half_of_a_pool_and_never_the_last_one_go_out() {
        for (size, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let mut world = World::of(size);
            let out =
                (0..5).flat_map(|_| world.pass(|pool| pool.iter_mut().for_each(|look| look.refused = 9)));
            assert_eq!(out.collect::<Vec<_>>().len(), most, "of {size}");
        }
        let mut world = World::of(4);
        let changes = world.pass(|pool| {
            pool.iter_mut().for_each(|look| look.refused = 9);
            pool[1..].iter_mut().for_each(|look| look.up = false);
        });
        assert_eq!(changes, [], "the others are down");
    }

    #[test]
    fn one_that_fails_its_checks_stays_out_until_they_pass() {
        let mut world = World::of(2);
        assert_eq!(world.pass(|pool| pool[0].refused = 5), [(address(1), true)]);
        let passed = world.now();
        for _ in 0..30 {
            assert_eq!(world.pass(|pool| pool[0].passed = Some(passed)), []);
        }
        assert_eq!(world.pass(|_| ()), [(address(1), false)]);
    }
}
