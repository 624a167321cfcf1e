//! The control server as its clients see it, with a fake daemon behind it.

use std::{
    collections::BTreeSet,
    io,
    os::unix::net::UnixListener,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::fake::{self, Fake, SILENT};
use lb_user::control::{
    Caller, Code, RealServerName, Request, Scope, Write,
    client::{Client, ClientError, Followed},
    server::Limits,
    socket::{BindError, ControlSocket},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tracing_subscriber::fmt::MakeWriter;

const BOUND: Duration = Duration::from_secs(20);

fn name(text: &str) -> RealServerName {
    text.parse().unwrap()
}

/// Sends one request as written and gives the response's status and body.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nhost: xlb\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    timeout(BOUND, stream.read_to_string(&mut response)).await.unwrap().unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    (status, response.split_once("\r\n\r\n").unwrap().1.to_owned())
}

async fn on_socket(socket: &Path, head: &str, body: &str) -> (u16, String) {
    exchange(UnixStream::connect(socket).await.unwrap(), head, body).await
}

#[tokio::test]
async fn every_write_arrives_as_it_was_sent() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.socket);
    let writes = [
        Write::SetWeight { real_server: name("web/web1"), weight: 65535 },
        Write::SetWeight { real_server: name("web/[2001:db8::1]:80"), weight: 0 },
        Write::Drain { real_server: name("web/10.0.0.11:8080"), timeout: None },
        Write::Drain { real_server: name("web/web1"), timeout: Some(Duration::from_millis(1500)) },
        Write::Disable(name("wéb & co/a b%2F?#/..")),
        Write::Enable(name("web/web1")),
        Write::Revert(Scope::Everything),
        Write::Revert(Scope::VirtualServer("web".to_owned())),
        Write::Revert(Scope::RealServer(name("web/web1"))),
        Write::Add {
            virtual_server: "web".to_owned(),
            address: "[2001:db8::2]:0".parse().unwrap(),
            weight: 3,
            name: Some("web9".to_owned()),
        },
        Write::Add {
            virtual_server: "web".to_owned(),
            address: "10.0.0.9:80".parse().unwrap(),
            weight: 1,
            name: None,
        },
        Write::Remove(name("web/web1")),
        Write::Unload,
    ];
    for write in &writes {
        let changes = client.write(write, None).await.unwrap();
        assert_eq!(changes.changes[0].detail, write.to_string());
    }
    assert_eq!(fake.writes(), writes);
    let Caller::Process { pid, .. } = fake.asked.lock().unwrap()[0].1 else { panic!("not a process") };
    assert_eq!(pid, Some(std::process::id().cast_signed()));
}

