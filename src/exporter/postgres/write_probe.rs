//! The write probe: one small, real commit a second, timed from here, as an application would feel it.
//!
//! It writes one row of its own table, `leverd.leverd_write_probe`, which it makes where it may. Where it cannot
//! write (a standby, a read-only server, no right to its table) it is off, says so once in the log and always by a
//! gauge, and looks again once a minute. A commit that ran into a timeout counts with the time that it took: a
//! stall must not look like an absence of slow commits.

use crate::exporter::lock;
use crate::exporter::page::{Kind, Page};
use crate::postgres::PostgresError;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Upper bounds of the buckets, seconds; the SLA's 100, 150 and 200 ms are among them.
const BOUNDS: [f64; 15] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0];

/// Between two looks whether the probe can be on after all.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

const BEAT: &str = "UPDATE leverd.leverd_write_probe SET beats = beats + 1, at = now() WHERE id = 1";

/// What the probe has measured.
#[derive(Debug)]
pub(crate) struct Probe {
    wanted: bool,
    measured: Mutex<Measured>,
}

#[derive(Debug, Default)]
struct Measured {
    active: bool,
    off_reason: String,
    counts: [u64; BOUNDS.len() + 1],
    sum_seconds: f64,
    errors: u64,
}

impl Probe {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, measured: Mutex::default() }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        let mut measured = lock(&self.measured);
        measured.counts[bucket] += 1;
        measured.sum_seconds += seconds;
    }

    fn turn_on(&self) {
        let mut measured = lock(&self.measured);
        measured.active = true;
        measured.off_reason.clear();
    }

    /// Returns whether the reason is news.
    fn turn_off(&self, reason: &str) -> bool {
        let mut measured = lock(&self.measured);
        measured.active = false;
        let news = measured.off_reason != reason;
        reason.clone_into(&mut measured.off_reason);
        news
    }

    /// Writes the families; nothing where no probe is wanted.
    pub(crate) fn render(&self, page: &mut Page) {
        if !self.wanted {
            return;
        }
        let measured = lock(&self.measured);
        let active = f64::from(measured.active);
        let help = "Whether the write probe runs; 0 on a standby or where it may not write.";
        page.single("leverd_write_probe_active", Kind::Gauge, help, active);
        let help = "Commits of the write probe that failed.";
        page.single("leverd_write_probe_errors_total", Kind::Counter, help, measured.errors as f64);
        let help = "Time that a small commit took, once a second.";
        page.family("leverd_write_probe_duration_seconds", Kind::Histogram, help).histogram(
            &BOUNDS,
            &measured.counts,
            measured.sum_seconds,
        );
    }
}

/// Where the probe stands with the present connection.
#[derive(Debug, Default)]
pub(super) enum Prober {
    /// It has not looked yet.
    #[default]
    New,
    /// Its row is there.
    On,
    /// A commit is under way.
    Beating,
    /// It cannot write; it looks again then.
    Off(Instant),
}

impl Prober {
    /// One turn: a commit where the probe is on, a look whether it could be on where it is time for one.
    ///
    /// # Errors
    /// Where the connection broke; what the server answers is the probe's own business.
    pub(super) async fn beat(&mut self, client: &Client, probe: &Probe) -> Result<(), PostgresError> {
        match *self {
            Self::Off(until) if Instant::now() < until => return Ok(()),
            Self::New | Self::Off(_) => match prepare(client).await {
                Ok(Ok(())) => {
                    probe.turn_on();
                    *self = Self::On;
                }
                Ok(Err(reason)) => self.off(probe, &reason),
                Err(error) => self.refused(client, probe, &error)?,
            },
            Self::On | Self::Beating => {}
        }
        if !matches!(self, Self::On) {
            return Ok(());
        }
        let begun = Instant::now();
        *self = Self::Beating;
        let answer = client.simple_query(BEAT).await;
        let took = begun.elapsed();
        *self = Self::On;
        match answer {
            Ok(messages) if wrote_a_row(&messages) => probe.observe(took),
            // Somebody emptied the table.
            Ok(_) => *self = Self::New,
            Err(error) => {
                let error = PostgresError::statement("the write probe's commit", &error);
                if is_cancelled(&error) {
                    probe.observe(took);
                }
                self.refused(client, probe, &error)?;
            }
        }
        Ok(())
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self, probe: &Probe) {
        *self = Self::New;
        lock(&probe.measured).active = false;
    }

    /// The server did not answer for so long; where a commit was under way, it took at least that.
    pub(super) fn unanswered(&mut self, probe: &Probe, took: Duration) {
        if matches!(self, Self::Beating) {
            probe.observe(took);
            lock(&probe.measured).errors += 1;
        }
    }

