//! `bench vrrp`: failover of a pair of xlb beside that of a pair of keepalived.
//!
//! Two nodes and a client are network namespaces on one bridge. Nobody is asked: what a node did is what came out of its
//! port, stamped by the kernel. A client asks by ARP who has the VIP, 200 times a second.

mod capture;
mod frame;
mod invalid;
mod many;
mod node;
mod segment;
mod takeover;

use anyhow::Result;

use super::table::Table;
use super::{Effort, Subject};

/// Measures.
pub(crate) fn run(subject: &Subject) -> Result<Vec<Table>> {
    let rounds = match subject.effort {
        Effort::Quick => 1,
        Effort::Full => 5,
    };
    let program = &subject.program;
    Ok(vec![takeover::measure(program, rounds)?, invalid::measure(program)?, many::measure(program, rounds)?])
}
