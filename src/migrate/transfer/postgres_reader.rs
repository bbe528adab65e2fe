//! Reading chunks of a PostgreSQL, all of them as of one moment.
//!
//! In: a chunk's relation, columns and extent. Out: its rows in COPY's form, into a [`Sink`]. Always holds: a reader
//! sees the snapshot that the run's control connection exported; rows are forwarded and not looked at; a source that
//! says nothing for [`STALLED_AFTER`], and is not at work either, is given up, so that its chunk is read again. For one
//! that may be at work it waits [`MOST_DOUBTS`] times as long. A target that is slow has all the time in the world.

use super::copy::{Form, Rows};
use super::failure::{Failure, Side};
use super::segment::{Sink, Totals};
use crate::config::DatabaseEndpoint;
use crate::migrate::quote;
use crate::migrate::ranges::{Extent, KeyValue};
use crate::migrate::schema::TableName;
use crate::migrate::types::Engine;
use crate::postgres::{Connection, PostgresError, connect_for_work};
use futures_util::{FutureExt, TryStreamExt};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_postgres::{Error, SimpleQueryMessage};

/// After so long without a word the source is asked whether it is at work.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// So often in a row nobody may be able to tell whether it is at work. A row of hundreds of megabytes takes its minutes
/// through a slow network, and looks no other than a network that carries nothing any more.
const MOST_DOUBTS: u32 = 5;

/// A session that has read so many relations makes room for a new one: its transaction has a lock on each of them and on
/// its indexes, and a server has some 6,400 for all sessions together.
const MOST_RELATIONS: usize = 100;

/// What a session does, and for what it waits.
const STATE: &str =
    "SELECT a.state, a.wait_event_type FROM pg_catalog.pg_stat_activity AS a WHERE a.pid = $1";

/// What the source's server says of a session that is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It looks for rows, or waits for another session.
    AtWork,
    /// It sends, and the network takes its time; or the server is there, and does not tell.
    InDoubt,
    /// It has said what it had to say, or is no more; or nobody answers.
    Silent,
}

/// A session of the source that reads.
#[derive(Debug)]
pub(crate) struct PostgresReader {
    connection: Connection,
    source: DatabaseEndpoint,
    /// The process that serves it there.
    pid: i32,
    connect_timeout: Duration,
    stalled_after: Duration,
    /// It was given up or left alone, and what it may still say belongs to no chunk; or its transaction has failed.
    spent: AtomicBool,
    /// What it has read: its transaction holds locks on them.
    relations: Mutex<BTreeSet<TableName>>,
}

/// What is written into each session: dates, floats and bytes must have the text that any server reads back alike.
pub(crate) const EXACT_TEXT: &str = "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; \
     SET extra_float_digits = 3; SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET client_encoding = 'UTF8'; \
     SET search_path = ''; SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";

impl PostgresReader {
    /// Connects, and takes the snapshot on.
    pub(crate) async fn open(
        source: &DatabaseEndpoint,
        name: &str,
        snapshot: &str,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let connection = connect_for_work(source.postgres_dsn().expose(), name, timeout)
            .await
            .map_err(|error| Failure::lost(Side::Source, error.to_string()))?;
        let begin = format!(
            "{EXACT_TEXT}; BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}; \
             SELECT pg_catalog.pg_backend_pid()",
            quote::literal(snapshot)
        );
        let doing = "taking on the snapshot";
        let answered = tokio::time::timeout(timeout, connection.client().simple_query(&begin)).await;
        let messages = answered
            .map_err(|_| silent(doing, timeout))?
            .map_err(|error| Failure::of(Side::Source, doing, &error))?;
        let pid = number_in(&messages)
            .ok_or_else(|| Failure::lasting(Side::Source, format!("{doing}: it gave no process number")))?;
        Ok(Self {
            connection,
            source: source.clone(),
            pid,
            connect_timeout: timeout,
            stalled_after: stalled_after(),
            spent: AtomicBool::new(false),
            relations: Mutex::default(),
        })
    }

    /// Whether the session is of no more use.
    pub(crate) fn is_closed(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
            || self.relations().len() >= MOST_RELATIONS
            || self.connection.is_closed()
    }

