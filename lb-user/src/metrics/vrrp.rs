//! Metrics of VRRP.

use std::fmt;

use super::{Families, Scrape};
use crate::control::status::{Vrrp, VrrpState, VrrpTrackerState};

impl Scrape {
    pub(super) fn vrrp(&self, families: &mut Families<'_>) -> fmt::Result {
        let all = || self.status.vrrp.iter();
        families.gauges(
            "vrrp_state",
            "1 for the state it is in, 0 for the others",
            all().flat_map(|one| {
                VrrpState::ALL.map(|state| {
                    ([("vrrp_instance", &*one.name), ("state", state.name())], u64::from(one.state == state))
                })
            }),
        )?;
        families.counters(
            "vrrp_transitions",
            "Times it became master or ceased to be",
            all().map(|one| ([("vrrp_instance", &*one.name)], one.transitions)),
        )?;
        families.gauges(
            "vrrp_tracker_up",
            "1 while it counts as up for the instance, 0 when it is down or not known yet",
            all().flat_map(|one| {
                one.trackers.iter().map(|tracker| {
                    let labels = [
                        ("vrrp_instance", &*one.name),
                        ("kind", tracker.kind.name()),
                        ("tracker", &*tracker.name),
                    ];
                    (labels, u64::from(tracker.state == VrrpTrackerState::Up))
                })
            }),
        )?;
        families.counters(
            "vrrp_adverts",
            "Advertisements sent (out) and heard (in), by what became of them",
            all().flat_map(|one| {
                adverts(one).into_iter().map(|(direction, result, count)| {
                    let labels = [
                        ("vrrp_instance", one.name.clone()),
                        ("direction", direction.to_owned()),
                        ("result", result),
                    ];
                    (labels, count)
                })
            }),
        )
    }
}

fn adverts(instance: &Vrrp) -> Vec<(&'static str, String, u64)> {
    let adverts = &instance.adverts;
    let mut all = vec![
        ("out", "sent".to_owned(), adverts.sent),
        ("out", "failed".to_owned(), adverts.failed),
        ("in", "accepted".to_owned(), adverts.received),
    ];
    all.extend(adverts.rejected.iter().map(|(reason, count)| ("in", reason.name(), *count)));
    all
}
