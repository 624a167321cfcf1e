//! From what is configured and known to be alive to what the maps should hold, and the ordered way there. Pure.

pub mod concern;
pub mod diff;
mod indices;
mod links;
mod maglev;
mod marks;
pub mod planner;
pub mod registry;
mod reverse;
mod sequence;
pub mod table;
pub mod wanted;

pub use concern::{Concerns, concerns};
pub use diff::{Change, Write, diff, needs_new_generation};
pub use marks::Marks;
pub use planner::{PlanError, client_prefix, plan, unavailable};
pub use registry::{Capacity, Registry, RegistryError};
pub use table::TableInput;
pub use wanted::{Family, HostView, Pool, PoolMember, Wanted};

#[cfg(test)]
mod diff_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod planner_tests;
