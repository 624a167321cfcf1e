//! What measurements ask of their hosts.

use anyhow::{Context, Result};
use lb_tests::Namespace;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

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

/// Keeps the calling thread on the last processor, which has the fewest interrupts, and returns its number.
pub(crate) fn stay_on_one_processor() -> Result<usize> {
    let last = std::thread::available_parallelism()?.get() - 1;
    let mut set = CpuSet::new();
    set.set(last)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(last)
}
