//! The daemon's elections between two of them: from the file to the addresses, by commands and signals.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use lb_tests::wait_until;
use nix::sys::signal::Signal;

use crate::given::PATIENCE;
use crate::pair::Pair;

#[test]
fn the_higher_priority_owns_the_address_and_both_say_so() -> Result<()> {
    let pair = Pair::start()?;
    wait_until("the second has heard the first", PATIENCE, || {
        pair.nodes[1].vrrp().is_ok_and(|second| second["master"] == "10.9.0.1")
    })?;
    let [first, second] = [pair.nodes[0].vrrp()?, pair.nodes[1].vrrp()?];
    ensure!(first["state"] == "master" && first["master"] == "10.9.0.1", "{first}");
    ensure!(second["state"] == "backup" && second["master"] == "10.9.0.1", "{second}");
    ensure!(first["addresses"][0] == "10.9.0.100/24" && first["configured_priority"] == 150, "{first}");
    ensure!(pair.nodes[0].sysctl("net/ipv4/ip_nonlocal_bind")? == "1");
    ensure!(pair.nodes[0].sysctl("net/ipv4/ip_forward")? == "1");
    let events = pair.nodes[0].xlb(&["events"])?;
    ensure!(events.contains("outside is master, priority 150"), "{events}");
    Ok(())
}

#[test]
fn a_role_that_is_released_goes_to_the_peer_and_stays_there() -> Result<()> {
    let pair = Pair::start()?;
    let said = pair.nodes[0].xlb(&["vrrp", "release", "outside"])?;
    ensure!(said == "~ vrrp outside  master -> backup\n", "{said}");
    pair.is_owned_by(1)?;
    ensure!(pair.nodes[0].xlb(&["vrrp", "release"])? == "nothing to change\n");
    let unknown = pair.nodes[0].xlb(&["vrrp", "release", "inside"]).unwrap_err().to_string();
    ensure!(unknown.contains("no VRRP instance inside; there are: outside"), "{unknown}");
    ensure!(pair.nodes[1].xlb(&["vrrp", "release"])? == "~ vrrp outside  master -> backup\n");
    pair.is_owned_by(0)
}

#[test]
fn a_daemon_that_ends_gives_its_role_up_first() -> Result<()> {
    let mut pair = Pair::start()?;
    let mut daemon = pair.nodes[0].daemon.take().context("it runs")?;
    daemon.signal(Signal::SIGTERM)?;
    wait_until("it has ended", PATIENCE, || !daemon.is_running())?;
    ensure!(!pair.nodes[0].has_address(), "an address is left");
    pair.is_owned_by(1)?;
    pair.nodes[0].start()?;
    pair.is_owned_by(0)
}

#[test]
fn a_daemon_that_is_killed_or_hangs_loses_its_address_by_itself() -> Result<()> {
    let mut pair = Pair::start()?;
    let daemon = pair.nodes[0].daemon.take().context("it runs")?;
    daemon.signal(Signal::SIGSTOP)?;
    pair.is_owned_by(1)?;
    daemon.signal(Signal::SIGCONT)?;
    pair.is_owned_by(0)?;
    daemon.signal(Signal::SIGKILL)?;
    pair.is_owned_by(1)
}

#[test]
fn a_reload_touches_only_what_it_changes() -> Result<()> {
    let pair = Pair::start()?;
    let node = &pair.nodes[0];
    let before = node.vrrp()?;
    ensure!(node.xlb(&["reload"])? == "nothing to change\n");
    node.configure("preempt = false")?;
    let said = node.xlb(&["reload"])?;
    ensure!(said == "~ vrrp outside  preempt: true -> false\n", "{said}");
    node.configure("version = 4")?;
    ensure!(node.xlb(&["reload"]).is_err());
    node.configure("track_script = [\"nothing\"]")?;
    let refused = node.xlb(&["reload"]).unwrap_err().to_string();
    ensure!(refused.contains("unknown-script"), "{refused}");
    let after = node.vrrp()?;
    ensure!(after["state"] == "master" && after["transitions"] == before["transitions"], "{after}");
    Ok(())
}

#[test]
fn a_virtual_server_without_quorum_gives_the_role_away() -> Result<()> {
    let pair = Pair::start()?;
    let node = &pair.nodes[0];
    node.configure("track_virtual_server = [{ name = \"web\", weight = -100 }]")?;
    node.xlb(&["reload"])?;
    node.xlb(&["disable", "web/10.9.0.50:80"])?;
    pair.is_owned_by(1)?;
    ensure!(node.vrrp()?["priority"] == 50);
    node.xlb(&["enable", "web/10.9.0.50:80"])?;
    pair.is_owned_by(0)
}

#[test]
fn a_number_in_a_file_and_a_process_that_ends_move_the_role() -> Result<()> {
    let pair = Pair::start()?;
    let node = &pair.nodes[0];
    let load = node.directory().join("load");
    std::fs::write(&load, "0")?;
    // A command line that no other process has.
    let seconds = format!("4{:09}", std::process::id());
    let mut sleeper = Command::new("sleep").arg(&seconds).spawn()?;
    let keys = format!(
        r#"
        track_file = [{{ name = "load", weight = -1 }}]
        track_process = ["sleeper"]
        [[vrrp_file]]
        name = "load"
        file = {load:?}
        [[vrrp_process]]
        name = "sleeper"
        process = ["sleep", "{seconds}"]
        "#
    );
    let moved = || -> Result<()> {
        node.configure(&keys)?;
        node.xlb(&["reload"])?;
        std::fs::write(&load, "100\n")?;
        pair.is_owned_by(1)?;
        let shown = node.vrrp()?;
        ensure!(shown["priority"] == 50 && shown["trackers"][1]["number"] == 100, "{shown}");
        std::fs::write(&load, "0\n")?;
        pair.is_owned_by(0)?;
        std::fs::remove_file(&load)?;
        pair.is_owned_by(1)?;
        std::fs::write(&load, "0\n")?;
        pair.is_owned_by(0)
    };
    let result = moved();
    sleeper.kill()?;
    sleeper.wait()?;
    result?;
    pair.is_owned_by(1)?;
    let shown = node.vrrp()?;
    ensure!(shown["state"] == "fault" && shown["trackers"][0]["state"] == "down", "{shown}");
    let events = node.xlb(&["events"])?;
    for said in
        ["cannot be read: No such file", "is read again", "process sleeper is down: 0 of at least 1 run"]
    {
        ensure!(events.matches(said).count() == 1, "{said}: {events}");
    }
    Ok(())
}
