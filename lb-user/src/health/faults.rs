//! Servers and scripts that misbehave: each check ends by its deadline and says what it has seen.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use nix::unistd::geteuid;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use super::{
    CheckResult, Context,
    servers::{failed, http, passed, read_header, run, run_hanging, run_in, same_user, serve},
};
use crate::config::model::{CheckKind, HttpCheck};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// A server that says `begin` and then `again`, with a pause each time, for ever.
async fn endless(begin: &'static [u8], again: impl Into<Arc<[u8]>>, pause: Duration) -> SocketAddr {
    let again = again.into();
    serve(move |mut stream| {
        let again = Arc::clone(&again);
        async move {
            let mut said = stream.write_all(begin).await;
            while said.is_ok() {
                sleep(pause).await;
                said = stream.write_all(&again).await;
            }
        }
    })
    .await
}

/// A server that accepts and never says a word.
async fn mute() -> SocketAddr {
    serve(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
        std::future::pending::<()>().await;
    })
    .await
}

fn plain() -> CheckKind {
    CheckKind::Http(http(None))
}

fn matching(pattern: &str) -> CheckKind {
    CheckKind::Http(HttpCheck { body: Some(pattern.to_owned()), ..http(None) })
}

fn smtp() -> CheckKind {
    CheckKind::Smtp { helo: "lb1".into() }
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_runs_into_the_deadline() {
    let target = mute().await;
    for kind in [plain(), smtp()] {
        let reason = "timed out after 300 ms (connected, no response)";
        assert_eq!(failed(&run_hanging(kind, target).await), (reason, true));
    }
}

#[tokio::test]
async fn a_server_that_trickles_does_not_move_the_deadline() {
    let drop_by_drop = Duration::from_millis(20);
    let header = endless(b"HTTP/1.1 200 OK\r\n", *b"x", drop_by_drop).await;
    let no_response = ("timed out after 300 ms (connected, no response)", true);
    assert_eq!(failed(&run_hanging(plain(), header).await), no_response);
    let banner = endless(b"220", *b"-", drop_by_drop).await;
    assert_eq!(failed(&run_hanging(smtp(), banner).await), no_response);
    let body = endless(OK, *b"x", drop_by_drop).await;
    let no_body = ("timed out after 300 ms (response begun, body incomplete)", true);
    assert_eq!(failed(&run_hanging(matching("y"), body).await), no_body);
}

#[tokio::test]
async fn endless_headers_lines_and_bodies_are_cut_off() {
    let at_once = Duration::ZERO;
    let headers = endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n".repeat(1000), at_once).await;
    assert!(failed(&run(plain(), headers).await).1);
    let header = endless(b"HTTP/1.1 200 OK\r\nx: ", [b'y'; 4096], at_once).await;
    assert_eq!(failed(&run(plain(), header).await), ("message head is too large", true));
    let line = endless(b"220 ", [b'y'; 1024], at_once).await;
    let too_long = ("banner: connection closed or too many bytes", true);
    assert_eq!(failed(&run(smtp(), line).await), too_long);
    let body = endless(OK, [b'y'; 4096], at_once).await;
    assert_eq!(failed(&run(matching("z"), body).await), ("200, but the body does not match z", true));
    assert_eq!(passed(&run(matching("^y{99}"), body).await), "200");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let target = serve(move |mut stream| {
        count.fetch_add(1, Relaxed);
        async move {
            read_header(&mut stream).await;
            let to = stream.local_addr().expect("connected");
            let reply = format!("HTTP/1.1 302 Found\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(reply.as_bytes()).await;
        }
    })
    .await;
    assert_eq!(failed(&run(plain(), target).await), ("status 302, not 200-299", true));
    assert_eq!(requests.load(Relaxed), 1);
}

#[tokio::test]
async fn a_server_that_hangs_up_or_speaks_something_else_fails_at_once() {
    let hangs_up = serve(|mut stream| async move {
        read_header(&mut stream).await;
    })
    .await;
    let wrong = serve(|mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        read_header(&mut stream).await;
    })
    .await;
    for (kind, target) in [(plain(), hangs_up), (plain(), wrong), (smtp(), wrong)] {
        let result = run(kind, target).await;
        let (reason, answered) = failed(&result);
        assert!(answered && !reason.starts_with("timed out"), "{reason}");
    }
}

fn script(text: &str) -> CheckKind {
    let command = ["sh", "-c", text].map(str::to_owned).to_vec();
    CheckKind::Script { command, dynamic_weight: false }
}

/// Gone, or dead and not yet collected by whoever inherited it.
fn is_dead(pid: &str) -> bool {
    match std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_script_that_hangs_or_forks_is_killed_with_all_it_started() {
    let directory = tempfile::tempdir().expect("a directory");
    let nowhere = ([127, 0, 0, 1], 0).into();
    let cases = [("hangs", "wait; sleep 1000", None), ("leaves", "exit 0", Some("exit code 0"))];
    for (name, end, passes) in cases {
        let file = directory.path().join(name);
        let text = format!("sleep 1000 & echo $! >{}; sleep 1000 & {end}", file.display());
        match passes {
            None => {
                let result = run_hanging(script(&text), nowhere).await;
                assert_eq!(failed(&result), ("timed out after 300 ms (killed)", false));
            }
            Some(detail) => assert_eq!(passed(&run(script(&text), nowhere).await), detail),
        }
        let pid = std::fs::read_to_string(&file).expect("the script has begun");
        let dies = async {
            while !is_dead(pid.trim()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), dies).await.expect("the child dies too");
    }
}

#[tokio::test]
async fn a_script_that_floods_is_read_but_not_kept() {
    let nowhere = ([127, 0, 0, 1], 0).into();
    let flood = run(script("head -c 1000000 /dev/zero | tr '\\0' x; exit 3"), nowhere).await;
    let (reason, _) = failed(&flood);
    assert!(reason.starts_with("exit status: 3: xxx") && reason.len() < 1100, "{}", reason.len());
    let endless = run_hanging(script("exec yes"), nowhere).await;
    assert_eq!(failed(&endless), ("timed out after 300 ms (killed)", false));
}

#[tokio::test]
async fn a_script_that_cannot_run_is_our_own_fault() {
    let nowhere = ([127, 0, 0, 1], 0).into();
    let missing = CheckKind::Script { command: vec!["/nonexistent".into()], dynamic_weight: false };
    let result = run_in(&same_user(), missing, nowhere).await;
    let reason = "/nonexistent: no such file or directory".to_owned();
    assert_eq!(result, CheckResult::Error { reason });
    let result = run_in(&Context::new("no-such-user"), script("exit 0"), nowhere).await;
    let reason = "user no-such-user: no such user".to_owned();
    assert_eq!(result, CheckResult::Error { reason });
}

#[tokio::test]
async fn a_script_runs_as_the_given_user_without_groups_of_root() {
    if !geteuid().is_root() {
        return;
    }
    let nowhere = ([127, 0, 0, 1], 0).into();
    let text = "test $(id -un) = nobody && test $(id -G | wc -w) = 1";
    let result = run_in(&Context::new("nobody"), script(text), nowhere).await;
    assert_eq!(passed(&result), "exit code 0");
}
