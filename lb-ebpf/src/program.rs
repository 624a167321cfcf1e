//! Entry points: the packet path, and the clock.
#![allow(unsafe_code, reason = "the licence and the entry points are linked by section; see ARCHITECTURE.md")]

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::generated::{bpf_jiffies64, bpf_redirect},
    macros::xdp,
    programs::XdpContext,
};
use lb_common::{
    limits::OUTCOME_ROW,
    outcome::{Disposition, Outcome},
};
use lb_ebpf::{forward::forward, packet::Packet};

use crate::{
    maps::{self, Maps},
    xdp::Frame,
};

/// Forwards a packet.
#[xdp(frags)]
pub fn xlb(context: XdpContext) -> u32 {
    let mut frame = Frame::new(&context);
    let mut maps = Maps::new(&context);
    let Some(workspace) = maps::workspace() else { return XDP_PASS };
    let bytes = frame.length() as u64;
    let arrived = frame.interface();
    let verdict = forward(&mut frame, &mut maps, workspace);
    maps.count(arrived, verdict.outcome, bytes);
    match verdict.outcome.disposition() {
        Disposition::Pass | Disposition::Kernel => XDP_PASS,
        Disposition::Drop => XDP_DROP,
        Disposition::Send if u32::from(verdict.interface) == arrived && maps.may_transmit(arrived) => XDP_TX,
        // SAFETY: a helper without pointers; it answers XDP_ABORTED for an interface that is gone.
        Disposition::Send => unsafe { bpf_redirect(u32::from(verdict.interface), 0) as u32 },
    }
}

/// Answers the clock of the connection tables, so that the controller reads the same one through a test run.
#[xdp]
pub fn xlb_clock(_context: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_jiffies64() as u32 }
}

/// A frame that another program redirects to an interface needs a program there: this one only passes.
#[xdp(frags)]
pub fn xlb_pass(_context: XdpContext) -> u32 {
    XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never linked in: the build refuses an object that contains it.
    loop {}
}

// SAFETY: read by the loader only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

const _: () = assert!(Outcome::ALL.len() <= OUTCOME_ROW as usize);
