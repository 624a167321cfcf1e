//! The sysctls that forwarding needs: which and with which value; set, remembered, put back.

mod original;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use original::Originals;

use crate::config::model::Config;

/// A sysctl by its path below /proc/sys: names of interfaces may have dots in them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Name(String);

/// As sysctl(8) writes it: `net.ipv4.conf.eth0/100.send_redirects`.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let swap = |char| match char {
            '/' => '.',
            '.' => '/',
            other => other,
        };
        f.write_str(&self.0.chars().map(swap).collect::<String>())
    }
}

/// A sysctl and the value that it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Which.
    pub name: Name,
    /// The value, as it is read and written.
    pub value: &'static str,
}

/// A sysctl that has another value than it should, or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub name: Name,
    /// The value it had.
    pub from: String,
    /// The value it should have, or has now.
    pub to: String,
}

/// What came of looking at sysctls, or of setting them. The rest was done where one failed.
#[derive(Debug, Default)]
pub struct Report {
    /// What differs, or what was changed.
    pub changes: Vec<Change>,
    /// What failed.
    pub errors: Vec<SysctlError>,
    /// What the operator may want to know, a line each.
    pub notes: Vec<String>,
}

/// Why a sysctl was not read or set.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// It cannot be read.
    #[error("cannot read {name} ({path})")]
    Read {
        /// Which.
        name: Name,
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot set {name} to {value} ({path})")]
    Write {
        /// Which.
        name: Name,
        /// To what.
        value: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was found cannot be remembered or is not known any more; nothing is set that could not be put back.
    #[error("cannot use {path}, which keeps the sysctls' original values")]
    Originals {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Whose sysctls matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Interfaces that balanced packets use.
    pub interfaces: Vec<String>,
    /// Interfaces with the device of a virtual MAC address on them.
    pub beneath: Vec<String>,
}

impl Needs {
    /// Of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut beneath: Vec<String> = config.vrrp.virtual_macs().map(|mac| mac.parent.clone()).collect();
        beneath.sort();
        beneath.dedup();
        Self { interfaces: config.global.interfaces.clone(), beneath }
    }
}

/// What balancing on these interfaces needs.
#[must_use]
pub fn wanted(Needs { interfaces, beneath }: &Needs) -> Vec<Setting> {
    let setting = |path: &str, value| Setting { name: Name(path.to_owned()), value };
    // Before forwarding, which would send them: clients and real servers on one network must not be told to go around us. The
    // kernel sends them when either of the two is on.
    let redirects = std::iter::once("all")
        .chain(interfaces.iter().map(String::as_str))
        .map(|interface| setting(&format!("net/ipv4/conf/{interface}/send_redirects"), "0"));
    // What the kernel has to carry on for us, to divide it or to find its neighbour first, comes from the VIP, and that may be
    // an address of this machine: the kernel would take it for forged.
    let local =
        interfaces.iter().map(|interface| setting(&format!("net/ipv4/conf/{interface}/accept_local"), "1"));
    // A virtual address is on the device with the virtual MAC address: the interface below must neither answer for it with its
    // own (arp_ignore) nor ask in its name (arp_announce), since who is asked learns the address from that.
    let silence = beneath.iter().flat_map(|interface| {
        [("arp_ignore", "1"), ("arp_announce", "2")]
            .map(|(name, value)| setting(&format!("net/ipv4/conf/{interface}/{name}"), value))
    });
    let forwarding = [
        "net/ipv4/ip_forward",
        "net/ipv4/ip_nonlocal_bind",
        "net/ipv6/conf/all/forwarding",
        "net/ipv6/ip_nonlocal_bind",
    ];
    redirects.chain(local).chain(silence).chain(forwarding.map(|path| setting(path, "1"))).collect()
}

/// What has to change for `wanted`; what was not found is left out.
#[must_use]
pub fn difference(wanted: &[Setting], found: &BTreeMap<Name, String>) -> Vec<Change> {
    let change = |setting: &Setting| {
        let from = found.get(&setting.name).filter(|found| *found != setting.value)?;
        Some(Change { name: setting.name.clone(), from: from.clone(), to: setting.value.to_owned() })
    };
    wanted.iter().filter_map(change).collect()
}

/// The sysctls of this network namespace, and the file that remembers their values from before.
#[derive(Clone, Debug)]
pub struct Sysctls {
    root: PathBuf,
    originals: PathBuf,
}

impl Sysctls {
    /// Those of this host; values are remembered in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { root: "/proc/sys".into(), originals: state_dir.join("sysctl.json") }
    }

    /// Looks what differs from what these interfaces need.
    #[must_use]
    pub fn check(&self, needs: &Needs) -> Report {
        let mut report = Report::default();
        let wanted = wanted(needs);
        let mut found = BTreeMap::new();
        for Setting { name, .. } in &wanted {
            match self.read(name) {
                Ok(value) => _ = found.insert(name.clone(), value),
                Err(error) if error.kind() == io::ErrorKind::NotFound && name.0.starts_with("net/ipv6/") => {
                    report.notes.push(format!("{name} was left out: this kernel runs without IPv6"));
                }
                Err(source) => {
                    report.errors.push(SysctlError::Read {
                        name: name.clone(),
                        path: self.path(name),
                        source,
                    });
                }
            }
        }
        report.changes = difference(&wanted, &found);
        report.notes.extend(needs.interfaces.iter().filter_map(|interface| self.deafness(interface)));
        report.notes.extend((!needs.beneath.is_empty()).then(|| self.strictness()).flatten());
        report
    }

    /// Sets what differs from what these interfaces need, remembering what was there.
    #[must_use]
    pub fn apply(&self, needs: &Needs) -> Report {
        let mut report = self.check(needs);
        let changes = std::mem::take(&mut report.changes);
        if changes.is_empty() {
            return report;
        }
        // Before the first change: what was found is still known after a crash between the two.
        if let Err(source) = self.remember(&changes) {
            report.errors.push(SysctlError::Originals { path: self.originals.clone(), source });
            return report;
        }
        self.write_all(changes, &mut report);
        report
    }

    /// Puts back what [`Self::apply`] found, except where somebody set another value since.
    #[must_use]
    pub fn restore(&self) -> Report {
        let mut report = Report::default();
        let changes = self.load().map(|originals| originals.into_changes(|name| self.read(name).ok()));
        match changes {
            Ok(changes) => self.write_all(changes, &mut report),
            Err(source) => {
                report.errors.push(SysctlError::Originals { path: self.originals.clone(), source });
            }
        }
        if report.errors.is_empty()
            && let Err(source) = original::forget(&self.originals)
        {
            report.errors.push(SysctlError::Originals { path: self.originals.clone(), source });
        }
        report
    }

    fn write_all(&self, changes: Vec<Change>, report: &mut Report) {
        for change in changes {
            let path = self.path(&change.name);
            match fs::write(&path, &change.to) {
                Ok(()) => report.changes.push(change),
                Err(source) => {
                    let Change { name, to: value, .. } = change;
                    report.errors.push(SysctlError::Write { name, value, path, source });
                }
            }
        }
    }

    fn remember(&self, changes: &[Change]) -> io::Result<()> {
        let mut originals = self.load()?;
        originals.remember(changes);
        originals.store(&self.originals)
    }

    fn load(&self) -> io::Result<Originals> {
        let boot = fs::read_to_string(self.root.join("kernel/random/boot_id"))?;
        Originals::load(&self.originals, boot.trim())
    }

    fn deafness(&self, interface: &str) -> Option<String> {
        let name = Name(format!("net/ipv6/conf/{interface}/accept_ra"));
        let accepts = self.read(&name).is_ok_and(|value| value == "1");
        accepts.then(|| {
            format!(
                "{interface} ignores router advertisements while this host forwards IPv6, and loses a default route \
                 learned from them: set {name} to 2 if it needs them"
            )
        })
    }

    /// The value of all interfaces goes before that of the devices of virtual MAC addresses (ip-sysctl.rst).
    fn strictness(&self) -> Option<String> {
        let name = Name("net/ipv4/conf/all/rp_filter".to_owned());
        let strict = self.read(&name).is_ok_and(|value| value == "1");
        strict.then(|| {
            format!(
                "{name} is 1: the kernel drops what arrives for a virtual MAC address and is not forwarded by xlb, where the \
                 route back leads through the interface below: set it to 0 or 2"
            )
        })
    }

    fn read(&self, name: &Name) -> io::Result<String> {
        fs::read_to_string(self.path(name)).map(|text| text.trim().to_owned())
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.root.join(&name.0)
    }
}

#[cfg(test)]
mod tests;
