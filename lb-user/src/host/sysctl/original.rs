//! The file of the values that sysctls had before they were set.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use super::{Change, Name};

#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Originals {
    /// The boot they were found in: the next one starts from its own values.
    boot: String,
    values: BTreeMap<Name, Original>,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Original {
    found: String,
    set: String,
}

impl Originals {
    /// What the file remembers; nothing when it is missing or from another boot than `boot`.
    pub(super) fn load(path: &Path, boot: &str) -> io::Result<Self> {
        let nothing = || Self { boot: boot.to_owned(), values: BTreeMap::new() };
        match fs::read(path) {
            Ok(text) => {
                let loaded: Self = serde_json::from_slice(&text)?;
                Ok(if loaded.boot == boot { loaded } else { nothing() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(nothing()),
            Err(error) => Err(error),
        }
    }

    /// Adds what is about to change. What an earlier run found stays: that was the original, not what the run left behind.
    pub(super) fn remember(&mut self, changes: &[Change]) {
        for Change { name, from, to } in changes {
            self.values
                .entry(name.clone())
                .or_insert_with(|| Original { found: from.clone(), set: String::new() })
                .set
                .clone_from(to);
        }
    }

    /// What has to change so that the original values are back, where `now` is still what was set.
    pub(super) fn into_changes(self, now: impl Fn(&Name) -> Option<String>) -> Vec<Change> {
        self.values
            .into_iter()
            .filter(|(name, original)| now(name).as_ref() == Some(&original.set))
            .map(|(name, Original { found, set })| Change { name, from: set, to: found })
            .collect()
    }

    /// Replaces the file in one step.
    pub(super) fn store(&self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let fresh = path.with_extension("json.new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(fresh, path)
    }
}

/// Removes the file; one that is not there is removed already.
pub(super) fn forget(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
