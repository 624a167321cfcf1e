//! The data plane as the controller sees it.

pub mod object;
