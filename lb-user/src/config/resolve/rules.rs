//! What must hold between the parts of a configuration: ambiguity and contradiction are named with both places.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, SocketAddr},
};

use super::{
    fwmark, global, mark_rules,
    virtual_server::{self, RealServerDraft},
};
use crate::config::{
    diagnostic::{Diagnostic, Span},
    file::Mistakes,
    model::Protocol,
};

/// Holds everything that could be read against everything else.
pub(super) fn check(
    global: Option<&global::Draft>,
    fwmarks: &[fwmark::Draft],
    servers: &[virtual_server::Draft],
    mistakes: &Mistakes,
) {
    names(servers, mistakes);
    listeners(servers, mistakes);
    let vips = vips(servers);
    for server in servers {
        families(server, mistakes);
        pool(server, mistakes);
        not_a_vip(server, &vips, mistakes);
        quorum(server, mistakes);
    }
    mark_rules::check(global, fwmarks, servers, mistakes);
    if let Some(global) = global {
        capacity(global, servers, mistakes);
    }
}

/// Calls `twice` with the place of each thing that was there before, and the place where it was.
pub(super) fn unique<T: Eq + Hash>(
    things: impl Iterator<Item = (T, Span)>,
    mut twice: impl FnMut(T, Span, Span),
) {
    let mut seen = HashMap::new();
    for (thing, span) in things {
        match seen.get(&thing) {
            Some(first) => twice(thing, span, Span::clone(first)),
            None => {
                seen.insert(thing, span);
            }
        }
    }
}

fn names(servers: &[virtual_server::Draft], mistakes: &Mistakes) {
    let names = servers.iter().filter_map(|server| server.name.as_ref());
    unique(names.map(|name| (name.get_ref(), name.span())), |name, span, first| {
        let message = format!("two virtual servers are called `{name}`");
        mistakes.push(Diagnostic::error("duplicate-name", span, message).place(first, "the first one"));
    });
}

fn listeners(servers: &[virtual_server::Draft], mistakes: &Mistakes) {
    #[derive(PartialEq, Eq, Hash)]
    enum Key {
        Address(SocketAddr, Protocol),
        Fwmark(u32, Protocol, Option<bool>),
    }
    let keys = servers.iter().flat_map(|server| {
        let protocol = server.options.protocol;
        let addresses = server.addresses.iter();
        let addresses = addresses.map(move |at| (Key::Address(*at.get_ref(), protocol), at.span()));
        // A mark may have a pool of each address family.
        let ipv4 = server.real_servers.first().map(|real| real.model.address.is_ipv4());
        let fwmark = server.fwmark.iter();
        let fwmark = fwmark.map(move |at| (Key::Fwmark(*at.get_ref(), protocol, ipv4), at.span()));
        addresses.chain(fwmark)
    });
    unique(keys, |key, span, first| {
        let what = match key {
            Key::Address(address, protocol) => format!("{} {}", shown(address), word(protocol)),
            Key::Fwmark(mark, protocol, _) => format!("mark {mark} {}", word(protocol)),
        };
        let message = format!("{what} is already served");
        mistakes.push(Diagnostic::error("duplicate-virtual-server", span, message).place(first, "here"));
    });
}

/// Every VIP and its first place.
fn vips(servers: &[virtual_server::Draft]) -> HashMap<IpAddr, Span> {
    let mut vips = HashMap::new();
    for address in servers.iter().flat_map(|server| &server.addresses) {
        vips.entry(address.get_ref().ip()).or_insert_with(|| address.span());
    }
    vips
}

/// Clients and real servers speak one address family.
fn families(server: &virtual_server::Draft, mistakes: &Mistakes) {
    let family = |address: &SocketAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let addresses = server.addresses.iter().map(|at| (*at.get_ref(), at.span()));
    let real_servers = server.real_servers.iter().map(|real| (real.model.address, real.address_at.clone()));
    let sorry_server = server.options.sorry_server.iter().map(|at| (*at.get_ref(), at.span()));
    let mut all = addresses.chain(real_servers).chain(sorry_server);
    let Some((first, first_at)) = all.next() else { return };
    for (other, span) in all.filter(|(other, _)| other.is_ipv4() != first.is_ipv4()) {
        let message = format!("{} and {} in one virtual server", family(&first), family(&other));
        mistakes.push(
            Diagnostic::error("mixed-families", span, message)
                .label(family(&other))
                .place(first_at.clone(), family(&first))
                .help("make a virtual server for each family"),
        );
    }
}

