//! `leverd migrate status`: the runs that the target knows, and how far the open ones are.
//!
//! In: the target's state. Out: a table of the last runs, and of each open run its tables and how to go on. Always
//! holds: it only reads, and works beside a run; but for levers that a dead run has borrowed, which it gives back.

use super::figures::{counted, named};
use super::report::query_of_rejects;
use super::{failure, levers, session};
use crate::cli::{EXIT_DONE, EXIT_FAILED, Global, render};
use crate::config::MigrationConfig;
use crate::migrate::quote::shown;
use crate::migrate::run::MigrateError;
use crate::migrate::state::{self, Run, RunState, StateError, TableStep, VERSION};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs that are shown.
const MOST_RUNS: u32 = 10;
/// Tables of an open run that the text shows: those that are not done before those that are.
const MOST_TABLES: usize = 40;

/// Runs it. 0: told, whatever there is; 1: the target cannot be asked, or levers that a dead run has borrowed cannot be
/// given back.
pub(super) async fn run(global: &Global, config: &MigrationConfig) -> anyhow::Result<ExitCode> {
    let overview = match overview(config).await {
        Ok(overview) => overview,
        Err(error) => return Ok(failure::tell(&error)),
    };
    let is_settled = levers::give_back_what_is_left(config).await;
    let mut out = std::io::stdout().lock();
    if global.json {
        writeln!(out, "{:#}", serde_json::to_value(&overview)?)?;
    } else {
        write!(out, "{}", overview.text())?;
    }
    Ok(ExitCode::from(if is_settled { EXIT_DONE } else { EXIT_FAILED }))
}

/// What the target knows.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Overview {
    /// Without a password.
    target: String,
    /// The last runs, the youngest first.
    runs: Vec<RunLine>,
    /// Those that can be gone on with.
    open: Vec<OpenRun>,
}

/// A run in a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct RunLine {
    run: String,
    source: String,
    target_schemas: Vec<String>,
    target_mode: &'static str,
    began_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    /// `at work`, `complete`, `failed`, `interrupted`, `abandoned`, `replaced`; `cut off`: it ended without a word.
    state: &'static str,
    open: bool,
    rows: u64,
    rejected: u64,
}

/// A run that can be gone on with.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct OpenRun {
    run: String,
    /// Who is at work, and since when.
    held_by: Option<String>,
    tables: Vec<TableLine>,
    /// Statements (indexes, constraints and so on) that are done.
    statements_done: usize,
    /// Settings that were changed while it was at work.
    adjustments: usize,
}

/// A table of an open run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct TableLine {
    source: String,
    target: String,
    /// `waiting`, `loading`, `loaded`, `built`.
    step: &'static str,
    rows: u64,
    rows_expected: Option<u64>,
    rejected: u64,
}

async fn overview(config: &MigrationConfig) -> Result<Overview, MigrateError> {
    let connection = session::to_look(config).await?;
    let client = connection.client();
    let mut overview = Overview { target: config.target.to_string(), runs: Vec::new(), open: Vec::new() };
    match state::installed_version(client).await? {
        None => return Ok(overview),
        Some(VERSION) => {}
        Some(found) => return Err(StateError::OtherVersion { found, known: VERSION }.into()),
    }
    for run in state::last_runs(client, MOST_RUNS).await? {
        let totals = state::table_totals(client, &run.id).await?;
        let held_by = if run.open { state::holder(client, &run.target_schemas).await? } else { None };
        // Another run of the same schemas has no open one beside it.
        let held = held_by.as_ref().is_some_and(|holder| holder.run.as_deref().is_none_or(|of| of == run.id));
        overview.runs.push(RunLine {
            rows: totals.iter().map(|total| total.rows).fold(0, u64::saturating_add),
            rejected: totals.iter().map(|total| total.rejected).fold(0, u64::saturating_add),
            ..RunLine::of(&run, held)
        });
        if run.open {
            let state = state::load(client, &run.id).await?;
            overview.open.push(OpenRun::of(&state, held_by.map(|holder| holder.to_string())));
        }
    }
    Ok(overview)
}

