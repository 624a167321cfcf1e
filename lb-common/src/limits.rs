//! Sizes that both sides rely on.

/// Interface indices the data plane can use are below this.
pub const INTERFACES: u32 = 16_384;

/// Interfaces a program can be attached to at once: each has its own outcome counters.
pub const ATTACHED_INTERFACES: u32 = 64;

/// Real servers of one virtual server.
pub const POOL: u32 = 256;

/// Slots of a scheduling table, its head included.
pub const SCHEDULING_SLOTS: u32 = 4 + MAGLEV_SLOTS + SEQUENCE_SLOTS + POOL;

/// Slots of the largest Maglev table; prime (Maglev, NSDI 2016, section 3.4).
pub const MAGLEV_SLOTS: u32 = 65_537;

/// Slots of the longest round robin sequence.
pub const SEQUENCE_SLOTS: u32 = 65_536;

/// Choices a new connection tries before it is refused.
pub const ATTEMPTS: u32 = 4;

/// Fragmented packets of one family whose ports are remembered at once.
pub const FRAGMENTS: u32 = 16_384;
/// Rules of firewall marks that one destination can have, those of wider prefixes that include it among them.
pub const MARK_RULES: u32 = 64;

/// Destinations of firewall marks per address family. Their memory is taken when they are used.
pub const MARK_PREFIXES: u32 = 4096;

/// Counters of one interface in the outcome table; outcomes are fewer.
pub const OUTCOME_ROW: u32 = 64;

/// Bytes of a virtual server's name, at most.
pub const NAME: usize = 64;

/// Slots of the ownership leases; slot 0 is never used.
pub const LEASES: u32 = 1024;
