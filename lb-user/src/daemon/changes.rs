//! The difference between two configurations in words: what `xlb reload` and `xlb diff` print.

use std::collections::BTreeMap;

use crate::{
    config::model::{Config, Fwmark, RealServer, VirtualServer},
    control::{Action, Change},
};

/// What differs.
pub(super) fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut found = Vec::new();
    if old.global != new.global {
        found.push(change(Action::Change, "global", differing(&old.global, &new.global)));
    }
    if old.vrrp.startup_delay != new.vrrp.startup_delay {
        let [old, new] = [old, new].map(|config| humantime::format_duration(config.vrrp.startup_delay));
        found.push(change(Action::Change, "global", format!("vrrp_startup_delay: {old} -> {new}")));
    }
    if old.api != new.api {
        found.push(change(Action::Change, "api", differing(&old.api, &new.api)));
    }
    marks(&old.fwmarks, &new.fwmarks, &mut found);
    compare(
        &by_name(&old.virtual_servers, |server| server.name.clone()),
        &by_name(&new.virtual_servers, |server| server.name.clone()),
        &mut found,
        virtual_server,
    );
    compare(
        &by_name(&old.vrrp.instances, |instance| format!("vrrp {}", instance.name)),
        &by_name(&new.vrrp.instances, |instance| format!("vrrp {}", instance.name)),
        &mut found,
        differs,
    );
    compare(
        &by_name(&old.vrrp.sync_groups, |group| format!("vrrp sync group {}", group.name)),
        &by_name(&new.vrrp.sync_groups, |group| format!("vrrp sync group {}", group.name)),
        &mut found,
        differs,
    );
    compare(
        &by_name(&old.vrrp.scripts, |script| format!("vrrp script {}", script.name)),
        &by_name(&new.vrrp.scripts, |script| format!("vrrp script {}", script.name)),
        &mut found,
        differs,
    );
    compare(
        &by_name(&old.vrrp.processes, |process| format!("vrrp process {}", process.name)),
        &by_name(&new.vrrp.processes, |process| format!("vrrp process {}", process.name)),
        &mut found,
        differs,
    );
    compare(
        &by_name(&old.vrrp.files, |file| format!("vrrp file {}", file.name)),
        &by_name(&new.vrrp.files, |file| format!("vrrp file {}", file.name)),
        &mut found,
        differs,
    );
    found
}

fn marks(old: &[Fwmark], new: &[Fwmark], found: &mut Vec<Change>) {
    let before = found.len();
    let object = |fwmark: &Fwmark| format!("fwmark {}", fwmark.mark);
    compare(&by_name(old, object), &by_name(new, object), found, |object, old, new, found| {
        differs(object, old, new, found);
    });
    // The first mark that matches wins.
    if found.len() == before && old != new {
        found.push(change(Action::Change, "fwmark", "order".to_owned()));
    }
}

fn differs<T: std::fmt::Debug>(object: &str, old: &T, new: &T, found: &mut Vec<Change>) {
    found.push(change(Action::Change, object, differing(old, new)));
}

fn virtual_server(name: &str, old: &VirtualServer, new: &VirtualServer, found: &mut Vec<Change>) {
    let without_pool = |server: &VirtualServer| VirtualServer { real_servers: Vec::new(), ..server.clone() };
    let (old_rules, new_rules) = (without_pool(old), without_pool(new));
    if old_rules != new_rules {
        found.push(change(Action::Change, name, differing(&old_rules, &new_rules)));
    }
    let object = |real: &RealServer| format!("{name}/{}", real.name);
    compare(&by_name(&old.real_servers, object), &by_name(&new.real_servers, object), found, differs);
}

fn by_name<T>(things: &[T], name: impl Fn(&T) -> String) -> BTreeMap<String, &T> {
    things.iter().map(|thing| (name(thing), thing)).collect()
}

