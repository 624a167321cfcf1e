//! Failover of balanced traffic: two balancers, requests and long downloads through the VIP, and everything that can
//! happen to the owner. Judged from frames on the switch and from addresses.

mod watch;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::cluster::VIP;
use lb_tests::daemon::built_program;
use lb_tests::udp::Echo;
use lb_tests::{Cluster, Daemon, Load, Streams};
use nix::sys::signal::Signal;
use watch::{Handover, Watch, now};

use crate::given::PATIENCE;

/// Addresses that clients have; with `mh` each has its real server.
const CLIENTS: u8 = 6;
/// Of the UDP service.
const ECHO: u16 = 7;
const ECHO_THERE: u16 = 7007;
/// On a machine shared with other tests, everything may be a little late.
const LATE: Duration = Duration::from_millis(200);
const INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(100)];
/// Slow to give up: who is cut off hears of no real server, and pools are to stay the same.
const PATIENT: &str = "{ type = \"tcp\", interval = \"1s\", fall = 60 }";
/// Gives up at once: who is cut off has to know it by himself.
const HASTY: &str = "{ type = \"tcp\", interval = \"200ms\", timeout = \"200ms\", fall = 1, rise = 3 }";

/// What happens to the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGKILL.
    Killed,
    /// SIGTERM.
    Ended,
    /// SIGSTOP.
    Hanging,
    /// The switch passes none of its frames on; its links stay up.
    CutOff,
    /// Its cable outside is out.
    Unplugged,
}

struct Scene {
    watch: Watch,
    daemons: [Daemon; 2],
    _echoes: Vec<Echo>,
    cluster: Cluster,
}

impl Scene {
    /// Both daemons run and the first one is the owner.
    fn set(interval: Duration, check: &str) -> Result<Self> {
        let cluster = Cluster::create(3)?;
        let mut echoes = Vec::new();
        for server in &cluster.servers {
            echoes.push(Echo::start(&server.namespace, (server.v4, ECHO_THERE).into(), &server.name)?);
        }
        for client in clients() {
            cluster.client.ip(&format!("address add {client}/24 dev eth0"))?;
        }
        let start = |number: usize| {
            let text = format!("{}\n{}", pools(&cluster, check)?, cluster.elections(number, interval));
            Daemon::start_with(&cluster.balancers[number], &built_program()?, &cluster.global(), &text)
        };
        let daemons = [start(0)?, start(1)?];
        for daemon in &daemons {
            daemon.wait_all_up(PATIENCE)?;
        }
        let watch = Watch::start(&cluster, ECHO)?;
        watch.until_owner(0)?;
        watch.until_released(1)?;
        Ok(Self { watch, daemons, _echoes: echoes, cluster })
    }

    fn make(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Killed => self.daemons[0].process.kill(),
            Fault::Ended => self.daemons[0].process.signal(Signal::SIGTERM),
            Fault::Hanging => self.daemons[0].process.signal(Signal::SIGSTOP),
            Fault::CutOff => self.forwards(false),
            Fault::Unplugged => self.cable("down"),
        }
    }

    fn mend(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Killed | Fault::Ended => self.daemons[0].restart(&self.cluster.balancers[0]),
            Fault::Hanging => self.daemons[0].process.signal(Signal::SIGCONT),
            Fault::CutOff => self.forwards(true),
            Fault::Unplugged => self.cable("up"),
        }
    }

    /// Whether the switch forwards what the first balancer sends and is sent.
    fn forwards(&self, forwards: bool) -> Result<()> {
        let state = if forwards { "forwarding" } else { "disabled" };
        for interface in ["outside", "inside"] {
            let port = self.cluster.port(0, interface);
            let command = format!("link set dev {port} state {state}");
            self.cluster.switch.run("bridge", &command)?;
        }
        Ok(())
    }

    fn cable(&self, state: &str) -> Result<()> {
        let port = self.cluster.port(0, "outside");
        self.cluster.switch.ip(&format!("link set {port} {state}")).map(drop)
    }
}

fn clients() -> impl Iterator<Item = Ipv4Addr> {
    (1..=CLIENTS).map(|number| Ipv4Addr::new(198, 51, 100, 200 + number))
}

fn pools(cluster: &Cluster, check: &str) -> Result<String> {
    let mut text = String::new();
    let check = format!("check = {check}");
    for (name, port, there, keys) in
        [("web", 80, 8080, check.as_str()), ("echo", ECHO, ECHO_THERE, "protocol = \"udp\"")]
    {
        writeln!(text, "[[virtual_server]]\nname = \"{name}\"\naddress = \"{VIP}:{port}\"")?;
        writeln!(text, "scheduler = \"mh\"\n{keys}\nreal_server = [")?;
        for server in &cluster.servers {
            writeln!(text, "  {{ address = \"{}:{there}\" }},", server.v4)?;
        }
        writeln!(text, "]")?;
    }
    Ok(text)
}

