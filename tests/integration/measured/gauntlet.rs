//! `leverd gauntlet` end to end: a real sandbox for each run, real changes by a strategy, and nothing left behind.

use crate::support::leverd::{Project, both, finish, wait_for_exit};
use crate::support::turn::turn;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(300);

/// The healthy scenario, small, with times as short as a baseline allows; and the same with a level that nothing reaches.
fn project() -> Project {
    let project = Project::new();
    let quick = include_str!("../../../config/scenarios/healthy.yaml")
        .replace("name: healthy", "name: quick")
        .replace("rows: 100000", "rows: 10000")
        .replace("working_set_rows: 100000", "working_set_rows: 10000")
        .replace("events_per_sec: 500", "events_per_sec: 100")
        .replace("load_cycle: 60s", "load_cycle: 15s")
        .replace("warm_up: 20s", "warm_up: 5s")
        .replace("window: 20s", "window: 5s")
        // So short a baseline may lie between two checkpoints, and other tests run beside this one.
        .replace("<= 2x baseline", "<= 100x baseline")
        .replace("io_wait: \"< 50\"", "io_wait: \"< 100\"")
        .replace("p95_write_latency: \"<= 500\"", "p95_write_latency: \"<= 60000\"");
    project.write("scenarios/quick.yaml", &quick);
    let never = quick
        .replace("name: quick", "name: never")
        .replace("p95_write_latency: \"<= 60000\"", "p95_write_latency: \"<= 0.001\"")
        .replace("ends: compliant", "ends: out_of_reach");
    assert!(
        never.contains("<= 0.001") && never.contains("ends: out_of_reach"),
        "healthy.yaml is not as it was"
    );
    project.write("scenarios/never.yaml", &never);
    project
}

/// A run's measurements.
fn measured<'a>(record: &'a Value, strategy: &str) -> &'a Value {
    let mut runs = record["runs"].as_array().unwrap().iter();
    let run = runs.find(|run| run["key"]["strategy"] == strategy).unwrap();
    assert!(run["took_s"].as_f64().unwrap() > 0.0);
    let measured = &run["outcome"]["measured"];
    assert!(measured.is_object(), "{run:#}");
    // The judge has seen the signals, and over at least its own window.
    assert!(
        measured["after"]["seen"].as_array().unwrap().iter().any(|seen| seen["value"].is_f64()),
        "{run:#}"
    );
    assert!(measured["exposure"]["seconds"].as_f64().unwrap() >= 5.0, "{run:#}");
    measured
}

/// What is different at the end, by name.
fn changed(measured: &Value) -> BTreeMap<&str, &str> {
    let changes = measured["changed"].as_array().unwrap().iter();
    changes
        .map(|change| (change["name"].as_str().unwrap(), change["to"].as_str().unwrap_or("absent")))
        .collect()
}

fn gauntlet(project: &Project, arguments: &[&str]) -> Command {
    project.command(&[&["gauntlet", "--scenarios", "scenarios", "--no-tty"], arguments].concat())
}

