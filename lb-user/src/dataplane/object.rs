//! The kernel object inside this program.

/// The ELF file that `cargo xtask build-ebpf` made, aligned for parsing; `None` when this program was built without it.
pub static OBJECT: Option<&[u8]> = {
    let bytes = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xlb-ebpf.o"));
    if bytes.is_empty() { None } else { Some(bytes) }
};
