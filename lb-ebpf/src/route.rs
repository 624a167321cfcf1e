//! The kernel's routing, asked through `bpf_fib_lookup`.
#![allow(unsafe_code, reason = "a part of the map adapter; see ARCHITECTURE.md")]

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as Query},
    helpers::generated::bpf_fib_lookup,
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
        query.__bindgen_anon_3.ipv6_src = key.source.to_wire();
        query.__bindgen_anon_4.ipv6_dst = key.destination.to_wire();
    }
}

/// The route of a packet as if it had arrived on `interface` with these addresses.
#[inline(never)]
pub fn route<A: Routed>(
    context: &XdpContext,
    protocol: Protocol,
    key: &ConnectionKey<A>,
    interface: u32,
) -> Route {
    // SAFETY: integers and unions of integers; all zero is a value.
    let mut query: Query = unsafe { core::mem::zeroed() };
    query.l4_protocol = protocol as u8;
    query.sport = key.source_port.to_wire();
    query.dport = key.destination_port.to_wire();
    query.ifindex = interface;
    A::ask(&mut query, key);
    // SAFETY: the context is this run's, the query is as long as is said.
    let answer = unsafe { bpf_fib_lookup(context.as_ptr(), &raw mut query, size_of::<Query>() as i32, 0) };
    if answer == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH) {
        return Route::NeighbourUnknown;
    }
    if answer != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        return Route::NotForwarded;
    }
    let egress = query.ifindex;
    match INTERFACES.get(egress) {
        Some(egress) if egress.flags & interface::ATTACHED != 0 => {}
        _ => return Route::NotForwarded,
    }
    Route::Via(NextHop {
        destination: query.dmac.into(),
        source: query.smac.into(),
        interface: egress as u16,
        vlan: 0,
        // SAFETY: every bit pattern of the union is an integer.
        mtu: unsafe { query.__bindgen_anon_1.mtu_result },
    })
}
