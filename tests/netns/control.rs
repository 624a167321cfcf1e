//! Operators' commands, reloads and checks under load: what they change, and that nothing else notices.

use std::process::Output;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::http::Connection;
use lb_tests::{Daemon, Load, Shape, Site, nginx, wait_until};
use serde_json::Value;

use crate::download::Download;
use crate::given::{PATIENCE, daemon, no_failure, real_server, vips, virtual_server};

/// How far a share may be from its weight, of 1: requests that are under way at both ends of a count.
const TOLERANCE: f64 = 0.02;
const REQUESTS: u64 = 1_500;
/// How long a real server that is drained may still be given new connections.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A virtual server `web` of all web servers, equally, checked by TCP.
fn web(site: &Site) -> Result<String> {
    let keys = "scheduler = \"wrr\"\ncheck = { type = \"tcp\", interval = \"500ms\", timeout = \"500ms\" }";
    virtual_server(site, "web", vips()[0], &vec![1; site.servers.len()], keys)
}

/// The next answers come from web1, web2, ... in these shares, without a failure.
fn shares_are(load: &Load, weights: &[u32]) -> Result<()> {
    load.settle(PATIENCE)?;
    let answers = load.next(REQUESTS, PATIENCE)?;
    no_failure(&answers)?;
    for (weight, number) in weights.iter().zip(1..) {
        let wanted = f64::from(*weight) / f64::from(weights.iter().sum::<u32>());
        let share = answers.share(&format!("web{number}"));
        let near = if *weight == 0 { share == 0.0 } else { (share - wanted).abs() <= TOLERANCE };
        ensure!(near, "web{number} gave {share} of the answers, not {wanted}: {:?}", answers.by_server);
    }
    Ok(())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// What a real server is, by its name: its state, its weight and the configured weight.
fn seen(daemon: &Daemon, name: &str) -> Result<(String, Value, Value)> {
    let status = daemon.status()?;
    let real = real_server(&status, name)?;
    let state = real["state"].as_str().unwrap_or_default().to_owned();
    Ok((state, real["weight"].clone(), real["configured_weight"].clone()))
}

fn wait_for_state(daemon: &Daemon, name: &str, state: &str, limit: Duration) -> Result<()> {
    wait_until(&format!("{name} to be {state}"), limit, || {
        seen(daemon, name).is_ok_and(|seen| seen.0 == state)
    })
}

#[test]
fn answers_follow_the_weight_from_the_command_on() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let daemon = daemon(&site, &web(&site)?)?;
    let load = Load::start(&site.client, &[vips()[0]], 4)?;
    shares_are(&load, &[1, 1, 1])?;
    assert_eq!(daemon.xlb(&["weight", "web/web1", "4"])?, "~ web/web1  weight: 1 -> 4\n");
    shares_are(&load, &[4, 1, 1])?;
    // By address too.
    daemon.xlb(&["weight", "web/10.0.0.12:8080", "0"])?;
    shares_are(&load, &[4, 0, 1])?;
    assert_eq!(seen(&daemon, "web1")?, ("up".to_owned(), 4.into(), 1.into()));
    assert_eq!(daemon.xlb(&["weight", "web/web1", "4"])?, "nothing to change\n");
    daemon.xlb(&["revert", "web/web1"])?;
    shares_are(&load, &[1, 0, 1])?;
    daemon.xlb(&["revert"])?;
    shares_are(&load, &[1, 1, 1])?;
    no_failure(&load.answers())
}

#[test]
fn a_drained_real_server_gets_nothing_new_and_finishes_what_it_has() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let daemon = daemon(&site, &web(&site)?)?;
    let download = Download::start(&site, vips()[0], 100_000_000)?;
    let drained = download.server.clone();
    let name = format!("web/{drained}");
    download.advance(0.2)?;
    let load = Load::start(&site.client, &[vips()[0]], 4)?;
    shares_are(&load, &[1, 1, 1])?;

    daemon.xlb(&["drain", &name])?;
    load.settle(AT_ONCE)?;
    let left = load.answers();
    download.advance(0.6)?;
    let answers = load.next(REQUESTS, PATIENCE)?;
    no_failure(&answers)?;
    assert_eq!(load.answers().since(&left).by_server[&drained], 0, "{answers:?}");
    assert_eq!(seen(&daemon, &drained)?.0, "drain");

    let digest = download.finish()?;
    daemon.xlb(&["enable", &name])?;
    shares_are(&load, &[1, 1, 1])?;
    eprintln!("download from {drained} through its drain: SHA-256 {digest}");
    no_failure(&load.answers())
}

