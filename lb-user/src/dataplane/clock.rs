//! The clock of the connection tables: the kernel's jiffies, read through a test run of a program that answers them.

use std::time::Duration;

use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use nix::time::{ClockId, clock_gettime};

/// The clock and how fast it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Ticks a second: the kernel's HZ.
    pub ticks_per_second: u32,
}

/// Values of CONFIG_HZ that some architecture offers.
const RATES: [u32; 12] = [24, 32, 48, 64, 100, 128, 200, 250, 256, 300, 1000, 1024];

impl Clock {
    /// Finds out how fast the clock runs. `program` is the object's clock, loaded.
    ///
    /// # Errors
    ///
    /// That of the test run.
    pub fn new(program: &Xdp) -> Result<Self, ProgramError> {
        let ticks = read(program)?;
        let uptime = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        Ok(Self { ticks_per_second: rate(ticks, uptime) })
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

/// The rate at which a clock that started five minutes before its 32-bit overflow (INITIAL_JIFFIES in linux/jiffies.h) shows
/// `ticks` after `uptime`.
fn rate(ticks: u32, uptime: Duration) -> u32 {
    let expected = |rate: u32| {
        let start = 0u32.wrapping_sub(300 * rate);
        let elapsed = uptime.as_millis() * u128::from(rate) / 1000;
        start.wrapping_add((elapsed % (1 << 32)) as u32)
    };
    let distance = |rate: u32| {
        let difference = ticks.wrapping_sub(expected(rate)).cast_signed();
        // In milliseconds: a second off is as much at every rate.
        i64::from(difference).abs() * 1000 / i64::from(rate)
    };
    RATES.into_iter().min_by_key(|&rate| distance(rate)).unwrap_or(RATES[4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rate_is_recognised_at_any_uptime_with_a_clock_that_lags() {
        for &hz in &RATES {
            for uptime in [1u64, 299, 301, 3_600, 86_400, 40_000_000] {
                let lag = u64::from(hz) / 50;
                let ticks = 0u32
                    .wrapping_sub(300 * hz)
                    .wrapping_add((uptime * u64::from(hz) - lag.min(uptime * u64::from(hz))) as u32);
                assert_eq!(rate(ticks, Duration::from_secs(uptime)), hz, "{hz} Hz after {uptime} s");
            }
        }
    }
}
