//! Health: what checks ask (one file per kind), when (`monitor`, `board`: pure) and who drives them (`task`).

mod board;
pub mod counters;
mod dns;
mod http;
pub mod monitor;
mod ping;
pub mod probe;
pub mod result;
mod script;
mod smtp;
pub mod task;
mod tcp;
mod tls;
mod udp;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod tls_faults;

pub use board::Event;
pub use counters::Counters;
pub use monitor::{Carried, Health, Monitor, Start, Status, Transition};
pub use probe::Context;
pub use result::{CheckResult, Report};
