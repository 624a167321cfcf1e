//! Slow start: after a recovery a real server's weight grows evenly from little to full.

use std::time::{Duration, Instant};

use super::real_server::State;
use crate::config::model::Scheduler;

/// A weight grows in this many steps: few enough that tables are not written all the time.
const STEPS: u32 = 20;

/// The weights that schedulers use.
#[derive(Debug, PartialEq)]
pub(super) struct Weights {
    pub(super) each: Vec<u16>,
    /// When the next of them grows.
    pub(super) next: Option<Instant>,
}

/// The weight of each real server at `now`.
pub(super) fn weights(states: &[State], slow_start: Duration, scheduler: Scheduler, now: Instant) -> Weights {
    let growing = |state: &State| step(state.up_since.filter(|_| state.is_up())?, slow_start, now);
    let next = states.iter().filter_map(growing).map(|(_, next)| next).min();
    let scale = match next {
        Some(_) => scale(states, scheduler),
        None => 1,
    };
    let each = states.iter().map(|state| match growing(state) {
        _ if !state.is_up() => 0,
        None => narrow(u32::from(state.full_weight) * scale),
        Some((step, _)) => narrow((u32::from(state.full_weight) * scale * step / STEPS).max(1)),
    });
    Weights { each: each.collect(), next }
}

/// How many steps have been made and when the next one comes; none when all have.
fn step(since: Instant, slow_start: Duration, now: Instant) -> Option<(u32, Instant)> {
    let length = slow_start / STEPS;
    if length.is_zero() {
        return None;
    }
    let steps = now.saturating_duration_since(since).as_nanos() / length.as_nanos();
    let steps = u32::try_from(steps).ok().filter(|steps| *steps < STEPS)?;
    Some((steps, since + length * (steps + 1)))
}

/// What makes room for `STEPS` steps below the smallest weight, as far as the largest one allows.
fn scale(states: &[State], scheduler: Scheduler) -> u32 {
    match scheduler {
        // To overflow a weight is a number of connections, not a proportion.
        Scheduler::Ovf => 1,
        Scheduler::Rr
        | Scheduler::Wrr
        | Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Sh
        | Scheduler::Dh
        | Scheduler::Mh
        | Scheduler::Fo
        | Scheduler::Twos => {
            let largest = states.iter().map(|state| u32::from(state.full_weight)).max().unwrap_or(1).max(1);
            (u32::from(u16::MAX) / largest).clamp(1, STEPS)
        }
    }
}

fn narrow(weight: u32) -> u16 {
    u16::try_from(weight).unwrap_or(u16::MAX)
}
