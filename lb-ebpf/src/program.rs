//! Entry points: the packet path, and the clock.
#![allow(unsafe_code, reason = "the licence and the entry points are linked by section; see ARCHITECTURE.md")]

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
        xdp_md,
    },
    helpers::generated::{bpf_jiffies64, bpf_redirect},
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::error;
use lb_common::{
    limits::OUTCOME_ROW,
    outcome::{Disposition, Outcome},
};
use lb_ebpf::{
    forward::{Step, known, longer},
    packet::Packet,
    scan,
    select::{self, Choice, Selection},
    verdict::Verdict,
};

use crate::{
    maps::{self, Maps},
    xdp::{self, Frame},
};

/// Forwards a packet.
#[xdp(frags)]
pub fn xlb(context: XdpContext) -> u32 {
    let mut frame = Frame::new(&context);
    let mut maps = Maps::new(&context);
    let Some(workspace) = maps::workspace() else { return XDP_PASS };
    let bytes = frame.length() as u64;
    let arrived = frame.interface();
    let verdict = match known(&mut frame, &mut maps, workspace) {
        Step::Ended(verdict) => verdict,
        Step::Longer4 => Verdict::from_word(xlb_longer_v4(context.ctx)),
        Step::Longer6 => Verdict::from_word(xlb_longer_v6(context.ctx)),
    };
    maps.count_end(arrived, verdict, bytes);
    if verdict == Outcome::Unwritable.into() {
        // A defect of ours: say so where somebody looks.
        error!(&context, "a packet on interface {} could not be changed", arrived);
    }
    match verdict.disposition() {
        Disposition::Pass | Disposition::Kernel => XDP_PASS,
        Disposition::Drop => XDP_DROP,
        Disposition::Send if u32::from(verdict.interface()) == arrived && maps.may_transmit(arrived) => {
            XDP_TX
        }
        // SAFETY: a helper without pointers; it answers XDP_ABORTED for an interface that is gone.
        Disposition::Send => unsafe { bpf_redirect(u32::from(verdict.interface()), 0) as u32 },
    }
}

// Global functions: the verifier looks at each once, whatever calls it. Without that, it would follow every way through the
// program from the first byte to the last and run out of patience.

/// The longer way of the packet on the IPv4 desk.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_longer_v4(context: *mut xdp_md) -> u32 {
    let context = XdpContext::new(context);
    let Some(workspace) = maps::workspace() else { return 0 };
    longer(&mut Frame::new(&context), &mut Maps::new(&context), &mut workspace.v4).to_word()
}

/// The longer way of the packet on the IPv6 desk.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_longer_v6(context: *mut xdp_md) -> u32 {
    let context = XdpContext::new(context);
    let Some(workspace) = maps::workspace() else { return 0 };
    longer(&mut Frame::new(&context), &mut Maps::new(&context), &mut workspace.v6).to_word()
}

/// [`select::choose`], with its selection in the arguments a global function can have.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_choose(rule: u64, high: u64, low: u64, tried: u64, first_tried: u64) -> u32 {
    // Nothing is asked of the packet here, and an argument that is not used would not survive the compiler.
    let context = XdpContext::new(core::ptr::null_mut());
    let selection = Selection {
        index: (rule >> 32) as u32,
        scheduling: rule as u8 as u32,
        address: (high, low),
        port: (rule >> 16) as u16,
        choice: if rule >> 8 & 1 == 0 { Choice::Scheduled } else { Choice::Deterministic },
        attempt: (rule >> 9 & 0x7f) as u32,
        tried: [tried as u32, (tried >> 32) as u32, first_tried as u32],
    };
    select::choose(&mut Maps::new(&context), &selection)
}

/// [`scan::score`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_score(real_server: u64, scheduling: u64) -> u64 {
    let context = XdpContext::new(core::ptr::null_mut());
    scan::score(&mut Maps::new(&context), real_server as u32, scheduling as u32)
}

/// Calls [`xlb_choose`].
#[inline(always)]
pub fn choose_apart(selection: &Selection) -> u32 {
    let rule = u64::from(selection.index) << 32
        | u64::from(selection.port) << 16
        | u64::from(selection.attempt) << 9
        | u64::from(selection.choice == Choice::Deterministic) << 8
        | u64::from(selection.scheduling & 0xff);
    let [last, middle, first] = selection.tried;
    let tried = u64::from(middle) << 32 | u64::from(last);
    xlb_choose(rule, selection.address.0, selection.address.1, tried, u64::from(first))
}

/// [`xdp::sum`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_sum(context: *mut xdp_md, offset: u64, length: u64) -> u32 {
    xdp::sum(&XdpContext::new(context), offset as usize, length as usize)
}

/// Answers the clock of the connection tables, so that the controller reads the same one through a test run.
#[xdp]
pub fn xlb_clock(_context: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_jiffies64() as u32 }
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
