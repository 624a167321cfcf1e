//! `passive`: when the data plane's own view takes a real server out.

use std::time::Duration;

use toml::de::DeValue;

use crate::config::{
    diagnostic::Diagnostic,
    file::Section,
    model::{Passive, Protocol},
    value::{duration, number},
};

/// What a table without a key means by it.
const BUILT_IN: Passive =
    Passive { unanswered: 5, refused: 5, within: Duration::from_secs(10), retry: Duration::from_secs(10) };

/// A table, or "off" where `[defaults]` has one.
pub(super) fn read(section: &mut Section<'_>, base: Option<Passive>) -> Option<Passive> {
    let Some(node) = section.node("passive") else { return base };
    if node.is(|value| matches!(value, DeValue::String(word) if word == "off")) {
        return None;
    }
    node.section(|section| read_table(section, base.unwrap_or(BUILT_IN)))
}

fn read_table(section: &mut Section<'_>, base: Passive) -> Passive {
    let count = number(0, 1_000_000);
    Passive {
        unanswered: section.value_or("unanswered", base.unanswered, &count),
        refused: section.value_or("refused", base.refused, &count),
        within: section.value_or("within", base.within, duration),
        retry: section.value_or("retry", base.retry, duration),
    }
}

/// Only TCP says whether anybody is there.
pub(super) fn ensure_tcp(section: &Section<'_>, protocol: Protocol, passive: Option<Passive>) {
    if section.has("passive") && passive.is_some() && protocol == Protocol::Udp {
        let at = section.key_span("passive");
        section.push(
            Diagnostic::error("passive-udp", at, "`passive` looks at TCP handshakes, and this is udp")
                .help("take it out; a check of type udp or dns says whether the server answers"),
        );
    }
}
