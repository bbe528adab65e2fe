//! Reports and trials as people read them on a terminal. Pure text; `comfy-table` measures and colours.

use crate::model::{Conclusion, Considered, Finding, Outcome, Phase, Report, Standing, Trial, Verdict};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, Color, ContentArrangement, Table};
use std::fmt::Write;

/// How wide sentences are where there is no terminal to ask.
const WIDTH: u16 = 110;

/// A table in the house's style.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(header.to_vec());
    table
}

/// The signals against their levels.
pub(super) fn findings(findings: &[Finding]) -> String {
    let mut rows = table(&["signal", "value", "level", "", ""]);
    for finding in findings {
        let shown = |value: Option<f64>| value.map_or("—".to_owned(), |value| finding.unit.show(value));
        let level = match finding.standing {
            Standing::Unbounded => "—".to_owned(),
            _ if finding.bound.contains("baseline") => {
                format!("{} ({})", finding.bound, shown(finding.limit))
            }
            _ => format!("{} {}", finding.bound.chars().next().unwrap_or('≤'), shown(finding.limit)),
        };
        let (mark, color, word) = match &finding.standing {
            Standing::Met => ("✓", Color::Green, "met".to_owned()),
            Standing::Broken => ("✗", Color::Red, finding.symptom.to_string()),
            Standing::Unknown(why) => ("?", Color::Yellow, shortened(why)),
            Standing::Unbounded => ("·", Color::Grey, "no level is set".to_owned()),
        };
        rows.add_row(vec![
            Cell::new(&finding.signal),
            Cell::new(shown(finding.value)),
            Cell::new(level),
            Cell::new(mark).fg(color),
            Cell::new(word),
        ]);
    }
    rows.to_string()
}

/// A table has room for the beginning of a reason; `--json` and the log have all of it.
fn shortened(why: &str) -> String {
    const ROOM: usize = 48;
    if why.chars().count() <= ROOM {
        why.to_owned()
    } else {
        why.chars().take(ROOM - 1).chain(['…']).collect()
    }
}

/// What was considered, in rank order.
pub(super) fn considered(rows: &[Considered]) -> String {
    let mut text = String::new();
    for row in rows {
        let mark = match row.outcome {
            Outcome::Chosen => "→",
            Outcome::Later => "·",
            Outcome::Refused => "×",
        };
        let _ = writeln!(text, "  {mark} {}: {}", row.lever, row.reason);
    }
    text
}

/// What a decision comes to, in a sentence.
pub(super) fn conclusion(report: &Report) -> String {
    match &report.conclusion {
        Conclusion::Compliant => "Every level is met: nothing to do.".to_owned(),
        Conclusion::Act(plan) => format!(
            "Next: {} {} → {} ({}).",
            plan.parameter,
            plan.from.as_deref().unwrap_or("absent"),
            plan.to,
            plan.activation
        ),
        Conclusion::NothingLeft(why) => format!("A level is broken, and nothing may be done: {why}."),
        Conclusion::CannotTell(why) => format!("It cannot be told whether the levels are met: {why}."),
    }
}

/// A trial's end in a sentence.
pub(super) fn ending(trial: &Trial) -> String {
    let change = format!(
        "{} {} → {}",
        trial.plan.parameter,
        trial.plan.from.as_deref().unwrap_or("absent"),
        trial.plan.to
    );
    let why = trial.ending.as_deref().unwrap_or("no reason was recorded");
    let word = match (trial.verdict, &trial.phase) {
        (Some(Verdict::Kept), Phase::Kept) if trial.plan.gives_back.is_some() => "given back".to_owned(),
        (Some(_), Phase::Reverted) if trial.plan.gives_back.is_some() => "in place again".to_owned(),
        (None, Phase::Kept) if trial.plan.borrowed_for.is_some() => "borrowed".to_owned(),
        (Some(Verdict::Kept), _) => "kept".to_owned(),
        (Some(Verdict::Undecided), Phase::Reverted) => "undecided, put back".to_owned(),
        (_, phase) => phase.to_string(),
    };
    format!("Trial {}: {change}: {word}. {why}", trial.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Unit;

    #[test]
    fn each_standing_has_its_row() {
        let finding = |name: &str, unit, value, limit, bound: &str, standing| Finding {
            signal: name.into(),
            unit,
            value,
            limit,
            bound: bound.into(),
            standing,
            symptom: "high_wal_rate".into(),
        };
        let rows = [
            finding("wal_rate", Unit::BytesPerSec, Some(3e7), Some(1e7), "≤ 1.5× baseline", Standing::Broken),
            finding("io_wait", Unit::Percent, Some(3.2), Some(25.0), "< 25", Standing::Met),
            finding(
                "cpu_temperature",
                Unit::Celsius,
                None,
                Some(85.0),
                "≤ 85",
                Standing::Unknown("no series".into()),
            ),
        ];
        insta::assert_snapshot!(findings(&rows), @r"
        ┌─────────────────┬────────────┬─────────────────────────────┬───┬───────────────┐
        │ signal          ┆ value      ┆ level                       ┆   ┆               │
        ╞═════════════════╪════════════╪═════════════════════════════╪═══╪═══════════════╡
        │ wal_rate        ┆ 28.61 MB/s ┆ ≤ 1.5× baseline (9.54 MB/s) ┆ ✗ ┆ high_wal_rate │
        │ io_wait         ┆ 3.2 %      ┆ < 25.0 %                    ┆ ✓ ┆ met           │
        │ cpu_temperature ┆ —          ┆ ≤ 85.0 °C                   ┆ ? ┆ no series     │
        └─────────────────┴────────────┴─────────────────────────────┴───┴───────────────┘
        ");
    }
}
