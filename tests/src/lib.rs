//! Harness of the tests that need root: hosts made of network namespaces, real servers, clients and the daemon.
//!
//! Everything is removed when it is dropped: processes are killed by their id, namespaces and mounts by their own unique names.

pub mod bpffs;
pub mod cluster;
pub mod daemon;
pub mod http;
pub mod load;
pub mod namespace;
pub mod nginx;
pub mod process;
pub mod site;
pub mod streams;
pub mod udp;
pub mod wait;
pub mod xdp;

pub use cluster::Cluster;
pub use daemon::Daemon;
pub use load::Load;
pub use namespace::Namespace;
pub use process::Process;
pub use site::{Arms, Offload, Shape, Site};
pub use streams::Streams;
pub use wait::wait_until;
