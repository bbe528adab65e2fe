//! How long the rows that are left will take, and how sure that is. Pure.
//!
//! In: rows a second of the last intervals, and the rows that are left. Out: an [`Eta`] with a band that holds the true
//! time nine times out of ten, as long as the run goes on varying as it did. Always holds: the likely time lies in the
//! band; a steady run has a narrow one, an uneven run a wide one. It knows nothing of what comes after the rows.

/// How long it will take, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Eta {
    pub(super) likely_s: f64,
    /// The band's lower end.
    pub(super) least_s: f64,
    /// The band's upper end; `None`: it varies too much to say.
    pub(super) most_s: Option<f64>,
}

/// Fewer intervals say nothing of how they vary.
const LEAST_RATES: usize = 4;
/// Nine of ten values of a normal distribution lie within so many standard deviations.
const DEVIATIONS: f64 = 1.645;
/// Neighbours that resemble each other more than this are taken to resemble each other so much.
const MOST_ALIKE: f64 = 0.9;

/// `rates`: rows a second of intervals of `interval_s` seconds, one behind the other. `None`: there are too few of
/// them, or nothing moved.
///
/// The mean of what was stands for the mean of what comes. It is off by the spread of the means of both, and where
/// neighbours resemble each other, so many intervals say only as much as fewer independent ones.
pub(super) fn eta(rates: &[f64], interval_s: f64, rows_left: u64) -> Option<Eta> {
    if rates.len() < LEAST_RATES {
        return None;
    }
    let count = rates.len() as f64;
    let mean = rates.iter().sum::<f64>() / count;
    if !mean.is_finite() || mean <= 0.0 {
        return None;
    }
    let left = rows_left as f64;
    let likely_s = left / mean;
    let squares: f64 = rates.iter().map(|rate| (rate - mean).powi(2)).sum();
    let alike = alikeness(rates, mean, squares);
    let worth = (1.0 - alike) / (1.0 + alike);
    let were = (count * worth).max(1.0);
    let to_come = (likely_s / interval_s * worth).max(1.0);
    let variance = squares / (count - 1.0);
    let off = DEVIATIONS * (variance * (1.0 / were + 1.0 / to_come)).sqrt();
    Some(Eta { likely_s, least_s: left / (mean + off), most_s: (mean > off).then(|| left / (mean - off)) })
}

/// The correlation of neighbours, from 0.
fn alikeness(rates: &[f64], mean: f64, squares: f64) -> f64 {
    if squares <= 0.0 {
        return 0.0;
    }
    let products: f64 = rates.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    (products / squares).clamp(0.0, MOST_ALIKE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_run_has_no_doubts() {
        let eta = eta(&[1_000.0; 6], 5.0, 10_000).unwrap();
        assert_eq!(eta, Eta { likely_s: 10.0, least_s: 10.0, most_s: Some(10.0) });
    }

    #[test]
    fn too_little_is_known_of_three_intervals_and_of_a_run_that_stands_still() {
        assert_eq!(eta(&[1_000.0; 3], 5.0, 10_000), None);
        assert_eq!(eta(&[0.0; 9], 5.0, 10_000), None);
    }

    #[test]
    fn an_uneven_run_has_a_wide_band_and_a_longer_look_narrows_it() {
        let uneven = |intervals: usize| -> Vec<f64> {
            (0..intervals).map(|at| if at % 2 == 0 { 800.0 } else { 1_200.0 }).collect()
        };
        let few = eta(&uneven(4), 5.0, 100_000).unwrap();
        let many = eta(&uneven(24), 5.0, 100_000).unwrap();
        assert_eq!(few.likely_s, 100.0);
        assert!(few.least_s < many.least_s && many.least_s < 100.0, "{few:?} {many:?}");
        assert!(few.most_s > many.most_s && many.most_s > Some(100.0), "{few:?} {many:?}");
    }

    #[test]
    fn a_run_that_drifts_is_less_sure_than_one_that_flickers() {
        let flickers = [900.0, 1_100.0, 900.0, 1_100.0, 900.0, 1_100.0];
        let drifts = [900.0, 900.0, 900.0, 1_100.0, 1_100.0, 1_100.0];
        let (flickers, drifts) = (eta(&flickers, 5.0, 100_000).unwrap(), eta(&drifts, 5.0, 100_000).unwrap());
        assert!(drifts.least_s < flickers.least_s, "{drifts:?} {flickers:?}");
    }

    #[test]
    fn a_run_that_comes_in_bursts_has_no_upper_end() {
        let eta = eta(&[0.0, 0.0, 4_000.0, 0.0], 5.0, 1_000).unwrap();
        assert_eq!((eta.likely_s, eta.most_s), (1.0, None));
        assert!(eta.least_s > 0.0);
    }

    proptest::proptest! {
        #[test]
        fn the_likely_time_lies_in_its_band(
            rates in proptest::collection::vec(0.0_f64..1e7, 4..30), left in 0_u64..1_000_000_000_000,
        ) {
            if let Some(eta) = eta(&rates, 5.0, left) {
                proptest::prop_assert!(eta.least_s >= 0.0 && eta.least_s <= eta.likely_s);
                proptest::prop_assert!(eta.most_s.is_none_or(|most| most >= eta.likely_s));
            }
        }
    }
}
