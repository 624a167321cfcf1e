//! What people and programs read; colours only on a terminal and without NO_COLOR.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::{
    config::ConfigError,
    control::{Action, Changes},
};

const ADDED: Style = AnsiColor::Green.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();

/// Writes text to standard output.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes one line of JSON to standard output.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(print(&format!("{}\n", serde_json::to_string(value)?))?)
}

/// Writes what was changed, or would be, to standard output.
pub(super) fn print_changes(changes: &Changes) -> io::Result<()> {
    if changes.changes.is_empty() {
        return print("nothing to change\n");
    }
    let mut text = String::new();
    for change in &changes.changes {
        let (style, sign) = match change.action {
            Action::Add => (ADDED, '+'),
            Action::Change => (CHANGED, '~'),
            Action::Remove => (REMOVED, '-'),
        };
        let line = format!("{style}{sign}{style:#} {}  {}", change.object, change.detail);
        text += line.trim_end();
        text.push('\n');
    }
    print(&text)
}

/// A line that warns, with colours.
pub(super) fn warning(message: &str) -> String {
    format!("{CHANGED}warning:{CHANGED:#} {message}")
}

/// Writes an error and its causes to standard error: in one line when they are, a configuration's with their places.
pub(super) fn complain(error: &anyhow::Error) {
    let mut err = anstream::stderr();
    // Nothing is left to be done when standard error is closed.
    let _ = match error.downcast_ref() {
        Some(ConfigError::Invalid(report)) => writeln!(err, "{}", report.styled()),
        _ => writeln!(err, "{REMOVED}xlb:{REMOVED:#} {error:#}"),
    };
}
