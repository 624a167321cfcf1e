//! What must hold between marks, the packets they match, and the virtual servers they name.

use std::collections::BTreeMap;

use ipnet::IpNet;
use lb_common::limits::{MARK_PREFIXES, MARK_RULES};

use super::{
    fwmark::{self, MatchDraft},
    global,
    rules::{unique, word},
    virtual_server,
};
use crate::config::{diagnostic::Diagnostic, file::Mistakes, model::MarkMatch};

pub(super) fn check(
    global: Option<&global::Draft>,
    fwmarks: &[fwmark::Draft],
    servers: &[virtual_server::Draft],
    mistakes: &Mistakes,
) {
    let marks = || fwmarks.iter().filter_map(|fwmark| fwmark.mark.as_ref());
    unique(marks().map(|mark| (mark.get_ref(), mark.span())), |mark, span, first| {
        let message = format!("mark {mark} is defined twice");
        let twice = Diagnostic::error("duplicate-fwmark", span, message).place(first, "first here");
        mistakes.push(twice.help("put all its matches into one list"));
    });
    if let Some(global) = global {
        interfaces(global, fwmarks, mistakes);
    }
    order(fwmarks, mistakes);
    crowded(fwmarks, mistakes);
    // A mark that could not be read may be the one that is looked for.
    if fwmarks.iter().any(|fwmark| fwmark.mark.is_none()) {
        return;
    }
    for server in servers {
        if let Some(used) = &server.fwmark {
            match fwmarks.iter().find(|fwmark| fwmark.mark.as_ref() == Some(used)) {
                Some(fwmark) => {
                    meets(server, fwmark, mistakes);
                    not_marked(server, fwmark, mistakes);
                }
                None => {
                    let message = format!("no [[fwmark]] defines mark {}", used.get_ref());
                    mistakes.push(
                        Diagnostic::error("unknown-fwmark", used.span(), message)
                            .help("marks of nftables do not exist yet where XDP runs: define it here"),
                    );
                }
            }
        }
    }
    for mark in marks().filter(|mark| !servers.iter().any(|server| server.fwmark.as_ref() == Some(mark))) {
        let message = format!("no virtual server uses mark {}", mark.get_ref());
        let unused = Diagnostic::warning("unused-fwmark", mark.span(), message);
        mistakes.push(unused.help(format!("write `fwmark = {}` in a [[virtual_server]]", mark.get_ref())));
    }
}

fn interfaces(global: &global::Draft, fwmarks: &[fwmark::Draft], mistakes: &Mistakes) {
    let known = &global.model.interfaces;
    for one in fwmarks.iter().flat_map(|fwmark| &fwmark.matches) {
        if let Some(interface) = one.model.interface.as_ref().filter(|interface| !known.contains(interface)) {
            let message = format!("`{interface}` is not one of `global.interfaces`");
            let unknown = Diagnostic::error("unknown-interface", one.interface_at.clone(), message);
            mistakes.push(unknown.help(format!("write one of {}, or add it there", known.join(", "))));
        }
    }
}

/// The first mark that matches wins: two that want the same are an error, one that never gets its turn is in vain.
fn order(fwmarks: &[fwmark::Draft], mistakes: &Mistakes) {
    let all =
        || fwmarks.iter().enumerate().flat_map(|(n, fwmark)| fwmark.matches.iter().map(move |one| (n, one)));
    for (n, later) in all() {
        let earlier = all().take_while(|(m, _)| *m < n).map(|(_, one)| one);
        for earlier in earlier.filter(|earlier| covers(&earlier.model, &later.model)).take(1) {
            mistakes.push(shadowed(earlier, later));
        }
    }
}

fn shadowed(earlier: &MatchDraft, later: &MatchDraft) -> Diagnostic {
    if covers(&later.model, &earlier.model) {
        Diagnostic::error("overlapping-fwmarks", later.span.clone(), "two marks for the same packets")
            .place(earlier.span.clone(), "they have a mark here")
            .help("leave them to one of the two")
    } else {
        Diagnostic::warning("shadowed-match", later.span.clone(), "this match never gets its turn")
            .place(earlier.span.clone(), "an earlier mark has all its packets")
            .help("the first mark in the file wins: put the narrower one first")
    }
}

