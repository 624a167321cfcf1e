//! What must hold between the VRRP sections, and between them and the virtual servers.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use lb_common::limits::LEASES;
use toml::Spanned;

use super::{
    rules::unique,
    virtual_server,
    vrrp::{Draft, GroupDraft},
    vrrp_instance,
};
use crate::config::{
    diagnostic::{Diagnostic, Span},
    file::{Mistakes, nearest},
    vrrp::{Authentication, Kind, MAX_ADVERTISED, Version},
};

/// What has sections of its own, in the plural and the singular, and what is said of one that is not there.
const TRACKED: [(Kind, [&str; 2], &str); 3] = [
    (Kind::Script, ["VRRP scripts", "VRRP script"], "unknown-script"),
    (Kind::Process, ["VRRP processes", "VRRP process"], "unknown-process"),
    (Kind::File, ["VRRP files", "VRRP file"], "unknown-file"),
];

/// Holds everything that could be read against everything else.
pub(super) fn check(draft: &Draft, servers: &[virtual_server::Draft], mistakes: &Mistakes) {
    let instances = || draft.instances.iter();
    unique_names("VRRP instances", instances().filter_map(|each| each.name.as_ref()), mistakes);
    unique_names("sync groups", draft.groups.iter().map(|group| &group.name), mistakes);
    for (kind, [what, _], _) in TRACKED {
        unique_names(what, draft.declared.of(kind).into_iter().map(|(name, _)| name), mistakes);
    }
    routers(&draft.instances, mistakes);
    addresses(&draft.instances, servers, mistakes);
    paths(&draft.instances, mistakes);
    groups(draft, mistakes);
    trackers(draft, servers, mistakes);
    draft.instances.iter().for_each(|instance| protocol(instance, mistakes));
    if let Some(beyond) = draft.instances.get(LEASES as usize - 1) {
        let message = format!("more than {} VRRP instances", LEASES - 1);
        mistakes.push(Diagnostic::error("too-many-vrrp-instances", beyond.span.clone(), message));
    }
}

fn unique_names<'n>(what: &str, names: impl Iterator<Item = &'n Spanned<String>>, mistakes: &Mistakes) {
    unique(names.map(|name| (name.get_ref(), name.span())), |name, span, first| {
        let message = format!("two {what} are called `{name}`");
        mistakes.push(Diagnostic::error("duplicate-name", span, message).place(first, "the first one"));
    });
}

/// Routers hear each other by interface, family and id.
fn routers(instances: &[vrrp_instance::Draft], mistakes: &Mistakes) {
    let ids = instances.iter().filter_map(|each| {
        let (interface, id) = (each.interface.as_ref()?, each.virtual_router_id.as_ref()?);
        Some(((interface.get_ref(), each.is_ipv6()?, *id.get_ref()), id.span()))
    });
    unique(ids, |(interface, ipv6, id), span, first| {
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        let message = format!("virtual router id {id} is used twice on {interface} for {family}");
        let twice = Diagnostic::error("duplicate-virtual-router-id", span, message);
        mistakes.push(twice.place(first, "first here").help("ids are per interface and address family"));
    });
}

fn addresses(instances: &[vrrp_instance::Draft], servers: &[virtual_server::Draft], mistakes: &Mistakes) {
    let all = || instances.iter().flat_map(|each| &each.addresses);
    let places = all().map(|each| (each.get_ref().address.addr(), each.span()));
    unique(places.clone(), |address, span, first| {
        let message = format!("{address} is a virtual address already");
        let twice = Diagnostic::error("duplicate-virtual-address", span, message);
        mistakes.push(twice.place(first, "here").help("only one instance can own it"));
    });
    let places: HashMap<IpAddr, Span> = places.collect();
    for real in servers.iter().flat_map(|server| &server.real_servers) {
        if let Some(place) = places.get(&real.model.address.ip()) {
            let message = format!("{} is a virtual address and a real server's", real.model.address.ip());
            mistakes.push(
                Diagnostic::error("real-server-is-vip", real.address_at.clone(), message)
                    .place(place.clone(), "the virtual address")
                    .help("write the address the real server has of its own"),
            );
        }
    }
    for instance in instances {
        let Some(ipv6) = instance.is_ipv6() else { continue };
        let of_family = |each: &&Spanned<_>| {
            let written: &crate::config::vrrp_value::Written = each.get_ref();
            written.address.addr().is_ipv6() == ipv6
        };
        if let Some(beyond) = instance.addresses.iter().filter(of_family).nth(MAX_ADVERTISED) {
            let message = format!("an advertisement holds {MAX_ADVERTISED} addresses, and this is one more");
            let warning = Diagnostic::warning("not-advertised", beyond.span(), message);
            mistakes.push(warning.help("this and what follows follows the role without being advertised"));
        }
    }
}

