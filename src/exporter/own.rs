//! leverd's metrics about itself: what it saw, what it decided, how its trials ended.
//!
//! In: snapshots, reports and verdicts as they come. Out: families on a page. Cheap: a note is one short lock, and
//! no note ever waits for a scrape. Counters begin at 0, so that their first step shows in a `rate()`.

use super::page::{Kind, Page};
use crate::model::{Conclusion, Reading, Report, Snapshot, Verdict};
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
    tick: Option<Tick>,
    decisions: [u64; CONCLUSIONS.len()],
    verdicts: [u64; VERDICTS.len()],
    webhooks: [u64; WEBHOOKS.len()],
    reloads: [u64; RELOADS.len()],
}

#[derive(Debug, Clone, Copy)]
struct Tick {
    at: DateTime<Utc>,
    took_seconds: f64,
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
        noted.tick = Some(Tick { at: snapshot.at, took_seconds: snapshot.took.as_secs_f64() });
        noted.signals = snapshot
            .readings
            .iter()
            .filter_map(|(name, reading)| match reading {
                Reading::Known { value, at, .. } => Some((name.as_str().to_owned(), (*value, *at))),
                Reading::Unknown { .. } => None,
            })
            .collect();
    }

    /// Counts a decision by its conclusion.
    pub fn decision(&self, report: &Report) {
        self.lock().decisions[match report.conclusion {
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
        if let Some(tick) = noted.tick {
            let age = seconds_between(tick.at, now);
            page.single(
                "leverd_tick_age_seconds",
                Kind::Gauge,
                "Time since the last look at the signals.",
                age,
            );
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
