//! `cargo xtask setup`: installs what building and testing need and this machine lacks. Only installs, never removes.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::step;
use crate::toolchain::{self, NIGHTLY, Toolchain};

/// The programs that tests and demo run, each with Debian's package of it.
const PROGRAMS: [(&str, &str); 10] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("nft", "nftables"),
    ("keepalived", "keepalived"),
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("varnishd", "varnish"),
    ("squid", "squid"),
    ("curl", "curl"),
    ("strace", "strace"),
];

/// The compiler with `core` for the BPF target, as Debian 12 has it.
const COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// Where Debian's llvm-22-dev is; the LLVM of that compiler.
const LLVM: &str = "/usr/lib/llvm-22";

/// What matters about this machine.
#[derive(Clone, Debug)]
struct Machine {
    system: System,
    root: bool,
    rustup: bool,
    toolchain: Option<Toolchain>,
    linker: bool,
    /// Whether LLVM 22's development files are here.
    llvm: bool,
    /// Packages of programs that are not here.
    packages: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    /// Has a compiler with `core` for the BPF target among its packages.
    Debian12,
    /// Has apt-get, and programs under Debian's names.
    DebianLike,
    Other,
}

/// One thing to do, or to ask the user for.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Packages(Vec<&'static str>),
    /// rustup's nightly with the source of `core`.
    Nightly,
    /// bpf-linker with Debian's LLVM 22.
    LinkerWithLlvm,
    /// bpf-linker that borrows the LLVM of rustup's compiler.
    LinkerWithRustc,
    /// What we cannot install, in one sentence.
    Ask(String),
}

/// Installs what is missing; fails when something is left for the user to install.
pub(crate) fn run() -> Result<()> {
    run_with(&[])
}

/// The same with what only some verbs need: programs or files, each with Debian's package of it.
pub(crate) fn run_with(more: &[(&'static str, &'static str)]) -> Result<()> {
    let mut asked = Vec::new();
    for step in plan(&Machine::look(more)) {
        match step {
            Step::Packages(packages) => install_packages(&packages)?,
            Step::Nightly => step::run(
                "rustup: install the nightly compiler with rust-src",
                command(
                    "rustup",
                    &["toolchain", "install", NIGHTLY, "--profile=minimal", "--component=rust-src"],
                ),
            )?,
            Step::LinkerWithLlvm => {
                let mut install = cargo_install("0.13.0");
                install.args(["--no-default-features", "--features=llvm-22"]).env("LLVM_PREFIX", LLVM);
                step::run("cargo: install bpf-linker with LLVM 22 (takes minutes)", install)?;
            }
            Step::LinkerWithRustc => {
                step::run("cargo: install bpf-linker (takes minutes)", cargo_install("0.10.3"))?;
            }
            Step::Ask(sentence) => asked.push(sentence),
        }
    }
    if !asked.is_empty() {
        bail!("setup is not complete:\n  {}", asked.join("\n  "));
    }
    eprintln!("setup: everything needed is installed");
    Ok(())
}

/// What has to be done on a machine, in order. The compiler decides the linker: both must use one LLVM.
fn plan(machine: &Machine) -> Vec<Step> {
    let apt = machine.root && machine.system != System::Other;
    let mut packages = machine.packages.clone();
    let mut steps = Vec::new();
    let mut asks = Vec::new();

    let prebuilt = match (&machine.toolchain, machine.system, machine.rustup) {
        (Some(toolchain), ..) => matches!(toolchain, Toolchain::Prebuilt { .. }),
        (None, System::Debian12, _) if machine.root => {
            packages.extend(COMPILER);
            true
        }
        (None, _, true) => {
            steps.push(Step::Nightly);
            false
        }
        (None, system, false) => {
            let other = if system == System::Debian12 {
                format!(", or as root: apt-get install {} llvm-22-dev", COMPILER.join(" "))
            } else {
                String::new()
            };
            asks.push(Step::Ask(format!("a compiler for BPF: install rustup (https://rustup.rs){other}")));
            system == System::Debian12
        }
    };
    if !machine.linker {
        if prebuilt && machine.llvm {
            steps.push(Step::LinkerWithLlvm);
        } else if prebuilt && apt {
            packages.push("llvm-22-dev");
            steps.push(Step::LinkerWithLlvm);
        } else if prebuilt {
            asks.push(Step::Ask(format!(
                "bpf-linker: install LLVM 22's development files, then \
                 LLVM_PREFIX={LLVM} cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22"
            )));
        } else if machine.rustup {
            steps.push(Step::LinkerWithRustc);
        }
    }
    if !packages.is_empty() && apt {
        steps.insert(0, Step::Packages(packages));
    } else if !packages.is_empty() {
        let names = packages.join(" ");
        asks.push(Step::Ask(match machine.system {
            System::Other => format!("programs; Debian's packages of them are called: {names}"),
            System::Debian12 | System::DebianLike => format!("as root: apt-get install {names}"),
        }));
    }
    steps.append(&mut asks);
    steps
}

