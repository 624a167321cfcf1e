//! For tests: servers on loopback that behave as they are told, and checks of them.

use std::{net::SocketAddr, time::Duration};

use nix::unistd::{User, geteuid};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

use super::{CheckResult, Context, probe};
use crate::config::model::{Check, CheckKind, HttpCheck, TlsVerify};

/// For checks that are to run into their deadline.
pub(super) const TIMEOUT: Duration = Duration::from_millis(300);
/// For checks that are to end on their own, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

/// A TCP server whose connections are handled by `handle`; it ends with the test's runtime.
pub(super) async fn serve<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

/// Reads a request's header, or until the connection ends.
pub(super) async fn read_header(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut header = Vec::new();
    while !header.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => header.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&header).into_owned()
}

pub(super) fn http(tls: Option<TlsVerify>) -> HttpCheck {
    HttpCheck {
        method: "GET".into(),
        path: "/".into(),
        host: Some("www.example.org".into()),
        headers: Vec::new(),
        status: vec![(200, 299)],
        body: None,
        tls,
    }
}

pub(super) fn same_user() -> Context {
    let user = User::from_uid(geteuid()).expect("user database").expect("this user");
    Context::new(&user.name)
}

/// Runs a check that ends on its own.
pub(super) async fn run_in(context: &Context, kind: CheckKind, target: SocketAddr) -> CheckResult {
    let check = Check { kind, target, interval: PATIENCE, timeout: PATIENCE, rise: 1, fall: 1 };
    probe::run(&check, context).await.result
}

pub(super) async fn run(kind: CheckKind, target: SocketAddr) -> CheckResult {
    run_in(&same_user(), kind, target).await
}

/// Runs a check that would go on for ever and sees to it that its deadline has bounded it.
pub(super) async fn run_hanging(kind: CheckKind, target: SocketAddr) -> CheckResult {
    let check = Check { kind, target, interval: TIMEOUT, timeout: TIMEOUT, rise: 1, fall: 1 };
    let report = probe::run(&check, &same_user()).await;
    assert!((TIMEOUT..10 * TIMEOUT).contains(&report.latency), "{report:?}");
    report.result
}

/// The detail without the time it took.
pub(super) fn passed(result: &CheckResult) -> &str {
    match result {
        CheckResult::Success { detail, .. } => detail.rsplit_once(" in ").expect("a latency").0,
        other => panic!("did not pass: {other:?}"),
    }
}

/// The reason and whether the server has answered.
pub(super) fn failed(result: &CheckResult) -> (&str, bool) {
    match result {
        CheckResult::Failure { reason, answered } => (reason, *answered),
        other => panic!("did not fail: {other:?}"),
    }
}
