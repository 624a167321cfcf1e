//! Each kind of check against servers that do and do not do what they should.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
};

use axum::{Router, extract::Request, http::StatusCode, routing::any};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

use super::servers::{failed, http, passed, run, run_hanging, serve};
use crate::config::model::{CheckKind, HttpCheck};

async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound")
}

#[tokio::test]
async fn tcp_wants_a_connection() {
    let open = serve(|_| async {}).await;
    assert_eq!(passed(&run(CheckKind::Tcp, open).await), "connected");
    let closed = closed_port().await;
    assert_eq!(failed(&run(CheckKind::Tcp, closed).await), ("connection refused", true));
}

#[tokio::test]
async fn http_asks_as_configured_and_judges_status_and_body() {
    async fn echo(request: Request) -> (StatusCode, String) {
        let field = |name| request.headers().get(name).map_or("none", |value| value.to_str().expect("text"));
        let text = format!("{} {} {} {}", request.method(), request.uri(), field("host"), field("x-probe"));
        match request.uri().path() {
            "/broken" => (StatusCode::INTERNAL_SERVER_ERROR, text),
            _ => (StatusCode::OK, text),
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(echo))).await });

    let asks = |check: HttpCheck| run(CheckKind::Http(check), target);
    let matching = |pattern: &str| HttpCheck { body: Some(pattern.to_owned()), ..http(None) };
    assert_eq!(passed(&asks(http(None)).await), "200");
    assert_eq!(passed(&asks(matching("^GET / www.example.org none$")).await), "200");
    let custom = HttpCheck {
        method: "POST".into(),
        path: "/healthz?full=1".into(),
        headers: vec![("X-Probe".into(), "yes".into())],
        ..matching("^POST /healthz.full=1 www.example.org yes$")
    };
    assert_eq!(passed(&asks(custom).await), "200");
    let by_address = HttpCheck { host: None, ..matching(&format!("^GET / {target} none$")) };
    assert_eq!(passed(&asks(by_address).await), "200");
    assert_eq!(passed(&asks(HttpCheck { method: "HEAD".into(), ..http(None) }).await), "200");

    let mismatch = asks(matching("^ready$")).await;
    assert_eq!(failed(&mismatch), ("200, but the body does not match ^ready$", true));
    let broken = HttpCheck { path: "/broken".into(), ..http(None) };
    assert_eq!(failed(&asks(broken.clone()).await), ("status 500, not 200-299", true));
    let welcome = HttpCheck { status: vec![(204, 204), (500, 599)], ..broken };
    assert_eq!(passed(&asks(welcome).await), "500");
}

#[tokio::test]
async fn udp_wants_silence_or_a_reply() {
    let udp = |require_reply| CheckKind::Udp { payload: b"ping".to_vec(), require_reply };
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let target = silent.local_addr().expect("bound");
    assert_eq!(passed(&run_hanging(udp(false), target).await), "no error");
    assert_eq!(failed(&run_hanging(udp(true), target).await), ("timed out after 300 ms (no reply)", false));
    drop(silent);
    assert_eq!(failed(&run(udp(false), target).await), ("connection refused", true));

    let echo = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let target = echo.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 16];
        while let Ok((length, from)) = echo.recv_from(&mut buffer).await {
            let _ = echo.send_to(&buffer[..length], from).await;
        }
    });
    assert_eq!(passed(&run(udp(true), target).await), "reply");
}

/// A name server that answers each query with the header bits it is given, after a reply with a wrong identifier.
async fn name_server(rcode: u8, genuine: bool) -> SocketAddr {
    let server = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let target = server.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = server.recv_from(&mut buffer).await {
            let reply = &mut buffer[..length];
            // RFC 1035, section 4.1.1: identifier, QR, RCODE.
            reply[2] |= 0x80;
            reply[3] = reply[3] & 0xf0 | rcode;
            reply[0] ^= 0xff;
            let _ = server.send_to(reply, from).await;
            let _ = server.send_to(b"garbage", from).await;
            reply[0] ^= 0xff;
            if genuine {
                let _ = server.send_to(reply, from).await;
            }
        }
    });
    target
}

