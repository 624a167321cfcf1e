use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::{io::AsyncReadExt, net::TcpListener};

use super::*;
use crate::{
    config::model::{CheckKind, InitialState},
    health::{
        Transition,
        servers::{TIMEOUT, http, same_user, serve},
    },
};

const FRESH: Start = Start::Fresh(InitialState::Down);

fn tcp(target: SocketAddr) -> Check {
    Check { kind: CheckKind::Tcp, target, interval: TIMEOUT, timeout: TIMEOUT, rise: 1, fall: 1 }
}

#[tokio::test]
async fn a_result_is_published_and_counted_and_a_dropped_handle_ends_all() {
    let target = serve(|_| async {}).await;
    let (sender, mut events) = mpsc::channel(8);
    let handle = spawn(same_user(), 8, sender);
    handle.set_checks(vec![(tcp(target), FRESH)]);
    let first = events.recv().await.expect("an event");
    assert_eq!((&*first.check, first.transition), (&tcp(target), Some(Transition::Up)));
    let second = events.recv().await.expect("an event");
    assert_eq!(second.transition, None);
    assert!(handle.counters().counts().success >= 2);
    assert_eq!(handle.counters().counts().failure, 0);
    drop(handle);
    while events.recv().await.is_some() {}
}

/// Checks that a server leaves waiting, and the most of them that it has seen at once.
async fn hanging(count: u16) -> (Vec<(Check, Start)>, Arc<AtomicUsize>) {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let target = serve(move |mut stream| {
        let (open, most) = (Arc::clone(&open), Arc::clone(&most));
        async move {
            most.fetch_max(open.fetch_add(1, Relaxed) + 1, Relaxed);
            let _ = stream.read_to_end(&mut Vec::new()).await;
            open.fetch_sub(1, Relaxed);
        }
    })
    .await;
    let check = |fall| Check { kind: CheckKind::Http(http(None)), fall, ..tcp(target) };
    ((1..=count).map(|fall| (check(u32::from(fall)), FRESH)).collect(), seen)
}

#[tokio::test]
async fn no_more_checks_run_at_once_than_there_is_room_for() {
    let (checks, most) = hanging(6).await;
    let (sender, mut events) = mpsc::channel(8);
    let handle = spawn(same_user(), 2, sender);
    handle.set_checks(checks);
    for _ in 0..6 {
        let event = events.recv().await.expect("an event");
        assert_eq!(event.transition, None);
    }
    assert_eq!(most.load(Relaxed), 2);
    assert!(handle.counters().counts().late >= 4);
}

#[tokio::test]
async fn a_check_that_goes_while_it_runs_is_broken_off() {
    let (ended, mut ends) = mpsc::channel(1);
    let (began, mut begins) = mpsc::channel(1);
    let target = serve(move |mut stream| {
        let (began, ended) = (began.clone(), ended.clone());
        async move {
            let _ = began.send(()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let _ = ended.send(()).await;
        }
    })
    .await;
    let (sender, mut events) = mpsc::channel(8);
    let handle = spawn(same_user(), 8, sender);
    let slow = Check { kind: CheckKind::Http(http(None)), timeout: Duration::from_secs(3600), ..tcp(target) };
    handle.set_checks(vec![(slow, FRESH)]);
    begins.recv().await.expect("a connection");
    handle.set_checks(Vec::new());
    ends.recv().await.expect("its end");
    assert!(events.try_recv().is_err());
}

/// On one thread, with the servers on another. Run it with `--release -- --ignored --nocapture` for the figures.
#[test]
#[ignore = "takes 20 seconds of a whole machine"]
fn ten_thousand_checks_in_five_seconds_are_not_late() {
    const PORT: u16 = 17_001;
    let addresses: Vec<_> =
        (1..=32).map(|last| SocketAddr::from((Ipv4Addr::new(127, 0, 7, last), PORT))).collect();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for address in addresses.clone() {
        let listener = std::net::TcpListener::bind(address).expect("an address of loopback");
        listener.set_nonblocking(true).expect("a socket");
        std::thread::spawn(move || {
            runtime().block_on(async {
                let listener = TcpListener::from_std(listener).expect("a socket");
                while listener.accept().await.is_ok() {}
            });
        });
    }
    let check = |index: u32| Check {
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        fall: index,
        ..tcp(addresses[index as usize % addresses.len()])
    };
    let checks = (0..10_000).map(|index| (check(index + 1), FRESH)).collect();
    let seconds = 16;
    runtime().block_on(async {
        let (sender, mut events) = mpsc::channel(1024);
        let handle = spawn(same_user(), 256, sender);
        handle.set_checks(checks);
        // The first runs come all at once, the second ones as late as those have been.
        for _ in 0..20_000 {
            events.recv().await.expect("an event");
        }
        let (begin, busy) = (handle.counters().counts(), thread_time());
        let drain = async { while events.recv().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(seconds), drain).await;
        let (end, busy) = (handle.counters().counts(), thread_time() - busy);
        let runs = end.success - begin.success;
        println!("{runs} checks in {seconds} s, {} late, {busy:?} of the thread", end.late - begin.late);
        assert_eq!((end.failure, end.error), (0, 0));
        assert!(runs >= 30_000);
        assert_eq!(end.late, begin.late);
    });
}

fn thread_time() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("usage");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs() as u32 * 1000))
        .sum()
}
