//! Connections as operators see them, read on a thread of its own and sent on as they are found.

use std::{collections::HashMap, io, net::SocketAddr, ops::ControlFlow, sync::PoisonError};

use hyper::body::Bytes;
use lb_common::{addr::Protocol, connection::flags, tcp::TcpState};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Daemon, engine::Engine, failed, sweeper::unknown};
use crate::{
    control::{
        Code, Failure, Reply,
        connections::{Connection, Query, State},
    },
    dataplane::{
        clock::Clock,
        connections::{Entry, while_each},
        maps::Maps,
        read,
        sweep::{Timeouts, Which},
    },
};

/// Readers at one time: each takes a thread, and a batch of entries in memory.
pub(super) const READERS: usize = 4;

/// Pieces that wait for a reader who is slower than we.
const PIECES: usize = 4;

/// Bytes of a piece, about.
const PIECE: usize = 32 * 1024;

impl Daemon {
    pub(super) fn connections(&self, query: Query) -> Result<Reply, Failure> {
        if let Some(name) = &query.virtual_server {
            self.virtual_server(name)?;
        }
        let busy =
            |_| Failure::new(Code::Refused, format!("{READERS} others read the connections now: try again"));
        let permit = std::sync::Arc::clone(&self.readers).try_acquire_owned().map_err(busy)?;
        let Some(pins) = &self.pins else {
            return Err(Failure::new(Code::Unavailable, "the daemon is ending"));
        };
        let Some(now) = self.programs.now() else {
            return Err(Failure::new(Code::Failed, "the kernel does not tell the time"));
        };
        let reader = Reader {
            maps: Maps::open(pins).map_err(|error| failed(&error))?,
            book: book(&self.engine, &query)?,
            clock: self.engine.clock,
            now,
            query,
            _permit: permit,
        };
        let (pieces, receiver) = mpsc::channel(PIECES);
        tokio::task::spawn_blocking(move || reader.send(&pieces));
        Ok(Reply::Lines(receiver))
    }
}

/// What is known of a real server by its index.
struct Named {
    virtual_server: String,
    name: String,
    timeouts: Timeouts,
}

/// The real servers that are asked for.
fn book(engine: &Engine, query: &Query) -> Result<HashMap<u32, Named>, Failure> {
    let rules = engine.rules.lock().unwrap_or_else(PoisonError::into_inner);
    let mut names = HashMap::new();
    for server in &engine.config.virtual_servers {
        for real in &server.real_servers {
            names.insert((server.name.as_str(), real.address), real.name.as_str());
        }
    }
    let mut book = HashMap::new();
    for (&index, real) in &engine.current.real_servers {
        let Some(virtual_server) = engine.current.names.get(&real.virtual_server) else { continue };
        let address = read::address(real);
        let name = names.get(&(virtual_server.as_str(), address));
        let name = name.map_or_else(|| address.to_string(), ToString::to_string);
        let asked = |wanted: &Option<String>, is: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(is);
        let is_real = |wanted: &str| {
            wanted == name || wanted.parse::<SocketAddr>().is_ok_and(|wanted| wanted == address)
        };
        if asked(&query.virtual_server, &|wanted| wanted == virtual_server)
            && asked(&query.real_server, &is_real)
        {
            let timeouts = rules.get(&index).copied().unwrap_or_else(|| unknown(engine.clock)).timeouts;
            book.insert(index, Named { virtual_server: virtual_server.clone(), name, timeouts });
        }
    }
    match &query.real_server {
        Some(name) if book.is_empty() => {
            let scope = query.virtual_server.as_ref().map_or(String::new(), |server| format!(" in {server}"));
            Err(Failure::new(Code::NotFound, format!("no real server {name}{scope}")))
        }
        _ => Ok(book),
    }
}

