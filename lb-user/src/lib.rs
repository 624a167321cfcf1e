//! The controller of xlb: configuration, plan, health, data plane, control.

pub mod config;
pub mod health;
pub mod pool;