/// After so long a new master announces its addresses again (vrrp::router).
const ANNOUNCED_AGAIN: Duration = Duration::from_secs(5);

/// Of the second balancer, priority 100.
fn skew(interval: Duration) -> Duration {
    interval * 156 / 256
}

/// The role goes to the second balancer and comes back; all downloads go on.
fn downloads_survive(fault: Fault, check: &str) -> Result<()> {
    // They measure: one at a time.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for interval in INTERVALS {
        let mut scene = Scene::set(interval, check)?;
        let vip: SocketAddr = (VIP, 80).into();
        let sources: Vec<_> = clients().collect();
        let streams = Streams::start(&scene.cluster.client, &sources, vip, &scene.cluster.files())?;
        let load = Load::start(&scene.cluster.client, &[vip], 2)?;
        load.next(200, PATIENCE)?;

        let broken = now();
        scene.make(fault)?;
        scene.watch.until_owner(1)?;
        let survivors = streams.go_on()?;
        if fault != Fault::CutOff {
            scene.watch.until_released(0)?;
        }
        let there = scene.watch.handover(1, broken)?;
        load.settle(PATIENCE)?;
        let failed = load.answers().failures.len();

        let mended = now();
        scene.mend(fault)?;
        scene.watch.until_owner(0)?;
        scene.watch.until_released(1)?;
        let survivors_of_both = streams.go_on()?;
        let back = scene.watch.handover(0, mended)?;
        load.settle(PATIENCE)?;
        let failed_back = load.answers().failures.len() - failed;
        eprintln!(
            "measured: interval {interval:?}, {fault:?}: {there:.2?}, {survivors} of {CLIENTS} downloads, {failed} requests failed; \
             and back: {back:.2?}, {survivors_of_both} of {CLIENTS} downloads, {failed_back} requests failed"
        );

        judge(fault, interval, there)?;
        ensure!(back.two_senders <= interval, "{back:?}");
        // Who was cut off has been heard by the switch until now: what it misled is led right by the winner's second
        // announcement at the latest.
        let misled = if fault == Fault::CutOff { ANNOUNCED_AGAIN } else { Duration::ZERO };
        ensure!(back.without_owner <= misled + interval + LATE, "{back:?}");
        let ended = streams.failures();
        ensure!(survivors_of_both == usize::from(CLIENTS), "downloads ended: {ended:?}");
    }
    Ok(())
}

/// As long as promised, and no longer.
fn judge(fault: Fault, interval: Duration, seen: Handover) -> Result<()> {
    let silent = if fault == Fault::Ended { skew(interval) } else { interval * 3 + skew(interval) };
    ensure!(seen.without_owner <= silent + LATE, "{seen:?}");
    ensure!(seen.two_senders <= interval, "{seen:?}");
    // Nobody renews the lease any more.
    ensure!(seen.until_silent <= interval * 3 + LATE, "{seen:?}");
    // The kernel removes the address by itself, but counts in seconds; who is cut off knows nothing of the other.
    let both = match fault {
        Fault::Killed | Fault::Hanging => interval.max(Duration::from_millis(2400)),
        Fault::CutOff => return Ok(()),
        Fault::Ended | Fault::Unplugged => interval,
    };
    ensure!(seen.two_addresses <= both, "{seen:?}");
    Ok(())
}

#[test]
fn downloads_survive_an_owner_that_is_killed() -> Result<()> {
    downloads_survive(Fault::Killed, PATIENT)
}

#[test]
fn downloads_survive_an_owner_that_ends() -> Result<()> {
    downloads_survive(Fault::Ended, PATIENT)
}

#[test]
fn downloads_survive_an_owner_that_hangs() -> Result<()> {
    downloads_survive(Fault::Hanging, PATIENT)
}

#[test]
fn downloads_survive_an_owner_that_is_cut_off() -> Result<()> {
    downloads_survive(Fault::CutOff, PATIENT)
}

#[test]
fn downloads_survive_an_owner_that_is_cut_off_from_its_checks_too() -> Result<()> {
    downloads_survive(Fault::CutOff, HASTY)
}

#[test]
fn downloads_survive_an_owner_without_a_cable() -> Result<()> {
    downloads_survive(Fault::Unplugged, PATIENT)
}
