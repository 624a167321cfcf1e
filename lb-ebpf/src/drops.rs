//! Tells of dropped packets, while somebody watches.
#![allow(unsafe_code, reason = "a part of the map adapter; see ARCHITECTURE.md")]

use aya_ebpf::{
    EbpfContext,
    btf_maps::{Array, PerCpuArray, RingBuf},
    helpers::generated::{bpf_ktime_get_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::drops::{BUFFER, DroppedFrame, HEADERS};
use lb_ebpf::{
    limit::{self, Bucket},
    tables::Common,
};

use crate::maps::Maps;

#[btf_map]
static DROPS: RingBuf<DroppedFrame, { BUFFER as usize }> = RingBuf::new();

/// Since when somebody watches; 0 while nobody does.
#[btf_map]
static DROPS_WATCHED: Array<u32, 1> = Array::new();

#[btf_map]
static DROPS_TOLD: PerCpuArray<Told, 1> = PerCpuArray::new();

/// The record in the making: Linux 6.1 reads no frame into the ring buffer itself.
#[btf_map]
static DROPS_RECORD: PerCpuArray<DroppedFrame, 1> = PerCpuArray::new();

/// What this CPU has told.
#[repr(C)]
struct Told {
    bucket: Bucket<{ limit::DROPS }>,
    /// Dropped packets since the last one that was told of.
    missed: u32,
    /// The [`DROPS_WATCHED`] that it was told to.
    watched: u32,
}

/// Tells of the packet, unless nobody watches, too many were told of this second, or there is no room.
#[inline(always)]
pub fn tell(context: &XdpContext, outcome: u16) {
    let watched = DROPS_WATCHED.get(0).copied().unwrap_or(0);
    if watched == 0 {
        return;
    }
    let maps = Maps::new(context);
    let Some(settings) = maps.settings() else { return };
    // SAFETY: this CPU's own, for one packet at a time; integers, zeroed at first.
    let Some(told) = DROPS_TOLD.get_ptr_mut(0).map(|told| unsafe { &mut *told }) else { return };
    if told.watched != watched {
        // Those who watch now have missed nothing of this.
        told.watched = watched;
        told.missed = 0;
    }
    if !told.bucket.take(maps.now(), settings.ticks_per_second) {
        told.missed = told.missed.wrapping_add(1);
        return;
    }
    let Some(frame) = DROPS_RECORD.get_ptr_mut(0) else { return };
    let xdp = context.as_ptr().cast();
    // SAFETY: this CPU's own, for one packet at a time; integers, and `HEADERS` bytes of it are for the frame's: `captured`
    // says how many of them are of this one.
    let told_of = unsafe {
        let length = bpf_xdp_get_buff_len(xdp) as u32;
        // The verifier forgets what a comparison says of a copy, and the compiler leaves out a mask that a comparison makes
        // needless: the length goes through memory, where nobody knows it, and the mask stays.
        let last = core::cmp::min(length, HEADERS as u32).wrapping_sub(1);
        (&raw mut (*frame).captured).write_volatile(last as u16);
        let last = u32::from((&raw const (*frame).captured).read_volatile());
        let wanted = (last & (HEADERS as u32 - 1)) + 1;
        let loaded = bpf_xdp_load_bytes(xdp, 0, (&raw mut (*frame).headers).cast(), wanted) == 0;
        (*frame).at = bpf_ktime_get_ns();
        (*frame).interface = context.ingress_ifindex() as u32;
        (*frame).length = length;
        (*frame).missed = told.missed;
        (*frame).outcome = outcome;
        (*frame).captured = if loaded { wanted as u16 } else { 0 };
        DROPS.output(&*frame, 0).is_ok()
    };
    told.missed = if told_of { 0 } else { told.missed.wrapping_add(1) };
}