impl RunLine {
    /// `held`: a process has it. Without its rows.
    fn of(run: &Run, held: bool) -> Self {
        let state = match run.outcome {
            None if held => "at work",
            None => "cut off",
            Some(outcome) => outcome.as_str(),
        };
        Self {
            run: run.id.clone(),
            source: run.source.clone(),
            target_schemas: run.target_schemas.clone(),
            target_mode: run.mode.as_str(),
            began_at: run.began_at,
            ended_at: run.ended_at,
            state,
            open: run.open,
            rows: 0,
            rejected: 0,
        }
    }
}

impl OpenRun {
    fn of(state: &RunState, held_by: Option<String>) -> Self {
        let tables = state.tables.iter().map(|table| {
            let chunks = || table.parts.iter().flat_map(|part| &part.chunks);
            TableLine {
                source: shown(&table.table.source),
                target: shown(&table.table.target),
                // A table is marked when it is loaded: until then its chunks tell.
                step: match table.step {
                    TableStep::Waiting if chunks().next().is_some() => TableStep::Loading.as_str(),
                    step => step.as_str(),
                },
                rows: chunks().map(|chunk| chunk.rows).fold(0, u64::saturating_add),
                rows_expected: table.table.expected_rows,
                rejected: chunks().map(|chunk| chunk.rejected).fold(0, u64::saturating_add),
            }
        });
        Self {
            run: state.run.id.clone(),
            held_by,
            tables: tables.collect(),
            statements_done: state.statements.len(),
            adjustments: state.adjustments.len(),
        }
    }

    fn count(&self, step: TableStep) -> u64 {
        self.tables.iter().filter(|table| table.step == step.as_str()).count() as u64
    }

    fn text(&self) -> String {
        let rows = self.tables.iter().map(|table| table.rows).fold(0, u64::saturating_add);
        let expected =
            self.tables.iter().filter_map(|table| table.rows_expected).fold(0, u64::saturating_add);
        let rejected = self.tables.iter().map(|table| table.rejected).fold(0, u64::saturating_add);
        let steps = [TableStep::Waiting, TableStep::Loading, TableStep::Loaded, TableStep::Built]
            .map(|step| (self.count(step), step.as_str()));
        let steps: Vec<String> = steps
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, step)| format!("{} {step}", counted(count)))
            .collect();
        let tables = if steps.is_empty() { "not begun".to_owned() } else { steps.join(", ") };
        let mut text = format!(
            "\nThe run {} is open. Tables: {tables}; {} of about {} are there; {} done.\n",
            self.run,
            counted(rows),
            named(expected, "row"),
            named(self.statements_done as u64, "statement"),
        );
        if self.adjustments > 0 {
            let changes = named(self.adjustments as u64, "setting");
            let _ = writeln!(text, "While it was at work {changes} changed.");
        }
        if rejected > 0 {
            let query = query_of_rejects(&self.run);
            let _ = writeln!(text, "The target refused {}:\n  {query}", named(rejected, "row"));
        }
        if !self.tables.is_empty() {
            let _ = writeln!(text, "{}", self.table_of_tables());
        }
        match &self.held_by {
            Some(holder) => {
                let _ = writeln!(text, "It is at work: {holder}.");
            }
            None => {
                let _ = writeln!(
                    text,
                    "Nobody is at work on it. `leverd migrate resume` goes on with it, `leverd migrate run --replace` \
                     begins anew, `leverd migrate forget {}` gives it up.",
                    self.run
                );
            }
        }
        text
    }

    fn table_of_tables(&self) -> comfy_table::Table {
        let mut sorted: Vec<&TableLine> = self.tables.iter().collect();
        // What is on its way, then what waits, then what is done; within that the order of the run.
        sorted.sort_by_key(|table| match table.step {
            "loading" => 0,
            "loaded" => 1,
            "waiting" => 2,
            _ => 3,
        });
        let mut rows = render::table(&["table", "step", "rows", "of about", "rejected"]);
        for table in sorted.into_iter().take(MOST_TABLES) {
            rows.add_row(vec![
                table.target.clone(),
                table.step.to_owned(),
                counted(table.rows),
                table.rows_expected.map_or_else(|| "?".to_owned(), counted),
                if table.rejected == 0 { "—".to_owned() } else { counted(table.rejected) },
            ]);
        }
        rows
    }
}

