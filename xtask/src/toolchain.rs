//! The two ways to compile for BPF: a compiler that comes with `core` for it, or one that comes with core's source.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A compiler that can build the kernel object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// `core` is there ready made, as in Debian's libstd-rust-web-dev-bpf.
    Prebuilt {
        /// The compiler.
        rustc: PathBuf,
    },
    /// `core` is compiled along, from rustup's rust-src.
    Source {
        /// The toolchain's name in rustup.
        name: &'static str,
    },
}

/// rustup's toolchain for the BPF target; the source of `core` is a component of it.
pub(crate) const NIGHTLY: &str = "nightly";

/// Debian's compiler; rustup's proxies are elsewhere.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

impl Toolchain {
    /// The toolchain that is here, the ready-made one first.
    pub(crate) fn find() -> Option<Self> {
        let prebuilt = sysroot(&mut Command::new(SYSTEM_RUSTC))
            .is_some_and(|root| root.join("lib/rustlib/bpfel-unknown-none/lib").is_dir());
        if prebuilt {
            return Some(Self::Prebuilt { rustc: SYSTEM_RUSTC.into() });
        }
        sysroot(Command::new("rustup").args(["run", NIGHTLY, "rustc"]))
            .is_some_and(|root| root.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file())
            .then_some(Self::Source { name: NIGHTLY })
    }

    /// The cargo that builds for BPF with it, without the arguments.
    pub(crate) fn cargo(&self) -> Command {
        match self {
            Self::Prebuilt { rustc } => {
                let mut cargo = crate::workspace::cargo();
                // A stable compiler knows the target but calls it unstable.
                cargo.arg("build").env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
            Self::Source { name } => {
                let mut cargo = Command::new("rustup");
                cargo.current_dir(crate::workspace::root());
                cargo.args(["run", name, "cargo", "build", "-Zbuild-std=core"]).env_remove("RUSTC");
                cargo
            }
        }
    }
}

/// bpf-linker, in PATH or where `cargo install` puts it.
pub(crate) fn linker() -> Option<PathBuf> {
    find_program("bpf-linker")
}

/// A program in PATH, in the directories of administrators' programs or where cargo installs.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(cargo_home.map(|home| home.join("bin")))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    let root = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| Path::new(root.trim()).to_owned())
}
