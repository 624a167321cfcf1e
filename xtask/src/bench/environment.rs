//! Where a measurement was made.

use std::fmt;

use anyhow::{Context, Result};
use serde::Serialize;

/// What a reader has to know about the machine.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// What the processor calls itself.
    pub(crate) processor: String,
    /// How many processors there are.
    pub(crate) processors: usize,
    /// Whether they are virtual.
    pub(crate) virtual_machine: bool,
}

impl Environment {
    /// Of this machine.
    pub(crate) fn look() -> Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let processors = read("/proc/cpuinfo")?;
        let value = |line: &str| Some(line.split_once(':')?.1.trim().to_owned());
        let named = |name: &str| processors.lines().find(|line| line.starts_with(name)).and_then(value);
        let flags = named("flags").unwrap_or_default();
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            processor: named("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            processors: processors.lines().filter(|line| line.starts_with("processor")).count(),
            virtual_machine: flags.split(' ').any(|flag| flag == "hypervisor"),
        })
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.virtual_machine { "virtual processors" } else { "processors" };
        write!(f, "Linux {}, {} {kind}, {}", self.kernel, self.processors, self.processor)
    }
}
