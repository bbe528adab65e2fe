//! A source and a target, and the program between them.

use super::PATIENCE;
use crate::support::leverd::{Project, finish};
use crate::support::postgres::PrivatePostgres;
use std::collections::BTreeMap;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Something of everything that is moved.
pub(super) const SHOP: &str = include_str!("shop.sql");

pub(super) struct Pair {
    source: PrivatePostgres,
    target: PrivatePostgres,
    project: Project,
    runtime: Runtime,
}

/// A session with an open transaction; dropped, it is rolled back.
pub(super) struct Held<'a> {
    client: Option<Client>,
    runtime: &'a Runtime,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let _ = self.runtime.block_on(client.batch_execute("ROLLBACK"));
        }
    }
}

/// Lines for both servers' configuration.
pub(super) const QUICK: &str = "autovacuum = off\nfsync = off\n";

impl Pair {
    pub(super) fn start(seed: &str) -> Self {
        Self::with_target(PrivatePostgres::start(QUICK), seed)
    }

    /// The same into a target of the test's own.
    pub(super) fn with_target(target: PrivatePostgres, seed: &str) -> Self {
        let pair = Self {
            source: PrivatePostgres::start(QUICK),
            target,
            project: Project::new(),
            runtime: Runtime::new().unwrap(),
        };
        pair.source(seed);
        // A crash would take sequences on by what was logged ahead of them since.
        pair.source("CHECKPOINT");
        pair
    }

    /// The source and the target.
    pub(super) fn servers(&self) -> [&PrivatePostgres; 2] {
        [&self.source, &self.target]
    }

    /// Runs statements in the source; the last answer's rows, columns by `|`, rows by line.
    pub(super) fn source(&self, sql: &str) -> String {
        ask(&self.runtime, &self.source, sql)
    }

    /// The same in another database of the source.
    pub(super) fn source_in(&self, database: &str, sql: &str) -> String {
        let dsn = self.source.dsn().replace("dbname=postgres", &format!("dbname={database}"));
        ask_at(&self.runtime, &dsn, sql)
    }

    pub(super) fn target(&self, sql: &str) -> String {
        ask(&self.runtime, &self.target, sql)
    }

    pub(super) fn source_log(&self) -> String {
        std::fs::read_to_string(self.source.data().parent().unwrap().join("log")).unwrap()
    }