/// The folders of sandboxes that are still there.
fn sandboxes(project: &Project) -> Vec<PathBuf> {
    let folders = |of: PathBuf| -> Vec<PathBuf> {
        fs::read_dir(of).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    let runs = folders(project.path().join(".leverd/gauntlet/folders")).into_iter().flat_map(folders);
    runs.map(|run| run.join(".leverd/sandbox"))
        .filter(|sandbox| sandbox.is_symlink() || sandbox.exists())
        .collect()
}

#[test]
fn runs_are_measured_recorded_and_not_made_again() {
    let _turn = turn();
    let project = project();
    let all = ["--only", "quick", "--strategies", "playbook,pgtune", "--json", "record.json"];
    let output = finish(gauntlet(&project, &all), PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("quick") && table.contains("playbook") && table.contains("pgtune"), "{table}");

    let text = project.read("record.json");
    let record: Value = serde_json::from_str(&text).unwrap();
    // Nothing is wrong: the playbook has nothing to do, and pgtune changes all the same.
    let playbook = measured(&record, "playbook");
    assert_eq!((&playbook["solved"], &playbook["cycles"]), (&true.into(), &0.into()), "{playbook:#}");
    assert_eq!(changed(playbook), BTreeMap::new());
    let pgtune = measured(&record, "pgtune");
    assert_eq!((&pgtune["solved"], &pgtune["cycles"]), (&false.into(), &1.into()), "{pgtune:#}");
    // One that reloads, and one that needed the restart.
    let changed = changed(pgtune);
    assert_eq!(changed.get("jit"), Some(&"off"), "{pgtune:#}");
    assert!(changed.get("shared_buffers").is_some_and(|value| !value.contains("restart")), "{pgtune:#}");
    assert!(
        pgtune["wrong_kept"].as_array().unwrap().iter().any(|lever| lever == "shared_buffers"),
        "{pgtune:#}"
    );
    assert!(project.read("record.svg").starts_with("<svg "));
    assert_eq!(sandboxes(&project), Vec::<PathBuf>::new());

    let output = finish(gauntlet(&project, &all), PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert!(both(&output).contains("2 runs are in the record already"), "{}", both(&output));
    assert_eq!(project.read("record.json"), text, "they were made again");
}

#[test]
fn what_is_put_back_is_as_it_was_and_what_is_kept_stands() {
    let _turn = turn();
    let project = project();
    let all = ["--only", "never", "--strategies", "playbook", "--cycles", "2", "--json"];
    let output = finish(gauntlet(&project, &all), PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let playbook = measured(&shown, "playbook");
    let pulled = playbook["pulled"].as_array().unwrap();
    // A setting, then a key of the .env: the first two of the symptom's mapping.
    let levers: Vec<&str> = pulled.iter().map(|pull| pull["lever"].as_str().unwrap()).collect();
    assert_eq!(levers, ["checkpoint_completion_target", "batch_size"], "{playbook:#}");
    let changed = changed(playbook);
    for (pull, name) in pulled.iter().zip(["checkpoint_completion_target", "BATCH_SIZE"]) {
        let value = pull["value"].as_str().unwrap();
        match pull["became"].as_str().unwrap() {
            "kept" => assert_eq!(changed.get(name), Some(&value), "{playbook:#}"),
            "put back" => assert_eq!(changed.get(name), None, "{playbook:#}"),
            other => panic!("{name}: {other}"),
        }
    }
    assert_eq!(playbook["solved"], changed.is_empty(), "{playbook:#}");
    let exposure = &playbook["exposure"];
    assert!(
        exposure["outside_s"].as_f64().unwrap() > 0.9 * exposure["seconds"].as_f64().unwrap(),
        "{exposure}"
    );
}

#[test]
fn stopped_it_leaves_no_sandbox_and_no_run() {
    let _turn = turn();
    let project = project();
    let mut child = gauntlet(&project, &["--only", "quick", "--strategies", "playbook"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    let state = project.path().join(".leverd/gauntlet/folders/quick/playbook-1/.leverd/sandbox/state.json");
    while !state.exists() {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "no sandbox came up");
        std::thread::sleep(Duration::from_millis(50));
    }
    let int = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(int.success());
    let status = wait_for_exit(&mut child, PATIENCE).unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(sandboxes(&project), Vec::<PathBuf>::new());
    assert!(!project.path().join(".leverd/gauntlet/runs.json").exists(), "a run that was stopped is none");
}

#[test]
fn a_run_that_fails_is_recorded_with_its_reason_and_stops_no_other() {
    let project = project();
    let quick = project.read("scenarios/quick.yaml");
    for name in ["bad", "worse"] {
        let text = quick.replace("name: quick", &format!("name: {name}"));
        project.write(&format!("scenarios/{name}.yaml"), &text.replace("work_mem: 16MB", "work_mem: lots"));
    }
    let all = ["--only", "bad,worse", "--strategies", "playbook", "--json"];
    for _ in 0..2 {
        let output = finish(gauntlet(&project, &all), PATIENCE);
        assert_eq!(output.status.code(), Some(1), "{}", both(&output));
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        let runs = shown["runs"].as_array().unwrap();
        let failed: Vec<&str> = runs
            .iter()
            .map(|run| run["outcome"]["failed"].as_str().unwrap_or_else(|| panic!("{run:#}")))
            .collect();
        assert_eq!(failed.len(), 2);
        assert!(failed.iter().all(|why| why.contains("work_mem")), "{failed:#?}");
        // The second time too: what failed is made again.
        assert!(both(&output).contains("run 2 of 2: worse, playbook, 1"), "{}", both(&output));
    }
    assert_eq!(sandboxes(&project), Vec::<PathBuf>::new());
}

#[test]
fn without_python_optuna_is_skipped_with_a_word() {
    let project = project();
    let mut command = gauntlet(&project, &["--only", "quick", "--strategies", "optuna"]);
    command.env("PATH", project.path());
    let output = finish(command, PATIENCE);
    assert_eq!(output.status.code(), Some(75), "{}", both(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("optuna was skipped: making a Python of its own: "), "{table}");
    assert!(!project.path().join(".leverd/gauntlet/folders").exists(), "something was started");
}

#[test]
fn wrong_arguments_are_told_before_anything_starts() {
    let project = project();
    let code = |arguments: &[&str]| {
        let output = finish(gauntlet(&project, arguments), PATIENCE);
        (output.status.code(), both(&output))
    };
    let (status, words) = code(&["--only", "storm"]);
    assert!(status == Some(64) && words.contains("--only: found `storm`; allowed: never, quick"), "{words}");
    let (_, words) = code(&["--strategies", "pg"]);
    assert!(words.contains("found `pg`; allowed: leverd, playbook, pgtune, random, optuna"), "{words}");
    project.write("record.json", "[]");
    let (status, words) = code(&["--json", "record.json"]);
    assert!(status == Some(64) && words.contains("is no record of a gauntlet"), "{words}");
    assert!(!project.path().join(".leverd/gauntlet/folders").exists(), "something was started");
}
