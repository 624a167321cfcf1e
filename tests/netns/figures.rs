//! What users ask for in figures: requests that fail while something happens, under about a thousand connections a second.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_tests::{Daemon, Load, Shape, Site, wait_until};

use crate::given::{PATIENCE, daemon, no_failure, vips, virtual_server};

/// Clients, each with a request every 2 ms or so.
const CLIENTS: usize = 8;
const REQUESTS: u64 = 2_000;

const CHECK: &str =
    "scheduler = \"wrr\"\ncheck = { type = \"tcp\", interval = \"500ms\", timeout = \"300ms\", fall = 2 }";

#[expect(clippy::disallowed_methods, reason = "these tests measure how long things take")]
fn now() -> Instant {
    Instant::now()
}

/// Makes something happen under load; no request fails meanwhile. Says how many there were.
fn nothing_fails(what: &str, happen: impl FnOnce(&Site, &mut Daemon, &Load) -> Result<()>) -> Result<()> {
    let site = Site::create(Shape::default())?;
    let mut daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1, 1], CHECK)?)?;
    let load = Load::start(&site.client, &[vips()[0]], CLIENTS)?;
    load.next(REQUESTS, PATIENCE)?;
    let started = now();
    let before = load.answers();
    happen(&site, &mut daemon, &load)?;
    load.next(REQUESTS, PATIENCE)?;
    let answers = load.answers().since(&before);
    let rate = answers.total() as f64 / started.elapsed().as_secs_f64();
    eprintln!(
        "{what}: {} of {} requests failed, {rate:.0} a second",
        answers.failures.len(),
        answers.total()
    );
    no_failure(&load.answers())
}

#[test]
fn no_request_fails_during_a_drain() -> Result<()> {
    nothing_fails("drain", |_, daemon, load| {
        daemon.xlb(&["drain", "web/web1", "--wait", "--timeout", "20s"])?;
        load.next(REQUESTS, PATIENCE)?;
        daemon.xlb(&["enable", "web/web1"]).map(drop)
    })
}

#[test]
fn no_request_fails_during_reloads() -> Result<()> {
    nothing_fails("reload", |site, daemon, load| {
        for weights in [[3, 1, 1], [1, 2, 1], [1, 1, 1]] {
            daemon.configure(site, &virtual_server(site, "web", vips()[0], &weights, CHECK)?)?;
            daemon.xlb(&["reload"])?;
            load.next(REQUESTS / 4, PATIENCE)?;
        }
        Ok(())
    })
}

#[test]
fn no_request_fails_during_kill_and_restart() -> Result<()> {
    nothing_fails("kill -9 and restart", |site, daemon, load| {
        for _ in 0..2 {
            daemon.process.kill()?;
            load.next(REQUESTS / 4, PATIENCE)?;
            daemon.restart(site)?;
        }
        Ok(())
    })
}

/// The program on `outside`, by the kernel's number.
fn program(site: &Site) -> Result<u64> {
    let links: serde_json::Value = serde_json::from_str(&site.balancer.ip("-j link show outside")?)?;
    Ok(links[0]["xdp"]["prog"]["id"].as_u64().unwrap_or_default())
}

#[test]
fn no_request_fails_when_a_newly_loaded_program_replaces_the_running_one() -> Result<()> {
    nothing_fails("upgrade", |site, daemon, load| {
        let old = program(site)?;
        daemon.process.stop(PATIENCE)?;
        load.next(REQUESTS / 4, PATIENCE)?;
        ensure!(program(site)? == old, "the data plane outlives the controller");
        daemon.restart(site)?;
        let new = program(site)?;
        ensure!(new != old && new != 0, "the program was not replaced: {old}, {new}");
        Ok(())
    })
}

#[test]
fn a_killed_web_server_gets_its_last_connection_within_fall_times_interval_and_timeout() -> Result<()> {
    let mut site = Site::create(Shape::default())?;
    let daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1, 1], CHECK)?)?;
    let load = Load::start(&site.client, &[vips()[0]], CLIENTS)?;
    no_failure(&load.next(REQUESTS, PATIENCE)?)?;
    let killed = now();
    site.servers[0].nginx.kill()?;
    let (mut last, mut failures) = (killed, 0);
    wait_until("a while without failures", PATIENCE, || {
        let count = load.answers().failures.len();
        if count > failures {
            (last, failures) = (now(), count);
        }
        last.elapsed() > Duration::from_secs(3)
    })?;
    let (took, limit) = (last - killed, 2 * Duration::from_millis(500) + Duration::from_millis(300));
    eprintln!("last new connection to a killed nginx after {took:?}; fall x interval + timeout is {limit:?}");
    eprintln!("{failures} of {} requests failed meanwhile", load.answers().total());
    // As long again for a busy machine.
    ensure!(took < 2 * limit, "{took:?}");
    ensure!(daemon.status()?["virtual_servers"][0]["real_servers"][0]["state"] == "down");
    Ok(())
}
