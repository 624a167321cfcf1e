//! The configuration: file (as written) -> resolve (all errors, each with its place) -> model (as meant).

pub mod model;
pub mod vrrp;
