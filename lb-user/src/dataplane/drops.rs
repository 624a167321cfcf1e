//! What the data plane tells of dropped packets while somebody watches.

use std::{
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use aya::maps::{Array, MapData, MapError, RingBuf};
use lb_common::{drops::DroppedFrame, layout::map};
use nix::time::{ClockId, clock_gettime};
use zerocopy::FromBytes as _;

use super::{maps::open, pins::Pins};

/// The ring buffer, and the word that says whether anything is written to it.
pub struct Drops {
    ring: RingBuf<MapData>,
    watched: Array<MapData, u32>,
}

impl Drops {
    /// Opens them; nobody watches.
    ///
    /// # Errors
    ///
    /// A map is not there or cannot be written.
    pub fn open(pins: &Pins) -> Result<Self, MapError> {
        let mut drops = Self { ring: open(pins, map::DROPS)?, watched: open(pins, map::DROPS_WATCHED)? };
        // An earlier controller may have been killed while somebody did.
        drops.unwatch()?;
        Ok(drops)
    }

    /// Begins with what is dropped from now on.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn watch(&mut self) -> Result<(), MapError> {
        while self.ring.next().is_some() {}
        let seconds = uptime().as_secs();
        self.watched.set(0, u32::try_from(seconds).unwrap_or(u32::MAX).max(1), 0)
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn unwatch(&mut self) -> Result<(), MapError> {
        self.watched.set(0, 0, 0)
    }

    /// The next dropped packet, if there is one.
    pub fn take(&mut self) -> Option<DroppedFrame> {
        loop {
            // A record of another layout would be one of another program, and its map was not adopted.
            if let Ok(frame) = DroppedFrame::read_from_bytes(&self.ring.next()?) {
                return Some(frame);
            }
        }
    }
}

/// Readable when packets were dropped.
impl AsRawFd for Drops {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// How long ago something was, by the clock of [`DroppedFrame::at`].
#[must_use]
pub fn age(at: u64) -> Duration {
    uptime().saturating_sub(Duration::from_nanos(at))
}

fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}
