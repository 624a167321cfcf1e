use crate::addr::Port;

use super::*;

const PLACEMENT: Placement = Placement {
    last: 0x0123_4567_89ab_cdef,
    secret: [
        0x243f_6a88,
        0x85a3_08d3,
        0x1319_8a2e,
        0x0370_7344,
        0xa409_3822,
        0x299f_31d0,
        0x082e_fa98,
        0xec4e_6c89,
        0x4528_21e6,
        0x38d0_1377,
    ],
    sets: 1000,
    reserved: 0,
};

/// One client's ports, towards one VIP.
fn key<A: Address>(client: A, port: u16) -> ConnectionKey<A> {
    ConnectionKey {
        source: client,
        destination: A::from_words((7, 9)),
        source_port: Port::new(port),
        destination_port: Port::new(80),
    }
}

fn spreads<A: Address>(addresses: impl Iterator<Item = (u64, u64)>) {
    let mut sets = vec![0u32; PLACEMENT.sets as usize];
    let mut tags = std::collections::HashSet::new();
    for words in addresses {
        for port in 0..500 {
            let place = PLACEMENT.place(&key(A::from_words(words), port));
            assert_ne!(place.tag, 0);
            sets[place.set as usize] += 1;
            tags.insert(place.tag);
        }
    }
    // 100 on average, with a deviation of 10: a set of 160 is beyond anything that chance would make.
    let (least, most) = (sets.iter().min().unwrap(), sets.iter().max().unwrap());
    assert!(*least > 50 && *most < 160, "from {least} to {most}");
    // Chance would leave 98,800 different ones of 100,000.
    assert!(tags.len() > 98_000, "{} tags", tags.len());
}

#[test]
fn keys_that_differ_little_are_spread_over_the_sets() {
    spreads::<V4>((0..200).map(|low| (0x0a00_0000 | low, 0)));
    spreads::<V4>((0..200).map(|high| (high << 24 | 0x0a00, 0)));
    spreads::<V6>((0..200).map(|low| (0x2001_0db8 << 32, low)));
    spreads::<V6>((0..200).map(|high| (high << 56 | 0x0db8, 1)));
}

#[test]
fn a_seal_says_what_was_done_to_its_way() {
    let vacant = Seal::default();
    assert!(vacant.is_vacant() && !vacant.is_claimed() && !vacant.holds(1));
    let claimed = vacant.claimed(0xabcd);
    assert!(claimed.is_claimed() && claimed.concerns(0xabcd) && !claimed.holds(0xabcd));
    let mut half = HalfOpen::<V4>::unused();
    half.connection.last_seen = 77;
    let written = claimed.released(&half);
    assert!(written.holds(0xabcd) && !written.holds(0xabcc) && !written.is_claimed());
    assert_ne!(written, written.claimed(0xabcd).released(&half), "it was changed");
    let removed = written.vacated();
    assert!(removed.is_vacant() && removed != vacant);
    // The count begins anew without touching its neighbours.
    let mut seal = written;
    for _ in 0..1 << 8 {
        assert!(seal.holds(0xabcd));
        seal = seal.claimed(0xabcd).released(&half);
    }
    assert_eq!(seal, written);
}

#[test]
fn what_is_old_and_unanswered_goes_first() {
    let of = |last_seen: u32, reply_flags: u16| {
        let mut half = HalfOpen::<V4>::unused();
        half.connection.last_seen = last_seen;
        half.answered = last_seen;
        half.reply_flags = reply_flags;
        Seal::default().claimed(1).released(&half)
    };
    let now = 5u32;
    let order = [
        Seal::default(),
        of(now.wrapping_sub(100), 0),
        of(now.wrapping_sub(700), flags::SYN_ACK),
        of(now.wrapping_sub(80), flags::RST),
        of(now.wrapping_sub(1), 0),
        of(now.wrapping_sub(7), flags::SYN_ACK),
        of(now.wrapping_add(3), 0),
    ];
    assert!(order.windows(2).all(|two| two[0].dispensable(now) > two[1].dispensable(now)));
    assert!(order.iter().all(|seal| seal.dispensable(now) > 0));
    assert_eq!(of(0, 0).claimed(1).dispensable(now), 0, "somebody writes it");
}
