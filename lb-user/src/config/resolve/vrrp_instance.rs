//! `[[vrrp_instance]]`.

use std::{net::IpAddr, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{
    check_kind::command,
    vrrp_key::authentication,
    vrrp_mac,
    vrrp_track::{Declarations, Reference, references, warn_of_missing},
};
use crate::config::{
    Host,
    diagnostic::{Diagnostic, Span},
    file::Section,
    value::{Wrong, boolean, choice, duration, duration_or_zero, interface, name, number},
    vrrp::{
        Announce, Authentication, Checksum, Notify, Priority, RouteKind, Version, VirtualAddress,
        VirtualRoute, VirtualRule, VrrpInstance,
    },
    vrrp_value::{Written, speaker, virtual_address},
    vrrp_words::{virtual_route, virtual_rule},
};

const CHECKSUMS: &[(&str, Checksum)] =
    &[("pseudo-header", Checksum::PseudoHeader), ("rfc9568", Checksum::Rfc9568)];

/// An instance whose parts may be missing, and the places that rules point at.
pub(super) struct Draft {
    pub(super) span: Span,
    pub(super) name: Option<Spanned<String>>,
    pub(super) interface: Option<Spanned<String>>,
    pub(super) virtual_router_id: Option<Spanned<u8>>,
    pub(super) virtual_mac: vrrp_mac::Written,
    pub(super) version: Version,
    pub(super) version_at: Span,
    pub(super) advert_interval: Duration,
    pub(super) interval_at: Span,
    pub(super) addresses: Vec<Spanned<Written>>,
    pub(super) routes: Vec<Spanned<VirtualRoute>>,
    pub(super) rules: Vec<Spanned<VirtualRule>>,
    pub(super) unicast_peers: Vec<Spanned<IpAddr>>,
    pub(super) source_address: Option<Spanned<IpAddr>>,
    pub(super) checksum: Option<Spanned<Checksum>>,
    pub(super) authentication: Option<Spanned<Authentication>>,
    pub(super) trackers: Vec<Reference>,
    pub(super) announce: Announce,
    priority: Priority,
    preempt: bool,
    preempt_delay: Duration,
    notify: Notify,
}

impl Draft {
    /// Whether the advertisements are IPv6; none when there is no address.
    pub(super) fn is_ipv6(&self) -> Option<bool> {
        Some(self.addresses.first()?.get_ref().address.addr().is_ipv6())
    }

    pub(super) fn into_model(self, declared: &Declarations) -> Option<VrrpInstance> {
        let virtual_mac = vrrp_mac::model(&self);
        let interface = self.interface?.into_inner();
        let default_device = virtual_mac.as_ref().map_or(&interface, |mac| &mac.device);
        let address = |written: Spanned<Written>| {
            let Written { address, device, scope } = written.into_inner();
            VirtualAddress { address, device: device.unwrap_or_else(|| default_device.clone()), scope }
        };
        let route = |written: Spanned<VirtualRoute>| {
            let mut route = written.into_inner();
            if route.kind == RouteKind::Unicast && route.via.is_none() {
                route.device.get_or_insert_with(|| interface.clone());
            }
            route
        };
        Some(VrrpInstance {
            name: self.name?.into_inner(),
            virtual_router_id: self.virtual_router_id?.into_inner(),
            priority: self.priority,
            version: self.version,
            advert_interval: self.advert_interval,
            virtual_mac: virtual_mac.clone(),
            virtual_ipaddress: self.addresses.into_iter().map(address).collect(),
            virtual_routes: self.routes.into_iter().map(route).collect(),
            virtual_rules: self.rules.into_iter().map(Spanned::into_inner).collect(),
            preempt: self.preempt,
            preempt_delay: self.preempt_delay,
            unicast_peers: self.unicast_peers.into_iter().map(Spanned::into_inner).collect(),
            source_address: self.source_address.map(Spanned::into_inner),
            checksum: self.checksum.map_or(Checksum::PseudoHeader, Spanned::into_inner),
            authentication: self.authentication.map(Spanned::into_inner),
            trackers: self.trackers.into_iter().map(|each| declared.tracked(each)).collect(),
            announce: self.announce,
            notify: self.notify,
            interface,
        })
    }
}

pub(super) fn read(section: &mut Section<'_>, host: &Host) -> Draft {
    let draft = Draft {
        span: section.span(),
        name: section.required("name", name),
        interface: section.required("interface", interface),
        virtual_router_id: section.required("virtual_router_id", byte(1)),
        virtual_mac: vrrp_mac::read(section),
        priority: Priority(section.value_or("priority", 100, byte(1))),
        version: section.value_or("version", Version::V3, version),
        version_at: section.key_span("version"),
        advert_interval: section.value_or("advert_interval", Duration::from_secs(1), duration),
        interval_at: section.key_span("advert_interval"),
        addresses: addresses(section),
        routes: section.list("virtual_routes", virtual_route).unwrap_or_default(),
        rules: section.list("virtual_rules", virtual_rule).unwrap_or_default(),
        preempt: section.value_or("preempt", true, boolean),
        preempt_delay: section.value_or("preempt_delay", Duration::ZERO, duration_or_zero),
        unicast_peers: section.list("unicast_peers", speaker).unwrap_or_default(),
        source_address: section.value("source_address", speaker),
        checksum: section.value("checksum", choice(CHECKSUMS)),
        authentication: authentication(section, host),
        trackers: references(section),
        announce: section.section("announce", read_announce).unwrap_or_default(),
        notify: notify(section, host),
    };
    if !draft.preempt && !draft.preempt_delay.is_zero() {
        let at = section.key_span("preempt_delay");
        let message = "a preempt delay means nothing where nobody is preempted";
        let unused = Diagnostic::warning("unused-key", at, message);
        section.push(unused.place(section.key_span("preempt"), "here").help("take one of them out"));
    }
    draft
}

fn byte(least: u8) -> impl Fn(&DeValue<'_>) -> Result<u8, Wrong> {
    let number = number(u32::from(least), 255);
    // Within 8 bits by the bound above.
    move |value| number(value).map(|number| u8::try_from(number).unwrap_or(u8::MAX))
}

fn version(value: &DeValue<'_>) -> Result<Version, Wrong> {
    Ok(if number(2, 3)(value)? == 2 { Version::V2 } else { Version::V3 })
}

fn addresses(section: &mut Section<'_>) -> Vec<Spanned<Written>> {
    let Some(node) = section.require("virtual_ipaddress") else { return Vec::new() };
    let items = node.some_items("write \"ADDRESS/PREFIX\" for each");
    items.iter().filter_map(|item| item.convert(virtual_address)).collect()
}

fn read_announce(section: &mut Section<'_>) -> Announce {
    let Announce { repeat, delay, refresh } = Announce::default();
    Announce {
        repeat: section.value_or("repeat", repeat, number(1, 100)),
        delay: section.value_or("delay", delay, pause(duration)),
        refresh: section.value_or("refresh", refresh, pause(duration_or_zero)),
    }
}

/// Bursts that follow each other too closely are a flood.
fn pause(
    read: fn(&DeValue<'_>) -> Result<Duration, Wrong>,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, Wrong> {
    move |value| match read(value)? {
        pause if pause.is_zero() || pause >= Duration::from_secs(1) => Ok(pause),
        _ => Err(Wrong::value("a duration of at least 1s", "is shorter")),
    }
}

/// The key `notify` of an instance or a sync group.
pub(super) fn notify(section: &mut Section<'_>, host: &Host) -> Notify {
    section.section("notify", |notify| read_notify(notify, host)).unwrap_or_default()
}

fn read_notify(section: &mut Section<'_>, host: &Host) -> Notify {
    let mut run = |key| {
        let Some(command) = section.value(key, command) else { return Vec::new() };
        warn_of_missing(section, command.get_ref(), command.span(), host);
        command.into_inner()
    };
    Notify {
        master: run("master"),
        backup: run("backup"),
        fault: run("fault"),
        stop: run("stop"),
        any: run("any"),
    }
}
