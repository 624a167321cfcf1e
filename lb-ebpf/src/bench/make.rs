//! Makes frames, each from another client, and gives them away.
#![allow(unsafe_code, reason = "programs over raw frames; see ARCHITECTURE.md")]

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_TX},
    btf_maps::{Array, PerCpuArray, ProgramArray},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::{
    counter::Counter,
    script::{FRAME, LOWEST_PORT, PORT_BITS, Script, slot},
};
use lb_ebpf::checksum::fold;

#[btf_map]
pub static SCRIPT: Array<Script, 1> = Array::new();
#[btf_map]
static PROGRAMS: ProgramArray<{ slot::COUNT as usize }> = ProgramArray::new();
#[btf_map]
static ARRIVED: PerCpuArray<Counter, 1> = PerCpuArray::new();

/// Makes the next frame and lets a program of the table have it. Every program that is compared runs behind this, the empty
/// one too, and a run leaves nothing behind for the next.
#[xdp(frags)]
pub fn call(context: XdpContext) -> u32 {
    let Some(program) = make(&context) else { return XDP_ABORTED };
    // SAFETY: a call that does not come back when it succeeds; nothing here is left to drop.
    unsafe { PROGRAMS.tail_call(&context, program) };
    XDP_ABORTED
}

/// Makes the next frame and sends it.
#[xdp(frags)]
pub fn generate(context: XdpContext) -> u32 {
    if make(&context).is_some() { XDP_TX } else { XDP_ABORTED }
}

/// Counts the frame and drops it.
#[xdp(frags)]
pub fn sink(context: XdpContext) -> u32 {
    if let Some(counter) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: this CPU's own copy.
        unsafe { (*counter).add((context.data_end() - context.data()) as u64) };
    }
    XDP_DROP
}

/// Writes the next client's frame; the program that is to get it.
#[inline(always)]
fn make(context: &XdpContext) -> Option<u32> {
    let (data, end) = (context.data(), context.data_end());
    if data + FRAME > end {
        return None;
    }
    // SAFETY: a measurement runs on one CPU at a time, and nobody writes the script meanwhile.
    let script = unsafe { &mut *SCRIPT.get_ptr_mut(0)? };
    let number = script.first + script.next;
    let next = script.next + script.stride;
    script.next = if next >= script.count { next - script.count } else { next };

    let address = (script.base + (number >> PORT_BITS)).to_be();
    let port = (LOWEST_PORT + (number & ((1 << PORT_BITS) - 1)) as u16).to_be();
    let words = (address >> 16) + (address & 0xffff);
    put(script, script.address, address as u16)?;
    put(script, script.address + 2, (address >> 16) as u16)?;
    put(script, script.port, port)?;
    if script.network_checksum != 0 {
        put(script, script.network_checksum.into(), !fold(script.network_sum + words))?;
    }
    put(script, script.transport_checksum.into(), !fold(script.transport_sum + words + u32::from(port)))?;
    let frame = data as *mut u64;
    for word in 0..FRAME / 8 {
        // SAFETY: the frame has so many bytes; it begins at an address that is a multiple of 8, as every XDP frame of a test run.
        unsafe { frame.add(word).write(script.frame[word]) };
    }
    Some(script.program)
}

/// Writes a word into the script's frame, at an even offset.
#[inline(always)]
fn put(script: &mut Script, offset: u32, word: u16) -> Option<()> {
    let offset = offset as usize;
    if offset > FRAME - 2 {
        return None;
    }
    // SAFETY: within the frame, and even as all offsets of headers are.
    unsafe { (&raw mut script.frame).cast::<u8>().add(offset).cast::<u16>().write(word) };
    Some(())
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
