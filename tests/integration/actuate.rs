//! The actuators on a real Postgres: written, in effect, undone to the byte; and what stands in their way.

use crate::support::change::{plan, target};
use crate::support::postgres::{PrivatePostgres, give_to_unprivileged};
use leverd::actuate::{ActuateError, Actuator};
use leverd::config::RestartMethod;
use leverd::model::{Activation, Arm, Found, Intent, OldValue, Place, Plan};
use leverd::postgres::{Connection, connect};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A server, its actuator and a folder for backups and other files.
struct Rig {
    server: PrivatePostgres,
    actuator: Actuator,
    folder: TempDir,
    identifier: u64,
}

impl Rig {
    async fn start(extra: &str) -> Self {
        let server = PrivatePostgres::start(extra);
        let restart =
            RestartMethod::PgCtl { pg_ctl: server.bin().join("pg_ctl"), data_directory: server.data() };
        let actuator = Actuator::new(&target(&server.dsn(), restart, None));
        let connection = connect(&server.dsn(), TIMEOUT).await.unwrap();
        let sql = "SELECT system_identifier FROM pg_control_system()";
        let row = connection.client().query_one(sql, &[]).await.unwrap();
        let identifier = row.get::<_, i64>(0).cast_unsigned();
        let folder = tempfile::tempdir().unwrap();
        Self { server, actuator, folder, identifier }
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backups/20240115_103000")
    }

    async fn connect(&self) -> Connection {
        connect(&self.server.dsn(), TIMEOUT).await.unwrap()
    }

    async fn show(&self, name: &str) -> String {
        let connection = self.connect().await;
        connection.client().query_one(&format!("SHOW {name}"), &[]).await.unwrap().get(0)
    }

    async fn prepare(&self, plan: &Plan) -> Result<Intent, ActuateError> {
        let connection = self.connect().await;
        self.actuator.prepare(plan, self.identifier, &self.backup(), Some(connection.client())).await
    }

    /// Writes, activates and verifies an arm, as a trial does it.
    async fn bring(&self, plan: &Plan, intent: &Intent, arm: Arm) -> Result<(), ActuateError> {
        let connection = self.connect().await;
        self.actuator.write(intent, arm, &plan.place, Some(connection.client())).await?;
        self.actuator.activate(plan.activation, Some(connection.client())).await?;
        let connection = self.connect().await;
        self.actuator.verify(plan, intent, arm, connection.client()).await
    }

    async fn look(&self, plan: &Plan, intent: &Intent) -> Found {
        self.actuator.look(intent, &plan.place, None).await.unwrap()
    }

    /// Applies a plan and undoes it; the file must be what it was to the byte.
    async fn there_and_back(&self, plan: &Plan, file: &Path) -> Intent {
        let before = fs::read(file).unwrap();
        let intent = self.prepare(plan).await.unwrap();
        assert_eq!(fs::read(file).unwrap(), before, "prepare touches nothing");
        assert_eq!(fs::read(intent.backup.as_ref().unwrap()).unwrap(), before);
        assert_eq!(self.look(plan, &intent).await, Found::Before);
        self.bring(plan, &intent, Arm::B).await.unwrap();
        assert_ne!(fs::read(file).unwrap(), before);
        assert_eq!(self.look(plan, &intent).await, Found::After);
        self.bring(plan, &intent, Arm::B).await.unwrap();
        self.bring(plan, &intent, Arm::A).await.unwrap();
        assert_eq!(fs::read(file).unwrap(), before, "undone to the byte");
        assert_eq!(self.look(plan, &intent).await, Found::Before);
        intent
    }
}

fn in_conf(rig: &Rig, parameter: &str, from: &str, to: &str) -> Plan {
    plan(Place::PostgresqlConf(rig.server.conf()), parameter, from, to, Activation::Reload)
}

