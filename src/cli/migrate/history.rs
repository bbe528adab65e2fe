//! How long a migration may take, judged by earlier ones into the same target, or by like ones of the ledger. Pure.
//!
//! In: earlier runs with what they brought. Out: a [`Forecast`], or a guess by size. Always holds: only runs that came
//! to their end in one go are counted, and only those with enough rows to say something; runs from the same source come
//! before others; the range is that of what was, and nothing is added to it.

use super::figures::{counted, named, rate, spoken_s};
use crate::ledger::{Migration, MigrationEnding};
use crate::migrate::brain::learner::PastRun;
use crate::migrate::state::{Outcome, Run, TableTotals};
use chrono::TimeDelta;
use serde::Serialize;

/// A run with fewer rows says nothing of rows a second.
const LEAST_ROWS: u64 = 10_000;
/// A run that copied for less says nothing either.
const LEAST_SECONDS: f64 = 0.5;

/// Rows of so many times the bytes, or so many times less, are not alike.
const ALIKE: f64 = 2.0;
/// Bytes a second, where nothing is known: what was measured on small data elsewhere, and some more each way.
const GUESSED: Span = Span { least: 20e6, most: 80e6 };

/// A run that came to its end in one go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Past {
    pub(super) run: String,
    /// It read what is to be read now.
    pub(super) same_source: bool,
    pub(super) rows: u64,
    /// From its first row to its last.
    pub(super) copying_s: f64,
    /// With tables, indexes and all else.
    pub(super) whole_s: f64,
}

/// What earlier runs promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Forecast {
    /// So many runs it is made of.
    pub(super) runs: usize,
    /// They read what is to be read now.
    pub(super) same_source: bool,
    pub(super) rows_per_second: Span,
    /// Until all rows are there.
    pub(super) copying_s: Span,
    /// Until all else is there too.
    pub(super) whole_s: Span,
}

/// From the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Span {
    pub(super) least: f64,
    pub(super) most: f64,
}

/// What a run says; `None`: nothing. `source`: where rows are to be read from now.
pub(super) fn past(run: &Run, totals: &[TableTotals], source: &str) -> Option<Past> {
    // Who takes a run over does so later than it began; both times are of one statement otherwise.
    let in_one_go = run.leased_at - run.began_at < TimeDelta::seconds(1);
    if run.outcome != Some(Outcome::Complete) || !in_one_go {
        return None;
    }
    let rows = totals.iter().map(|total| total.rows).fold(0, u64::saturating_add);
    let first = totals.iter().map(|total| total.first_at).min()?;
    let last = totals.iter().map(|total| total.last_at).max()?;
    let seconds = |time: TimeDelta| time.as_seconds_f64();
    let (copying_s, whole_s) = (seconds(last - first), seconds(run.ended_at? - run.began_at));
    (rows >= LEAST_ROWS && copying_s >= LEAST_SECONDS).then(|| Past {
        run: run.id.clone(),
        same_source: run.source == source,
        rows,
        copying_s,
        whole_s: whole_s.max(copying_s),
    })
}

/// What a process of the ledger says; `None`: nothing, or it moved other rows than these: from another kind of server,
/// or of another width. `source`: where rows are to be read from now; `row_bytes`: what they have.
pub(super) fn past_of_ledger(migration: &Migration, source: &str, row_bytes: Option<f64>) -> Option<Past> {
    if migration.ending != Some(MigrationEnding::Complete) || migration.resumed {
        return None;
    }
    let same_source = migration.source == source;
    let same_kind = kind(&migration.source) == kind(source);
    let is_like = same_source || (same_kind && has_like_rows(migration, row_bytes));
    if !is_like {
        return None;
    }
    let whole_s = (migration.ended_at? - migration.began_at).as_seconds_f64();
    let copying_s = migration.copying_seconds;
    (migration.rows >= LEAST_ROWS && copying_s >= LEAST_SECONDS).then(|| Past {
        run: migration.run.clone(),
        same_source,
        rows: migration.rows,
        copying_s,
        whole_s: whole_s.max(copying_s),
    })
}

