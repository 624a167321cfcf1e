//! Takes everything away: the programs first, then the maps, then the sysctls.

use std::path::Path;

use anyhow::Context as _;

use crate::{
    config::{self, Host},
    control::{Action, Change, Changes},
    dataplane::pins::{self, PinError, Pins},
    host::sysctl::Sysctls,
};

/// Takes away what a daemon with this configuration file has left behind.
///
/// # Errors
///
/// The file has errors, a daemon is running, or something cannot be removed.
pub fn unload(config: &Path) -> anyhow::Result<Changes> {
    let (config, _) = config::load(config, &Host::this())?;
    let global = &config.global;
    let changes = if pins::is_pinned(&global.pin_dir) {
        remove(Pins::open(&global.pin_dir)?, &global.state_dir)
            .with_context(|| format!("cannot unload {}", global.pin_dir.display()))?
    } else {
        Vec::new()
    };
    Ok(Changes { generation: 0, changes })
}

/// Removes what is pinned and puts the sysctls back.
pub(super) fn remove(pins: Pins, state_dir: &Path) -> Result<Vec<Change>, PinError> {
    let interfaces = pins.links()?;
    pins.remove_all()?;
    let report = Sysctls::new(state_dir).restore();
    for error in report.errors {
        tracing::error!("{:#}", anyhow::Error::new(error));
    }
    let removed = |object: String| Change { action: Action::Remove, object, detail: String::new() };
    let mut changes: Vec<Change> =
        interfaces.into_iter().map(|index| removed(format!("program on {}", name(index)))).collect();
    changes.push(removed("connection tables".to_owned()));
    changes.extend(report.changes.into_iter().map(|change| Change {
        action: Action::Change,
        object: change.name.to_string(),
        detail: format!("{} -> {}", change.from, change.to),
    }));
    Ok(changes)
}

/// An interface as people know it; by its number when it is gone.
fn name(index: u32) -> String {
    let name = nix::net::if_::if_indextoname(index).ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| format!("interface {index}"))
}
