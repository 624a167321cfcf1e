//! What instances of VRRP track: `[[vrrp_script]]`, `[[vrrp_process]]`, `[[vrrp_file]]`, and the keys `track_...`.

use std::{path::Path, time::Duration};

use toml::{Spanned, de::DeValue};

use super::check_kind::command;
use crate::config::{
    Host,
    diagnostic::{Diagnostic, Span},
    file::{Node, Section},
    value::{Wrong, duration, duration_or_zero, interface, name, number, path},
    vrrp::{File, Kind, Process, Script, Tracked},
    vrrp_value::{process, weight},
};

const SECOND: Duration = Duration::from_secs(1);

type Name = fn(&DeValue<'_>) -> Result<String, Wrong>;

const KEYS: [(&str, Kind, Name); 5] = [
    ("track_interface", Kind::Interface, interface),
    ("track_script", Kind::Script, name),
    ("track_virtual_server", Kind::VirtualServer, name),
    ("track_process", Kind::Process, name),
    ("track_file", Kind::File, name),
];

/// Something with a section of its own, and the weight it has where an instance gives none.
pub(super) struct Declared<M> {
    pub(super) name: Spanned<String>,
    pub(super) model: M,
    weight: i16,
}

/// Everything that has a section.
#[derive(Default)]
pub(super) struct Declarations {
    pub(super) scripts: Vec<Declared<Script>>,
    pub(super) processes: Vec<Declared<Process>>,
    pub(super) files: Vec<Declared<File>>,
}

/// Something that is tracked, by its name.
#[derive(Clone)]
pub(super) struct Reference {
    pub(super) kind: Kind,
    pub(super) name: Spanned<String>,
    weight: Option<i16>,
}

impl Declarations {
    pub(super) fn read(root: &mut Section<'_>, host: &Host) -> Self {
        let scripts = root.sections("vrrp_script", |section| read_script(section, host));
        let processes = root.sections("vrrp_process", read_process);
        let files = root.sections("vrrp_file", |section| read_file(section, host));
        Self {
            scripts: scripts.unwrap_or_default().into_iter().flatten().collect(),
            processes: processes.unwrap_or_default().into_iter().flatten().collect(),
            files: files.unwrap_or_default().into_iter().flatten().collect(),
        }
    }

    /// Names of a kind that has a section, and their weights.
    pub(super) fn of(&self, kind: Kind) -> Vec<(&Spanned<String>, i16)> {
        fn names<M>(all: &[Declared<M>]) -> Vec<(&Spanned<String>, i16)> {
            all.iter().map(|each| (&each.name, each.weight)).collect()
        }
        match kind {
            Kind::Script => names(&self.scripts),
            Kind::Process => names(&self.processes),
            Kind::File => names(&self.files),
            Kind::Interface | Kind::VirtualServer => Vec::new(),
        }
    }

    pub(super) fn tracked(&self, reference: Reference) -> Tracked {
        let Reference { kind, name, weight } = reference;
        let declared = || self.of(kind).into_iter().find(|(each, _)| each.get_ref() == name.get_ref());
        let weight = weight.or_else(|| declared().map(|(_, weight)| weight)).unwrap_or(0);
        Tracked { kind, name: name.into_inner(), weight }
    }
}

/// All `track_...` keys: `"NAME"`, or `{ name = "NAME", weight = -20 }`, or a list of them.
pub(super) fn references(section: &mut Section<'_>) -> Vec<Reference> {
    let mut all = Vec::new();
    for (key, kind, name) in KEYS {
        let Some(node) = section.node(key) else { continue };
        let items = node.some_items("write at least one, or leave the key out");
        all.extend(items.iter().filter_map(|item| reference(item, kind, name)));
    }
    all
}

fn reference(item: &Node<'_>, kind: Kind, name: Name) -> Option<Reference> {
    if !item.is_table() {
        return item.convert(name).map(|name| Reference { kind, name, weight: None });
    }
    item.section(|table| {
        let name = table.required("name", name);
        let weight = table.value("weight", weight).map(Spanned::into_inner);
        name.map(|name| Reference { kind, name, weight })
    })?
}

fn read_script(section: &mut Section<'_>, host: &Host) -> Option<Declared<Script>> {
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
    Some(Declared { name, weight, model })
}

fn read_process(section: &mut Section<'_>) -> Option<Declared<Process>> {
    let written = section.required("name", name);
    let process = section.required("process", process);
    let quorum = section.value_or("quorum", 1, number(1, 1_000_000));
    let delay = section.value_or("delay", Duration::ZERO, duration_or_zero);
    let weight = section.value_or("weight", 0, weight);
    let (name, process) = (written?, process?.into_inner());
    let model = Process { name: name.get_ref().clone(), process, quorum, delay };
    Some(Declared { name, weight, model })
}

fn read_file(section: &mut Section<'_>, host: &Host) -> Option<Declared<File>> {
    let written = section.required("name", name);
    let file = section.required("file", path);
    if let Some(file) = &file
        && let Err(error) = (host.read)(file.get_ref())
    {
        let message = format!("cannot read {}", file.get_ref().display());
        let missing = Diagnostic::warning("missing-file", file.span(), message);
        let why = crate::config::plain(&error);
        section
            .push(missing.help(format!("{why}: as long as it cannot be read, what tracks it is in fault")));
    }
    let weight = section.value_or("weight", 1, weight);
    let (name, file) = (written?, file?.into_inner());
    let model = File { name: name.get_ref().clone(), file };
    Some(Declared { name, weight, model })
}

/// The file may be meant for another machine, or the program come later: never an error.
pub(super) fn warn_of_missing(section: &Section<'_>, command: &[String], at: Span, host: &Host) {
    let Some(program) = command.first().filter(|program| !(host.runs)(Path::new(program))) else { return };
    let message = format!("there is no program {program} on this machine");
    let missing = Diagnostic::warning("missing-script", at, message);
    section.push(missing.help("as long as it is missing, running it fails"));
}
