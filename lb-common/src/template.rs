//! Templates of persistence: which real server a client's connections go to.

use crate::addr::{V4, V6};

/// Whose connections. A client is all addresses that are equal where the virtual server's granularity looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct TemplateKey<A> {
    /// The client's address with only the bits that count.
    pub client: A,
    /// Index of the virtual server.
    pub virtual_server: u32,
}

/// Where they go. The controller removes it when it has been out of use for as long as the virtual server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Template {
    /// Index of the real server.
    pub real_server: u32,
    /// Time of the last new connection, in ticks; the sweep moves it on while the client has connections.
    pub last_used: u32,
}

const _: () = assert!(size_of::<TemplateKey<V4>>() == 4 + 4);
const _: () = assert!(size_of::<TemplateKey<V6>>() == 16 + 4);
const _: () = assert!(size_of::<Template>() == 4 + 4);
