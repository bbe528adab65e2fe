//! `leverd migrate calibrate`, on real tables.

use super::PATIENCE;
use super::pair::Pair;
use crate::support::leverd::{Project, both};
use serde_json::Value;

/// Without their indexes' use each chunk reads its whole table: small chunks are far slower than large ones.
const SEED: &str = "CREATE TABLE many (id int PRIMARY KEY, v text);
    INSERT INTO many SELECT g, 'v' || g FROM generate_series(1, 400000) AS g;
    CREATE TABLE few (id int PRIMARY KEY); INSERT INTO few VALUES (1);
    CREATE TABLE computed (id int PRIMARY KEY, v int GENERATED ALWAYS AS (id + 1) STORED);
    INSERT INTO computed SELECT generate_series(1, 12000);
    CREATE VIEW first_ones AS SELECT id FROM many WHERE id < 10;
    ANALYZE;
    ALTER DATABASE postgres SET enable_indexscan = off;
    ALTER DATABASE postgres SET enable_indexonlyscan = off;
    ALTER DATABASE postgres SET enable_bitmapscan = off;
    ALTER DATABASE postgres SET max_parallel_workers_per_gather = 0";

/// Two settings are tried: four writers are all that the target may have.
const SECTION: &str = "# how it is moved\nmigration:\n  workers: 1 # mine\n  parallel_readers: 1\n  \
    chunk_size: 1000   # rows\n\n  # writers\n  write_ahead_writers: 1\n  max_target_connections: 7\n  \
    target_mode: drop_recreate\n";

/// What a calibration may leave of itself: each number must be 0.
const LEFT: &str = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'leverd_calibration'), \
    (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace), \
    (SELECT count(*) FROM leverd_migration.run), (SELECT count(*) FROM leverd_migration.moved_table), \
    (SELECT count(*) FROM leverd_migration.part), (SELECT count(*) FROM leverd_migration.chunk), \
    (SELECT count(*) FROM leverd_migration.statement), (SELECT count(*) FROM leverd_migration.adjustment)";

fn write_file(pair: &Pair, project: &Project) -> String {
    let [source, target] = pair.servers();
    let end = |side: &str, port: u16| {
        format!(
            "{side}: {{type: postgres, host: 127.0.0.1, port: {port}, database: postgres, user: postgres, \
             ssl_mode: disable}}\n"
        )
    };
    let text = format!("{}{}{SECTION}", end("source", source.port), end("target", target.port));
    project.write("migration.yaml", &text);
    text
}

#[test]
fn it_measures_proposes_and_leaves_nothing_behind() {
    let (pair, project) = (Pair::start(SEED), Project::new());
    let text = write_file(&pair, &project);
    let short =
        ["migrate", "calibrate", "-c", "migration.yaml", "--no-tty", "--rounds", "1", "--seconds", "2"];

    // One that somebody else made is neither filled nor dropped.
    pair.target("CREATE SCHEMA leverd_calibration; CREATE TABLE leverd_calibration.theirs (id int)");
    let output = project.leverd(&short, PATIENCE);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let words = both(&output);
    assert!(words.contains("has a schema leverd_calibration that leverd did not make"), "{words}");
    assert_eq!(pair.target("SELECT count(*) FROM leverd_calibration.theirs"), "0");
    pair.target("DROP SCHEMA leverd_calibration CASCADE");

    let output = project.leverd(&short, PATIENCE);
    let words = both(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    // The small one says nothing, and one that computes is not fit.
    assert!(words.contains("trying with 1 table: public.many"), "{words}");
    assert!(words.contains("Begin with chunks of 25,000 rows and 4 writers: +"), "{words}");
    assert!(words.contains("One round says nothing of how much a step varies."), "{words}");
    assert!(words.contains("--apply writes that into the file"), "{words}");
    assert_eq!(project.read("migration.yaml"), text);
    assert_eq!(pair.target(LEFT), "0|0|0|0|0|0|0|0");

    let output = project.leverd(&[&short[..], &["--apply", "--json"][..]].concat(), PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = found["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2, "{found:#}");
    assert!(steps.iter().all(|step| step["rounds"][0].as_f64().is_some_and(|rate| rate > 0.0)), "{found:#}");
    assert_eq!((&steps[0]["yours"], &steps[1]["yours"]), (&Value::from(true), &Value::from(false)));
    assert_eq!(found["result"]["proposal"], "change", "{found:#}");
    assert_eq!(found["result"]["setting"]["chunk_rows"], 25_000, "{found:#}");
    assert_eq!(found["applied"], true, "{found:#}");
    assert_eq!(pair.target(LEFT), "0|0|0|0|0|0|0|0");

    // Two values are others, and nothing else is.
    let expected = text.replace("chunk_size: 1000 ", "chunk_size: 25000 ");
    let expected = expected.replace("write_ahead_writers: 1\n", "write_ahead_writers: 4\n");
    assert_eq!(project.read("migration.yaml"), expected);
    let kept = found["backup"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(project.path().join(kept)).unwrap(), text);

    // It is a file that a run takes, into a target that knows of no run.
    let output = project.leverd(&["migrate", "run", "-c", "migration.yaml", "--no-tty"], PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(pair.target("SELECT count(*), count(DISTINCT id) FROM many"), "400000|400000");
}

#[test]
fn without_a_table_that_says_something_it_is_refused() {
    let pair = Pair::start("CREATE TABLE few (id int PRIMARY KEY); INSERT INTO few VALUES (1); ANALYZE");
    let project = Project::new();
    write_file(&pair, &project);
    let output = project.leverd(&["migrate", "calibrate", "-c", "migration.yaml", "--no-tty"], PATIENCE);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(both(&output).contains("no table is fit to be tried: it needs 10,000 rows"), "{}", both(&output));
    assert_eq!(pair.target("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'leverd%'"), "0");
}
