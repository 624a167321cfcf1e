//! HAProxy beside us: two nodes, each the owner of one address, and of both when the other's HAProxy is gone. The
//! elections are those of `config/haproxy-ha.toml`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use lb_tests::cluster::Balancer;
use lb_tests::daemon::built_program;
use lb_tests::{Cluster, Daemon, Process, http, wait_until};

use crate::given::PATIENCE;

const FIRST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 101);
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 102);

/// The file's elections for a node, with this network's addresses and a script that sees only the node's own HAProxy.
fn elections(balancer: &Balancer) -> Result<String> {
    let file = include_str!("../../config/haproxy-ha.toml");
    let (_, text) = file.split_once("[[vrrp_script]]").context("the file has a script")?;
    let script = format!(r#"["/usr/bin/pgrep", "--pidfile", {:?}]"#, pid_file(balancer));
    let text = format!("[[vrrp_script]]{text}")
        .replace(r#"["/usr/bin/pidof", "haproxy"]"#, &script)
        .replace("192.0.2.10/32", &format!("{FIRST}/32"))
        .replace("192.0.2.11/32", &format!("{SECOND}/32"))
        .replace("\"eth0\"", "\"outside\"");
    if balancer.name == "lb1" {
        return Ok(text);
    }
    let exchange = |text: &str, a: &str, b: &str| text.replace(a, "@").replace(b, a).replace('@', b);
    Ok(exchange(
        &exchange(&text, "priority = 150", "priority = 100"),
        "[\"198.51.100.2\"]",
        "[\"198.51.100.1\"]",
    ))
}

fn pid_file(balancer: &Balancer) -> PathBuf {
    balancer.directory().join("haproxy.pid")
}

/// Binds both addresses, whosever they are.
fn haproxy(balancer: &Balancer) -> Result<Process> {
    let configuration = balancer.directory().join("haproxy.cfg");
    let text = format!(
        r#"
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
frontend web
    bind {FIRST}:80
    bind {SECOND}:80
    http-request return status 200 content-type text/plain string {} if {{ path /who }}
    default_backend pool
backend pool
    server web1 10.0.0.11:8080
"#,
        balancer.name
    );
    std::fs::write(&configuration, text)?;
    let mut command = balancer.namespace.command("haproxy");
    command.arg("-db").arg("-f").arg(configuration);
    let process = Process::start(command, &balancer.directory().join("haproxy.log"))?;
    std::fs::write(pid_file(balancer), process.pid().to_string())?;
    Ok(process)
}

fn are_answered_by(cluster: &Cluster, names: [&str; 2]) -> Result<()> {
    wait_until(&format!("{FIRST} and {SECOND} to be answered by {names:?}"), PATIENCE, || {
        [FIRST, SECOND].into_iter().zip(names).all(|(address, name)| {
            let answer = cluster.client.inside(|| http::get((address, 80).into(), "/who"));
            answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer == name))
        })
    })
}

#[test]
fn each_haproxy_has_an_address_and_both_when_the_other_is_gone() -> Result<()> {
    let cluster = Cluster::create(1)?;
    let mut daemons = Vec::new();
    for balancer in &cluster.balancers {
        let global = "script_user = \"root\"";
        daemons.push(Daemon::start_with(balancer, &built_program()?, global, &elections(balancer)?)?);
    }
    let [first, second] = &cluster.balancers;
    let mut beside_first = haproxy(first)?;
    let _beside_second = haproxy(second)?;
    are_answered_by(&cluster, ["lb1", "lb2"])?;
    let page = cluster.client.inside(|| http::get((FIRST, 80).into(), "/"))??;
    assert_eq!(page.trim(), "web1");

    beside_first.kill()?;
    are_answered_by(&cluster, ["lb2", "lb2"])?;

    let _again = haproxy(first)?;
    are_answered_by(&cluster, ["lb1", "lb2"])
}
