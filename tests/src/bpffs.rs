//! A BPF file system of a test's own: what is pinned in it goes away with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A mounted BPF file system, unmounted when it is dropped.
#[derive(Debug)]
pub struct Bpffs {
    path: PathBuf,
}

impl Bpffs {
    /// Mounts a fresh one at `path`, which is made.
    pub fn mount(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount a BPF file system at {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // Detached at once; the kernel frees it when its last user closes.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}
