//! End to end: real clients, real servers, real connections, in network namespaces.

mod accounting;
mod bad_input;
mod control;
mod download;
mod given;
mod introspection;
mod kill;
mod site;
mod traffic;
mod transfer;
