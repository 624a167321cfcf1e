//! Puts tables into the documents, between their markers, and charts beside them.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::chart;
use super::environment::Environment;
use super::table::Table;
use crate::workspace;

/// The documents that show figures. The first has every table; the others those they have markers for.
const DOCUMENTS: [&str; 2] = ["tests/bench/README.md", "README.md"];

/// Replaces what the documents show by these tables.
pub(crate) fn write(environment: &Environment, tables: &[Table]) -> Result<()> {
    let directory = workspace::root().join("tests/bench");
    for table in tables {
        store(&directory.join(format!("{}.svg", table.name)), &chart::draw(table)?)?;
    }
    for document in DOCUMENTS {
        let path = workspace::root().join(document);
        let mut text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for table in tables {
            match replace(&text, table.name, &section(environment, table)) {
                Some(replaced) => text = replaced,
                None => ensure!(document != DOCUMENTS[0], "{document} has no place for {}", table.name),
            }
        }
        store(&path, &text)?;
    }
    Ok(())
}

fn section(environment: &Environment, table: &Table) -> String {
    let notes = table.notes.join(" ");
    format!("{}\n\n{environment}. {notes}", table.markdown())
}

/// The document with `content` between the markers of this name; none if it has no such markers.
fn replace(document: &str, name: &str, content: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- bench {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{content}\n\n{end}{after}"))
}

fn store(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = "a\n<!-- bench packet -->\nold\n<!-- end packet -->\nb\n";
        let expected = "a\n<!-- bench packet -->\n\nnew\n\n<!-- end packet -->\nb\n";
        assert_eq!(replace(document, "packet", "new").as_deref(), Some(expected));
        assert_eq!(replace(expected, "packet", "new").as_deref(), Some(expected));
        assert_eq!(replace(document, "http", "new"), None);
    }
}
