//! Routes and rules of this host through rtnetlink, marked as ours: put, removed, and removed where an earlier run left them.

use std::{net::IpAddr, pin::pin};

use netlink_packet_route::{
    AddressFamily,
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use nix::errno::Errno;
use rtnetlink::{Handle, IpVersion};
use tokio_stream::StreamExt as _;

use super::addresses::{Put, errno};
use crate::config::vrrp::{RouteKind, VirtualRoute, VirtualRule};

/// Says in the kernel's tables who made an entry: a number that /etc/iproute2/rt_protos leaves to administrators.
const PROTOCOL: u8 = 120;

/// A route or a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// A route, and the number of its interface, if it has one.
    Route(VirtualRoute, Option<u32>),
    /// A rule.
    Rule(VirtualRule),
}

/// The way to the kernel.
#[derive(Clone, Debug)]
pub struct Routes(pub(super) Handle);

impl Routes {
    /// Puts it, unless it is there.
    ///
    /// # Errors
    /// What the kernel says; an entry that exists is none.
    pub async fn put(&self, entry: &Entry) -> Result<Put, rtnetlink::Error> {
        let done = match entry {
            Entry::Route(route, index) => self.0.route().add(route_message(route, *index)).execute().await,
            Entry::Rule(rule) => {
                let mut request = self.0.rule().add();
                *request.message_mut() = rule_message(rule);
                request.execute().await
            }
        };
        match done {
            Err(error) if errno(&error) == Some(Errno::EEXIST) => Ok(Put::Foreign),
            other => other.map(|()| Put::Ours),
        }
    }

    /// Removes it, if it is ours; one that is not there is removed already.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn remove(&self, entry: &Entry) -> Result<(), rtnetlink::Error> {
        let done = match entry {
            Entry::Route(route, index) => self.0.route().del(route_message(route, *index)).execute().await,
            Entry::Rule(rule) => self.0.rule().del(rule_message(rule)).execute().await,
        };
        unless_gone(done)
    }

    /// Removes all that are ours: what a run that was killed has left.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn remove_left(&self) -> Result<usize, rtnetlink::Error> {
        let (mut routes, mut rules) = (Vec::new(), Vec::new());
        for (version, family) in [(IpVersion::V4, AddressFamily::Inet), (IpVersion::V6, AddressFamily::Inet6)]
        {
            let mut all = RouteMessage::default();
            all.header.address_family = family;
            let mut stream = pin!(self.0.route().get(all).execute());
            while let Some(route) = stream.next().await {
                routes.push(route?);
            }
            let mut stream = pin!(self.0.rule().get(version).execute());
            while let Some(rule) = stream.next().await {
                rules.push(rule?);
            }
        }
        routes.retain(is_ours);
        rules.retain(is_our_rule);
        let count = routes.len() + rules.len();
        for rule in rules {
            unless_gone(self.0.rule().del(rule).execute().await)?;
        }
        for route in routes {
            unless_gone(self.0.route().del(route).execute().await)?;
        }
        Ok(count)
    }
}

pub(super) fn is_ours(route: &RouteMessage) -> bool {
    route.header.protocol == RouteProtocol::Other(PROTOCOL)
}

pub(super) fn is_our_rule(rule: &RuleMessage) -> bool {
    rule.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)))
}

fn unless_gone(done: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match done {
        Err(error) if matches!(errno(&error), Some(Errno::ESRCH | Errno::ENOENT | Errno::ENODEV)) => Ok(()),
        other => other,
    }
}

fn route_message(route: &VirtualRoute, index: Option<u32>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(route.destination.addr().is_ipv6());
    header.destination_prefix_length = route.destination.prefix_len();
    header.protocol = RouteProtocol::Other(PROTOCOL);
    header.kind = match route.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
    };
    // Hosts on the link, as `ip` says it.
    let on_link = route.kind == RouteKind::Unicast && route.via.is_none();
    header.scope = if on_link { RouteScope::Link } else { RouteScope::Universe };
    header.table = RouteHeader::RT_TABLE_UNSPEC;
    let address = |address: IpAddr| RouteAddress::from(address);
    message.attributes = [
        Some(RouteAttribute::Table(route.table)),
        (route.destination.prefix_len() > 0)
            .then(|| RouteAttribute::Destination(address(route.destination.addr()))),
        route.via.map(|via| RouteAttribute::Gateway(address(via))),
        index.map(RouteAttribute::Oif),
        route.source.map(|source| RouteAttribute::PrefSource(address(source))),
        route.metric.map(RouteAttribute::Priority),
    ]
    .into_iter()
    .flatten()
    .collect();
    message
}

fn rule_message(rule: &VirtualRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.ipv6);
    message.header.src_len = rule.from.map_or(0, |from| from.prefix_len());
    message.header.dst_len = rule.to.map_or(0, |to| to.prefix_len());
    message.header.action = RuleAction::ToTable;
    message.attributes = [
        Some(RuleAttribute::Priority(rule.priority)),
        Some(RuleAttribute::Table(rule.table)),
        Some(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL))),
        rule.from.map(|from| RuleAttribute::Source(from.addr())),
        rule.to.map(|to| RuleAttribute::Destination(to.addr())),
        rule.input.clone().map(RuleAttribute::Iifname),
        rule.output.clone().map(RuleAttribute::Oifname),
        rule.mark.map(RuleAttribute::FwMark),
    ]
    .into_iter()
    .flatten()
    .collect();
    message
}

fn family(ipv6: bool) -> AddressFamily {
    if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet }
}
