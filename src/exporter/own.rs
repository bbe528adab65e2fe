//! leverd's metrics about itself: what it saw, what it decided, how its trials ended.
//!
//! In: snapshots, reports and verdicts as they come. Out: families on a page. Cheap: a note is one short lock, and
//! no note ever waits for a scrape. Counters begin at 0, so that their first step shows in a `rate()`.

use super::page::{Kind, Page};
use crate::model::{Baseline, Conclusion, Finding, Reading, Report, Snapshot, Standing, Trial, Verdict};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// What leverd counts about itself. Shared by reference between the loop and the scrapes.
#[derive(Debug, Default)]
pub struct OwnMetrics {
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    /// Value and time of each known signal; unknown ones are absent.
    signals: BTreeMap<String, (f64, DateTime<Utc>)>,
    /// Whether each signal that a level or a lever is about had a value.
    known: BTreeMap<String, bool>,
    limits: BTreeMap<String, f64>,
    baseline: BTreeMap<String, f64>,
    tick: Option<Tick>,
    /// When the loop last did something, or waited on purpose.
    alive: Option<DateTime<Utc>>,
    /// Lever and phase of the open trial.
    open: Option<(String, &'static str)>,
    last: Option<Last>,
    standing: Option<Held>,
    decisions: [u64; CONCLUSIONS.len()],
    verdicts: [u64; VERDICTS.len()],
    webhooks: [u64; WEBHOOKS.len()],
    reloads: [u64; RELOADS.len()],
}

#[derive(Debug, Clone, Copy)]
struct Tick {
    took_seconds: f64,
}

/// How a trial ended, for a table.
#[derive(Debug, Clone)]
struct Last {
    trial: String,
    lever: String,
    parameter: String,
    from: String,
    to: String,
    verdict: &'static str,
    why: String,
}

/// Of a reason, as much as a label holds, characters.
const WHY_SHOWN: usize = 300;

/// What the ledger holds of levers and changes, as counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Changes that are in place.
    pub kept: usize,
    /// Levers that leverd keeps its hands off.
    pub frozen: usize,
    /// Levers that rest.
    pub quarantined: usize,
    /// Trials that wait for a person.
    pub needs_human: usize,
    /// Plans that wait for a person's yes.
    pub awaiting_approval: usize,
}

const CONCLUSIONS: [&str; 4] = ["compliant", "act", "nothing_left", "cannot_tell"];
const VERDICTS: [&str; 3] = ["kept", "reverted", "undecided"];
const WEBHOOKS: [&str; 3] = ["accepted", "duplicate", "refused"];
const RELOADS: [&str; 2] = ["ok", "failed"];

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookResult {
    /// Its alerts were taken.
    Accepted,
    /// All of its alerts were known already.
    Duplicate,
    /// It could not be read, or came without the right to send it.
    Refused,
}

impl OwnMetrics {
    /// All counters at 0, no signal known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes the readings of a tick. A signal that is unknown now loses its series.
    pub fn snapshot(&self, snapshot: &Snapshot) {
        let mut noted = self.lock();
        noted.tick = Some(Tick { took_seconds: snapshot.took.as_secs_f64() });
        noted.alive = Some(snapshot.at);
        noted.signals = snapshot
            .readings
            .iter()
            .filter_map(|(name, reading)| match reading {
                Reading::Known { value, at, .. } => Some((name.as_str().to_owned(), (*value, *at))),
                Reading::Unknown { .. } => None,
            })
            .collect();
    }

    /// Notes that the loop is there: it waits on purpose, or watches a trial.
    pub fn alive(&self, at: DateTime<Utc>) {
        self.lock().alive = Some(at);
    }

    /// When the loop last showed that it is there.
    pub fn last_alive(&self) -> Option<DateTime<Utc>> {
        self.lock().alive
    }

    /// Notes what is normal; `None`: nobody said so yet.
    pub fn baseline(&self, baseline: Option<&Baseline>) {
        let metrics = baseline.map(|baseline| &baseline.metrics);
        let values = metrics.into_iter().flatten().map(|(name, metric)| (name.to_string(), metric.value));
        self.lock().baseline = values.collect();
    }

    /// Notes what the ledger holds.
    pub fn held(&self, held: Held) {
        self.lock().standing = Some(held);
    }

    /// Notes where a trial is.
    pub fn trial(&self, trial: &Trial) {
        let mut noted = self.lock();
        if !trial.phase.is_final() {
            noted.open = Some((trial.plan.lever.to_string(), trial.phase.name()));
            return;
        }
        noted.open = None;
        let plan = &trial.plan;
        noted.last = Some(Last {
            trial: trial.id.to_string(),
            lever: plan.lever.to_string(),
            parameter: plan.parameter.clone(),
            from: plan.from.clone().unwrap_or_default(),
            to: plan.to.clone(),
            verdict: trial.phase.name(),
            why: trial.ending.as_deref().unwrap_or_default().chars().take(WHY_SHOWN).collect(),
        });
    }

