//! What would become of a client's packet: the data plane's own decision, rehearsed.

use std::net::{IpAddr, SocketAddr};

use etherparse::{PacketBuilder, SlicedPacket};
use lb_common::{
    addr::{self, Port, V4, V6},
    connection::{ConnectionKey, HalfOpen},
    outcome::{Disposition, Outcome},
    service::{RealServer, Scheduling},
};
use lb_ebpf::{
    desk::Workspace,
    forward::forward,
    memory::Frame,
    select::{self, Choice, Selection, is_full},
    tables::Tables,
};

use super::{Daemon, failed};
use crate::{
    config::model::Protocol,
    control::{
        Code, Failure,
        explain::{Explanation, Question},
    },
    dataplane::{
        read,
        rehearsal::{Note, Rehearsal},
    },
};

/// The port of a client that was not said to have one: the first ephemeral one (RFC 6335).
const PORT: u16 = 49_152;

impl Daemon {
    pub(super) fn explain(&self, question: &Question) -> Result<Explanation, Failure> {
        let protocol = match question.protocol() {
            Protocol::Tcp => addr::Protocol::Tcp,
            Protocol::Udp => addr::Protocol::Udp,
        };
        let client = SocketAddr::new(question.client, question.port.unwrap_or(PORT));
        let (name, index, mac) = self.ingress(question.interface.as_deref())?;
        let mut bytes = first_packet(client, question.vip, protocol, mac)?;
        let Some(now) = self.programs.now() else {
            return Err(Failure::new(Code::Failed, "the kernel does not tell the time"));
        };
        let mut rehearsal =
            Rehearsal::new(&self.engine.current, &self.engine.maps, now).map_err(|error| failed(&error))?;
        let existing = existing(&mut rehearsal, client, question.vip, protocol);
        let mut workspace = Box::new(Workspace::default());
        let mut frame = Frame { interface: index, bytes: &mut bytes };
        let outcome = forward(&mut frame, &mut rehearsal, &mut workspace).outcome();
        let forwarded = matches!(outcome.disposition(), Disposition::Send | Disposition::Kernel)
            && outcome != Outcome::Reset;
        let real_server = if forwarded { destination(frame.bytes) } else { None };
        let notes = rehearsal.notes();
        let listening = notes.iter().rev().find_map(|note| match note {
            Note::Service(_, found) => *found,
            Note::Marked(found) => *found,
            Note::Bound(_) | Note::Chosen(..) | Note::Taken => None,
        });
        let owner = existing.and_then(|(real, _)| self.engine.current.real_servers.get(&real));
        let virtual_server = listening.or(owner.map(|real| real.virtual_server));

        let mut reasons = Vec::new();
        if question.port.is_none() {
            reasons.push(format!("no source port was given: {PORT} is assumed"));
        }
        match existing {
            Some((real, table)) => {
                reasons.push(format!("its connection is known in the {table} table, to {}", self.real(real)));
            }
            None => reasons.push("no connection of this client address and port is known".to_owned()),
        }
        for note in &notes {
            reasons.push(self.reason(note, protocol));
            if let Note::Chosen(selection, chosen) = note {
                self.candidates(selection, *chosen, &mut reasons);
            }
        }
        Ok(Explanation {
            client,
            vip: question.vip,
            protocol: word(protocol).to_owned(),
            interface: name,
            outcome: outcome.name().to_owned(),
            virtual_server: virtual_server.map(|index| self.virtual_server_at(index)),
            real_server,
            name: real_server.and_then(|address| self.real_name(virtual_server?, address)),
            known: existing.is_some(),
            reasons,
        })
    }

    /// Name, index and link address of the interface that packets arrive on.
    fn ingress(&self, name: Option<&str>) -> Result<(String, u32, [u8; 6]), Failure> {
        let interfaces = &self.engine.current.interfaces;
        let attached = |wanted: &str| self.attached.iter().find(|attached| attached.name == wanted);
        let found = name.map_or(self.attached.first(), attached);
        let found = found.and_then(|attached| {
            let (index, interface) =
                interfaces.iter().find(|(_, interface)| interface.slot == attached.slot)?;
            Some((attached.name.clone(), *index, interface.mac.into()))
        });
        found.ok_or_else(|| {
            let name = name.unwrap_or("none");
            Failure::new(Code::NotFound, format!("interface {name} is not one of global.interfaces"))
        })
    }