#[expect(clippy::disallowed_methods, reason = "a test's own file, kept in its place so that its owner stays")]
fn overwrite(path: &Path, text: &[u8]) {
    fs::write(path, text).unwrap();
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_reload_takes_a_value_there_and_back() {
    let rig = Rig::start("work_mem = 4MB  # four").await;
    let conf = rig.server.conf();
    let owner = |metadata: fs::Metadata| (metadata.uid(), metadata.gid(), metadata.mode());
    let before = owner(fs::metadata(&conf).unwrap());
    let work_mem = in_conf(&rig, "work_mem", "4MB", "64MB");
    let intent = rig.there_and_back(&work_mem, &conf).await;
    assert_eq!(intent.new, "work_mem = 64MB  # four\n");
    let absent = in_conf(&rig, "checkpoint_timeout", "5min", "15min");
    let intent = rig.there_and_back(&absent, &conf).await;
    assert_eq!(intent.old, OldValue::Absent);
    assert_eq!(rig.show("checkpoint_timeout").await, "5min");
    assert_eq!(owner(fs::metadata(&conf).unwrap()), before, "owner and mode are kept");
    assert!(!names_in(&rig.server.data()).iter().any(|name| name.contains("leverd")));
}

#[tokio::test]
async fn several_kept_changes_undo_in_any_order() {
    let rig = Rig::start("work_mem = 4MB").await;
    let before = fs::read(rig.server.conf()).unwrap();
    let plans = [
        in_conf(&rig, "checkpoint_timeout", "5min", "15min"),
        in_conf(&rig, "work_mem", "4MB", "64MB"),
        in_conf(&rig, "max_wal_size", "1GB", "2GB"),
    ];
    let mut intents = Vec::new();
    for plan in &plans {
        let intent = rig.prepare(plan).await.unwrap();
        rig.bring(plan, &intent, Arm::B).await.unwrap();
        intents.push(intent);
    }
    for at in [1, 0, 2] {
        assert_eq!(rig.look(&plans[at], &intents[at]).await, Found::After);
        rig.bring(&plans[at], &intents[at], Arm::A).await.unwrap();
    }
    assert_eq!(fs::read(rig.server.conf()).unwrap(), before);
}

#[tokio::test]
async fn the_pasted_commands_undo_it_too() {
    let rig = Rig::start("work_mem = 4MB  # it's four").await;
    let before = fs::read(rig.server.conf()).unwrap();
    let plan = in_conf(&rig, "work_mem", "4MB", "64MB");
    let intent = rig.prepare(&plan).await.unwrap();
    rig.bring(&plan, &intent, Arm::B).await.unwrap();
    for command in rig.actuator.undo_commands(&plan, &intent) {
        let output = Command::new("sh").arg("-c").arg(&command).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(fs::read(rig.server.conf()).unwrap(), before);
    let connection = rig.connect().await;
    rig.actuator.verify(&plan, &intent, Arm::A, connection.client()).await.unwrap();
}

#[tokio::test]
async fn a_restart_takes_a_value_there_and_back() {
    let rig = Rig::start("shared_buffers = 16MB").await;
    let mut plan = in_conf(&rig, "shared_buffers", "16MB", "32MB");
    let intent = rig.prepare(&plan).await.unwrap();
    let error = rig.bring(&plan, &intent, Arm::B).await.unwrap_err();
    assert!(error.to_string().contains("waits for a restart"), "{error}");
    // Put back without a restart: nothing is pending any more.
    rig.bring(&plan, &intent, Arm::A).await.unwrap();
    plan.activation = Activation::Restart;
    rig.there_and_back(&plan, &rig.server.conf()).await;
    assert_eq!(rig.show("shared_buffers").await, "16MB");
}

#[tokio::test]
async fn the_included_file_that_takes_effect_is_edited() {
    let rig = Rig::start("work_mem = 5MB").await;
    let folder = rig.server.data().join("conf.d");
    let included = folder.join("50-tuning.conf");
    fs::create_dir(&folder).unwrap();
    overwrite(&included, b"WORK_MEM '6MB'");
    for path in [&folder, &included] {
        give_to_unprivileged(path);
    }
    let mut main = fs::read(rig.server.conf()).unwrap();
    main.extend_from_slice(b"include_dir 'conf.d'\n");
    overwrite(&rig.server.conf(), &main);
    let reload = rig.connect().await;
    rig.actuator.activate(Activation::Reload, Some(reload.client())).await.unwrap();
    let plan = in_conf(&rig, "work_mem", "6MB", "64MB");
    let intent = rig.there_and_back(&plan, &included).await;
    assert_eq!(intent.file, fs::canonicalize(&included).unwrap());
    assert_eq!(intent.new, "WORK_MEM '64MB'");
    assert_eq!(fs::read(rig.server.conf()).unwrap(), main);
}

#[tokio::test]
async fn a_link_stays_a_link() {
    let rig = Rig::start("work_mem = 4MB").await;
    let conf = rig.server.conf();
    let real = rig.server.data().parent().unwrap().join("real.conf");
    fs::rename(&conf, &real).unwrap();
    symlink(&real, &conf).unwrap();
    rig.there_and_back(&in_conf(&rig, "work_mem", "4MB", "64MB"), &real).await;
    assert_eq!(fs::read_link(&conf).unwrap(), real);
}

#[tokio::test]
async fn carriage_returns_and_three_assignments_are_kept() {
    let rig = Rig::start("work_mem = 1MB\nwork_mem = 2MB # two\nwork_mem = 3MB # three").await;
    let conf = rig.server.conf();
    let crlf = fs::read_to_string(&conf).unwrap().replace('\n', "\r\n");
    overwrite(&conf, crlf.trim_end().as_bytes());
    let reload = rig.connect().await;
    rig.actuator.activate(Activation::Reload, Some(reload.client())).await.unwrap();
    let intent = rig.there_and_back(&in_conf(&rig, "work_mem", "3MB", "64MB"), &conf).await;
    assert_eq!(intent.new, "work_mem = 64MB # three");
    let intent = rig.there_and_back(&in_conf(&rig, "jit", "on", "off"), &conf).await;
    assert_eq!(intent.new, "\r\njit = off");
}

#[tokio::test]
async fn a_persons_edit_in_the_trial_is_kept() {
    let rig = Rig::start("work_mem = 4MB").await;
    let conf = rig.server.conf();
    let plan = in_conf(&rig, "work_mem", "4MB", "64MB");
    let intent = rig.prepare(&plan).await.unwrap();
    rig.bring(&plan, &intent, Arm::B).await.unwrap();

    // Somewhere else in the file: only leverd's line goes back.
    let text = fs::read_to_string(&conf).unwrap();
    overwrite(&conf, format!("# a person was here\n{text}").as_bytes());
    assert_eq!(rig.look(&plan, &intent).await, Found::After);
    rig.bring(&plan, &intent, Arm::A).await.unwrap();
    let expected = format!("# a person was here\n{}", text.replace("\nwork_mem = 64MB", "\nwork_mem = 4MB"));
    assert_eq!(fs::read_to_string(&conf).unwrap(), expected);

    // In leverd's own line: hands off.
    rig.bring(&plan, &intent, Arm::B).await.unwrap();
    let theirs = fs::read_to_string(&conf).unwrap().replace("\nwork_mem = 64MB", "\nwork_mem = 7MB # mine");
    overwrite(&conf, theirs.as_bytes());
    let found = rig.look(&plan, &intent).await;
    assert!(matches!(&found, Found::Neither(words) if words.contains("work_mem = 7MB # mine")), "{found:?}");
    for arm in [Arm::A, Arm::B] {
        let error = rig.bring(&plan, &intent, arm).await.unwrap_err();
        assert!(matches!(error, ActuateError::Edited { .. }), "{error}");
    }
    assert_eq!(fs::read_to_string(&conf).unwrap(), theirs);
}

#[tokio::test]
async fn what_masks_a_value_is_named() {
    let rig = Rig::start("work_mem = 4MB").await;
    let connection = rig.connect().await;
    let run = async |sql: &str| connection.client().execute(sql, &[]).await.unwrap();
    let plan = in_conf(&rig, "work_mem", "4MB", "64MB");
    let intent = rig.prepare(&plan).await.unwrap();

    run("ALTER SYSTEM SET work_mem = '5MB'").await;
    let error = rig.bring(&plan, &intent, Arm::B).await.unwrap_err();
    assert!(matches!(error, ActuateError::NotInEffect { .. }), "{error}");
    run("ALTER SYSTEM SET work_mem = '64MB'").await;
    let error = rig.bring(&plan, &intent, Arm::B).await.unwrap_err();
    assert!(error.to_string().contains("postgresql.auto.conf, not from"), "{error}");
    run("ALTER SYSTEM RESET work_mem").await;
    run("ALTER ROLE postgres SET work_mem = '64MB'").await;
    let error = rig.bring(&plan, &intent, Arm::B).await.unwrap_err();
    assert!(error.to_string().ends_with("it is masked: the user sets it"), "{error}");
    run("ALTER ROLE postgres RESET work_mem").await;
    rig.bring(&plan, &intent, Arm::A).await.unwrap();

    // The command line survives leverd's restart, and masks the file.
    let options = rig.server.data().join("postmaster.opts");
    let line = fs::read_to_string(&options).unwrap();
    overwrite(&options, format!("{} \"-c\" \"work_mem=64MB\"\n", line.trim_end()).as_bytes());
    let restarted = Plan { activation: Activation::Restart, ..plan };
    let error = rig.bring(&restarted, &intent, Arm::B).await.unwrap_err();
    assert!(error.to_string().ends_with("it is masked: the command line sets it"), "{error}");
    assert_eq!(rig.show("work_mem").await, "64MB");
}

#[tokio::test]
async fn a_broken_line_is_found_before_and_after() {
    let rig = Rig::start("work_mem = 4MB").await;
    let plan = in_conf(&rig, "work_mem", "4MB", "64MB");
    let intent = rig.prepare(&plan).await.unwrap();
    let text = fs::read_to_string(rig.server.conf()).unwrap();
    overwrite(&rig.server.conf(), format!("{text}max_wal_size = = 1\n").as_bytes());
    let error = rig.bring(&plan, &intent, Arm::B).await.unwrap_err();
    assert!(matches!(error, ActuateError::NotInEffect { .. }), "{error}");
    assert!(error.to_string().contains("syntax error"), "{error}");
    rig.bring(&plan, &intent, Arm::A).await.unwrap();
    let error = rig.prepare(&plan).await.unwrap_err();
    assert!(matches!(error, ActuateError::Syntax { .. }), "{error}");
    assert!(error.to_string().contains("\"max_wal_size = = 1\""), "{error}");
}

#[tokio::test]
async fn alter_system_goes_there_and_back() {
    let rig = Rig::start("work_mem = 4MB").await;
    let plan = plan(Place::AlterSystem, "work_mem", "4MB", "64MB", Activation::Reload);
    let intent = rig.prepare(&plan).await.unwrap();
    assert_eq!(intent.old, OldValue::Absent);
    let connection = rig.connect().await;
    let preview = rig.actuator.preview(&plan, Some(connection.client())).await.unwrap();
    assert_eq!(preview, "ALTER SYSTEM SET work_mem = '64MB';  -- now: not set by ALTER SYSTEM\n");
    rig.bring(&plan, &intent, Arm::B).await.unwrap();
    assert_eq!(rig.show("work_mem").await, "64MB");
    let again = rig.prepare(&Plan { to: "128MB".into(), ..plan.clone() }).await.unwrap();
    assert_eq!(again.old, OldValue::AutoConf("64MB".into()));
    rig.bring(&Plan { to: "128MB".into(), ..plan.clone() }, &again, Arm::B).await.unwrap();
    let found = rig.actuator.look(&intent, &plan.place, Some(connection.client())).await.unwrap();
    assert!(matches!(&found, Found::Neither(words) if words.contains("128MB")), "{found:?}");
    let later = Plan { from: Some("64MB".into()), to: "128MB".into(), ..plan.clone() };
    rig.bring(&later, &again, Arm::A).await.unwrap();
    rig.bring(&plan, &intent, Arm::A).await.unwrap();
    let auto = fs::read_to_string(rig.server.data().join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("work_mem"), "{auto}");
    assert_eq!(
        rig.actuator.undo_commands(&plan, &intent)[0].split(" -c ").last().unwrap(),
        "'ALTER SYSTEM RESET work_mem'"
    );
}

#[tokio::test]
async fn a_value_that_keeps_the_server_down_is_cured_offline() {
    let rig = Rig::start("shared_buffers = 16MB").await;
    let auto = rig.server.data().join("postgresql.auto.conf");
    let before = fs::read(&auto).unwrap();
    for place in [Place::AlterSystem, Place::PostgresqlConf(rig.server.conf())] {
        let plan = plan(place, "shared_buffers", "16MB", "900GB", Activation::Restart);
        let intent = rig.prepare(&plan).await.unwrap();
        let error = rig.bring(&plan, &intent, Arm::B).await.unwrap_err();
        assert!(matches!(error, ActuateError::NotBack { .. }), "{error}");
        assert!(error.to_string().contains("shared memory"), "the server's own words are shown: {error}");
        assert!(rig.actuator.start().await.is_err());

        assert_eq!(rig.look(&plan, &intent).await, Found::After);
        rig.actuator.write(&intent, Arm::A, &plan.place, None).await.unwrap();
        rig.actuator.start().await.unwrap();
        rig.actuator.start().await.unwrap();
        let connection = rig.connect().await;
        rig.actuator.verify(&plan, &intent, Arm::A, connection.client()).await.unwrap();
        assert_eq!(fs::read(&auto).unwrap(), before);
    }
}

#[tokio::test]
async fn a_restart_that_did_not_happen_is_noticed() {
    let rig = Rig::start("").await;
    let with = |method| Actuator::new(&target(&rig.server.dsn(), method, None));
    let connection = rig.connect().await;
    let restart = async |method| {
        with(method).activate(Activation::Restart, Some(connection.client())).await.unwrap_err()
    };
    let error = restart(RestartMethod::Command("true".into())).await;
    assert!(matches!(error, ActuateError::NotRestarted { .. }), "{error}");
    let error = restart(RestartMethod::Command("echo no such unit; exit 5".into())).await;
    assert_eq!(error.to_string(), "`echo no such unit; exit 5` failed (exit status: 5):\nno such unit");
    let error = restart(RestartMethod::Never).await;
    assert!(matches!(error, ActuateError::RestartForbidden), "{error}");
}

#[tokio::test]
async fn another_server_is_left_alone() {
    let rig = Rig::start("work_mem = 4MB").await;
    for place in [Place::AlterSystem, Place::PostgresqlConf(rig.server.conf())] {
        let plan = plan(place, "work_mem", "4MB", "64MB", Activation::Reload);
        let mut intent = rig.prepare(&plan).await.unwrap();
        intent.system_identifier += 1;
        let error = rig.bring(&plan, &intent, Arm::B).await.unwrap_err();
        assert!(matches!(error, ActuateError::WrongServer { .. }), "{error}");
    }
    assert_eq!(rig.show("work_mem").await, "4MB");
    let plan = in_conf(&rig, "work_mem", "4MB", "64MB");
    let other = rig.identifier + 1;
    let error = rig.actuator.prepare(&plan, other, &rig.backup(), None).await.unwrap_err();
    assert!(matches!(error, ActuateError::WrongServer { .. }), "{error}");
}

#[tokio::test]
async fn a_crashed_server_is_restarted_and_one_that_shuts_leverd_out_is_not() {
    let rig = Rig::start("shared_buffers = 16MB").await;
    let pid_file = rig.server.data().join("postmaster.pid");
    let pid = || fs::read_to_string(&pid_file).unwrap().lines().next().unwrap().parse::<i32>().unwrap();

    let first = pid();
    let refusing = rig.server.dsn().replace("user=postgres", "user=nosuchrole");
    let restart =
        RestartMethod::PgCtl { pg_ctl: rig.server.bin().join("pg_ctl"), data_directory: rig.server.data() };
    let mut shut_out = target(&refusing, restart, None);
    shut_out.restart.timeout = Duration::from_millis(300);
    let error = Actuator::new(&shut_out).start().await.unwrap_err();
    assert!(matches!(error, ActuateError::NotBack { .. }), "{error}");
    assert_eq!(pid(), first, "it runs as before");

    let process = rustix::process::Pid::from_raw(first).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    rig.actuator.activate(Activation::Restart, None).await.unwrap();
    assert_ne!(pid(), first);
    assert_eq!(rig.show("shared_buffers").await, "16MB");
}

/// What a killed run leaves: run as a process of its own by the test below.
#[tokio::test]
#[ignore = "dies at a fault point; a_killed_run_leaves_the_old_file_or_the_new_one runs it"]
async fn dies_while_it_writes() {
    let _scenario = fail::FailScenario::setup();
    let file = PathBuf::from(std::env::var_os("LEVERD_TEST_FILE").expect("the test that runs this sets it"));
    let actuator = Actuator::new(&target("host=127.0.0.1", RestartMethod::Never, None));
    let plan = env_plan(&file, "50");
    let backup = file.parent().unwrap().join("backups/x");
    let intent = actuator.prepare(&plan, 0, &backup, None).await.unwrap();
    actuator.write(&intent, Arm::B, &plan.place, None).await.unwrap();
}

#[tokio::test]
async fn a_killed_run_leaves_the_old_file_or_the_new_one() {
    let points = [
        ("actuate::temp_written", Found::Before),
        ("actuate::temp_synced", Found::Before),
        ("actuate::renamed", Found::After),
        ("actuate::written", Found::After),
    ];
    for (point, expected) in points {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        overwrite(&file, b"BATCH_SIZE=1 # one\n");
        let actuator = Actuator::new(&target("host=127.0.0.1", RestartMethod::Never, None));
        let plan = env_plan(&file, "50");
        let intent = actuator.prepare(&plan, 0, &folder.path().join("backups/y"), None).await.unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "actuate::dies_while_it_writes", "--ignored"])
            .env("LEVERD_TEST_FILE", &file)
            .env("FAILPOINTS", format!("{point}=return"))
            .output()
            .unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(signal, Some(6), "{point}: {}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(actuator.look(&intent, &plan.place, None).await.unwrap(), expected, "{point}");
        assert_eq!(names_in(folder.path()), [".env", "backups"], "{point}: nothing is left behind");
        actuator.write(&intent, Arm::A, &plan.place, None).await.unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"BATCH_SIZE=1 # one\n");
    }
}