    fn relations(&self) -> MutexGuard<'_, BTreeSet<TableName>> {
        self.relations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a chunk's rows into the sink. `None`: its writer has gone, and nobody wants the rest.
    pub(crate) async fn read(
        &self,
        columns: &[&str],
        relation: &TableName,
        extent: &Extent,
        form: Form,
        mut sink: Sink,
    ) -> Option<Totals> {
        if !self.relations().contains(relation) {
            self.relations().insert(relation.clone());
        }
        match self.forward(columns, relation, extent, form, &mut sink).await {
            Ok(true) => sink.finish().await.ok(),
            // What is left of it still comes, and another chunk's rows would come behind that.
            Ok(false) => {
                self.spent.store(true, Ordering::Relaxed);
                None
            }
            Err(failure) => {
                self.spent.store(true, Ordering::Relaxed);
                sink.fail(failure);
                None
            }
        }
    }

    /// `false`: the writer has gone.
    async fn forward(
        &self,
        columns: &[&str],
        relation: &TableName,
        extent: &Extent,
        form: Form,
        sink: &mut Sink,
    ) -> Result<bool, Failure> {
        let doing = format!("reading {}", quote::shown(relation));
        let copy = format!("COPY ({}) TO STDOUT (FORMAT {})", select(columns, relation, extent), form.word());
        let stream = self.heard(&doing, self.connection.client().copy_out(&copy)).await?;
        tokio::pin!(stream);
        let mut rows = Rows::new(form);
        loop {
            // A row that is there already needs no clock. Waiting for room in the sink is not the source's silence.
            let message = match stream.try_next().now_or_never() {
                Some(message) => message.map_err(|error| Failure::of(Side::Source, &doing, &error))?,
                None => self.heard(&doing, stream.try_next()).await?,
            };
            let Some(message) = message else { return Ok(true) };
            let row = rows
                .row(&message)
                .map_err(|error| Failure::lasting(Side::Source, format!("{doing}: {error}")))?;
            if let Some(row) = row
                && sink.row(row).await.is_err()
            {
                return Ok(false);
            }
        }
    }

    /// Waits for the source's next word. A session that is silent for long is given up, unless its server says that
    /// it is at work: one that looks for rows through a large file, or waits for a lock, has nothing to say.
    async fn heard<T>(
        &self,
        doing: &str,
        word: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        match patiently(self.stalled_after, word, || self.look(doing)).await {
            Ok(Ok(word)) => Ok(word),
            Ok(Err(error)) => {
                self.spent.store(true, Ordering::Relaxed);
                Err(Failure::of(Side::Source, doing, &error))
            }
            Err(silence) => {
                self.spent.store(true, Ordering::Relaxed);
                Err(silent(doing, silence))
            }
        }
    }

    /// What the server says of this session, to another one; a person is told where it is waited for.
    async fn look(&self, doing: &str) -> Seen {
        let seen = self.ask_for_state().await;
        match seen {
            Seen::AtWork => tracing::warn!("{doing}: nothing comes, but the source is at work: waiting"),
            Seen::InDoubt => tracing::warn!("{doing}: nothing comes, and the source may be at work: waiting"),
            Seen::Silent => {}
        }
        seen
    }

    async fn ask_for_state(&self) -> Seen {
        let dsn = self.source.postgres_dsn();
        let other = match connect_for_work(dsn.expose(), "leverd source", self.connect_timeout).await {
            Ok(other) => other,
            // It lives, and has perhaps no connection left for the question.
            Err(PostgresError::Refused { .. }) => return Seen::InDoubt,
            Err(_) => return Seen::Silent,
        };
        let asked =
            tokio::time::timeout(self.connect_timeout, other.client().query_opt(STATE, &[&self.pid])).await;
        let Ok(Ok(Some(row))) = asked else { return Seen::Silent };
        let column = |at: usize| row.try_get::<_, Option<String>>(at).ok().flatten();
        seen(column(0).as_deref(), column(1).as_deref())
    }

