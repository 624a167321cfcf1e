//! Passive health, health that outlives the daemon, what was changed by hand, and how fast a command is.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::http::Connection;
use lb_tests::{Daemon, Load, Shape, Site, nginx, wait_until};
use serde_json::Value;

use crate::given::{PATIENCE, daemon, no_failure, real_server, vips, virtual_server};

const PASSIVE: &str =
    "scheduler = \"wrr\"\npassive = { unanswered = 3, refused = 3, within = \"10s\", retry = \"3s\" }";

fn start_again(site: &mut Site, number: usize) -> Result<()> {
    let (directory, files) = (site.directory().join(&site.servers[number].name), site.files());
    let server = &mut site.servers[number];
    server.nginx = nginx::start(&server.namespace, &server.name, &directory, &files)?;
    Ok(())
}

/// What events of a kind have said.
fn told(daemon: &Daemon, kind: &str) -> Result<Vec<String>> {
    let events: Value = serde_json::from_str(&daemon.xlb(&["events", "--json"])?)?;
    let events = events.as_array().cloned().unwrap_or_default();
    let of_kind = events.iter().filter(|event| event["kind"] == kind);
    Ok(of_kind.filter_map(|event| event["message"].as_str().map(str::to_owned)).collect())
}

fn wait_for(daemon: &Daemon, name: &str, state: &str) -> Result<()> {
    wait_until(&format!("{name} to be {state}"), PATIENCE, || {
        daemon
            .status()
            .is_ok_and(|status| real_server(&status, name).is_ok_and(|real| real["state"] == state))
    })
}

#[test]
fn a_server_that_refuses_connections_is_out_without_any_check_and_comes_back() -> Result<()> {
    let mut site = Site::create(Shape::default())?;
    let daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1, 1], PASSIVE)?)?;
    let load = Load::start(&site.client, &[vips()[0]], 4)?;
    no_failure(&load.next(300, PATIENCE)?)?;
    site.servers[0].nginx.kill()?;
    wait_for(&daemon, "web1", "down")?;
    let status = daemon.status()?;
    let reason = real_server(&status, "web1")?["passive"].as_str().unwrap_or_default().to_owned();
    ensure!(reason.contains("connections refused"), "{reason}");
    start_again(&mut site, 0)?;
    wait_for(&daemon, "web1", "up")?;
    load.settle(PATIENCE)?;
    let answers = load.next(300, PATIENCE)?;
    no_failure(&answers)?;
    ensure!(answers.share("web1") > 0.3, "{answers:?}");
    let told = told(&daemon, "check")?;
    ensure!(told.iter().any(|line| line.starts_with("passive: web/web1 is taken out")), "{told:?}");
    ensure!(told.ends_with(&["passive: web/web1 is tried again".to_owned()]), "{told:?}");
    Ok(())
}

#[test]
fn a_server_that_never_answers_is_out_and_clients_that_never_answer_take_nobody_out() -> Result<()> {
    let site = Site::create(Shape::default())?;
    // It is not tried again before the test is over.
    let keys = PASSIVE.replace("retry = \"3s\"", "retry = \"5m\"");
    let daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1, 1], &keys)?)?;
    // SYN-ACKs go nowhere, as with addresses that the sender has invented.
    site.client.run("nft", "add table inet deaf")?;
    site.client.run("nft", "add chain inet deaf in { type filter hook input priority 0 ; }")?;
    site.client.run("nft", "add rule inet deaf in tcp flags & (syn|ack) == syn|ack drop")?;
    let flood = Load::start(&site.client, &[vips()[0]], 8)?;
    // Each client gives up after five seconds; a SYN is unanswered after three.
    wait_until("connections that nobody completes", PATIENCE, || flood.answers().failures.len() >= 8)?;
    drop(flood);
    site.client.run("nft", "delete table inet deaf")?;
    ensure!(told(&daemon, "check")?.is_empty(), "{:?}", told(&daemon, "check")?);

    let silent = &site.servers[1].namespace;
    silent.run("nft", "add table inet mute")?;
    silent.run("nft", "add chain inet mute in { type filter hook input priority 0 ; }")?;
    silent.run("nft", "add rule inet mute in tcp flags syn drop")?;
    let load = Load::start(&site.client, &[vips()[0]], 6)?;
    wait_for(&daemon, "web2", "down")?;
    load.settle(PATIENCE)?;
    load.settle(PATIENCE)?;
    no_failure(&load.next(300, PATIENCE)?)
}

