//! VRRP: which node owns the virtual addresses. RFC 9568 (version 3) and RFC 3768 (version 2).
//!
//! The core ([`advert`], [`trailer`], [`accept`], [`router`], [`group`], [`tracker`]) is pure; [`task`] drives it.

pub mod accept;
pub mod advert;
mod alarms;
pub mod announce;
pub mod bursts;
mod checksum;
pub mod devices;
mod driver;
mod file;
mod frame;
pub mod group;
mod keeper;
mod links;
mod notify;
mod paths;
mod process;
mod rank;
pub mod reject;
pub mod router;
mod script;
pub mod socket;
pub mod state;
pub mod status;
pub mod task;
pub mod tracker;
pub mod trailer;
mod unit;
mod watch;

#[cfg(test)]
mod simulation;
