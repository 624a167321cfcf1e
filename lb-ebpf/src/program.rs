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
    addr::{Address, Port, V4, V6},
    limits::OUTCOME_ROW,
    outcome::{Disposition, Outcome},
};
use lb_ebpf::{
    desk::Desk,
    forward::{Step, Way, follow, known, walk},
    mark::{self, Question},
    open::{self, Added, Pointed},
    packet::Packet,
    scan,
    select::{self, Choice, Selection},
    tables::{Common, Tables},
    verdict::{GOES_ON, Verdict},
    vlan,
};

use crate::{
    drops,
    maps::{self, Maps, Workspaces},
    xdp::{self, Frame},
};

/// Forwards a packet.
#[xdp(frags)]
pub fn xlb(context: XdpContext) -> u32 {
    let mut frame = Frame::new(&context);
    let mut maps = Maps::new(&context);
    let bytes = frame.whole_length();
    let interface = maps.interface(frame.interface()).copied();
    let slot = interface.map_or(0, |interface| interface.slot);
    let mut verdict = match known(&mut frame, &mut maps, &mut Workspaces, interface) {
        Step::Tagged => match xlb_arrive(context.ctx) {
            GOES_ON => {
                let named = maps::workspace().map_or(0, |workspace| workspace.tags.interface());
                let step = vlan::known(&mut frame, &mut maps, &mut Workspaces, named);
                let verdict = lead(context.ctx, step);
                Verdict::from_word(xlb_depart(context.ctx, verdict.to_word()))
            }
            ended => Verdict::from_word(ended),
        },
        step => lead(context.ctx, step),
    };
    if verdict.is_tagged() {
        verdict = Verdict::from_word(xlb_leave(context.ctx, verdict.to_word()));
    }
    maps.count_end(slot, verdict, bytes);
    if verdict == Outcome::Unwritable.into() {
        // A defect of ours: say so where somebody looks.
        error!(&context, "a packet on interface {} could not be changed", frame.interface());
    }
    match verdict.disposition() {
        Disposition::Pass | Disposition::Kernel => XDP_PASS,
        Disposition::Drop => {
            xlb_tell(context.ctx, verdict.number());
            XDP_DROP
        }
        Disposition::Send
            if u32::from(verdict.interface()) == frame.interface()
                && maps.may_transmit(frame.interface()) =>
        {
            XDP_TX
        }
        // SAFETY: a helper without pointers; it answers XDP_ABORTED for an interface that is gone.
        Disposition::Send => unsafe { bpf_redirect(u32::from(verdict.interface()), 0) as u32 },
    }
}

/// Goes on after the first step with a packet without tags.
#[inline(always)]
fn lead(context: *mut xdp_md, step: Step) -> Verdict {
    match step {
        Step::Ended(verdict) => verdict,
        Step::Tagged => Outcome::NotIp.into(),
        Step::V4(word) => follow(word, |way| walk_v4(context, way)),
        Step::V6(word) => follow(word, |way| walk_v6(context, way)),
    }
}

// Global functions: the verifier looks at each once, whatever calls it. Without that, it would follow every way through the
// program from the first byte to the last and run out of patience.

/// [`vlan::arrive`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_arrive(context: *mut xdp_md) -> u32 {
    let context = XdpContext::new(context);
    let Some(workspace) = maps::workspace() else { return Verdict::from(Outcome::Unwritable).to_word() };
    vlan::arrive(&mut Frame::new(&context), &Maps::new(&context), &mut workspace.tags)
}

/// [`vlan::depart`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_depart(context: *mut xdp_md, verdict: u32) -> u32 {
    let context = XdpContext::new(context);
    let Some(workspace) = maps::workspace() else { return Verdict::from(Outcome::Unwritable).to_word() };
    let (mut frame, maps) = (Frame::new(&context), Maps::new(&context));
    vlan::depart(&mut frame, &maps, &workspace.tags, Verdict::from_word(verdict)).to_word()
}

/// [`vlan::leave`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_leave(context: *mut xdp_md, verdict: u32) -> u32 {
    let context = XdpContext::new(context);
    vlan::leave(&mut Frame::new(&context), &Maps::new(&context), Verdict::from_word(verdict)).to_word()
}

macro_rules! ways {
    ($family:ident, $walk:ident, $read:ident, $fragment:ident, $icmp:ident, $connection:ident, $begin:ident, $send:ident, $answer:ident) => {
        /// Goes one way of a packet on this family's desk.
        #[inline(always)]
        fn $walk(context: *mut xdp_md, way: Way) -> u32 {
            match way {
                Way::Read => $read(context),
                Way::Fragment => $fragment(context),
                Way::Icmp => $icmp(context),
                Way::Connection => $connection(context),
                Way::Begin => $begin(context),
                Way::Send(word) => $send(context, word),
                Way::Answer(outcome) => $answer(context, outcome),
            }
        }

        ways!($family, $read, Way::Read);
        ways!($family, $fragment, Way::Fragment);
        ways!($family, $icmp, Way::Icmp);
        ways!($family, $connection, Way::Connection);
        ways!($family, $begin, Way::Begin);
        ways!($family, $send, Way::Send(word), word);
        ways!($family, $answer, Way::Answer(outcome), outcome);
    };
    ($family:ident, $name:ident, $way:expr $(, $argument:ident)?) => {
        /// This way, on this family's desk.
        #[inline(never)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(context: *mut xdp_md $(, $argument: u32)?) -> u32 {
            let context = XdpContext::new(context);
            let Some(workspace) = maps::workspace() else { return Verdict::from(Outcome::Unwritable).to_word() };
            walk(&mut Frame::new(&context), &mut Maps::new(&context), &mut workspace.$family, $way)
        }
    };
}

