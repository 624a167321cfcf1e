//! The control socket's place in the file system: taken from a dead daemon, never from a living one.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::{Gid, Group, chown},
};
use tokio::net::UnixListener;

/// A bound control socket; its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    pub(super) group: Option<u32>,
    pub(super) file: SocketFile,
}

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error(
        "another xlb is running (pid {pid}): it listens on {}; stop it first, or give this one a pin_dir and a socket of its own",
        path.display()
    )]
    Running {
        /// The process that listens.
        pid: i32,
        /// Where.
        path: PathBuf,
    },
    /// Something else has this name.
    #[error("{} is not a socket: remove it or set api.socket", path.display())]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// The account database does not have it.
    #[error("no group named {name}: create it with `groupadd --system {name}` or set api.socket_group")]
    NoGroup {
        /// As configured.
        name: String,
    },
    /// The kernel refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Listens on `path` with mode 0660 and this group, in a directory that is made when it is not there.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Another daemon listens there, or the file system refuses.
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, BindError> {
        let fail = |action, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| BindError::Io { action, path, source }
        };
        let group = group.map(find_group).transpose()?;
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(fail("create", directory))?;
        // Two daemons that start at once must not both take the place of a dead one.
        let handle = fs::File::open(directory).map_err(fail("open", directory))?;
        let lock = Flock::lock(handle, FlockArg::LockExclusive)
            .map_err(|(_, errno)| fail("lock", directory)(errno.into()))?;
        remove_dead(path)?;
        let listener = UnixListener::bind(path).map_err(fail("listen on", path))?;
        let file = SocketFile::at(path).map_err(fail("look at", path))?;
        drop(lock);
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))
            .map_err(fail("set the mode of", path))?;
        if let Some(gid) = group {
            chown(path, None, Some(gid)).map_err(|errno| fail("set the group of", path)(errno.into()))?;
        }
        Ok(Self { listener, group: group.map(Gid::as_raw), file })
    }
}

fn find_group(name: &str) -> Result<Gid, BindError> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) | Err(_) => Err(BindError::NoGroup { name: name.to_owned() }),
    }
}

fn remove_dead(path: &Path) -> Result<(), BindError> {
    let fail = |action| move |source| BindError::Io { action, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(living) => {
            let peer = getsockopt(&living, PeerCredentials).map_err(|errno| fail("ask")(errno.into()))?;
            Err(BindError::Running { pid: peer.pid(), path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(fail("remove the dead socket"))
        }
        Err(error) => Err(fail("ask")(error)),
    }
}

/// Our file, as long as nobody has put another in its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
