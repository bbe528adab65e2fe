//! `leverd baseline`: sample the signals for a while and write down what is normal.
//!
//! The old `baseline.yaml` is kept beside the new one as `baseline.yaml.YYYYMMDD_HHMMSS`; nothing is ever lost, so
//! nothing asks. Stopped before its end it has written nothing.

use super::{EXIT_BAD_CONFIG, EXIT_DONE, EXIT_TRY_LATER, Global, configured};
use crate::config::{Config, render_baseline};
use crate::model::{Baseline, Signal};
use crate::observe::baseline::{self, BaselineError, MISSING_ALLOWED, Span, Taken};
use crate::prometheus::{Client, PrometheusError};
use anyhow::Context;
use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::{self, File, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `leverd baseline`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long to sample, e.g. 90s, 15m, 1h
    #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = parse_duration)]
    sampled_for: Duration,
    /// Take the time that has just passed from Prometheus' history instead of waiting
    #[arg(long)]
    past: bool,
    /// Do nothing where there is a baseline already
    #[arg(long)]
    if_missing: bool,
    /// Print the file instead of writing it
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let config = match configured::load_config(global) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    if args.if_missing && config.paths.baseline.exists() {
        eprintln!("there is a baseline already: {}", config.paths.baseline.display());
        return Ok(ExitCode::from(EXIT_DONE));
    }
    take(global, &config, &args).await
}

/// Takes the baseline of a target that was just set up, over one load cycle.
pub(super) async fn of_a_new_target(global: &Global, config: &Config) -> anyhow::Result<ExitCode> {
    let args = Args { sampled_for: config.cycle.load_cycle, past: false, dry_run: false, if_missing: false };
    take(global, config, &args).await
}

async fn take(global: &Global, config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let prometheus = match Client::new(&config.prometheus) {
        Ok(client) => client,
        Err(error) => return Ok(refuse(&error, error.hint(), EXIT_BAD_CONFIG)),
    };
    if let Err(error) = prometheus.ready().await {
        return Ok(refuse(&error, error.hint(), exit_of(&error)));
    }
    let span = Span { sampled_for: args.sampled_for, step: config.cycle.scrape_interval, to: now() };
    let span = if args.past {
        span
    } else {
        let end = span.to + args.sampled_for;
        if let Some(reason) = wait(global, config, &prometheus, args.sampled_for, end).await {
            eprintln!("leverd: no baseline can come of this:{reason}");
            eprintln!("  hint: {}", BaselineError::Missing(Vec::new()).hint());
            return Ok(ExitCode::from(EXIT_TRY_LATER));
        }
        Span { to: end, ..span }
    };
    let bar = bar(global, config.signals.len() as u64, "reading");
    let taken = baseline::take(config, &prometheus, span, &mut |done, _| bar.set_position(done as u64)).await;
    bar.finish_and_clear();
    let taken = match taken {
        Ok(taken) => taken,
        Err(error) => return Ok(refuse(&error, error.hint(), EXIT_TRY_LATER)),
    };
    finish(global, args, config, &taken)?;
    Ok(ExitCode::from(EXIT_DONE))
}

/// Says what was found, and writes it unless it was asked not to.
fn finish(global: &Global, args: &Args, config: &Config, taken: &Taken) -> anyhow::Result<()> {
    remark(config, taken);
    let text = render_baseline(&taken.baseline, &config.signals);
    let mut out = io::stdout().lock();
    if args.dry_run {
        out.write_all(text.as_bytes())?;
        return Ok(());
    }
    let kept = write(&config.paths.baseline, &text, taken.baseline.taken_at)?;
    if global.json {
        serde_json::to_writer_pretty(&mut out, &taken.baseline)?;
        writeln!(out)?;
    } else {
        for line in lines(&taken.baseline, &config.signals) {
            writeln!(out, "{line}")?;
        }
    }
    eprintln!("wrote {}", config.paths.baseline.display());
    if let Some(kept) = kept {
        eprintln!("the one before is {}", kept.display());
    }
    Ok(())
}

/// Waits until `end` under a progress bar. Answers early, with the signals and why, once so much is missing that
/// no baseline can come of it.
async fn wait(
    global: &Global,
    config: &Config,
    prometheus: &Client,
    sampled_for: Duration,
    end: DateTime<Utc>,
) -> Option<String> {
    let total_ms = u64::try_from(sampled_for.as_millis()).unwrap_or(u64::MAX);
    let bar = bar(global, total_ms, "sampling");
    if bar.is_hidden() {
        eprintln!("sampling {} signals until {}", config.signals.len(), end.format("%H:%M:%S UTC"));
    }
    // Rates need two scrapes, and the first samples may be missing anyway.
    let look_at = sampled_for.mul_f64(MISSING_ALLOWED) + config.cycle.scrape_interval * 3;
    let mut looked = false;
    loop {
        let left = (end - now()).to_std().unwrap_or_default();
        let passed = sampled_for.saturating_sub(left);
        bar.set_position(u64::try_from(passed.as_millis()).unwrap_or(total_ms));
        if left.is_zero() {
            bar.finish_and_clear();
            return None;
        }
        if !looked && passed >= look_at {
            looked = true;
            let silent = baseline::silent(config, prometheus, now()).await;
            if !silent.is_empty() {
                bar.finish_and_clear();
                return Some(silent.iter().map(|(signal, why)| format!("\n  {signal}: {why}")).collect());
            }
        }
        tokio::time::sleep(left.min(Duration::from_millis(250))).await;
    }
}

