//! How sure a measured rate is: exact intervals for a count of successes. Test-only; `tests/integration` reads this
//! file too.

/// The Clopper–Pearson interval at 95 % for `count` of `trials`: at least 95 in 100 such intervals hold the true
/// rate, whatever it is. (0, 1) for no trials.
pub(crate) fn clopper_pearson(count: u64, trials: u64) -> (f64, f64) {
    const TAIL: f64 = 0.025;
    if trials == 0 {
        return (0.0, 1.0);
    }
    // P(X ≥ count) grows with the rate, P(X ≤ count) shrinks.
    let low = if count == 0 { 0.0 } else { root(|p| 1.0 - cumulative(count - 1, trials, p) < TAIL) };
    let high = if count == trials { 1.0 } else { root(|p| cumulative(count, trials, p) > TAIL) };
    (low, high)
}

/// `0.4 % (0.1 … 0.9 %)`.
pub(crate) fn percent_with_interval(count: u64, trials: u64) -> String {
    let (low, high) = clopper_pearson(count, trials);
    let rate = if trials == 0 { 0.0 } else { count as f64 / trials as f64 };
    format!("{:.1} % ({:.1} … {:.1} %)", 100.0 * rate, 100.0 * low, 100.0 * high)
}

/// Where a condition that holds for small rates stops to hold.
fn root(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if holds(middle) { low = middle } else { high = middle }
    }
    high
}

/// P(X ≤ count) of `trials` at rate `p`, term by term in logarithms.
fn cumulative(count: u64, trials: u64, p: f64) -> f64 {
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return f64::from(u8::from(count >= trials));
    }
    let odds = (p / (1.0 - p)).ln();
    let mut term = trials as f64 * (1.0 - p).ln();
    let mut sum = term.exp();
    for i in 0..count.min(trials) {
        term += ((trials - i) as f64 / (i + 1) as f64).ln() + odds;
        sum += term.exp();
    }
    sum.min(1.0)
}

#[test]
fn intervals_are_those_of_the_tables() {
    let close = |(low, high): (f64, f64), expected: (f64, f64)| {
        assert!((low - expected.0).abs() < 5e-5 && (high - expected.1).abs() < 5e-5, "{low} {high}");
    };
    close(clopper_pearson(0, 20), (0.0, 0.1684));
    close(clopper_pearson(1, 10), (0.0025, 0.4450));
    close(clopper_pearson(5, 10), (0.1871, 0.8129));
    close(clopper_pearson(20, 1000), (0.0123, 0.0307));
    close(clopper_pearson(10, 10), (0.6915, 1.0));
    close(clopper_pearson(0, 0), (0.0, 1.0));
    assert_eq!(percent_with_interval(20, 1000), "2.0 % (1.2 … 3.1 %)");
}
