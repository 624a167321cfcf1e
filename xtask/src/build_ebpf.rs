//! `cargo xtask build-ebpf`: the kernel object, compiled, checked and put where lb-user embeds it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::object;
use crate::step;
use crate::toolchain::{self, Toolchain};
use crate::workspace;

const TARGET: &str = "bpfel-unknown-none";

/// The product's program in the crate.
const PRODUCT: &str = "xlb-ebpf";

/// The programs that are measured with, in the crate.
const BENCH: &str = "xlb-bench";

/// Builds the object and returns its path.
pub(crate) fn run() -> Result<PathBuf> {
    let (_, bytes, instructions) = build(PRODUCT)?;
    let object = workspace::kernel_object()?;
    replace(&object, &bytes)?;
    println!("{}: {} bytes, {instructions} instructions", object.display(), bytes.len());
    Ok(object)
}

/// Builds the object of the programs that are measured with, and returns its path.
pub(crate) fn bench() -> Result<PathBuf> {
    build(BENCH).map(|(path, ..)| path)
}

/// Compiles one program of the crate and checks it: where it is, its bytes, its instructions.
fn build(program: &str) -> Result<(PathBuf, Vec<u8>, u64)> {
    let toolchain = Toolchain::find().context(
        "no compiler for the BPF target: neither a /usr/bin/rustc with core for it nor a rustup nightly with rust-src; \
         run `cargo xtask setup`",
    )?;
    let linker = toolchain::linker().context("bpf-linker is not installed; run `cargo xtask setup`")?;
    let built = compile(program, &toolchain, &linker)?;

    let bytes = std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let report = object::inspect(&bytes).with_context(|| format!("cannot inspect {}", built.display()))?;
    if !report.faults.is_empty() {
        bail!("the kernel object is refused ({}):\n  {}", built.display(), report.faults.join("\n  "));
    }
    Ok((built, bytes, report.instructions))
}

fn compile(program: &str, toolchain: &Toolchain, linker: &Path) -> Result<PathBuf> {
    let target = workspace::target()?.join("bpf");
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
    ];
    let mut cargo = toolchain.cargo();
    cargo
        .args(["--package=lb-ebpf", "--bin", program, "--profile=bpf", "--target", TARGET, "--target-dir"])
        .arg(&target)
        // Separated by the unit separator: a flag may hold blanks.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS");
    step::run(&format!("build the kernel object {program}"), cargo)?;
    Ok(target.join(TARGET).join("bpf").join(program))
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
