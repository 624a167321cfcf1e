//! One boot of a kernel in qemu, from the first instruction to the answer of the guest.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use super::{Archive, Kernel, guest};
use crate::toolchain;

/// What kernels are told. On a busy host an emulated processor may be late: that is no reason to give up or to complain.
/// There is nobody in the guest to mitigate against.
const KERNEL: &str =
    "console=ttyS0 quiet panic=-1 no_timer_check rcupdate.rcu_cpu_stall_suppress=1 mitigations=off";

/// Whether the guest's clock is its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// As fast as it goes.
    Off,
    /// One instruction takes one nanosecond; waiting takes no time. Slower.
    Instructions,
}

/// A guest to boot.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    /// Its kernel.
    pub(crate) kernel: &'a Kernel,
    /// Its files.
    pub(crate) archive: &'a Archive,
    /// Its clock.
    pub(crate) counting: Counting,
    /// Its memory in megabytes.
    pub(crate) memory: u32,
    /// It is killed when it takes longer.
    pub(crate) patience: Duration,
}

impl Machine<'_> {
    /// Boots, lets the first process do `task`, and returns what it answers; `line` is given what it prints meanwhile.
    pub(crate) fn run(&self, task: &[&str], mut line: impl FnMut(&str)) -> Result<String> {
        let mut archive = NamedTempFile::new()?;
        archive.write_all(&self.archive.bytes())?;
        let answer = NamedTempFile::new()?;
        let mut command = self.command(task);
        command.arg("-initrd").arg(archive.path());
        command.arg("-serial").arg(format!("file:{}", answer.path().display()));
        let mut child = command.spawn().context("qemu-system-x86_64 did not start")?;
        let console = child.stdout.take().context("qemu has no output")?;
        let finished = follow(&lines(console), self.patience, &mut line);
        // Its console was closed, so it is ending by itself, or it is not and has to.
        let _ = child.kill();
        child.wait()?;
        finished.with_context(|| format!("Linux {}", self.kernel.release))?;
        let answer = std::fs::read_to_string(answer.path())?;
        guest::understand(&answer).with_context(|| format!("Linux {}", self.kernel.release))
    }

    fn command(&self, task: &[&str]) -> Command {
        let program = toolchain::find_program("qemu-system-x86_64");
        // Whoever ends us ends the guest.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program.unwrap_or_else(|| "qemu-system-x86_64".into()))
            .args(["-accel", "tcg", "-no-user-config", "-nodefaults", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio", "-m", &self.memory.to_string()])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-append")
            .arg(format!("{KERNEL} -- guest {}", task.join(" ")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        match self.counting {
            Counting::Off => command.args(["-cpu", "max"]),
            // Where the kernel copies and clears bytes by one instruction (ERMS), each byte would count as one.
            Counting::Instructions => {
                command.args(["-cpu", "max,-erms,-fsrm", "-icount", "shift=0,sleep=off"])
            }
        };
        command
    }
}

/// The lines that come, read on a thread of their own so that waiting for them can end.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

#[expect(clippy::disallowed_methods, reason = "a guest that hangs is given up after a time")]
fn follow(lines: &Receiver<String>, patience: Duration, line: &mut impl FnMut(&str)) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(printed) => line(&printed),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the guest has not finished within {} s and was stopped", patience.as_secs())
            }
        }
    }
}
