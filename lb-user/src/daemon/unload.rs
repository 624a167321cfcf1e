//! Takes everything away: the programs first, then the maps, then the sysctls and devices. With a daemon or without.

use std::path::Path;

use nix::net::if_::if_indextoname;

use crate::{
    config::model::Config,
    control::{Action, Change},
    dataplane::pins::{PinError, Pins},
    host::sysctl::{SysctlError, Sysctls},
    vrrp::devices,
};

/// What was taken away, and the sysctls that could not be put back.
#[derive(Debug)]
pub struct Unloaded {
    /// In the order in which it went.
    pub changes: Vec<Change>,
    /// The rest was put back.
    pub errors: Vec<SysctlError>,
}

/// Detaches and removes what is pinned, if anything is, and puts back the sysctls that `state_dir` remembers.
///
/// # Errors
///
/// [`PinError`]; what is left is found again by the next try.
pub fn unload(pins: Option<&Pins>, state_dir: &Path) -> Result<Unloaded, PinError> {
    let mut changes = Vec::new();
    if let Some(pins) = pins {
        let interfaces = pins.links()?;
        pins.remove_all()?;
        changes.extend(interfaces.into_iter().map(|index| removed(format!("program on {}", name(index)))));
        changes.push(removed("connection tables".to_owned()));
    }
    let report = Sysctls::new(state_dir).restore();
    changes.extend(report.changes.into_iter().map(|change| Change {
        action: Action::Change,
        object: change.name.to_string(),
        detail: format!("{} -> {}", change.from, change.to),
    }));
    Ok(Unloaded { changes, errors: report.errors })
}

/// Removes the devices of virtual MAC addresses that a daemon which was killed has left.
pub async fn devices(config: Option<&Config>) -> Vec<Change> {
    let wanted: Vec<_> = config.into_iter().flat_map(|config| config.vrrp.virtual_macs()).cloned().collect();
    let gone = devices::remove(&wanted).await;
    gone.into_iter().map(|mac| removed(format!("{}, the device of {mac}", mac.device))).collect()
}

/// The name of the interface with this index; one that is gone has none.
#[must_use]
pub fn name(interface: u32) -> String {
    let name = if_indextoname(interface).ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| format!("interface {interface}, which is gone"))
}

fn removed(object: String) -> Change {
    Change { action: Action::Remove, object, detail: String::new() }
}
