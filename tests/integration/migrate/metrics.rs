//! A run's metrics, scraped while it goes.

use super::PATIENCE;
use super::pair::Pair;
use crate::support::leverd::both;
use crate::support::postgres::free_port;
use crate::support::scrape::{assert_well_formed, get, value};
use std::net::TcpListener;
use std::process::Child;
use std::time::{Duration, Instant};

/// The first page that is as wanted, of a run that still goes.
fn page_with(run: &mut Child, at: &str, what: &str, wanted: impl Fn(&str) -> bool) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = get(at, "/metrics").unwrap_or_default();
        let page = answer.split_once("\r\n\r\n").map_or("", |(_, page)| page);
        if wanted(page) {
            return page.to_owned();
        }
        let ended = run.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < until, "no page with {what}; {ended:?}\n{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_run_is_scraped_while_it_goes() {
    let tables = "CREATE TABLE quick (id int PRIMARY KEY); CREATE TABLE held (id int PRIMARY KEY);";
    let pair = Pair::start(&format!(
        "{tables} INSERT INTO quick SELECT generate_series(1, 1000);
         INSERT INTO held SELECT generate_series(1, 3000)"
    ));
    pair.target(tables);
    // The writer that comes to this row waits for the end of its transaction, and the run for the writer.
    let other = pair.hold_in_target("INSERT INTO held VALUES (2500)");
    let at = format!("127.0.0.1:{}", free_port());
    let migration = "{target_mode: append, chunk_size: 1000, workers: 2, parallel_readers: 1, \
                     write_ahead_writers: 2, ai_adjust_interval: 1s}";
    let mut run = pair.begin(&["run", "--metrics", &at], migration);
    let rows = "leverd_migrate_rows_total";
    let page = page_with(&mut run, &at, "rows and a sample", |page| {
        value(page, rows).is_some_and(|rows| rows >= 1_000.0)
            && value(page, "leverd_migrate_rows_per_second").is_some()
    });
    assert_well_formed(&page);
    let name = pair.target("SELECT id FROM leverd_migration.run");
    let info = format!(
        "leverd_migrate_run_info{{run=\"{name}\",source=\"postgres\",target=\"postgres://postgres@127.0.0.1:"
    );
    assert!(page.lines().any(|line| line.starts_with(&info)), "{info} is missing in\n{page}");
    for (series, expected) in [
        ("leverd_migrate_stage{stage=\"copying\"}", 1.0),
        ("leverd_migrate_stage{stage=\"indexing\"}", 0.0),
        ("leverd_migrate_setting{setting=\"writers\"}", 2.0),
        ("leverd_migrate_setting{setting=\"chunk_rows\"}", 1_000.0),
        ("leverd_migrate_adjustments_total{outcome=\"kept\"}", 0.0),
        ("leverd_migrate_rejected_rows_total", 0.0),
        ("leverd_migrate_tables", 2.0),
    ] {
        assert_eq!(value(&page, series), Some(expected), "{series} in\n{page}");
    }
    assert!(value(&page, "leverd_migrate_bytes_total").is_some_and(|bytes| bytes > 0.0), "{page}");
    assert!(value(&page, "leverd_migrate_chunks_total").is_some_and(|chunks| chunks >= 1.0), "{page}");
    let families = page.lines().filter(|line| line.starts_with("# TYPE leverd_migrate_")).count();
    assert!(families >= 30, "{families} metrics\n{page}");
    let health = get(&at, "/healthz").unwrap();
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("\r\n\r\nok\n"), "{health}");
    // An interval's figures are those of that interval: now nothing moves.
    page_with(&mut run, &at, "a standstill, and its lock", |page| {
        value(page, "leverd_migrate_rows_per_second") == Some(0.0)
            && value(page, "leverd_migrate_lock_waits").is_some_and(|waits| waits >= 1.0)
    });
    drop(other);
    assert!(run.wait().unwrap().success());
    assert_eq!(pair.target("SELECT (SELECT count(*) FROM quick), (SELECT count(*) FROM held)"), "1000|3000");
}

#[test]
fn nothing_begins_where_it_may_not_or_cannot_listen() {
    let pair = Pair::start("CREATE TABLE t (id int PRIMARY KEY)");
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = taken.local_addr().unwrap().to_string();
    for (address, code, words) in [
        ("0.0.0.0:0", 64, "--allow-remote"),
        ("127.0.0.1", 64, "write host:port"),
        (at.as_str(), 1, "cannot listen on"),
    ] {
        for command in ["run", "resume"] {
            let output = pair.migrate(&[command, "--metrics", address], "{}");
            assert_eq!(output.status.code(), Some(code), "{}", both(&output));
            assert!(both(&output).contains(words), "{}", both(&output));
        }
    }
    assert_eq!(pair.target("SELECT to_regclass('leverd_migration.run')"), "", "something was begun");
}
