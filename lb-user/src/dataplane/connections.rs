//! Reads the connection tables entry by entry, in bounded memory: neither the daemon nor the data plane waits for it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::ControlFlow,
};

use aya::{
    Pod,
    maps::{IterableMap as _, MapError},
};
use lb_common::{
    addr::{Address, Port, Protocol},
    connection::{Connection, ConnectionKey, flags},
    half_open::Set,
    mark::MarkRules,
    service::{ServiceKey, VipKey},
    tcp::TcpState,
    template::TemplateKey,
};

use super::{
    batch,
    maps::{Connections, FamilyMaps, Maps},
    sweep::Which,
};

/// A connection, from the entries of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it was found.
    pub which: Which,
    /// Who opened it.
    pub client: SocketAddr,
    /// What the client talks to.
    pub vip: SocketAddr,
    /// Whom the real server talks to: the client, or this machine in its place.
    pub sender: SocketAddr,
    /// Who answers.
    pub real_server: SocketAddr,
    /// Index of the real server.
    pub index: u32,
    /// [`flags`] of the client's direction.
    pub request: u16,
    /// [`flags`] of the real server's; 0 when eviction has left no entry of it.
    pub reply: u16,
    /// The later of both directions' last packets, in ticks.
    pub last_seen: u32,
}

impl Entry {
    /// The protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self.which {
            Which::Tcp | Which::HalfOpen => Protocol::Tcp,
            Which::Udp => Protocol::Udp,
        }
    }

    /// What the sweep takes it for.
    #[must_use]
    pub const fn tcp_state(&self) -> TcpState {
        TcpState::of(self.request, self.reply)
    }
}

/// Calls `visit` with every connection for whose real server (by index) and client `wanted` says yes, until it has seen
/// enough. Connections that come or go meanwhile may be seen or not.
///
/// # Errors
///
/// That of the system call.
pub fn while_each(
    maps: &Maps,
    wanted: impl Fn(u32, IpAddr) -> bool,
    visit: impl FnMut(Entry) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut reader = Reader { wanted, visit, seen_enough: false };
    reader.family(&maps.v4)?;
    reader.family(&maps.v6)
}

struct Reader<W, V> {
    wanted: W,
    visit: V,
    seen_enough: bool,
}

impl<W: Fn(u32, IpAddr) -> bool, V: FnMut(Entry) -> ControlFlow<()>> Reader<W, V> {
    fn family<A>(&mut self, maps: &FamilyMaps<A>) -> io::Result<()>
    where
        A: Address + Pod,
        MarkRules<A>: Pod,
        TemplateKey<A>: Pod,
        VipKey<A>: Pod,
        ServiceKey<A>: Pod,
        ConnectionKey<A>: Pod,
        Connection<A>: Pod,
        Set<A>: Pod,
    {
        self.table(Which::Tcp, &maps.tcp)?;
        self.table(Which::Udp, &maps.udp)?;
        if self.seen_enough {
            return Ok(());
        }
        maps.half_open.entries()?.while_each(|_, key, half| {
            let request = &half.connection;
            if !self.is_wanted(&key, request) {
                return ControlFlow::Continue(());
            }
            self.show(Which::HalfOpen, &key, request, Some((half.reply_flags, half.answered)))
        });
        Ok(())
    }

    fn table<A: Address>(&mut self, which: Which, map: &Connections<A>) -> io::Result<()>
    where
        ConnectionKey<A>: Pod,
        Connection<A>: Pod,
    {
        if self.seen_enough {
            return Ok(());
        }
        let mut failed = None;
        batch::while_each(map.map().fd(), |key: ConnectionKey<A>, request: Connection<A>| {
            if !self.is_wanted(&key, &request) {
                return ControlFlow::Continue(());
            }
            match map.get(&request.translated.reversed(), 0) {
                Ok(other) => self.show(which, &key, &request, Some((other.flags, other.last_seen))),
                Err(MapError::KeyNotFound) => self.show(which, &key, &request, None),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), |error| Err(io::Error::other(error)))
    }

    fn is_wanted<A: Address>(&self, key: &ConnectionKey<A>, request: &Connection<A>) -> bool {
        request.flags & flags::REPLY == 0 && (self.wanted)(request.real_server, key.source.to_ip())
    }

    /// `reply` are flags and time of the real server's direction, if it has an entry.
    fn show<A: Address>(
        &mut self,
        which: Which,
        key: &ConnectionKey<A>,
        request: &Connection<A>,
        reply: Option<(u16, u32)>,
    ) -> ControlFlow<()> {
        let (reply, heard) = reply.unwrap_or((0, request.last_seen));
        let later = heard.wrapping_sub(request.last_seen).cast_signed() > 0;
        let flow = (self.visit)(Entry {
            which,
            client: at(key.source, key.source_port),
            vip: at(key.destination, key.destination_port),
            sender: at(request.translated.source, request.translated.source_port),
            real_server: at(request.translated.destination, request.translated.destination_port),
            index: request.real_server,
            request: request.flags,
            reply,
            last_seen: if later { heard } else { request.last_seen },
        });
        self.seen_enough = flow.is_break();
        flow
    }
}

fn at<A: Address>(address: A, port: Port) -> SocketAddr {
    SocketAddr::new(address.to_ip(), port.number())
}
