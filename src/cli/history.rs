//! `leverd history`: the trials with their verdicts, or one of them whole.
//!
//! In: the ledger, read only. Out: a table or JSON on stdout. It works beside a running leverd.

use super::{EXIT_DONE, EXIT_FAILED, EXIT_TRY_LATER, Global, configured};
use crate::actuate::Actuator;
use crate::ledger::{
    self, Event, Ledger, LedgerError, State, interval, interval_name, look_text, one_line, outcome, percent,
    second, verdict_word,
};
use crate::model::{Comparison, Judgement, OldValue, Phase, Place, Trial, TrialId, Verdict};
use anyhow::Context;
use chrono::{DateTime, Utc};
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `leverd history`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show this trial whole: plan, evidence, trail, undo
    #[arg(value_name = "ID")]
    id: Option<i64>,
    /// How many trials, the newest first
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Read this ledger, a copy say, instead of the configured one
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

/// Runs it.
pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    // A named ledger needs no configuration; then nothing is known of how to restart, and `undo` says less.
    let (path, actuator) = match args.ledger.clone() {
        Some(path) => (path, None),
        None => match configured::load_config(global) {
            Ok(config) => (config.paths.ledger.clone(), Some(Actuator::new(&config.target))),
            Err(code) => return Ok(code),
        },
    };
    let json = global.json;
    let look = Look::of_this_terminal(global);
    let named = args.ledger.is_some();
    let answer = tokio::task::spawn_blocking(move || -> Result<String, LedgerError> {
        let ledger = match Ledger::open_existing(&path) {
            Err(LedgerError::Missing { .. }) if !named && args.id.is_none() => {
                return Ok(if json { to_json(&Vec::<Row<'_>>::new()) } else { table(&[], &look) });
            }
            opened => opened?,
        };
        match args.id.map(TrialId) {
            Some(id) => {
                let (trial, events) = (ledger.trial(id)?, ledger.events(id)?);
                let plain = actuator.zip(trial.intent.as_ref());
                let plain = plain.map(|(actuator, intent)| actuator.undo_commands(&trial.plan, intent));
                let undo = undo_of(&trial, &plain.unwrap_or_default());
                Ok(if json { one_as_json(&trial, &events, &undo) } else { whole(&trial, &events, &undo) })
            }
            None => {
                let trials = ledger.history(None, args.limit)?;
                Ok(if json { list_as_json(&trials) } else { table(&trials, &look) })
            }
        }
    })
    .await
    .context("reading the ledger")?;
    match answer {
        Ok(text) => {
            write!(std::io::stdout().lock(), "{text}")
                .or_else(closed_pipe_is_fine)
                .context("writing to stdout")?;
            Ok(ExitCode::from(EXIT_DONE))
        }
        Err(error) => {
            eprintln!("leverd: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            let later = matches!(error, LedgerError::Locked { .. });
            Ok(ExitCode::from(if later { EXIT_TRY_LATER } else { EXIT_FAILED }))
        }
    }
}

/// `leverd history | head` is no failure.
fn closed_pipe_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// How output may look.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    /// Wrap to the terminal's width.
    pub(crate) terminal: bool,
    /// Colour.
    pub(crate) colour: bool,
}

impl Look {
    /// What this process' stdout and environment allow.
    pub(crate) fn of_this_terminal(global: &Global) -> Self {
        let terminal = std::io::stdout().is_terminal() && !global.no_tty;
        // no-color.org: set and not empty.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { terminal, colour: terminal && !refused }
    }
}

/// The trials as a table, with a line ending.
pub(crate) fn table(trials: &[Trial], look: &Look) -> String {
    if trials.is_empty() {
        return "No lever was tried yet.\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    if look.terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.force_no_tty();
    }
    if look.colour {
        table.enforce_styling();
    }
    table.set_header(["id", "opened (UTC)", "lever", "change", "against", "verdict", "state"]);
    for trial in trials {
        let plan = &trial.plan;
        let tint = look.colour.then(|| colour(trial)).flatten();
        let tinted = |text: String| match tint {
            Some(colour) => Cell::new(text).fg(colour),
            None => Cell::new(text),
        };
        table.add_row([
            Cell::new(trial.id).set_alignment(CellAlignment::Right),
            Cell::new(ledger::minute(trial.opened_at)),
            Cell::new(&plan.lever),
            Cell::new(change(trial)),
            Cell::new(&plan.symptom),
            tinted(verdict(trial)),
            tinted(state(trial)),
        ]);
    }
    let mut text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    // Where a lever waits for a person, a table alone is easily overlooked.
    for trial in trials.iter().filter(|trial| waits_for_person(trial)) {
        let why = one_line(trial.ending.as_deref().unwrap_or("it could not be put back"));
        let _ = writeln!(
            text,
            "\nTrial {} needs a person: {why}. `leverd history {}` tells more.",
            trial.id, trial.id
        );
    }
    text
}

fn waits_for_person(trial: &Trial) -> bool {
    State::of(&trial.phase) == State::NeedsHuman && trial.undone_at.is_none()
}

fn change(trial: &Trial) -> String {
    let from = trial.plan.from.as_deref().unwrap_or("(not set)");
    one_line(&format!("{from} → {}", trial.plan.to))
}

/// `kept −20.0 % (−24.1 … −15.6 %)`.
fn verdict(trial: &Trial) -> String {
    let without = if trial.phase.is_final() { "none" } else { "not yet:" };
    let word = trial.verdict.map_or(without, verdict_word);
    match last_goal(trial) {
        Some((goal, _)) => format!("{word} {} ({})", percent(goal.change), interval(goal)),
        None => word.trim_end_matches(':').to_owned(),
    }
}

fn last_goal(trial: &Trial) -> Option<(&Comparison, &Judgement)> {
    trial.judgements.iter().rev().find_map(|look| Some((look.goal.as_ref()?, look)))
}

/// The phase as people see it, or that it was undone since.
fn state(trial: &Trial) -> String {
    let is_loan = trial.plan.borrowed_for.is_some();
    match (&trial.phase, trial.plan.gives_back) {
        _ if trial.is_left_to_person() => "left as edited".to_owned(),
        _ if is_undone(trial) && is_loan => "given back".to_owned(),
        _ if is_undone(trial) => "undone".to_owned(),
        (Phase::Kept, _) if is_loan => "borrowed".to_owned(),
        (Phase::Kept, Some(_)) => "given back".to_owned(),
        (phase, _) => phase.to_string(),
    }
}

/// The same as a word for programs; never changes.
fn state_word(trial: &Trial) -> &'static str {
    if is_undone(trial) { "undone" } else { State::of(&trial.phase).word() }
}

fn is_undone(trial: &Trial) -> bool {
    trial.undone_at.is_some() && trial.phase.is_final()
}

fn colour(trial: &Trial) -> Option<Color> {
    match (State::of(&trial.phase), trial.verdict) {
        _ if is_undone(trial) => None,
        (State::Kept, _) => Some(Color::Green),
        (State::NeedsHuman, _) | (State::Reverted, Some(Verdict::Reverted)) => Some(Color::Red),
        (State::Frozen | State::Open, _) => Some(Color::Yellow),
        (State::Reverted | State::Aborted, _) => None,
    }
}

/// The commands that undo a trial, where something of it is in force. `plain` are those that do it without leverd.
pub(crate) fn undo_of(trial: &Trial, plain: &[String]) -> Vec<String> {
    let in_force = matches!(State::of(&trial.phase), State::Kept | State::Frozen | State::NeedsHuman);
    let gave_back = trial.plan.gives_back.is_some() && trial.phase == Phase::Kept;
    if !in_force || gave_back || trial.undone_at.is_some() {
        return Vec::new();
    }
    std::iter::once(format!("leverd rollback {}", trial.id)).chain(plain.iter().cloned()).collect()
}

/// One trial with all that is known of it.
pub(crate) fn whole(trial: &Trial, events: &[Event], undo: &[String]) -> String {
    let plan = &trial.plan;
    let mut out = format!("Trial {}: {} {} on {}\n", trial.id, plan.lever, change(trial), plan.target);
    let _ = writeln!(out, "{}, verdict: {}\n", state(trial), verdict(trial));
    facts(&mut out, trial);
    section(&mut out, "Why this lever", [one_line(&plan.reason)]);
    section(
        &mut out,
        "Passed over",
        plan.passed_over.iter().map(|other| {
            format!("{} ({}): {}", other.lever, outcome(other.outcome), one_line(&other.reason))
        }),
    );
    for look in &trial.judgements {
        let _ = writeln!(out, "\nLook {}: {}", u32::from(look.look) + 1, look_text(look));
        out.push_str(&arithmetic(look));
    }
    section(&mut out, "Why this result", trial.ending.iter().map(|why| one_line(why)));
    section(&mut out, "Trail (UTC)", events.iter().map(event_text));
    section(&mut out, "Undo", undo.iter().cloned());
    out
}

fn facts(out: &mut String, trial: &Trial) {
    let plan = &trial.plan;
    let time = |at: Option<DateTime<Utc>>| at.map(|at| format!("{} UTC", second(at)));
    let place = match &plan.place {
        Place::PostgresqlConf(file) | Place::EnvFile(file) | Place::PgBouncer(file) => {
            trial.intent.as_ref().map_or(file, |intent| &intent.file).display().to_string()
        }
        Place::AlterSystem => "ALTER SYSTEM".to_owned(),
        Place::ContainerLimit { container, .. } => format!("the container {container}"),
        Place::ServerConf => "the server's own file".to_owned(),
        Place::Unavailable(why) => one_line(why),
    };
    let old = trial.intent.as_ref().map(|intent| match &intent.old {
        OldValue::Absent => "not set".to_owned(),
        OldValue::Line { raw, number } => format!("line {number}: {}", raw.trim_end()),
        OldValue::AutoConf(value) => format!("ALTER SYSTEM had set {value}"),
        OldValue::Container(limits) => limits.to_string(),
    });
    let backup = trial.intent.as_ref().and_then(|intent| intent.backup.as_ref());
    let rows = [
        ("symptom", Some(plan.symptom.to_string())),
        (
            "goal",
            Some(format!(
                "{} stood at {}, allowed is {}",
                plan.signal,
                plan.unit.show(plan.goal_from),
                plan.unit.show(plan.limit)
            ))
            .filter(|_| plan.borrowed_for.is_none()),
        ),
        (
            "place",
            Some(format!("{} in {place}, by {} ({} cost)", plan.parameter, plan.activation, plan.tier)),
        ),
        ("before", old),
        ("backup", backup.map(|backup| backup.display().to_string())),
        ("opened", time(Some(trial.opened_at))),
        ("applied", time(trial.applied_at)),
        ("exposed", trial.exposure().map(ledger::lasted)),
        ("deadline", time(trial.deadline.filter(|_| !trial.phase.is_final()))),
        ("closed", time(trial.closed_at)),
        ("undone", time(trial.undone_at)),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            let _ = writeln!(out, "  {name:<9} {value}");
        }
    }
}

