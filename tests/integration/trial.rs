//! Whole trials on a real Postgres and a real Prometheus, by the program itself.

use crate::support::leverd::{both, wait_for_exit};
use crate::support::postgres::{PrivatePostgres, version_bin};
use crate::support::rig::{Effect, Rig, reload_lever, restart_lever};
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_mins(1);

/// Seconds, of five scrapes each.
const CYCLE: u32 = 8;

fn wait_for(what: &str, patience: Duration, mut is_there: impl FnMut() -> bool) {
    let until = Instant::now() + patience;
    while !is_there() {
        assert!(Instant::now() < until, "{what} did not come within {patience:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

async fn a_gain_is_kept_and_rolled_back_byte_for_byte(rig: Rig) {
    let before = rig.conf();
    let tuned = rig.tune("");
    assert!(tuned.status.success(), "{}", both(&tuned));
    assert_eq!(rig.shows("max_wal_size").await, "640MB");
    let changelog = rig.project.read("CHANGELOG_TUNING.md");
    assert!(
        changelog.contains("* Lever: max_wal_size=640MB") && changelog.contains("✅ improved"),
        "{changelog}"
    );
    assert!(rig.project.read("tuning.log").lines().count() >= 2);

    let printed = rig.project.must(&["rollback", "--all", "--print"], MINUTE);
    assert!(printed.contains("max_wal_size"), "{printed}");
    assert_eq!(rig.shows("max_wal_size").await, "640MB", "--print changed something");
    rig.project.must(&["rollback", "--last"], MINUTE);
    assert!(rig.conf() == before, "postgresql.conf is not as it was, byte for byte");
    assert_eq!(rig.shows("max_wal_size").await, "512MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gain_is_kept() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, CYCLE);
    a_gain_is_kept_and_rolled_back_byte_for_byte(rig).await;
}

/// The placebo, in small: `make placebo-live` takes whole load cycles of a whole sandbox.
#[test]
fn a_change_that_is_none_is_neither_kept_nor_called_harm() {
    let rig = Rig::start(&reload_lever(), Effect::Nothing, CYCLE);
    let before = rig.conf();
    let tuned = rig.tune("");
    assert_eq!(tuned.status.code(), Some(1), "{}", both(&tuned));
    let trial = rig.first_trial().unwrap();
    assert_eq!(trial["phase"], "reverted", "{trial}");
    let judgements = trial["judgements"].as_array().unwrap();
    assert!(judgements.iter().all(|judgement| judgement["ruling"] == "extend"), "{trial}");
    assert!(judgements.len() > 1, "it was not looked at again: {trial}");
    assert!(rig.conf() == before, "postgresql.conf is not as it was, byte for byte");
}

#[test]
fn a_level_that_is_broken_only_now_and_then_pulls_no_lever() {
    let rig = Rig::start(&reload_lever(), Effect::NowAndThen, 24);
    let before = rig.conf();
    // A look may fall into a quiet time; of these many one does not.
    let watched = (0..9).any(|_| {
        let output = rig.tune("");
        assert_eq!(rig.trials().len(), 0, "{}", both(&output));
        both(&output).contains("whether wal_rate stays outside of its level")
    });
    assert!(watched, "every look fell into a quiet time");
    assert!(rig.conf() == before);
}

#[test]
fn a_level_that_is_met_only_now_and_then_is_not_called_met() {
    let rig = Rig::start(&reload_lever(), Effect::MetNowAndThen, 24);
    let config = rig.project.read("config/leverd.yaml");
    rig.project.write("config/leverd.yaml", &format!("{config}policy: {{ low: shadow }}\n"));
    wait_for("a whole load cycle", MINUTE, || {
        let page = rig.prometheus.page("/api/v1/query?query=count_over_time(rig_goal%5B28s%5D)%20%3E%20130");
        page.contains("\"value\"")
    });
    // A look may fall into a broken time; of these many one does not.
    let watched = (0..9).any(|_| {
        let output = rig.tune("");
        assert!(!output.status.success(), "{}", both(&output));
        both(&output).contains("whether wal_rate stays inside of its level")
    });
    assert!(watched, "every look fell into a broken time");
}

async fn on_version(major: u32) {
    let postgres = PrivatePostgres::start_from(&version_bin(major), "max_wal_size = 512MB   # by a person");
    let rig = Rig::on(postgres, &reload_lever(), Effect::Helps, CYCLE);
    assert!(rig.shows("server_version").await.starts_with(&major.to_string()));
    a_gain_is_kept_and_rolled_back_byte_for_byte(rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_trial_on_postgresql_12() {
    on_version(12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_trial_on_postgresql_14() {
    on_version(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_trial_on_postgresql_17() {
    on_version(17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_trial_on_postgresql_18() {
    on_version(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lever_that_restarts_is_kept() {
    let rig = Rig::start(&restart_lever(), Effect::Helps, CYCLE);
    let before = rig.conf();
    let tuned = rig.tune("");
    assert!(tuned.status.success(), "{}", both(&tuned));
    assert_eq!(rig.shows("shared_buffers").await, "160MB");
    rig.project.must(&["rollback", "--all"], MINUTE);
    assert!(rig.conf() == before, "postgresql.conf is not as it was, byte for byte");
    assert_eq!(rig.shows("shared_buffers").await, "128MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn harm_is_out_again_within_a_few_scrapes() {
    let rig = Rig::start(&reload_lever(), Effect::Harms, CYCLE);
    let before = rig.conf();
    let tuned = rig.tune("");
    assert_eq!(tuned.status.code(), Some(1), "{}", both(&tuned));
    assert!(rig.conf() == before);
    let trial = rig.first_trial().unwrap();
    let ending = trial["ending"].as_str().unwrap_or_default().to_owned();
    assert!(ending.contains("p95_write_latency"), "{trial}");
    // Not at the end of the cycle, but as soon as it showed: no look was needed.
    assert_eq!(trial["judgements"].as_array().map(Vec::len), Some(0), "{trial}");
    let status = rig.project.leverd(&["status"], MINUTE);
    assert!(both(&status).contains("In quarantine until"), "{}", both(&status));
}

/// It is out as soon, and the lever is not blamed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_hypervisor_takes_is_no_harm_of_the_change() {
    let rig = Rig::start(&reload_lever(), Effect::StolenFrom, CYCLE);
    let before = rig.conf();
    let tuned = rig.tune("");
    assert_eq!(tuned.status.code(), Some(1), "{}", both(&tuned));
    assert!(rig.conf() == before);
    let trial = rig.first_trial().unwrap();
    assert_eq!(trial["verdict"], "undecided", "{trial}");
    assert_eq!(trial["judgements"].as_array().map(Vec::len), Some(0), "{trial}");
    let ending = trial["ending"].as_str().unwrap_or_default();
    assert!(
        ending.contains("the hypervisor took") && ending.contains("says nothing of the change"),
        "{ending}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_edit_in_mid_trial_freezes_the_lever_and_stays() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, CYCLE);
    let mut command = rig.project.command(&["tune", "--cycles", "1", "--no-tty"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the change", MINUTE, || String::from_utf8(rig.conf()).unwrap().contains("640MB"));
    wait_for("the trial to settle", MINUTE, || {
        rig.first_trial().is_some_and(|trial| trial["applied_at"].is_string())
    });
    let edited = String::from_utf8(rig.conf()).unwrap().replace("640MB", "700MB");
    #[expect(clippy::disallowed_methods, reason = "a person's editor")]
    fs::write(rig.postgres.conf(), &edited).unwrap();
    let status = wait_for_exit(&mut child, MINUTE).expect("leverd goes on after the edit");
    // The level is broken again with the person's value, and a scrape from before the edit does not hide that.
    assert_eq!(status.code(), Some(1));
    assert!(rig.conf() == edited.as_bytes(), "the person's value was touched");
    assert_eq!(rig.first_trial().unwrap()["phase"], "frozen");
    let status = both(&rig.project.leverd(&["status"], MINUTE));
    assert!(status.contains("Frozen: max_wal_size") && status.contains("700MB"), "{status}");
    rig.project.must(&["thaw", "max_wal_size"], MINUTE);
    let status = both(&rig.project.leverd(&["status"], MINUTE));
    assert!(!status.contains("Frozen: max_wal_size"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_by_somebody_else_in_mid_trial_ends_it() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, CYCLE);
    let before = rig.conf();
    let mut command = rig.project.command(&["tune", "--cycles", "1", "--no-tty"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the trial to settle", MINUTE, || {
        rig.first_trial().is_some_and(|trial| trial["applied_at"].is_string())
    });
    rig.postgres.pg_ctl("restart");
    wait_for_exit(&mut child, MINUTE * 2).expect("leverd ends after the restart");
    let trial = rig.first_trial().unwrap();
    assert_eq!(trial["phase"], "reverted", "{trial}");
    // On a busy machine the restart takes longer than an absence is waited for: that comes first then.
    let ending = trial["ending"].as_str().unwrap();
    assert!(ending.contains("restarted") || ending.contains("Postgres is away"), "{trial}");
    assert!(rig.conf() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_puts_an_open_trial_back() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, CYCLE);
    let before = rig.conf();
    let mut command = rig.project.command(&["tune", "--no-tty"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the change", MINUTE, || String::from_utf8(rig.conf()).unwrap().contains("640MB"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    wait_for_exit(&mut child, MINUTE).expect("leverd ends after Ctrl-C");
    assert!(rig.conf() == before);
    assert_eq!(rig.shows("max_wal_size").await, "512MB");
}
