//! The controller of xlb: configuration, plan, health, data plane, control.

pub mod config;
pub mod host;
pub mod vrrp;
