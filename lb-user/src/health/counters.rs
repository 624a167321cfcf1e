//! What checks add up to, for metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::Serialize;

use super::result::{CheckResult, Report};

/// Upper bounds of the buckets of `xlb_check_duration_seconds`, in seconds; the last bucket has none.
pub const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Counts results and how long they took; shared between the task that drives checks and who shows them.
#[derive(Debug, Default)]
pub struct Counters {
    success: AtomicU64,
    failure: AtomicU64,
    error: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len() + 1],
    duration_nanos: AtomicU64,
    late: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Counts {
    /// `xlb_check_results_total{result="success"}`.
    pub success: u64,
    /// `xlb_check_results_total{result="failure"}`.
    pub failure: u64,
    /// `xlb_check_results_total{result="error"}`: checks that could not be made.
    pub error: u64,
    /// Runs by duration, one for each of `BUCKETS` and one for what is longer; not cumulative.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// All durations together, in seconds.
    pub duration: f64,
    /// `xlb_check_late_total`: runs that started later than due by more than a tenth of their interval.
    pub late: u64,
}

impl Counters {
    /// The values now; those of runs that end meanwhile may be in some and not yet in others.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            success: self.success.load(Relaxed),
            failure: self.failure.load(Relaxed),
            error: self.error.load(Relaxed),
            buckets: self.buckets.each_ref().map(|bucket| bucket.load(Relaxed)),
            duration: Duration::from_nanos(self.duration_nanos.load(Relaxed)).as_secs_f64(),
            late: self.late.load(Relaxed),
        }
    }

    pub(super) fn on_start(&self, late: Duration, interval: Duration) {
        if late > interval / 10 {
            self.late.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn on_result(&self, report: &Report) {
        let result = match report.result {
            CheckResult::Success { .. } => &self.success,
            CheckResult::Failure { .. } => &self.failure,
            CheckResult::Error { .. } => &self.error,
        };
        result.fetch_add(1, Relaxed);
        let seconds = report.latency.as_secs_f64();
        let bucket = BUCKETS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Relaxed);
        let nanos = u64::try_from(report.latency.as_nanos()).unwrap_or(u64::MAX);
        self.duration_nanos.fetch_add(nanos, Relaxed);
    }
}
