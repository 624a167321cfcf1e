//! What both sides of the kernel boundary agree on: addresses, map keys and values, outcomes, limits.
//!
//! Everything that is stored in a map is `repr(C)`, made of aligned integers and free of padding (proven below each
//! type at compile time), so that the kernel's bytewise comparison of keys is exact and a value never carries stray
//! bytes. Fields named after a header field hold it as it is on the wire: network byte order in memory.
#![cfg_attr(not(test), no_std)]

pub mod addr;
pub mod concern;
pub mod connection;
pub mod counter;
pub mod drops;
pub mod half_open;
pub mod hash;
pub mod layout;
pub mod limits;
pub mod mark;
pub mod outcome;
pub mod pod;
pub mod script;
pub mod service;
pub mod tcp;
pub mod template;
pub mod virtual_mac;
pub mod vlan;
