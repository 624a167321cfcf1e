//! VRRP: which node owns the virtual addresses. RFC 9568 (version 3) and RFC 3768 (version 2).

pub mod accept;
pub mod advert;
mod checksum;
pub mod reject;
