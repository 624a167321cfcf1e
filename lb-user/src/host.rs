//! What the kernel is asked and told about this host.

pub mod addresses;
pub mod interfaces;
pub mod links;
pub mod macvlans;
pub mod neighbours;
pub mod on_link;
pub mod prompt;
pub mod reach;
pub mod routes;
pub mod sysctl;
pub mod vlans;
pub mod watch;
