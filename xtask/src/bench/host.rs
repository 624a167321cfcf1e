//! What measurements ask of their hosts.

use anyhow::{Context, Result};
use lb_tests::{Namespace, Site};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Real servers that answer nothing but have neighbour entries: 10.0.0.21, 2001:db8:2::21 and so on.
pub(crate) const SILENT: u16 = 10;

/// An interface of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interface {
    /// Its index.
    pub(crate) index: u32,
    /// Its address.
    pub(crate) mac: [u8; 6],
}

impl Interface {
    /// The one of this name.
    pub(crate) fn of(host: &Namespace, name: &str) -> Result<Self> {
        let described: serde_json::Value =
            serde_json::from_str(&host.ip(&format!("-json link show {name}"))?)?;
        let index = described[0]["ifindex"].as_u64().context("an interface without index")?;
        let mut mac = [0; 6];
        let text = described[0]["address"].as_str().context("an interface without address")?;
        for (byte, digits) in mac.iter_mut().zip(text.split(':')) {
            *byte = u8::from_str_radix(digits, 16)?;
        }
        Ok(Self { index: u32::try_from(index)?, mac })
    }

    /// Its address as text.
    pub(crate) fn mac(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// Tells the balancer of a site the ways to the clients of [`super::frame`] and to silent real servers, for good.
pub(crate) fn know_everybody(site: &Site) -> Result<()> {
    let host = &site.balancer;
    for number in 0..SILENT {
        let mac = format!("02:00:00:00:02:{number:02x}");
        for network in ["10.0.0.", "2001:db8:2::"] {
            let address = format!("{network}{}", 21 + number);
            host.ip(&format!("neighbour replace {address} lladdr {mac} dev inside nud permanent"))?;
        }
    }
    let client = Interface::of(&site.client, "eth0")?.mac();
    for (network, router) in [("198.18.0.0/15", "198.51.100.2"), ("2001:db8:9::/64", "2001:db8:1::2")] {
        host.ip(&format!("neighbour replace {router} lladdr {client} dev outside nud permanent"))?;
        host.ip(&format!("route add {network} via {router}"))?;
    }
    Ok(())
}

/// Keeps the calling thread on the last processor, which has the fewest interrupts, and returns its number.
pub(crate) fn stay_on_one_processor() -> Result<usize> {
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    stay_on(last)?;
    Ok(last)
}

/// Keeps all threads of a process, and those they will start, on the last processor.
pub(crate) fn keep_on_one_processor(pid: u32) -> Result<()> {
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.file_name();
        keep_on(Pid::from_raw(task.to_str().context("a thread's number")?.parse()?), last)?;
    }
    Ok(())
}

fn stay_on(processor: usize) -> Result<()> {
    keep_on(Pid::from_raw(0), processor)
}

fn keep_on(thread: Pid, processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    Ok(sched_setaffinity(thread, &set)?)
}

/// Processor time that all threads of a process have had, in nanoseconds.
pub(crate) fn processor_time(pid: u32) -> Result<u64> {
    let tasks = format!("/proc/{pid}/task");
    let mut time = 0;
    for task in std::fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        // A thread that has just ended has had its time; what it was is lost.
        let Ok(said) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        time += said.split(' ').next().context("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(time)
}

/// The kernel's threads that handle packets when their processor has too many: with these names, `ksoftirqd/0` and so on.
pub(crate) fn packet_threads() -> Result<Vec<(String, u32)>> {
    let processes = std::fs::read_dir("/proc").context("cannot read /proc")?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let named = pids.filter_map(|pid: u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some((name.trim().to_owned(), pid))
    });
    Ok(named.filter(|(name, _)| name.starts_with("ksoftirqd/")).collect())
}
