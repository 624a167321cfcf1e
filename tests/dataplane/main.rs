//! The data plane, judged packet by packet: cases, agreement of the kernel with the host, arbitrary input.
//!
//! What comes out is compared with frames that etherparse makes and reads; nothing here knows how the data plane does it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails where it stands")]

mod cases;
mod fragments;
mod fuzz;
mod icmp;
#[cfg(feature = "root")]
mod kernel;
mod lab;
mod marks;
mod packet;
#[cfg(feature = "root")]
mod parity;
mod read;
mod reset;
mod safety;
mod services;
mod stream;
mod wires;
mod world;
