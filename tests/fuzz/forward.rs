//! The decision function on the host's tables under libFuzzer: an input is a history of frames and of mishaps.
//!
//! Each record of an input begins with a byte that says what it is. Frames out of a stream are chosen by a seed, so that
//! one record is one sensible packet of the world and a history of them is what the fuzzer finds its way through; raw
//! frames are the bytes of the input, so that it finds its way through headers, too.
#![no_main]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a finding ends the process")]
#![allow(dead_code, reason = "the harness of the packet cases does more than is needed here")]

#[path = "../dataplane/fragments.rs"]
mod fragments;
#[path = "../dataplane/icmp.rs"]
mod icmp;
#[path = "../dataplane/lab.rs"]
mod lab;
#[path = "../dataplane/packet.rs"]
mod packet;
#[path = "../dataplane/read.rs"]
mod read;
#[path = "../dataplane/reset.rs"]
mod reset;
#[path = "../dataplane/safety.rs"]
mod safety;
#[path = "../dataplane/services.rs"]
mod services;
#[path = "../dataplane/stream.rs"]
mod stream;
#[path = "../dataplane/wires.rs"]
mod wires;
#[path = "../dataplane/world.rs"]
mod world;

use lb_ebpf::memory::Memory;
use libfuzzer_sys::fuzz_target;

use crate::lab::{Lab, hex};
use crate::stream::Dice;
use crate::world::OUTSIDE;

/// Few, so that histories come upon a full table.
const CONNECTIONS: usize = 4;

thread_local! {
    static WORLD: Memory = world::memory(CONNECTIONS);
}

fuzz_target!(|input: &[u8]| {
    let mut lab = Lab::new(WORLD.with(Clone::clone), None);
    let mut rest = input;
    while let Some((frame, interface)) = next(&mut rest, &mut lab.memory) {
        if let Err(fault) = safety::try_frame(&mut lab, interface, &frame) {
            panic!("{fault}\n in {}", hex(&frame));
        }
    }
});

/// The next frame and the interface it arrives on.
fn next(rest: &mut &[u8], memory: &mut Memory) -> Option<(Vec<u8>, u32)> {
    loop {
        let (kind, after) = rest.split_first()?;
        *rest = after;
        if *kind & 0xf0 == 0xf0 {
            let length = usize::from(kind & 0x0f) << 3 | 6;
            let (frame, after) = rest.split_at_checked(length.min(rest.len()))?;
            *rest = after;
            // Link addresses are not worth guessing.
            return Some((
                [OUTSIDE.mac.as_slice(), &[2, 0, 0, 1, 0, 2], frame].concat(),
                OUTSIDE.index.into(),
            ));
        }
        let (seed, after) = rest.split_first_chunk()?;
        *rest = after;
        let mut dice = Dice(u64::from(u32::from_le_bytes(*seed)));
        if *kind & 0xf0 == 0xe0 {
            safety::upset(&mut dice, memory);
            continue;
        }
        let (interface, frame) = stream::next(&mut dice, memory);
        return Some((frame, interface));
    }
}
