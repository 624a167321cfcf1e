//! The daemon's elections between two of them: from the file to the addresses, by commands and signals.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use lb_tests::wait_until;
use nix::sys::signal::Signal;

use crate::given::PATIENCE;
use crate::pair::{Node, Pair};

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

/// An advertisement of so many addresses of IPv6 is longer than a frame of Ethernet: fragments carry it.
#[test]
fn addresses_for_which_a_frame_is_too_short_have_one_owner_with_and_without_a_virtual_mac_address()
-> Result<()> {
    const MANY: usize = 150;
    for vmac in [false, true] {
        let mut pair = Pair::create()?;
        for node in &mut pair.nodes {
            let addresses: Vec<_> =
                (1..=MANY).map(|number| format!("\"2001:db8:9::{number:x}/64\"")).collect();
            node.configure(&format!(
                "[[vrrp_instance]]\nname = \"many\"\ninterface = \"eth0\"\nvirtual_router_id = 60\n\
                 advert_interval = \"200ms\"\nuse_vmac = {vmac}\nvirtual_ipaddress = [{}]",
                addresses.join(", ")
            ))?;
            node.start()?;
        }
        let owned = |node: &Node| {
            node.ip("-6 address show").map_or(0, |text| text.matches("inet6 2001:db8:9::").count())
        };
        let has_one_owner = |pair: &Pair| {
            let mut all: Vec<usize> = pair.nodes.iter().map(owned).collect();
            all.sort_unstable();
            all == [0, MANY]
        };
        wait_until("one owner", PATIENCE, || has_one_owner(&pair))?;
        let owner = usize::from(owned(&pair.nodes[1]) > 0);
        // The other one hears it: what arrives is whole.
        let hears = |pair: &Pair| {
            let shown = pair.nodes[1 - owner].xlb(&["vrrp", "--json"])?;
            let all: Vec<serde_json::Value> = serde_json::from_str(&shown)?;
            let many = all.into_iter().find(|one| one["name"] == "many").context("the instance")?;
            Ok::<_, anyhow::Error>(many["state"] == "backup" && many["master"].is_string())
        };
        wait_until("it to be heard", PATIENCE, || hears(&pair).unwrap_or(false))?;
        let mut daemon = pair.nodes[owner].daemon.take().context("it runs")?;
        daemon.signal(Signal::SIGTERM)?;
        wait_until("its end", PATIENCE, || !daemon.is_running())?;
        wait_until("the other to own them", PATIENCE, || {
            owned(&pair.nodes[1 - owner]) == MANY && owned(&pair.nodes[owner]) == 0
        })?;
    }
    Ok(())
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

#[test]
fn a_sync_group_says_what_has_become_of_it() -> Result<()> {
    let mut pair = Pair::create()?;
    let said = pair.nodes[0].directory().join("said");
    let script = format!(r#"["/bin/sh", "-c", "echo $* >> {}", "sh"]"#, said.display());
    let keys = format!(
        r#"
        [[vrrp_sync_group]]
        name = "site"
        group = ["outside"]
        notify = {{ any = {script} }}
        "#
    );
    pair.nodes[0].configure(&keys)?;
    pair.nodes[1].configure("")?;
    for node in &mut pair.nodes {
        node.start()?;
    }
    pair.is_owned_by(0)?;
    pair.nodes[0].xlb(&["vrrp", "release"])?;
    pair.is_owned_by(1)?;
    let mut daemon = pair.nodes[0].daemon.take().context("it runs")?;
    daemon.signal(Signal::SIGTERM)?;
    wait_until("it has ended", PATIENCE, || !daemon.is_running())?;
    let said = std::fs::read_to_string(said)?;
    let words = ["BACKUP", "MASTER", "BACKUP", "STOP"].map(|state| format!("GROUP site {state} 0\n"));
    ensure!(said == words.concat(), "{said}");
    Ok(())
}

#[test]
fn routes_and_rules_follow_the_role() -> Result<()> {
    const KEYS: &str = r#"
        virtual_routes = [
            "203.0.113.0/24 via 10.9.0.50 src 10.9.0.100 table 100 metric 5",
            "198.51.100.0/24",
            "blackhole 192.0.2.0/24 table 100",
            "2001:db8:7::/48 dev eth0 table 1000",
        ]
        virtual_rules = ["from 10.9.0.100 table 100 priority 50", "to 2001:db8:7::/48 iif eth0 table 1000 priority 60"]
        "#;
    let mut pair = Pair::create()?;
    let shown = |node: &Node| -> Result<[String; 3]> {
        Ok([
            node.ip("route show table all proto 120")?,
            node.ip("rule show table 100")?,
            node.ip("-6 rule show table 1000")?,
        ])
    };
    let has_all = |node: &Node| {
        shown(node).is_ok_and(|[routes, rules, rules_v6]| {
            routes.contains("203.0.113.0/24 via 10.9.0.50 dev eth0 table 100 src 10.9.0.100 metric 5")
                && routes.contains("198.51.100.0/24 dev eth0 scope link")
                && routes.contains("blackhole 192.0.2.0/24 table 100")
                && rules.contains("50:\tfrom 10.9.0.100 lookup 100")
                && routes.contains("2001:db8:7::/48 dev eth0 table 1000")
                && rules_v6.contains("60:\tfrom all to 2001:db8:7::/48 iif eth0 lookup 1000")
        })
    };
    let has_none = |node: &Node| shown(node).is_ok_and(|all| all.iter().all(|text| text.trim().is_empty()));
    // Somebody else's, in the same table.
    pair.nodes[0].ip("route add blackhole 192.0.2.128/25 table 100")?;
    pair.nodes[0].ip("rule add from 10.9.0.101 table 101 priority 51")?;
    for node in &mut pair.nodes {
        node.configure(KEYS)?;
        node.start()?;
    }
    let moved_to = |pair: &Pair, owner: usize| {
        pair.is_owned_by(owner)?;
        wait_until("the owner's routes", PATIENCE, || {
            has_all(&pair.nodes[owner]) && has_none(&pair.nodes[1 - owner])
        })
        .with_context(|| format!("{owner}: {:?}", pair.nodes.each_ref().map(shown)))
    };
    moved_to(&pair, 0)?;
    let first = &pair.nodes[0];
    let before = first.vrrp()?;
    ensure!(before["routes"].as_array().is_some_and(|all| all.len() == 4), "{before}");

    for gone in [
        "route del 203.0.113.0/24 table 100",
        "rule del priority 50",
        "-6 route del 2001:db8:7::/48 table 1000",
        "-6 rule del priority 60",
    ] {
        first.ip(gone)?;
        wait_until("it is put back", PATIENCE, || has_all(first))?;
    }
    ensure!(first.vrrp()?["transitions"] == before["transitions"], "{before}");

    first.xlb(&["vrrp", "release"])?;
    moved_to(&pair, 1)?;
    pair.nodes[1].xlb(&["vrrp", "release"])?;
    moved_to(&pair, 0)?;

    let daemon = pair.nodes[0].daemon.take().context("it runs")?;
    daemon.signal(Signal::SIGKILL)?;
    pair.is_owned_by(1)?;
    ensure!(
        pair.nodes[0].ip("rule show table 100")?.contains("10.9.0.100"),
        "what is killed leaves its routes"
    );
    pair.nodes[0].configure(&format!("{KEYS}\npreempt = false"))?;
    pair.nodes[0].start()?;
    moved_to(&pair, 1)?;

    let mut daemon = pair.nodes[1].daemon.take().context("it runs")?;
    daemon.signal(Signal::SIGTERM)?;
    wait_until("it has ended", PATIENCE, || !daemon.is_running())?;
    ensure!(has_none(&pair.nodes[1]), "{:?}", shown(&pair.nodes[1])?);
    moved_to(&pair, 0)?;
    ensure!(pair.nodes[0].ip("route show table 100")?.contains("blackhole 192.0.2.128/25"));
    ensure!(pair.nodes[0].ip("rule show")?.contains("from 10.9.0.101 lookup 101"));
    Ok(())
}

#[test]
fn keys_are_changed_without_a_change_of_roles() -> Result<()> {
    let mut pair = Pair::create()?;
    let configure = |node: &Node, keys: [u8; 2], more: &str| {
        let [own, other] = keys.map(|key| {
            let file = node.directory().join(format!("key{key}"));
            std::fs::write(&file, format!("hex:{}", format!("{key:02x}").repeat(32)))?;
            Ok::<_, anyhow::Error>(format!("key_id = {key}, secret_file = {file:?}"))
        });
        let (own, other) = (own?, other?);
        node.configure(&format!(
            "authentication = {{ type = \"hmac-sha256\", {own}, accept = [{{ {other} }}]{more} }}"
        ))
    };
    for node in &mut pair.nodes {
        configure(node, [1, 2], "")?;
        node.start()?;
    }
    pair.is_owned_by(0)?;
    let settled = || Ok::<_, anyhow::Error>([pair.nodes[0].vrrp()?, pair.nodes[1].vrrp()?]);
    let before = settled()?;
    for keys in [[2, 1], [2, 3]] {
        for node in &pair.nodes {
            configure(node, keys, "")?;
            node.xlb(&["reload"])?;
        }
        let heard = pair.nodes[1].vrrp()?["adverts"]["received"].as_u64();
        wait_until("adverts with the new key", PATIENCE, || {
            pair.nodes[1]
                .vrrp()
                .is_ok_and(|now| now["adverts"]["received"].as_u64() > heard.map(|heard| heard + 3))
        })?;
    }
    let after = settled()?;
    for (before, after) in before.iter().zip(&after) {
        ensure!(before["transitions"] == after["transitions"], "{before} {after}");
        ensure!(after["adverts"]["rejected"].as_object().is_some_and(serde_json::Map::is_empty), "{after}");
    }
    configure(&pair.nodes[1], [3, 4], "")?;
    pair.nodes[1].xlb(&["reload"])?;
    wait_until("an unknown key is said", PATIENCE, || {
        let says = |shown: serde_json::Value| shown["adverts"]["rejected"]["unknown-key"].as_u64() > Some(0);
        pair.nodes[1].vrrp().is_ok_and(says)
    })
}
