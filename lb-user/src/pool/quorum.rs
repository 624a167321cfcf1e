//! When a virtual server is up: the quorum, with hysteresis so that it does not flap.

/// As keepalived: the sum has to reach `quorum + hysteresis` on the way up and to fall below `quorum - hysteresis`, or
/// to zero, on the way down.
pub(super) fn is_met(was_up: bool, have: u32, quorum: u32, hysteresis: u32) -> bool {
    let need = match was_up {
        true => quorum.saturating_sub(hysteresis),
        false => quorum.saturating_add(hysteresis),
    };
    have > 0 && have >= need
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quorum_is_harder_to_gain_than_to_keep() {
        // quorum 5, hysteresis 2: up at 7, down below 3.
        let sums = [6, 7, 5, 3, 2, 3, 6, 7, 0];
        let mut up = false;
        let seen = sums.map(|have| {
            up = is_met(up, have, 5, 2);
            up
        });
        assert_eq!(seen, [false, true, true, true, false, false, false, true, false]);
    }

    #[test]
    fn nobody_is_never_enough() {
        assert!(!is_met(true, 0, 1, 1));
        assert!(!is_met(true, 0, 0, 0));
    }
}
