//! Where maps and links are pinned: a private directory below a bpffs.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg, OFlag, open},
    mount::{MsFlags, mount},
    sys::{
        stat::Mode,
        statfs::{BPF_FS_MAGIC, statfs},
    },
};

/// Why the pin directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It is not below a bpffs and none could be mounted.
    #[error(
        "{path} is not on a BPF file system and mounting one at {at} failed: mount it with `mount -t bpf bpf {at}`"
    )]
    NotBpffs {
        /// The pin directory.
        path: PathBuf,
        /// Where a bpffs was tried to be mounted.
        at: PathBuf,
        /// Why that failed.
        #[source]
        source: io::Error,
    },
    /// A directory cannot be made or read.
    #[error("cannot use the pin directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another daemon holds it.
    #[error(
        "another xlb is running on {0}: stop it first, or give this one a pin_dir and a socket of its own"
    )]
    Busy(PathBuf),
}

/// Where a bpffs is mounted by whoever needs it.
pub const USUAL: &str = "/sys/fs/bpf";

/// The pin directory, held by this process alone.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    /// Released when this process ends, however it does.
    _lock: Flock<OwnedFd>,
}

impl Pins {
    /// Opens the directory, making it and mounting its file system where they are missing.
    ///
    /// # Errors
    ///
    /// See [`PinError`].
    pub fn open(root: &Path) -> Result<Self, PinError> {
        let directory = |source: io::Error| PinError::Directory { path: root.to_owned(), source };
        ensure_bpffs(root)?;
        for path in [root.to_owned(), root.join("maps"), root.join("links")] {
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(directory(error)),
                _ => {}
            }
        }
        let handle = open(root, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| directory(errno.into()))?;
        let lock =
            Flock::lock(handle, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
                nix::errno::Errno::EWOULDBLOCK => PinError::Busy(root.to_owned()),
                errno => directory(errno.into()),
            })?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// Where the map of this name is pinned.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    /// Where the link of the interface with this index is pinned. By index, because an interface may be renamed, and one
    /// that was made again under an old name is another.
    #[must_use]
    pub fn link(&self, interface: u32) -> PathBuf {
        self.root.join("links").join(interface.to_string())
    }

    /// Indices of the interfaces whose links are pinned.
    ///
    /// # Errors
    ///
    /// [`PinError::Directory`].
    pub fn links(&self) -> Result<Vec<u32>, PinError> {
        let path = self.root.join("links");
        let entries = fs::read_dir(&path).map_err(|source| PinError::Directory { path, source })?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    /// Removes the pins of all maps; a map goes when nobody uses it any more.
    pub fn remove_maps(&self) {
        if let Ok(entries) = fs::read_dir(self.root.join("maps")) {
            for entry in entries.flatten() {
                // What cannot be removed is found again at the next start.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes the directories of a start that has pinned nothing.
    pub fn remove_if_empty(&self) {
        for directory in [self.root.join("links"), self.root.join("maps"), self.root.clone()] {
            // One that is in use stays.
            let _ = fs::remove_dir(directory);
        }
    }

    /// Removes everything that is pinned, the directory too: links first, so that no program runs on without its maps.
    ///
    /// # Errors
    ///
    /// [`PinError::Directory`].
    pub fn remove_all(&self) -> Result<(), PinError> {
        let failed = |source: io::Error| PinError::Directory { path: self.root.clone(), source };
        for directory in [self.root.join("links"), self.root.join("maps")] {
            for entry in fs::read_dir(&directory).map_err(failed)? {
                fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
            }
            fs::remove_dir(&directory).map_err(failed)?;
        }
        fs::remove_dir(&self.root).map_err(failed)
    }
}

/// Whether anything is pinned under `root`.
#[must_use]
pub fn is_pinned(root: &Path) -> bool {
    ["links", "maps"]
        .iter()
        .any(|directory| fs::read_dir(root.join(directory)).is_ok_and(|mut entries| entries.next().is_some()))
}

/// Whether `root` is, or would be made, on a bpffs that is mounted already.
#[must_use]
pub fn is_on_bpffs(root: &Path) -> bool {
    statfs(existing(root)).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

fn existing(root: &Path) -> &Path {
    root.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

/// Makes sure that `root` will be on a bpffs: mounts one at /sys/fs/bpf if that is where it belongs and none is there.
fn ensure_bpffs(root: &Path) -> Result<(), PinError> {
    if is_on_bpffs(root) {
        return Ok(());
    }
    let (exists, usual) = (existing(root), Path::new(USUAL));
    let at = if root.starts_with(usual) { usual } else { exists };
    let refused = |source: io::Error| PinError::NotBpffs { path: root.to_owned(), at: at.to_owned(), source };
    if at != usual {
        return Err(refused(io::ErrorKind::Unsupported.into()));
    }
    mount(Some("bpf"), usual, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .map_err(|errno| refused(errno.into()))
}
