//! What `[defaults]` sets for every virtual server and each may set for itself.

use std::{net::SocketAddr, time::Duration};

use toml::Spanned;

use super::{check::CheckOptions, fwmark::PROTOCOLS, passive};
use crate::config::{
    address::{Granularity, granularity, unicast},
    diagnostic::Diagnostic,
    file::Section,
    model::{InitialState, OnDown, Passive, Persistence, Protocol, Scheduler, Timeouts, WithoutState},
    value::{choice, duration, duration_or_off, duration_or_zero, number},
};

const SCHEDULERS: &[(&str, Scheduler)] = &[
    ("rr", Scheduler::Rr),
    ("wrr", Scheduler::Wrr),
    ("lc", Scheduler::Lc),
    ("wlc", Scheduler::Wlc),
    ("sed", Scheduler::Sed),
    ("nq", Scheduler::Nq),
    ("sh", Scheduler::Sh),
    ("dh", Scheduler::Dh),
    ("mh", Scheduler::Mh),
    ("fo", Scheduler::Fo),
    ("ovf", Scheduler::Ovf),
    ("twos", Scheduler::Twos),
];

const INITIAL_STATES: &[(&str, InitialState)] = &[("down", InitialState::Down), ("up", InitialState::Up)];

const ON_DOWN: &[(&str, OnDown)] =
    &[("reset", OnDown::Reset), ("keep", OnDown::Keep), ("reschedule", OnDown::Reschedule)];

const WITHOUT_STATE: &[(&str, WithoutState)] =
    &[("adopt", WithoutState::Adopt), ("drop", WithoutState::Drop), ("reset", WithoutState::Reset)];

/// The options of one virtual server, or of all.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) protocol: Protocol,
    pub(super) scheduler: Scheduler,
    /// Zero is off.
    persistence_timeout: Duration,
    prefix_v4: u8,
    prefix_v6: u8,
    /// None when nobody wrote one.
    pub(super) quorum: Option<Spanned<u32>>,
    pub(super) hysteresis: Option<Spanned<u32>>,
    pub(super) sorry_server: Option<Spanned<SocketAddr>>,
    pub(super) initial_state: InitialState,
    pub(super) on_down: OnDown,
    pub(super) without_state: WithoutState,
    pub(super) drain_timeout: Duration,
    pub(super) slow_start: Duration,
    pub(super) timeouts: Timeouts,
    pub(super) passive: Option<Passive>,
    pub(super) check: CheckOptions,
}

impl Options {
    /// When nobody says anything.
    pub(super) fn built_in() -> Self {
        const MINUTE: u64 = 60;
        Self {
            protocol: Protocol::Tcp,
            scheduler: Scheduler::Wlc,
            persistence_timeout: Duration::ZERO,
            prefix_v4: 32,
            prefix_v6: 128,
            quorum: None,
            hysteresis: None,
            sorry_server: None,
            initial_state: InitialState::Down,
            on_down: OnDown::Reset,
            without_state: WithoutState::Adopt,
            drain_timeout: Duration::from_secs(5 * MINUTE),
            slow_start: Duration::ZERO,
            timeouts: Timeouts::default(),
            passive: None,
            check: CheckOptions::built_in(),
        }
    }

    /// `[defaults]` with `[defaults.check]`.
    pub(super) fn read_defaults(section: &mut Section<'_>, built_in: &Self, router_id: &str) -> Self {
        let check = section.section("check", |check| CheckOptions::read(check, &built_in.check, router_id));
        let options = Self::read(section, built_in);
        Self { check: check.unwrap_or(options.check), ..options }
    }

    /// The options that `section` has, the others from `base`.
    pub(super) fn read(section: &mut Section<'_>, base: &Self) -> Self {
        // The only method there is; the key exists so that a file says what it relies on.
        section.value("forward", choice(&[("nat", ())]));
        let protocol = section.value_or("protocol", base.protocol, choice(PROTOCOLS));
        let (prefix_v4, prefix_v6) = read_granularity(section, base);
        let persistence_timeout =
            section.value_or("persistence_timeout", base.persistence_timeout, duration_or_off);
        Self {
            protocol,
            scheduler: section.value_or("scheduler", base.scheduler, choice(SCHEDULERS)),
            persistence_timeout,
            prefix_v4,
            prefix_v6,
            quorum: section.value("quorum", number(1, u32::MAX)).or_else(|| base.quorum.clone()),
            hysteresis: section.value("hysteresis", number(0, u32::MAX)).or_else(|| base.hysteresis.clone()),
            sorry_server: section.value("sorry_server", unicast).or_else(|| base.sorry_server.clone()),
            initial_state: section.value_or("initial_state", base.initial_state, choice(INITIAL_STATES)),
            on_down: section.value_or("on_down", base.on_down, choice(ON_DOWN)),
            without_state: section.value_or("without_state", base.without_state, choice(WITHOUT_STATE)),
            drain_timeout: section.value_or("drain_timeout", base.drain_timeout, duration_or_zero),
            slow_start: section.value_or("slow_start", base.slow_start, duration_or_zero),
            timeouts: section
                .section("timeouts", |timeouts| read_timeouts(timeouts, base.timeouts))
                .unwrap_or(base.timeouts),
            passive: passive::read(section, base.passive),
            check: base.check.clone(),
        }
    }

    pub(super) fn persistence(&self) -> Option<Persistence> {
        let Self { persistence_timeout: timeout, prefix_v4, prefix_v6, .. } = *self;
        (!timeout.is_zero()).then_some(Persistence { timeout, prefix_v4, prefix_v6 })
    }

    pub(super) fn quorum(&self) -> u32 {
        self.quorum.as_ref().map_or(1, |quorum| *quorum.get_ref())
    }

    pub(super) fn hysteresis(&self) -> u32 {
        self.hysteresis.as_ref().map_or(0, |hysteresis| *hysteresis.get_ref())
    }
}

fn read_timeouts(section: &mut Section<'_>, base: Timeouts) -> Timeouts {
    Timeouts {
        syn: section.value_or("syn", base.syn, duration),
        established: section.value_or("established", base.established, duration),
        fin: section.value_or("fin", base.fin, duration),
        close_wait: section.value_or("close_wait", base.close_wait, duration),
        time_wait: section.value_or("time_wait", base.time_wait, duration),
        close: section.value_or("close", base.close, duration),
        udp: section.value_or("udp", base.udp, duration),
    }
}

/// One length for the family it fits, or a list: IPv4's, IPv6's.
fn read_granularity(section: &mut Section<'_>, base: &Options) -> (u8, u8) {
    const KEY: &str = "persistence_granularity";
    let before = section.errors();
    let lengths: Vec<_> =
        section.list(KEY, granularity).unwrap_or_default().into_iter().map(Spanned::into_inner).collect();
    match lengths[..] {
        [Granularity::V4(v4)] => (v4, base.prefix_v6),
        [Granularity::V6(v6)] => (base.prefix_v4, v6),
        [Granularity::V4(v4), Granularity::V4(v6) | Granularity::V6(v6)] => (v4, v6),
        [] => (base.prefix_v4, base.prefix_v6),
        _ => {
            if section.errors() == before {
                let message = "a list of granularities is one for IPv4 and one for IPv6, in this order";
                section.push(
                    Diagnostic::error("bad-value", section.key_span(KEY), message)
                        .help("write it like [\"/24\", \"/64\"]"),
                );
            }
            (base.prefix_v4, base.prefix_v6)
        }
    }
}
