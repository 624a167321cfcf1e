//! `cargo xtask build-ebpf`: the kernel object, compiled, checked and put where lb-user embeds it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::object;
use crate::step;
use crate::toolchain::{self, Toolchain};
use crate::workspace;

const TARGET: &str = "bpfel-unknown-none";

/// Packet headers lie at any address, so their fields are read through types of alignment 1. With this feature of LLVM 22
/// such a read is one load; without it, one load for each byte.
const MISALIGNED: &str = "+allows-misaligned-mem-access";

/// Builds the object and returns its path.
pub(crate) fn run() -> Result<PathBuf> {
    let toolchain = Toolchain::find().context(
        "no compiler for the BPF target: neither a /usr/bin/rustc with core for it nor a rustup nightly with rust-src; \
         run `cargo xtask setup`",
    )?;
    let linker = toolchain::linker().context("bpf-linker is not installed; run `cargo xtask setup`")?;
    let built = compile(&toolchain, &linker)?;

    let bytes = std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let report = object::inspect(&bytes).with_context(|| format!("cannot inspect {}", built.display()))?;
    if !report.faults.is_empty() {
        bail!("the kernel object is refused ({}):\n  {}", built.display(), report.faults.join("\n  "));
    }
    let object = workspace::kernel_object()?;
    replace(&object, &bytes)?;
    println!("{}: {} bytes, {} instructions", object.display(), bytes.len(), report.instructions);
    Ok(object)
}

fn compile(toolchain: &Toolchain, linker: &Path) -> Result<PathBuf> {
    let target = workspace::target()?.join("bpf");
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
    ];
    if linker_knows(linker, MISALIGNED)? {
        flags.push(format!("-Clink-arg=--cpu-features={MISALIGNED}"));
    }
    let mut cargo = toolchain.cargo();
    cargo
        .args(["--package=lb-ebpf", "--bin=xlb-ebpf", "--profile=bpf", "--target", TARGET, "--target-dir"])
        .arg(&target)
        // Separated by the unit separator: a flag may hold blanks.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS");
    step::run("build the kernel object", cargo)?;
    Ok(target.join(TARGET).join("bpf").join("xlb-ebpf"))
}

/// Whether the linker's LLVM has a feature: it links an empty module with it and LLVM says what it does not know.
fn linker_knows(linker: &Path, feature: &str) -> Result<bool> {
    let directory = workspace::target()?.join("bpf");
    std::fs::create_dir_all(&directory)?;
    let module = directory.join("empty.ll");
    std::fs::write(&module, "target triple = \"bpfel\"\n")?;
    let output = Command::new(linker)
        .arg(format!("--cpu-features={feature}"))
        .arg("--output")
        .arg(directory.join("empty.o"))
        .arg(&module)
        .output()
        .with_context(|| format!("{} did not start", linker.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(output.status.success() && !said.contains("not a recognized feature"))
}

/// Puts the file there whole; an object that is the same stays untouched, so that nothing is built again.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let directory = path.parent().context("the object has no directory")?;
    std::fs::create_dir_all(directory)?;
    let unfinished = path.with_extension("o.new");
    std::fs::write(&unfinished, bytes)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