    /// Counts a decision by its conclusion, and notes the levels that it was made against.
    pub fn decision(&self, report: &Report) {
        let mut noted = self.lock();
        noted.limits = report
            .findings
            .iter()
            .filter_map(|finding| Some((finding.signal.to_string(), finding.limit?)))
            .collect();
        noted.known = report
            .findings
            .iter()
            .filter(|finding| finding.standing != Standing::Unbounded && !is_left_out(finding, report))
            .map(|finding| (finding.signal.to_string(), finding.value.is_some()))
            .collect();
        noted.decisions[match report.conclusion {
            Conclusion::Compliant => 0,
            Conclusion::Act(_) => 1,
            Conclusion::NothingLeft(_) => 2,
            Conclusion::CannotTell(_) => 3,
        }] += 1;
    }

    /// Counts a trial that has ended.
    pub fn trial_closed(&self, verdict: Verdict) {
        self.lock().verdicts[match verdict {
            Verdict::Kept => 0,
            Verdict::Reverted => 1,
            Verdict::Undecided => 2,
        }] += 1;
    }

    /// Counts a webhook.
    pub fn webhook(&self, result: WebhookResult) {
        self.lock().webhooks[match result {
            WebhookResult::Accepted => 0,
            WebhookResult::Duplicate => 1,
            WebhookResult::Refused => 2,
        }] += 1;
    }

    /// Counts a reload of the configuration; `ok: false` where the old one was kept.
    pub fn config_reload(&self, ok: bool) {
        self.lock().reloads[usize::from(!ok)] += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        super::lock(&self.noted)
    }

    /// Writes the families; `now` dates the signals' ages.
    pub(crate) fn render(&self, now: DateTime<Utc>, page: &mut Page) {
        let noted = self.lock();
        page.family("leverd_build_info", Kind::Gauge, "The running version.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        let mut values =
            page.family("leverd_signal_value", Kind::Gauge, "Value of each known signal, in its own unit.");
        for (signal, (value, _)) in &noted.signals {
            values.sample(&[("signal", signal)], *value);
        }
        let mut ages =
            page.family("leverd_signal_age_seconds", Kind::Gauge, "Age of each known signal's sample.");
        for (signal, (_, at)) in &noted.signals {
            ages.sample(&[("signal", signal)], seconds_between(*at, now));
        }
        gauges(
            page,
            "leverd_signal_known",
            "1 where the last look found a value of the signal.",
            &noted.known,
            |known| f64::from(u8::from(*known)),
        );
        gauges(page, "leverd_sla_limit", "Each signal's level, in its own unit.", &noted.limits, |limit| {
            *limit
        });
        let help = "What is normal for each signal, in its own unit.";
        gauges(page, "leverd_baseline_value", help, &noted.baseline, |value| *value);
        noted.trials(page);
        if let Some(alive) = noted.alive {
            let help = "Time since the loop last looked, watched a trial, or waited on purpose.";
            page.single("leverd_tick_age_seconds", Kind::Gauge, help, seconds_between(alive, now));
        }
        if let Some(tick) = noted.tick {
            let help = "How long the last look at the signals took.";
            page.single("leverd_tick_duration_seconds", Kind::Gauge, help, tick.took_seconds);
        }
        let mut counters = |name: &str, help: &str, label: &str, values: &[&str], counts: &[u64]| {
            let mut family = page.family(name, Kind::Counter, help);
            for (value, count) in values.iter().zip(counts) {
                family.sample(&[(label, value)], *count as f64);
            }
        };
        let help = "Decisions by conclusion.";
        counters("leverd_decisions_total", help, "conclusion", &CONCLUSIONS, &noted.decisions);
        let help = "Closed trials by verdict.";
        counters("leverd_trials_total", help, "verdict", &VERDICTS, &noted.verdicts);
        let help = "Webhooks received, by result.";
        counters("leverd_webhooks_total", help, "result", &WEBHOOKS, &noted.webhooks);
        let help = "Reloads of the configuration, by result.";
        counters("leverd_config_reloads_total", help, "result", &RELOADS, &noted.reloads);
    }
}

impl Noted {
    fn trials(&self, page: &mut Page) {
        if let Some((lever, phase)) = &self.open {
            let labels = [("lever", lever.as_str()), ("phase", phase)];
            page.family("leverd_trial_open", Kind::Gauge, "1 while a trial is open.").sample(&labels, 1.0);
        }
        if let Some(last) = &self.last {
            let labels = [
                ("trial", last.trial.as_str()),
                ("lever", &last.lever),
                ("parameter", &last.parameter),
                ("from", &last.from),
                ("to", &last.to),
                ("verdict", last.verdict),
                ("why", &last.why),
            ];
            page.family("leverd_last_trial_info", Kind::Gauge, "The last trial that ended, and why.")
                .sample(&labels, 1.0);
        }
        let Some(held) = self.standing else { return };
        for (name, help, count) in [
            ("leverd_kept_changes", "Changes that were kept and are in place.", held.kept),
            ("leverd_frozen_levers", "Levers that leverd keeps its hands off.", held.frozen),
            ("leverd_quarantined_levers", "Levers that rest after a trial.", held.quarantined),
            ("leverd_needs_human", "Trials that wait for a person.", held.needs_human),
            ("leverd_awaiting_approval", "Plans that wait for a person's yes.", held.awaiting_approval),
        ] {
            page.single(name, Kind::Gauge, help, count as f64);
        }
    }
}

/// An optional signal that is not there does not matter to the decision.
fn is_left_out(finding: &Finding, report: &Report) -> bool {
    let blocks =
        matches!(&report.conclusion, Conclusion::CannotTell(why) if why.contains(finding.signal.as_str()));
    finding.value.is_none() && !blocks
}

fn gauges<T>(
    page: &mut Page,
    name: &str,
    help: &str,
    values: &BTreeMap<String, T>,
    number: impl Fn(&T) -> f64,
) {
    let mut family = page.family(name, Kind::Gauge, help);
    for (signal, value) in values {
        family.sample(&[("signal", signal)], number(value));
    }
}

/// A clock that was set back does not make a sample come from the future.
fn seconds_between(at: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - at).as_seconds_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SignalName;
    use std::time::Duration;

