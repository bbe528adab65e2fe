//! A gauntlet's figures as people read them. Pure text.

use super::strategies::Kind;
use super::summary::{Line, Spread, Total};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table};
use std::collections::BTreeMap;
use std::fmt::Write;

/// More changes than this are counted, not listed.
const LISTED: usize = 2;

/// How output may look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Wrap to this width; `None`: as wide as it needs.
    pub width: Option<u16>,
    /// Colour.
    pub colour: bool,
}

/// The lines, the sums, what went wrong, and which strategies were skipped, with a line ending.
pub fn table(lines: &[Line], totals: &[Total], skipped: &BTreeMap<Kind, String>, style: Style) -> String {
    let mut text = String::new();
    if lines.is_empty() {
        text.push_str("Nothing was run.\n");
    } else {
        let _ = writeln!(text, "{}\n\n{}", by_scenario(lines, style), by_strategy(totals, style));
    }
    let troubled = lines.iter().filter(|line| !line.troubles.is_empty());
    for (number, line) in troubled.enumerate() {
        let gap = if number == 0 { "\n" } else { "" };
        let why: Vec<&str> = line.troubles.iter().map(String::as_str).collect();
        let _ = writeln!(text, "{gap}{}, {}: {}", line.scenario, line.strategy, why.join(" / "));
    }
    for (kind, why) in skipped {
        let _ = writeln!(text, "\n{kind} was skipped: {why}");
    }
    text
}

fn new_table(header: &[&str], style: Style) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    match style.width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    if style.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(header.to_vec());
    table
}

fn by_scenario(lines: &[Line], style: Style) -> Table {
    let header = [
        "scenario",
        "strategy",
        "solved",
        "cycles",
        "met after s",
        "outside s",
        "worst",
        "wrong pulled",
        "wrong kept",
        "changed",
    ];
    let mut table = new_table(&header, style);
    let mut last = "";
    for line in lines {
        let scenario = if line.scenario == last { "" } else { line.scenario.as_str() };
        last = &line.scenario;
        table.add_row([
            Cell::new(scenario),
            Cell::new(line.strategy),
            solved(line.solved, line.runs, line.failed, style),
            number(spread(line.cycles)),
            number(spread(line.met_after_s)),
            number(outside(line)),
            Cell::new(worst(line)),
            number(spread(line.wrong_pulled)),
            Cell::new(listed(line.wrong_kept.iter().cloned())),
            Cell::new(listed(line.changed.iter().map(|(change, runs)| of_runs(change, *runs, line.runs)))),
        ]);
    }
    table
}

fn by_strategy(totals: &[Total], style: Style) -> Table {
    let header = ["strategy", "solved", "cycles to a cure", "outside s", "runs with a wrong lever kept"];
    let mut table = new_table(&header, style);
    for total in totals {
        table.add_row([
            Cell::new(total.strategy),
            solved(total.solved, total.runs, total.failed, style),
            number(spread(total.cycles)),
            number(spread(total.outside_s)),
            number(total.with_wrong_kept.to_string()),
        ]);
    }
    table
}

fn solved(solved: u32, runs: u32, failed: u32, style: Style) -> Cell {
    let failed = if failed > 0 { format!(" +{failed} failed") } else { String::new() };
    let cell = number(format!("{solved}/{runs}{failed}"));
    match (style.colour, solved == runs && failed.is_empty()) {
        (false, _) => cell,
        (true, true) => cell.fg(Color::Green),
        (true, false) => cell.fg(Color::Red),
    }
}

fn number(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn spread(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "—".to_owned(), |spread| spread.to_string())
}

/// `42 of 160`.
fn outside(line: &Line) -> String {
    match (line.outside_s, line.seconds) {
        (Some(outside), Some(seconds)) => format!("{outside} of {:.0}", seconds.median),
        _ => "—".to_owned(),
    }
}

/// `1.5× p95 for 12 s`; nothing where nothing got worse.
fn worst(line: &Line) -> String {
    match (line.worst, line.worst_for_s, &line.worst_signal) {
        (Some(worst), Some(long), Some(signal)) if worst.high > 1.0 => {
            format!("{worst:.1}× {signal} for {long} s")
        }
        _ => "—".to_owned(),
    }
}