/// The kernel holds one route for a destination and metric, and one rule of a kind.
fn paths(instances: &[vrrp_instance::Draft], mistakes: &Mistakes) {
    let routes = instances.iter().flat_map(|each| &each.routes);
    unique(routes.map(|route| (route.get_ref().key(), route.span())), |(table, to, _), span, first| {
        let message = format!("{to} has a virtual route in table {table} already");
        let twice = Diagnostic::error("duplicate-virtual-route", span, message);
        mistakes.push(twice.place(first, "here").help("give one of them another metric"));
    });
    let rules = instances.iter().flat_map(|each| &each.rules);
    unique(rules.map(|rule| (rule.get_ref(), rule.span())), |_, span, first| {
        let twice = Diagnostic::error("duplicate-virtual-rule", span, "this virtual rule is there already");
        mistakes.push(twice.place(first, "here").help("only one instance can own it"));
    });
}

/// What the version and the family of an instance allow.
fn protocol(instance: &vrrp_instance::Draft, mistakes: &Mistakes) {
    let Some(ipv6) = instance.is_ipv6() else { return };
    let (version, at) = (instance.version, instance.version_at.clone());
    if version == Version::V2 && ipv6 {
        mistakes.push(
            Diagnostic::error("version-2-with-ipv6", at.clone(), "version 2 has no IPv6")
                .place(first_address(instance), "an IPv6 address")
                .help("write `version = 3`"),
        );
    }
    interval(instance, mistakes);
    if let (Version::V3, Some(key)) = (version, &instance.authentication)
        && matches!(key.get_ref(), Authentication::Pass(_))
    {
        let message = "version 3 has no password";
        let wrong = Diagnostic::error("authentication-without-version-2", key.span(), message);
        mistakes.push(wrong.help("write `type = \"hmac-sha256\"`, or `version = 2`, or take it out"));
    }
    if let (true, Some(checksum)) = (ipv6 || version == Version::V2, &instance.checksum) {
        let message = "only version 3 over IPv4 has two forms of the checksum";
        mistakes.push(Diagnostic::warning("unused-key", checksum.span(), message).help("take it out"));
    }
    let own = instance.source_address.iter();
    for other in instance.unicast_peers.iter().chain(own).filter(|each| each.get_ref().is_ipv6() != ipv6) {
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        let message = format!("{} cannot take part: the advertisements are {family}", other.get_ref());
        mistakes.push(
            Diagnostic::error("mixed-families", other.span(), message)
                .place(first_address(instance), "the first virtual address decides")
                .help("make an instance for each family"),
        );
    }
    let peers = instance.unicast_peers.iter().chain(&instance.source_address);
    unique(peers.map(|peer| (*peer.get_ref(), peer.span())), |peer, span, first| {
        let message = format!("{peer} stands for two routers");
        mistakes.push(Diagnostic::error("duplicate-peer", span, message).place(first, "here"));
    });
}

fn first_address(instance: &vrrp_instance::Draft) -> Span {
    instance.addresses.first().map_or_else(|| instance.span.clone(), Spanned::span)
}

