//! What is wrong before there are keys and values: the TOML parser's errors, without those that follow from others.

use toml::de::Error;

use super::diagnostic::{Diagnostic, line_and_column};

/// The first error of each line; where a bracket stays open, the first error of all and the bracket.
pub(super) fn diagnose(errors: &[Error], text: &str) -> Vec<Diagnostic> {
    let mut all: Vec<_> = errors.iter().map(|error| diagnostic(error, text)).collect();
    all.sort_by_key(|one| one.span.start);
    let swallows = |one: &Diagnostic| {
        one.message.starts_with("unclosed array,") || one.message.starts_with("unclosed inline table")
    };
    if let Some(open) = all.iter().position(swallows) {
        // It swallows the rest of the file, of which the parser then understands nothing.
        let open = all.swap_remove(open);
        all.truncate(1);
        all.push(open);
    }
    all.dedup_by_key(|one| line_and_column(text, one.span.start).0);
    all
}

fn diagnostic(error: &Error, text: &str) -> Diagnostic {
    Diagnostic::error("syntax", error.span().unwrap_or(text.len()..text.len()), error.message())
}
