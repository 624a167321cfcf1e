//! A controller without file descriptors says so and changes nothing. Alone in its process, whose limit it lowers.

use std::{fs::File, net::SocketAddr, time::Duration};

use lb_user::{
    config::model::{Check, CheckKind, InitialState},
    health::{CheckResult, Context, Health, Start, Transition, task},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{net::TcpListener, sync::mpsc};

const LIMIT: u64 = 64;

#[tokio::test]
async fn a_lack_of_file_descriptors_is_reported_and_takes_no_server_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target: SocketAddr = listener.local_addr().expect("bound");
    let check = |fall| Check {
        kind: CheckKind::Tcp,
        target,
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(100),
        rise: 1,
        fall,
    };
    let (sender, mut events) = mpsc::channel(64);
    let handle = task::spawn(Context::new("root"), 64, sender);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT, hard).expect("a lower limit");
    let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(hoard.len() < LIMIT as usize);

    handle.set_checks((1..=20).map(|fall| (check(fall), Start::Fresh(InitialState::Up))).collect());
    for _ in 0..100 {
        let event = events.recv().await.expect("an event");
        let (_, report) = event.status.last.expect("a result");
        assert_eq!(report.result, CheckResult::Error { reason: "too many open files".into() });
        assert_eq!((event.transition, event.status.health), (None, Health::Up));
    }
    assert!(handle.counters().counts().error >= 100);

    drop(hoard);
    drop(listener);
    let refused = async {
        loop {
            let event = events.recv().await.expect("an event");
            if event.transition == Some(Transition::Down) {
                return event.status.last.expect("a result").1.result;
            }
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(10), refused).await.expect("checks go on");
    assert_eq!(result.text(), "connection refused");
}
