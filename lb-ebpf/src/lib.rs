//! The data plane of xlb as one decision function: [`forward::forward`] looks at a packet and at tables, changes the
//! packet, and says how it ends.
//!
//! The library has no `unsafe` and knows neither XDP nor maps: a packet is a [`packet::Packet`], the tables are
//! [`tables::Tables`]. In the kernel these are the XDP context and BPF maps (`main.rs`, `xdp.rs`, `maps.rs`), on the
//! host a byte slice and ordinary collections ([`memory`]), so one piece of code runs in the kernel, in unit tests and
//! under a fuzz test, and a parity test compares the two byte for byte.
#![cfg_attr(target_arch = "bpf", no_std)]
#![forbid(unsafe_code)]

mod answer;
pub mod checksum;
pub mod connection;
pub mod desk;
mod express;
pub mod forward;
pub mod fragment;
mod hairpin;
pub mod half_open;
pub mod headers;
pub mod icmp;
pub mod ip;
pub mod limit;
pub mod mark;
#[cfg(not(target_arch = "bpf"))]
pub mod memory;
pub mod open;
mod ownership;
pub mod packet;
pub mod parse;
mod persistence;
mod pressure;
mod quote;
mod replies;
mod reset;
mod review;
pub mod rewrite;
pub mod scan;
pub mod select;
mod stateless;
pub mod tables;
mod transport;
mod unproven;
pub mod verdict;
mod virtual_mac;
pub mod vlan;
