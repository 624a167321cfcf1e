//! Two and three routers on one virtual clock, a network that loses, delays, doubles, reorders and splits, and
//! processes that crash, hang and come back. Every run is given by its seed.

mod network;
mod world;

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use world::World;

/// Together for all seeds; a release build does what every change must pass.
const MINUTES: u64 = if cfg!(debug_assertions) { 2_000 } else { 1_000_000 };

/// Splitmix64: one number decides a run.
pub(crate) struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn up_to(&mut self, limit: Duration) -> Duration {
        limit * u32::try_from(self.below(1 << 16)).unwrap() / (1 << 16)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

#[test]
fn there_is_one_owner_whatever_happens_except_while_separated() {
    if let Ok(seed) = std::env::var("XLB_SEED") {
        World::new(seed.parse().unwrap()).run();
        return;
    }
    let (seeds, seconds) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while seconds.load(Relaxed) < MINUTES * 60 {
                    let lasted = World::new(seeds.fetch_add(1, Relaxed)).run();
                    seconds.fetch_add(lasted.as_secs(), Relaxed);
                }
            });
        }
    });
}
