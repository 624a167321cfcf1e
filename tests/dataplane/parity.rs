//! The kernel and the host agree on generated packets: action and bytes after each, counters and entries now and then.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use lb_common::outcome::Outcome;

use crate::kernel::{Kernel, with_the_world};
use crate::lab::{Lab, hex};
use crate::stream::{self, Dice};
use crate::world;

/// Seeds; each is a stream of its own from empty tables.
const SEEDS: u64 = 30;

/// Frames of each.
const FRAMES: usize = 4000;

/// Frames between two comparisons of the tables.
const BETWEEN: usize = 1000;

/// Few: the table of established connections is full most of the time.
const CONNECTIONS: usize = 16;

#[test]
fn kernel_and_host_agree_on_generated_packets() {
    with_the_world(|pins| {
        let mut kernel = Kernel::load(CONNECTIONS, pins);
        for seed in 0..SEEDS {
            kernel.clear();
            agree(&mut kernel, seed);
        }
        for outcome in [Outcome::Reset, Outcome::IcmpTranslated, Outcome::Refused, Outcome::TimeExceeded] {
            assert_ne!(kernel.count(outcome), 0, "the streams come upon {}", outcome.name());
        }
    });
}

fn agree(kernel: &mut Kernel, seed: u64) {
    let mut dice = Dice(seed);
    let mut memory = world::memory(CONNECTIONS);
    if seed.is_multiple_of(2) {
        world::add_reverse_index(&mut memory);
    }
    let mut lab = Lab::new(memory, Some(kernel));
    for index in 0..FRAMES {
        let (interface, frame) = stream::next(&mut dice, &lab.memory);
        let agreed = catch_unwind(AssertUnwindSafe(|| {
            lab.frame(interface, &frame);
            if index % BETWEEN == BETWEEN - 1 {
                lab.change_and_renew(|memory| stream::change(&mut dice, memory));
            }
        }));
        if let Err(panic) = agreed {
            eprintln!("seed {seed}, frame {index} on interface {interface}: {}", hex(&frame));
            resume_unwind(panic);
        }
    }
    lab.check();
}
