//! End to end: real clients, real servers, real connections, in network namespaces.

mod accounting;
mod bad_input;
mod control;
mod download;
mod given;
mod hairpin;
mod kill;
mod marks;
mod pair;
mod path;
mod site;
mod traffic;
mod transfer;
mod vrrp;