/// No two real servers with one name or one address; the sorry server is none of them.
fn pool(server: &virtual_server::Draft, mistakes: &Mistakes) {
    let reals = || server.real_servers.iter();
    let addresses = reals().map(|real| (real.model.address, real.address_at.clone()));
    let sorry_server = server.options.sorry_server.iter().map(|at| (*at.get_ref(), at.span()));
    let mut twice = false;
    unique(addresses.chain(sorry_server), |address, span, first| {
        twice = true;
        let message = format!("{} is already in this pool", shown(address));
        mistakes.push(Diagnostic::error("duplicate-real-server", span, message).place(first, "here"));
    });
    if twice {
        return; // Names that are made from addresses would repeat the same mistake.
    }
    unique(reals().map(|real| (real.model.name.as_str(), real.name_at.clone())), |name, span, first| {
        let message = format!("two real servers of this pool are called `{name}`");
        mistakes.push(Diagnostic::error("duplicate-name", span, message).place(first, "the first one"));
    });
}

/// A packet to a real server must not be one for a virtual server.
fn not_a_vip(server: &virtual_server::Draft, vips: &HashMap<IpAddr, Span>, mistakes: &Mistakes) {
    let real_servers =
        server.real_servers.iter().map(|real| (real.model.address.ip(), real.address_at.clone()));
    let sorry_server = server.options.sorry_server.iter().map(|at| (at.get_ref().ip(), at.span()));
    for (ip, span) in real_servers.chain(sorry_server) {
        if let Some(vip) = vips.get(&ip) {
            let message = format!("{ip} is a virtual server's address and a real server's");
            mistakes.push(
                Diagnostic::error("real-server-is-vip", span, message)
                    .place(vip.clone(), "a virtual server's here")
                    .help("write the address the real server has of its own"),
            );
        }
    }
}

/// A quorum that cannot be met keeps the virtual server down for ever.
fn quorum(server: &virtual_server::Draft, mistakes: &Mistakes) {
    let (quorum, hysteresis) = (server.options.quorum(), server.options.hysteresis());
    if let Some(at) = &server.options.hysteresis
        && hysteresis >= quorum
    {
        let message = format!("a hysteresis of {hysteresis} is not below the quorum of {quorum}");
        let mut wrong = Diagnostic::error("hysteresis-too-large", at.span(), message);
        if let Some(quorum) = &server.options.quorum {
            wrong = wrong.place(quorum.span(), "the quorum");
        }
        mistakes.push(
            wrong.help("at the quorum minus the hysteresis the virtual server goes down: keep it above 0"),
        );
        return;
    }
    if !server.whole || server.dynamic_weights {
        return;
    }
    let weight = |real: &RealServerDraft| u64::from(real.model.weight);
    let sum: u64 = server.real_servers.iter().map(weight).sum();
    match &server.options.quorum {
        Some(at) if u64::from(quorum) + u64::from(hysteresis) > sum => {
            let need = match hysteresis {
                0 => format!("a quorum of {quorum}"),
                _ => format!("a quorum of {quorum} with a hysteresis of {hysteresis}"),
            };
            let message = format!("{need} is more than the sum of all weights, {sum}");
            let help = match hysteresis {
                0 if sum > 0 => format!("write at most {sum}, or raise weights"),
                _ => "lower it, or raise weights".to_owned(),
            };
            mistakes.push(
                Diagnostic::error("quorum-unreachable", at.span(), message)
                    .place(server.span.clone(), "the pool of this virtual server")
                    .help(help),
            );
        }
        None if sum == 0 => mistakes.push(
            Diagnostic::warning("no-weight", server.span.clone(), "every real server here has weight 0")
                .help("no connection is given to any of them; raise a weight"),
        ),
        _ => {}
    }
}

fn capacity(global: &global::Draft, servers: &[virtual_server::Draft], mistakes: &Mistakes) {
    let real_servers: usize = servers
        .iter()
        .map(|server| server.real_servers.len() + usize::from(server.options.sorry_server.is_some()))
        .sum();
    let model = &global.model;
    for (code, key, have, most, at) in [
        (
            "too-many-virtual-servers",
            "max_virtual_servers",
            servers.len(),
            model.max_virtual_servers,
            &global.max_virtual_servers_at,
        ),
        (
            "too-many-real-servers",
            "max_real_servers",
            real_servers,
            model.max_real_servers,
            &global.max_real_servers_at,
        ),
    ] {
        if have as u64 > u64::from(most) {
            let message = format!("there are {have}, and `{key}` is {most}");
            let help = format!("write `{key} = {have}` or more; its memory is reserved at start");
            mistakes.push(Diagnostic::error(code, at.clone(), message).help(help));
        }
    }
}

/// An address as people write it.
pub(super) fn shown(address: SocketAddr) -> String {
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

pub(super) fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}
