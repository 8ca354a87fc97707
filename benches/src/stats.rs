//! Rounds, and medians and quantiles of what was measured.

/// Rounds in which our figure and the limit were measured in turns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounds {
    values: Vec<f64>,
    limits: Vec<f64>,
}

impl Rounds {
    /// Adds a round.
    pub fn push(&mut self, value: f64, limit: f64) {
        self.values.push(value);
        self.limits.push(limit);
    }

    /// Our figures.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The limits measured beside them.
    #[must_use]
    pub fn limits(&self) -> &[f64] {
        &self.limits
    }

    /// The lowest and the highest of the rounds' own ratios.
    pub(crate) fn range(&self) -> [f64; 2] {
        let ratios = self.values.iter().zip(&self.limits).map(|(value, limit)| value / limit);
        ratios.fold([f64::INFINITY, 0.0], |[low, high], ratio| [low.min(ratio), high.max(ratio)])
    }
}

impl FromIterator<(f64, f64)> for Rounds {
    fn from_iter<I: IntoIterator<Item = (f64, f64)>>(pairs: I) -> Rounds {
        let (values, limits) = pairs.into_iter().unzip();
        Rounds { values, limits }
    }
}

/// The middle value; of two, the lower one.
///
/// # Panics
/// When there are no values, or one is not a number.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below or at which this share of all lies, by the nearest rank.
///
/// # Panics
/// When there are no values, or one is not a number.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|one, other| one.partial_cmp(other).expect("measured values are numbers"));
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_the_nearest_rank() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| quantile(&values, share)), [1.0, 3.0, 5.0, 5.0]);
        assert_eq!(median(&[1.0, 2.0]), 1.0);
    }

    #[test]
    fn the_range_is_of_each_rounds_own_ratio() {
        let rounds: Rounds = [(10.0, 5.0), (8.0, 8.0), (30.0, 10.0)].into_iter().collect();
        assert_eq!(rounds.range(), [1.0, 3.0]);
    }
}