#[tokio::test]
async fn the_diff_shows_just_the_line() {
    let rig = Rig::start("work_mem = 4MB # four").await;
    let plan = in_conf(&rig, "work_mem", "4MB", "64MB");
    let diff = rig.actuator.preview(&plan, None).await.unwrap();
    let changed: Vec<_> = diff.lines().filter(|line| line.starts_with(['-', '+'])).skip(2).collect();
    assert_eq!(changed, ["-work_mem = 4MB # four", "+work_mem = 64MB # four"]);
    let same = rig.actuator.preview(&Plan { to: "'4MB'".into(), ..plan }, None).await.unwrap_err();
    assert!(matches!(same, ActuateError::Unchanged { .. }), "{same}");
}

/// A rig for `.env` needs no server.
fn env_plan(file: &Path, to: &str) -> Plan {
    plan(Place::EnvFile(file.to_owned()), "BATCH_SIZE", "1", to, Activation::AppReload)
}

#[tokio::test]
async fn an_env_file_goes_there_and_back_and_its_app_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, told) = (folder.path().join(".env"), folder.path().join("told"));
    let text = b"export BATCH_SIZE='1' # one\r\nOTHER=\"x\r\ny\"";
    overwrite(&file, text);
    let reload = format!("grep -c \"BATCH_SIZE='50'\" {} > {}", file.display(), told.display());
    let actuator = Actuator::new(&target("host=127.0.0.1", RestartMethod::Never, Some(&reload)));
    let plan = env_plan(&file, "50");
    let intent = actuator.prepare(&plan, 0, &folder.path().join("backups/x"), None).await.unwrap();
    actuator.write(&intent, Arm::B, &plan.place, None).await.unwrap();
    actuator.activate(Activation::AppReload, None).await.unwrap();
    assert_eq!(fs::read_to_string(&told).unwrap(), "1\n");
    assert_eq!(actuator.look(&intent, &plan.place, None).await.unwrap(), Found::After);
    actuator.write(&intent, Arm::A, &plan.place, None).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), text);
    let backup = fs::metadata(intent.backup.unwrap()).unwrap();
    assert_eq!(backup.mode() & 0o077, 0, "an .env may hold secrets");
}

