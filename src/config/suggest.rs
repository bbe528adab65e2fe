//! "Did you mean": the known word that is nearest to a mistyped or shortened one.

/// The nearest of `known`, as a hint; `None` where nothing is near.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word = word.to_ascii_lowercase();
    let far = (word.chars().count() / 3).clamp(1, 3);
    // `wal_rate` is near `wal_write_rate`: all its parts are in it.
    let shortened = |candidate: &str| {
        let parts: Vec<_> = candidate.split('_').collect();
        word.contains('_') && word.split('_').all(|part| parts.contains(&part))
    };
    let far_from = |candidate: &str| {
        if shortened(candidate) { far } else { distance(&word, &candidate.to_ascii_lowercase()) }
    };
    known
        .into_iter()
        .map(|candidate| (far_from(candidate), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| format!("did you mean {candidate}?"))
}

/// Edits that turn one word into the other; two letters swapped count as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let swap = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + swap);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["prometheus", "policy", "paths"];
        assert_eq!(did_you_mean("promethues", known).as_deref(), Some("did you mean prometheus?"));
        assert_eq!(did_you_mean("pollicy", known).as_deref(), Some("did you mean policy?"));
        assert_eq!(did_you_mean("path", known).as_deref(), Some("did you mean paths?"));
        assert_eq!(did_you_mean("grafana", known), None);
        assert_eq!(
            did_you_mean("wal_rate", ["io_wait", "wal_write_rate"]).as_deref(),
            Some("did you mean wal_write_rate?")
        );
    }
}
