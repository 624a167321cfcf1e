//! The data plane as the controller sees it: loaded, pinned, attached, written, swept, counted.

pub mod attach;
pub mod batch;
pub mod clock;
pub mod connections;
pub mod counters;
pub mod drops;
pub mod half_open;
pub mod leases;
pub mod load;
pub mod maps;
pub mod object;
pub mod pins;
pub mod programs;
pub mod read;
pub mod rehearsal;
mod scheduling;
pub mod sizes;
pub mod sweep;
pub mod templates;
pub mod write;
