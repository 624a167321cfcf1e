//! Scheduling tables: what they depend on is planned and compared, and they are built when they are written.

use std::net::SocketAddr;

use lb_common::{
    hash::HashKey,
    limits::MAGLEV_SLOTS,
    service::{Scheduling, SchedulingHead},
};

use super::{maglev, sequence};
use crate::config::model::Scheduler;

/// A real server as a scheduling table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Real server index.
    pub index: u32,
    /// What it is on every node.
    pub address: SocketAddr,
    /// Its part of the new connections; 0 is none.
    pub weight: u32,
}

/// All that a scheduling table depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInput {
    /// The cluster's key.
    pub key: HashKey,
    /// Who uses the table.
    pub scheduler: Scheduler,
    /// The pool in the order of the file, at most [`lb_common::limits::POOL`] of them with a weight. Those without one count
    /// for the size of the Maglev table: it must not change with anyone's health, or all clients would move.
    pub backends: Vec<Backend>,
}

impl TableInput {
    /// Of a table that is there and that nobody knows the making of.
    #[must_use]
    pub fn unknown() -> Self {
        Self { key: HashKey::default(), scheduler: Scheduler::Wlc, backends: Vec::new() }
    }

    /// The table as [`SchedulingHead`] says. Real servers of weight 0 are not in it.
    #[must_use]
    pub fn build(&self) -> Vec<u32> {
        let pool: Vec<u32> =
            self.backends.iter().filter(|backend| backend.weight > 0).map(|backend| backend.index).collect();
        let size = if self.scheduler == Scheduler::Mh {
            MAGLEV_SLOTS
        } else {
            maglev::size_for(self.backends.len())
        };
        let maglev = maglev::build(self.key, self.deterministic(), size);
        let sequence = match scheduling(self.scheduler) {
            Scheduling::Sequence | Scheduling::TwoChoices => sequence::build(&self.backends),
            Scheduling::LeastConnection
            | Scheduling::Hash
            | Scheduling::ShortestDelay
            | Scheduling::NeverQueue
            | Scheduling::Failover
            | Scheduling::Overflow => Vec::new(),
        };
        let head = SchedulingHead {
            maglev: maglev.len() as u32,
            sequence: sequence.len() as u32,
            pool: pool.len() as u32,
            reserved: 0,
        };
        let head: [u32; 4] = zerocopy::transmute!(head);
        [&head[..], &maglev, &sequence, &pool].concat()
    }

    /// Who gets connections of which no state is known. A failover pool has them where they most likely began: at the
    /// first of the highest weight.
    fn deterministic(&self) -> &[Backend] {
        match scheduling(self.scheduler) {
            Scheduling::Failover | Scheduling::Overflow => {
                let best = (0..self.backends.len()).reduce(|best, it| {
                    if self.backends[it].weight > self.backends[best].weight { it } else { best }
                });
                best.map_or(&[], |best| &self.backends[best..=best])
            }
            _ => &self.backends,
        }
    }
}

/// How the data plane does what the scheduler says.
#[must_use]
pub const fn scheduling(scheduler: Scheduler) -> Scheduling {
    match scheduler {
        Scheduler::Rr | Scheduler::Wrr => Scheduling::Sequence,
        Scheduler::Lc | Scheduler::Wlc => Scheduling::LeastConnection,
        Scheduler::Sh | Scheduler::Dh | Scheduler::Mh => Scheduling::Hash,
        Scheduler::Sed => Scheduling::ShortestDelay,
        Scheduler::Nq => Scheduling::NeverQueue,
        Scheduler::Fo => Scheduling::Failover,
        Scheduler::Ovf => Scheduling::Overflow,
        Scheduler::Twos => Scheduling::TwoChoices,
    }
}
