//! Puts, renews, removes and announces virtual addresses and what goes with them, in the order in which it is told to.
//!
//! It has no timer of its own: an address lives as long as the driver keeps saying so.

use std::{collections::BTreeMap, error::Error, net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::{
    config::vrrp::{VirtualAddress, VirtualMac, VrrpInstance},
    host::{
        addresses::{Addresses, Manner, Put},
        interfaces::Interfaces,
    },
    vrrp::{announce::Announcer, devices::Devices, paths::Paths},
};

/// What the driver wants.
#[derive(Debug)]
pub(super) enum Order {
    /// The devices of these virtual MAC addresses, and no others.
    Devices(Vec<VirtualMac>),
    /// The device of the instance is switched on; its addresses, and no others of it, for one more lifetime; then its routes
    /// and rules.
    Hold(Arc<VrrpInstance>),
    /// None of its routes and rules, then none of its addresses; its device is switched off.
    Release(Arc<VrrpInstance>),
    /// The neighbours are told.
    Announce(Arc<VrrpInstance>),
}

/// How long a virtual address outlives the last sign of life: whole seconds, the kernel knows no less.
pub(super) fn lifetime(advert_interval: Duration) -> Duration {
    Duration::from_secs((advert_interval * 2).as_secs().max(2))
}

/// Where an address was put, and whose it is.
#[derive(Clone, Copy, Debug)]
struct Place {
    index: u32,
    put: Put,
}

/// None for an address that could not be put, which was said.
type Held = BTreeMap<VirtualAddress, Option<Place>>;

/// Works until there are no more orders.
pub(super) async fn keep(
    (addresses, mut paths, mut devices): (Addresses, Paths, Devices),
    announcer: Announcer,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut held = BTreeMap::<String, Held>::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Devices(wanted) => devices.follow(wanted).await,
            Order::Hold(instance) => {
                let Some(mut interfaces) = interfaces() else { continue };
                if let Some(device) = &instance.virtual_mac
                    && devices.raise(device, &interfaces).await
                {
                    interfaces = self::interfaces().unwrap_or(interfaces);
                }
                let held = held.entry(instance.name.clone()).or_default();
                hold(&addresses, &interfaces, &instance, held).await;
                paths.hold(&interfaces, &instance).await;
            }
            Order::Release(instance) => {
                paths.release(&instance.name).await;
                for (address, place) in held.remove(&instance.name).unwrap_or_default() {
                    remove(&addresses, &address, place).await;
                }
                if let Some(device) = &instance.virtual_mac {
                    devices.lower(device).await;
                }
            }
            Order::Announce(instance) => {
                if let Some(interfaces) = interfaces() {
                    announce(&announcer, &interfaces, &instance);
                }
            }
        }
    }
    devices.end().await;
}

fn interfaces() -> Option<Interfaces> {
    Interfaces::read().inspect_err(|error| tracing::error!(%error, "cannot read the interfaces")).ok()
}

async fn hold(addresses: &Addresses, interfaces: &Interfaces, instance: &VrrpInstance, held: &mut Held) {
    let unwanted: Vec<_> =
        held.extract_if(.., |address, _| !instance.virtual_ipaddress.contains(address)).collect();
    for (address, place) in unwanted {
        remove(addresses, &address, place).await;
    }
    let lifetime = lifetime(instance.advert_interval);
    let puts = instance.virtual_ipaddress.iter().map(|wanted| {
        let before = held.get(wanted).copied().flatten();
        put(addresses, interfaces, (wanted, instance), lifetime, before)
    });
    // All at once: on a busy machine every round trip waits for its turn.
    let puts = join_all(puts).await;
    for (wanted, put) in instance.virtual_ipaddress.iter().zip(puts) {
        let before = held.get(wanted).copied();
        let place = match put {
            Ok(place) => Some(place),
            Err(reason) => {
                if !matches!(before, Some(None)) {
                    tracing::error!(instance = instance.name, reason, "virtual address is missing");
                }
                None
            }
        };
        held.insert(wanted.clone(), place);
    }
}

async fn put(
    addresses: &Addresses,
    interfaces: &Interfaces,
    (wanted, instance): (&VirtualAddress, &VrrpInstance),
    lifetime: Duration,
    before: Option<Place>,
) -> Result<Place, String> {
    let interface =
        interfaces.get(&wanted.device).ok_or_else(|| format!("no interface {}", wanted.device))?;
    let index = interface.index;
    let renew = before.is_some_and(|place| place.index == index && place.put == Put::Ours);
    // A network that the interface is in is reached through that, not through the device on it as well.
    let below = instance.virtual_mac.as_ref().filter(|mac| mac.device == wanted.device);
    let below = below.and_then(|mac| interfaces.get(&mac.parent));
    let without_route =
        below.is_some_and(|below| below.addresses.iter().any(|own| wanted.address.contains(own)));
    let manner = Manner { renew, without_route };
    let put = addresses.put(index, wanted.address, wanted.scope, lifetime, manner).await;
    put.map(|put| Place { index, put }).map_err(|error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

async fn remove(addresses: &Addresses, address: &VirtualAddress, place: Option<Place>) {
    let Some(place) = place.filter(|place| place.put == Put::Ours) else { return };
    if let Err(error) = addresses.remove(place.index, address.address).await {
        tracing::error!(error = &error as &dyn Error, "virtual address is left");
    }
}

/// All addresses once, then all again: no address waits for the repeats of another.
fn announce(announcer: &Announcer, interfaces: &Interfaces, instance: &VrrpInstance) {
    let mut failed = None;
    for _ in 0..instance.announce.repeat {
        for each in &instance.virtual_ipaddress {
            let address: IpAddr = each.address.addr();
            let Some(link) = interfaces.get(&each.device).and_then(|interface| interface.link) else {
                continue;
            };
            failed = announcer.announce(address, &link).err().or(failed);
        }
    }
    if let Some(error) = failed {
        tracing::warn!(instance = instance.name, %error, "not all announcements were sent");
    }
}
