//! VRRP: which node owns the virtual addresses. RFC 9568 (version 3) and RFC 3768 (version 2).

pub mod accept;
pub mod advert;
pub mod bursts;
mod checksum;
pub mod group;
pub mod reject;
pub mod router;

#[cfg(test)]
mod simulation;