    /// The key of the extent's row with that number, from 1: a chunk of `rows` rows ends with it. `None`: the
    /// extent has fewer rows.
    pub(crate) async fn boundary(
        &self,
        relation: &TableName,
        extent: &Extent,
        rows: u32,
    ) -> Result<Option<Vec<KeyValue>>, Failure> {
        let columns: &[String] = match extent {
            Extent::Keyset { columns, .. } => columns,
            Extent::Integer { column, .. } => std::slice::from_ref(column),
            Extent::Blocks { .. } | Extent::Whole => return Ok(None),
        };
        let sql = boundary(columns, relation, extent, rows);
        let doing = format!("asking {} for a key", quote::shown(relation));
        let found = self.heard(&doing, self.connection.client().query_opt(&sql, &[])).await?;
        let Some(row) = found else { return Ok(None) };
        let mut key = Vec::with_capacity(columns.len());
        for at in 0..columns.len() {
            let text: String = row.try_get(at).map_err(|error| Failure::of(Side::Source, &doing, &error))?;
            key.push(if matches!(extent, Extent::Integer { .. }) {
                let number = text
                    .parse::<i128>()
                    .map_err(|_| Failure::lasting(Side::Source, format!("{doing}: it is no whole number")))?;
                KeyValue::Integer(number)
            } else {
                KeyValue::Text(text)
            });
        }
        Ok(Some(key))
    }
}

/// What a session's state means. Where the server keeps no states (`track_activities`) it is `disabled`.
fn seen(state: Option<&str>, waits_for: Option<&str>) -> Seen {
    match (state, waits_for) {
        (Some("active"), Some("Client")) | (Some("disabled") | None, _) => Seen::InDoubt,
        (Some("active"), _) => Seen::AtWork,
        _ => Seen::Silent,
    }
}

/// `word`, once it is there. Each time that patience ends before, `look` says what is seen of who should say it. An
/// error: for how long nothing came.
async fn patiently<T, S: Future<Output = Seen>>(
    patience: Duration,
    word: impl Future<Output = T>,
    look: impl Fn() -> S,
) -> Result<T, Duration> {
    tokio::pin!(word);
    let (mut silence, mut doubts) = (Duration::ZERO, 0);
    loop {
        if let Ok(word) = tokio::time::timeout(patience, word.as_mut()).await {
            return Ok(word);
        }
        silence = silence.saturating_add(patience);
        let seen = tokio::select! {
            biased;
            // It may come while somebody looks; leverd itself may have been stopped for a while.
            word = word.as_mut() => return Ok(word),
            seen = look() => seen,
        };
        doubts = match seen {
            Seen::AtWork => 0,
            Seen::InDoubt => doubts + 1,
            Seen::Silent => MOST_DOUBTS,
        };
        if doubts >= MOST_DOUBTS {
            return Err(silence);
        }
    }
}

/// How long patience is; tests have less of it.
fn stalled_after() -> Duration {
    fail::fail_point!("migrate::stalled_after", |seconds: Option<String>| {
        Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(1))
    });
    STALLED_AFTER
}

/// The session is given up; another one may have more luck.
fn silent(doing: &str, after: Duration) -> Failure {
    let text = format!("{doing}: it stalled: nothing came for {} s", after.as_secs_f64());
    Failure::lost(Side::Source, text)
}

/// The number in the only row of an answer.
fn number_in(messages: &[SimpleQueryMessage]) -> Option<i32> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok()??.parse().ok(),
        _ => None,
    })
}

fn boundary(columns: &[String], relation: &TableName, extent: &Extent, rows: u32) -> String {
    let names: Vec<String> =
        columns.iter().map(|column| format!("t.{}", quote::identifier(column))).collect();
    let texts: Vec<String> = names.iter().map(|name| format!("{name}::text")).collect();
    // With the table before it: else a name means the text that is selected under it, which has another order.
    format!(
        "SELECT {} FROM ONLY {} AS t{} ORDER BY {} OFFSET {} LIMIT 1",
        texts.join(", "),
        quote::qualified(relation),
        extent.filter(Engine::Postgres),
        names.join(", "),
        rows.saturating_sub(1)
    )
}

fn select(columns: &[&str], relation: &TableName, extent: &Extent) -> String {
    let names: Vec<String> = columns.iter().map(|column| quote::identifier(column)).collect();
    format!(
        "SELECT {} FROM ONLY {}{}",
        names.join(", "),
        quote::qualified(relation),
        extent.filter(Engine::Postgres)
    )
}

#[cfg(test)]
mod tests {
    use super::super::failure::Kind;
    use super::*;

    #[test]
    fn a_chunk_is_selected_without_an_order() {
        let orders = TableName { schema: "shop".to_owned(), name: "orders".to_owned() };
        let extent = Extent::Integer { column: "id".to_owned(), from: Some(10), below: Some(20) };
        assert_eq!(
            select(&["id", "Total"], &orders, &extent),
            "SELECT \"id\", \"Total\" FROM ONLY \"shop\".\"orders\" WHERE \"id\" >= '10'::bigint \
             AND \"id\" < '20'::bigint"
        );
        assert_eq!(select(&[], &orders, &Extent::Whole), "SELECT  FROM ONLY \"shop\".\"orders\"");
    }

