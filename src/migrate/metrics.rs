//! A run's metrics as Prometheus reads them: the text of `/metrics` while a run goes.
//!
//! In: a [`Progress`], the run's [`Route`], and the moment of the scrape. Out: text in Prometheus' format (version
//! 0.0.4). Always holds: a scrape asks no server; a family's lines stand together, and each family stands there once;
//! counters are those of this process and begin at 0; what is unknown leaves no line, and an interval's figures are
//! left out when it is long over, rather than repeated; a password or a row's value has no place in it. It knows no
//! clock and does not listen: that is the command line's.

use super::adjust::{Parameter, Stage, Trends};
use super::progress::{ENDINGS, Progress};
use super::transfer::counters::at;
use crate::config::MigrationConfig;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

/// Each of them has a line, so that none comes and goes.
const STAGES: [Stage; 5] =
    [Stage::Preparing, Stage::Copying, Stage::Indexing, Stage::Constraining, Stage::Verifying];

/// From where to where rows are moved, as labels have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The source's kind of server, in the file's word.
    pub source: &'static str,
    /// The target: kind, user, host, port and database; no password.
    pub target: String,
}

impl Route {
    /// That of a configuration.
    pub fn of(config: &MigrationConfig) -> Self {
        Self { source: config.source.engine.as_str(), target: config.target.to_string() }
    }
}

/// The text of `/metrics`. `now`: when it was asked for.
pub fn text(progress: &Progress, route: &Route, now: Instant) -> String {
    let mut page = Page::default();
    page.family("leverd_build_info", GAUGE, "The running version.")
        .line(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    state(&mut page, progress, route);
    counters(&mut page, progress);
    if let Some((sample, tends, age)) = progress.sampled(now) {
        let help =
            "Time since the last interval was measured; its figures are left out when it is long over.";
        page.single("leverd_migrate_sample_age_seconds", GAUGE, help, age.as_secs_f64());
        if age <= keep_for(sample.interval) {
            page.text.push_str(&sample.prometheus_text());
            trends(&mut page, &tends);
        }
    }
    page.text
}

/// An interval's figures are shown for so long after it: until two more should have come, and some seconds where
/// intervals are short.
fn keep_for(interval: Duration) -> Duration {
    interval.saturating_mul(3).max(Duration::from_secs(15))
}

/// Where the run tends; the same figures as its log and its adjuster have.
fn trends(page: &mut Page, trends: &Trends) {
    for (name, help, percent) in [
        (
            "leverd_migrate_throughput_trend_ratio",
            "Rows per second against the first comparable intervals: 0.05 is 5 % more.",
            trends.throughput_percent,
        ),
        (
            "leverd_migrate_memory_trend_ratio",
            "Growth of the run's memory an interval: 0.05 is 5 % more.",
            trends.memory_growth_percent,
        ),
        (
            "leverd_migrate_query_latency_trend_ratio",
            "Mean latency of reads against the first comparable intervals: 0.05 is 5 % slower.",
            trends.query_latency_percent,
        ),
        (
            "leverd_migrate_write_latency_trend_ratio",
            "Mean latency of writes against the first comparable intervals: 0.05 is 5 % slower.",
            trends.write_latency_percent,
        ),
    ] {
        if let Some(percent) = percent {
            page.single(name, GAUGE, help, percent / 100.0);
        }
    }
}

/// What the run is, and how it stands.
fn state(page: &mut Page, progress: &Progress, route: &Route) {
    // Before a run has its lease it is none.
    if let Some(run) = progress.run() {
        let labels = [("run", run), ("source", route.source), ("target", route.target.as_str())];
        let help = "The run: its name, the source's kind of server, and the target.";
        page.family("leverd_migrate_run_info", GAUGE, help).line(&labels, 1.0);
    }
    let view = progress.view();
    let mut stages = page.family("leverd_migrate_stage", GAUGE, "1 for what the run is busy with, else 0.");
    for stage in STAGES {
        stages.line(&[("stage", stage.name())], f64::from(u8::from(stage == view.stage)));
    }
    let mut settings = page.family("leverd_migrate_setting", GAUGE, "Each setting that is in force.");
    for parameter in Parameter::ALL {
        settings.line(&[("setting", parameter.name())], f64::from(view.settings.get(parameter)));
    }
    // 0 is "not known yet".
    if view.rows_expected > 0 {
        let help = "Rows that the run has in the target, those of earlier processes too.";
        page.single("leverd_migrate_rows_in_target", GAUGE, help, view.rows as f64);
        let help = "Rows that there will probably be.";
        page.single("leverd_migrate_rows_expected", GAUGE, help, view.rows_expected as f64);
    }
}

/// What was counted since this process began.
fn counters(page: &mut Page, progress: &Progress) {
    let counters = &progress.counters;
    for (name, help, count) in [
        (
            "leverd_migrate_rows_total",
            "Rows that this process committed in the target.",
            at(&counters.rows_written),
        ),
        (
            "leverd_migrate_bytes_total",
            "Bytes of rows, in COPY's form, that this process committed in the target.",
            at(&counters.bytes_written),
        ),
        (
            "leverd_migrate_chunks_total",
            "Chunks that this process committed in the target.",
            at(&counters.chunks),
        ),
        ("leverd_migrate_errors_total", "Errors of source or target.", at(&counters.errors)),
        ("leverd_migrate_retries_total", "Chunks that were tried again.", at(&counters.retries)),
        ("leverd_migrate_rejected_rows_total", "Rows that went to the reject table.", at(&counters.rejected)),
    ] {
        page.single(name, COUNTER, help, count as f64);
    }
    let help = "Adjustments that are over, by outcome.";
    let mut adjustments = page.family("leverd_migrate_adjustments_total", COUNTER, help);
    for (ending, count) in ENDINGS.into_iter().zip(progress.adjustments()) {
        adjustments.line(&[("outcome", ending)], count as f64);
    }
}

/// Text that grows by families. Writing into a String cannot fail.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    /// Begins a family; it must get a line.
    fn family<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Family<'a> {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.text, name }
    }

    /// A family of one line without labels.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help).line(&[], value);
    }
}