    fn reason(&self, note: &Note, protocol: addr::Protocol) -> String {
        match note {
            Note::Service(at, Some(index)) if at.port() == 0 => {
                format!(
                    "{} listens on every port of {}, {}",
                    self.virtual_server_at(*index),
                    at.ip(),
                    word(protocol)
                )
            }
            Note::Service(at, Some(index)) => {
                format!("{} listens on {at}, {}", self.virtual_server_at(*index), word(protocol))
            }
            Note::Service(at, None) if at.port() == 0 => {
                format!("no virtual server listens on every port of {}, {}", at.ip(), word(protocol))
            }
            Note::Service(at, None) => format!("no virtual server listens on {at}, {}", word(protocol)),
            Note::Marked(Some(index)) => {
                format!("a firewall mark of {} fits", self.virtual_server_at(*index))
            }
            Note::Marked(None) => "no firewall mark of a virtual server fits".to_owned(),
            Note::Bound(real) => format!("the client is bound to {} by persistence", self.real(*real)),
            Note::Chosen(selection, chosen) if *chosen == select::NONE => {
                format!("{}: no real server takes new connections", by(selection))
            }
            Note::Chosen(selection, chosen) => format!("{}: {}", by(selection), self.real(*chosen)),
            Note::Taken => "its replies would be those of another connection".to_owned(),
        }
    }

    /// What a choice by load was made from, and why a chosen one is passed over.
    fn candidates(&self, selection: &Selection, chosen: u32, reasons: &mut Vec<String>) {
        let by_load = selection.attempt == 0
            && selection.choice == Choice::Scheduled
            && !matches!(
                Scheduling::from_number(selection.scheduling),
                None | Some(Scheduling::Sequence | Scheduling::Hash)
            );
        let pool = self.engine.current.real_servers.iter();
        for (&index, real) in pool.filter(|(_, real)| real.virtual_server == selection.index) {
            // Not the rehearsal's, which counts its own packet by now.
            let Ok(load) = self.engine.maps.loads.get(&index, 0) else { continue };
            if by_load && real.weight > 0 {
                let (active, inactive) = (load.active, load.inactive);
                let name = self.real(index);
                reasons
                    .push(format!("  {name}: weight {}, {active} active, {inactive} inactive", real.weight));
            }
            if index == chosen && is_full(real.max_connections, &load) {
                let limit = real.max_connections;
                reasons.push(format!("  {} is full: {limit} connections", self.real(index)));
            }
        }
    }

    fn virtual_server_at(&self, index: u32) -> String {
        self.engine.current.names.get(&index).cloned().unwrap_or_else(|| format!("number {index}"))
    }

    fn real_name(&self, virtual_server: u32, address: SocketAddr) -> Option<String> {
        let name = self.engine.current.names.get(&virtual_server)?;
        let server = self.engine.config.virtual_servers.iter().find(|server| server.name == *name)?;
        // Port 0 keeps the client's.
        let is = |port: u16, ip: IpAddr| ip == address.ip() && (port == address.port() || port == 0);
        let real = server.real_servers.iter().find(|real| is(real.address.port(), real.address.ip()))?;
        Some(real.name.clone())
    }

    fn real(&self, index: u32) -> String {
        let name = |real: &RealServer| {
            let address = read::address(real);
            self.real_name(real.virtual_server, address).unwrap_or_else(|| address.to_string())
        };
        self.engine.current.real_servers.get(&index).map_or_else(|| format!("number {index}"), name)
    }
}