/// `postgres` of `postgres://ann@old:5432/shop`.
fn kind(source: &str) -> &str {
    source.split("://").next().unwrap_or_default()
}

fn has_like_rows(migration: &Migration, row_bytes: Option<f64>) -> bool {
    let past = migration.past.as_deref().and_then(|text| serde_json::from_str::<PastRun>(text).ok());
    let then = past.and_then(|past| past.features.row_bytes);
    let (Some(then), Some(now)) = (then, row_bytes) else { return false };
    then > 0.0 && now > 0.0 && then / now <= ALIKE && now / then <= ALIKE
}

/// Seconds that so many bytes may take where no run says anything.
pub(super) fn guess(bytes: u64) -> Span {
    let seconds = |speed: f64| bytes as f64 / speed;
    Span { least: seconds(GUESSED.most), most: seconds(GUESSED.least) }
}

/// For people: what the ledger says, or else a guess.
pub(super) fn text_without_target(of_ledger: Option<&Forecast>, bytes: u64) -> String {
    if of_ledger.is_some() {
        return format!("{} (This is of the ledger's like runs: the target knows of none.)", text(of_ledger));
    }
    let span = guess(bytes);
    format!(
        "{} No like run is in the ledger either. A guess by the size alone, at 20 to 80 MB/s: {} to {} for the rows; \
         indexes and keys come on top.",
        text(None),
        spoken_s(span.least),
        spoken_s(span.most),
    )
}

/// What runs promise for so many rows; `None`: there are none.
pub(super) fn forecast(rows: u64, past: &[Past]) -> Option<Forecast> {
    let same_source = past.iter().any(|run| run.same_source);
    let runs: Vec<&Past> = past.iter().filter(|run| run.same_source == same_source).collect();
    let span = |of: &dyn Fn(&Past) -> f64| -> Option<Span> {
        let values = || runs.iter().map(|run| of(run));
        Some(Span { least: values().reduce(f64::min)?, most: values().reduce(f64::max)? })
    };
    let share = |run: &Past| rows as f64 / run.rows as f64;
    Some(Forecast {
        runs: runs.len(),
        same_source,
        rows_per_second: span(&|run| run.rows as f64 / run.copying_s)?,
        copying_s: span(&|run| run.copying_s * share(run))?,
        whole_s: span(&|run| run.whole_s * share(run))?,
    })
}

