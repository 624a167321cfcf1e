//! Keeps the devices of virtual MAC addresses: there for as long as they are configured, switched on while their instance is
//! master and not before. A device that is off neither takes frames nor sends any, so no switch learns its address here.

use std::{collections::BTreeMap, error::Error as _};

use crate::{
    config::vrrp::{VirtualMac, Vrrp},
    host::{
        interfaces::Interfaces,
        macvlans::{Error, Macvlans, Made},
    },
};

/// Those that are wanted, and whether the last try to have one failed, which was said.
#[derive(Debug)]
pub(super) struct Devices {
    macvlans: Macvlans,
    wanted: BTreeMap<VirtualMac, bool>,
}

impl Devices {
    pub(super) fn new(macvlans: Macvlans) -> Self {
        Self { macvlans, wanted: BTreeMap::new() }
    }

    /// Exactly these are there.
    pub(super) async fn follow(&mut self, wanted: Vec<VirtualMac>) {
        let before = std::mem::take(&mut self.wanted);
        let is_kept = |device: &VirtualMac| wanted.iter().any(|wanted| wanted.is_device_of(device));
        for device in before.keys().filter(|device| !is_kept(device)) {
            self.remove(device).await;
        }
        for device in wanted {
            let is_new = !before.keys().any(|old| old.is_device_of(&device));
            if let Some(failed) = before.get(&device) {
                self.wanted.insert(device.clone(), *failed);
            }
            let made = match self.macvlans.make(&device).await {
                // Left by a run that was killed as master.
                Ok(Made::Adopted) if is_new => self.macvlans.switch(&device, false).await,
                other => other.map(drop),
            };
            self.note(device, made);
        }
    }

    /// The device of a master is there and switched on; says whether it was not.
    pub(super) async fn raise(&mut self, device: &VirtualMac, interfaces: &Interfaces) -> bool {
        let is_as_wanted = interfaces.get(&device.device).is_some_and(|interface| {
            interface.up && interface.link.and_then(|link| link.addr()) == Some(device.address)
        });
        if is_as_wanted {
            return false;
        }
        let made = self.macvlans.make(device).await;
        let raised = match made {
            Ok(_) => self.macvlans.switch(device, true).await,
            Err(error) => Err(error),
        };
        self.note(device.clone(), raised);
        true
    }

    /// Who is not master has no use for it.
    pub(super) async fn lower(&mut self, device: &VirtualMac) {
        let lowered = self.macvlans.switch(device, false).await;
        self.note(device.clone(), lowered);
    }

    /// None is left.
    pub(super) async fn end(&mut self) {
        for device in std::mem::take(&mut self.wanted).into_keys() {
            self.remove(&device).await;
        }
    }

    async fn remove(&self, device: &VirtualMac) {
        if let Err(error) = self.macvlans.remove(device).await {
            say(&error);
        }
    }

    /// What fails again and again is said once.
    fn note(&mut self, device: VirtualMac, result: Result<(), Error>) {
        let failed = self.wanted.entry(device).or_default();
        *failed = match result {
            Ok(()) => false,
            Err(error) => {
                if !*failed {
                    say(&error);
                }
                true
            }
        };
    }
}

fn say(error: &Error) {
    match error.source() {
        Some(source) => tracing::error!("{error}: {source}"),
        None => tracing::error!("{error}"),
    }
}

/// The devices of a configuration as far as their interfaces are there, made before anything depends on them; those that were
/// not there before are returned. Names that the configuration in force, `running`, has are left to whoever follows it.
///
/// # Errors
/// The first that cannot be had; what was made is removed again.
pub async fn prepare(vrrp: &Vrrp, running: &Vrrp) -> Result<Vec<VirtualMac>, Error> {
    let mut new = Vec::new();
    let is_taken = |wanted: &VirtualMac| running.virtual_macs().any(|other| other.device == wanted.device);
    let wanted: Vec<_> = vrrp.virtual_macs().filter(|wanted| !is_taken(wanted)).collect();
    if wanted.is_empty() {
        return Ok(new);
    }
    let macvlans = Macvlans::open()?;
    for wanted in wanted {
        match macvlans.make(wanted).await {
            Ok(Made::New) => new.push(wanted.clone()),
            Ok(Made::Adopted) => tracing::info!("took over {}, the device of {wanted}", wanted.device),
            Ok(Made::WithoutParent) => {}
            Err(error) => {
                remove(&new).await;
                return Err(error);
            }
        }
    }
    Ok(new)
}

/// Removes devices; those that were there are returned.
pub async fn remove(devices: &[VirtualMac]) -> Vec<VirtualMac> {
    let mut removed = Vec::new();
    let Some(macvlans) = (!devices.is_empty()).then(Macvlans::open).and_then(Result::ok) else {
        return removed;
    };
    for device in devices {
        match macvlans.remove(device).await {
            Ok(true) => removed.push(device.clone()),
            Ok(false) => {}
            Err(error) => say(&error),
        }
    }
    removed
}