fn arithmetic(look: &Judgement) -> String {
    let comparisons: Vec<_> = look.goal.iter().chain(&look.guards).collect();
    if comparisons.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    let interval_name = interval_name(look);
    table.set_header(["signal", "before", "after", "change", interval_name.as_str(), "scrapes", "worth"]);
    for comparison in comparisons {
        let per_load = if comparison.per_load { " per unit of load" } else { "" };
        table.add_row([
            format!("{}{per_load}", comparison.signal),
            comparison.unit.show(comparison.before),
            comparison.unit.show(comparison.after),
            percent(comparison.change),
            interval(comparison),
            format!("{} → {}", comparison.n_before, comparison.n_after),
            format!("{:.1}", comparison.effective_n),
        ]);
    }
    table.lines().map(|line| format!("  {}\n", line.trim_end())).collect()
}

fn event_text(event: &Event) -> String {
    let moved = match (&event.phase_from, &event.phase_to) {
        (Some(from), Some(to)) if from != to => format!("{from} → {to}: "),
        _ => String::new(),
    };
    format!("{}  {moved}{}", second(event.at), one_line(&event.what))
}

/// A heading with indented lines; nothing where there are none.
fn section(out: &mut String, heading: &str, lines: impl IntoIterator<Item = String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        let _ = writeln!(out, "\n{heading}");
        for line in lines {
            let _ = writeln!(out, "  {line}");
        }
    }
}

