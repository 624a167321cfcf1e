//! The programs that `cargo xtask bench` measures with: they make frames, forward them in the ways xlb is compared with,
//! and count them. None of it is in the product's object.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod forward;
#[cfg(target_arch = "bpf")]
mod make;

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("these programs run in the kernel; `cargo xtask bench` builds and runs them");
}