impl Overview {
    fn text(&self) -> String {
        if self.runs.is_empty() {
            return format!("{} knows no run.\n", self.target);
        }
        let mut rows = render::table(&["run", "from", "into", "began (UTC)", "state", "rows", "rejected"]);
        for run in &self.runs {
            rows.add_row(vec![
                run.run.clone(),
                run.source.clone(),
                run.target_schemas.join(", "),
                run.began_at.format("%Y-%m-%d %H:%M").to_string(),
                if run.open { format!("{}, open", run.state) } else { run.state.to_owned() },
                counted(run.rows),
                counted(run.rejected),
            ]);
        }
        let mut text = format!("{}\n{rows}\n", self.target);
        for open in &self.open {
            text.push_str(&open.text());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, step: TableStep, rows: u64, rejected: u64) -> TableLine {
        TableLine {
            source: name.to_owned(),
            target: name.to_owned(),
            step: step.as_str(),
            rows,
            rows_expected: Some(1_000),
            rejected,
        }
    }

    fn open() -> OpenRun {
        OpenRun {
            run: "r1".to_owned(),
            held_by: None,
            tables: vec![
                table("public.a", TableStep::Built, 1_000, 0),
                table("public.b", TableStep::Loading, 400, 2),
                table("public.c", TableStep::Waiting, 0, 0),
            ],
            statements_done: 3,
            adjustments: 1,
        }
    }

    fn line(state: &'static str, open: bool) -> RunLine {
        RunLine {
            run: "r1".to_owned(),
            source: "postgres://ann@old:5432/shop".to_owned(),
            target_schemas: vec!["public".to_owned()],
            target_mode: "drop_recreate",
            began_at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            ended_at: None,
            state,
            open,
            rows: 1_400,
            rejected: 2,
        }
    }

    #[test]
    fn an_open_run_says_how_far_it_is_and_how_to_go_on() {
        let text = open().text();
        assert!(
            text.starts_with(
                "\nThe run r1 is open. Tables: 1 waiting, 1 loading, 1 built; 1,400 of about 3,000 rows are there; \
                 3 statements done.\n"
            ),
            "{text}"
        );
        assert!(text.contains("While it was at work 1 setting changed."), "{text}");
        assert!(text.contains("The target refused 2 rows:\n  SELECT "), "{text}");
        assert!(text.contains("`leverd migrate forget r1` gives it up."), "{text}");
        let (loading, built) = (text.find("public.b").unwrap(), text.find("public.a").unwrap());
        assert!(loading < built, "{text}");
    }

    #[test]
    fn a_run_at_work_says_who_has_it() {
        let held = OpenRun { held_by: Some("schema public is held by run r1".to_owned()), ..open() };
        let text = held.text();
        assert!(text.ends_with("It is at work: schema public is held by run r1.\n"), "{text}");
        assert!(!text.contains("resume"), "{text}");
    }

    #[test]
    fn a_target_without_runs_says_so() {
        let none = Overview { target: "postgres://x@y:1/z".to_owned(), runs: Vec::new(), open: Vec::new() };
        assert_eq!(none.text(), "postgres://x@y:1/z knows no run.\n");
        let one = Overview { runs: vec![line("cut off", true)], ..none };
        let text = one.text();
        assert!(text.contains("open") && text.contains("1,400"), "{text}");
        assert_eq!(serde_json::to_value(&one).unwrap()["runs"][0]["rows"], 1_400);
    }
}
