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
    /// TCP in state established, UDP.
    pub active: u64,
    /// TCP in every other state.
    pub inactive: u64,
}

/// What a sweep has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By real server index; a real server that is not here has no connection.
    pub live: BTreeMap<u32, Live>,
    /// Proven TCP connections and UDP connections.
    pub established: u64,
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
        let counted = Load { active: live.active, inactive: live.inactive, total: load.total };
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
    let tcp = |state: TcpState, timeouts: Timeouts| match state {
        TcpState::Established => timeouts.established,
        TcpState::HalfClosed => timeouts.half_closed,
        TcpState::TimeWait | TcpState::Close => timeouts.closing,
    };
    let mut table = Table { now, seen, expired: Vec::new() };
    table.pair(
        &maps.tcp,
        |connection: &Connection<A>| connection,
        |state, server| tcp(state, timeouts(server)),
        |live, state| match state {
            TcpState::Established => live.active += 1,
            TcpState::HalfClosed | TcpState::TimeWait | TcpState::Close => live.inactive += 1,
        },
        |seen| &mut seen.established,
    )?;
    table.remove(&mut maps.tcp)?;
    table.pair(
        &maps.udp,
        |connection: &Connection<A>| connection,
        |_, server| timeouts(server).udp,
        |live, _| live.active += 1,
        |seen| &mut seen.established,
    )?;
    table.remove(&mut maps.udp)?;
    table.pair(
        &maps.half_open,
        |half: &HalfOpen<A>| &half.connection,
        |_, server| timeouts(server).half_open,
        |live, _| live.inactive += 1,
        |seen| &mut seen.half_open,
    )?;
    table.remove(&mut maps.half_open)
}

struct Table<'a, A> {
    now: u32,
    seen: &'a mut Seen,
    expired: Vec<ConnectionKey<A>>,
}

impl<A: Address + Hash> Table<'_, A>
where
    ConnectionKey<A>: Pod,
{
    /// Reads a table, brings the two directions of each connection together and decides about both at once: a connection
    /// is as fresh as the fresher of its directions.
    fn pair<V: Pod>(
        &mut self,
        map: &HashMap<MapData, ConnectionKey<A>, V>,
        connection: impl Fn(&V) -> &Connection<A>,
        timeout: impl Fn(TcpState, u32) -> u32,
        count: impl Fn(&mut Live, TcpState),
        total: impl Fn(&mut Seen) -> &mut u64,
    ) -> Result<(), SweepError> {
        let mut waiting: StdHashMap<ConnectionKey<A>, Half> = StdHashMap::new();
        let mut requests: Vec<(ConnectionKey<A>, Connection<A>)> = Vec::new();
        batch::for_each(map.map().fd(), |key: ConnectionKey<A>, value: V| {
            let connection = *connection(&value);
            if connection.flags & flags::REPLY != 0 {
                waiting.insert(key, Half { flags: connection.flags, last_seen: connection.last_seen });
            } else {
                requests.push((key, connection));
            }
        })?;
        for (key, request) in requests {
            let reply_key = request.translated.reversed();
            let reply = waiting.remove(&reply_key);
            let idle = |last_seen: u32| self.now.wrapping_sub(last_seen);
            let other = reply.unwrap_or(Half { flags: 0, last_seen: request.last_seen });
            let state = TcpState::of(request.flags, other.flags);
            // A clock that was read before the entry was written makes its age negative: fresh.
            let age = idle(request.last_seen).cast_signed().min(idle(other.last_seen).cast_signed());
            if age >= timeout(state, request.real_server).cast_signed() {
                self.seen.expired += 1;
                self.expired.push(key);
                if reply.is_some() {
                    self.expired.push(reply_key);
                }
            } else {
                *total(self.seen) += 1;
                count(self.seen.live.entry(request.real_server).or_default(), state);
            }
        }
        // Replies without a request: what eviction has left, or a connection that is just being added.
        for (key, half) in waiting {
            if self.now.wrapping_sub(half.last_seen).cast_signed()
                >= timeout(TcpState::Close, u32::MAX).cast_signed()
            {
                self.expired.push(key);
            }
        }
        Ok(())
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
