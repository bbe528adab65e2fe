//! The pooler's lever on a real PgBouncer before a real Postgres: written, reloaded, in force by its own word, undone.

use crate::support::change::{plan, target};
use crate::support::postgres::{PrivatePostgres, free_port, give_to_unprivileged, unprivileged};
use leverd::actuate::{ActuateError, Actuator};
use leverd::config::{PgBouncerConfig, RestartMethod, Secret, Target};
use leverd::decide::guardrails;
use leverd::model::{Activation, Arm, Found, Place};
use leverd::postgres::{connect, pgbouncer, server};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(20);

struct PrivatePgBouncer {
    folder: TempDir,
    child: Child,
    port: u16,
}

impl PrivatePgBouncer {
    async fn start(postgres: &PrivatePostgres) -> Self {
        let folder = tempfile::Builder::new().prefix("leverd-test-").tempdir().unwrap();
        let port = free_port();
        let text = format!(
            "[databases]\npostgres = host=127.0.0.1 port={} dbname=postgres\n\
             small = host=127.0.0.1 port={} dbname=postgres pool_mode=transaction\n\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             admin_users = pgbouncer\n; as it came\ndefault_pool_size = 20\nlogfile = {}\n",
            postgres.port,
            postgres.port,
            folder.path().join("log").display()
        );
        let ini = folder.path().join("pgbouncer.ini");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(&ini, text).unwrap();
        give_to_unprivileged(folder.path());
        give_to_unprivileged(&ini);
        let mut command = Command::new("pgbouncer");
        command.arg("--quiet").arg(&ini).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = unprivileged() {
            command.uid(uid).gid(gid);
        }
        let child = command.spawn().expect("pgbouncer is needed: scripts/setup.sh installs it");
        let pooler = Self { folder, child, port };
        let until = Instant::now() + TIMEOUT;
        while let Err(error) = pgbouncer::state(&pooler.console()).await {
            assert!(Instant::now() < until, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        pooler
    }

    fn ini(&self) -> PathBuf {
        self.folder.path().join("pgbouncer.ini")
    }

    fn console(&self) -> String {
        format!("host=127.0.0.1 port={} user=pgbouncer dbname=pgbouncer sslmode=disable", self.port)
    }
}

impl Drop for PrivatePgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_setting_of_the_pooler_is_moved_and_undone() {
    let postgres = PrivatePostgres::start("max_connections = 60");
    let pooler = PrivatePgBouncer::start(&postgres).await;
    let connection = connect(&postgres.dsn(), TIMEOUT).await.unwrap();
    let actuator = Actuator::new(&Target {
        pgbouncer: Some(PgBouncerConfig {
            config_file: pooler.ini(),
            admin_dsn: Secret::new(pooler.console()),
        }),
        ..target(&postgres.dsn(), RestartMethod::Never, None)
    });
    let before = fs::read(pooler.ini()).unwrap();
    let backups = tempfile::tempdir().unwrap();
    for (parameter, from, to) in [("default_pool_size", "20", "40"), ("pool_mode", "session", "transaction")]
    {
        let place = Place::PgBouncer(pooler.ini());
        let plan = plan(place, parameter, from, to, Activation::PoolerReload);
        let folder = backups.path().join(parameter);
        let intent = actuator.prepare(&plan, 0, &folder, Some(connection.client())).await.unwrap();
        let in_force = async || pgbouncer::setting(&pooler.console(), parameter).await.unwrap().unwrap();
        assert_eq!(in_force().await, from);
        for (arm, value, found) in [(Arm::B, to, Found::After), (Arm::A, from, Found::Before)] {
            actuator.write(&intent, arm, &plan.place, None).await.unwrap();
            let early = actuator.verify(&plan, &intent, arm, connection.client()).await.unwrap_err();
            assert!(matches!(early, ActuateError::NotInEffect { .. }), "before RELOAD: {early}");
            actuator.activate(plan.activation, None).await.unwrap();
            actuator.verify(&plan, &intent, arm, connection.client()).await.unwrap();
            assert_eq!(in_force().await, value);
            assert_eq!(actuator.look(&intent, &plan.place, None).await.unwrap(), found);
        }
        assert_eq!(fs::read(pooler.ini()).unwrap(), before, "undone to the byte");
        let undo = actuator.undo_commands(&plan, &intent).join("\n");
        assert!(undo.contains("-c RELOAD") && undo.contains(&format!("-p {}", pooler.port)), "{undo}");
    }
}

#[tokio::test]
async fn what_the_pooler_says_of_itself_guards_the_lever() {
    let postgres = PrivatePostgres::start("max_connections = 60");
    let pooler = PrivatePgBouncer::start(&postgres).await;
    let connection = connect(&postgres.dsn(), TIMEOUT).await.unwrap();
    let server = server::state(connection.client()).await.unwrap().state;
    let state = pgbouncer::state(&pooler.console()).await.unwrap();
    assert_eq!(state.config["default_pool_size"], "20");
    assert_eq!((state.waiting_clients, state.longest_wait_seconds), (0.0, 0.0));
    let check = |parameter: &str, to: &str| guardrails::check_pooler(parameter, to, &state, &server);
    assert_eq!(check("default_pool_size", "40"), Ok(()));
    let much = check("default_pool_size", "50").unwrap_err();
    assert!(much.contains("more than 80 % of the 60 connections"), "{much}");
    let masked = check("pool_mode", "statement").unwrap_err();
    assert!(masked.contains("the database small"), "{masked}");
    assert!(check("no_such_setting", "1").unwrap_err().contains("has no setting"));

    let console = pooler.console();
    drop(pooler);
    let error = pgbouncer::state(&console).await.unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
}
