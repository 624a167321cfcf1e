//! Forgets connections that have been idle for too long, and templates that are out of use; counts what is alive.

use std::{
    collections::{BTreeMap, HashMap as StdHashMap},
    hash::Hash,
    io,
    ops::ControlFlow,
};

use aya::{
    Pod,
    maps::{IterableMap as _, MapError},
};
use lb_common::{
    addr::Address,
    connection::{Connection, ConnectionKey, HalfOpen, flags},
    half_open::Set,
    mark::MarkRules,
    service::Load,
    tcp::TcpState,
    template::TemplateKey,
};

use super::{
    batch,
    half_open::HalfOpenTable,
    maps::{Connections, FamilyMaps, Maps},
    templates::{self, Bound, Persistence},
};

/// What the sweep goes by for a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Idle times of its connections.
    pub timeouts: Timeouts,
    /// Of its virtual server; none when it is leaving.
    pub persistence: Option<Persistence>,
    /// It is no more: whether anything refers to its index is asked.
    pub leaving: bool,
}

/// Idle times in ticks of the connections of one virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP without a proven handshake.
    pub syn: u32,
    /// TCP, both directions open.
    pub established: u32,
    /// TCP, closed by the real server; while the client still sends, it is not idle.
    pub fin: u32,
    /// TCP, closed by the client; while the real server still sends, it is not idle.
    pub close_wait: u32,
    /// TCP, closed by both.
    pub time_wait: u32,
    /// TCP that was reset.
    pub close: u32,
    /// UDP.
    pub udp: u32,
}

/// What a sweep goes by besides.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    /// When the sweep before began, by the data plane's clock.
    pub since: u32,
    /// The data plane's clock.
    pub now: u32,
    /// Ticks after which a SYN without its SYN-ACK is unanswered.
    pub unanswered: u32,
}

/// Live connections of one real server, as counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// TCP that is open in one direction at least, UDP.
    pub active: u64,
    /// TCP in every other state.
    pub inactive: u64,
    /// SYNs that have become unanswered since the sweep before. Clients have no part in it: the SYN-ACK is the real
    /// server's, and it passes here whoever the client says to be.
    pub unanswered: u64,
    /// SYNs that were answered with a reset since the sweep before.
    pub refused: u64,
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
    /// Of all these, those whose source is translated too.
    pub source_nat: u64,
    /// Connections forgotten.
    pub expired: u64,
    /// Templates of persistence.
    pub bound: Bound,
    /// Real servers that were leaving before the sweep began, and to which it has found nothing that refers.
    pub unused: Vec<u32>,
}

