//! One changelog entry as text: the playbook's three lines first, then what a person needs to check or undo it.
//!
//! Pure: the same trial gives the same bytes, which is how a torn entry is recognised and completed. Times are UTC:
//! the file is shared by people in several zones, and local time repeats an hour every autumn.

use super::{Due, State, minute, second, storable::UNBOUNDED};
use crate::model::{Comparison, Judgement, OldValue, Outcome, Phase, Place, Ruling, Trial, Verdict};
use chrono::TimeDelta;
use std::fmt::Write as _;

/// What an entry tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// The change stays.
    Kept,
    /// It was put back.
    Reverted,
    /// A person edited it meanwhile.
    Frozen,
    /// It could not be put back.
    NeedsHuman,
    /// It was undone after its end.
    Undone,
}

impl EntryKind {
    /// The entry that a trial's end calls for; an aborted trial changed nothing and has none.
    pub(super) fn of(state: State) -> Option<Self> {
        match state {
            State::Open | State::Aborted => None,
            State::Kept => Some(Self::Kept),
            State::Reverted => Some(Self::Reverted),
            State::Frozen => Some(Self::Frozen),
            State::NeedsHuman => Some(Self::NeedsHuman),
        }
    }

    /// As it stands in the ledger and in markers; never changes.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Reverted => "reverted",
            Self::Frozen => "frozen",
            Self::NeedsHuman => "needs_human",
            Self::Undone => "undone",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Kept, Self::Reverted, Self::Frozen, Self::NeedsHuman, Self::Undone]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// The hidden line that ends an entry and says that all of it is there. `identity` is the ledger's: numbers of
/// another ledger, from another clone or an earlier life of this one, are other trials.
pub(super) fn marker(due: &Due, identity: &str) -> String {
    format!("<!-- leverd trial {} {} {identity} -->", due.trial, due.kind.word())
}

/// The entry, with a blank line before it. `undo` are the plain commands that put the old value back without leverd.
pub fn render(trial: &Trial, due: &Due, identity: &str, undo: &[String]) -> String {
    let mut out = String::from("\n");
    headline(&mut out, trial, due);
    let _ = writeln!(out, "\n{}\n", circumstances(trial));
    match due.kind {
        EntryKind::Undone => {
            let _ = writeln!(out, "**Why:** {}\n", line(&due.what));
        }
        // A loan's end that found a person's value: nothing of leverd's is left to undo.
        EntryKind::Frozen if trial.phase == Phase::Kept => {
            let _ = writeln!(out, "**Why:** {}\n", line(&due.what));
        }
        EntryKind::Kept | EntryKind::Reverted | EntryKind::Frozen | EntryKind::NeedsHuman => {
            evidence(&mut out, trial);
            reasons(&mut out, trial);
            if due.kind != EntryKind::Reverted {
                out.push_str(&undo_block(trial, undo));
            }
        }
    }
    let _ = writeln!(out, "{}", marker(due, identity));
    out
}

fn headline(out: &mut String, trial: &Trial, due: &Due) {
    let plan = &trial.plan;
    let goal = trial.judgements.iter().rev().find_map(|look| look.goal.as_ref());
    let (from, to) = match (due.kind, goal) {
        (EntryKind::Undone, Some(goal)) => (plain(goal.after), "not measured".to_owned()),
        (EntryKind::Undone, None) => (plain(plan.goal_from), "not measured".to_owned()),
        (_, Some(goal)) => (plain(goal.before), plain(goal.after)),
        (_, None) => (plain(plan.goal_from), "not measured".to_owned()),
    };
    let value = if due.kind == EntryKind::Undone { old_value(trial) } else { plan.to.clone() };
    let _ = writeln!(out, "## {}\n", minute(due.at));
    let _ = writeln!(out, "* Lever: {}={}", plan.lever, line(&value));
    if plan.borrowed_for.is_some() {
        let _ = writeln!(out, "* Goal metric: none, for it is not judged");
    } else {
        let _ = writeln!(out, "* Goal metric: {} from {from} → {to}", plan.signal);
    }
    let _ = writeln!(out, "* Result: {}", result(trial, due.kind));
}

