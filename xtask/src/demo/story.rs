//! The chapters: what is done, what is expected of it, and what is seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::load::Answers;
use lb_tests::site::{VIP4, VIP6};
use lb_tests::{Daemon, Load, Site, process};

use super::download::Download;
use super::{say, view};

/// How long anything may take that is not the point of the demo.
const PATIENCE: Duration = Duration::from_secs(15);
/// Requests in each chapter.
const REQUESTS: u64 = 3000;
/// How far a real server's share of the answers may be from its share of the weights.
const TOLERANCE: f64 = 0.04;
/// The virtual servers, one for each address family.
const VIRTUAL_SERVERS: [(&str, IpAddr); 2] = [("web", IpAddr::V4(VIP4)), ("web6", IpAddr::V6(VIP6))];

/// Tells it all and returns the figures; `slot` takes the daemon so that it may outlive the story.
pub(super) fn tell(site: &Site, program: &Path, slot: &mut Option<Daemon>) -> Result<String> {
    say::heading("A client, a balancer and three web servers, each in a network namespace");
    say::topology(site);

    say::heading("xlb starts");
    let configuration = configuration(site)?;
    say::line("its configuration for IPv4; the one for IPv6 is its twin:");
    say::command("cat xlb.toml", configuration.split("\n\n").next().unwrap_or_default());
    let daemon = slot.insert(Daemon::start(site, program, &configuration)?);
    daemon.wait_all_up(PATIENCE)?;
    say::command("xlb status", &daemon.xlb(&["status"])?);

    say::heading("Pages through the VIP");
    for (_, vip) in VIRTUAL_SERVERS {
        let url = format!("http://{}/", SocketAddr::new(vip, 80).to_string().trim_end_matches(":80"));
        for _ in 0..3 {
            let mut curl = site.client.command("curl");
            curl.args(["--silent", "--show-error", "--max-time", "5", "--globoff", &url]);
            say::command(&format!("curl {url}"), &process::run(&mut curl)?);
        }
    }

    say::heading("Clients ask all the time, each request over a new connection");
    let addresses = VIRTUAL_SERVERS.map(|(_, vip)| SocketAddr::new(vip, 80));
    let load = Load::start(&site.client, &addresses, 2)?;
    let weights = site.servers.iter().map(|server| (server.name.clone(), 1)).collect();
    let mut chapters = Chapters { site, daemon, load, weights };
    chapters.watch()?;
    let download = Download::start(site, addresses[0])?;
    say::line(&format!("and one downloads a long file from {}, over one connection", download.server));

    say::heading("A weight changes");
    chapters.command("weight", "web1", Some(3))?;
    chapters.watch()?;
    download.continues()?;
    say::line(&format!("the download: {}", download.progress()));

    say::heading("A real server is drained: the one that the download comes from");
    let drained = download.server.clone();
    let weight = chapters.weights.insert(drained.clone(), 0);
    chapters.command("drain", &drained, None)?;
    chapters.watch()?;
    download.continues()?;
    say::line(&format!(
        "no new connection goes to {drained}; the download continues: {}",
        download.progress()
    ));
    chapters.weights.insert(drained.clone(), weight.unwrap_or(1));
    chapters.command("enable", &drained, None)?;
    chapters.watch()?;

    say::heading("The controller is killed");
    chapters.daemon.process.kill()?;
    say::command("kill -9 $(pidof xlb)", "");
    chapters.watch_without_daemon()?;
    download.continues()?;
    ensure!(download.is_under_way(), "the download ended before the controller was started again");
    say::line(&format!("the kernel goes on forwarding; the download: {}", download.progress()));

    say::heading("The controller is started again and takes over what is there");
    chapters.daemon.restart(site)?;
    chapters.daemon.wait_all_up(PATIENCE)?;
    chapters.watch()?;
    let bytes = download.finish()?;
    say::line(&format!(
        "the download is complete and its content is right: {bytes} bytes over one connection"
    ));
    chapters.load.settle(PATIENCE)?;
    let all = chapters.load.answers();
    no_failure(&all)?;
    drop(chapters.load);

    say::heading("What xlb counted");
    say::command("xlb status", &daemon.xlb(&["status"])?);
    Ok(format!(
        "{} requests over new connections, 0 failed; {bytes} bytes over one connection through a weight change, a drain, a kill and a restart",
        all.total()
    ))
}

struct Chapters<'a> {
    site: &'a Site,
    daemon: &'a mut Daemon,
    load: Load,
    /// What the shares have to follow.
    weights: BTreeMap<String, u32>,
}

impl Chapters<'_> {
    /// Runs a command on a real server of every virtual server.
    fn command(&mut self, verb: &str, server: &str, weight: Option<u32>) -> Result<()> {
        for (name, _) in VIRTUAL_SERVERS {
            let place = format!("{name}/{server}");
            let mut arguments = vec![verb.to_owned(), place];
            if let Some(weight) = weight {
                arguments.push(weight.to_string());
                self.weights.insert(server.to_owned(), weight);
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            say::command(&format!("xlb {}", arguments.join(" ")), &self.daemon.xlb(&arguments)?);
        }
        // What was asked before the change may be answered as before.
        self.load.settle(PATIENCE)
    }

    fn watch(&self) -> Result<()> {
        let status = self.daemon.status()?;
        self.judge(&view::watch(&self.load, REQUESTS, Some((self.site, &status)))?)
    }

    fn watch_without_daemon(&self) -> Result<()> {
        self.judge(&view::watch(&self.load, REQUESTS, None)?)
    }

    fn judge(&self, answers: &Answers) -> Result<()> {
        no_failure(answers)?;
        let sum: u32 = self.weights.values().sum();
        for (server, weight) in &self.weights {
            let (share, wanted) = (answers.share(server), f64::from(*weight) / f64::from(sum));
            let near = if *weight == 0 { share == 0.0 } else { (share - wanted).abs() <= TOLERANCE };
            ensure!(near, "{server} gave {:.1} % of the answers, not {:.1} %", share * 100.0, wanted * 100.0);
        }
        Ok(())
    }
}

fn no_failure(answers: &Answers) -> Result<()> {
    let count = answers.failures.len();
    let first = answers.failures.first().map_or("", String::as_str);
    ensure!(count == 0, "{count} of {} requests failed; the first: {first}", answers.total() + count as u64);
    Ok(())
}

fn configuration(site: &Site) -> Result<String> {
    let mut text = String::new();
    for (name, vip) in VIRTUAL_SERVERS {
        let address = SocketAddr::new(vip, 80);
        writeln!(
            text,
            "[[virtual_server]]\nname = \"{name}\"\naddress = \"{address}\"\nscheduler = \"wrr\"\nreal_server = ["
        )?;
        for server in &site.servers {
            writeln!(text, "  {{ name = \"{}\", address = \"{}\" }},", server.name, server.address(vip))?;
        }
        writeln!(text, "]\ncheck = {{ type = \"tcp\", interval = \"1s\" }}\n")?;
    }
    Ok(text)
}