impl Seen {
    /// Whether a connection or a template refers to the real server at `index`.
    #[must_use]
    pub fn refers_to(&self, index: u32) -> bool {
        self.live.contains_key(&index) || self.bound.real_servers.contains(&index)
    }
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

/// The real server's direction of a connection that is one entry.
const fn reply<A>(half: &HalfOpen<A>) -> Half {
    Half { flags: half.reply_flags, last_seen: half.answered, real_server: half.connection.real_server }
}

/// Sweeps all tables once. `rule` answers for a real server index.
///
/// # Errors
///
/// [`SweepError`].
pub fn sweep(maps: &mut Maps, period: Period, rule: &impl Fn(u32) -> Rule) -> Result<Seen, SweepError> {
    let mut seen = Seen::default();
    family(&mut maps.v4, period, rule, &mut seen)?;
    family(&mut maps.v6, period, rule, &mut seen)?;
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
    period: Period,
    rule: &impl Fn(u32) -> Rule,
    seen: &mut Seen,
) -> Result<(), SweepError>
where
    A: Address + Hash + Pod,
    MarkRules<A>: Pod,
    TemplateKey<A>: Pod,
    ConnectionKey<A>: Pod,
    Connection<A>: Pod,
    Set<A>: Pod,
    lb_common::service::VipKey<A>: Pod,
    lb_common::service::ServiceKey<A>: Pod,
{
    let mut sweep = Sweep { period, rule, seen, connected: StdHashMap::new() };
    sweep.table(Which::Tcp, &mut maps.tcp)?;
    sweep.table(Which::Udp, &mut maps.udp)?;
    sweep.half_open(&maps.half_open)?;
    let Sweep { seen, connected, .. } = sweep;
    templates::sweep(
        &mut maps.templates,
        period.now,
        connected,
        &|index| rule(index).persistence,
        &mut seen.bound,
    )
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
    /// Idle time after which a connection in this state, whose request direction has these flags, is forgotten; in ticks.
    #[must_use]
    pub const fn timeout(self, state: TcpState, request: u16, timeouts: Timeouts) -> u32 {
        match (self, state) {
            (Self::Tcp, TcpState::Established) => timeouts.established,
            (Self::Tcp, TcpState::HalfClosed) if request & flags::FIN != 0 => timeouts.close_wait,
            (Self::Tcp, TcpState::HalfClosed) => timeouts.fin,
            (Self::Tcp, TcpState::TimeWait) => timeouts.time_wait,
            (Self::Tcp | Self::HalfOpen, TcpState::Close) => timeouts.close,
            (Self::Udp, _) => timeouts.udp,
            (Self::HalfOpen, _) => timeouts.syn,
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
    period: Period,
    rule: &'a F,
    seen: &'a mut Seen,
    /// Clients of persistent virtual servers with connections that are alive and proven, and a real server of theirs.
    connected: StdHashMap<TemplateKey<A>, u32>,
}

/// A client's direction: its entry, the opposite direction where that is in the same entry, and where it was found.
type Request<A, S> = (ConnectionKey<A>, Connection<A>, Option<Half>, S);

/// Entries of a table as they were read, the two directions of connections apart. `S` says where an entry was found, if its
/// key does not.
struct Found<A, S> {
    requests: Vec<Request<A, S>>,
    /// Replies, and signposts, until their request is met.
    replies: StdHashMap<ConnectionKey<A>, (Half, S)>,
}

impl<A: Address + Hash, S> Found<A, S> {
    fn new() -> Self {
        Self { requests: Vec::new(), replies: StdHashMap::new() }
    }

    /// `within` is the opposite direction where that is in the same entry.
    fn push(&mut self, key: ConnectionKey<A>, connection: Connection<A>, within: Option<Half>, spot: S) {
        if connection.flags & flags::REPLY != 0 {
            self.replies.insert(key, (half(&connection), spot));
        } else {
            self.requests.push((key, connection, within, spot));
        }
    }
}

impl<A: Address + Hash, F: Fn(u32) -> Rule> Sweep<'_, A, F> {
    /// Sweeps a table of established connections.
    fn table(&mut self, which: Which, map: &mut Connections<A>) -> Result<(), SweepError>
    where
        ConnectionKey<A>: Pod,
        Connection<A>: Pod,
    {
        let mut found = Found::new();
        batch::for_each(map.map().fd(), |key, connection| found.push(key, connection, None, ()))?;
        for (key, ()) in self.judge(which, found) {
            match map.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sweeps the table of half-open connections. An entry that was used meanwhile stays until the next time.
    fn half_open(&mut self, table: &HalfOpenTable<A>) -> Result<(), SweepError>
    where
        Set<A>: Pod,
    {
        let entries = table.entries()?;
        let mut found = Found::new();
        entries.while_each(|spot, key, half| {
            found.push(key, half.connection, Some(reply(&half)), spot);
            ControlFlow::Continue(())
        });
        for (_, spot) in self.judge(Which::HalfOpen, found) {
            let _used = !entries.remove(spot);
        }
        Ok(())
    }

    /// Brings the two directions of each connection together and decides about both at once: a connection is as fresh as the
    /// fresher of its directions. Returns what is to be forgotten.
    fn judge<S>(&mut self, which: Which, found: Found<A, S>) -> Vec<(ConnectionKey<A>, S)> {
        let Found { requests, replies: mut waiting } = found;
        let mut expired = Vec::new();
        for (key, request, within, spot) in requests {
            let reply_key = request.translated.reversed();
            let apart = waiting.remove(&reply_key);
            let reply = within.or(apart.as_ref().map(|(half, _)| *half));
            let other = reply.unwrap_or(Half { flags: 0, ..half(&request) });
            let state = TcpState::of(request.flags, other.flags);
            let age = self.age(request.last_seen).min(self.age(other.last_seen));
            let rule = (self.rule)(request.real_server);
            if age >= which.timeout(state, request.flags, rule.timeouts) {
                self.seen.expired += 1;
                expired.push((key, spot));
                expired.extend(apart.map(|(_, spot)| (reply_key, spot)));
            } else {
                which.count(state, self.seen, request.real_server);
                self.seen.source_nat += u64::from(request.flags & flags::SOURCE_NAT != 0);
                // A flood of SYNs keeps no template alive.
                if let (Some(it), Which::Tcp | Which::Udp) = (rule.persistence, which) {
                    let client = key.source.masked(it.client_prefix);
                    let key = TemplateKey { client, virtual_server: it.virtual_server };
                    self.connected.insert(key, request.real_server);
                }
            }
            if let (Which::HalfOpen, Some(reply)) = (which, reply) {
                self.count_answer(reply);
            }
        }
        // Replies without a request: what eviction has left, or a connection that is just being added.
        for (key, (half, spot)) in waiting {
            let timeout = which.timeout(TcpState::Close, 0, (self.rule)(half.real_server).timeouts);
            if self.age(half.last_seen) >= timeout {
                expired.push((key, spot));
            }
        }
        expired
    }

    /// Whether a real server has refused a connection, or let one wait for too long, since the sweep before. Nobody else
    /// touches its direction, whose time is that of the SYN until an answer comes.
    fn count_answer(&mut self, reply: Half) {
        if reply.flags & (flags::SYN_ACK | flags::ADOPTED) != 0 {
            return;
        }
        let Period { since, unanswered, .. } = self.period;
        let age = self.age(reply.last_seen);
        let before = age.saturating_sub(self.age(since));
        let live = self.seen.live.entry(reply.real_server).or_default();
        if reply.flags & flags::RST != 0 {
            live.refused += u64::from(age < self.period.now.wrapping_sub(since));
        } else {
            live.unanswered += u64::from(before < unanswered && age >= unanswered);
        }
    }

    /// A clock that was read before the entry was written would make its age negative: it is fresh.
    fn age(&self, last_seen: u32) -> u32 {
        self.period.now.wrapping_sub(last_seen).cast_signed().max(0).cast_unsigned()
    }
}