fn bar(global: &Global, length: u64, doing: &'static str) -> ProgressBar {
    if global.no_tty || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {percent:>3} %  {eta} left")
        .expect("the template is a constant")
        .progress_chars("=> ");
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    bar.with_style(style).with_message(doing)
}

/// What a person should know before calling this normal.
fn remark(config: &Config, taken: &Taken) {
    for lacking in &taken.left_out {
        eprintln!("left out: {lacking}");
    }
    for signal in &config.signals {
        let (Some(target), Some(metric)) =
            (config.sla_of(&signal.name), taken.baseline.metrics.get(&signal.name))
        else {
            continue;
        };
        if let Some(limit) = target.limit(None)
            && target.is_broken(metric.value, limit, signal.direction)
        {
            let (value, limit) = (signal.unit.show(metric.value), signal.unit.show(limit));
            eprintln!("mind: {} was {value} and its bound is {limit}: is this what is normal?", signal.name);
        }
    }
}

fn lines(baseline: &Baseline, signals: &[Signal]) -> Vec<String> {
    let shown = signals.iter().filter_map(|signal| Some((signal, baseline.metrics.get(&signal.name)?)));
    shown
        .map(|(signal, metric)| {
            let (low, high) = metric.spread;
            format!(
                "{:<24} {:>12}   {} … {}, {} samples",
                signal.name,
                signal.unit.show(metric.value),
                signal.unit.show(low),
                signal.unit.show(high),
                metric.samples
            )
        })
        .collect()
}

/// Puts `text` in the place of `file`, all of it or nothing; the old file is kept and its new name returned.
pub(super) fn write(file: &Path, text: &str, at: DateTime<Utc>) -> anyhow::Result<Option<PathBuf>> {
    let folder = file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writing = || format!("writing {}", file.display());
    fs::create_dir_all(folder).with_context(writing)?;
    let mut new = tempfile::NamedTempFile::new_in(folder).with_context(writing)?;
    new.write_all(text.as_bytes()).with_context(writing)?;
    let mode = fs::metadata(file).map_or(0o644, |old| old.permissions().mode());
    new.as_file().set_permissions(Permissions::from_mode(mode)).with_context(writing)?;
    new.as_file().sync_all().with_context(writing)?;
    let kept = keep(file, at)?;
    new.persist(file).with_context(writing)?;
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(writing)?;
    Ok(kept)
}

/// Gives the old file a second name, so that there is a `baseline.yaml` at every moment.
fn keep(file: &Path, at: DateTime<Utc>) -> anyhow::Result<Option<PathBuf>> {
    if !file.exists() {
        return Ok(None);
    }
    let mut name = file.as_os_str().to_owned();
    name.push(at.format(".%Y%m%d_%H%M%S").to_string());
    let kept = PathBuf::from(name);
    match fs::hard_link(file, &kept) {
        Ok(()) => {}
        // Kept within this second already.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // No links on this file system.
        Err(_) => {
            fs::copy(file, &kept)
                .with_context(|| format!("keeping {} as {}", file.display(), kept.display()))?;
        }
    }
    Ok(Some(kept))
}

fn refuse(error: &dyn std::error::Error, hint: &str, code: u8) -> ExitCode {
    eprintln!("leverd: {error}");
    eprintln!("  hint: {hint}");
    ExitCode::from(code)
}

/// A wrong address or a wrong password stays wrong; the rest may pass.
fn exit_of(error: &PrometheusError) -> u8 {
    match error {
        PrometheusError::BadAddress { .. }
        | PrometheusError::NotPrometheus { .. }
        | PrometheusError::Status { status: 300..=499, .. } => EXIT_BAD_CONFIG,
        _ => EXIT_TRY_LATER,
    }
}

#[expect(clippy::disallowed_methods, reason = "the command line reads the clock, and passes it on")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// `90s`, `15m`, `15min`, `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let seconds = match &text[split..] {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => 0,
    };
    let count: u64 = text[..split].parse().unwrap_or_default();
    match count.checked_mul(seconds) {
        Some(seconds) if (1..=7 * 86400).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err("a time is a whole number with its unit, such as 90s, 15m or 1h, up to 168h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!(parse_duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "15", "0s", "-1m", "1.5h", "m", "99999999999999999999h", "200h", "5 m"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_old_baseline_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baseline.yaml");
        let at = DateTime::from_timestamp(1_705_314_600, 0).unwrap();
        assert_eq!(write(&file, "one", at).unwrap(), None);
        let kept = write(&file, "two", at).unwrap().unwrap();
        assert_eq!(kept, folder.path().join("baseline.yaml.20240115_103000"));
        assert_eq!(
            (fs::read_to_string(kept).unwrap(), fs::read_to_string(&file).unwrap()),
            ("one".into(), "two".into())
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o644);
    }
}
