//! A node: xlb or keepalived in a host, told the same.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::bpffs::Bpffs;
use lb_tests::daemon::Place;
use lb_tests::{Daemon, Namespace, Process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::segment::{PASSWORD, ROUTER};

/// Whose VRRP it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    Xlb,
    Keepalived,
}

/// In the order they are shown.
pub(super) const CONTENDERS: [Contender; 2] = [Contender::Xlb, Contender::Keepalived];

impl Contender {
    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Xlb => "xlb",
            Self::Keepalived => "keepalived",
        }
    }
}

/// What both nodes of a segment are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Between two advertisements.
    pub(super) interval: Duration,
    /// How many virtual addresses.
    pub(super) addresses: u16,
    /// Version 2 with a password, which version 3 does not have.
    pub(super) password: bool,
}

impl Setting {
    /// Version 3 and one address.
    pub(super) const fn plain(interval: Duration) -> Self {
        Self { interval, addresses: 1, password: false }
    }

    /// The virtual addresses.
    pub(super) fn vips(self) -> impl DoubleEndedIterator<Item = Ipv4Addr> {
        (0..self.addresses).map(|number| {
            let [high, low] = (number + 100).to_be_bytes();
            Ipv4Addr::new(10, 51, high, low)
        })
    }

    const fn version(self) -> u8 {
        if self.password { 2 } else { 3 }
    }
}

/// A running one. It ends when it is dropped.
pub(super) struct Node {
    running: Running,
    _bpffs: Option<Bpffs>,
    _directory: TempDir,
}

enum Running {
    Xlb(Daemon),
    Keepalived(Process),
}

impl Node {
    /// Starts it in a host.
    pub(super) fn start(
        (contender, program): (Contender, &Path),
        host: &Namespace,
        setting: Setting,
        priority: u8,
    ) -> Result<Self> {
        let directory = TempDir::with_prefix(format!("xlb-{}-", std::process::id()))?;
        let (running, bpffs) = match contender {
            Contender::Xlb => {
                let bpffs = Bpffs::mount(&directory.path().join("bpf"))?;
                let place = Place { host, interfaces: &["eth0"], bpffs: &bpffs, directory: directory.path() };
                let text = xlb(setting, priority, directory.path())?;
                (Running::Xlb(Daemon::start(place, program, &text)?), Some(bpffs))
            }
            Contender::Keepalived => {
                let path = |name: &str| directory.path().join(name);
                std::fs::write(path("keepalived.conf"), keepalived(setting, priority)?)?;
                let mut command = host.command("keepalived");
                command.args(["--vrrp", "--dont-fork", "--log-console", "--log-detail", "--use-file"]);
                command.arg(path("keepalived.conf"));
                command.arg("--pid").arg(path("pid")).arg("--vrrp_pid").arg(path("vrrp"));
                (Running::Keepalived(Process::start(command, &path("log"))?), None)
            }
        };
        Ok(Self { running, _bpffs: bpffs, _directory: directory })
    }

    fn process(&mut self) -> &mut Process {
        match &mut self.running {
            Running::Xlb(daemon) => &mut daemon.process,
            Running::Keepalived(process) => process,
        }
    }

    /// Asks it to end.
    pub(super) fn end(&mut self) -> Result<()> {
        self.process().signal(Signal::SIGTERM)
    }

    /// Kills all of it at once: a child that outlived its parent would still say goodbye.
    pub(super) fn kill(&mut self) -> Result<()> {
        let pid = self.process().pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        for child in children.split_whitespace() {
            kill(Pid::from_raw(child.parse()?), Signal::SIGKILL).context("a child")?;
        }
        self.process().kill()
    }
}

fn xlb(setting: Setting, priority: u8, directory: &Path) -> Result<String> {
    let (version, interval) = (setting.version(), setting.interval.as_millis());
    let vips: Vec<_> = setting.vips().map(|vip| format!("\"{vip}/32\"")).collect();
    let vips = vips.join(", ");
    let mut text = format!(
        "[[vrrp_instance]]\nname = \"vip\"\ninterface = \"eth0\"\nvirtual_router_id = {ROUTER}\nversion = {version}\n\
         priority = {priority}\nadvert_interval = \"{interval}ms\"\nvirtual_ipaddress = [{vips}]\n"
    );
    if setting.password {
        let secret = directory.join("secret");
        std::fs::write(&secret, PASSWORD)?;
        writeln!(text, "authentication = {{ type = \"pass\", secret_file = {secret:?} }}")?;
    }
    Ok(text)
}

fn keepalived(setting: Setting, priority: u8) -> Result<String> {
    let (version, interval) = (setting.version(), setting.interval.as_secs_f64());
    let mut text = format!(
        "vrrp_instance vip {{\n  interface eth0\n  state BACKUP\n  virtual_router_id {ROUTER}\n  version {version}\n\
         priority {priority}\n  advert_int {interval}\n"
    );
    if setting.password {
        let password = str::from_utf8(PASSWORD)?;
        writeln!(text, "  authentication {{\n    auth_type PASS\n    auth_pass {password}\n  }}")?;
    }
    writeln!(text, "  virtual_ipaddress {{")?;
    for vip in setting.vips() {
        writeln!(text, "    {vip}/32 dev eth0")?;
    }
    writeln!(text, "  }}\n}}")?;
    Ok(text)
}