impl Machine {
    fn look(more: &[(&'static str, &'static str)]) -> Self {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let says = |line: &str| release.lines().any(|other| other == line);
        let system = match toolchain::find_program("apt-get") {
            Some(_) if says("ID=debian") && says("VERSION_ID=\"12\"") => System::Debian12,
            Some(_) => System::DebianLike,
            None => System::Other,
        };
        let missing =
            |(name, _): &&(&str, &str)| !Path::new(name).exists() && toolchain::find_program(name).is_none();
        Self {
            system,
            root: nix::unistd::geteuid().is_root(),
            rustup: toolchain::find_program("rustup").is_some(),
            toolchain: Toolchain::find(),
            linker: toolchain::linker().is_some(),
            llvm: Path::new(LLVM).join("bin/llvm-config").exists(),
            packages: PROGRAMS.iter().chain(more).filter(missing).map(|(_, package)| *package).collect(),
        }
    }
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    step::run("apt-get: update the package lists", command("apt-get", &["update", "--quiet"]))?;
    let mut install =
        command("apt-get", &["install", "--yes", "--quiet", "--no-install-recommends", "--no-remove"]);
    install.args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    step::run(&format!("apt-get: install {names}"), install)?;
    if packages.contains(&"nginx-light") && Path::new("/run/systemd/system").is_dir() {
        eprintln!(
            "note: the nginx package starts a web server on this machine; systemctl disable --now nginx stops it"
        );
    }
    Ok(())
}

fn cargo_install(version: &str) -> Command {
    let mut cargo = crate::workspace::cargo();
    cargo.args(["install", "bpf-linker", "--locked", "--version", version]);
    cargo
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> Machine {
        Machine {
            system: System::Debian12,
            root: true,
            rustup: true,
            toolchain: None,
            linker: false,
            llvm: false,
            packages: vec!["ethtool"],
        }
    }

    fn prebuilt() -> Option<Toolchain> {
        Some(Toolchain::Prebuilt { rustc: "/usr/bin/rustc".into() })
    }

    fn asked(steps: &[Step], part: &str) -> bool {
        steps.iter().any(|step| matches!(step, Step::Ask(sentence) if sentence.contains(part)))
    }

    #[test]
    fn a_machine_that_has_everything_is_left_alone() {
        let machine = Machine { toolchain: prebuilt(), linker: true, packages: vec![], ..debian() };
        assert_eq!(plan(&machine), []);
        let user = Machine { system: System::Other, root: false, ..machine };
        assert_eq!(plan(&user), []);
    }

    #[test]
    fn root_on_debian_12_gets_the_packaged_compiler_and_its_llvm() {
        let packages = vec!["ethtool", "rustc-web", "libstd-rust-web-dev-bpf", "llvm-22-dev"];
        assert_eq!(plan(&debian()), [Step::Packages(packages), Step::LinkerWithLlvm]);
    }

    #[test]
    fn elsewhere_rustup_brings_compiler_and_linker() {
        let machine = Machine { system: System::DebianLike, ..debian() };
        let wanted = [Step::Packages(vec!["ethtool"]), Step::Nightly, Step::LinkerWithRustc];
        assert_eq!(plan(&machine), wanted);
    }

    #[test]
    fn the_linker_follows_the_compiler_that_is_there() {
        let machine = Machine { toolchain: prebuilt(), packages: vec![], ..debian() };
        assert_eq!(plan(&machine), [Step::Packages(vec!["llvm-22-dev"]), Step::LinkerWithLlvm]);
        let with_llvm = Machine { llvm: true, root: false, ..machine.clone() };
        assert_eq!(plan(&with_llvm), [Step::LinkerWithLlvm]);
        let nightly = Machine { toolchain: Some(Toolchain::Source { name: NIGHTLY }), ..machine };
        assert_eq!(plan(&nightly), [Step::LinkerWithRustc]);
    }

    #[test]
    fn a_plain_user_installs_what_needs_no_root_and_is_told_the_rest() {
        let machine = Machine { root: false, ..debian() };
        let steps = plan(&machine);
        assert_eq!(steps[..2], [Step::Nightly, Step::LinkerWithRustc]);
        assert!(asked(&steps, "as root: apt-get install ethtool"), "{steps:?}");
    }

    #[test]
    fn without_root_and_rustup_every_missing_thing_is_named() {
        let steps = plan(&Machine { root: false, rustup: false, ..debian() });
        for part in ["rustup.rs", "rustc-web", "bpf-linker", "apt-get install ethtool"] {
            assert!(asked(&steps, part), "{part}: {steps:?}");
        }
        let steps = plan(&Machine { system: System::Other, rustup: false, ..debian() });
        assert!(asked(&steps, "are called: ethtool"), "{steps:?}");
    }
}
