//! The program under test: the daemon in a namespace, and the commands that talk to it.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bpffs::Bpffs;
use crate::{Namespace, Process, Site, process, wait_until};

/// `xlb` of the build that the calling program is from: `target/debug/xlb` for tests of a debug build.
pub fn built_program() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let found =
        this.ancestors().skip(1).take(2).map(|directory| directory.join("xlb")).find(|path| path.is_file());
    found.with_context(|| {
        format!("no xlb beside {}; build it with `cargo xtask build-ebpf && cargo build`", this.display())
    })
}

/// Where a daemon runs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The host.
    pub host: &'a Namespace,
    /// Its interfaces that packets use.
    pub interfaces: &'a [&'a str],
    /// Where programs and maps are pinned.
    pub bpffs: &'a Bpffs,
    /// For configuration, state, socket and log.
    pub directory: &'a Path,
}

impl<'a> From<&'a Site> for Place<'a> {
    fn from(site: &'a Site) -> Self {
        Self {
            host: &site.balancer,
            interfaces: site.interfaces(),
            bpffs: &site.bpffs,
            directory: site.directory(),
        }
    }
}

/// A running `xlb run` in a balancer.
#[derive(Debug)]
pub struct Daemon {
    /// The daemon's process.
    pub process: Process,
    program: PathBuf,
    configuration: PathBuf,
    socket: PathBuf,
    /// More lines of `[global]`.
    global: String,
}

impl Daemon {
    /// Writes the configuration, below the part that depends on the place, and starts the daemon; returns when it answers.
    ///
    /// `configuration` is TOML without `[global]` and `[api]`.
    pub fn start<'a>(place: impl Into<Place<'a>>, program: &Path, configuration: &str) -> Result<Self> {
        Self::start_with(place, program, "", configuration)
    }

    /// The same, with more lines in `[global]`.
    pub fn start_with<'a>(
        place: impl Into<Place<'a>>,
        program: &Path,
        global: &str,
        configuration: &str,
    ) -> Result<Self> {
        let place = place.into();
        let directory = place.directory;
        let socket = directory.join("xlb.sock");
        let path = directory.join("xlb.toml");
        write(place, &path, &socket, global, configuration)?;
        let process = spawn(place, program, &path)?;
        let mut daemon = Self {
            process,
            program: program.to_owned(),
            configuration: path,
            socket,
            global: global.to_owned(),
        };
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Starts the daemon again after it was killed or stopped; returns when it answers.
    pub fn restart<'a>(&mut self, place: impl Into<Place<'a>>) -> Result<()> {
        self.process = spawn(place.into(), &self.program, &self.configuration)?;
        self.wait_ready()
    }

    /// Replaces the configuration file; `xlb reload` applies it.
    pub fn configure<'a>(&self, place: impl Into<Place<'a>>, configuration: &str) -> Result<()> {
        write(place.into(), &self.configuration, &self.socket, &self.global, configuration)
    }

    /// Runs a command such as `["weight", "web/web1", "50"]` and returns what it printed; failing is an error.
    pub fn xlb(&self, arguments: &[&str]) -> Result<String> {
        process::run(std::process::Command::new(&self.program).arg("-s").arg(&self.socket).args(arguments))
    }

    /// Runs a command that may fail.
    pub fn try_xlb(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = std::process::Command::new(&self.program);
        Ok(command.arg("-s").arg(&self.socket).args(arguments).output()?)
    }

    /// Starts a command that goes on by itself; what it prints is its log.
    pub fn begin(&self, arguments: &[&str]) -> Result<Process> {
        let mut command = std::process::Command::new(&self.program);
        command.arg("-s").arg(&self.socket).args(arguments);
        Process::start(command, &self.socket.with_file_name("command.log"))
    }

    /// `xlb doctor --json` on the balancer; it may find that something is wrong.
    pub fn doctor(&self, site: &Site) -> Result<Output> {
        let mut command = site.balancer.command(&self.program);
        Ok(command.args(["doctor", "--json", "-c"]).arg(&self.configuration).output()?)
    }

    /// `xlb status --json`.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.xlb(&["status", "--json"])?)?)
    }

    /// The control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Waits until every real server of every virtual server is up.
    pub fn wait_all_up(&self, limit: Duration) -> Result<()> {
        wait_until("all real servers to be up", limit, || {
            self.status().is_ok_and(|status| {
                let mut states =
                    real_servers(&status).map(|server| server["state"].as_str() == Some("up")).peekable();
                states.peek().is_some() && states.all(|up| up)
            })
        })
    }

    fn wait_ready(&mut self) -> Result<()> {
        let (program, socket) = (&self.program, &self.socket);
        let answers = || {
            let mut command = std::process::Command::new(program);
            command.arg("-s").arg(socket).args(["status", "--json"]);
            command.output().is_ok_and(|output| output.status.success())
        };
        let process = &mut self.process;
        wait_until("the daemon to answer", Duration::from_secs(60), || !process.is_running() || answers())?;
        if !self.process.is_running() {
            bail!("the daemon ended:\n{}", self.process.log());
        }
        Ok(())
    }
}

/// All real servers in a status.
pub fn real_servers(status: &Value) -> impl Iterator<Item = &Value> {
    let virtual_servers = status["virtual_servers"].as_array().into_iter().flatten();
    virtual_servers.flat_map(|server| server["real_servers"].as_array().into_iter().flatten())
}

fn spawn(place: Place<'_>, program: &Path, configuration: &Path) -> Result<Process> {
    let mut command = place.host.command(program);
    command.arg("run").arg("-c").arg(configuration);
    Process::start(command, &place.directory.join("xlb.log"))
}

fn write(place: Place<'_>, path: &Path, socket: &Path, global: &str, configuration: &str) -> Result<()> {
    let interfaces = place.interfaces.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let global = format!(
        "[global]\ninterfaces = [{interfaces}]\npin_dir = {:?}\nstate_dir = {:?}\n{global}\n[api]\nsocket = {socket:?}\nlisten = \"\"\n\n",
        place.bpffs.path().join("xlb"),
        place.directory.join("state"),
    );
    std::fs::write(path, global + configuration).with_context(|| format!("cannot write {}", path.display()))
}
