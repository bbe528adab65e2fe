//! Numbers, sizes, times and lists as people read them in a migration's output. Pure.

use std::time::Duration;

/// `1,234,567`.
pub(super) fn counted(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 table`, `1,200 tables`, `2 indexes`.
pub(super) fn named(number: u64, one: &str) -> String {
    let ending = match one {
        _ if number == 1 => "",
        one if one.ends_with('x') => "es",
        _ => "s",
    };
    format!("{} {one}{ending}", counted(number))
}

/// `512 B`, `1.5 MB`, `120 GB`: powers of 1024, as PostgreSQL counts.
pub(super) fn sized(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut at = 0;
    while value >= 1024.0 && at + 1 < UNITS.len() {
        value /= 1024.0;
        at += 1;
    }
    let decimals = usize::from(at > 0 && value < 10.0);
    format!("{value:.decimals$} {}", UNITS[at])
}

/// `210,345 rows/s`.
pub(super) fn rate(rows_per_second: f64) -> String {
    // What is no number, or below 0, becomes 0.
    format!("{} rows/s", counted(rows_per_second.round() as u64))
}

/// `3.4 s`, `72 s`, `12 min 05 s`, `2 h 05 min`.
pub(super) fn spoken(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..120 => format!("{whole} s"),
        120..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => {
            let minutes = whole.saturating_add(30) / 60;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
    }
}

/// The same of seconds; what is no time becomes none.
pub(super) fn spoken_s(seconds: f64) -> String {
    spoken(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// Names that a text shows of a list.
pub(super) const MOST_NAMES: usize = 12;

/// The first `most` of them, and how many more there are: `a, b and 3 more`.
pub(super) fn listed(names: &[String], most: usize) -> String {
    let shown = names.get(..most).unwrap_or(names).join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {} more", counted(more as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(counted), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(named(1, "table"), "1 table");
        assert_eq!(named(1_200, "table"), "1,200 tables");
        assert_eq!(named(2, "index"), "2 indexes");
        assert_eq!(rate(210_344.6), "210,345 rows/s");
        assert_eq!(rate(f64::NAN), "0 rows/s");
    }

    #[test]
    fn sizes_are_in_their_unit() {
        let sizes = [0, 512, 1_536, 15 << 20, 1_600 << 20, 120 << 30].map(sized);
        assert_eq!(sizes, ["0 B", "512 B", "1.5 kB", "15 MB", "1.6 GB", "120 GB"]);
    }

    #[test]
    fn times_are_spoken() {
        assert_eq!([3.44, 72.2, 119.4].map(spoken_s), ["3.4 s", "72 s", "119 s"]);
        assert_eq!([725.0, 7_490.0].map(spoken_s), ["12 min 05 s", "2 h 05 min"]);
        assert_eq!([-1.0, f64::NAN].map(spoken_s), ["0.0 s", "0.0 s"]);
        assert!(spoken_s(f64::INFINITY).ends_with(" min"));
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(listed(&names, 3), "a, b, c");
        assert_eq!(listed(&names, 1), "a and 2 more");
        assert_eq!(listed(&[], 1), "");
    }

    proptest::proptest! {
        #[test]
        fn a_number_is_read_back(number: u64) {
            proptest::prop_assert_eq!(counted(number).replace(',', ""), number.to_string());
        }
    }
}
