//! The first file system of a guest, as the archive that a kernel unpacks: see cpio(5), "new ASCII format".

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::program;

/// Files of a guest by their path without the leading slash, in order: a directory comes before what is in it.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    /// Major and minor number of a device.
    device: (u32, u32),
    content: Vec<u8>,
}

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

impl Archive {
    /// With what every guest has: this program as the first process, and a console for it to speak on.
    pub(crate) fn new() -> Result<Self> {
        let mut archive = Self::default();
        for directory in ["dev", "proc", "sys", "tmp", "run"] {
            archive.add(directory, DIRECTORY, (0, 0), Vec::new());
        }
        archive.add("dev/console", CHARACTER_DEVICE, (5, 1), Vec::new());
        archive.program(&std::env::current_exe()?, "init")?;
        Ok(archive)
    }

    /// Adds a program under this path, with the libraries it is linked to under theirs.
    pub(crate) fn program(&mut self, file: &Path, path: &str) -> Result<()> {
        self.file(file, path)?;
        for library in program::libraries(file)? {
            let path = library.to_string_lossy().into_owned();
            self.file(&library, path.trim_start_matches('/'))?;
        }
        Ok(())
    }

    /// Adds a file of this machine.
    pub(crate) fn file(&mut self, file: &Path, path: &str) -> Result<()> {
        let content = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        self.content(path, content);
        Ok(())
    }

    /// Adds a file.
    pub(crate) fn content(&mut self, path: &str, content: Vec<u8>) {
        self.add(path, PROGRAM, (0, 0), content);
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), content: Vec<u8>) {
        for (end, _) in path.match_indices('/') {
            let directory = || Entry { mode: DIRECTORY, device: (0, 0), content: Vec::new() };
            self.entries.entry(path[..end].to_owned()).or_insert_with(directory);
        }
        self.entries.insert(path.to_owned(), Entry { mode, device, content });
    }

    /// The archive as bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (path, entry)) in (1..).zip(&self.entries) {
            append(&mut bytes, number, path, entry);
        }
        let end = Entry { mode: 0, device: (0, 0), content: Vec::new() };
        append(&mut bytes, 0, "TRAILER!!!", &end);
        bytes
    }
}

/// A head of 13 numbers, the name with its zero, the content; name and content are filled up to four bytes.
fn append(bytes: &mut Vec<u8>, number: u32, path: &str, entry: &Entry) {
    let (major, minor) = entry.device;
    let (length, name) = (entry.content.len() as u32, path.len() as u32 + 1);
    let links = if entry.mode == DIRECTORY { 2 } else { 1 };
    let numbers = [number, entry.mode, 0, 0, links, 0, length, 0, 0, major, minor, name, 0];
    bytes.extend(b"070701");
    bytes.extend(numbers.iter().flat_map(|number| format!("{number:08x}").into_bytes()));
    bytes.extend(path.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(&entry.content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field by field as in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
    #[test]
    fn an_entry_has_its_numbers_its_name_and_its_content() {
        let mut archive = Archive::default();
        archive.content("a/b", b"hello".to_vec());
        let bytes = archive.bytes();
        let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&bytes[range]).into_owned();
        assert_eq!(text(0..14), "07070100000001");
        assert_eq!(text(14..22), "000041ed");
        assert_eq!(text(110..112), "a\0");
        let second = 112;
        assert_eq!(text(second..second + 22), "07070100000002000081ed");
        assert_eq!(text(second + 54..second + 62), "00000005");
        assert_eq!(text(second + 94..second + 102), "00000004");
        assert_eq!(text(second + 110..second + 124), "a/b\0\0\0hello\0\0\0");
        assert!(text(second + 124..bytes.len()).contains("TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
