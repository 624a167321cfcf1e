//! Arbitrary input on the host: whatever comes in, nobody else's packet is harmed and nothing malformed goes out.

use proptest::prelude::*;

use crate::lab::{Lab, hex};
use crate::safety::{try_frame, upset};
use crate::stream::{self, Dice};
use crate::world::{self, INSIDE, OUTSIDE};

/// Frames of one stream.
const FRAMES: usize = 400;

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 100 } else { 1000 }, ..ProptestConfig::default() })]

    #[test]
    fn packets_of_any_stream_are_safe(seed: u64, capacity in 0usize..40) {
        let mut dice = Dice(seed);
        let mut lab = Lab::new(world::memory(capacity), None);
        for index in 0..FRAMES {
            if dice.below(50) == 0 {
                upset(&mut dice, &mut lab.memory);
            }
            let (interface, frame) = stream::next(&mut dice, &lab.memory);
            if let Err(fault) = try_frame(&mut lab, interface, &frame) {
                prop_assert!(false, "frame {index}: {fault}\n in {}", hex(&frame));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(frame in prop::collection::vec(any::<u8>(), 0..128), to_us: bool, interface in prop::sample::select(vec![1u32, 10, 20])) {
        let mut frame = frame;
        if to_us && frame.len() >= 14 {
            frame[..6].copy_from_slice(if interface == 20 { &INSIDE.mac } else { &OUTSIDE.mac });
            let version = frame[6] & 1;
            frame[12..14].copy_from_slice(if version == 0 { &[8, 0] } else { &[0x86, 0xdd] });
        }
        let mut lab = Lab::new(world::memory(8), None);
        prop_assert_eq!(try_frame(&mut lab, interface, &frame), Ok(()));
    }
}
