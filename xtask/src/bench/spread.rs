//! Many measurements of one thing in a few numbers.

/// Minimum, quartiles and median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The smallest.
    pub(crate) minimum: f64,
    /// A quarter is below.
    pub(crate) lower: f64,
    /// Half is below.
    pub(crate) median: f64,
    /// Three quarters are below.
    pub(crate) upper: f64,
}

impl Spread {
    /// Of some samples; of none, not a number.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let position = (sorted.len().saturating_sub(1)) as f64 * part;
            sorted.get(position.round() as usize).copied().unwrap_or(f64::NAN)
        };
        Self { minimum: at(0.0), lower: at(0.25), median: at(0.5), upper: at(0.75) }
    }

    /// The distance between the quartiles: noise.
    pub(crate) fn width(&self) -> f64 {
        self.upper - self.lower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_those_of_the_sorted_samples() {
        let spread = Spread::of(&[9.0, 1.0, 5.0, 3.0, 7.0]);
        assert_eq!(spread, Spread { minimum: 1.0, lower: 3.0, median: 5.0, upper: 7.0 });
        assert_eq!(spread.width(), 4.0);
        assert!(Spread::of(&[]).median.is_nan());
    }
}
