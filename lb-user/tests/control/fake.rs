//! A daemon that is only the other end of the channel: it keeps what it was asked and answers by rule.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use lb_user::control::{
    Action, Call, Caller, Change, Changes, Code, Failure, Readiness, Reply, Request, Write,
    connections::{Connection, State},
    drops::{Dropped, Fragment, Packet},
    event::{Event, Feed, Kind},
    explain::{Explanation, Question},
    server::{self, Limits},
    socket::ControlSocket,
    status::{
        Check, Connections, DataPlane, Interface, Quorum, RealServer, RealServerState, Status, Traffic,
        VirtualServer, VirtualServerState, Vrrp, VrrpAdverts, VrrpState,
    },
};
use tokio::{
    net::TcpListener,
    sync::{broadcast, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Writes to a real server of this name are never answered.
pub(crate) const SILENT: &str = "silent";

/// A served fake daemon in a directory of its own.
pub(crate) struct Fake {
    pub(crate) socket: PathBuf,
    pub(crate) tcp: std::net::SocketAddr,
    pub(crate) asked: Arc<Mutex<Vec<(Request, Caller)>>>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    pub(crate) async fn start_with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/xlb.sock");
        let bound = ControlSocket::bind(&socket, None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = listener.local_addr().unwrap();
        let (calls, inbox) = mpsc::channel(16);
        let shutdown = CancellationToken::new();
        let asked = Arc::default();
        let events = broadcast::channel(16).0;
        tokio::spawn(answer_calls(inbox, Arc::clone(&asked), events.clone(), shutdown.clone()));
        let server = tokio::spawn(server::serve(bound, Some(listener), limits, calls, shutdown.clone()));
        Self { socket, tcp, asked, events, shutdown, server, _directory: directory }
    }

    /// The writes that reached the daemon, in order.
    pub(crate) fn writes(&self) -> Vec<Write> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter_map(|(request, _)| match request {
                Request::Write { write, .. } => Some(write.clone()),
                _ => None,
            })
            .collect()
    }
}

async fn answer_calls(
    mut inbox: mpsc::Receiver<Call>,
    asked: Arc<Mutex<Vec<(Request, Caller)>>>,
    events: broadcast::Sender<Event>,
    shutdown: CancellationToken,
) {
    let mut generation = 1;
    let mut unanswered = Vec::new();
    while let Some(Some(call)) = shutdown.run_until_cancelled(inbox.recv()).await {
        let Call { request, caller, reply } = call;
        asked.lock().unwrap().push((request.clone(), caller));
        if silenced(&request) {
            unanswered.push(reply);
            continue;
        }
        // The client may be gone.
        let _ = reply.send(answer(request, &mut generation, &events));
    }
}

fn silenced(request: &Request) -> bool {
    matches!(request, Request::Write { write: Write::SetWeight { real_server, .. }, .. }
        if real_server.real_server == SILENT)
}

fn answer(
    request: Request,
    generation: &mut u64,
    events: &broadcast::Sender<Event>,
) -> Result<Reply, Failure> {
    match request {
        Request::Ready => Ok(Reply::Ready(Readiness::NotReady("no interface is attached".to_owned()))),
        Request::Status { virtual_server: Some(name) } if name != "web" => Err(unknown(&name)),
        Request::Status { .. } => Ok(Reply::Status(Box::new(status()))),
        Request::Vrrp => Ok(Reply::Vrrp(status().vrrp)),
        Request::Diff => Ok(Reply::Changes(Changes { generation: *generation, changes: vec![] })),
        Request::Events { follow } => {
            let live = follow.then(|| events.subscribe());
            Ok(Reply::Events(Feed { past: vec![event("one")], live }))
        }
        Request::Connections(query) => {
            let line = format!("{}\n", serde_json::to_string(&connection()).unwrap());
            let (pieces, lines) = mpsc::channel(2);
            // In two pieces: a line may end anywhere.
            let count = query.limit.unwrap_or(3).min(3) as usize;
            let text = line.repeat(count);
            let (first, second) = text.split_at(text.len() / 3);
            for piece in [first, second] {
                pieces.try_send(Ok(piece.to_owned().into())).unwrap();
            }
            Ok(Reply::Lines(lines))
        }
        Request::Drops => {
            let (lines, receiver) = mpsc::channel(2);
            for dropped in [dropped(0), dropped(3)] {
                let line = format!("{}\n", serde_json::to_string(&dropped).unwrap());
                lines.try_send(Ok(line.into())).unwrap();
            }
            Ok(Reply::Lines(receiver))
        }
        Request::Explain(question) => Ok(Reply::Explanation(Box::new(explanation(&question)))),
        Request::Metrics => Ok(Reply::Metrics("xlb_build_info 1\n".to_owned())),
        Request::Write { if_generation: Some(seen), .. } if seen != *generation => {
            Err(Failure::new(Code::Conflict, format!("the generation is {generation}, not {seen}")))
        }
        Request::Write { write: Write::SetWeight { real_server, .. }, .. }
            if real_server.virtual_server != "web" =>
        {
            Err(unknown(&real_server.virtual_server))
        }
        Request::Write { write: Write::Reload, .. } => Err(Failure::new(
            Code::Configuration,
            "xlb.toml:3:1: unknown-key: `adress`, did you mean `address`?",
        )),
        Request::Write { write, .. } => {
            *generation += 1;
            let change =
                Change { action: Action::Change, object: "web/web1".to_owned(), detail: write.to_string() };
            Ok(Reply::Changes(Changes { generation: *generation, changes: vec![change] }))
        }
    }
}

fn unknown(name: &str) -> Failure {
    Failure::new(Code::NotFound, format!("no virtual server named {name}"))
}

/// An event at a fixed time.
pub(crate) fn event(message: &str) -> Event {
    Event {
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600),
        kind: Kind::State,
        object: "web/web1".to_owned(),
        message: message.to_owned(),
    }
}