/// The result in a few words.
fn result(trial: &Trial, kind: EntryKind) -> &'static str {
    match (kind, trial.verdict) {
        (EntryKind::Kept, _) if trial.plan.borrowed_for.is_some() => {
            "🤝 borrowed for the time of a migration"
        }
        (EntryKind::Undone, _) if trial.plan.borrowed_for.is_some() => "↩️ given back",
        (EntryKind::Kept, _) if trial.plan.gives_back.is_some() => "🍃 no longer needed, given back",
        (EntryKind::Reverted, Some(verdict)) if trial.plan.gives_back.is_some() => match verdict {
            Verdict::Reverted if is_ruled_harmful(trial) => "📌 still needed, in place again",
            Verdict::Reverted => "⚠️ in place again at once, before a verdict",
            Verdict::Kept | Verdict::Undecided => "➖ not shown that it can go, in place again",
        },
        (EntryKind::Kept, _) => "✅ improved",
        (EntryKind::Reverted, Some(Verdict::Reverted)) if is_ruled_harmful(trial) => {
            "❌ made it worse, put back"
        }
        (EntryKind::Reverted, Some(Verdict::Reverted)) => "⚠️ put back at once, before a verdict",
        (EntryKind::Reverted, Some(Verdict::Undecided)) => "➖ no gain proved, put back",
        (EntryKind::Reverted, Some(Verdict::Kept)) => "↩️ improved, and put back later",
        (EntryKind::Reverted, None) => "⏹️ stopped before a verdict, put back",
        (EntryKind::Frozen, _) => "✋ edited by a person meanwhile, left as it is",
        (EntryKind::NeedsHuman, _) => "🆘 could not be put back, a person must act",
        (EntryKind::Undone, _) => "↩️ undone by a person",
    }
}

/// The evidence says so; an abort is a precaution.
fn is_ruled_harmful(trial: &Trial) -> bool {
    trial.judgements.last().is_some_and(|look| look.ruling == Ruling::Revert)
}

/// Which trial, where, when, and what for, in one sentence or two.
fn circumstances(trial: &Trial) -> String {
    let plan = &trial.plan;
    let place = match &plan.place {
        Place::PostgresqlConf(file) | Place::EnvFile(file) | Place::PgBouncer(file) => {
            trial.intent.as_ref().map_or(file, |intent| &intent.file).display().to_string()
        }
        Place::AlterSystem => "ALTER SYSTEM".to_owned(),
        Place::ContainerLimit { container, .. } => format!("the container {container}"),
        Place::ServerConf => "the server's own file".to_owned(),
        Place::Unavailable(why) => why.clone(),
    };
    let against = match plan.gives_back {
        Some(kept) => format!("giving trial {kept} back, which was against"),
        None => "against".to_owned(),
    };
    let end = trial.closed_at.map(|end| format!(" to {}", second(end))).unwrap_or_default();
    let occasion = match &plan.borrowed_for {
        Some(run) => format!("borrowed for the migration's run {run}."),
        None => format!(
            "{against} {}: {} stood at {}, allowed is {}.",
            plan.symptom,
            plan.signal,
            plan.unit.show(plan.goal_from),
            plan.unit.show(plan.limit)
        ),
    };
    line(&format!(
        "Trial {} on {}, {}{end} (UTC), {occasion} {} {} → {} in {place}, by {} ({} cost).",
        trial.id,
        plan.target,
        second(trial.opened_at),
        plan.parameter,
        plan.from.as_deref().unwrap_or("(not set)"),
        plan.to,
        plan.activation,
        plan.tier,
    ))
}

