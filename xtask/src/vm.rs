//! Other kernels: Debian's, booted in qemu from an archive of our own, with this program as the first process.
//!
//! Emulated (`tcg`), never by KVM: that is the same everywhere, needs no right and no hardware, and its instructions can
//! be counted.

mod archive;
pub(crate) mod guest;
mod kernel;
mod machine;
mod module;
mod program;

pub(crate) use archive::Archive;
pub(crate) use kernel::Kernel;
pub(crate) use machine::{Counting, Machine};

/// What this needs besides the rest: programs, each with Debian's package of it.
pub(crate) const PROGRAMS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("dpkg-deb", "dpkg"),
    ("xz", "xz-utils"),
    ("setpriv", "util-linux"),
];
