//! The last chapter: a second balancer takes over from the first.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anstream::println;
use anyhow::{Result, ensure};
use lb_tests::cluster::VIP;
use lb_tests::{Cluster, Daemon, Load, Streams, wait_until};

use super::{say, view};

/// How long anything may take that is not the point of the demo.
const PATIENCE: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_secs(1);
/// Downloads over one connection each, every one from an address of its own.
const DOWNLOADS: u8 = 6;

/// Tells it and returns the figures.
pub(super) fn tell(program: &Path) -> Result<String> {
    say::heading("Two balancers, one of which owns the VIP: VRRP");
    let cluster = Cluster::create(3)?;
    let start = |number: usize| {
        let text = format!("{}\n{}", pool(&cluster)?, cluster.elections(number, INTERVAL));
        Daemon::start_with(&cluster.balancers[number], program, &cluster.global(), &text)
    };
    let mut daemons = [start(0)?, start(1)?];
    for daemon in &daemons {
        daemon.wait_all_up(PATIENCE)?;
    }
    owns(&daemons[0])?;
    picture(["owns the VIP", "backup"]);
    say::command("xlb vrrp    # on lb1", &daemons[0].xlb(&["vrrp"])?);

    let addresses: Vec<_> = (1..=DOWNLOADS).map(|number| Ipv4Addr::new(198, 51, 100, 200 + number)).collect();
    for address in &addresses {
        cluster.client.ip(&format!("address add {address}/24 dev eth0"))?;
    }
    let vip = (VIP, 80).into();
    let downloads = Streams::start(&cluster.client, &addresses, vip, &cluster.files())?;
    let load = Load::start(&cluster.client, &[vip], 2)?;
    load.next(500, PATIENCE)?;
    say::line(&format!("clients ask all the time, and {DOWNLOADS} long downloads are under way"));

    say::heading("The owner is killed");
    let before = load.answers();
    say::command("kill -9 $(pidof xlb)    # on lb1", "");
    daemons[0].process.kill()?;
    owns(&daemons[1])?;
    picture(["killed", "owns the VIP"]);
    say::command("xlb vrrp    # on lb2", &daemons[1].xlb(&["vrrp"])?);
    let left = downloads.go_on()?;
    load.settle(PATIENCE)?;
    view::print(&load.answers().since(&before), None);
    say::line(&format!("{left} of {DOWNLOADS} downloads go on through lb2, over the same connections"));

    say::heading("The first one is started again and takes its role back");
    daemons[0].restart(&cluster.balancers[0])?;
    owns(&daemons[0])?;
    picture(["owns the VIP", "backup"]);
    let left = downloads.go_on()?;
    load.settle(PATIENCE)?;
    let all = load.answers().since(&before);
    view::print(&all, None);
    say::line(&format!("{left} of {DOWNLOADS} downloads go on"));
    ensure!(left == usize::from(DOWNLOADS), "downloads ended: {:?}", downloads.failures());
    Ok(format!(
        "takeover and return with {} of {} requests failed and {left} of {DOWNLOADS} downloads unbroken",
        all.failures.len(),
        all.total() + all.failures.len() as u64
    ))
}

/// Waits until this daemon says that it is master of everything.
fn owns(daemon: &Daemon) -> Result<()> {
    wait_until("the role to be taken", PATIENCE, || {
        daemon.status().is_ok_and(|status| {
            let instances = status["vrrp"].as_array();
            instances.is_some_and(|all| all.iter().all(|instance| instance["state"] == "master"))
        })
    })
}

fn picture([first, second]: [&str; 2]) {
    println!(
        "
             ┌── lb1  {first:14}──┐
  client  ───┤                      ├───  web1, web2, web3
             └── lb2  {second:14}──┘          VIP {VIP}
"
    );
}

fn pool(cluster: &Cluster) -> Result<String> {
    let mut text = format!(
        "[[virtual_server]]\nname = \"web\"\naddress = \"{VIP}:80\"\nscheduler = \"mh\"\n\
         check = {{ type = \"tcp\", interval = \"1s\" }}\nreal_server = [\n"
    );
    for server in &cluster.servers {
        writeln!(text, "  {{ name = \"{}\", address = \"{}\" }},", server.name, server.address(VIP.into()))?;
    }
    Ok(text + "]\n")
}
