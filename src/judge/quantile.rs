//! Quantiles of Student's t: how many standard errors an interval needs at a given error probability.
//!
//! Goes in: an upper-tail probability and degrees of freedom. Comes out: the quantile. Always finite and positive
//! for a tail below one half. No tables: the tail is integrated by its continued fraction and inverted by bisection.

/// The value that Student's t with `df` degrees of freedom exceeds with probability `tail` (0 < tail < 0.5).
pub(super) fn student_t(tail: f64, df: f64) -> f64 {
    let tail = tail.clamp(1e-12, 0.499_999);
    let df = df.clamp(1.0, 1e6);
    let (mut low, mut high) = (0.0_f64, 2.0_f64);
    // At one degree of freedom and the smallest tail the quantile is below 1e12: 2^40 brackets it.
    for _ in 0..40 {
        if upper_tail(high, df) <= tail {
            break;
        }
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if upper_tail(middle, df) > tail { low = middle } else { high = middle }
    }
    high
}

/// P(T > t) for t ≥ 0.
fn upper_tail(t: f64, df: f64) -> f64 {
    0.5 * incomplete_beta(df / (df + t * t), 0.5 * df, 0.5)
}

/// The regularised incomplete beta function I_x(a, b).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The fraction converges quickly on this side of the mean only; the other side is its mirror image.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction of the incomplete beta function, by Lentz's method (Numerical Recipes, 6.4).
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut product = d;
    for step in 1..=2000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut factor = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            factor = d * c;
            product *= factor;
        }
        if (factor - 1.0).abs() < 1e-14 {
            break;
        }
    }
    product
}

/// ln Γ(x) for x > 0, by Lanczos' approximation (g = 7, 9 terms), exact to about 1e-14.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let t = x + 7.5;
    let mut sum = 0.999_999_999_999_809_9;
    let mut divisor = x;
    for term in TERMS {
        divisor += 1.0;
        sum += term / divisor;
    }
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the printed tables (e.g. NIST's handbook, 1.3.6.7.2).
    #[test]
    fn agrees_with_the_tables() {
        for (tail, df, expected) in [
            (0.025, 10.0, 2.228),
            (0.025, 1.0, 12.706),
            (0.005, 30.0, 2.750),
            (0.001, 5.0, 5.893),
            (0.05, 60.0, 1.671),
            (0.025, 1e6, 1.960),
        ] {
            let found = student_t(tail, df);
            assert!((found - expected).abs() < 1e-3, "t({tail}, {df}) = {found}, tables say {expected}");
        }
    }

    #[test]
    fn is_finite_at_the_edges() {
        for tail in [0.0, 1e-300, 0.5, 0.9, f64::MIN_POSITIVE] {
            for df in [0.0, 1.0, 3.3, 1e12] {
                let found = student_t(tail, df);
                assert!(found.is_finite() && found >= 0.0, "t({tail}, {df}) = {found}");
            }
        }
    }
}
