//! `use_vmac` of `[[vrrp_instance]]`.

use toml::{Spanned, de::DeValue};

use super::{rules::unique, vrrp_instance::Draft};
use crate::config::{
    diagnostic::Diagnostic,
    file::{Mistakes, Section},
    value::{Wrong, interface},
    vrrp_mac::VirtualMac,
};

/// Whether there is a virtual MAC address, and the name of its device if it was written.
pub(super) type Written = Option<Spanned<Option<String>>>;

pub(super) fn read(section: &mut Section<'_>) -> Written {
    let written = section.value("use_vmac", |value| match value {
        DeValue::Boolean(wanted) => Ok(wanted.then_some(None)),
        DeValue::String(_) => interface(value).map(|name| Some(Some(name))),
        _ => Err(Wrong::kind("true, false or the name of the device", value)),
    })?;
    let span = written.span();
    written.into_inner().map(|name| Spanned::new(span, name))
}

/// The device of an instance; none without a virtual MAC address, or where it cannot be known.
pub(super) fn device(draft: &Draft) -> Option<Spanned<String>> {
    let written = draft.virtual_mac.as_ref()?;
    let name = written.get_ref().clone();
    let default = || {
        let id = *draft.virtual_router_id.as_ref()?.get_ref();
        Some(VirtualMac::default_device(id, draft.is_ipv6()?))
    };
    Some(Spanned::new(written.span(), name.or_else(default)?))
}

/// What the instance has in the model.
pub(super) fn model(draft: &Draft) -> Option<VirtualMac> {
    let device = device(draft)?.into_inner();
    let family = draft.is_ipv6()?;
    let mut written = draft.addresses.iter().map(Spanned::get_ref);
    let ipv6 = written.any(|each| {
        each.address.addr().is_ipv6() && each.device.as_ref().is_none_or(|other| *other == device)
    });
    Some(VirtualMac {
        device,
        parent: draft.interface.as_ref()?.get_ref().clone(),
        address: VirtualMac::address(*draft.virtual_router_id.as_ref()?.get_ref(), family),
        ipv6,
    })
}

/// No two devices have one name, and none that of another interface.
pub(super) fn check(instances: &[Draft], interfaces: &[String], mistakes: &Mistakes) {
    let devices: Vec<_> = instances.iter().filter_map(device).collect();
    unique(devices.iter().map(|device| (device.get_ref(), device.span())), |name, span, first| {
        let message = format!("two virtual MAC addresses are to be on a device called `{name}`");
        let twice = Diagnostic::error("duplicate-vmac-device", span, message);
        mistakes.push(twice.place(first, "here").help("give one of them another name: use_vmac = \"NAME\""));
    });
    let under = instances.iter().filter_map(|each| each.interface.as_ref()).map(Spanned::get_ref);
    let taken: Vec<&String> = interfaces.iter().chain(under).collect();
    for device in devices.iter().filter(|device| taken.contains(&device.get_ref())) {
        let name = device.get_ref();
        let message = format!("`{name}` is another interface, not a device for a virtual MAC address");
        let wrong = Diagnostic::error("bad-vmac-device", device.span(), message);
        mistakes.push(wrong.help("the device is made by xlb: write a name that nobody has, or `true`"));
    }
    for instance in instances {
        if let (Some(written), false) = (&instance.virtual_mac, instance.unicast_peers.is_empty())
            && instance.announce.refresh.is_zero()
        {
            let message = "unicast advertisements bear the interface's own MAC address, and switches forget the virtual one";
            let quiet = Diagnostic::warning("vmac-without-refresh", written.span(), message);
            mistakes
                .push(quiet.help("write `announce = { refresh = \"60s\" }`: shorter than switches remember"));
        }
    }
}