/// Who decided.
fn by(selection: &Selection) -> String {
    let scheduling = Scheduling::from_number(selection.scheduling);
    let hash = if selection.port == 0 {
        "hash of the client's address"
    } else {
        "hash of the client's address and port"
    };
    let by = match (selection.choice, scheduling, selection.attempt) {
        (Choice::Scheduled, Some(Scheduling::Sequence), _) => "next in turn now",
        (Choice::Scheduled, Some(Scheduling::LeastConnection), 0) => "lowest load for its weight now",
        (Choice::Scheduled, Some(Scheduling::ShortestDelay), 0) => "shortest expected delay now",
        (Choice::Scheduled, Some(Scheduling::NeverQueue), 0) => "idle, or shortest expected delay now",
        (Choice::Scheduled, Some(Scheduling::Failover), 0) => "highest weight",
        (Choice::Scheduled, Some(Scheduling::Overflow), 0) => "highest weight with room now",
        (Choice::Scheduled, Some(Scheduling::TwoChoices), 0) => "the better of two drawn at random",
        _ => hash,
    };
    match selection.attempt {
        0 => by.to_owned(),
        attempt => format!("attempt {}, {by}", attempt + 1),
    }
}

const fn word(protocol: addr::Protocol) -> &'static str {
    match protocol {
        addr::Protocol::Tcp => "tcp",
        addr::Protocol::Udp => "udp",
    }
}

/// The real server of the client's connection, and the table it is in.
fn existing(
    rehearsal: &mut Rehearsal<'_>,
    client: SocketAddr,
    vip: SocketAddr,
    protocol: addr::Protocol,
) -> Option<(u32, &'static str)> {
    match (client.ip(), vip.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            find(rehearsal, protocol, &key(V4::from(from), V4::from(to), client.port(), vip.port()))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            find(rehearsal, protocol, &key(V6::from(from), V6::from(to), client.port(), vip.port()))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

const fn key<A: Copy>(source: A, destination: A, from: u16, to: u16) -> ConnectionKey<A> {
    ConnectionKey { source, destination, source_port: Port::new(from), destination_port: Port::new(to) }
}

fn find<A: addr::Address, T: Tables<A>>(
    tables: &mut T,
    protocol: addr::Protocol,
    key: &ConnectionKey<A>,
) -> Option<(u32, &'static str)> {
    if let Some(entry) = tables.connection(protocol, key) {
        return Some((
            entry.real_server,
            if protocol == addr::Protocol::Tcp { "established" } else { "UDP" },
        ));
    }
    let mut half = HalfOpen::unused();
    let found = protocol == addr::Protocol::Tcp && tables.half_open(key, &mut half);
    found.then_some((half.connection.real_server, "half-open"))
}

/// A SYN, or an empty datagram.
fn first_packet(
    client: SocketAddr,
    vip: SocketAddr,
    protocol: addr::Protocol,
    mac: [u8; 6],
) -> Result<Vec<u8>, Failure> {
    const HOPS: u8 = 64;
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], mac);
    let ip = match (client.ip(), vip.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), HOPS),
        (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from.octets(), to.octets(), HOPS),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            let message = format!("{} and {vip} are not of one address family", client.ip());
            return Err(Failure::new(Code::Invalid, message));
        }
    };
    let mut bytes = Vec::new();
    match protocol {
        addr::Protocol::Tcp => ip.tcp(client.port(), vip.port(), 0, 65_535).syn().write(&mut bytes, &[]),
        addr::Protocol::Udp => ip.udp(client.port(), vip.port()).write(&mut bytes, &[]),
    }
    .map_err(|error| failed(&error))?;
    Ok(bytes)
}

/// Where a packet goes.
fn destination(frame: &[u8]) -> Option<SocketAddr> {
    use etherparse::{NetSlice, TransportSlice};
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let ip = match packet.net? {
        NetSlice::Ipv4(ip) => IpAddr::V4(ip.header().destination_addr()),
        NetSlice::Ipv6(ip) => IpAddr::V6(ip.header().destination_addr()),
        NetSlice::Arp(_) => return None,
    };
    match packet.transport? {
        TransportSlice::Tcp(tcp) => Some(SocketAddr::new(ip, tcp.destination_port())),
        TransportSlice::Udp(udp) => Some(SocketAddr::new(ip, udp.destination_port())),
        TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => None,
    }
}