fn evidence(out: &mut String, trial: &Trial) {
    let Some(last) = trial.judgements.iter().rev().find(|look| look.goal.is_some()) else {
        let _ = writeln!(out, "**The arithmetic:** nothing was measured.\n");
        return;
    };
    let _ = writeln!(out, "**The arithmetic**\n");
    let _ = writeln!(out, "| signal | before | after | change | {} | scrapes |", interval_name(last));
    let _ = writeln!(out, "|---|--:|--:|--:|--:|--:|");
    for (comparison, role) in
        last.goal.iter().map(|goal| (goal, " (goal)")).chain(last.guards.iter().map(|guard| (guard, "")))
    {
        let _ = writeln!(
            out,
            "| {}{role}{} | {} | {} | {} | {} | {} → {} |",
            cell(comparison.signal.as_str()),
            if comparison.per_load { ", per unit of load" } else { "" },
            comparison.unit.show(comparison.before),
            comparison.unit.show(comparison.after),
            percent(comparison.change),
            interval(comparison),
            comparison.n_before,
            comparison.n_after,
        );
    }
    out.push('\n');
    if trial.judgements.len() > 1 {
        let _ = writeln!(out, "Looks:\n");
        for look in &trial.judgements {
            let _ = writeln!(out, "{}. {}", u32::from(look.look) + 1, line(&look_text(look)));
        }
        out.push('\n');
    }
}

fn reasons(out: &mut String, trial: &Trial) {
    let which = if trial.plan.gives_back.is_some() { "Why it is given back" } else { "Why this lever" };
    let _ = writeln!(out, "**{which}:** {}\n", line(&trial.plan.reason));
    let verdict = trial.judgements.last().map(|look| look.reason.as_str());
    if let Some(why) = trial.ending.as_deref().or(verdict) {
        let _ = writeln!(out, "**Why this result:** {}\n", line(why));
    }
    if let Some(exposure) = trial.exposure() {
        let what = if trial.plan.gives_back.is_some() { "old" } else { "new" };
        let _ = writeln!(out, "**Exposed:** the {what} value was in effect for {}.\n", lasted(exposure));
    }
    if !trial.plan.passed_over.is_empty() {
        let _ = writeln!(out, "**Passed over:**\n");
        for other in &trial.plan.passed_over {
            let _ = writeln!(out, "* {} ({}): {}", other.lever, outcome(other.outcome), line(&other.reason));
        }
        out.push('\n');
    }
}

fn undo_block(trial: &Trial, undo: &[String]) -> String {
    let plan = &trial.plan;
    if let (Some(_), Some(value), Phase::Kept) = (plan.gives_back, &plan.from, &trial.phase) {
        return format!(
            "**Undo:** set {} to {} again, by {}. Where its level breaks, leverd finds the lever again.\n\n",
            plan.parameter,
            line(value),
            plan.activation
        );
    }
    let mut commands = format!("leverd rollback {}\n", trial.id);
    if !undo.is_empty() {
        commands.push_str("# or without leverd:\n");
        for command in undo {
            commands.push_str(command);
            commands.push('\n');
        }
    }
    // Longer than any run of backticks inside, as Markdown wants it.
    let longest = commands.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("**Undo:**\n\n{fence}sh\n{commands}{fence}\n\n")
}

/// What stands there again after an undo, as people write it.
fn old_value(trial: &Trial) -> String {
    match (&trial.plan.from, trial.intent.as_ref().map(|intent| &intent.old)) {
        (Some(from), Some(OldValue::Absent)) => format!("{from} (not set)"),
        (Some(from), _) => from.clone(),
        (None, _) => "(not set)".to_owned(),
    }
}

/// One look in a line: `extend, −12.0 % (−25.1 … +3.0 %): the interval is too wide`.
pub(crate) fn look_text(look: &Judgement) -> String {
    let ruling = match look.ruling {
        Ruling::Keep => "keep",
        Ruling::Revert => "revert",
        Ruling::Extend => "extend",
    };
    let numbers = look
        .goal
        .as_ref()
        .map(|goal| format!(", {} ({})", percent(goal.change), interval(goal)))
        .unwrap_or_default();
    format!("{ruling}{numbers}: {}", one_line(&look.reason))
}

/// What became of a lever that was considered.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Chosen => "chosen",
        Outcome::Later => "later",
        Outcome::Refused => "refused",
    }
}

