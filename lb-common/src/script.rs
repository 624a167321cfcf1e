//! What the packets of a measurement look like: the measuring programs of `cargo xtask bench` read it, the product does not.

/// Bytes of every frame that is measured with.
pub const FRAME: usize = 80;

/// How the frame of each run is made, and which program then gets it.
///
/// Clients are numbers. The low half of a number's bits is its port, the rest goes into the last word of its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Script {
    /// The frame with 0 for the client's port, for the last word of its address and for checksums.
    pub frame: [u64; FRAME / 8],
    /// The last word of the address of client 0, in host byte order.
    pub base: u32,
    /// The number of the first client.
    pub first: u32,
    /// How many clients there are.
    pub count: u32,
    /// The position of the next one, from the first.
    pub next: u32,
    /// How far it is from one to the one after it, at most `count`.
    pub stride: u32,
    /// Offset of the last word of the client's address in the frame.
    pub address: u32,
    /// Offset of the client's port.
    pub port: u32,
    /// Offset of the IPv4 header's checksum; 0 when there is none.
    pub network_checksum: u16,
    /// Offset of the transport checksum.
    pub transport_checksum: u16,
    /// The folded sum of the IPv4 header without the client's address.
    pub network_sum: u32,
    /// The folded sum of segment and pseudo-header without the client.
    pub transport_sum: u32,
    /// Where the measured program is in the table of programs.
    pub program: u32,
    /// Index of the interface that redirected frames leave through.
    pub egress: u32,
}

const _: () = assert!(size_of::<Script>() == FRAME + 12 * 4);

/// Bits of a client's number that are its port.
pub const PORT_BITS: u32 = 14;

/// The lowest port of a client.
pub const LOWEST_PORT: u16 = 1024;

/// Places in the table of programs.
pub mod slot {
    /// Does nothing.
    pub const EMPTY: u32 = 0;
    /// Rewrites a destination and knows nothing.
    pub const BARE: u32 = 1;
    /// The product.
    pub const PRODUCT: u32 = 2;
    /// Another build of the product, over the same maps.
    pub const OTHER: u32 = 3;
    /// How many there are.
    pub const COUNT: u32 = 4;
}

/// Names in the object.
pub mod name {
    /// The script, one element.
    pub const SCRIPT: &str = "SCRIPT";
    /// The table of programs.
    pub const PROGRAMS: &str = "PROGRAMS";
    /// Frames and bytes that arrived at the sink, per CPU.
    pub const ARRIVED: &str = "ARRIVED";
    /// Makes a frame and calls a program of the table.
    pub const CALL: &str = "call";
    /// Makes a frame and sends it.
    pub const GENERATE: &str = "generate";
    /// See [`super::slot::EMPTY`].
    pub const EMPTY: &str = "empty";
    /// See [`super::slot::BARE`].
    pub const BARE: &str = "bare";
    /// Sends every frame on, as it is.
    pub const REDIRECT: &str = "redirect";
    /// Routes by the kernel's tables.
    pub const ROUTE: &str = "route";
    /// Counts frames and drops them.
    pub const SINK: &str = "sink";
}
