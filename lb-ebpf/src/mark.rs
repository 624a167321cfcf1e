//! Firewall marks: which virtual server a packet's mark belongs to, when no service is on its address and port.

use lb_common::{
    addr::{Address, Port, Protocol},
    limits::MARK_RULES,
    mark::{MarkRule, NOBODY},
    service::settings,
};

use crate::{
    parse::Arrival,
    tables::{Common, Tables},
};

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Question<A> {
    /// Where the packet is going.
    pub destination: A,
    /// Where it comes from.
    pub source: A,
    /// Destination port.
    pub port: Port,
    /// Transport protocol.
    pub protocol: u16,
    /// Index of the interface it arrived on.
    pub interface: u32,
}

impl<A: Copy> Question<A> {
    /// About a packet.
    #[inline(always)]
    pub const fn about(arrival: &Arrival<A>) -> Self {
        let key = &arrival.datagram.key;
        Self {
            destination: key.destination,
            source: key.source,
            port: key.destination_port,
            protocol: match arrival.datagram.protocol {
                Protocol::Tcp => Protocol::Tcp as u16,
                Protocol::Udp => Protocol::Udp as u16,
            },
            interface: arrival.interface,
        }
    }
}

/// Index of the virtual server of the first rule that matches, or [`NOBODY`].
#[inline(always)]
pub fn classify<A: Address, T: Tables<A>>(tables: &T, question: &Question<A>) -> u32 {
    let Some(table) = tables.mark_rules(question.destination) else { return NOBODY };
    let port = question.port.number();
    for position in 0..MARK_RULES {
        if position >= table.count {
            break;
        }
        let Some(rule) = table.rules.get(position as usize) else { break };
        if matches(rule, question, port) {
            return rule.virtual_server;
        }
    }
    NOBODY
}

#[inline(always)]
fn matches<A: Address>(rule: &MarkRule<A>, question: &Question<A>, port: u16) -> bool {
    rule.protocol == question.protocol
        && rule.first_port <= port
        && port <= rule.last_port
        && (rule.interface == 0 || rule.interface == question.interface)
        && question.source.is_within(rule.source, rule.source_mask)
}

/// Whether a packet for an address that is no VIP may carry a mark.
#[inline(always)]
pub(crate) fn are_wide<T: Common>(tables: &T) -> bool {
    tables.settings().is_some_and(|settings| settings.flags & settings::WIDE_MARKS != 0)
}
