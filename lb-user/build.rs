//! Puts the kernel object where `dataplane::object` includes it; without one the program builds all the same.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let directory = target_directory(&out).join("ebpf");
    // Cargo can watch only what exists: a directory that is empty until `cargo xtask build-ebpf` fills it.
    fs::create_dir_all(&directory)?;
    println!("cargo::rerun-if-changed={}", directory.display());
    println!("cargo::rerun-if-changed=build.rs");
    let object = match fs::read(directory.join("xlb-ebpf.o")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    fs::write(out.join("xlb-ebpf.o"), object)
}

/// `OUT_DIR` is `TARGET_DIR/[TRIPLE/]PROFILE/build/PACKAGE/out`.
fn target_directory(out: &Path) -> &Path {
    let above = out.ancestors().nth(4).unwrap_or(out);
    let triple = env::var_os("TARGET");
    match (above.file_name(), above.parent()) {
        (name, Some(parent)) if name == triple.as_deref() => parent,
        _ => above,
    }
}