/// For people; without a forecast it says that there is none.
pub(super) fn text(forecast: Option<&Forecast>) -> String {
    let Some(forecast) = forecast else {
        return "Time: no earlier run into this target is known that could tell how long it takes."
            .to_owned();
    };
    let source = if forecast.same_source { "this source" } else { "other sources" };
    let speed = forecast.rows_per_second;
    if forecast.runs == 1 {
        return format!(
            "Time: one earlier run from {source} brought {}: as fast, the rows take {}, and all of it {}. One run says \
             nothing of how much it varies.",
            rate(speed.most),
            spoken_s(forecast.copying_s.most),
            spoken_s(forecast.whole_s.most),
        );
    }
    let between = |span: Span| format!("{} to {}", spoken_s(span.least), spoken_s(span.most));
    format!(
        "Time: {} from {source} brought {} to {}: as fast, the rows take {}, and all of it {}.",
        named(forecast.runs as u64, "earlier run"),
        counted(speed.least.round() as u64),
        rate(speed.most),
        between(forecast.copying_s),
        between(forecast.whole_s),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TargetMode;
    use chrono::DateTime;
    use serde_json::Value;

    fn run(outcome: Outcome) -> Run {
        let at = |seconds: i64| DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap();
        Run {
            id: "20260101T000000-1".to_owned(),
            fence: 1,
            source: "postgres://ann@old:5432/shop".to_owned(),
            source_fingerprint: String::new(),
            target_schemas: vec!["public".to_owned()],
            mode: TargetMode::DropRecreate,
            settings: Value::Null,
            plan_hash: String::new(),
            snapshot: None,
            host: "here".to_owned(),
            pid: 7,
            began_at: at(0),
            leased_at: at(0),
            open: false,
            ended_at: Some(at(30)),
            outcome: Some(outcome),
            report: None,
        }
    }

    fn totals(rows: u64) -> Vec<TableTotals> {
        let at = |seconds: i64| DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap();
        vec![TableTotals {
            table: 0,
            chunks: 3,
            rows,
            bytes: rows * 50,
            rejected: 0,
            first_at: at(2),
            last_at: at(12),
        }]
    }

    fn of(same_source: bool, rows: u64, copying_s: f64, whole_s: f64) -> Past {
        Past { run: "r".to_owned(), same_source, rows, copying_s, whole_s }
    }

    #[test]
    fn a_run_in_one_go_says_how_fast_it_was() {
        let found =
            past(&run(Outcome::Complete), &totals(1_000_000), "postgres://ann@old:5432/shop").unwrap();
        assert_eq!((found.rows, found.copying_s, found.whole_s), (1_000_000, 10.0, 30.0));
        assert!(found.same_source);
        assert!(!past(&run(Outcome::Complete), &totals(1_000_000), "elsewhere").unwrap().same_source);
    }

    #[test]
    fn what_was_interrupted_taken_over_or_tiny_says_nothing() {
        let source = "postgres://ann@old:5432/shop";
        assert_eq!(past(&run(Outcome::Interrupted), &totals(1_000_000), source), None);
        assert_eq!(past(&run(Outcome::Complete), &totals(50), source), None);
        assert_eq!(past(&run(Outcome::Complete), &[], source), None);
        let mut taken_over = run(Outcome::Complete);
        taken_over.leased_at += TimeDelta::seconds(5);
        assert_eq!(past(&taken_over, &totals(1_000_000), source), None);
    }

    #[test]
    fn a_forecast_is_the_range_of_what_was() {
        assert_eq!(forecast(1_000, &[]), None);
        let runs =
            [of(true, 1_000_000, 10.0, 20.0), of(true, 1_000_000, 5.0, 25.0), of(false, 1_000_000, 1.0, 1.0)];
        let found = forecast(2_000_000, &runs).unwrap();
        assert_eq!((found.runs, found.same_source), (2, true));
        assert_eq!(found.rows_per_second, Span { least: 100_000.0, most: 200_000.0 });
        assert_eq!(found.copying_s, Span { least: 10.0, most: 20.0 });
        assert_eq!(
            text(Some(&found)),
            "Time: 2 earlier runs from this source brought 100,000 to 200,000 rows/s: as fast, the rows take 10 s to \
             20 s, and all of it 40 s to 50 s."
        );
    }

    #[test]
    fn the_ledger_tells_of_like_runs_and_a_guess_is_called_one() {
        let row = crate::ledger::fixtures::migration("r1");
        let own = past_of_ledger(&row, &row.source, None).unwrap();
        assert!(own.same_source && own.rows == row.rows && own.copying_s == row.copying_seconds);
        assert_eq!(past_of_ledger(&row, "mysql://b@other:3306/d", Some(100.0)), None);
        let failed = Migration { ending: Some(MigrationEnding::Failed), ..row.clone() };
        assert_eq!(past_of_ledger(&failed, &row.source, None), None);
        let told = text_without_target(forecast(1_000_000, &[own]).as_ref(), 1);
        assert!(told.starts_with("Time: one earlier run from this source"), "{told}");
        assert!(told.contains("of the ledger's like runs"), "{told}");
        assert_eq!(guess(800_000_000), Span { least: 10.0, most: 40.0 });
        let guessed = text_without_target(None, 800_000_000);
        assert!(guessed.contains("A guess by the size alone"), "{guessed}");
        assert!(guessed.contains("10 s to 40 s"), "{guessed}");
    }

    #[test]
    fn one_run_is_called_one_run_and_none_is_called_none() {
        let found = forecast(1_000_000, &[of(false, 1_000_000, 10.0, 20.0)]).unwrap();
        assert!(
            text(Some(&found)).starts_with("Time: one earlier run from other sources brought 100,000 rows/s")
        );
        assert!(text(None).contains("no earlier run"));
    }
}
