//! What the commands say of a target that cannot be tuned: down, refusing, a standby, another one than before.

use crate::support::leverd::both;
use crate::support::postgres::PrivatePostgres;
use crate::support::rig::{Effect, Rig, reload_lever};
use std::process::Output;
use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);

fn plan(rig: &Rig) -> Output {
    rig.project.leverd(&["plan"], MINUTE)
}

fn with_dsn(rig: &Rig, change: impl Fn(&str) -> String) {
    let text = rig.project.read("config/leverd.yaml");
    let line = text.lines().find(|line| line.trim_start().starts_with("dsn:")).unwrap();
    rig.project.write("config/leverd.yaml", &text.replace(line, &change(line)));
}

#[test]
fn a_target_that_is_down_is_not_decided_about() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, 4);
    let before = rig.conf();
    rig.postgres.pg_ctl("stop");
    let planned = plan(&rig);
    assert_eq!(planned.status.code(), Some(75), "{}", both(&planned));
    assert!(both(&planned).contains("does not answer"), "{}", both(&planned));
    assert!(rig.conf() == before);
}

#[test]
fn a_wrong_password_is_told_without_the_password() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, 4);
    with_dsn(&rig, |line| line.replace("user=postgres", "user=nosuchrole password=hunter2"));
    let planned = plan(&rig);
    assert_eq!(planned.status.code(), Some(75), "{}", both(&planned));
    let said = both(&planned);
    assert!(said.contains("refuses") && said.contains("nosuchrole") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_standby_is_left_alone() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, 4);
    rig.postgres.pg_ctl("stop");
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(rig.postgres.data().join("standby.signal"), "").unwrap();
    rig.postgres.pg_ctl("start");
    let planned = plan(&rig);
    assert!(both(&planned).contains("the server is a standby"), "{}", both(&planned));
}

#[test]
fn a_read_only_database_can_still_be_tuned_through_its_file() {
    let postgres =
        PrivatePostgres::start("max_wal_size = 512MB   # by a person\ndefault_transaction_read_only = on");
    let rig = Rig::on(postgres, &reload_lever(), Effect::Helps, 8);
    let tuned = rig.tune("");
    assert!(tuned.status.success(), "{}", both(&tuned));
}

#[test]
fn another_cluster_under_the_same_name_is_not_touched() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, 8);
    assert!(rig.tune("").status.success());
    let other = PrivatePostgres::start("max_wal_size = 512MB");
    let (ours, theirs) = (format!("port={}", rig.postgres.port), format!("port={}", other.port));
    with_dsn(&rig, |line| line.replace(&ours, &theirs));
    let text = rig.project.read("config/leverd.yaml");
    let (conf, other_conf) = (rig.postgres.conf().display().to_string(), other.conf().display().to_string());
    // The application still answers to the first server's file, so its level must be broken again.
    rig.project.write("config/leverd.yaml", &text.replace(&conf, &other_conf).replace("<= 50", "<= 5"));
    let before = std::fs::read(other.conf()).unwrap();
    let tuned = rig.tune("");
    assert_eq!(tuned.status.code(), Some(1), "{}", both(&tuned));
    assert!(std::fs::read(other.conf()).unwrap() == before, "the other server's file was touched");
}

#[test]
fn a_value_that_alter_system_masks_is_refused_with_the_cure() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, 4);
    let auto = rig.postgres.data().join("postgresql.auto.conf");
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(auto, "max_wal_size = '500MB'\n").unwrap();
    rig.postgres.pg_ctl("restart");
    let planned = both(&plan(&rig));
    assert!(planned.contains("ALTER SYSTEM RESET max_wal_size"), "{planned}");
}