/// One trial in the list, for programs. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Row<'a> {
    id: TrialId,
    target: &'a str,
    opened_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
    lever: &'a str,
    parameter: &'a str,
    from: Option<&'a str>,
    to: &'a str,
    symptom: &'a str,
    signal: &'a str,
    state: &'static str,
    phase: &'static str,
    verdict: Option<Verdict>,
    /// After/before − 1; null ends of the interval are infinite.
    change: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    confidence: Option<f64>,
    ending: Option<&'a str>,
    undone_at: Option<DateTime<Utc>>,
}

impl<'a> Row<'a> {
    fn of(trial: &'a Trial) -> Self {
        let goal = last_goal(trial);
        let bounded = |value: f64| (value.abs() < ledger::UNBOUNDED).then_some(value);
        Self {
            id: trial.id,
            target: trial.plan.target.as_str(),
            opened_at: trial.opened_at,
            closed_at: trial.closed_at,
            lever: trial.plan.lever.as_str(),
            parameter: &trial.plan.parameter,
            from: trial.plan.from.as_deref(),
            to: &trial.plan.to,
            symptom: trial.plan.symptom.as_str(),
            signal: trial.plan.signal.as_str(),
            state: state_word(trial),
            phase: trial.phase.name(),
            verdict: trial.verdict,
            change: goal.map(|(goal, _)| goal.change),
            low: goal.and_then(|(goal, _)| bounded(goal.low)),
            high: goal.and_then(|(goal, _)| bounded(goal.high)),
            confidence: goal.map(|(_, look)| 1.0 - look.alpha),
            ending: trial.ending.as_deref(),
            undone_at: trial.undone_at,
        }
    }
}

