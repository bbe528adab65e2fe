//! `baseline.yaml`: the playbook's `metrics:` form, and what leverd notes beside it.
//!
//! Always so: what [`render_baseline`] writes [`read_baseline`] reads back as it was. The playbook's own example,
//! without spread, samples and time, reads too: then the spread is the value itself, no sample is counted, and the
//! time is that of 1970, which stands for "not known".

use super::errors::Problems;
use super::quantity::{parse_duration, render_duration};
use super::reader::At;
use super::{ConfigErrors, read_tree};
use crate::model::{Baseline, BaselineMetric, Signal, SignalName};
use chrono::{DateTime, SecondsFormat, Utc};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// Reads a baseline for these signals; `None` where there is no such file. A metric that is none of them is an
/// error: it would be lost at the next writing.
pub fn read_baseline(file: &Path, signals: &[Signal]) -> Result<Option<Baseline>, ConfigErrors> {
    if matches!(file.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let problems = Problems::of(file);
    let tree = read_tree(file, &problems);
    let baseline = tree.as_ref().map(|tree| read(&At::root(tree, &problems), signals));
    problems.into_result()?;
    Ok(baseline)
}

fn read(at: &At<'_>, signals: &[Signal]) -> Baseline {
    let top = at.fields(&["metrics", "taken_at", "window"]);
    let keys: Vec<&str> = signals.iter().map(|signal| signal.baseline_key.as_str()).collect();
    let mut metrics = BTreeMap::new();
    let hint = "run `leverd baseline` to write one";
    if let Some(list) = top.required("metrics", &keys.join(", "), Some(hint)).map(|at| at.fields(&keys)) {
        for signal in signals {
            if let Some(at) = list.get(&signal.baseline_key) {
                metrics.extend(metric(&at, signal));
            }
        }
    }
    let time = |at: &At<'_>| {
        at.read("a time such as 2024-01-15T10:30:00Z", |text| {
            DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
        })
    };
    Baseline {
        taken_at: top.or("taken_at", DateTime::UNIX_EPOCH, time),
        sampled_for: top.or("window", Duration::ZERO, |at| at.read("a duration such as 15m", parse_duration)),
        metrics,
    }
}

fn metric(at: &At<'_>, signal: &Signal) -> Option<(SignalName, BaselineMetric)> {
    let value_key = format!("value_{}", signal.unit.key_suffix());
    let fields = at.fields(&["query", &value_key, "spread", "samples"]);
    let number = |at: &At<'_>| at.number(f64::MIN, f64::MAX, "a number");
    let query = fields.required("query", "the PromQL that was asked", None).and_then(|at| at.long_text());
    let value = fields.required(&value_key, "a number", None).and_then(|at| number(&at));
    let spread = fields.get("spread").and_then(|at| {
        let ends: Vec<f64> = at.items(SPREAD_FORM).iter().filter_map(number).collect();
        match ends[..] {
            [low, high] if low <= high => Some((low, high)),
            _ => {
                at.refuse(SPREAD_FORM, None);
                None
            }
        }
    });
    let samples = fields.or("samples", 0, |at| at.integer(0, u32::MAX));
    let (query, value) = (query?, value?);
    let metric = BaselineMetric { query, value, spread: spread.unwrap_or((value, value)), samples };
    Some((signal.name.clone(), metric))
}

const SPREAD_FORM: &str = "two numbers, the 5th and the 95th percentile: [5, 12.5]";

/// Writes a baseline in the order of `signals`. Metrics of other signals are left out.
pub fn render_baseline(baseline: &Baseline, signals: &[Signal]) -> String {
    let mut out = String::from(
        "# What is normal here: the SLA targets that say \"x baseline\" refer to it. Written by `leverd baseline`.\n\
         # spread: 5th and 95th percentile of the samples.\nmetrics:",
    );
    let mut any = false;
    for signal in signals {
        let Some(metric) = baseline.metrics.get(&signal.name) else { continue };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n  {}:\n    query: {}\n    value_{}: {}\n    spread: [{}, {}]\n    samples: {}\n",
            signal.baseline_key,
            quoted(&metric.query),
            signal.unit.key_suffix(),
            metric.value,
            metric.spread.0,
            metric.spread.1,
            metric.samples,
        );
        any = true;
    }
    if !any {
        out.push_str(" {}\n");
    }
    let _ = write!(
        out,
        "\ntaken_at: \"{}\"\nwindow: {}\n",
        baseline.taken_at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        render_duration(baseline.sampled_for)
    );
    out
}

