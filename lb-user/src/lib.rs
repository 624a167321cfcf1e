//! The controller of xlb: configuration, plan, health, data plane, VRRP, control.

pub mod command;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod doctor;
pub mod health;
pub mod host;
pub mod metrics;
pub mod plan;
pub mod pool;
pub mod vrrp;
