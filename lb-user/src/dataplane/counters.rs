//! Counters as the controller reads them: sums over all CPUs.

use aya::maps::MapError;
use lb_common::{
    counter::{Counter, Row},
    limits::OUTCOME_ROW,
    outcome::Outcome,
    service::Load,
};

use super::maps::Maps;

/// What was counted of one real server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// From clients.
    pub requests: Counter,
    /// To clients.
    pub replies: Counter,
    /// Connections opened.
    pub opened: u64,
    /// Connections now.
    pub load: Load,
}

/// Counters of the real server with this index.
///
/// # Errors
///
/// That of the map.
pub fn traffic(maps: &Maps, real_server: u32) -> Result<Traffic, MapError> {
    let row = |row: Row| -> Result<Counter, MapError> {
        Ok(maps.traffic.get(&row.index(real_server), 0)?.iter().copied().sum())
    };
    Ok(Traffic {
        requests: row(Row::Requests)?,
        replies: row(Row::Replies)?,
        opened: row(Row::Opened)?.packets,
        load: maps.loads.get(&real_server, 0)?,
    })
}

/// Packets that arrived on the interface with this slot, by their end.
///
/// # Errors
///
/// That of the map.
pub fn outcomes(maps: &Maps, slot: u16) -> Result<Vec<(Outcome, Counter)>, MapError> {
    Outcome::ALL
        .iter()
        .map(|&outcome| {
            let row = u32::from(slot) * OUTCOME_ROW;
            let counter = maps.outcomes.get(&(row + outcome as u32), 0)?.iter().copied().sum();
            Ok((outcome, counter))
        })
        .collect()
}
