//! `leverd run`: what it serves, that there is one, what it does with signals and with a configuration that changes.

use crate::support::alertmanager::PrivateAlertmanager;
use crate::support::leverd::{both, wait_for_exit};
use crate::support::postgres::{PrivatePostgres, free_port};
use crate::support::rig::{Effect, Rig, reload_lever};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_mins(1);

/// A running daemon; killed if the test fails before it stopped it.
struct Daemon<'a> {
    rig: &'a Rig,
    child: Child,
}

impl<'a> Daemon<'a> {
    fn start(rig: &'a Rig) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(rig.project.path().join("log"));
        let child = rig.project.command(&["run"]).stdout(Stdio::null()).stderr(log.unwrap()).spawn().unwrap();
        let daemon = Self { rig, child };
        daemon.wait_for("/healthz", |status, _| status == 200);
        daemon
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.rig.exporter_port)).ok()?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
    }

    fn wait_for(&self, path: &str, is_there: impl Fn(u16, &str) -> bool) -> String {
        let until = Instant::now() + MINUTE;
        loop {
            let answer = self.get(path);
            if let Some((status, text)) = &answer
                && is_there(*status, text)
            {
                return text.clone();
            }
            let status = answer.map(|(status, _)| status);
            assert!(Instant::now() < until, "{path}: {status:?}\n{}", self.rig.project.read("log"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn stop(mut self) {
        self.send(Signal::TERM);
        let status = wait_for_exit(&mut self.child, MINUTE).expect("SIGTERM ends it");
        assert!(status.success(), "{status}\n{}", self.rig.project.read("log"));
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_serves_its_metrics_and_there_is_only_one() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, 8);
    let daemon = Daemon::start(&rig);
    let metrics =
        daemon.wait_for("/metrics", |_, text| text.contains("leverd_signal_value{signal=\"wal_rate\"}"));
    assert!(metrics.contains("leverd_trials_total{verdict=\"kept\"} 0"), "{metrics}");
    daemon.wait_for("/readyz", |status, _| status == 200);

    for arguments in [&["run"][..], &["tune"], &["rollback", "--all"]] {
        let second = rig.project.leverd(arguments, MINUTE);
        // A rollback has nothing to do until something is kept, which needs no lock.
        if arguments[0] != "rollback" {
            assert_eq!(second.status.code(), Some(75), "{}", both(&second));
            assert!(both(&second).contains(&format!("pid {}", daemon.child.id())), "{}", both(&second));
        }
    }
    daemon.wait_for("/metrics", |_, text| text.contains("leverd_trials_total{verdict=\"kept\"} 1"));
    let second = rig.project.leverd(&["rollback", "--all"], MINUTE);
    assert_eq!(second.status.code(), Some(75), "{}", both(&second));
    daemon.stop();
    assert!(String::from_utf8(rig.conf()).unwrap().contains("640MB"), "a kept change stays");
}

#[test]
fn sigterm_parks_the_open_trial_and_the_next_start_goes_on_with_it() {
    let rig = Rig::start(&reload_lever(), Effect::Helps, 12);
    let daemon = Daemon::start(&rig);
    let until = Instant::now() + MINUTE;
    while rig.first_trial().is_none_or(|trial| !trial["applied_at"].is_string()) {
        assert!(Instant::now() < until, "no trial began\n{}", rig.project.read("log"));
        std::thread::sleep(Duration::from_millis(50));
    }
    daemon.stop();
    let parked = rig.first_trial().unwrap();
    assert!(parked["closed_at"].is_null(), "{parked}");
    assert!(String::from_utf8(rig.conf()).unwrap().contains("640MB"));

    let resumed = rig.tune("");
    assert!(resumed.status.success(), "{}", both(&resumed));
    assert!(both(&resumed).contains("was left in phase"), "{}", both(&resumed));
    assert_eq!(rig.trials().len(), 1, "it went on with the parked trial");
    assert_eq!(rig.first_trial().unwrap()["phase"], "kept");
}

#[test]
fn a_bad_configuration_is_told_and_the_old_one_stays() {
    let rig = Rig::start(&reload_lever(), Effect::Nothing, 8);
    let daemon = Daemon::start(&rig);
    daemon.wait_for("/readyz", |status, _| status == 200);
    let good = rig.project.read("config/leverd.yaml");
    rig.project.write("config/leverd.yaml", &format!("{good}\ntargt: oops\n"));
    daemon.wait_for("/metrics", |_, text| {
        text.lines().any(|line| {
            line.starts_with("leverd_config_reloads_total{result=\"failed\"") && !line.ends_with(" 0")
        })
    });
    assert!(rig.project.read("log").contains("targt"), "{}", rig.project.read("log"));
    rig.project.write("config/leverd.yaml", &good);
    daemon.send(Signal::HUP);
    daemon.wait_for("/metrics", |_, text| {
        text.lines().any(|line| {
            line.starts_with("leverd_config_reloads_total{result=\"ok\"") && !line.ends_with(" 0")
        })
    });
    daemon.stop();
}

/// A daemon that keeps the rig's lever, and gives back what was not needed for 15 s.
fn daemon_that_keeps_its_lever(rig: &Rig) -> Daemon<'_> {
    let config = rig.project.read("config/leverd.yaml").replace("cool_down: 1h", "cool_down: 1h, tick: 1s");
    rig.project.write("config/leverd.yaml", &format!("{config}policy: {{ give_back_after: 15s }}\n"));
    let daemon = Daemon::start(rig);
    daemon.wait_for("/metrics", |_, text| text.contains("leverd_trials_total{verdict=\"kept\"} 1"));
    daemon
}

fn wait_for_trials(rig: &Rig, count: usize) {
    let until = Instant::now() + MINUTE * 2;
    let ended = |rig: &Rig| rig.trials().iter().filter(|trial| trial["closed_at"].is_string()).count();
    while ended(rig) < count {
        assert!(Instant::now() < until, "{:?}\n{}", rig.trials(), rig.project.read("log"));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn what_is_no_longer_needed_is_given_back_and_found_again() {
    let rig = Rig::start(&reload_lever(), Effect::AsDemanded, 8);
    let before = rig.conf();
    let daemon = daemon_that_keeps_its_lever(&rig);
    rig.demand(3.0, 10.0);
    wait_for_trials(&rig, 2);
    assert!(rig.conf() == before, "postgresql.conf is not as it was, byte for byte");
    let history = rig.project.must(&["history"], MINUTE);
    assert!(history.contains("given back"), "{history}");
    let changelog = rig.project.read("CHANGELOG_TUNING.md");
    assert!(changelog.contains("* Lever: max_wal_size=512MB"), "{changelog}");
    assert!(changelog.contains("* Result: 🍃 no longer needed, given back"), "{changelog}");
    assert!(changelog.contains("every level holds without it: wal_rate is 10 B/s"), "{changelog}");

    daemon.stop();
    rig.demand(30.0, 100.0);
    // All that a trial compares with is of the new demand.
    let until = Instant::now() + MINUTE;
    while !rig
        .prometheus
        .page("/api/v1/query?query=min_over_time(rig_goal%5B26s%5D)%20%3E%2080")
        .contains("\"value\"")
    {
        assert!(Instant::now() < until, "Prometheus never saw the new demand");
        std::thread::sleep(Duration::from_millis(200));
    }
    let found_again = rig.tune("");
    assert!(found_again.status.success(), "{}", both(&found_again));
    assert!(both(&found_again).contains("It helped here before (1×)"), "{}", both(&found_again));
    assert!(String::from_utf8(rig.conf()).unwrap().contains("640MB"));
    let printed = rig.project.must(&["rollback", "--all"], MINUTE);
    assert!(printed.contains("Trial 3") && !printed.contains("Trial 2"), "{printed}");
    assert!(rig.conf() == before, "postgresql.conf is not as it was, byte for byte");
}

#[test]
fn what_is_still_needed_is_in_place_again() {
    let rig = Rig::start(&reload_lever(), Effect::AsDemanded, 8);
    let daemon = daemon_that_keeps_its_lever(&rig);
    let kept = rig.conf();
    // By its trial it would be 10 without it; it is not so.
    rig.demand(3.0, 100.0);
    wait_for_trials(&rig, 2);
    daemon.stop();
    assert!(rig.conf() == kept, "postgresql.conf is not as it was, byte for byte");
    let changelog = rig.project.read("CHANGELOG_TUNING.md");
    assert!(changelog.contains("* Result: ⚠️ in place again at once, before a verdict"), "{changelog}");
    assert!(changelog.contains("well outside of its level, past 62"), "{changelog}");
    let output = rig.project.leverd(&["status", "--json"], MINUTE);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["kept"][0]["id"], 1, "{status}");
    assert_eq!(status["quarantined"], serde_json::json!([]), "{status}");
}

const TOKEN: &str = "0123456789abcdef0123";

/// The rule, Alertmanager, its webhook, the lever, and that all of it is over: with an hour between two looks, nothing
/// but the webhook can have woken the loop.
#[test]
fn an_alert_wakes_the_loop_and_is_resolved_by_the_lever() {
    let port = free_port();
    let rules = "groups: [{name: rig, rules: [{alert: WalSpikes, expr: 'rig_goal > 50', labels: \
                 {tuning_trigger: \"true\", severity: warning}}]}]\n";
    let more =
        format!("alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]}}\n");
    let postgres = PrivatePostgres::start("max_wal_size = 512MB");
    let rig = Rig::alerting(postgres, &reload_lever(), Effect::AsDemanded, 8, rules, &more);
    rig.demand(30.0, 30.0);
    rig.project.write("leverd.token", &format!("{TOKEN}\n"));
    let token = rig.project.path().join("leverd.token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let config = rig.project.read("config/leverd.yaml").replace("cool_down: 1h", "cool_down: 1h, tick: 1h");
    rig.project.write("config/leverd.yaml", &format!("{config}api: {{ token_file: leverd.token }}\n"));
    let alertmanager = PrivateAlertmanager::start(
        port,
        &format!(
            "route: {{receiver: leverd, group_wait: 0s, group_interval: 1s}}\nreceivers:\n- name: leverd\n  \
             webhook_configs:\n  - url: http://127.0.0.1:{}/api/v1/alerts\n    http_config: \
             {{authorization: {{credentials: {TOKEN}}}}}\n",
            rig.exporter_port
        ),
    );
    let daemon = Daemon::start(&rig);
    daemon.wait_for("/readyz", |status, text| status == 200 && text.contains("every level is met"));
    assert_eq!(rig.trials().len(), 0);

    rig.demand(30.0, 100.0);
    let log = || format!("{}\n{}", rig.project.read("log"), alertmanager.log());
    let until = Instant::now() + MINUTE * 2;
    while rig.first_trial().is_none_or(|trial| trial["phase"] != "kept") {
        assert!(Instant::now() < until, "{:?}\n{}", rig.first_trial(), log());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(rig.project.read("log").contains("the alert WalSpikes fires"), "{}", log());
    // Firing, and resolved.
    let taken = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("leverd_webhooks_total{result=\"accepted\"}"));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<u32>().ok()).unwrap_or_default()
    };
    daemon.wait_for("/metrics", |_, text| taken(text) >= 2);
    daemon.stop();
    assert!(rig.project.read("CHANGELOG_TUNING.md").contains("max_wal_size"));
}