#[test]
fn a_disabled_real_server_is_out_with_its_connections_until_it_is_enabled() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let text = web(&site)?.replace("scheduler", "on_down = \"reschedule\"\nscheduler");
    let daemon = daemon(&site, &text)?;
    let load = Load::start(&site.client, &[vips()[0]], 4)?;
    let mut connections = (0..3)
        .map(|_| {
            let mut connection = site.client.inside(|| Connection::open(vips()[0]))??;
            let server = connection.get("/")?;
            Ok((server.trim().to_owned(), connection))
        })
        .collect::<Result<Vec<_>>>()?;
    daemon.xlb(&["disable", "web/web2"])?;
    shares_are(&load, &[1, 0, 1])?;
    assert_eq!(seen(&daemon, "web2")?.0, "disabled");
    for (server, connection) in &mut connections {
        assert_eq!(connection.get("/").is_ok(), server != "web2", "a connection to {server}");
    }
    daemon.xlb(&["enable", "web/web2"])?;
    wait_for_state(&daemon, "web2", "up", PATIENCE)?;
    shares_are(&load, &[1, 1, 1])
}

#[test]
fn a_wait_for_a_drain_that_runs_out_of_time_says_what_is_left() -> Result<()> {
    let site = Site::create(Shape { servers: 1, ..Shape::default() })?;
    let daemon = daemon(&site, &web(&site)?)?;
    let mut connection = site.client.inside(|| Connection::open(vips()[0]))??;
    connection.get("/")?;
    wait_until("the connection to be counted", PATIENCE, || {
        daemon.status().is_ok_and(|status| status["virtual_servers"][0]["connections"] == 1)
    })?;
    let output = daemon.try_xlb(&["drain", "web/web1", "--wait", "--timeout", "1s"])?;
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("1 connection left at web/web1 after 1s"), "{}", said(&output));
    Ok(())
}

#[test]
fn real_servers_come_and_go_at_run_time() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let two = web(&site)?.lines().filter(|line| !line.contains("web3")).collect::<Vec<_>>().join("\n");
    let daemon = daemon(&site, &two)?;
    let load = Load::start(&site.client, &[vips()[0]], 4)?;
    shares_are(&load, &[1, 1, 0])?;
    let printed = daemon.xlb(&["add", "web", "10.0.0.13:8080", "--weight", "2", "--name", "web3"])?;
    assert_eq!(printed, "+ web/web3  weight: 2\n");
    wait_for_state(&daemon, "web3", "up", PATIENCE)?;
    shares_are(&load, &[1, 1, 2])?;
    // What is removed with connections ends them; who drains first loses none.
    daemon.xlb(&["drain", "web/web1", "--wait"])?;
    daemon.xlb(&["remove", "web/web1"])?;
    shares_are(&load, &[0, 1, 2])?;
    let again = daemon.try_xlb(&["remove", "web/web1"])?;
    assert_eq!(again.status.code(), Some(5), "{}", said(&again));
    daemon.xlb(&["revert", "web/web1"])?;
    wait_for_state(&daemon, "web1", "up", PATIENCE)?;
    daemon.xlb(&["drain", "web/web3", "--wait"])?;
    daemon.xlb(&["revert"])?;
    shares_are(&load, &[1, 1, 0])?;
    no_failure(&load.answers())
}

#[test]
fn what_operators_changed_survives_a_restart() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let mut daemon = daemon(&site, &web(&site)?)?;
    daemon.xlb(&["weight", "web/web1", "3"])?;
    daemon.xlb(&["drain", "web/web2", "--timeout", "1h"])?;
    daemon.xlb(&["disable", "web/web3"])?;
    let load = Load::start(&site.client, &[vips()[0]], 2)?;
    let before = ["web1", "web2", "web3"].map(|name| seen(&daemon, name).expect("a real server"));
    assert_eq!(before.each_ref().map(|seen| seen.0.as_str()), ["up", "drain", "disabled"]);
    shares_are(&load, &[3, 0, 0])?;
    daemon.process.stop(PATIENCE)?;
    shares_are(&load, &[3, 0, 0])?;
    daemon.restart(&site)?;
    assert_eq!(["web1", "web2", "web3"].map(|name| seen(&daemon, name).expect("a real server")), before);
    shares_are(&load, &[3, 0, 0])?;
    daemon.xlb(&["revert", "web"])?;
    daemon.wait_all_up(PATIENCE)?;
    shares_are(&load, &[1, 1, 1])?;
    no_failure(&load.answers())
}

