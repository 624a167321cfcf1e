//! What xlb is compared with in XDP: nothing, a bare rewrite, a bare redirect, a router. They know IPv4 only.
#![allow(unsafe_code, reason = "programs over raw frames; see ARCHITECTURE.md")]

use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as Query,
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    },
    btf_maps::PerCpuArray,
    helpers::generated::{bpf_fib_lookup, bpf_redirect},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_ebpf::{
    checksum::{TTL_DECREMENT, update},
    headers::{Ethernet, Ipv4, Tcp, Wire32},
};

use crate::make::SCRIPT;

/// Frames as they are compared: no options.
#[repr(C)]
struct Headers {
    ethernet: Ethernet,
    ip: Ipv4,
    tcp: Tcp,
}

#[inline(always)]
fn headers(context: &XdpContext) -> Option<&mut Headers> {
    let (data, end) = (context.data(), context.data_end());
    if data + size_of::<Headers>() > end {
        return None;
    }
    // SAFETY: the frame is that long and this run's alone; headers are words of 16 bits and any bytes are a header.
    Some(unsafe { &mut *(data as *mut Headers) })
}

/// Does nothing: the floor of test runs.
#[xdp(frags)]
pub fn empty(_context: XdpContext) -> u32 {
    XDP_DROP
}

/// What every NAT has to do to a packet at least: another destination, both checksums, another hop, link addresses swapped.
#[xdp(frags)]
pub fn bare(context: XdpContext) -> u32 {
    const REAL_SERVER: u32 = u32::from_ne_bytes([10, 0, 0, 21]);
    const PORT: u16 = 8080u16.to_be();
    /// The change of the sum for the destination that packets are measured with; known beforehand as it is in an entry.
    const DELTA: u16 = 0x5a5a;
    let Some(headers) = headers(&context) else { return XDP_DROP };
    headers.ip.destination = Wire32::new(REAL_SERVER);
    headers.ip.ttl = headers.ip.ttl.wrapping_sub(1);
    headers.ip.checksum = update(headers.ip.checksum, DELTA);
    headers.tcp.destination_port = PORT;
    headers.tcp.checksum = update(headers.tcp.checksum, DELTA);
    for word in 0..3 {
        let destination = headers.ethernet.destination[word];
        headers.ethernet.destination[word] = headers.ethernet.source[word];
        headers.ethernet.source[word] = destination;
    }
    XDP_TX
}

/// Sends every frame on as it is: the floor of what goes through a wire.
#[xdp(frags)]
pub fn redirect(_context: XdpContext) -> u32 {
    let Some(script) = SCRIPT.get(0) else { return XDP_DROP };
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(script.egress, 0) as u32 }
}

/// In a map, because it is long and the helper wants all of it initialized.
#[btf_map]
static QUERY: PerCpuArray<Query, 1> = PerCpuArray::new();

/// Routes by the kernel's tables, as the kernel's own example does (samples/bpf/xdp_fwd_kern.c).
#[xdp(frags)]
pub fn route(context: XdpContext) -> u32 {
    /// `AF_INET` of Linux.
    const INET: u8 = 2;
    let Some(headers) = headers(&context) else { return XDP_PASS };
    // SAFETY: this CPU's own, and one query at a time is asked.
    let Some(query) = QUERY.get_ptr_mut(0).map(|query| unsafe { &mut *query }) else { return XDP_PASS };
    query.family = INET;
    query.l4_protocol = headers.ip.protocol;
    query.sport = 0;
    query.dport = 0;
    query.__bindgen_anon_1.tot_len = headers.ip.total_length.get();
    query.ifindex = context.ingress_ifindex() as u32;
    query.__bindgen_anon_2.tos = headers.ip.traffic_class;
    query.__bindgen_anon_3.ipv4_src = headers.ip.source.get();
    query.__bindgen_anon_4.ipv4_dst = headers.ip.destination.get();
    query.__bindgen_anon_5.tbid = 0;
    // SAFETY: the context is this run's, the query is as long as is said.
    let answer = unsafe { bpf_fib_lookup(context.as_ptr(), &raw mut *query, size_of::<Query>() as i32, 0) };
    if answer != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        return XDP_PASS;
    }
    headers.ip.ttl = headers.ip.ttl.wrapping_sub(1);
    headers.ip.checksum = update(headers.ip.checksum, TTL_DECREMENT);
    for word in 0..3 {
        headers.ethernet.destination[word] =
            u16::from_ne_bytes([query.dmac[2 * word], query.dmac[2 * word + 1]]);
        headers.ethernet.source[word] = u16::from_ne_bytes([query.smac[2 * word], query.smac[2 * word + 1]]);
    }
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(query.ifindex, 0) as u32 }
}