    fn off(&mut self, probe: &Probe, reason: &str) {
        *self = Self::Off(Instant::now() + LOOK_AGAIN);
        if probe.turn_off(reason) {
            tracing::warn!(sampler.name = "write_probe", "the write probe is off: {reason}");
        }
    }

    fn refused(
        &mut self,
        client: &Client,
        probe: &Probe,
        error: &PostgresError,
    ) -> Result<(), PostgresError> {
        lock(&probe.measured).errors += 1;
        if client.is_closed() {
            return Err(broken(error));
        }
        // A timeout passes by itself; the others (read-only, no right, no table, a full disk) need somebody.
        if !is_cancelled(error) {
            let hint = "GRANT CREATE ON DATABASE … TO the role, or make the table once as its owner";
            let hint = if code_of(error) == Some("42501") { format!(" ({hint})") } else { String::new() };
            self.off(probe, &format!("{error}{hint}"));
        }
        Ok(())
    }
}

/// `Ok(Err(reason))`: nothing is wrong, and nothing can be written.
async fn prepare(client: &Client) -> Result<Result<(), String>, PostgresError> {
    let doing = "preparing the write probe";
    let wrap = |error: tokio_postgres::Error| PostgresError::statement(doing, &error);
    let rows = super::query(
        client,
        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), \
         to_regnamespace('leverd') IS NOT NULL, to_regclass('leverd.leverd_write_probe') IS NOT NULL",
    )
    .await?;
    let is = |column: usize, word: &str| rows.first().and_then(|row| row.get(column)) == Some(word);
    if is(0, "t") {
        return Ok(Err("the server is a standby".into()));
    }
    if is(1, "on") {
        return Ok(Err("the server is read-only".into()));
    }
    if !is(2, "t") {
        client.batch_execute("CREATE SCHEMA IF NOT EXISTS leverd").await.map_err(wrap)?;
    }
    if !is(3, "t") {
        let create = "CREATE TABLE IF NOT EXISTS leverd.leverd_write_probe \
            (id int PRIMARY KEY, beats bigint NOT NULL, at timestamptz NOT NULL)";
        client.batch_execute(create).await.map_err(wrap)?;
    }
    let insert = "INSERT INTO leverd.leverd_write_probe VALUES (1, 0, now()) ON CONFLICT DO NOTHING";
    client.batch_execute(insert).await.map_err(wrap)?;
    Ok(Ok(()))
}

fn wrote_a_row(messages: &[SimpleQueryMessage]) -> bool {
    messages.iter().any(|message| matches!(message, SimpleQueryMessage::CommandComplete(1)))
}

fn code_of(error: &PostgresError) -> Option<&str> {
    match error {
        PostgresError::Statement { code, .. } => code.as_deref(),
        _ => None,
    }
}

/// `statement_timeout` and `lock_timeout`.
fn is_cancelled(error: &PostgresError) -> bool {
    matches!(code_of(error), Some("57014" | "55P03"))
}

fn broken(error: &PostgresError) -> PostgresError {
    PostgresError::Statement {
        doing: "the write probe".into(),
        why: error.to_string(),
        code: code_of(error).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let probe = Probe::new(true);
        for millis in [1, 100, 150, 151, 5001] {
            probe.observe(Duration::from_millis(millis));
        }
        let mut page = Page::default();
        probe.render(&mut page);
        let text = page.into_text();
        for (le, count) in [("0.001", 1), ("0.1", 2), ("0.15", 3), ("0.2", 4), ("5", 4), ("+Inf", 5)] {
            let line = format!("leverd_write_probe_duration_seconds_bucket{{le=\"{le}\"}} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(text.contains("leverd_write_probe_active 0\n"), "{text}");
    }

    #[test]
    fn an_unwanted_probe_shows_nothing() {
        let mut page = Page::default();
        Probe::new(false).render(&mut page);
        assert_eq!(page.into_text(), "");
    }

    #[test]
    fn a_commit_without_an_answer_counts_as_long_as_was_waited() {
        let (probe, mut prober) = (Probe::new(true), Prober::On);
        prober.unanswered(&probe, Duration::from_secs(7));
        assert_eq!(lock(&probe.measured).counts[BOUNDS.len()], 0);
        prober = Prober::Beating;
        prober.unanswered(&probe, Duration::from_secs(7));
        assert_eq!(lock(&probe.measured).counts[BOUNDS.len()], 1);
    }

    #[test]
    fn being_off_is_news_once_for_each_reason() {
        let probe = Probe::new(true);
        assert!(probe.turn_off("a standby") && !probe.turn_off("a standby") && probe.turn_off("read-only"));
        probe.turn_on();
        assert!(lock(&probe.measured).active && probe.turn_off("read-only"));
    }
}