/// A connection with a flag.
pub(crate) fn connection() -> Connection {
    Connection {
        protocol: "tcp".to_owned(),
        client: "198.51.100.7:40000".parse().unwrap(),
        vip: "192.0.2.10:80".parse().unwrap(),
        real_server: "10.0.0.11:8080".parse().unwrap(),
        virtual_server: Some("web".to_owned()),
        name: Some("web1".to_owned()),
        state: State::SynRecv,
        idle_seconds: 2,
        expires_in_seconds: 58,
        half_open: true,
        adopted: false,
        source_nat: false,
    }
}

/// A dropped packet with one of everything.
fn dropped(missed: u64) -> Dropped {
    Dropped {
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_123),
        interface: "eth0".to_owned(),
        outcome: "bad_tcp_flags".to_owned(),
        length: 58,
        packet: Packet {
            vlans: vec![7],
            protocol: Some("tcp".to_owned()),
            source: Some([198, 51, 100, 7].into()),
            source_port: Some(40_000),
            destination: Some([192, 0, 2, 10].into()),
            destination_port: Some(80),
            flags: vec!["SYN".to_owned(), "FIN".to_owned()],
            fragment: Some(Fragment { identification: 9, offset: 0, more: true }),
            malformed: None,
        },
        headers: "0102".to_owned(),
        missed,
    }
}

/// An explanation that repeats its question.
fn explanation(question: &Question) -> Explanation {
    Explanation {
        client: (question.client, question.port.unwrap_or(1)).into(),
        vip: question.vip,
        protocol: if question.udp { "udp" } else { "tcp" }.to_owned(),
        interface: question.interface.clone().unwrap_or_else(|| "eth0".to_owned()),
        outcome: "new_connection".to_owned(),
        virtual_server: Some("web".to_owned()),
        real_server: Some("10.0.0.11:8080".parse().unwrap()),
        name: Some("web1".to_owned()),
        known: false,
        reasons: vec!["next in turn now: web1".to_owned()],
    }
}

/// A status with one of everything.
pub(crate) fn status() -> Status {
    let traffic = |connections| Traffic {
        connections,
        packets_in: 900,
        packets_out: 880,
        bytes_in: 1_200_000,
        bytes_out: 9_500_000_000,
        new_connections: 40,
    };
    let real_server = |name: &str, state, weight, connections| RealServer {
        name: name.to_owned(),
        address: format!("10.0.0.1{}:8080", &name[3..]),
        state,
        weight,
        configured_weight: Some(1),
        traffic: traffic(connections),
        check: Some(Check {
            kind: "http".to_owned(),
            last: "200 in 1.2 ms".to_owned(),
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600),
        }),
        passive: None,
    };
    Status {
        name: "lb1".to_owned(),
        generation: 7,
        data_plane: DataPlane {
            interfaces: vec![
                Interface { name: "eth0".to_owned(), mode: "native".to_owned() },
                Interface { name: "eth1".to_owned(), mode: "generic".to_owned() },
            ],
            connections: Connections {
                established: 12,
                closing: 5,
                half_open: 3,
                source_nat: 1,
                capacity: 1_048_576,
            },
            outcomes: BTreeMap::from([("forwarded".to_owned(), 1780), ("malformed".to_owned(), 2)]),
            reconciled: BTreeMap::new(),
        },
        virtual_servers: vec![VirtualServer {
            name: "web".to_owned(),
            address: "192.0.2.10:80".to_owned(),
            protocol: "tcp".to_owned(),
            scheduler: "wlc".to_owned(),
            state: VirtualServerState::Up,
            quorum: Quorum { need: 1, have: 51 },
            persistent_clients: None,
            traffic: traffic(12),
            real_servers: vec![
                real_server("web1", RealServerState::Up, 50, 12),
                real_server("web2", RealServerState::Drain, 1, 0),
                RealServer {
                    configured_weight: None,
                    check: None,
                    ..real_server("web3", RealServerState::Up, 1, 0)
                },
            ],
        }],
        vrrp: vec![Vrrp {
            name: "outside".to_owned(),
            state: VrrpState::Master,
            priority: 100,
            master: Some("198.51.100.1".to_owned()),
            addresses: vec!["192.0.2.10/24".to_owned()],
            virtual_mac: None,
            routes: Vec::new(),
            rules: Vec::new(),
            transitions: 1,
            configured_priority: 100,
            since: Some(SystemTime::UNIX_EPOCH),
            trackers: Vec::new(),
            blocked: false,
            adverts: VrrpAdverts { sent: 3, ..VrrpAdverts::default() },
            peers: BTreeMap::new(),
        }],
    }
}
