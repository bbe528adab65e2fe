//! The target's own levers and levels around a run: borrowed and given back, also where leverd dies; and a run that
//! yields. On a real Postgres and a real Prometheus.

use super::PATIENCE;
use crate::support::leverd::{both, finish, wait_for_exit};
use crate::support::postgres::PrivatePostgres;
use crate::support::rig::{Effect, Rig, reload_lever};
use leverd::daemon::Lock;
use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A rig as the target of a migration; its lever takes max_wal_size from 512MB to 640MB.
struct Town {
    source: PrivatePostgres,
    rig: Rig,
    runtime: Runtime,
    /// postgresql.conf of the target before anything.
    conf: Vec<u8>,
}

impl Town {
    fn start(effect: Effect) -> Self {
        let rig = Rig::start(&reload_lever(), effect, 8);
        let source = PrivatePostgres::start("fsync = off");
        let town = Self { conf: rig.conf(), source, rig, runtime: Runtime::new().unwrap() };
        let rows = "CREATE TABLE one (id int PRIMARY KEY); INSERT INTO one SELECT generate_series(1, 1000)";
        town.runtime.block_on(async { connect(&town.source).await.batch_execute(rows).await.unwrap() });
        town
    }

    /// Runs a statement in the target; the first column of its rows, by line. `None`: it failed.
    fn asked(&self, sql: &str) -> Option<String> {
        self.runtime.block_on(async {
            let messages = connect(&self.rig.postgres).await.simple_query(sql).await.ok()?;
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            });
            Some(rows.collect::<Vec<_>>().join("\n"))
        })
    }

    fn target(&self, sql: &str) -> String {
        self.asked(sql).unwrap_or_else(|| panic!("{sql}"))
    }

    fn wait_for(&self, sql: &str) {
        let until = Instant::now() + PATIENCE;
        while self.asked(sql).is_none_or(|rows| rows.is_empty()) {
            assert!(Instant::now() < until, "never: {sql}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What an earlier process has left in the server is gone.
    fn wait_for_quiet(&self) {
        self.wait_for(
            "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'leverd%')",
        );
    }

    /// A session of the target that holds a lock, until [`Town::release`].
    fn hold(&self, lock: &str) -> Client {
        self.runtime.block_on(async {
            let client = connect(&self.rig.postgres).await;
            client.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
            client
        })
    }

    fn release(&self, held: Client) {
        self.runtime.block_on(async { held.batch_execute("ROLLBACK").await.unwrap() });
    }

    fn command(&self, arguments: &[&str], target: &str, migration: &str) -> Command {
        let end = |server: &PrivatePostgres| {
            format!(
                "type: postgres, host: 127.0.0.1, port: {}, database: postgres, user: postgres, ssl_mode: disable",
                server.port
            )
        };
        let text = format!(
            "source: {{{}}}\ntarget: {{{}, {target}}}\nmigration: {migration}\n",
            end(&self.source),
            end(&self.rig.postgres)
        );
        let file = self.rig.project.write("migration.yaml", &text).display().to_string();
        let all: Vec<&str> =
            ["migrate"].into_iter().chain(arguments.iter().copied()).chain(["-c", &file]).collect();
        self.rig.project.command(&all)
    }

    fn migrate(&self, arguments: &[&str], migration: &str) -> Output {
        finish(self.command(arguments, LEVERS, migration), PATIENCE)
    }

    fn begin(&self, arguments: &[&str], target: &str, migration: &str) -> Child {
        let mut command = self.command(arguments, target, migration);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// `kill -9` in the middle of a run that has borrowed its lever.
    fn killed(&self, arguments: &[&str]) {
        self.wait_for_quiet();
        let lock = self.hold("LOCK TABLE one IN ACCESS EXCLUSIVE MODE");
        let mut run = self.begin(arguments, LEVERS, TRUNCATE);
        self.wait_for(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'TRUNCATE%'",
        );
        assert_eq!(self.target("SHOW max_wal_size"), "640MB");
        run.kill().unwrap();
        run.wait().unwrap();
        self.release(lock);
        self.wait_for_quiet();
        assert_eq!(self.target("SHOW max_wal_size"), "640MB", "nobody has given it back yet");
    }

    fn is_as_before(&self, when: &str) {
        assert!(self.rig.conf() == self.conf, "{when}: postgresql.conf is not as it was");
        assert_eq!(self.target("SHOW max_wal_size"), "512MB", "{when}");
        let borrowed: Vec<_> =
            self.rig.trials().into_iter().filter(|trial| trial["state"] != "undone").collect();
        let aborted = borrowed.iter().all(|trial| trial["state"] == "aborted");
        assert!(aborted, "{when}: {borrowed:?}");
    }
}

const LEVERS: &str = "lever_config: config/leverd.yaml";
const TRUNCATE: &str = "{target_mode: truncate}";

async fn connect(server: &PrivatePostgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.dsn(), NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with its client")]
    tokio::spawn(connection);
    client
}

#[test]
fn levers_are_borrowed_for_the_run_and_given_back() {
    let town = Town::start(Effect::Nothing);
    let output = town.migrate(&["run"], "{}");
    let said = both(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(town.target("SELECT count(*) FROM one"), "1000");
    assert!(said.contains("borrowed for this run: max_wal_size 512MB -> 640MB (trial 1)"), "{said}");
    assert!(said.contains("(trial 1) was borrowed for the run, and was given back"), "{said}");
    town.is_as_before("after a run");
    // The server itself says that both values were in force.
    let log = fs::read_to_string(town.rig.postgres.data().parent().unwrap().join("log")).unwrap();
    let changed = |value: &str| log.find(&format!("parameter \"max_wal_size\" changed to \"{value}\""));
    assert!(changed("640MB").unwrap() < changed("512MB").unwrap(), "{log}");

    let trial = town.rig.first_trial().unwrap();
    assert!(trial["plan"]["borrowed_for"].is_string() && trial["verdict"].is_null(), "{trial}");
    let changelog = town.rig.project.read("CHANGELOG_TUNING.md");
    for result in ["* Result: 🤝 borrowed for the time of a migration\n", "* Result: ↩️ given back\n"] {
        assert!(changelog.contains(result), "{changelog}");
    }
    let history = town.rig.project.must(&["history"], PATIENCE);
    assert!(history.contains("given back"), "{history}");
    let output = town.rig.project.leverd(&["status", "--json"], PATIENCE);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["kept"], serde_json::json!([]), "{status}");
    assert_eq!(status["frozen"], serde_json::json!([]), "{status}");
    assert_eq!(status["quarantined"], serde_json::json!([]), "{status}");
}

#[test]
fn what_a_killed_run_had_borrowed_goes_back_at_the_next_start() {
    let town = Town::start(Effect::AsDemanded);
    // Every level is met: a turn of the loop has nothing else to do.
    town.rig.demand(30.0, 30.0);
    town.target("CREATE TABLE one (id int PRIMARY KEY)");

    town.killed(&["run"]);
    let status = town.migrate(&["status"], TRUNCATE);
    assert_eq!(status.status.code(), Some(0), "{}", both(&status));
    assert!(both(&status).contains("max_wal_size is given back: 512MB again"), "{}", both(&status));
    town.is_as_before("after a status");

    town.killed(&["run", "--replace"]);
    let tuned = town.rig.tune("");
    assert_eq!(tuned.status.code(), Some(0), "{}", both(&tuned));
    town.is_as_before("after a turn of the loop");

    town.killed(&["run", "--replace"]);
    let resumed = town.migrate(&["resume"], TRUNCATE);
    assert_eq!(resumed.status.code(), Some(0), "{}", both(&resumed));
    assert!(
        both(&resumed).contains("borrowed for this run: max_wal_size 512MB -> 640MB"),
        "{}",
        both(&resumed)
    );
    town.is_as_before("after the run went on");
    assert_eq!(town.target("SELECT count(*) FROM one"), "1000");
}

#[test]
fn what_a_person_has_written_meanwhile_is_left() {
    let town = Town::start(Effect::Nothing);
    town.target("CREATE TABLE one (id int PRIMARY KEY)");
    town.killed(&["run"]);
    let edited = String::from_utf8(town.rig.conf()).unwrap().replace("640MB", "700MB");
    #[expect(clippy::disallowed_methods, reason = "a person's editor")]
    fs::write(town.rig.postgres.conf(), &edited).unwrap();
    town.target("SELECT pg_reload_conf()");
    town.wait_for("SELECT 1 WHERE current_setting('max_wal_size') = '700MB'");

    let status = town.migrate(&["status"], TRUNCATE);
    assert_eq!(status.status.code(), Some(0), "{}", both(&status));
    assert!(both(&status).contains("is left as somebody has set it"), "{}", both(&status));
    assert!(town.rig.conf() == edited.as_bytes(), "the person's value was touched");
    let changelog = town.rig.project.read("CHANGELOG_TUNING.md");
    assert!(changelog.contains("* Result: ✋ edited by a person meanwhile, left as it is\n"), "{changelog}");
    assert!(!changelog.contains("given back\n"), "{changelog}");
    let held = both(&town.rig.project.leverd(&["status"], PATIENCE));
    assert!(held.contains("Frozen: max_wal_size") && held.contains("700MB"), "{held}");
}

#[test]
fn where_a_persons_alter_system_wins_the_file_goes_back_and_the_loan_is_over() {
    let town = Town::start(Effect::Nothing);
    town.target("CREATE TABLE one (id int PRIMARY KEY)");
    town.killed(&["run"]);
    town.target("ALTER SYSTEM SET max_wal_size = '700MB'");
    town.target("SELECT pg_reload_conf()");
    town.wait_for("SELECT 1 WHERE current_setting('max_wal_size') = '700MB'");

    let status = town.migrate(&["status"], TRUNCATE);
    assert_eq!(status.status.code(), Some(0), "{}", both(&status));
    assert!(both(&status).contains("is left as somebody has set it"), "{}", both(&status));
    assert!(town.rig.conf() == town.conf, "postgresql.conf is not as it was");
    assert_eq!(town.target("SHOW max_wal_size"), "700MB");
    assert!(town.rig.trials().iter().all(|trial| trial["state"] == "undone"), "{:?}", town.rig.trials());
    let held = both(&town.rig.project.leverd(&["status"], PATIENCE));
    assert!(held.contains("Frozen: max_wal_size"), "{held}");
}

#[test]
fn a_death_at_any_step_of_a_loan_leaves_nothing_borrowed() {
    let town = Town::start(Effect::Nothing);
    let points = [
        ("trial::performed", 5),
        ("trial::stored", 4),
        ("actuate::written", 2),
        ("actuate::reloaded", 2),
        ("trial::closed", 1),
        ("loan::undone", 1),
    ];
    for (point, least) in points {
        let mut deaths = 0;
        for skip in 0..12 {
            town.wait_for_quiet();
            let mut command = town.command(&["run", "--replace"], LEVERS, "{}");
            command.env("FAILPOINTS", format!("{point}={skip}*off->return"));
            let output = finish(command, PATIENCE);
            let died = output.status.code().is_none();
            assert!(died || output.status.success(), "{point}, {skip}: {}", both(&output));
            let status = town.migrate(&["status"], "{}");
            assert_eq!(status.status.code(), Some(0), "{point}, {skip}: {}", both(&status));
            town.is_as_before(&format!("{point}, {skip}"));
            if !died {
                break;
            }
            deaths += 1;
        }
        assert!((least..12).contains(&deaths), "{point}: {deaths} deaths");
    }
}

#[test]
fn without_the_right_to_act_a_run_goes_on_without_levers() {
    let town = Town::start(Effect::Nothing);
    fs::create_dir_all(town.rig.state()).unwrap();
    let lock = Lock::take(&town.rig.state().join("lock")).unwrap();
    let output = town.migrate(&["run"], "{}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert!(
        both(&output).contains("the target's levers are not pulled: another leverd (pid"),
        "{}",
        both(&output)
    );
    assert_eq!(town.rig.trials().len(), 0);
    drop(lock);

    // Another server's levers are nobody's to pull.
    let own = town.rig.project.read("config/leverd.yaml");
    let other = own.replace(&town.rig.postgres.dsn(), &town.source.dsn());
    assert_ne!(own, other);
    town.rig.project.write("other.yaml", &other);
    let refused = finish(town.command(&["run"], "lever_config: other.yaml", "{}"), PATIENCE);
    assert_eq!(refused.status.code(), Some(64), "{}", both(&refused));
    assert!(both(&refused).contains("is about another server"), "{}", both(&refused));
    town.is_as_before("after a refusal");
}

#[test]
fn a_run_yields_while_a_level_of_its_target_is_broken() {
    // The lever changes nothing: wal_rate stays past its level.
    let town = Town::start(Effect::Nothing);
    town.target("CREATE TABLE one (id int PRIMARY KEY)");
    // Rows wait as long as this is held.
    let lock = town.hold("LOCK TABLE one IN SHARE MODE");
    let target = format!("{LEVERS}, serves: true");
    let migration = "{target_mode: append, workers: 2, write_ahead_writers: 4, ai_adjust_interval: 1s, max_target_connections: 16}";
    let mut run = town.begin(&["run"], &target, migration);
    town.wait_for(
        "SELECT 1 FROM leverd_migration.adjustment WHERE setting = 'writers' AND value_after = 1 \
         AND decided_by = 'sla' AND reasoning LIKE '%wal_rate%'",
    );
    let writers =
        "SELECT value_before || '>' || value_after FROM leverd_migration.adjustment ORDER BY number";
    assert_eq!(town.target(writers), "4>2\n2>1");
    town.release(lock);
    let status = wait_for_exit(&mut run, PATIENCE).expect("the run does not end");
    assert!(status.success(), "{status}");
    assert_eq!(town.target("SELECT count(*) FROM one"), "1000");
    town.is_as_before("after a run that yielded");
}

#[test]
fn one_builder_goes_on_while_a_level_of_its_target_is_broken() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        eprintln!("not run: on one CPU there is one builder");
        return;
    }
    let town = Town::start(Effect::Nothing);
    let function = |body: &str| {
        format!(
            "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN {body} RETURN $1; END'"
        )
    };
    let source = format!(
        "{}; CREATE INDEX first ON one (slow(id)); CREATE INDEX second ON one (slow(id + 1))",
        function("")
    );
    town.runtime.block_on(async { connect(&town.source).await.batch_execute(&source).await.unwrap() });
    town.target(&function("PERFORM pg_sleep(0.002);"));

    // The most indexes that are built at once until the run has ended.
    let at_once = |mut run: Child| {
        let until = Instant::now() + PATIENCE;
        let mut most = 0;
        while run.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it does not end");
            let now = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'leverd builder%' \
                 AND state = 'active' AND query LIKE 'CREATE INDEX%'";
            most = most.max(town.target(now).parse::<u32>().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = run.wait().unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(town.target("SELECT count(*) FROM pg_indexes WHERE tablename = 'one'"), "3");
        most
    };
    let migration =
        "{workers: 2, write_ahead_writers: 4, ai_adjust_interval: 1s, max_target_connections: 16}";
    assert_eq!(at_once(town.begin(&["run"], LEVERS, migration)), 2);

    // No chunk ends as long as this is held.
    let lock = town.hold("LOCK TABLE leverd_migration.chunk IN SHARE MODE");
    let run = town.begin(&["run"], &format!("{LEVERS}, serves: true"), migration);
    town.wait_for("SELECT 1 FROM leverd_migration.adjustment WHERE decided_by = 'sla'");
    town.release(lock);
    assert_eq!(at_once(run), 1);
}