fn compare<T: PartialEq>(
    old: &BTreeMap<String, &T>,
    new: &BTreeMap<String, &T>,
    found: &mut Vec<Change>,
    differs: impl Fn(&str, &T, &T, &mut Vec<Change>),
) {
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        found.push(change(Action::Remove, name, String::new()));
    }
    for (name, new) in new {
        match old.get(name) {
            None => found.push(change(Action::Add, name, String::new())),
            Some(old) if old != new => differs(name, old, new, found),
            Some(_) => {}
        }
    }
}

fn change(action: Action, object: &str, detail: String) -> Change {
    Change { action, object: object.to_owned(), detail }
}

/// The fields that differ, as `field: old -> new`.
fn differing<T: std::fmt::Debug>(old: &T, new: &T) -> String {
    let lines = |thing: &T| format!("{thing:#?}").lines().map(str::to_owned).collect::<Vec<_>>();
    let (old, new) = (lines(old), lines(new));
    let field = |line: &str| line.trim().trim_end_matches(',').to_owned();
    if old.len() != new.len() {
        return "changed".to_owned();
    }
    let pairs = old.iter().zip(&new).filter(|(old, new)| old != new);
    let words: Vec<String> = pairs
        .map(|(old, new)| match (field(old).split_once(": "), field(new).split_once(": ")) {
            (Some((name, old)), Some((_, new))) => format!("{name}: {old} -> {new}"),
            _ => format!("{} -> {}", field(old), field(new)),
        })
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, parse};

    fn config(text: &str) -> Config {
        let (config, diagnostics) = parse(text, &Host::imagined("lb"));
        config.unwrap_or_else(|| panic!("{diagnostics:?}"))
    }

    const ONE: &str = r#"
        [global]
        interfaces = ["eth0"]
        [[virtual_server]]
        name = "web"
        address = "192.0.2.10:80"
        real_server = [ { name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" } ]
    "#;

    #[test]
    fn the_same_configuration_has_no_difference() {
        assert_eq!(changes(&config(ONE), &config(ONE)), Vec::new());
    }

    #[test]
    fn marks_differ_by_what_they_match_and_by_their_order() {
        let mark = |number: u32, port: u16| {
            format!(
                "[[fwmark]]\nmark = {number}\n\
                 match = {{ destination = \"192.0.2.20/32\", protocol = \"tcp\", ports = {port} }}\n"
            )
        };
        let with = |marks: &[String]| config(&format!("{ONE}\n{}", marks.concat()));
        let words = |old: &Config, new: &Config| {
            let found = changes(old, new).into_iter();
            found.map(|it| format!("{:?} {}", it.action, it.object)).collect::<Vec<_>>()
        };
        let both = with(&[mark(7, 80), mark(8, 81)]);
        assert_eq!(words(&config(ONE), &both), ["Add fwmark 7", "Add fwmark 8"]);
        assert_eq!(words(&both, &with(&[mark(8, 81), mark(7, 80)])), ["Change fwmark"]);
        assert_eq!(words(&both, &with(&[mark(7, 82)])), ["Remove fwmark 8", "Change fwmark 7"]);
    }

    #[test]
    fn every_kind_of_change_is_named_at_its_place() {
        let two = ONE
            .replace(
                r#"{ name = "a", address = "10.0.0.1:80" }"#,
                r#"{ name = "c", address = "10.0.0.3:80" }"#,
            )
            .replace(r#""10.0.0.2:80" }"#, r#""10.0.0.2:80", weight = 5 }"#)
            .replace(r#"name = "web""#, "name = \"web\"\nscheduler = \"rr\"");
        let found = changes(&config(ONE), &config(&two));
        let words: Vec<String> = found
            .iter()
            .map(|change| format!("{:?} {} {}", change.action, change.object, change.detail))
            .collect();
        assert_eq!(
            words,
            ["Change web scheduler: Wlc -> Rr", "Remove web/a ", "Change web/b weight: 1 -> 5", "Add web/c "]
        );
    }
}