#[test]
fn a_reload_changes_what_differs_and_leaves_the_rest_alone() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let (first, second) = (web(&site)?, virtual_server(&site, "web6", vips()[1], &[1, 1, 1], "")?);
    let daemon = daemon(&site, &format!("{first}{second}"))?;
    assert_eq!(daemon.xlb(&["reload"])?, "nothing to change\n");
    let load = Load::start(&site.client, &[vips()[0]], 4)?;
    let mut kept = site.client.inside(|| Connection::open(vips()[1]))??;
    let server = kept.get("/")?;

    let changed = first.replace(
        "name = \"web1\", address = \"10.0.0.11:8080\", weight = 1",
        "name = \"web1\", address = \"10.0.0.11:8080\", weight = 3",
    );
    daemon.configure(&site, &format!("{changed}{second}"))?;
    let difference = "~ web/web1  weight: 1 -> 3\n";
    assert_eq!(daemon.xlb(&["diff"])?, difference);
    shares_are(&load, &[1, 1, 1])?;
    assert_eq!(daemon.xlb(&["reload"])?, difference);
    shares_are(&load, &[3, 1, 1])?;
    assert_eq!(kept.get("/")?, server);
    assert_eq!(seen(&daemon, "web1")?, ("up".to_owned(), 3.into(), 3.into()));

    // Without its virtual server a connection has nowhere to go.
    daemon.configure(&site, &changed)?;
    assert_eq!(daemon.xlb(&["reload"])?, "- web6\n");
    shares_are(&load, &[3, 1, 1])?;
    no_failure(&load.answers())
}

#[test]
fn a_broken_file_changes_nothing() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let daemon = daemon(&site, &web(&site)?)?;
    let load = Load::start(&site.client, &[vips()[0]], 2)?;
    let pool = |status: Value| {
        let servers = status["virtual_servers"][0]["real_servers"].as_array().cloned().unwrap_or_default();
        let rows =
            servers.iter().map(|real| format!("{} {} {}", real["name"], real["state"], real["weight"]));
        (status["generation"].clone(), rows.collect::<Vec<_>>())
    };
    let before = pool(daemon.status()?);
    let broken = web(&site)?
        .replace("scheduler = \"wrr\"", "schedular = \"wrr\"")
        .replace("weight = 1 }", "weight = -1 }");
    daemon.configure(&site, &broken)?;
    for verb in ["reload", "diff"] {
        let output = daemon.try_xlb(&[verb])?;
        let message = said(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("schedular") && message.contains("scheduler"), "{message}");
        assert!(message.contains("xlb.toml:") && message.contains("weight"), "{message}");
    }
    assert_eq!(pool(daemon.status()?), before);
    shares_are(&load, &[1, 1, 1])?;
    no_failure(&load.answers())
}

#[test]
fn a_dead_web_server_is_taken_out_after_its_fall_and_comes_back() -> Result<()> {
    let mut site = Site::create(Shape::default())?;
    let keys = "scheduler = \"wrr\"\ncheck = { type = \"http\", path = \"/\", interval = \"400ms\", timeout = \"300ms\", rise = 2, fall = 3 }";
    let fall = Duration::from_millis(3 * 400);
    let daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1, 1], keys)?)?;
    let load = Load::start(&site.client, &[vips()[0]], 4)?;
    shares_are(&load, &[1, 1, 1])?;

    site.servers[0].nginx.kill()?;
    // Up to one interval until the first failure, and as long for a busy machine.
    wait_for_state(&daemon, "web1", "down", fall + Duration::from_millis(800))?;
    shares_are(&load, &[0, 1, 1])?;
    let failed = load.answers().failures.len();

    let server = &mut site.servers[0];
    let (directory, files) =
        (site.bpffs.path().with_file_name("web1"), site.bpffs.path().with_file_name("files"));
    server.nginx = nginx::start(&server.namespace, &server.name, &directory, &files)?;
    wait_for_state(&daemon, "web1", "up", PATIENCE)?;
    shares_are(&load, &[1, 1, 1])?;

    let events: Value = serde_json::from_str(&daemon.xlb(&["events", "--json"])?)?;
    let events = events.as_array().cloned().unwrap_or_default();
    let told: Vec<_> = events
        .iter()
        .filter(|event| event["kind"] == "state" && event["object"] == "web/web1")
        .filter_map(|event| event["message"].as_str())
        .collect();
    assert!(told.ends_with(&["web/web1 goes from up to down", "web/web1 goes from down to up"]), "{told:?}");
    assert_eq!(load.answers().failures.len(), failed, "requests failed after web1 was taken out");
    eprintln!("{failed} of {} requests failed before web1 was taken out", load.answers().total());
    Ok(())
}