#[test]
fn what_checks_had_found_is_shown_with_its_age_after_a_restart() -> Result<()> {
    let mut site = Site::create(Shape { servers: 2, ..Shape::default() })?;
    let keys = "check = { type = \"tcp\", interval = \"1s\", timeout = \"500ms\", fall = 1 }";
    let mut daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1], keys)?)?;
    site.servers[1].nginx.kill()?;
    wait_for(&daemon, "web2", "down")?;
    daemon.process.stop(PATIENCE)?;
    let file = site.directory().join("state/health.json");
    let kept = std::fs::read_to_string(&file)?;
    ensure!(kept.contains("connection refused"), "{kept}");
    // Its checks do not run: what is shown is what was kept.
    blind(&site)?;
    daemon.restart(&site)?;
    let status = daemon.status()?;
    for (name, state, last) in [("web1", "up", "connected in"), ("web2", "down", "connection refused")] {
        let real = real_server(&status, name)?;
        let shown = real["check"]["last"].as_str().unwrap_or_default();
        ensure!(real["state"] == state, "{real}");
        ensure!(shown.starts_with("carried over, ") && shown.contains(last), "{shown}");
    }
    daemon.process.kill()?;
    // A file that was cut in half is none: the pinned maps still say who serves.
    std::fs::write(&file, &kept.as_bytes()[..kept.len() / 2])?;
    daemon.restart(&site)?;
    ensure!(real_server(&daemon.status()?, "web1")?["state"] == "up");
    ensure!(daemon.process.log().contains("health.json is not used"), "{}", daemon.process.log());
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_before_it_keeps_anything_takes_no_connection_from_a_drained_server() -> Result<()>
{
    let site = Site::create(Shape { servers: 1, ..Shape::default() })?;
    let keys = "check = { type = \"tcp\", interval = \"1s\", timeout = \"500ms\" }";
    let mut daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1], keys)?)?;
    let mut kept = site.client.inside(|| Connection::open(vips()[0]))??;
    kept.get("/")?;
    daemon.xlb(&["drain", "web/web1", "--timeout", "1h"])?;
    daemon.process.kill()?;
    let file = site.directory().join("state/health.json");
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    blind(&site)?;
    daemon.restart(&site)?;
    ensure!(real_server(&daemon.status()?, "web1")?["state"] == "drain");
    ensure!(kept.get("/")?.trim() == "web1");
    Ok(())
}

/// No check of the balancer reaches anybody any more.
fn blind(site: &Site) -> Result<()> {
    site.balancer.run("nft", "add table inet blind")?;
    site.balancer.run("nft", "add chain inet blind out { type filter hook output priority 0 ; }")?;
    site.balancer.run("nft", "add rule inet blind out ip daddr 10.0.0.0/24 drop")?;
    Ok(())
}

#[test]
fn what_is_changed_by_hand_is_put_right_and_counted() -> Result<()> {
    let site = Site::create(Shape { servers: 1, ..Shape::default() })?;
    let daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1], "")?)?;
    let maps = site.bpffs.path().join("xlb/maps");
    let bpftool = |arguments: &str| {
        lb_tests::process::run(std::process::Command::new("bpftool").args(arguments.split_whitespace()))
    };
    let vips = maps.join("VIPS_V4");
    bpftool(&format!("map delete pinned {} key 192 0 2 10", vips.display()))?;
    site.balancer.sysctl("net/ipv4/ip_forward", "0")?;
    let link = std::fs::read_dir(site.bpffs.path().join("xlb/links"))?.next().context("a link")??.path();
    std::fs::remove_file(&link)?;
    wait_until("everything to be put right", Duration::from_secs(30), || {
        daemon.status().is_ok_and(|status| status["data_plane"]["reconciled"]["links"] == 1)
    })?;
    let status = daemon.status()?;
    let wanted = serde_json::json!({ "links": 1, "services": 1, "sysctls": 1 });
    ensure!(status["data_plane"]["reconciled"] == wanted, "{}", status["data_plane"]["reconciled"]);
    ensure!(link.exists());
    let forwards = site.balancer.inside(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward"))??;
    ensure!(forwards.trim() == "1");
    let answers = crate::given::ask(&site, crate::given::vips()[0], 8)?;
    ensure!(answers["web1"] == 8);
    let metrics = request(&daemon, "GET", "/metrics", "")?;
    ensure!(metrics.contains("xlb_reconciled_total{what=\"sysctls\"} 1"), "{metrics}");
    let told = told(&daemon, "reconcile")?;
    ensure!(
        told.len() == 3 && told.iter().all(|line| line.starts_with("changed by hand, put right: ")),
        "{told:?}"
    );
    Ok(())
}

/// One request to the control socket; the whole answer.
fn request(daemon: &Daemon, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = UnixStream::connect(daemon.socket())?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: xlb\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(answer)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "this test measures how long a command takes")]
fn a_weight_is_in_the_data_plane_when_its_command_returns() -> Result<()> {
    let site = Site::create(Shape { servers: 3, ..Shape::default() })?;
    let daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1, 1], "scheduler = \"wrr\"")?)?;
    let mut took = Vec::new();
    for weight in 2..32 {
        let started = Instant::now();
        let path = "/v1/virtual_servers/web/real_servers/web1/weight";
        request(&daemon, "PUT", path, &format!("{{\"weight\":{weight}}}"))?;
        took.push(started.elapsed());
    }
    took.sort_unstable();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!("from command to data plane: {median:?} in the middle, {longest:?} at most");
    ensure!(median < Duration::from_millis(100), "{took:?}");
    Ok(())
}

#[test]
fn what_a_drain_has_left_at_its_deadline_is_reset() -> Result<()> {
    let site = Site::create(Shape { servers: 2, ..Shape::default() })?;
    let daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1], "")?)?;
    let mut connection = site.client.inside(|| Connection::open(vips()[0]))??;
    let server = connection.get("/")?.trim().to_owned();
    daemon.xlb(&["drain", &format!("web/{server}"), "--timeout", "1s"])?;
    ensure!(connection.get("/")?.trim() == server, "a drain leaves connections alone");
    wait_until("the connection to be reset", PATIENCE, || connection.get("/").is_err())?;
    let again = site.client.inside(|| lb_tests::http::get(vips()[0], "/"))??;
    ensure!(again.trim() != server, "{again}");
    Ok(())
}
