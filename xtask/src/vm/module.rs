//! Kernel modules, and those they depend on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection};

/// The contents of modules and of those they depend on, each after those it needs.
pub(super) fn ordered(directory: &Path, names: &[&str]) -> Result<Vec<Vec<u8>>> {
    let mut files = BTreeMap::new();
    find(directory, &mut files)?;
    let mut done = Vec::new();
    let mut contents = Vec::new();
    for name in names {
        visit(&files, name, &mut done, &mut contents)?;
    }
    Ok(contents)
}

/// Depth first: modules never depend on each other in a circle.
fn visit(
    files: &BTreeMap<String, PathBuf>,
    name: &str,
    done: &mut Vec<String>,
    contents: &mut Vec<Vec<u8>>,
) -> Result<()> {
    if done.iter().any(|other| other == name) {
        return Ok(());
    }
    done.push(name.to_owned());
    let file = files.get(name).with_context(|| format!("the kernel has no module {name}"))?;
    let content = read(file)?;
    for needed in needs(&content).with_context(|| format!("cannot read {}", file.display()))? {
        visit(files, &needed, done, contents)?;
    }
    contents.push(content);
    Ok(())
}

/// Files below a directory by the names of their modules. A name has underscores where its file may have dashes.
fn find(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            find(&path, files)?;
        } else if let Some(name) = name.strip_suffix(".ko").or_else(|| name.strip_suffix(".ko.xz")) {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let output = Command::new("xz").args(["-dc".as_ref(), file.as_os_str()]).output().context("xz")?;
    ensure!(output.status.success(), "cannot decompress {}", file.display());
    Ok(output.stdout)
}

/// The modules that a module names: `depends=A,B` among the strings of its section `.modinfo`.
fn needs(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module)?;
    let section = file.section_by_name(".modinfo").context("no .modinfo")?;
    let information = String::from_utf8_lossy(section.data()?).into_owned();
    let depends = information.split('\0').find_map(|entry| entry.strip_prefix("depends="));
    let names = depends.unwrap_or_default().split(',').filter(|name| !name.is_empty());
    Ok(names.map(|name| name.replace('-', "_")).collect())
}