#[tokio::test]
async fn every_read_is_answered_on_the_socket_and_on_tcp() {
    let fake = Fake::start().await;
    for (path, status, part) in [
        ("/v1/version", 200, env!("CARGO_PKG_VERSION")),
        ("/v1/status", 200, r#""name":"lb1""#),
        ("/v1/status?virtual_server=web", 200, r#""name":"lb1""#),
        ("/v1/status?virtual_server=nope", 404, "no virtual server named nope"),
        ("/v1/status?virtual=web", 400, "unknown field"),
        ("/v1/diff", 200, r#""changes":[]"#),
        ("/v1/events", 200, r#""at":"2026-01-01T00:00:00Z""#),
        ("/metrics", 200, "xlb_build_info 1"),
        ("/healthz", 200, "ok"),
        ("/readyz", 503, "no interface is attached"),
        ("/v1/nothing", 404, "no_route"),
    ] {
        let head = format!("GET {path}");
        let tcp = TcpStream::connect(fake.tcp).await.unwrap();
        for (answered, body) in [on_socket(&fake.socket, &head, "").await, exchange(tcp, &head, "").await] {
            assert_eq!(answered, status, "{path}: {body}");
            assert!(body.contains(part), "{path}: {body}");
        }
    }
}

#[tokio::test]
async fn the_tcp_listener_takes_no_write() {
    let fake = Fake::start().await;
    for head in [
        "POST /v1/reload",
        "POST /v1/unload",
        "DELETE /v1/overrides",
        "PUT /v1/virtual_servers/web/real_servers/web1/weight",
        "POST /v1/status",
    ] {
        let tcp = TcpStream::connect(fake.tcp).await.unwrap();
        let (status, body) = exchange(tcp, head, r#"{"weight":1}"#).await;
        assert!(status == 404 || status == 405, "{head}: {status} {body}");
    }
    assert!(fake.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn bad_requests_are_refused_before_the_daemon_sees_them() {
    const WEIGHT: &str = "PUT /v1/virtual_servers/web/real_servers/web1/weight";
    const STATE: &str = "PUT /v1/virtual_servers/web/real_servers/web1/state";
    const ADD: &str = "POST /v1/virtual_servers/web/real_servers";
    let fake = Fake::start().await;
    let huge = format!(r#"{{"weight":1,"padding":"{}"}}"#, "x".repeat(1 << 20));
    for (head, body, status, part) in [
        ("GET /v1/reload", "", 405, "method_not_allowed"),
        ("PATCH /v1/status", "", 405, "method_not_allowed"),
        (WEIGHT, "", 400, "EOF"),
        (WEIGHT, r#"{"weight":70000}"#, 400, "u16"),
        (WEIGHT, r#"{"weight":-1}"#, 400, "u16"),
        (WEIGHT, r#"{"weight":1,"wait":2}"#, 400, "unknown field"),
        (WEIGHT, r#"{"weight":1"#, 400, "EOF"),
        (WEIGHT, huge.as_str(), 413, "too_large"),
        (STATE, r#"{"state":"up"}"#, 400, "unknown variant"),
        (STATE, r#"{"state":"drain","timeout":"soon"}"#, 400, "duration"),
        (STATE, r#"{"state":"enabled","timeout":"5s"}"#, 400, "unknown field"),
        (ADD, r#"{"address":"web4:80"}"#, 400, "socket address"),
        ("PUT /v1/virtual_servers/%ff/real_servers/web1/weight", r#"{"weight":1}"#, 400, "invalid"),
    ] {
        let (answered, answer) = on_socket(&fake.socket, head, body).await;
        assert_eq!(answered, status, "{head} {answer}");
        assert!(answer.contains(part), "{head} {answer}");
    }
    let (status, _) = on_socket(&fake.socket, &format!("{WEIGHT}\r\nif-match: new"), "").await;
    assert_eq!(status, 400);
    assert!(fake.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_name_and_a_stale_generation_are_told_apart() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.socket);
    let set = |target| Write::SetWeight { real_server: name(target), weight: 5 };
    for (write, generation, code) in [
        (set("nope/web1"), None, Code::NotFound),
        (set("web/web1"), Some(99), Code::Conflict),
        (Write::Reload, None, Code::Configuration),
    ] {
        match client.write(&write, generation).await {
            Err(ClientError::Refused(failure)) => assert_eq!(failure.code, code),
            other => panic!("{write}: {other:?}"),
        }
    }
    assert_eq!(client.write(&set("web/web1"), Some(1)).await.unwrap().generation, 2);
}

#[tokio::test]
async fn concurrent_writes_are_applied_one_after_another() {
    let fake = Fake::start().await;
    let mut clients = tokio::task::JoinSet::new();
    for weight in 0..100 {
        let client = Client::new(&fake.socket);
        clients.spawn(async move {
            let write = Write::SetWeight { real_server: name("web/web1"), weight };
            client.write(&write, None).await.unwrap().generation
        });
    }
    let generations: BTreeSet<u64> = clients.join_all().await.into_iter().collect();
    assert_eq!(generations, (2..102).collect());
}

#[tokio::test]
async fn a_write_whose_client_went_away_is_still_made_and_others_are_served() {
    let fake = Fake::start().await;
    let mut stream = UnixStream::connect(&fake.socket).await.unwrap();
    let whole = "PUT /v1/virtual_servers/web/real_servers/silent/weight HTTP/1.1\r\nhost: xlb\r\n\
                 content-length: 12\r\n\r\n{\"weight\":1}";
    stream.write_all(whole.as_bytes()).await.unwrap();
    timeout(BOUND, async {
        while fake.writes().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    drop(stream);
    let mut half = UnixStream::connect(&fake.socket).await.unwrap();
    half.write_all(&whole.as_bytes()[..whole.len() - 4]).await.unwrap();
    drop(half);
    let write = Write::Enable(name("web/web1"));
    Client::new(&fake.socket).write(&write, None).await.unwrap();
    assert_eq!(fake.writes().len(), 2, "half a request is no write");
}

#[tokio::test]
async fn every_write_leaves_one_line_that_says_who_did_it() {
    let fake = Fake::start().await;
    let log = Log::default();
    // For the whole process: a subscriber of one thread can miss what another thread saw first.
    tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).init();
    let client = Client::new(&fake.socket);
    client.write(&Write::Enable(name("web/audited")), None).await.unwrap();
    let unknown = Write::SetWeight { real_server: name("nope/audited"), weight: 1 };
    client.write(&unknown, None).await.unwrap_err();
    client.status(Some("audited")).await.unwrap_err();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("audited")).collect();
    let pid = std::process::id();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].contains(&format!("pid {pid} write=\"enable web/audited\"")), "{log}");
    assert!(lines[1].contains("write=\"weight nope/audited 1\" failure=no virtual server"), "{log}");
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_let_go() {
    let fake = Fake::start().await;
    let (mut silent, mut slow) =
        (TcpStream::connect(fake.tcp).await.unwrap(), UnixStream::connect(&fake.socket).await.unwrap());
    slow.write_all(b"GET /v1/status HTTP/1.1\r\nhos").await.unwrap();
    let mut answer = Vec::new();
    timeout(BOUND, silent.read_to_end(&mut answer)).await.unwrap().unwrap();
    timeout(BOUND, slow.read_to_end(&mut answer)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_reported_at_the_deadline() {
    let fake = Fake::start_with(Limits { deadline: Duration::from_millis(50), ..Limits::default() }).await;
    let write = Write::SetWeight { real_server: name(&format!("web/{SILENT}")), weight: 1 };
    let error = Client::new(&fake.socket).write(&write, None).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer in 50ms; a change may still be applied");
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test]
async fn events_are_followed_from_the_past_into_the_present() {
    let fake = Fake::start().await;
    let mut follow = Client::new(&fake.socket).follow().await.unwrap();
    let mut seen = Vec::new();
    for message in ["one", "two\nlines", "three"] {
        match timeout(BOUND, follow.next()).await.unwrap().unwrap().unwrap() {
            Followed::Event(event) => seen.push(event.message),
            Followed::Lost(count) => panic!("{count} lost"),
        }
        assert_eq!(seen.last().unwrap(), message);
        fake.events.send(fake::event(if message == "one" { "two\nlines" } else { "three" })).unwrap();
    }
    // Nobody reads while more events than the channel holds go by.
    for _ in 0..40 {
        fake.events.send(fake::event("many")).unwrap();
    }
    timeout(BOUND, async {
        loop {
            if let Some(Followed::Lost(count)) = follow.next().await.unwrap() {
                break assert!(count > 0);
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_removes_the_socket() {
    let fake = Fake::start().await;
    let _idle = UnixStream::connect(&fake.socket).await.unwrap();
    fake.shutdown.cancel();
    timeout(BOUND, fake.server).await.unwrap().unwrap();
    assert!(!fake.socket.exists());
    let error = Client::new(&fake.socket).status(None).await.unwrap_err();
    assert!(error.to_string().contains("no such socket"), "{error}");
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test]
async fn a_living_daemons_socket_is_left_alone() {
    let fake = Fake::start().await;
    let error = ControlSocket::bind(&fake.socket, None).unwrap_err();
    let pid = std::process::id();
    assert!(error.to_string().contains(&format!("another xlb is running (pid {pid})")), "{error}");
    assert!(Client::new(&fake.socket).status(None).await.is_ok());
}

#[tokio::test]
async fn a_dead_daemons_socket_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xlb.sock");
    drop(UnixListener::bind(&path).unwrap());
    let error = Client::new(&path).status(None).await.unwrap_err();
    assert!(error.to_string().contains("is dead"), "{error}");
    let bound = ControlSocket::bind(&path, None).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    drop(bound);
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_not_a_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xlb.sock");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(ControlSocket::bind(&path, None), Err(BindError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn an_unknown_group_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xlb.sock");
    let error = ControlSocket::bind(&path, Some("no-such-group")).unwrap_err();
    assert!(error.to_string().starts_with("no group named no-such-group"), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn reads_carry_what_was_asked() {
    let fake = Fake::start().await;
    Client::new(&fake.socket).status(Some("web")).await.unwrap();
    let request = fake.asked.lock().unwrap()[0].0.clone();
    assert_eq!(request, Request::Status { virtual_server: Some("web".to_owned()) });
}