struct Reader {
    maps: Maps,
    book: HashMap<u32, Named>,
    clock: Clock,
    now: u32,
    query: Query,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// Sends lines until everything is sent or nobody takes them any more.
    fn send(&self, pieces: &mpsc::Sender<io::Result<Bytes>>) {
        let mut left = self.query.limit.unwrap_or(u64::MAX);
        if left == 0 {
            return;
        }
        let everybody = self.query.virtual_server.is_none() && self.query.real_server.is_none();
        let mut piece = Vec::with_capacity(PIECE);
        let read = while_each(
            &self.maps,
            |index, client| {
                (everybody || self.book.contains_key(&index))
                    && self.query.client.is_none_or(|wanted| wanted == client)
            },
            |entry| {
                let connection = self.connection(&entry);
                if self.query.state.is_some_and(|state| state != connection.state) {
                    return ControlFlow::Continue(());
                }
                // A connection has nothing that JSON cannot say.
                let _ = serde_json::to_writer(&mut piece, &connection);
                piece.push(b'\n');
                left -= 1;
                let gone = piece.len() >= PIECE && pieces.blocking_send(Ok(take(&mut piece))).is_err();
                if gone || left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        // Nobody may be there any more.
        let _ = pieces.blocking_send(read.map(|()| take(&mut piece)));
    }

    fn connection(&self, entry: &Entry) -> Connection {
        let named = self.book.get(&entry.index);
        let timeouts = named.map_or_else(|| unknown(self.clock).timeouts, |named| named.timeouts);
        // An entry may be younger than our clock.
        let idle = self.now.wrapping_sub(entry.last_seen).cast_signed().max(0).cast_unsigned();
        let left = entry.which.timeout(entry.tcp_state(), entry.request, timeouts).saturating_sub(idle);
        let seconds = |ticks: u32| u64::from(ticks / self.clock.ticks_per_second);
        let both = entry.request | entry.reply;
        Connection {
            protocol: match entry.protocol() {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            }
            .to_owned(),
            client: entry.client,
            vip: entry.vip,
            real_server: entry.real_server,
            virtual_server: named.map(|named| named.virtual_server.clone()),
            name: named.map(|named| named.name.clone()),
            state: state(entry),
            idle_seconds: seconds(idle),
            expires_in_seconds: seconds(left),
            half_open: entry.which == Which::HalfOpen,
            adopted: both & flags::ADOPTED != 0,
            source_nat: both & flags::SOURCE_NAT != 0,
        }
    }
}

fn take(piece: &mut Vec<u8>) -> Bytes {
    std::mem::replace(piece, Vec::with_capacity(PIECE)).into()
}

/// The word of IPVS for it.
pub(super) fn state(entry: &Entry) -> State {
    match (entry.which, entry.tcp_state()) {
        (Which::Udp, _) => State::Udp,
        (_, TcpState::Close) => State::Close,
        (Which::HalfOpen, _) if entry.reply & flags::SYN_ACK != 0 => State::SynRecv,
        (Which::HalfOpen, _) if entry.request & flags::ADOPTED != 0 => State::None,
        (Which::HalfOpen, _) => State::SynSent,
        (Which::Tcp, TcpState::Established) => State::Established,
        (Which::Tcp, TcpState::HalfClosed) if entry.request & flags::FIN != 0 => State::CloseWait,
        (Which::Tcp, TcpState::HalfClosed) => State::FinWait,
        (Which::Tcp, TcpState::TimeWait) => State::TimeWait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_that_ipvs_gives_them() {
        use flags::{ADOPTED, FIN, RST, SYN_ACK};
        for (which, request, reply, expected) in [
            (Which::HalfOpen, 0, 0, State::SynSent),
            (Which::HalfOpen, 0, SYN_ACK, State::SynRecv),
            (Which::HalfOpen, ADOPTED, ADOPTED, State::None),
            (Which::HalfOpen, 0, RST, State::Close),
            (Which::Tcp, 0, SYN_ACK, State::Established),
            (Which::Tcp, ADOPTED, ADOPTED, State::Established),
            (Which::Tcp, FIN, 0, State::CloseWait),
            (Which::Tcp, 0, FIN, State::FinWait),
            (Which::Tcp, FIN, FIN, State::TimeWait),
            (Which::Tcp, FIN | RST, FIN, State::Close),
            (Which::Udp, 0, 0, State::Udp),
        ] {
            let somebody: SocketAddr = ([10, 0, 0, 1], 1).into();
            let entry = Entry {
                which,
                client: somebody,
                vip: somebody,
                sender: somebody,
                real_server: somebody,
                index: 0,
                request,
                reply,
                last_seen: 0,
            };
            assert_eq!(state(&entry), expected, "{which:?} {request} {reply}");
        }
    }
}
