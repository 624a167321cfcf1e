//! The kernel's routing, asked through `bpf_fib_lookup`.
#![allow(unsafe_code, reason = "a part of the map adapter; see ARCHITECTURE.md")]

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as Query},
    btf_maps::PerCpuArray,
    helpers::generated::bpf_fib_lookup,
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    addr::{Protocol, V4, V6},
    connection::{ConnectionKey, NextHop},
    service::interface,
};
use lb_ebpf::tables::Route;

use crate::maps::INTERFACES;

/// A family the kernel routes.
pub trait Routed: Sized {
    /// Writes the family and the addresses of a packet.
    fn ask(query: &mut Query, key: &ConnectionKey<Self>);
}

/// `AF_INET` and `AF_INET6` of Linux.
const INET: u8 = 2;
const INET6: u8 = 10;

impl Routed for V4 {
    #[inline(always)]
    fn ask(query: &mut Query, key: &ConnectionKey<Self>) {
        query.family = INET;
        query.__bindgen_anon_3.ipv4_src = key.source.to_wire();
        query.__bindgen_anon_4.ipv4_dst = key.destination.to_wire();
    }
}

impl Routed for V6 {
    #[inline(always)]
    fn ask(query: &mut Query, key: &ConnectionKey<Self>) {
        query.family = INET6;
        let (source, destination) = (key.source.to_wire(), key.destination.to_wire());
        // Word by word: a copy of the whole becomes a call of a subprogram that copies byte by byte.
        for word in 0..4 {
            // SAFETY: both members of the unions are integers.
            unsafe {
                query.__bindgen_anon_3.ipv6_src[word] = source[word];
                query.__bindgen_anon_4.ipv6_dst[word] = destination[word];
            }
        }
    }
}

/// In a map, because it is long and the helper wants all of it initialized.
#[btf_map]
static FIB_QUERY: PerCpuArray<Query, 1> = PerCpuArray::new();

/// A query for the route of a packet with these addresses that arrived on `interface`.
#[inline(always)]
pub fn query<A: Routed>(
    protocol: Protocol,
    key: &ConnectionKey<A>,
    interface: u32,
) -> Option<&'static mut Query> {
    // SAFETY: this CPU's own, and one query at a time is asked.
    let query = FIB_QUERY.get_ptr_mut(0).map(|query| unsafe { &mut *query })?;
    query.l4_protocol = protocol as u8;
    query.sport = key.source_port.to_wire();
    query.dport = key.destination_port.to_wire();
    // Length 0: the answer holds the MTU and no length is checked against it.
    query.__bindgen_anon_1.tot_len = 0;
    query.ifindex = interface;
    query.__bindgen_anon_2.rt_metric = 0;
    query.__bindgen_anon_5.tbid = 0;
    A::ask(query, key);
    Some(query)
}

/// Asks the kernel.
#[inline(never)]
pub fn route(context: &XdpContext, query: &mut Query, next_hop: &mut NextHop) -> Route {
    // SAFETY: the context is this run's, the query is as long as is said.
    let answer = unsafe { bpf_fib_lookup(context.as_ptr(), &raw mut *query, size_of::<Query>() as i32, 0) };
    if answer == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH) {
        return Route::NeighbourUnknown;
    }
    if answer != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        return Route::NotForwarded;
    }
    let mut index = query.ifindex;
    let mut egress = match INTERFACES.get(index) {
        Some(egress) if egress.flags & interface::ATTACHED != 0 => egress,
        _ => return Route::NotForwarded,
    };
    let through = egress.is_virtual_router();
    if through {
        // XDP cannot send through it: the packet leaves through its parent, as that one's.
        index = u32::from(egress.parent);
        egress = match INTERFACES.get(index) {
            Some(egress) if egress.flags & interface::ATTACHED != 0 => egress,
            _ => return Route::NotForwarded,
        };
    }
    for word in 0..3 {
        next_hop.destination.0[word] = u16::from_ne_bytes([query.dmac[2 * word], query.dmac[2 * word + 1]]);
        let own = u16::from_ne_bytes([query.smac[2 * word], query.smac[2 * word + 1]]);
        next_hop.source.0[word] = if through { egress.mac.0[word] } else { own };
    }
    next_hop.interface = egress.exit(index);
    next_hop.reserved = 0;
    // SAFETY: every bit pattern of the union is an integer.
    next_hop.mtu = unsafe { query.__bindgen_anon_1.mtu_result };
    Route::Via
}