    fn at(second: u32) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + i64::from(second), 0).unwrap()
    }

    fn snapshot(readings: Vec<(&str, Reading)>) -> Snapshot {
        Snapshot {
            at: at(10),
            readings: readings.into_iter().map(|(name, reading)| (SignalName::new(name), reading)).collect(),
            server: Err("not asked".into()),
            env_values: BTreeMap::new(),
            container: None,
            pooler: None,
            alerts: Vec::new(),
            took: Duration::from_millis(7),
        }
    }

    fn text(own: &OwnMetrics) -> String {
        let mut page = Page::default();
        own.render(at(12), &mut page);
        let text = page.into_text();
        text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    }

    fn report(conclusion: Conclusion) -> Report {
        Report { findings: Vec::new(), considered: Vec::new(), conclusion }
    }

    #[test]
    fn counters_begin_at_zero_and_unknown_signals_are_absent() {
        let own = OwnMetrics::new();
        let known = Reading::Known { value: 1.5, at: at(9), query: "q".into() };
        let unknown = Reading::Unknown { reason: "no series".into() };
        own.snapshot(&snapshot(vec![("wal_rate", known), ("io_wait", unknown)]));
        insta::assert_snapshot!(text(&own), @r#"
        leverd_build_info{version="0.1.0"} 1
        leverd_signal_value{signal="wal_rate"} 1.5
        leverd_signal_age_seconds{signal="wal_rate"} 3
        leverd_tick_age_seconds 2
        leverd_tick_duration_seconds 0.007
        leverd_decisions_total{conclusion="compliant"} 0
        leverd_decisions_total{conclusion="act"} 0
        leverd_decisions_total{conclusion="nothing_left"} 0
        leverd_decisions_total{conclusion="cannot_tell"} 0
        leverd_trials_total{verdict="kept"} 0
        leverd_trials_total{verdict="reverted"} 0
        leverd_trials_total{verdict="undecided"} 0
        leverd_webhooks_total{result="accepted"} 0
        leverd_webhooks_total{result="duplicate"} 0
        leverd_webhooks_total{result="refused"} 0
        leverd_config_reloads_total{result="ok"} 0
        leverd_config_reloads_total{result="failed"} 0
        "#);
    }

    #[test]
    fn a_signal_that_becomes_unknown_loses_its_series() {
        let own = OwnMetrics::new();
        own.snapshot(&snapshot(vec![("w", Reading::Known { value: 1.0, at: at(9), query: "q".into() })]));
        own.snapshot(&snapshot(vec![("w", Reading::Unknown { reason: "no series".into() })]));
        assert!(!text(&own).contains("leverd_signal_"), "{}", text(&own));
    }

    #[test]
    fn each_note_counts_where_it_belongs() {
        let own = OwnMetrics::new();
        own.decision(&report(Conclusion::NothingLeft("x".into())));
        own.decision(&report(Conclusion::NothingLeft("x".into())));
        own.trial_closed(Verdict::Reverted);
        own.webhook(WebhookResult::Refused);
        own.config_reload(false);
        let counted: Vec<String> =
            text(&own).lines().filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect();
        insta::assert_snapshot!(counted.join("\n"), @r#"
        leverd_build_info{version="0.1.0"} 1
        leverd_decisions_total{conclusion="nothing_left"} 2
        leverd_trials_total{verdict="reverted"} 1
        leverd_webhooks_total{result="refused"} 1
        leverd_config_reloads_total{result="failed"} 1
        "#);
    }
}
