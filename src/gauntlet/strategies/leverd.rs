//! leverd itself: the real program, `leverd tune --cycles N`, as its users run it; then its own record is read.
//!
//! What it has that the others lack: evidence from the server, guards, statistics, a record. What it does not get: any
//! word of the scenario. It is held to more: where nothing should be changed it must also say so.

use super::{Acted, End};
use crate::gauntlet::GauntletError;
use crate::gauntlet::bench::Bench;
use crate::gauntlet::program::Program;
use crate::gauntlet::record::Pull;
use crate::model::{Conclusion, Report};
use serde::Deserialize;
use std::time::Duration;

/// A trial may take so many load cycles at most: its arms, extensions, A-B-A, and whole checkpoints in each.
const CYCLES_OF_A_TRIAL: u32 = 15;
const GRACE: Duration = Duration::from_secs(300);
const HISTORY_PATIENCE: Duration = Duration::from_secs(60);

/// What `tune --json` prints, as far as it is used.
#[derive(Debug, Deserialize)]
struct Tuned {
    report: Option<Report>,
    stopped: bool,
}

/// A row of `history --json`, as far as it is used.
#[derive(Debug, Deserialize)]
struct Row {
    lever: String,
    to: String,
    state: String,
    ending: Option<String>,
}

/// Runs it.
pub(in crate::gauntlet) async fn tune(
    program: &Program,
    bench: &Bench,
    cycles: u32,
) -> Result<Acted, GauntletError> {
    let config = ".leverd/sandbox/leverd.yaml";
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let cycles = cycles.to_string();
    let words_of_tune = words(&["tune", "--cycles", &cycles, "--no-tty", "--json", "--config", config]);
    let patience = bench.window() * CYCLES_OF_A_TRIAL * cycles.parse::<u32>().unwrap_or(1) + GRACE;
    let ended = program.run(bench.root(), "tune", &words_of_tune, patience).await?;
    // Its exit code tells whether the levels are met; what it could not do at all has no JSON.
    let Ok(tuned) = serde_json::from_str::<Tuned>(&ended.stdout) else {
        return Err(ended.into_error("leverd tune"));
    };
    let history = words(&["history", "--limit", "1000", "--json", "--config", config]);
    let ended = program.run(bench.root(), "history", &history, HISTORY_PATIENCE).await?;
    match serde_json::from_str::<Vec<Row>>(&ended.stdout) {
        Ok(rows) => Ok(acted(&tuned, &rows)),
        Err(_) => Err(ended.into_error("leverd history")),
    }
}

/// From its own words; the newest trial comes first in the history.
fn acted(tuned: &Tuned, rows: &[Row]) -> Acted {
    let end = match tuned.report.as_ref().map(|report| &report.conclusion) {
        _ if tuned.stopped => End::CannotTell("it was stopped".to_owned()),
        Some(Conclusion::Compliant) => End::Met,
        Some(Conclusion::NothingLeft(why)) => End::NothingLeft(why.clone()),
        Some(Conclusion::CannotTell(why)) => End::CannotTell(why.clone()),
        Some(Conclusion::Act(_)) => End::CyclesUsedUp,
        None => End::CannotTell("it made no report".to_owned()),
    };
    let pulled = rows.iter().rev().zip(1..).map(|(row, cycle)| Pull {
        cycle,
        lever: row.lever.clone(),
        value: row.to.clone(),
        became: match &row.ending {
            Some(why) => format!("{}: {why}", row.state),
            None => row.state.clone(),
        },
    });
    Acted { cycles: u32::try_from(rows.len()).unwrap_or(u32::MAX), pulled: pulled.collect(), end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tuned: &str, rows: &str) -> Acted {
        acted(&serde_json::from_str(tuned).unwrap(), &serde_json::from_str::<Vec<Row>>(rows).unwrap())
    }

    #[test]
    fn its_trials_are_told_in_their_order() {
        let tuned = r#"{"trials": [], "stopped": false,
            "report": {"findings": [], "considered": [], "conclusion": "Compliant"}}"#;
        let rows = r#"[
            {"id": 2, "lever": "max_wal_size", "to": "1GB", "state": "kept", "ending": "a gain"},
            {"id": 1, "lever": "wal_buffers", "to": "16MB", "state": "reverted", "ending": null}]"#;
        let acted = of(tuned, rows);
        assert_eq!((acted.cycles, &acted.end), (2, &End::Met));
        let pulled: Vec<String> = acted
            .pulled
            .iter()
            .map(|p| format!("{} {}={}: {}", p.cycle, p.lever, p.value, p.became))
            .collect();
        assert_eq!(pulled, ["1 wal_buffers=16MB: reverted", "2 max_wal_size=1GB: kept: a gain"]);
    }

    #[test]
    fn saying_that_nothing_is_left_is_an_end_and_not_knowing_is_none() {
        let report = |conclusion: &str| {
            format!(
                r#"{{"stopped": false, "report": {{"findings": [], "considered": [], "conclusion": {conclusion}}}}}"#
            )
        };
        let end = |conclusion: &str| of(&report(conclusion), "[]").end;
        assert_eq!(end(r#"{"NothingLeft": "no lever"}"#), End::NothingLeft("no lever".to_owned()));
        assert_eq!(end(r#"{"CannotTell": "no series"}"#), End::CannotTell("no series".to_owned()));
        let stopped = of(r#"{"stopped": true, "report": null}"#, "[]").end;
        assert_eq!(stopped.to_string(), "it cannot tell: it was stopped");
    }
}