    #[test]
    fn a_boundary_is_in_the_keys_own_order() {
        let orders = TableName { schema: "shop".to_owned(), name: "orders".to_owned() };
        let columns = vec!["day".to_owned(), "nr".to_owned()];
        let after = Some(vec![KeyValue::Text("2024-01-31".to_owned()), KeyValue::Text("9".to_owned())]);
        let extent = Extent::Keyset { columns: columns.clone(), after, up_to: None };
        assert_eq!(
            boundary(&columns, &orders, &extent, 500),
            "SELECT t.\"day\"::text, t.\"nr\"::text FROM ONLY \"shop\".\"orders\" AS t \
             WHERE (\"day\", \"nr\") > ('2024-01-31', '9') ORDER BY t.\"day\", t.\"nr\" OFFSET 499 LIMIT 1"
        );
        let extent = Extent::Integer { column: "id".to_owned(), from: Some(5), below: None };
        assert_eq!(
            boundary(&["id".to_owned()], &orders, &extent, 1),
            "SELECT t.\"id\"::text FROM ONLY \"shop\".\"orders\" AS t WHERE \"id\" >= '5'::bigint \
             ORDER BY t.\"id\" OFFSET 0 LIMIT 1"
        );
    }

    #[test]
    fn a_session_is_at_work_or_not() {
        for (state, waits_for, expected) in [
            (Some("active"), None, Seen::AtWork),
            (Some("active"), Some("IO"), Seen::AtWork),
            (Some("active"), Some("Lock"), Seen::AtWork),
            // It sends: through a slow network, or into one that carries nothing.
            (Some("active"), Some("Client"), Seen::InDoubt),
            (Some("disabled"), None, Seen::InDoubt),
            (None, None, Seen::InDoubt),
            (Some("idle in transaction"), Some("Client"), Seen::Silent),
            (Some("idle in transaction (aborted)"), None, Seen::Silent),
        ] {
            assert_eq!(seen(state, waits_for), expected, "{state:?} {waits_for:?}");
        }
    }

    /// How often somebody looked, and what came of the waiting.
    async fn waited(looks: &[Seen]) -> (usize, Result<u8, Duration>) {
        let looked = std::cell::Cell::new(0);
        let look = || {
            let seen = looks.get(looked.get()).copied().unwrap_or(Seen::Silent);
            looked.set(looked.get() + 1);
            std::future::ready(seen)
        };
        let ended = patiently(Duration::from_millis(1), std::future::pending::<u8>(), look).await;
        (looked.get(), ended)
    }

    #[tokio::test]
    async fn patience_ends_where_nobody_is_at_work() {
        let millis = |many| Err(Duration::from_millis(many));
        assert_eq!(waited(&[]).await, (1, millis(1)));
        assert_eq!(waited(&[Seen::AtWork; 20]).await, (21, millis(21)), "it was at work twenty times");
        assert_eq!(waited(&[Seen::InDoubt; 20]).await, (5, millis(5)));
        let now_and_then =
            [Seen::InDoubt, Seen::InDoubt, Seen::InDoubt, Seen::InDoubt, Seen::AtWork].repeat(4);
        assert_eq!(waited(&now_and_then).await, (21, millis(21)));
    }

    #[tokio::test]
    async fn a_word_that_comes_late_counts() {
        let look = || std::future::ready(Seen::Silent);
        let there = patiently(Duration::from_secs(60), std::future::ready(7), look);
        assert_eq!(there.await, Ok(7));
        // While somebody looks.
        let (say, heard) = tokio::sync::oneshot::channel();
        let say = std::cell::RefCell::new(Some(say));
        let look = || {
            if let Some(say) = say.take() {
                say.send(8).unwrap();
            }
            std::future::pending::<Seen>()
        };
        assert_eq!(patiently(Duration::from_millis(1), heard, look).await, Ok(Ok(8)));
    }

    #[test]
    fn a_source_that_stalls_is_tried_again() {
        let failure = silent("reading shop.orders", STALLED_AFTER);
        assert_eq!(failure.to_string(), "the source: reading shop.orders: it stalled: nothing came for 60 s");
        assert_eq!((failure.kind, failure.connection_is_gone), (Kind::Passing, true));
    }
}