/// The data plane looks at so many rules for a packet, and knows so many destinations. The first that is too many is told.
fn crowded(fwmarks: &[fwmark::Draft], mistakes: &Mistakes) {
    let all = || fwmarks.iter().flat_map(|fwmark| &fwmark.matches);
    let rules = |one: &MarkMatch| one.ports.len().max(1);
    let around = |inner: &IpNet| {
        let around = all().filter(|one| one.model.destination.contains(inner));
        around.map(|one| rules(&one.model)).sum::<usize>()
    };
    let mut destinations: BTreeMap<IpNet, usize> = BTreeMap::new();
    let (mut v4, mut v6) = (0, 0);
    for one in all() {
        let destination = one.model.destination;
        let known = destinations.len();
        let count = *destinations.entry(destination).or_insert_with(|| around(&destination));
        if count > MARK_RULES as usize {
            let message = format!("{count} rules are about {destination}, and {MARK_RULES} is the most");
            let crowded = Diagnostic::error("too-many-mark-rules", one.span.clone(), message);
            mistakes.push(crowded.help(
                "each port or range of each match is one, those of wider destinations too: write ranges, or fewer",
            ));
            return;
        }
        let family = if destination.addr().is_ipv4() { &mut v4 } else { &mut v6 };
        *family += destinations.len() - known;
        if *family > MARK_PREFIXES as usize {
            let message = format!("there are more than {MARK_PREFIXES} destinations of one address family");
            let crowded = Diagnostic::error("too-many-mark-destinations", one.span.clone(), message);
            mistakes.push(crowded.help("join neighbours into wider prefixes"));
            return;
        }
    }
}

/// A client that means a real server itself gets the mark, too.
fn not_marked(server: &virtual_server::Draft, fwmark: &fwmark::Draft, mistakes: &Mistakes) {
    for real in &server.real_servers {
        let (address, protocol) = (real.model.address, server.options.protocol);
        let is_for = |one: &&MatchDraft| {
            let port = |range: &(u16, u16)| (range.0..=range.1).contains(&address.port());
            one.model.protocol == protocol
                && one.model.destination.contains(&address.ip())
                && (one.model.ports.is_empty() || address.port() == 0 || one.model.ports.iter().any(port))
        };
        if let Some(one) = fwmark.matches.iter().find(is_for) {
            let message = format!("packets for the real server {} carry its mark themselves", address.ip());
            mistakes.push(
                Diagnostic::warning("real-server-is-marked", real.address_at.clone(), message)
                    .place(one.span.clone(), "by this match")
                    .help("clients that mean this server get any of the pool; narrow the destination"),
            );
        }
    }
}

/// Whether every packet that `b` matches is matched by `a`.
fn covers(a: &MarkMatch, b: &MarkMatch) -> bool {
    let within = |inner: &Option<IpNet>, outer: &Option<IpNet>| match (inner, outer) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(inner), Some(outer)) => outer.contains(inner),
    };
    let ports = |range: &(u16, u16)| a.ports.iter().any(|port| port.0 <= range.0 && range.1 <= port.1);
    a.protocol == b.protocol
        && a.destination.contains(&b.destination)
        && within(&b.source, &a.source)
        && (a.interface.is_none() || a.interface == b.interface)
        && (a.ports.is_empty() || (!b.ports.is_empty() && b.ports.iter().all(ports)))
}

/// Some packet of the mark can be served by the virtual server.
fn meets(server: &virtual_server::Draft, fwmark: &fwmark::Draft, mistakes: &Mistakes) {
    let (Some(mark), Some(real)) = (&server.fwmark, server.real_servers.first()) else { return };
    let (protocol, ipv4) = (server.options.protocol, real.model.address.is_ipv4());
    let serves = |one: &MarkMatch| one.protocol == protocol && one.destination.addr().is_ipv4() == ipv4;
    if fwmark.matches.is_empty() || fwmark.matches.iter().any(|one| serves(&one.model)) {
        return;
    }
    let family = if ipv4 { "IPv4" } else { "IPv6" };
    let message = format!("mark {} matches no {} over {family}", mark.get_ref(), word(protocol));
    mistakes.push(
        Diagnostic::error("mark-never-matches", mark.span(), message)
            .place(real.address_at.clone(), "the pool's family")
            .help("give the mark a match of this protocol and family"),
    );
}
