//! A network namespace as a host, gone when it is dropped.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

use crate::process;

/// A network namespace with a name of its own, visible to `ip netns`.
///
/// Programs enter it by `nsenter --net`: `ip netns exec` would mount a new /sys and hide the mounts below it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace named after this process, a number and `role`; its loopback is up.
    pub fn create(role: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            bail!("network namespaces need root: run as root, or with sudo");
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("xlb-{}-{number}-{role}", std::process::id());
        process::run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        // Duplicate address detection would keep IPv6 addresses silent for a second or two.
        for interfaces in ["all", "default"] {
            namespace.sysctl(&format!("net/ipv6/conf/{interfaces}/accept_dad"), "0")?;
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip -n` takes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it, as `nsenter --net=` takes it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that will run in it; the process keeps the id that `spawn` returns.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `ip` in it with arguments separated by blanks.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        process::run(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()))
    }

    /// Runs a program in it with arguments separated by blanks.
    pub fn run(&self, program: &str, arguments: &str) -> Result<String> {
        process::run(self.command(program).args(arguments.split_whitespace()))
    }

    /// Sets a value below /proc/sys, such as `net/ipv4/ip_forward`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{name}");
        self.inside(|| std::fs::write(&path, value))?.with_context(|| format!("cannot set {path}"))
    }

    /// Runs a closure on a thread that is in the namespace and waits for it. Sockets made there stay there, wherever they are used.
    pub fn inside<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T> {
        let enter = self.entrance()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| enter().map(|()| job()));
            thread.join().map_err(|_| anyhow!("a job in namespace {} panicked", self.name))?
        })
    }

    /// Starts a thread in the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let enter = self.entrance()?;
        Ok(std::thread::spawn(|| enter().map(|()| job())))
    }

    /// What takes the calling thread into the namespace.
    fn entrance(&self) -> Result<impl FnOnce() -> Result<()> + Send + use<>> {
        let file = File::open(self.path()).with_context(|| format!("namespace {}", self.name))?;
        Ok(move || setns(file, CloneFlags::CLONE_NEWNET).context("setns"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing is left to do when it is gone already.
        let _ = process::run(Command::new("ip").args(["netns", "delete", &self.name]));
    }
}
