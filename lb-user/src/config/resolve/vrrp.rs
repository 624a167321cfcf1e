//! `[[vrrp_sync_group]]`, and VRRP as a whole.

use std::time::Duration;

use toml::Spanned;

use super::{
    vrrp_instance,
    vrrp_track::{Declarations, Reference, references},
};
use crate::config::{
    Host,
    file::Section,
    value::name,
    vrrp::{Notify, SyncGroup, Vrrp, VrrpInstance},
};

/// Everything about VRRP as far as it could be read, and the places that rules point at.
pub(super) struct Draft {
    pub(super) instances: Vec<vrrp_instance::Draft>,
    pub(super) groups: Vec<GroupDraft>,
    pub(super) declared: Declarations,
    startup_delay: Duration,
}

pub(super) struct GroupDraft {
    pub(super) name: Spanned<String>,
    pub(super) group: Vec<Spanned<String>>,
    pub(super) trackers: Vec<Reference>,
    notify: Notify,
}

/// `startup_delay` is a key of `[global]`.
pub(super) fn read(root: &mut Section<'_>, host: &Host, startup_delay: Duration) -> Draft {
    let instances = root.sections("vrrp_instance", |section| vrrp_instance::read(section, host));
    let groups = root.sections("vrrp_sync_group", |section| read_group(section, host));
    Draft {
        instances: instances.unwrap_or_default(),
        groups: groups.unwrap_or_default().into_iter().flatten().collect(),
        declared: Declarations::read(root, host),
        startup_delay,
    }
}

fn read_group(section: &mut Section<'_>, host: &Host) -> Option<GroupDraft> {
    let written = section.required("name", name);
    let items = section.require("group").map(|node| node.some_items("name its instances"));
    let group = items.into_iter().flatten().filter_map(|item| item.convert(name)).collect();
    let trackers = references(section);
    let notify = vrrp_instance::notify(section, host);
    Some(GroupDraft { name: written?, group, trackers, notify })
}

impl Draft {
    pub(super) fn into_model(self) -> Option<Vrrp> {
        let Self { instances, groups, declared, startup_delay } = self;
        let mut instances: Vec<VrrpInstance> =
            instances.into_iter().map(|draft| draft.into_model(&declared)).collect::<Option<_>>()?;
        let mut sync_groups = Vec::new();
        for GroupDraft { name, group, trackers, notify } in groups {
            let group: Vec<_> = group.into_iter().map(Spanned::into_inner).collect();
            // Its members move as a whole: what one tracks, all do.
            for member in instances.iter_mut().filter(|each| group.contains(&each.name)) {
                member.trackers.extend(trackers.iter().cloned().map(|each| declared.tracked(each)));
            }
            sync_groups.push(SyncGroup { name: name.into_inner(), group, notify });
        }
        Some(Vrrp {
            instances,
            sync_groups,
            scripts: declared.scripts.into_iter().map(|each| each.model).collect(),
            processes: declared.processes.into_iter().map(|each| each.model).collect(),
            files: declared.files.into_iter().map(|each| each.model).collect(),
            startup_delay,
        })
    }
}
