//! How much may be done in a second: packets answered, dropped packets told of.

/// Answers a second, on each CPU. Linux sends as many ICMP messages a second in all (`icmp_msgs_per_sec`). A client that is
/// refused asks again within seconds; a flood from invented addresses must not become one towards those who have them.
pub const ANSWERS: u32 = 1_000;

/// Dropped packets told of in a second, on each CPU: more than somebody reads, and a flood of them costs nothing.
pub const DROPS: u32 = 100;

/// A token bucket of `RATE` tokens a second. After a quiet time one second's are taken at once: the clients of a busy
/// service learn together that it is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bucket<const RATE: u32> {
    /// Tokens that are there.
    pub tokens: u32,
    /// When some were added last, in ticks.
    pub refilled: u32,
}

impl<const RATE: u32> Bucket<RATE> {
    /// Takes a token, if there is one.
    #[inline(always)]
    pub fn take(&mut self, now: u32, ticks_per_second: u32) -> bool {
        let elapsed = now.wrapping_sub(self.refilled);
        if elapsed >= ticks_per_second {
            self.tokens = RATE;
            self.refilled = now;
        } else if let Some(earned) = (elapsed * RATE).checked_div(ticks_per_second)
            && earned != 0
        {
            self.tokens = core::cmp::min(self.tokens + earned, RATE);
            self.refilled = now;
        }
        if self.tokens == 0 {
            return false;
        }
        self.tokens -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u32 = 250;

    /// How many of `asked` it gives at a moment.
    fn given<const RATE: u32>(bucket: &mut Bucket<RATE>, now: u32, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(bucket.take(now, HZ))).sum()
    }

    #[test]
    fn a_quiet_time_allows_a_burst_and_no_more() {
        let mut bucket = Bucket::<ANSWERS>::default();
        for now in [HZ, 3 * HZ, 3_000_000 * HZ, u32::MAX - 5] {
            assert_eq!(given(&mut bucket, now, 2 * ANSWERS), ANSWERS, "at {now}");
        }
    }

    #[test]
    fn a_flood_is_answered_at_the_rate_whatever_the_ticks() {
        for ticks_per_second in [100, 250, 300, 1000] {
            let mut bucket = Bucket::<ANSWERS> { tokens: 0, refilled: u32::MAX - 10 };
            let answered: u32 = (1..=10 * ticks_per_second)
                .map(|tick| {
                    let now = (u32::MAX - 10).wrapping_add(tick);
                    (0..50).map(|_| u32::from(bucket.take(now, ticks_per_second))).sum::<u32>()
                })
                .sum();
            assert!((ANSWERS * 9..=ANSWERS * 10).contains(&answered), "{answered} at {ticks_per_second}");
        }
    }
}
