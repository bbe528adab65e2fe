//! An adjustment reaches the transfer: it is counted in the target.

use super::pair::Pair;
use super::{PATIENCE, both};
use crate::support::http::TinyHttp;
use crate::support::leverd::wait_for_exit;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A model's service that gives these settings (writers, rows of a chunk) as its first decision, and nothing new after it.
fn model(action: &'static str, writers: u32, chunk_rows: u32) -> TinyHttp {
    let asked = AtomicUsize::new(0);
    TinyHttp::start(move |_, connection| {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        let action = if first { action } else { "continue" };
        let input = json!({
            "action": action, "writers": writers, "chunk_rows": chunk_rows, "readers": 2, "buffers": 4,
            "confidence": "high", "reasoning": "there is room",
        });
        let body = claude(&input).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        let _ = write!(connection, "{head}connection: close\r\n\r\n{body}");
        // What was not read would make the close an abortion.
        let _ = connection.set_read_timeout(Some(Duration::from_millis(500)));
        let _ = connection.read_to_end(&mut Vec::new());
    })
}

/// The wire format of the Messages API.
fn claude(input: &Value) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001",
        "content": [{ "type": "tool_use", "id": "toolu_1", "name": "adjust_migration", "input": input }],
        "stop_reason": "tool_use", "usage": { "input_tokens": 900, "output_tokens": 120 },
    })
}

/// A target whose rows take their time, so that more writers bring more of them.
fn slow_pair(rows: u32) -> Pair {
    let pair = Pair::start(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, g FROM generate_series(1, {rows}) AS g; ANALYZE"
    ));
    pair.target(
        "CREATE FUNCTION waits(int) RETURNS boolean LANGUAGE plpgsql AS \
         'BEGIN IF $1 % 10 = 0 THEN PERFORM pg_sleep(0.002); END IF; RETURN true; END'; \
         CREATE TABLE t (id int PRIMARY KEY, v int CHECK (waits(v)))",
    );
    pair
}

const WRITERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'leverd writer%'";

fn settings(service: &TinyHttp) -> String {
    format!(
        "{{target_mode: truncate, chunk_size: 1000, write_ahead_writers: 4, parallel_readers: 2, read_ahead_buffers: 4, \
         workers: 4, ai_adjust: true, ai_adjust_interval: 1s}}\n\
         ai: {{provider: claude, api_key: sk-test-key, endpoint: \"{}\"}}",
        service.url()
    )
}

#[test]
fn more_writers_are_counted_in_the_target() {
    let service = model("scale_up", 6, 1000);
    let pair = slow_pair(200_000);
    let mut run = pair.begin(&["run", "--verbosity", "debug"], &settings(&service));
    let until = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while run.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it does not end");
        let now: u32 = pair.target(WRITERS).parse().unwrap();
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(wait_for_exit(&mut run, PATIENCE).unwrap().success());
    assert_eq!(pair.target("SELECT count(*) FROM t"), "200000");
    let four = seen.iter().position(|writers| *writers == 4).unwrap_or_else(|| panic!("never 4: {seen:?}"));
    assert!(seen[four..].contains(&6), "from 4 to 6: {seen:?}");
    let recorded =
        "SELECT setting, value_before, value_after FROM leverd_migration.adjustment ORDER BY number LIMIT 1";
    assert_eq!(pair.target(recorded), "writers|4|6");
    let heads = service.requests();
    assert!(heads[0].starts_with("POST /v1/messages "), "{heads:?}");
    assert!(heads[0].to_lowercase().contains("x-api-key: sk-test-key"), "{heads:?}");
}

/// Whether an adjustment is kept is a matter of time: what an earlier process kept is written by the test.
#[test]
fn a_run_that_goes_on_has_what_was_kept() {
    let pair =
        Pair::start("CREATE TABLE one (id int PRIMARY KEY); INSERT INTO one SELECT generate_series(1, 10)");
    pair.target("CREATE TABLE one (id int PRIMARY KEY)");
    let settings = "{target_mode: truncate, workers: 1, write_ahead_writers: 2, chunk_size: 1000, \
         parallel_readers: 1, read_ahead_buffers: 4}";
    let (mut run, lock) = pair.held_up("one", settings);
    pair.interrupt(&run);
    drop(lock);
    assert_eq!(run.wait().unwrap().code(), Some(1));
    pair.target(
        "INSERT INTO leverd_migration.adjustment \
         (run, number, setting, value_before, value_after, decided_by, reasoning, outcome) \
         SELECT id, v.* FROM leverd_migration.run, (VALUES \
         (1, 'chunk_rows', 1000, 2000, 'rules', 'there is room', 'kept, rows per second +30.0 % (faster)'), \
         (2, 'writers', 2, 4, 'rules', 'there is room', 'reverted (slower)'), \
         (3, 'writers', 2, 3, 'rules', 'there is room', NULL)) AS v",
    );
    let output = pair.migrate(&["resume"], settings);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let line = "going on with writers 2, chunk 2000, readers 1, buffers 4: with what the run began with and one \
                adjustment that was kept";
    assert!(both(&output).contains(line), "{}", both(&output));
    assert_eq!(pair.target("SELECT chunk_rows FROM leverd_migration.chunk"), "2000");
}

#[test]
fn a_new_chunk_size_is_in_the_state_table() {
    let service = model("enlarge_chunk", 4, 2000);
    let pair = slow_pair(200_000);
    let output = pair.migrate(&["run", "--verbosity", "debug"], &settings(&service));
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let sizes =
        pair.target("SELECT chunk_rows, max(row_count) FROM leverd_migration.chunk GROUP BY 1 ORDER BY 1");
    assert!(sizes.starts_with("1000|1000\n2000|2000"), "{sizes}\n{}", both(&output));
    let words = both(&output);
    for line in [
        "[INFO] AI-driven parameter adjustment enabled (interval: 1s)",
        "[INFO] AI monitoring started (evaluation interval: 1s)",
        "[DEBUG] Metrics snapshot: ",
        "[INFO] AI adjustment applied: enlarge_chunk - there is room (confidence: high)",
        "[DEBUG] Config updated: chunk_size=2000, readers=2, writers=4, buffers=4",
    ] {
        assert!(words.contains(line), "{line:?} is not in\n{words}");
    }
    assert!(!words.contains("sk-test-key"), "{words}");
}
