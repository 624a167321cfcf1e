//! The clock of the connection tables: the kernel's jiffies, read through a test run of a program that answers them.

use std::{io, time::Duration};

use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use nix::time::{ClockId, clock_getres};

/// The clock and how fast it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Ticks a second: the kernel's HZ.
    pub ticks_per_second: u32,
}

impl Clock {
    /// Asks the kernel how fast it ticks: the resolution of its coarse clock is one tick (KTIME_LOW_RES).
    ///
    /// # Errors
    ///
    /// That of the system call.
    pub fn new() -> io::Result<Self> {
        let tick = Duration::from(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?);
        Ok(Self { ticks_per_second: rate(tick) })
    }

    /// Time from one tick to a later one; zero when the later one is not known.
    #[must_use]
    pub fn since(self, then: u32, now: Option<u32>) -> Duration {
        let ticks = now.map_or(0, |now| now.wrapping_sub(then));
        Duration::from_millis(u64::from(ticks) * 1000 / u64::from(self.ticks_per_second))
    }

    /// A duration in ticks; at least one.
    #[must_use]
    pub fn ticks(self, duration: Duration) -> u32 {
        let ticks = duration.as_millis() * u128::from(self.ticks_per_second) / 1000;
        u32::try_from(ticks).unwrap_or(u32::MAX / 2).clamp(1, u32::MAX / 2)
    }
}

/// The present tick.
///
/// # Errors
///
/// That of the test run.
pub fn read(program: &Xdp) -> Result<u32, ProgramError> {
    let frame = [0u8; 64];
    let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
    Ok(program.test_run(options)?.return_value)
}

/// Ticks a second, for a tick of this length; the kernel rounds it to nanoseconds.
fn rate(tick: Duration) -> u32 {
    let nanos = tick.as_nanos().max(1);
    u32::try_from((1_000_000_000 + nanos / 2) / nanos).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_from_the_length_of_a_tick() {
        for (nanos, hz) in
            [(4_000_000, 250), (1_000_000, 1000), (10_000_000, 100), (3_333_333, 300), (976_562, 1024)]
        {
            assert_eq!(rate(Duration::from_nanos(nanos)), hz);
        }
    }

    #[test]
    fn durations_become_ticks_and_back() {
        let clock = Clock { ticks_per_second: 250 };
        assert_eq!(clock.ticks(Duration::from_secs(2)), 500);
        assert_eq!(clock.ticks(Duration::from_nanos(1)), 1);
        assert_eq!(clock.since(u32::MAX - 124, Some(125)), Duration::from_secs(1));
    }
}