/// What the interval's field can say: 8 bits of seconds, or 12 bits of centiseconds.
fn interval(instance: &vrrp_instance::Draft, mistakes: &Mistakes) {
    let (step, most, words) = match instance.version {
        Version::V2 => {
            (Duration::from_secs(1), Duration::from_secs(255), "version 2 counts whole seconds, at most 255s")
        }
        Version::V3 => (
            Duration::from_millis(10),
            Duration::from_millis(40_950),
            "version 3 counts in steps of 10ms, at most 40.95s",
        ),
    };
    let interval = instance.advert_interval;
    if interval > most || !interval.as_nanos().is_multiple_of(step.as_nanos()) {
        let message = format!("an advertisement cannot say {}", humantime::format_duration(interval));
        mistakes.push(Diagnostic::error("bad-interval", instance.interval_at.clone(), message).help(words));
    }
}

fn groups(draft: &Draft, mistakes: &Mistakes) {
    let instances = draft.instances.iter().filter_map(|each| each.name.as_ref());
    let names: Vec<&str> = instances.map(|name| name.get_ref().as_str()).collect();
    let members = || draft.groups.iter().flat_map(|group| &group.group);
    members().for_each(|name| is_known("unknown-vrrp-instance", "VRRP instance", name, &names, mistakes));
    unique(members().map(|name| (name.get_ref(), name.span())), |name, span, first| {
        let message = format!("`{name}` is in a sync group already");
        let twice = Diagnostic::error("two-sync-groups", span, message);
        mistakes.push(twice.place(first, "here").help("put all that move together into one group"));
    });
}

/// What is tracked exists, and is tracked once by every instance; a sync group's trackers are those of its members too.
fn trackers(draft: &Draft, servers: &[virtual_server::Draft], mistakes: &Mistakes) {
    let all = || {
        let instances = draft.instances.iter().map(|each| &each.trackers);
        instances.chain(draft.groups.iter().map(|group| &group.trackers)).flatten()
    };
    let servers = servers.iter().filter_map(|server| server.name.as_ref());
    let servers: Vec<&str> = servers.map(|name| name.get_ref().as_str()).collect();
    let known = |kind: Kind, code: &'static str, what: &str, names: &[&str]| {
        let of_kind = all().filter(|each| each.kind == kind);
        of_kind.for_each(|each| is_known(code, what, &each.name, names, mistakes));
    };
    known(Kind::VirtualServer, "unknown-virtual-server", "virtual server", &servers);
    for (kind, [_, what], code) in TRACKED {
        let declared = draft.declared.of(kind);
        let names: Vec<&str> = declared.iter().map(|(name, _)| name.get_ref().as_str()).collect();
        known(kind, code, what, &names);
    }
    for instance in &draft.instances {
        let is_member = |group: &&GroupDraft| {
            instance
                .name
                .as_ref()
                .is_some_and(|name| group.group.iter().any(|each| each.get_ref() == name.get_ref()))
        };
        let of_groups = draft.groups.iter().filter(is_member).flat_map(|group| &group.trackers);
        let tracked = instance.trackers.iter().chain(of_groups);
        let names = tracked.map(|each| ((each.kind, each.name.get_ref()), each.name.span()));
        unique(names, |(_, name), span, first| {
            let message = format!("`{name}` is tracked twice");
            mistakes.push(Diagnostic::error("duplicate-tracker", span, message).place(first, "here"));
        });
    }
}

fn is_known(code: &'static str, what: &str, name: &Spanned<String>, names: &[&str], mistakes: &Mistakes) {
    if names.contains(&name.get_ref().as_str()) {
        return;
    }
    let unknown = Diagnostic::error(code, name.span(), format!("there is no {what} `{}`", name.get_ref()));
    mistakes.push(match nearest(name.get_ref(), names.iter().copied()) {
        Some(near) => unknown.help(format!("write `{near}`")),
        None => unknown.help(match names {
            [] => format!("there is no {what} at all"),
            _ => format!("there are: {}", names.join(", ")),
        }),
    });
}
