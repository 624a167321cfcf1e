//! Forgets connections that have been idle for too long, and counts those that are alive.

use std::{
    collections::{BTreeMap, HashMap as StdHashMap},
    hash::Hash,
    io,
};

use aya::{
    Pod,
    maps::{HashMap, IterableMap as _, MapData, MapError},
};
use lb_common::{
    addr::Address,
    connection::{Connection, ConnectionKey, HalfOpen, flags},
    service::Load,
    tcp::TcpState,
};

use super::{
    batch,
    maps::{FamilyMaps, Maps},
};

/// Idle times in ticks of the connections of one virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, both directions open.
    pub established: u32,
    /// TCP, one direction closed; while the other still sends, it is not idle.
    pub half_closed: u32,
    /// TCP, both directions closed, or reset.
    pub closing: u32,
    /// TCP without a proven handshake.
    pub half_open: u32,
    /// UDP.
    pub udp: u32,
}

/// Live connections of one real server, as counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// TCP that is open in one direction at least, UDP.
    pub active: u64,
    /// TCP in every other state.
    pub inactive: u64,
}

/// What a sweep has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By real server index; a real server that is not here has no connection.
    pub live: BTreeMap<u32, Live>,
    /// TCP connections that are open in one direction at least, and UDP connections.
    pub established: u64,
    /// TCP connections that are closed in both directions, or reset.
    pub closing: u64,
    /// TCP connections without a proven handshake.
    pub half_open: u64,
    /// Connections forgotten.
    pub expired: u64,
}

/// Why a sweep ended early. The next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Reading a table.
    #[error("cannot read a connection table")]
    Read(#[from] io::Error),
    /// Removing an entry or writing a load.
    #[error("cannot write a connection table")]
    Write(#[from] MapError),
}

/// One direction as the sweep remembers it until it has seen the other.
#[derive(Clone, Copy)]
struct Half {
    flags: u16,
    last_seen: u32,
    real_server: u32,
}

const fn half<A>(connection: &Connection<A>) -> Half {
    Half { flags: connection.flags, last_seen: connection.last_seen, real_server: connection.real_server }
}

/// Sweeps all tables once. `timeouts` answers for a real server index; `now` is the data plane's clock.
///
/// # Errors
///
/// [`SweepError`].
pub fn sweep(maps: &mut Maps, now: u32, timeouts: &impl Fn(u32) -> Timeouts) -> Result<Seen, SweepError> {
    let mut seen = Seen::default();
    family(&mut maps.v4, now, timeouts, &mut seen)?;
    family(&mut maps.v6, now, timeouts, &mut seen)?;
    Ok(seen)
}

/// Writes the recounted loads of the real servers at `indices`.
///
/// # Errors
///
/// [`SweepError::Write`].
pub fn write_loads(
    maps: &mut Maps,
    seen: &Seen,
    indices: impl Iterator<Item = u32>,
) -> Result<(), SweepError> {
    for index in indices {
        let live = seen.live.get(&index).copied().unwrap_or_default();
        let load = maps.loads.get(&index, 0)?;
        let counted = Load { active: live.active, inactive: live.inactive };
        if counted != load {
            maps.loads.set(index, counted, 0)?;
        }
    }
    Ok(())
}

fn family<A>(
    maps: &mut FamilyMaps<A>,
    now: u32,
    timeouts: &impl Fn(u32) -> Timeouts,
    seen: &mut Seen,
) -> Result<(), SweepError>
where
    A: Address + Hash + 'static,
    ConnectionKey<A>: Pod,
    Connection<A>: Pod,
    HalfOpen<A>: Pod,
    lb_common::service::VipKey<A>: Pod,
    lb_common::service::ServiceKey<A>: Pod,
{
    let mut sweep = Sweep { now, timeouts, seen, expired: Vec::new() };
    sweep.pair(Which::Tcp, &maps.tcp, |connection: &Connection<A>| connection)?;
    sweep.remove(&mut maps.tcp)?;
    sweep.pair(Which::Udp, &maps.udp, |connection: &Connection<A>| connection)?;
    sweep.remove(&mut maps.udp)?;
    sweep.pair(Which::HalfOpen, &maps.half_open, |half: &HalfOpen<A>| &half.connection)?;
    sweep.remove(&mut maps.half_open)
}

/// Which table an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Proven TCP.
    Tcp,
    /// UDP.
    Udp,
    /// TCP without a proven handshake.
    HalfOpen,
}

