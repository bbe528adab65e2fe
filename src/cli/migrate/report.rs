//! A run's end: what is in the target now, and what is not.
//!
//! In: the run's [`Report`], and how it was watched. Out: text for people, the last line for programs. Pure. Always
//! holds: rows that were rejected and statements that failed are named with where to look and what to do, however much
//! went well.

use super::failure;
use super::figures::{counted, named, rate, spoken};
use super::progress::Watched;
use crate::cli::render;
use crate::migrate::adjuster::Summary;
use crate::migrate::quote;
use crate::migrate::run::{MigrateError, Report, TableReport};
use crate::migrate::verify::{self, Coverage, Verdict};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Tables that the text shows: first those with rejected rows, then as the run has them.
const MOST_TABLES: usize = 40;

/// Whether all is there, every row included.
pub(super) fn is_whole(report: &Report) -> bool {
    report.is_complete() && report.rejected() == 0
}

/// For people. `adjusts`: settings were to be adjusted, so what came of that is told.
pub(super) fn text(report: &Report, watched: &Watched, adjusts: bool) -> String {
    let mut text = headline(report, watched);
    if !report.tables.is_empty() {
        let _ = writeln!(text, "{}", table_of_tables(&report.tables));
        if report.tables.len() > MOST_TABLES {
            let more = (report.tables.len() - MOST_TABLES) as u64;
            let _ = writeln!(text, "and {} (--json has all of them)", named(more, "more table"));
        }
    }
    rejected(&mut text, report);
    failed(&mut text, report);
    if let Some(sample) = &report.sample {
        sampled(&mut text, sample);
    }
    if let Some(adjusted) = report.adjusted.as_ref().filter(|_| adjusts) {
        // Its last line has its own end.
        let _ = write!(text, "\n{adjusted}");
    }
    if !report.notes.is_empty() {
        let _ = writeln!(text, "\nMind:");
        for note in &report.notes {
            let _ = writeln!(text, "  {note}");
        }
    }
    text
}

fn headline(report: &Report, watched: &Watched) -> String {
    let rows = report.tables.iter().map(|table| table.rows).fold(0, u64::saturating_add);
    let word = match (report.is_complete(), report.rejected()) {
        (false, _) => "NOT complete",
        (true, 0) => "complete",
        (true, _) => "complete, but for rejected rows",
    };
    let went_on = if report.resumed { " (resumed)" } else { "" };
    let mut text = format!(
        "Run {}{went_on} is {word}: {}, {} in {}.\n",
        report.run,
        named(report.tables.len() as u64, "table"),
        named(rows, "row"),
        spoken(watched.elapsed),
    );
    let (brought, copying) = (watched.course.rows_brought(report.resumed), watched.course.copying());
    if brought > 0 && !copying.is_zero() {
        let speed = rate(brought as f64 / copying.as_secs_f64());
        let _ = writeln!(text, "Copying {} took {}: {speed}.", named(brought, "row"), spoken(copying));
    }
    text
}

fn table_of_tables(tables: &[TableReport]) -> comfy_table::Table {
    let mut sorted: Vec<&TableReport> = tables.iter().collect();
    // Those that lost rows must be seen; the sort keeps the order of the others.
    sorted.sort_by_key(|table| table.rejected == 0);
    let mut rows = render::table(&["table", "rows", "chunks", "rejected"]);
    for table in sorted.into_iter().take(MOST_TABLES) {
        let rejected = if table.rejected == 0 { "—".to_owned() } else { counted(table.rejected) };
        rows.add_row(vec![table.target.clone(), counted(table.rows), counted(table.chunks), rejected]);
    }
    rows
}

fn rejected(text: &mut String, report: &Report) {
    let rejected = report.rejected();
    if rejected == 0 {
        return;
    }
    let _ = writeln!(
        text,
        "\nThe target refused {}. They are in no table; leverd_migration.reject of the target keeps each with the \
         server's words:\n  {}",
        named(rejected, "row"),
        query_of_rejects(&report.run)
    );
}

/// What a person can send to see the rejected rows of a run.
pub(super) fn query_of_rejects(run: &str) -> String {
    format!(
        "SELECT t.target_name, r.sqlstate, r.message FROM leverd_migration.reject AS r JOIN \
         leverd_migration.moved_table AS t ON t.run = r.run AND t.number = r.table_number WHERE r.run = {};",
        quote::literal(run)
    )
}

