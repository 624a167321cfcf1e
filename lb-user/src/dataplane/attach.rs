//! Attaches the program to interfaces through pinned links, so that it stays when this process goes.

use std::{fs, io, path::PathBuf};

use aya::{
    pin::PinError as AyaPinError,
    programs::{
        ProgramError, Xdp, XdpMode as AyaMode,
        links::{FdLink, LinkError, PinnedLink},
        xdp::{XdpLink, XdpLinkId},
    },
};

use super::pins::Pins;
use crate::config::model::XdpMode;

/// How a program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the kernel's generic path: slower, and bulk TCP suffers.
    Generic,
}

/// Why the program is not attached to an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Somebody else's program is there.
    #[error(
        "{interface} already runs another XDP program; nothing was changed. See whose it is with \
         `ip link show {interface}`, and remove it with `ip link set dev {interface} xdp off`"
    )]
    Foreign {
        /// The interface.
        interface: String,
    },
    /// The driver has no native XDP.
    #[error("the driver of {interface} does not support native XDP: set xdp_mode = \"auto\" or \"generic\"")]
    NoNative {
        /// The interface.
        interface: String,
    },
    /// Anything else.
    #[error("cannot attach to {interface}")]
    Kernel {
        /// The interface.
        interface: String,
        /// What the kernel said.
        #[source]
        source: ProgramError,
    },
    /// The kernel has no links for XDP.
    #[error("this kernel has no BPF links for XDP (Linux 5.9)")]
    NoLinks,
    /// The link cannot be pinned.
    #[error("cannot pin the link of {interface} at {path}")]
    Pin {
        /// The interface.
        interface: String,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: AyaPinError,
    },
    /// A pinned link cannot be opened.
    #[error("cannot open the pinned link {path}")]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: LinkError,
    },
    /// A pin cannot be removed.
    #[error("cannot remove {path}")]
    Remove {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An interface to attach to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
}

/// Attaches `program`, or replaces the program of the link that is pinned already: in one step, so that no packet passes by.
///
/// # Errors
///
/// See [`AttachError`].
pub fn attach(program: &mut Xdp, target: &Target, mode: XdpMode, pins: &Pins) -> Result<(), AttachError> {
    let path = pins.link(target.index);
    if path.exists() {
        match replace(program, &path) {
            Ok(()) => return Ok(()),
            // The interface the link belonged to is gone and its index was given out again.
            Err(Replace::Defunct) => detach(target.index, pins)?,
            Err(Replace::Failed(source)) => {
                return Err(AttachError::Kernel { interface: target.name.clone(), source });
            }
            Err(Replace::Unreadable(source)) => return Err(AttachError::Open { path, source }),
        }
    }
    let id = create(program, target, mode)?;
    let link = program
        .take_link(id)
        .map_err(|source| AttachError::Kernel { interface: target.name.clone(), source })?;
    let link = FdLink::try_from(link).map_err(|_| AttachError::NoLinks)?;
    link.pin(&path).map(drop).map_err(|source| AttachError::Pin {
        interface: target.name.clone(),
        path,
        source,
    })
}

/// Detaches from the interface with this index.
///
/// # Errors
///
/// [`AttachError::Remove`].
pub fn detach(index: u32, pins: &Pins) -> Result<(), AttachError> {
    let path = pins.link(index);
    fs::remove_file(&path).map_err(|source| AttachError::Remove { path, source })
}

enum Replace {
    /// The link has lost its interface.
    Defunct,
    Failed(ProgramError),
    Unreadable(LinkError),
}

fn replace(program: &mut Xdp, path: &std::path::Path) -> Result<(), Replace> {
    let link: FdLink = PinnedLink::from_pin(path).map_err(Replace::Unreadable)?.into();
    let link = XdpLink::try_from(link).map_err(Replace::Unreadable)?;
    match program.attach_to_link(link) {
        Ok(id) => {
            // Dropping our handle leaves the link to its pin.
            program.take_link(id).map(drop).map_err(Replace::Failed)
        }
        Err(error) if os_error(&error) == Some(libc::ENOLINK) => Err(Replace::Defunct),
        Err(error) => Err(Replace::Failed(error)),
    }
}

fn create(program: &mut Xdp, target: &Target, mode: XdpMode) -> Result<XdpLinkId, AttachError> {
    let interface = || target.name.clone();
    let other = |source: ProgramError| match os_error(&source) {
        Some(libc::EBUSY | libc::EEXIST) => AttachError::Foreign { interface: interface() },
        _ => AttachError::Kernel { interface: interface(), source },
    };
    let generic = |program: &mut Xdp| program.attach_to_if_index(target.index, AyaMode::Skb).map_err(other);
    if mode == XdpMode::Generic {
        return generic(program);
    }
    match program.attach_to_if_index(target.index, AyaMode::Driver) {
        Ok(id) => Ok(id),
        Err(source) if os_error(&source) != Some(libc::EOPNOTSUPP) => Err(other(source)),
        Err(_) if mode == XdpMode::Native => Err(AttachError::NoNative { interface: interface() }),
        Err(_) => generic(program),
    }
}

fn os_error(error: &ProgramError) -> Option<i32> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        cause = error.source();
    }
    None
}