impl Which {
    /// Idle time after which a connection in this state is forgotten, in ticks.
    #[must_use]
    pub const fn timeout(self, state: TcpState, timeouts: Timeouts) -> u32 {
        match (self, state) {
            (Self::Tcp, TcpState::Established) => timeouts.established,
            (Self::Tcp, TcpState::HalfClosed) => timeouts.half_closed,
            (Self::Tcp, TcpState::TimeWait | TcpState::Close) => timeouts.closing,
            (Self::Udp, _) => timeouts.udp,
            (Self::HalfOpen, _) => timeouts.half_open,
        }
    }

    fn count(self, state: TcpState, seen: &mut Seen, real_server: u32) {
        let live = seen.live.entry(real_server).or_default();
        let (total, server) = match (self, state) {
            (Self::HalfOpen, _) => (&mut seen.half_open, &mut live.inactive),
            (Self::Tcp, TcpState::Established | TcpState::HalfClosed) | (Self::Udp, _) => {
                (&mut seen.established, &mut live.active)
            }
            (Self::Tcp, TcpState::TimeWait | TcpState::Close) => (&mut seen.closing, &mut live.inactive),
        };
        *total += 1;
        *server += 1;
    }
}

struct Sweep<'a, A, F> {
    now: u32,
    timeouts: &'a F,
    seen: &'a mut Seen,
    expired: Vec<ConnectionKey<A>>,
}

impl<A: Address + Hash, F: Fn(u32) -> Timeouts> Sweep<'_, A, F>
where
    ConnectionKey<A>: Pod,
{
    /// Reads a table, brings the two directions of each connection together and decides about both at once: a connection
    /// is as fresh as the fresher of its directions.
    fn pair<V: Pod>(
        &mut self,
        which: Which,
        map: &HashMap<MapData, ConnectionKey<A>, V>,
        connection: impl Fn(&V) -> &Connection<A>,
    ) -> Result<(), SweepError> {
        let mut waiting: StdHashMap<ConnectionKey<A>, Half> = StdHashMap::new();
        let mut requests: Vec<(ConnectionKey<A>, Connection<A>)> = Vec::new();
        batch::for_each(map.map().fd(), |key: ConnectionKey<A>, value: V| {
            let connection = *connection(&value);
            if connection.flags & flags::REPLY != 0 {
                waiting.insert(key, half(&connection));
            } else {
                requests.push((key, connection));
            }
        })?;
        for (key, request) in requests {
            let reply_key = request.translated.reversed();
            let reply = waiting.remove(&reply_key);
            let other = reply.unwrap_or(Half { flags: 0, ..half(&request) });
            let state = TcpState::of(request.flags, other.flags);
            let age = self.age(request.last_seen).min(self.age(other.last_seen));
            if age >= which.timeout(state, (self.timeouts)(request.real_server)) {
                self.seen.expired += 1;
                self.expired.push(key);
                self.expired.extend(reply.map(|_| reply_key));
            } else {
                which.count(state, self.seen, request.real_server);
            }
        }
        // Replies without a request: what eviction has left, or a connection that is just being added.
        for (key, half) in waiting {
            if self.age(half.last_seen) >= which.timeout(TcpState::Close, (self.timeouts)(half.real_server)) {
                self.expired.push(key);
            }
        }
        Ok(())
    }

    /// A clock that was read before the entry was written would make its age negative: it is fresh.
    fn age(&self, last_seen: u32) -> u32 {
        self.now.wrapping_sub(last_seen).cast_signed().max(0).cast_unsigned()
    }

    fn remove<V: Pod>(&mut self, map: &mut HashMap<MapData, ConnectionKey<A>, V>) -> Result<(), SweepError> {
        for key in self.expired.drain(..) {
            match map.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
