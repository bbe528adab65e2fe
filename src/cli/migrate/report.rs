//! A run's end: what is in the target now, and what is not.
//!
//! In: the run's [`Report`], and how it was watched. Out: text for people, the last line for programs. Pure. Always
//! holds: rows that were rejected and statements that failed are named with where to look and what to do, however much
//! went well.

use super::failure;
use super::figures::{counted, named, rate, spoken};
use super::progress::Watched;
use crate::cli::render;
use crate::migrate::quote;
use crate::migrate::run::{MigrateError, Report, TableReport};
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

/// The last line for programs: the run as it was at its end, and the report, or why there is none.
pub(super) fn last_line(watched: &Watched, ended: Result<&Report, &MigrateError>) -> Value {
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

    #[test]
    fn the_last_line_has_the_run_and_its_report() {
        let line = last_line(&watched(), Ok(&report(3)));
        assert_eq!((&line["done"], &line["complete"]), (&json!(true), &json!(false)));
        assert_eq!((&line["rows"], &line["elapsed_s"]), (&json!(1_000_000), &json!(12.0)));
        assert_eq!(line["report"]["tables"][1]["rejected"], 3);
        let line = last_line(&watched(), Err(&MigrateError::Stopped));
        assert!(line["report"].is_null() && line["failure"]["hint"].as_str().unwrap().contains("resume"));
    }
}