/// `95 % interval`; the level is what this look really spent, which is more than 95 % where several looks share it.
pub(crate) fn interval_name(look: &Judgement) -> String {
    let level = (1.0 - look.alpha) * 100.0;
    let digits = format!("{level:.2}");
    format!("{} % interval", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// `−25.1 … +3.0 %`.
pub(crate) fn interval(comparison: &Comparison) -> String {
    let high = percent(comparison.high);
    format!("{} … {high}", percent(comparison.low).trim_end_matches(" %"))
}

/// A ratio − 1 as people read it: `−12.5 %`, with a true minus sign, `+∞` where it has no end.
pub(crate) fn percent(change: f64) -> String {
    let text = if change >= UNBOUNDED {
        "+∞".to_owned()
    } else if change <= -UNBOUNDED {
        "−∞".to_owned()
    } else {
        format!("{:+.1}", change * 100.0).replace('-', "−")
    };
    let text = if text == "−0.0" { "+0.0".to_owned() } else { text };
    format!("{text} %")
}

/// A number as the playbook writes it: `1234567`, `15.5`, `0.0123`.
pub(crate) fn plain(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 1000.0 => 0,
        middle if middle >= 1.0 => 2,
        0.0 => 0,
        small => {
            // Four significant digits; 12 places are enough for any signal.
            let zeros = -small.log10().floor();
            (zeros + 3.0).clamp(2.0, 12.0) as usize
        }
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A span as `4.3 s`; from a minute on without the fraction.
pub(crate) fn lasted(span: TimeDelta) -> String {
    let seconds = span.num_milliseconds() as f64 / 1000.0;
    if seconds < 60.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

/// Text of any origin as one line that cannot pose as a marker or steer a terminal.
fn line(text: &str) -> String {
    one_line(text).replace("<!--", "&lt;!--")
}

/// Text of any origin as one line, without control characters.
pub(crate) fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{at, judgement, kept, planned, reverted};
    use super::*;
    use crate::model::TrialId;

    fn rendered(trial: Trial, kind: EntryKind, what: &str, undo: &[&str]) -> String {
        let trial = Trial { id: TrialId(12), ..trial };
        let due = Due { trial: trial.id, kind, at: at(960), what: what.to_owned() };
        let undo: Vec<String> = undo.iter().map(|command| (*command).to_owned()).collect();
        render(&trial, &due, "5f3a9c1e", &undo)
    }

    #[test]
    fn a_change_that_is_given_back() {
        let mut trial = kept("capsim");
        trial.plan.gives_back = Some(TrialId(7));
        trial.plan.from = Some("10min".into());
        trial.plan.to = "5min".into();
        trial.plan.reason = "Trial 7 is no longer needed, it seems.".into();
        trial.plan.passed_over.clear();
        trial.ending = Some("every level holds without it".into());
        insta::assert_snapshot!(rendered(trial.clone(), EntryKind::Kept, "judged", &[]), @r"
        ## 2024-01-15 10:30

        * Lever: checkpoint_timeout=5min
        * Goal metric: wal_rate from 1234567 → 987654
        * Result: 🍃 no longer needed, given back

        Trial 12 on capsim, 2024-01-15 10:14:00 to 2024-01-15 10:30:00 (UTC), giving trial 7 back, which was against high_wal_rate: wal_rate stood at 1.24 MB/s, allowed is 976.56 kB/s. checkpoint_timeout 10min → 5min in /srv/pg/postgresql.conf, by reload (low cost).

        **The arithmetic**

        | signal | before | after | change | 95 % interval | scrapes |
        |---|--:|--:|--:|--:|--:|
        | wal_rate (goal), per unit of load | 1.18 MB/s | 964.51 kB/s | −20.0 % | −24.1 … −15.6 % | 60 → 58 |
        | io_wait | 15.5 % | 15.2 % | −1.6 % | −6.0 … +3.1 % | 60 → 58 |

        **Why it is given back:** Trial 7 is no longer needed, it seems.

        **Why this result:** every level holds without it

        **Undo:** set checkpoint_timeout to 10min again, by reload. Where its level breaks, leverd finds the lever again.

        <!-- leverd trial 12 kept 5f3a9c1e -->
        ");
        trial.phase = Phase::Reverted;
        trial.verdict = Some(Verdict::Reverted);
        let result = |trial: &Trial| {
            let entry = rendered(trial.clone(), EntryKind::Reverted, "judged", &[]);
            entry.lines().find_map(|line| line.strip_prefix("* Result: ").map(str::to_owned)).unwrap()
        };
        assert_eq!(result(&trial), "⚠️ in place again at once, before a verdict");
        trial.judgements.last_mut().unwrap().ruling = Ruling::Revert;
        assert_eq!(result(&trial), "📌 still needed, in place again");
        trial.verdict = Some(Verdict::Undecided);
        assert_eq!(result(&trial), "➖ not shown that it can go, in place again");
        trial.phase = Phase::NeedsHuman;
        let failed = rendered(trial, EntryKind::NeedsHuman, "the undo failed", &[]);
        assert!(failed.contains("leverd rollback 12"), "{failed}");
    }

    #[test]
    fn a_kept_change() {
        let mut trial = kept("capsim");
        let mut first = judgement(Ruling::Extend, -0.31, -0.17, 0.021);
        first.reason = "the interval reaches past 0".to_owned();
        trial.judgements.insert(0, first);
        trial.judgements[1].look = 1;
        trial.judgements[1].alpha = 0.0167;
        let undo = [
            "cp -p /srv/leverd/backups/20240115_101400/postgresql.conf /srv/pg/postgresql.conf",
            "psql -c 'SELECT pg_reload_conf()'",
        ];
        insta::assert_snapshot!(rendered(trial, EntryKind::Kept, "kept", &undo));
    }

    #[test]
    fn a_change_that_made_it_worse() {
        let trial = reverted("capsim", Verdict::Reverted, "io_wait is 40 % worse");
        insta::assert_snapshot!(rendered(trial, EntryKind::Reverted, "reverted", &["never shown"]));
    }

    #[test]
    fn a_change_that_was_put_back_at_once() {
        let why = "p95_write_latency was 20 ms without the change and is 80 ms: past 40 ms for 3 scrapes";
        let mut trial = Trial { judgements: vec![], ..reverted("capsim", Verdict::Reverted, why) };
        trial.closed_at = Some(at(8));
        trial.plan.passed_over.clear();
        let text = rendered(trial, EntryKind::Reverted, "reverted", &[]);
        assert!(text.contains("* Result: ⚠️ put back at once, before a verdict\n"), "{text}");
        assert!(text.contains("**Exposed:** the new value was in effect for 3.0 s.\n"), "{text}");
    }

    #[test]
    fn a_change_without_a_proved_gain() {
        let mut trial = reverted("capsim", Verdict::Undecided, "no gain of 3 % after 3 looks");
        trial.plan.passed_over.clear();
        insta::assert_snapshot!(rendered(trial, EntryKind::Reverted, "reverted", &[]));
    }

    #[test]
    fn a_change_that_never_took_effect() {
        let trial = Trial {
            phase: Phase::Reverted,
            verdict: None,
            applied_at: None,
            judgements: vec![],
            ending: Some("pg_settings still says 5min: the command line sets it".to_owned()),
            ..kept("capsim")
        };
        insta::assert_snapshot!(rendered(trial, EntryKind::Reverted, "reverted", &[]));
    }

    #[test]
    fn a_change_that_a_person_undid() {
        let trial = Trial { undone_at: Some(at(960)), ..kept("capsim") };
        insta::assert_snapshot!(rendered(trial, EntryKind::Undone, "leverd rollback 12", &["never shown"]));
    }

    #[test]
    fn an_undo_that_failed() {
        let trial = Trial {
            phase: Phase::NeedsHuman,
            ending: Some("Postgres did not come back within 60 s".to_owned()),
            ..kept("capsim")
        };
        let undo = ["pg_ctl start -D /srv/pg"];
        insta::assert_snapshot!(rendered(trial, EntryKind::NeedsHuman, "needs a human", &undo));
    }

    #[test]
    fn text_of_any_origin_cannot_break_out_of_its_place() {
        let mut trial = kept("capsim");
        trial.plan.reason = "two\nlines <!-- leverd trial 99 kept 5f3a9c1e -->\n## and a heading".to_owned();
        trial.judgements[0].guards[0].signal = "a|b".into();
        let text = rendered(trial, EntryKind::Kept, "kept", &["echo '```'"]);
        assert_eq!(text.lines().filter(|line| line.starts_with("## ")).count(), 1);
        assert_eq!(text.matches("<!--").count(), 1);
        assert!(text.contains("| a\\|b |"));
        assert!(
            text.contains("````sh\nleverd rollback 12\n# or without leverd:\necho '```'\n````\n"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_written_as_the_playbook_writes_them() {
        let of = [1_234_567.4, 1000.0, 180.0, 15.5, 15.004, 1.0, 0.5, 0.0, 0.012_345, -2.25, 1.0e-9, 1e300];
        let text: Vec<String> = of.into_iter().map(plain).collect();
        assert_eq!(
            text[..11],
            ["1234567", "1000", "180", "15.5", "15", "1", "0.5", "0", "0.01235", "-2.25", "0.000000001",]
        );
        assert_eq!(text[11].len(), 301);
    }

    #[test]
    fn percentages_show_their_sign_and_have_an_end_or_not() {
        let of = [0.2, -0.125, 0.0, -0.000_01, UNBOUNDED, f64::NEG_INFINITY, 12.0];
        let text: Vec<String> = of.into_iter().map(percent).collect();
        assert_eq!(text, ["+20.0 %", "−12.5 %", "+0.0 %", "+0.0 %", "+∞ %", "−∞ %", "+1200.0 %"]);
    }

    #[test]
    fn an_entry_begins_as_the_playbook_has_it() {
        let text = rendered(kept("capsim"), EntryKind::Kept, "kept", &[]);
        let playbook = "\n## 2024-01-15 10:30\n\n* Lever: checkpoint_timeout=10min\n* Goal metric: wal_rate from \
                        1234567 → 987654\n* Result: ✅ improved\n";
        assert!(text.starts_with(playbook), "{text}");
    }

    #[test]
    fn a_loan_says_for_which_run_and_that_nobody_judges_it() {
        let mut loan = Trial { verdict: None, judgements: vec![], ..kept("capsim") };
        loan.plan.borrowed_for = Some("20260102T030405-7".to_owned());
        let text = rendered(loan.clone(), EntryKind::Kept, "verified", &["cp a b"]);
        for expected in [
            "* Lever: checkpoint_timeout=10min\n* Goal metric: none, for it is not judged\n",
            "* Result: 🤝 borrowed for the time of a migration\n",
            "(UTC), borrowed for the migration's run 20260102T030405-7. checkpoint_timeout 5min → 10min in ",
            "leverd rollback 12\n# or without leverd:\ncp a b\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        let back = Trial { undone_at: Some(at(970)), ..loan };
        let edited = rendered(back.clone(), EntryKind::Frozen, "it is 2GB now", &["cp a b"]);
        assert!(edited.contains("* Result: ✋ edited by a person meanwhile, left as it is\n"), "{edited}");
        assert!(edited.contains("**Why:** it is 2GB now\n") && !edited.contains("rollback"), "{edited}");
        let text = rendered(back, EntryKind::Undone, "the run 20260102T030405-7 has ended", &[]);
        assert!(text.contains("* Lever: checkpoint_timeout=5min\n"), "{text}");
        assert!(text.contains("* Result: ↩️ given back\n"), "{text}");
        assert!(text.contains("**Why:** the run 20260102T030405-7 has ended\n"), "{text}");
    }

    #[test]
    fn what_was_not_set_before_is_said_to_be_so() {
        let mut trial = kept("capsim");
        trial.plan.from = None;
        let text = rendered(trial, EntryKind::Undone, "leverd rollback --all", &[]);
        assert!(text.contains("* Lever: checkpoint_timeout=(not set)\n"));
        let unmeasured = rendered(planned("capsim"), EntryKind::Frozen, "frozen", &[]);
        assert!(unmeasured.contains("* Goal metric: wal_rate from 1300000 → not measured\n"), "{unmeasured}");
    }
}