    pub(super) fn hold_in_source(&self, sql: &str) -> Held<'_> {
        self.hold(&self.source, sql)
    }

    pub(super) fn hold_in_target(&self, sql: &str) -> Held<'_> {
        self.hold(&self.target, sql)
    }

    fn hold(&self, server: &PrivatePostgres, sql: &str) -> Held<'_> {
        let client = self.runtime.block_on(connect(&server.dsn()));
        self.runtime.block_on(client.batch_execute(&format!("BEGIN; {sql}"))).unwrap();
        Held { client: Some(client), runtime: &self.runtime }
    }

    /// Waits until a query of the target has a row.
    pub(super) fn wait_for(&self, sql: &str) {
        let until = Instant::now() + PATIENCE;
        while self.target(sql).is_empty() {
            assert!(Instant::now() < until, "never: {sql}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn file(&self, migration: &str, other: (&str, &str)) -> String {
        let end = |side: &str, server: &PrivatePostgres| {
            let mut keys = BTreeMap::from([
                ("type", "postgres".to_owned()),
                ("host", "127.0.0.1".to_owned()),
                ("port", server.port.to_string()),
                ("database", "postgres".to_owned()),
                ("user", "postgres".to_owned()),
                ("ssl_mode", "disable".to_owned()),
            ]);
            if other.0 == side {
                for pair in other.1.split(", ") {
                    let (key, value) = pair.split_once(": ").unwrap();
                    keys.insert(key, value.to_owned());
                }
            }
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            format!("{side}: {{{}}}\n", keys.join(", "))
        };
        let text =
            format!("{}{}migration: {migration}\n", end("source", &self.source), end("target", &self.target));
        self.project.write("migration.yaml", &text).display().to_string()
    }

    /// `leverd migrate …` to its end.
    pub(super) fn migrate(&self, arguments: &[&str], migration: &str) -> Output {
        let file = self.file(migration, ("", ""));
        finish(self.command(arguments, &file), PATIENCE)
    }

    /// The same, with other keys of one side.
    pub(super) fn migrate_with(&self, arguments: &[&str], side: &str, keys: &str) -> Output {
        let file = self.file("{}", (side, keys));
        finish(self.command(arguments, &file), PATIENCE)
    }

    /// The same, not yet started; `other`: a side, and keys of it that are others.
    pub(super) fn prepared(
        &self,
        arguments: &[&str],
        migration: &str,
        other: (&str, &str),
    ) -> std::process::Command {
        self.command(arguments, &self.file(migration, other))
    }

    pub(super) fn begin(&self, arguments: &[&str], migration: &str) -> Child {
        let file = self.file(migration, ("", ""));
        let mut command = self.command(arguments, &file);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The same, with what it says.
    pub(super) fn begin_captured(&self, arguments: &[&str], migration: &str) -> Child {
        let file = self.file(migration, ("", ""));
        let mut command = self.command(arguments, &file);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A run that waits: it may not empty the table while somebody writes there, who does until that is dropped.
    pub(super) fn held_up(&self, table: &str, migration: &str) -> (Child, Held<'_>) {
        let lock = self.hold_in_target(&format!("LOCK TABLE {table} IN ROW EXCLUSIVE MODE"));
        let run = self.begin(&["run"], migration);
        self.wait_for(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'TRUNCATE%'",
        );
        (run, lock)
    }

    fn command(&self, arguments: &[&str], file: &str) -> std::process::Command {
        let all: Vec<&str> =
            ["migrate"].into_iter().chain(arguments.iter().copied()).chain(["-c", file]).collect();
        self.project.command(&all)
    }

    pub(super) fn interrupt(&self, child: &Child) {
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// What is in both is the same: rows, indexes, constraints, defaults, views, sequences, comments.
    pub(super) fn is_whole(&self) {
        for (what, sql) in WHOLE {
            let (source, target) = (self.source(sql), self.target(sql));
            assert!(!source.is_empty(), "there are no {what} to compare");
            assert_eq!(source, target, "{what} differ");
        }
        let tables = self.source(TABLES);
        for table in tables.lines() {
            // By the columns' names: a partition may have them in another order.
            let sums = format!(
                "SELECT count(*), sum(hashtextextended(to_jsonb(t)::text, 0)::numeric) FROM {table} AS t"
            );
            assert_eq!(self.source(&sums), self.target(&sums), "{table}");
        }
    }
}

/// Ends a server as a crash would, and starts it again.
pub(super) fn crash(server: &PrivatePostgres) {
    let pid = server.pid().unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // Its children end by themselves when they notice; only then it may start again.
    let until = Instant::now() + PATIENCE;
    loop {
        server.try_start();
        if std::net::TcpStream::connect(("127.0.0.1", server.port)).is_ok() && answers(server) {
            return;
        }
        assert!(Instant::now() < until, "the server did not come back");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn answers(server: &PrivatePostgres) -> bool {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let Ok((client, connection)) = tokio_postgres::connect(&server.dsn(), NoTls).await else {
            return false;
        };
        tokio::select! {
            answered = client.simple_query("SELECT 1") => answered.is_ok(),
            _ = connection => false,
        }
    })
}

pub(super) async fn connect(dsn: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(dsn, NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with its client")]
    tokio::spawn(connection);
    client
}

/// Runs statements; the last answer's rows, columns by `|`, rows by line.
pub(super) fn ask(runtime: &Runtime, server: &PrivatePostgres, sql: &str) -> String {
    ask_at(runtime, &server.dsn(), sql)
}

fn ask_at(runtime: &Runtime, dsn: &str, sql: &str) -> String {
    runtime.block_on(async {
        let client = connect(dsn).await;
        let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
        let mut lines: Vec<String> = Vec::new();
        for message in &messages {
            match message {
                SimpleQueryMessage::RowDescription(_) => lines.clear(),
                SimpleQueryMessage::Row(row) => {
                    let cells: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or_default()).collect();
                    lines.push(cells.join("|"));
                }
                _ => {}
            }
        }
        lines.join("\n")
    })
}

const TABLES: &str = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'm', 'v') ORDER BY 1";

/// What must be equal, as the servers write it.
const WHOLE: &[(&str, &str)] = &[
    (
        "columns",
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, \
         pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum) FROM pg_attribute a \
         JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
         WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped \
         ORDER BY 1, 2",
    ),
    (
        "partitions",
        "SELECT c.relname, c.relkind, pg_get_partkeydef(c.oid), i.inhparent::regclass::text, \
         pg_get_expr(c.relpartbound, c.oid) FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid \
         WHERE c.relnamespace = 'public'::regnamespace AND (c.relkind = 'p' OR c.relispartition) \
         AND c.relkind IN ('r', 'p') ORDER BY 1",
    ),
    (
        "indexes of partitions",
        "SELECT i.inhrelid::regclass::text, i.inhparent::regclass::text, x.indisvalid, x.indisprimary \
         FROM pg_inherits i JOIN pg_index x ON x.indexrelid = i.inhrelid ORDER BY 1",
    ),
    ("indexes", "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"),
    (
        "constraints",
        "SELECT conrelid::regclass::text, conname, contype, convalidated, pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE connamespace = 'public'::regnamespace AND contype <> 'n' \
         AND (contype <> 'f' OR conparentid = 0) ORDER BY 1, 2",
    ),
    ("views", "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1"),
    (
        "options of views",
        "SELECT relname, array_to_string(reloptions, ', ') FROM pg_class WHERE relkind IN ('v', 'm') \
         AND relnamespace = 'public'::regnamespace ORDER BY 1",
    ),
    (
        "how sequences count",
        "SELECT sequencename, data_type, start_value, min_value, max_value, increment_by, cycle, cache_size \
         FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1",
    ),
    (
        "where sequences with steps stand",
        "SELECT s.relname, CASE WHEN is_called THEN last_value + q.seqincrement ELSE last_value END \
         FROM (SELECT 'steps_id_seq' AS relname, last_value, is_called FROM steps_id_seq UNION ALL \
         SELECT 'steps_up_seq', last_value, is_called FROM steps_up_seq UNION ALL \
         SELECT 'steps_down_seq', last_value, is_called FROM steps_down_seq) AS s \
         JOIN pg_sequence q ON q.seqrelid = s.relname::regclass ORDER BY 1",
    ),
    (
        "sequences",
        "SELECT 'own', CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM own_sequence UNION ALL \
         SELECT 'orders', CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM orders_id_seq UNION ALL \
         SELECT 'customers', CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM customers_id_seq UNION ALL \
         SELECT 'events', CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM events_id_seq UNION ALL \
         SELECT 'moods', CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM moods_id_seq UNION ALL \
         SELECT sequencename, start_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1",
    ),
    (
        "storage parameters and replica identities",
        "SELECT c.relname, c.relreplident, (SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(c.reloptions) o), \
         (SELECT string_agg(o, ', ' ORDER BY o) FROM pg_class t, unnest(t.reloptions) o WHERE t.oid = c.reltoastrelid) \
         FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'i', 'I') \
         ORDER BY 1",
    ),
    (
        "comments",
        "SELECT pg_describe_object(classoid, objoid, objsubid), description FROM pg_description \
         WHERE objoid >= 16384 AND pg_describe_object(classoid, objoid, objsubid) NOT LIKE '%leverd_migration%' \
         ORDER BY 1",
    ),
];