fn failed(text: &mut String, report: &Report) {
    if report.failed.is_empty() {
        return;
    }
    let statements = named(report.failed.len() as u64, "statement");
    let _ = writeln!(text, "\n{statements} failed; `leverd migrate resume` tries again what is not there:");
    for failed in &report.failed {
        let _ = writeln!(text, "  {}: {}\n    {};", failed.describes, failed.why, failed.sql);
    }
}

/// What a sample of the rows said; of the tables only those that are not the same.
fn sampled(text: &mut String, sample: &verify::Report) {
    if sample.is_clean() {
        let rows = sample.tables.iter().map(|table| match table.coverage {
            Coverage::Sample { rows } => rows,
            Coverage::Everything => 0,
        });
        let rejected = sample.tables.iter().any(|table| table.verdict() == Verdict::SameButRejected);
        let _ = writeln!(
            text,
            "\nAll rows were counted on both sides, and {} compared: the target holds the same{}.",
            named(rows.fold(0, u64::saturating_add), "row"),
            if rejected { ", but for rejected rows" } else { "" }
        );
        return;
    }
    let other: Vec<&verify::TableReport> =
        sample.tables.iter().filter(|table| table.verdict() >= Verdict::Differs).collect();
    let _ = writeln!(
        text,
        "\nA sample of the rows was compared with the source. Not the same: {}",
        named(other.len() as u64, "table")
    );
    for table in other.iter().take(MOST_TABLES) {
        for line in table.to_string().lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    if other.len() > MOST_TABLES {
        let more = (other.len() - MOST_TABLES) as u64;
        let _ = writeln!(text, "  and {} (--json has all of them)", named(more, "more table"));
    }
    if sample.source_may_have_changed {
        let _ = writeln!(
            text,
            "  (They were compared as of another moment than rows were read: a difference may be a change in between.)"
        );
    }
    let _ = writeln!(
        text,
        "`leverd migrate verify` compares all rows; `leverd migrate run --replace` begins anew."
    );
}

/// The last line for programs: the run as it was at its end, and the report, or why there is none, with how the
/// settings were `adjusted` until then: a model is paid for also by a run that fails.
pub(super) fn last_line(
    watched: &Watched,
    ended: Result<&Report, &MigrateError>,
    adjusted: Option<&Summary>,
) -> Value {
    let mut line = json!(watched.last);
    line["done"] = json!(true);
    line["copying_s"] = json!(watched.course.copying().as_secs_f64());
    match ended {
        Ok(report) => {
            line["complete"] = json!(is_whole(report));
            line["rows_brought"] = json!(watched.course.rows_brought(report.resumed));
            line["report"] = json!(report);
        }
        Err(error) => {
            line["complete"] = json!(false);
            line["report"] = Value::Null;
            line["adjusted"] = json!(adjusted);
            line["failure"] = failure::value(error);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::course::Course;
    use super::super::course::tests::view;
    use super::*;
    use crate::migrate::adjust::Stage;
    use crate::migrate::run::FailedStatement;
    use crate::migrate::schema::TableName;
    use std::time::Duration;

    fn table(name: &str, rows: u64, rejected: u64) -> TableReport {
        TableReport { source: name.to_owned(), target: name.to_owned(), rows, rejected, chunks: 2 }
    }

    fn report(rejected: u64) -> Report {
        Report {
            run: "r1".to_owned(),
            tables: vec![table("public.kinds", 10, 0), table("public.orders", 999_990, rejected)],
            ..Report::default()
        }
    }

    fn watched() -> Watched {
        let mut course = Course::default();
        course.tick(Duration::ZERO, view(Stage::Copying, 0));
        course.tick(Duration::from_secs(10), view(Stage::Indexing, 1_000_000));
        let elapsed = Duration::from_secs(12);
        let last = course.tick(elapsed, view(Stage::Constraining, 1_000_000));
        Watched { last, course, elapsed }
    }

    #[test]
    fn a_whole_run_is_told_in_two_lines_and_a_table() {
        let text = text(&report(0), &watched(), true);
        assert!(
            text.starts_with(
                "Run r1 is complete: 2 tables, 1,000,000 rows in 12 s.\n\
                 Copying 1,000,000 rows took 10 s: 100,000 rows/s.\n"
            ),
            "{text}"
        );
        assert!(is_whole(&report(0)));
    }

    #[test]
    fn rejected_rows_are_told_with_where_they_are() {
        let text = text(&report(3), &watched(), true);
        assert!(text.starts_with("Run r1 is complete, but for rejected rows: "), "{text}");
        assert!(text.contains("The target refused 3 rows."), "{text}");
        assert!(text.contains("WHERE r.run = 'r1';"), "{text}");
        let (orders, kinds) = (text.find("public.orders").unwrap(), text.find("public.kinds").unwrap());
        assert!(orders < kinds, "{text}");
        assert!(!is_whole(&report(3)));
    }

    #[test]
    fn what_failed_is_told_with_the_servers_words() {
        let mut report = report(0);
        report.failed.push(FailedStatement {
            describes: "index by_date of public.orders".to_owned(),
            sql: "CREATE INDEX by_date ON public.orders (day)".to_owned(),
            why: "the disk is full".to_owned(),
        });
        report.notes.push("a sequence was not read".to_owned());
        let text = text(&report, &watched(), true);
        assert!(text.starts_with("Run r1 is NOT complete: "), "{text}");
        assert!(text.contains("1 statement failed;"), "{text}");
        assert!(text.contains("  index by_date of public.orders: the disk is full\n"), "{text}");
        assert!(text.ends_with("\nMind:\n  a sequence was not read\n"), "{text}");
    }

    fn compared(different: verify::Tally) -> verify::Report {
        let name = TableName { schema: "public".to_owned(), name: "orders".to_owned() };
        let orders = verify::TableReport {
            source: name.clone(),
            target: name,
            source_rows: Some(999_990),
            target_rows: Some(999_990),
            checksum: verify::Checksum::NotTaken,
            coverage: Coverage::Sample { rows: 12_000 },
            key: vec!["id".to_owned()],
            missing: verify::Tally::default(),
            extra: verify::Tally::default(),
            different,
            complete: true,
            rejected: 0,
            others_allowed: false,
            notes: Vec::new(),
            error: None,
            seconds: 0.5,
        };
        verify::Report {
            tables: vec![orders],
            source_may_have_changed: false,
            one_snapshot: true,
            seconds: 0.5,
        }
    }

    #[test]
    fn a_sample_that_is_the_same_takes_a_line() {
        let whole = Report { sample: Some(compared(verify::Tally::default())), ..report(0) };
        assert!(is_whole(&whole));
        let text = text(&whole, &watched(), true);
        assert!(text.contains("and 12,000 rows compared: the target holds the same.\n"), "{text}");
    }

    #[test]
    fn a_sample_that_differs_ends_no_run_as_complete() {
        let one = verify::Tally { rows: 1, keys: vec![vec!["77".to_owned()]] };
        let mut differs = Report { sample: Some(compared(one)), ..report(0) };
        assert!(!is_whole(&differs));
        let told = text(&differs, &watched(), true);
        assert!(told.starts_with("Run r1 is NOT complete: "), "{told}");
        assert!(told.contains("Not the same: 1 table\n  public.orders: 999990 rows, "), "{told}");
        assert!(told.contains("different 1: id=77\n`leverd migrate verify` compares all rows"), "{told}");
        let line = last_line(&watched(), Ok(&differs), None);
        assert_eq!(line["complete"], false);
        assert_eq!(line["report"]["sample"]["tables"][0]["different"]["rows"], 1);
        if let Some(sample) = &mut differs.sample {
            sample.source_may_have_changed = true;
        }
        assert!(text(&differs, &watched(), true).contains("a difference may be a change in between"));
    }

    #[test]
    fn the_last_line_has_the_run_and_its_report() {
        let line = last_line(&watched(), Ok(&report(3)), None);
        assert_eq!((&line["done"], &line["complete"]), (&json!(true), &json!(false)));
        assert_eq!((&line["rows"], &line["elapsed_s"]), (&json!(1_000_000), &json!(12.0)));
        assert_eq!(line["report"]["tables"][1]["rejected"], 3);
        let line = last_line(&watched(), Err(&MigrateError::Stopped), None);
        assert!(line["report"].is_null() && line["failure"]["hint"].as_str().unwrap().contains("resume"));
    }
}
