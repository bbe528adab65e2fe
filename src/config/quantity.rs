//! Durations and sizes as people write them: `15m`, `1m30s`, `500ms`, `10MB`.

use std::time::Duration;

/// What a duration may look like, for messages.
pub(super) const DURATION_FORM: &str = "a duration such as 500ms, 90s, 15m, 1h, 1d";
/// What a size may look like, for messages.
pub(super) const SIZE_FORM: &str = "a size such as 64kB, 10MB, 2GB (1 kB is 1024 bytes)";

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [(&str, u64); 5] =
    [("b", 1), ("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30), ("tb", 1 << 40)];

/// Reads `15m`, `1m30s`, `0s`: whole numbers, each with its unit, the larger first. Ten years at most.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut allowed = &UNITS[..];
    while !rest.is_empty() {
        let (count, after) = leading_number(rest)?;
        let unit = &after[..after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len())];
        let at = allowed.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(count.checked_mul(allowed[at].1)?)?;
        allowed = &allowed[at + 1..];
        rest = &after[unit.len()..];
    }
    let some = !text.trim().is_empty() && total <= 10 * 366 * 86_400_000;
    some.then(|| Duration::from_millis(total))
}

/// Writes a duration so that [`parse_duration`] reads the same, to the millisecond.
pub(super) fn render_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, millis) in UNITS {
        if rest >= millis {
            text.push_str(&format!("{}{name}", rest / millis));
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads `10MB`: a whole number with its unit; 1 kB is 1024 bytes, as for Postgres.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (count, unit) = leading_number(text.trim())?;
    let unit = unit.trim().to_ascii_lowercase();
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
    count.checked_mul(*bytes)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..split].parse().ok()?, &text[split..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_only() {
        assert_eq!(parse_duration("15m"), Some(Duration::from_secs(900)));
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("1d"), Some(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        for bad in
            ["", "15", "15 m", "m", "1s1m", "-1s", "1.5h", "15min", "99999999999999999999d", "9999999d"]
        {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("10MB"), Some(10 << 20));
        assert_eq!(parse_size("2 GB"), Some(2 << 30));
        assert_eq!(parse_size("512B"), Some(512));
        for bad in ["", "10", "MB", "10 M", "1.5GB", "99999999999TB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_duration_written_is_read_back(millis in 0_u64..=(10 * 365 * 86_400_000)) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(parse_duration(&render_duration(duration)), Some(duration));
        }
    }
}