#[tokio::test]
async fn dns_wants_the_reply_to_its_question() {
    let dns = || CheckKind::Dns { name: "example.org".into(), record: "AAAA".into() };
    assert_eq!(passed(&run(dns(), name_server(0, true).await).await), "reply");
    assert_eq!(failed(&run(dns(), name_server(2, true).await).await), ("server failure", true));
    let nameless = run(dns(), name_server(3, true).await).await;
    assert_eq!(failed(&nameless), ("non-existent domain", true), "a name that does not resolve");
    let forged = run_hanging(dns(), name_server(0, false).await).await;
    assert_eq!(failed(&forged), ("timed out after 300 ms (no reply to the question)", true));
}

#[tokio::test]
async fn smtp_wants_a_banner_and_an_answer_to_helo() {
    let smtp = || CheckKind::Smtp { helo: "lb1".into() };
    let server = |banner: &'static [u8], answer: &'static [u8]| {
        serve(move |mut stream| async move {
            let _ = stream.write_all(banner).await;
            let mut line = [0; 10];
            if stream.read_exact(&mut line).await.is_ok() && line == *b"HELO lb1\r\n" {
                let _ = stream.write_all(answer).await;
            }
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
    };
    let good = server(b"220-mail\r\n220 ready\r\n", b"250 hello\r\n").await;
    assert_eq!(passed(&run(smtp(), good).await), "220, 250");
    let busy = server(b"421 too busy\r\n", b"").await;
    assert_eq!(failed(&run(smtp(), busy).await), ("banner: 421 too busy", true));
    let strict = server(b"220 ready\r\n", b"501 who?\r\n").await;
    assert_eq!(failed(&run(smtp(), strict).await), ("HELO: 501 who?", true));
}

/// In a network namespace of its own, which ends with the thread, both families and both kinds of socket.
#[test]
fn ping_works_with_and_without_a_raw_socket() {
    if !geteuid().is_root() {
        return;
    }
    let test = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("iproute2");
        assert!(up.success());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let ping = |address| runtime.block_on(run(CheckKind::Ping, (address, 0).into()));
        for groups in ["1 0", "0 0"] {
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", groups).expect("a sysctl");
            for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
                assert_eq!(passed(&ping(address)), "reply", "{groups} {address}");
            }
        }
        let unreachable = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(failed(&ping(unreachable)), ("network is unreachable", false));
    };
    std::thread::spawn(test).join().expect("the thread's own assertions");
}

#[tokio::test]
async fn a_script_decides_by_its_exit_code() {
    let script = |text: &str, dynamic_weight| CheckKind::Script {
        command: ["sh", "-c", text].map(str::to_owned).to_vec(),
        dynamic_weight,
    };
    let target = ([127, 0, 0, 1], 8080).into();
    let at = |text: &'static str, dynamic_weight| run(script(text, dynamic_weight), target);
    assert_eq!(passed(&at("exit 0", false).await), "exit code 0");
    assert_eq!(passed(&at("test $XLB_ADDRESS:$XLB_PORT = 127.0.0.1:8080", false).await), "exit code 0");
    assert_eq!(failed(&at("echo no disk; exit 1", true).await), ("exit status: 1: no disk", true));
    assert_eq!(failed(&at("exit 7", false).await), ("exit status: 7", true));
    let weight = |result| match result {
        super::CheckResult::Success { weight, .. } => weight,
        other => panic!("did not pass: {other:?}"),
    };
    assert_eq!(weight(at("exit 0", true).await), None);
    assert_eq!(weight(at("exit 2", true).await), Some(0));
    assert_eq!(weight(at("exit 255", true).await), Some(253));
}