#[derive(Debug)]
struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Family<'_> {
    fn line(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(self.name);
        for (index, (label, raw)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(self.text, raw);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// A label's value: somebody may have named a database `a"b`.
fn escape(text: &mut String, raw: &str) {
    for character in raw.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::adjust::{Action, METRICS, Moment, Phase, Sample, Settings};
    use super::super::adjuster::{Adjustment, Kind};
    use super::super::transfer::counters::count;
    use super::*;
    use crate::model::Verdict;
    use chrono::DateTime;
    use proptest::prelude::*;
    use serde_json::Value;

    fn settings() -> Settings {
        Settings::new(4, 50_000, 2, 8).unwrap()
    }

    fn route() -> Route {
        Route { source: "mysql", target: "postgres://leverd@new.example:5432/shop".to_owned() }
    }

    fn page(progress: &Progress) -> String {
        text(progress, &route(), Instant::now())
    }

    fn series(page: &str) -> String {
        page.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    }

    /// A sample of which every metric is known.
    fn sample() -> Sample {
        let phase = Phase { stage: Stage::Copying, tables: vec![0], building: false };
        let sample = Sample::unknown(DateTime::UNIX_EPOCH, Duration::from_secs(30), settings(), phase);
        let mut value = serde_json::to_value(sample).unwrap();
        for field in value.as_object_mut().unwrap().values_mut() {
            if field.is_null() {
                *field = Value::from(1.5);
            }
        }
        serde_json::from_value(value).unwrap()
    }

    fn ended(kind: Kind, verdict: Option<Verdict>) -> Adjustment {
        Adjustment {
            number: 1,
            kind,
            action: Action::ScaleUp,
            from: settings(),
            to: settings().with(Parameter::Writers, 6).unwrap(),
            by: None,
            confidence: None,
            reasoning: String::new(),
            asked_at: Moment::default(),
            applied_at: None,
            ended_at: Some(Moment::default()),
            verdict,
            outcome: String::new(),
            throughput_percent: None,
            context: None,
        }
    }

    /// The families in their order; fails where the text is not Prometheus'.
    fn families(page: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty() && !help.contains('\\'), "{line}");
                assert!(!names.iter().any(|known| known == name), "a second time: {line}");
                names.push(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(names.last().map(String::as_str), Some(name));
                assert_eq!(kind == COUNTER, name.ends_with("_total"), "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next();
                assert_eq!(names.last().map(String::as_str), name, "{line}");
                assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
            }
        }
        assert!(page.ends_with('\n'));
        names
    }

    #[test]
    fn a_run_that_only_begins_has_counters_at_zero_and_no_name() {
        let page = page(&Progress::new(settings()));
        families(&page);
        insta::assert_snapshot!(series(&page), @r#"
        leverd_build_info{version="0.1.0"} 1
        leverd_migrate_stage{stage="preparing"} 1
        leverd_migrate_stage{stage="copying"} 0
        leverd_migrate_stage{stage="indexing"} 0
        leverd_migrate_stage{stage="constraining"} 0
        leverd_migrate_stage{stage="verifying"} 0
        leverd_migrate_setting{setting="writers"} 4
        leverd_migrate_setting{setting="chunk_rows"} 50000
        leverd_migrate_setting{setting="readers"} 2
        leverd_migrate_setting{setting="buffers"} 8
        leverd_migrate_rows_total 0
        leverd_migrate_bytes_total 0
        leverd_migrate_chunks_total 0
        leverd_migrate_errors_total 0
        leverd_migrate_retries_total 0
        leverd_migrate_rejected_rows_total 0
        leverd_migrate_adjustments_total{outcome="kept"} 0
        leverd_migrate_adjustments_total{outcome="reverted"} 0
        leverd_migrate_adjustments_total{outcome="undecided"} 0
        leverd_migrate_adjustments_total{outcome="yielded"} 0
        leverd_migrate_adjustments_total{outcome="given_back"} 0
        "#);
    }

    #[test]
    fn what_is_known_stands_there_once() {
        let progress = Progress::new(settings());
        progress.name("20260101T000000-1");
        progress.enter(Stage::Copying);
        progress.expect(3, 9_000, 500);
        for (counter, many) in [
            (&progress.counters.rows_written, 1_000),
            (&progress.counters.bytes_written, 64_000),
            (&progress.counters.chunks, 4),
            (&progress.counters.retries, 2),
            (&progress.counters.rejected, 3),
        ] {
            count(counter, many);
        }
        progress.note(&sample());
        let page = page(&progress);
        let names = families(&page);
        for metric in METRICS {
            assert!(names.iter().any(|name| name == metric.family), "{} is missing", metric.family);
        }
        for line in [
            "leverd_migrate_run_info{run=\"20260101T000000-1\",source=\"mysql\",\
             target=\"postgres://leverd@new.example:5432/shop\"} 1",
            "leverd_migrate_stage{stage=\"preparing\"} 0",
            "leverd_migrate_stage{stage=\"copying\"} 1",
            "leverd_migrate_rows_in_target 1500",
            "leverd_migrate_rows_expected 9000",
            "leverd_migrate_rows_total 1000",
            "leverd_migrate_bytes_total 64000",
            "leverd_migrate_chunks_total 4",
            "leverd_migrate_retries_total 2",
            "leverd_migrate_rejected_rows_total 3",
            "leverd_migrate_rows_per_second 1.5",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is missing in\n{page}");
        }
    }

    #[test]
    fn adjustments_are_counted_by_how_they_ended() {
        let progress = Progress::new(settings());
        for (kind, verdict, many) in [
            (Kind::Trial, Some(Verdict::Kept), 1),
            (Kind::Trial, Some(Verdict::Reverted), 2),
            (Kind::Trial, Some(Verdict::Undecided), 3),
            (Kind::Yielded, None, 4),
            (Kind::GivenBack, None, 5),
        ] {
            for _ in 0..many {
                progress.adjusted(&ended(kind, verdict));
            }
        }
        let page = page(&progress);
        for (ending, many) in ENDINGS.into_iter().zip(1..) {
            let line = format!("\nleverd_migrate_adjustments_total{{outcome=\"{ending}\"}} {many}\n");
            assert!(page.contains(&line), "{line}{page}");
        }
    }

    #[test]
    fn figures_of_an_interval_that_is_long_over_are_left_out() {
        let progress = Progress::new(settings());
        progress.note(&sample());
        let after = |seconds| text(&progress, &route(), Instant::now() + Duration::from_secs(seconds));
        let rate = "\nleverd_migrate_rows_per_second 1.5\n";
        assert!(after(60).contains(rate));
        let late = after(91);
        assert!(!late.contains(rate) && late.contains("\nleverd_migrate_sample_age_seconds 9"), "{late}");
        families(&late);
        assert_eq!(keep_for(Duration::from_secs(1)), Duration::from_secs(15));
    }

    #[test]
    fn trends_are_those_of_like_intervals() {
        let progress = Progress::new(settings());
        let trend = "leverd_migrate_throughput_trend_ratio";
        progress.note(&sample());
        assert!(!page(&progress).contains(trend), "one interval has none");
        progress.note(&Sample { rows_per_second: Some(3.0), ..sample() });
        let page = page(&progress);
        families(&page);
        assert!(page.contains(&format!("\n{trend} 1\n")), "{page}");
        assert!(page.contains("\nleverd_migrate_memory_trend_ratio 0\n"), "{page}");
    }

    fn unescaped(text: &str) -> String {
        let mut raw = String::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            raw.push(match letter {
                '\\' => match letters.next() {
                    Some('n') => '\n',
                    Some(other) => other,
                    None => panic!("a backslash stands at the end of {text}"),
                },
                other => other,
            });
        }
        raw
    }

    proptest! {
        #[test]
        fn no_name_breaks_a_line(
            letters in prop::collection::vec(
                prop_oneof![any::<char>(), Just('"'), Just('\\'), Just('\n')],
                0..20,
            ),
        ) {
            let target: String = letters.into_iter().collect();
            let progress = Progress::new(settings());
            progress.name("r1");
            let page = text(&progress, &Route { source: "postgres", target: target.clone() }, Instant::now());
            families(&page);
            let line = page.split('\n').find(|line| line.starts_with("leverd_migrate_run_info")).unwrap();
            let label = line.split_once("target=\"").unwrap().1.strip_suffix("\"} 1").unwrap();
            prop_assert_eq!(unescaped(label), target);
        }
    }
}