/// The list as JSON, with a line ending.
pub(crate) fn list_as_json(trials: &[Trial]) -> String {
    to_json(&trials.iter().map(Row::of).collect::<Vec<_>>())
}

/// One trial as JSON, with a line ending.
pub(crate) fn one_as_json(trial: &Trial, events: &[Event], undo: &[String]) -> String {
    #[derive(Serialize)]
    struct One<'a> {
        #[serde(flatten)]
        row: Row<'a>,
        trial: &'a Trial,
        events: &'a [Event],
        undo: &'a [String],
    }
    to_json(&One { row: Row::of(trial), trial, events, undo })
}

fn to_json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("names, numbers and times have a form in JSON");
    format!("{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixtures::{at, judgement, kept, planned, reverted};
    use crate::model::{Phase, Ruling};

    fn numbered(id: i64, trial: Trial) -> Trial {
        Trial { id: TrialId(id), ..trial }
    }

    fn some_trials() -> Vec<Trial> {
        let unbounded = judgement(Ruling::Extend, -0.3, -0.05, ledger::UNBOUNDED);
        vec![
            numbered(6, Trial { phase: Phase::Settling, judgements: vec![unbounded], ..planned("capsim") }),
            numbered(5, Trial { phase: Phase::Aborted, ..planned("capsim") }),
            numbered(
                4,
                Trial {
                    phase: Phase::NeedsHuman,
                    verdict: None,
                    judgements: vec![],
                    ending: Some("Postgres did not come\nback within 60 s".to_owned()),
                    ..kept("capsim")
                },
            ),
            numbered(3, Trial { undone_at: Some(at(9000)), ..kept("capsim") }),
            numbered(2, reverted("capsim", Verdict::Undecided, "no gain")),
            numbered(1, kept("capsim")),
        ]
    }

    #[test]
    fn the_list_as_people_see_it() {
        insta::assert_snapshot!(table(&some_trials(), &Look::default()));
        assert_eq!(table(&[], &Look::default()), "No lever was tried yet.\n");
    }

    #[test]
    fn colour_is_there_only_where_it_is_wanted() {
        let trials = [numbered(1, kept("capsim"))];
        assert!(!table(&trials, &Look::default()).contains('\u{1b}'));
        assert!(table(&trials, &Look { terminal: false, colour: true }).contains('\u{1b}'));
    }

    #[test]
    fn one_trial_as_people_see_it() {
        let trial = numbered(12, Trial { ending: Some("the gain is proved".to_owned()), ..kept("capsim") });
        let event = |id, seconds, what: &str, from: Option<&str>, to: &str| Event {
            id,
            at: at(seconds),
            trial: Some(trial.id),
            lever: Some(trial.plan.lever.clone()),
            what: what.to_owned(),
            phase_from: from.map(str::to_owned),
            phase_to: Some(to.to_owned()),
        };
        let events = [
            event(1, 0, "opened", None, "planned"),
            event(2, 1, "the value is valid", Some("planned"), "preflight"),
            event(3, 960, "the gain is proved", Some("measuring, look 1"), "kept"),
        ];
        let undo = undo_of(&trial, &["cp -p backups/20240115_101400/postgresql.conf /srv/pg/".to_owned()]);
        insta::assert_snapshot!(whole(&trial, &events, &undo));
        insta::assert_snapshot!(one_as_json(&trial, &events[..1], &undo));
    }

    #[test]
    fn the_list_for_programs() {
        insta::assert_snapshot!(list_as_json(&some_trials()[..2]));
    }

    #[test]
    fn only_what_is_in_force_can_be_undone() {
        let commands: Vec<usize> = some_trials().iter().map(|trial| undo_of(trial, &[]).len()).collect();
        assert_eq!(commands, [0, 0, 1, 0, 0, 1]);
    }
}