/// A YAML text in double quotes, as the playbook writes its queries.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Option<Baseline>, ConfigErrors> {
        let file = tempfile::NamedTempFile::new().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(file.path(), text).unwrap();
        read_baseline(file.path(), &defaults::signals())
    }

    fn errors(text: &str) -> String {
        let errors = parse(text).unwrap_err();
        let file = errors.iter().next().unwrap().file.display().to_string();
        errors.to_string().replace(&file, "baseline.yaml")
    }

    #[test]
    fn the_playbooks_own_example_reads() {
        let baseline = parse(
            r#"metrics:
  wal_write_rate:
    query: "rate(pg_wal_lsn_bytes_total[5m])"
    value_bytes_per_sec: 1234567
  
  cpu_temperature:
    query: "max(macos_cpu_temperature_celsius)"
    value_celsius: 72
  
  io_wait_percentage:
    query: "avg(rate(node_cpu_seconds_total{mode=\"iowait\"}[2m]))"
    value_percent: 15.5
  
  p95_write_latency:
    query: "histogram_quantile(0.95, rate(capsim_event_latency_ms_bucket[5m]))"
    value_ms: 180
"#,
        )
        .unwrap()
        .unwrap();
        let values: Vec<_> =
            baseline.metrics.iter().map(|(name, metric)| (name.as_str(), metric.value)).collect();
        assert_eq!(
            values,
            [
                ("cpu_temperature", 72.0),
                ("io_wait", 15.5),
                ("p95_write_latency", 180.0),
                ("wal_rate", 1_234_567.0)
            ]
        );
        assert_eq!(
            baseline.metrics[&SignalName::new("io_wait")].query,
            "avg(rate(node_cpu_seconds_total{mode=\"iowait\"}[2m]))"
        );
    }

    #[test]
    fn it_is_written_in_the_playbooks_form() {
        let metric = |query: &str, value, samples| BaselineMetric {
            query: query.to_owned(),
            value,
            spread: (value - 2.0, value + 2.5),
            samples,
        };
        let baseline = Baseline {
            taken_at: DateTime::from_timestamp(1_705_314_600, 0).unwrap(),
            sampled_for: Duration::from_secs(900),
            metrics: BTreeMap::from([
                ("wal_rate".into(), metric("max(rate(pg_wal_lsn_bytes_total[5m]))", 1_234_567.0, 60)),
                (
                    "io_wait".into(),
                    metric("avg(rate(node_cpu_seconds_total{mode=\"iowait\"}[2m])) * 100", 15.5, 59),
                ),
            ]),
        };
        insta::assert_snapshot!(render_baseline(&baseline, &defaults::signals()), @r#"
# What is normal here: the SLA targets that say "x baseline" refer to it. Written by `leverd baseline`.
# spread: 5th and 95th percentile of the samples.
metrics:
  wal_write_rate:
    query: "max(rate(pg_wal_lsn_bytes_total[5m]))"
    value_bytes_per_sec: 1234567
    spread: [1234565, 1234569.5]
    samples: 60

  io_wait_percentage:
    query: "avg(rate(node_cpu_seconds_total{mode=\"iowait\"}[2m])) * 100"
    value_percent: 15.5
    spread: [13.5, 18]
    samples: 59

taken_at: "2024-01-15T10:30:00Z"
window: 15m
"#);
    }

    #[test]
    fn what_is_wrong_is_named() {
        insta::assert_snapshot!(errors("metrics:\n  wal_rate:\n    query: x\n    value_bytes_per_sec: 1\n"), @"
baseline.yaml:2: metrics.wal_rate: this key is not known; allowed: wal_write_rate, cpu_temperature, io_wait_percentage, p95_write_latency
  hint: did you mean wal_write_rate?
");
        insta::assert_snapshot!(
            errors("metrics:\n  wal_write_rate:\n    query: x\n    value_ms: 1\n"), @"
baseline.yaml:3: metrics.wal_write_rate.value_bytes_per_sec: found nothing; allowed: a number
baseline.yaml:4: metrics.wal_write_rate.value_ms: this key is not known; allowed: query, value_bytes_per_sec, spread, samples
"
        );
        insta::assert_snapshot!(
            errors("metrics:\n  cpu_temperature: {query: x, value_celsius: NaN, spread: [3]}\n"), @r#"
baseline.yaml:2: metrics.cpu_temperature.value_celsius: found "NaN"; allowed: a number
baseline.yaml:2: metrics.cpu_temperature.spread: found a list; allowed: two numbers, the 5th and the 95th percentile: [5, 12.5]
"#
        );
    }

    #[test]
    fn no_file_is_no_baseline() {
        assert_eq!(read_baseline(Path::new("/nowhere/baseline.yaml"), &defaults::signals()), Ok(None));
    }

    fn metrics() -> impl Strategy<Value = BaselineMetric> {
        let finite = || prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL;
        let query = "[!-~é](\\PC|[\n\t\"\\\\\u{85}\u{2028}\u{7f}]){0,40}[!-~é]";
        (query, finite(), finite(), finite(), any::<u32>()).prop_map(|(query, value, a, b, samples)| {
            BaselineMetric { query, value, spread: (a.min(b), a.max(b)), samples }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            found in prop::collection::vec(prop::option::of(metrics()), 4),
            seconds in 0_i64..4_000_000_000, nanos in 0_u32..1_000_000_000, millis in 0_u64..10_000_000_000,
        ) {
            let signals = defaults::signals();
            let metrics = signals.iter().zip(found)
                .filter_map(|(signal, metric)| Some((signal.name.clone(), metric?))).collect();
            let baseline = Baseline {
                taken_at: DateTime::from_timestamp(seconds, nanos).unwrap(),
                sampled_for: Duration::from_millis(millis),
                metrics,
            };
            let text = render_baseline(&baseline, &signals);
            prop_assert_eq!(parse(&text).unwrap().unwrap(), baseline, "{}", text);
        }
    }
}
