//! One real server's state and full weight: the operator's word before the checks' before the configuration's.

use std::{collections::HashMap, fmt, time::Instant};

use serde::{Deserialize, Serialize};

use super::blindness::Guard;
use crate::{
    config::model::{Check, InitialState, RealServer},
    health::{Health, Status},
};

/// What a real server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RealServerState {
    /// New connections.
    Up,
    /// Nothing: its checks fail.
    Down,
    /// What connections it has, no new ones: an operator drains it, or its weight is 0.
    Drain,
    /// Nothing: an operator has taken it out.
    Disabled,
}

impl fmt::Display for RealServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Drain => "drain",
            Self::Disabled => "disabled",
        })
    }
}

/// What operators have said about a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// Instead of any other weight.
    pub weight: Option<u16>,
    /// Out of service.
    pub admin: Option<Admin>,
}

/// How an operator has taken a real server out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// It keeps its connections until then.
    Drain {
        /// When what is left gets reset.
        until: Instant,
    },
    /// At once.
    Disabled,
}

/// What all checks of a real server say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealHealth {
    /// All are up.
    pub health: Health,
    /// When it came up, for the slow start; none when that is not known or does not matter.
    pub up_since: Option<Instant>,
    /// What a script asks for; the least when several do.
    pub weight: Option<u16>,
}

impl RealHealth {
    /// From the verdicts of its checks as `guard` lets them count; a check without a verdict counts as `initial`.
    #[must_use]
    pub fn of(
        real: &RealServer,
        initial: InitialState,
        statuses: &HashMap<Check, Status>,
        guard: &Guard,
    ) -> Self {
        let mut all = Self { health: Health::Up, up_since: None, weight: None };
        for check in &real.checks {
            let Some(status) = statuses.get(check) else {
                if initial == InitialState::Down {
                    all.health = Health::Down;
                }
                continue;
            };
            all.weight = all.weight.into_iter().chain(status.weight).min();
            match (guard.sees(check, status), status.health) {
                (Health::Down, Health::Up | Health::Down) => all.health = Health::Down,
                (Health::Up, Health::Up) => all.up_since = all.up_since.max(Some(status.since)),
                (Health::Up, Health::Down) => {}
            }
        }
        all
    }

    /// Came up at `at` if not later.
    #[must_use]
    pub fn not_before(self, at: Option<Instant>) -> Self {
        Self { up_since: self.up_since.max(at), ..self }
    }
}

/// All that decides about one real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What the checks say.
    pub health: RealHealth,
    /// What operators say.
    pub operator: Override,
    /// Passive health has taken it out.
    pub suspect: bool,
}

/// A real server as the rules of its pool see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) state: RealServerState,
    pub(super) full_weight: u16,
    /// When it came up, if it is.
    pub(super) up_since: Option<Instant>,
    /// Only when an operator drains it.
    pub(super) drain_ends: Option<Instant>,
    /// Down by passive health alone.
    pub(super) suspect: bool,
}

impl State {
    pub(super) fn of(real: &RealServer, member: &Member) -> Self {
        let Member { health, operator, suspect } = member;
        let full_weight = operator.weight.or(health.weight).unwrap_or(real.weight);
        let (state, drain_ends) = match (operator.admin, health.health) {
            (Some(Admin::Disabled), Health::Up | Health::Down) => (RealServerState::Disabled, None),
            (Some(Admin::Drain { until }), Health::Down) => (RealServerState::Down, Some(until)),
            (Some(Admin::Drain { until }), Health::Up) => (RealServerState::Drain, Some(until)),
            (None, Health::Down) => (RealServerState::Down, None),
            (None, Health::Up) if full_weight == 0 => (RealServerState::Drain, None),
            (None, Health::Up) if *suspect => (RealServerState::Down, None),
            (None, Health::Up) => (RealServerState::Up, None),
        };
        let suspect = *suspect && health.health == Health::Up;
        Self { state, full_weight, up_since: health.up_since, drain_ends, suspect }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == RealServerState::Up
    }
}