ways!(
    v4,
    walk_v4,
    xlb_read_v4,
    xlb_fragment_v4,
    xlb_icmp_v4,
    xlb_connection_v4,
    xlb_begin_v4,
    xlb_send_v4,
    xlb_answer_v4
);
ways!(
    v6,
    walk_v6,
    xlb_read_v6,
    xlb_fragment_v6,
    xlb_icmp_v6,
    xlb_connection_v6,
    xlb_begin_v6,
    xlb_send_v6,
    xlb_answer_v6
);

// These two take the caller's desk, so that the compiler knows at the call that it changes there. They look it up again: Linux
// 6.1 takes no key for a map from memory that it knows by an argument alone.
macro_rules! opening {
    ($address:ty, $family:ident, $point:ident, $add:ident) => {
        /// [`open::point`] as its number; on a desk that is not there, that of a real server that takes nothing.
        #[inline(never)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $point(
            context: *mut xdp_md,
            desk: *mut Desk<$address>,
            real_server: u32,
            attempt: u32,
        ) -> u32 {
            let (false, Some(workspace)) = (desk.is_null(), maps::workspace()) else {
                return Pointed::Full as u32;
            };
            let context = XdpContext::new(context);
            open::point(&mut Maps::new(&context), &mut workspace.$family, real_server, attempt) as u32
        }

        /// [`open::add`] as its number; on a desk that is not there, that of no room.
        #[inline(never)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $add(desk: *mut Desk<$address>) -> u32 {
            let (false, Some(workspace)) = (desk.is_null(), maps::workspace()) else {
                return Added::Full as u32;
            };
            // As in `xlb_choose`.
            let context = XdpContext::new(core::ptr::null_mut());
            open::add(&mut Maps::new(&context), &mut workspace.$family) as u32
        }
    };
}

opening!(V4, v4, xlb_point_v4, xlb_add_v4);
opening!(V6, v6, xlb_point_v6, xlb_add_v6);

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
        client_prefix: 0,
        choice: if rule >> 8 & 1 == 0 { Choice::Scheduled } else { Choice::Deterministic },
        attempt: (rule >> 9 & 0x7f) as u32,
        tried: [tried as u32, (tried >> 32) as u32, first_tried as u32],
    };
    select::choose(&mut Maps::new(&context), &selection)
}

/// [`scan::untried`], with its selection in the arguments a global function can have.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_score(index: u64, slot: u64, scheduling: u64, tried: u64, first_tried: u64) -> u64 {
    // As in `xlb_choose`.
    let context = XdpContext::new(core::ptr::null_mut());
    let selection = Selection {
        index: index as u32,
        scheduling: scheduling as u32,
        address: (0, 0),
        port: 0,
        client_prefix: 0,
        choice: Choice::Scheduled,
        attempt: 0,
        tried: [tried as u32, (tried >> 32) as u32, first_tried as u32],
    };
    scan::untried(&mut Maps::new(&context), &selection, slot as u32)
}

/// Calls [`xlb_score`].
#[inline(always)]
pub fn score_apart(selection: &Selection, slot: u32) -> u64 {
    let [last, middle, first] = selection.tried;
    let tried = u64::from(middle) << 32 | u64::from(last);
    xlb_score(
        u64::from(selection.index),
        u64::from(slot),
        u64::from(selection.scheduling),
        tried,
        u64::from(first),
    )
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

/// [`mark::classify`] for IPv4, with its question in the arguments a global function can have.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_marked_v4(destination: u64, source: u64, about: u64) -> u32 {
    classify::<V4>((destination, 0), (source, 0), about)
}

/// [`mark::classify`] for IPv6, with its question in the arguments a global function can have.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_marked_v6(
    destination_high: u64,
    destination_low: u64,
    source_high: u64,
    source_low: u64,
    about: u64,
) -> u32 {
    classify::<V6>((destination_high, destination_low), (source_high, source_low), about)
}

#[inline(always)]
fn classify<A: Address>(destination: (u64, u64), source: (u64, u64), about: u64) -> u32
where
    for<'a> Maps<'a>: Tables<A>,
{
    // As in `xlb_choose`.
    let context = XdpContext::new(core::ptr::null_mut());
    let question = Question {
        destination: A::from_words(destination),
        source: A::from_words(source),
        port: Port::from_wire(about as u16),
        protocol: (about >> 16) as u16,
        interface: (about >> 32) as u32,
    };
    mark::classify(&Maps::new(&context), &question)
}

#[inline(always)]
fn about<A>(question: &Question<A>) -> u64 {
    u64::from(question.interface) << 32
        | u64::from(question.protocol) << 16
        | u64::from(question.port.to_wire())
}

/// Calls [`xlb_marked_v4`].
#[inline(always)]
pub fn marked_apart_v4(question: &Question<V4>) -> u32 {
    xlb_marked_v4(question.destination.words().0, question.source.words().0, about(question))
}

/// Calls [`xlb_marked_v6`].
#[inline(always)]
pub fn marked_apart_v6(question: &Question<V6>) -> u32 {
    let (destination, source) = (question.destination.words(), question.source.words());
    xlb_marked_v6(destination.0, destination.1, source.0, source.1, about(question))
}

/// [`drops::tell`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn xlb_tell(context: *mut xdp_md, outcome: u32) -> u32 {
    drops::tell(&XdpContext::new(context), outcome as u16);
    0
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
