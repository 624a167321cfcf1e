//! `[[vrrp_script]]` and `[[vrrp_sync_group]]`, and VRRP as a whole.

use std::{path::Path, time::Duration};

use toml::Spanned;

use super::{check_kind::command, vrrp_instance, vrrp_rules};
use crate::config::{
    Host,
    diagnostic::{Diagnostic, Span},
    file::Section,
    value::{duration, name, number},
    vrrp::{Script, SyncGroup, Vrrp},
    vrrp_value::weight,
};

const SECOND: Duration = Duration::from_secs(1);

/// Everything about VRRP as far as it could be read, and the places that rules point at.
pub(super) struct Draft {
    pub(super) instances: Vec<vrrp_instance::Draft>,
    pub(super) groups: Vec<GroupDraft>,
    pub(super) scripts: Vec<ScriptDraft>,
    startup_delay: Duration,
}

pub(super) struct ScriptDraft {
    pub(super) name: Spanned<String>,
    /// Where an instance gives none.
    pub(super) weight: i16,
    model: Script,
}

pub(super) struct GroupDraft {
    pub(super) name: Spanned<String>,
    pub(super) group: Vec<Spanned<String>>,
}

/// `startup_delay` is a key of `[global]`.
pub(super) fn read(root: &mut Section<'_>, host: &Host, startup_delay: Duration) -> Draft {
    let instances = root.sections("vrrp_instance", |section| vrrp_instance::read(section, host));
    let groups = root.sections("vrrp_sync_group", read_group);
    let scripts = root.sections("vrrp_script", |section| read_script(section, host));
    Draft {
        instances: instances.unwrap_or_default(),
        groups: groups.unwrap_or_default().into_iter().flatten().collect(),
        scripts: scripts.unwrap_or_default().into_iter().flatten().collect(),
        startup_delay,
    }
}

fn read_group(section: &mut Section<'_>) -> Option<GroupDraft> {
    let written = section.required("name", name);
    let items = section.require("group").map(|node| node.some_items("name its instances"));
    let group = items.into_iter().flatten().filter_map(|item| item.convert(name)).collect();
    Some(GroupDraft { name: written?, group })
}

fn read_script(section: &mut Section<'_>, host: &Host) -> Option<ScriptDraft> {
    let written = section.required("name", name);
    let run = section.required("command", command);
    if let Some(run) = &run {
        warn_of_missing(section, run.get_ref(), run.span(), host);
    }
    let interval = section.value_or("interval", SECOND, duration);
    let timeout = section.value_or("timeout", SECOND, duration);
    let rise = section.value_or("rise", 1, number(1, 1000));
    let fall = section.value_or("fall", 1, number(1, 1000));
    let weight = section.value_or("weight", 0, weight);
    let (name, command) = (written?, run?.into_inner());
    let model = Script { name: name.get_ref().clone(), command, interval, timeout, rise, fall };
    Some(ScriptDraft { name, weight, model })
}

/// The file may be meant for another machine, or the program come later: never an error.
pub(super) fn warn_of_missing(section: &Section<'_>, command: &[String], at: Span, host: &Host) {
    let Some(program) = command.first().filter(|program| !(host.runs)(Path::new(program))) else { return };
    let message = format!("there is no program {program} on this machine");
    let missing = Diagnostic::warning("missing-script", at, message);
    section.push(missing.help("as long as it is missing, running it fails"));
}

impl Draft {
    pub(super) fn into_model(self) -> Option<Vrrp> {
        let weight_of = vrrp_rules::script_weights(&self.scripts);
        Some(Vrrp {
            sync_groups: self
                .groups
                .into_iter()
                .map(|draft| SyncGroup {
                    name: draft.name.into_inner(),
                    group: draft.group.into_iter().map(Spanned::into_inner).collect(),
                })
                .collect(),
            instances: self
                .instances
                .into_iter()
                .map(|draft| draft.into_model(&weight_of))
                .collect::<Option<_>>()?,
            scripts: self.scripts.into_iter().map(|draft| draft.model).collect(),
            startup_delay: self.startup_delay,
        })
    }
}
