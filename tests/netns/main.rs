//! End to end: real clients, real servers, real connections, in network namespaces.

mod download;
mod given;
mod site;
mod traffic;
mod transfer;