fn of_runs(change: &str, with: u32, runs: u32) -> String {
    if with == runs { change.to_owned() } else { format!("{change} ({with}/{runs})") }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.len() {
        0 => "—".to_owned(),
        count if count > LISTED => format!("{count} settings"),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::fixtures::{done, key, measured, run};
    use super::super::record::{Outcome, Run};
    use super::super::summary::{summarise, totals};
    use super::*;

    #[test]
    fn the_table_as_people_see_it() {
        let mut eager = measured(true, 1, 30.0);
        eager.wrong_kept = ["jit", "shared_buffers", "work_mem"].map(str::to_owned).to_vec();
        eager.wrong_pulled.clone_from(&eager.wrong_kept);
        let runs = [
            done(key("wal-storm", Kind::Leverd, 1), true, 1, 40.0),
            done(key("wal-storm", Kind::Leverd, 2), true, 2, 61.0),
            done(key("wal-storm", Kind::Playbook, 1), false, 5, 400.0),
            run(key("wal-storm", Kind::Pgtune, 1), Outcome::Measured(Box::new(eager))),
            run(key("wal-storm", Kind::Random, 1), Outcome::Failed("the sandbox did not come up".to_owned())),
        ];
        let refs: Vec<&Run> = runs.iter().collect();
        let skipped = BTreeMap::from([(Kind::Optuna, "PyPI cannot be reached".to_owned())]);
        let text = table(&summarise(&refs), &totals(&refs), &skipped, Style::default());
        insta::assert_snapshot!(text, @r"
        ┌───────────┬──────────┬───────────────┬───────────┬──────────────┬─────────────────────┬───────────────────┬──────────────┬────────────┬──────────────────┐
        │ scenario  ┆ strategy ┆ solved        ┆ cycles    ┆ met after s  ┆ outside s           ┆ worst             ┆ wrong pulled ┆ wrong kept ┆ changed          │
        ╞═══════════╪══════════╪═══════════════╪═══════════╪══════════════╪═════════════════════╪═══════════════════╪══════════════╪════════════╪══════════════════╡
        │ wal-storm ┆ leverd   ┆           2/2 ┆ 1.5 (1–2) ┆ 55.5 (45–66) ┆ 50.5 (40–61) of 160 ┆ 1.5× p95 for 12 s ┆            0 ┆ —          ┆ max_wal_size=1GB │
        │           ┆ playbook ┆           0/1 ┆         5 ┆            — ┆          400 of 500 ┆ 1.5× p95 for 12 s ┆            0 ┆ —          ┆ max_wal_size=1GB │
        │           ┆ pgtune   ┆           1/1 ┆         1 ┆           35 ┆           30 of 160 ┆ 1.5× p95 for 12 s ┆            3 ┆ 3 settings ┆ max_wal_size=1GB │
        │           ┆ random   ┆ 0/0 +1 failed ┆         — ┆            — ┆                   — ┆ —                 ┆            — ┆ —          ┆ —                │
        └───────────┴──────────┴───────────────┴───────────┴──────────────┴─────────────────────┴───────────────────┴──────────────┴────────────┴──────────────────┘

        ┌──────────┬───────────────┬──────────────────┬──────────────┬──────────────────────────────┐
        │ strategy ┆ solved        ┆ cycles to a cure ┆ outside s    ┆ runs with a wrong lever kept │
        ╞══════════╪═══════════════╪══════════════════╪══════════════╪══════════════════════════════╡
        │ leverd   ┆           2/2 ┆        1.5 (1–2) ┆ 50.5 (40–61) ┆                            0 │
        │ playbook ┆           0/1 ┆                — ┆          400 ┆                            0 │
        │ pgtune   ┆           1/1 ┆                1 ┆           30 ┆                            1 │
        │ random   ┆ 0/0 +1 failed ┆                — ┆            — ┆                            0 │
        └──────────┴───────────────┴──────────────────┴──────────────┴──────────────────────────────┘

        wal-storm, playbook: wal 300 ms (level 100 ms)
        wal-storm, random: failed: the sandbox did not come up

        optuna was skipped: PyPI cannot be reached
        ");
    }

    #[test]
    fn no_run_is_said() {
        assert_eq!(table(&[], &[], &BTreeMap::new(), Style::default()), "Nothing was run.\n");
    }
}