/// A small file system of its own, where this is root and may mount one.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let done = mount(&["-t", "tmpfs", "-o", &options, "leverd-test"], folder.path());
        if !done {
            eprintln!("skipped: no file system may be mounted here");
        }
        done.then(|| Self(folder))
    }

    fn remount_read_only(&self) -> bool {
        mount(&["-o", "remount,ro"], self.0.path())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    rustix::process::geteuid().is_root()
        && Command::new("mount").args(options).arg(at).output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_full_disk_leaves_the_old_file_whole() {
    let Some(disk) = Tmpfs::mount("64k") else { return };
    let file = disk.0.path().join(".env");
    let text = format!("BATCH_SIZE=1\n# {}\n", "x".repeat(40_000));
    overwrite(&file, text.as_bytes());
    let elsewhere = tempfile::tempdir().unwrap();
    let actuator = Actuator::new(&target("host=127.0.0.1", RestartMethod::Never, None));
    let plan = env_plan(&file, "50");

    let backup = disk.0.path().join("backups/x");
    let error = actuator.prepare(&plan, 0, &backup, None).await.unwrap_err();
    assert!(error.hint().unwrap().contains("disk is full"), "{error}");
    assert!(!backup.exists(), "half a backup is none");
    fs::remove_dir(disk.0.path().join("backups")).unwrap();

    let intent = actuator.prepare(&plan, 0, &elsewhere.path().join("x"), None).await.unwrap();
    let error = actuator.write(&intent, Arm::B, &plan.place, None).await.unwrap_err();
    assert!(error.hint().unwrap().contains("disk is full"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(names_in(disk.0.path()), [".env"]);
}

#[tokio::test]
async fn a_read_only_file_system_is_refused_before_anything_is_made() {
    let Some(disk) = Tmpfs::mount("1m") else { return };
    let file = disk.0.path().join(".env");
    overwrite(&file, b"BATCH_SIZE=1\n");
    assert!(disk.remount_read_only());
    let elsewhere = tempfile::tempdir().unwrap();
    let actuator = Actuator::new(&target("host=127.0.0.1", RestartMethod::Never, None));
    let error =
        actuator.prepare(&env_plan(&file, "50"), 0, &elsewhere.path().join("x"), None).await.unwrap_err();
    assert_eq!(error.hint(), Some("the file system is mounted read-only"), "{error}");
    assert_eq!(names_in(elsewhere.path()), Vec::<String>::new());
}

#[tokio::test]
async fn unreadable_read_only_and_missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    let actuator = Actuator::new(&target("host=127.0.0.1", RestartMethod::Never, None));
    let plan = env_plan(&file, "50");
    let prepare =
        async || actuator.prepare(&plan, 0, &folder.path().join("backups/x"), None).await.unwrap_err();
    let missing = prepare().await.to_string();
    assert!(missing.contains(".env: No such file"), "{missing}");
    overwrite(&file, b"BATCH_SIZE=1\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let read_only = prepare().await;
    assert!(matches!(read_only, ActuateError::NotWritable { .. }), "{read_only}");
    assert!(read_only.hint().is_some());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let unreadable = prepare().await;
    // Root reads it all the same; then the mode without any `w` says no.
    let named = unreadable.to_string().contains(&file.display().to_string());
    assert!(named && unreadable.hint().is_some(), "{unreadable}");
    assert_eq!(names_in(folder.path()), [".env"]);
}
