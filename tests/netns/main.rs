//! End to end: real clients, real servers, real connections, in network namespaces.

mod accounting;
mod bad_input;
mod control;
mod doctor;
mod download;
mod failover;
mod farewell;
mod figures;
mod given;
mod hairpin;
mod haproxy;
mod introspection;
mod kill;
mod marks;
mod pair;
mod path;
mod pool;
mod site;
mod systems;
mod traffic;
mod transfer;
mod vmac;
mod vrrp;
