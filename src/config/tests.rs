//! Whole configurations: the shipped ones, the playbook's words, a user's own, and every kind of wrong one.

use super::*;
use crate::model::LeverName;
use crate::model::{Bound, CostTier, Environment, Place};
use std::time::Duration;
use tempfile::TempDir;

const TARGET: &str = "target: {dsn: 'postgresql://leverd@localhost/capsim'}\n";
const LEVERS: &str = r#"
levers:
  low_cost:
    - name: "checkpoint_timeout"
      description: "Time between checkpoints"
      target_symptom: "high_wal_rate"
      config_file: "monitoring/postgresql.conf"
      parameter: "checkpoint_timeout"
      default_value: "5min"
      recommended_values: ["10min", "15min"]
"#;

/// A project folder with its two files, as a user has it.
struct Project(TempDir);

impl Project {
    fn new(leverd: &str, levers: &str) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(project.path("config")).unwrap();
        project.write("config/leverd.yaml", leverd);
        project.write("config/levers.yaml", levers);
        project
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(file)
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        load(&self.path("config/leverd.yaml"), &|name| match name {
            "PGPASSWORD" => Some("hunter2".to_owned()),
            _ => None,
        })
    }

    /// The errors as people see them from the project's folder.
    fn errors(&self) -> String {
        let root = format!("{}/", self.path("").display().to_string().trim_end_matches('/'));
        match self.load() {
            Ok(_) => "no error".to_owned(),
            Err(errors) => errors.to_string().replace(&root, ""),
        }
    }
}

/// Errors of a `leverd.yaml` beside good levers.
fn leverd_errors(text: &str) -> String {
    Project::new(&format!("{TARGET}{text}"), LEVERS).errors()
}

/// Errors of a `levers.yaml` beside a good `leverd.yaml`.
fn levers_errors(text: &str) -> String {
    Project::new(TARGET, text).errors()
}

fn shipped(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file)).unwrap()
}

#[test]
fn the_shipped_levers_are_the_playbooks_ten_and_those_of_a_dba() {
    let config = Project::new(TARGET, &shipped("levers.yaml")).load().unwrap();
    let of = |tier| -> Vec<_> {
        config.levers.iter().filter(|lever| lever.tier == tier).map(|lever| lever.name.as_str()).collect()
    };
    assert_eq!(
        of(CostTier::Low)[..4],
        ["checkpoint_timeout", "checkpoint_completion_target", "wal_buffers", "batch_size"]
    );
    assert_eq!(of(CostTier::Medium)[..3], ["shared_buffers", "work_mem", "effective_cache_size"]);
    assert_eq!(of(CostTier::High), ["docker_memory_limit", "docker_cpu_limit", "connection_pooling"]);
    let wal = &config.symptom_mappings[&Symptom::new("high_wal_rate")];
    let first: Vec<_> = wal.iter().take(3).map(LeverName::as_str).collect();
    assert_eq!(first, ["checkpoint_timeout", "batch_size", "wal_buffers"]);
    for name in ["docker_memory_limit", "docker_cpu_limit", "connection_pooling"] {
        let lever = config.levers.iter().find(|lever| lever.name.as_str() == name).unwrap();
        let Place::Unavailable(why) = &lever.place else { panic!("{name} is available") };
        assert!(
            why.starts_with("no container is named") || why.starts_with("no PgBouncer is named"),
            "{why}"
        );
    }
    assert_eq!(config.warnings(), Vec::<String>::new());
}

/// The shipped `leverd.yaml` says nothing; with every comment taken off it says the defaults.
#[test]
fn the_shipped_leverd_yaml_shows_the_defaults() {
    let project = Project::new(&shipped("leverd.yaml"), LEVERS);
    assert!(find(None, &project.path("")).is_err());
    let defaults = Project::new(TARGET, LEVERS).load().unwrap();

    let is_code = |line: &&str| line.starts_with('#') && (line.starts_with("#  ") || !line.starts_with("# "));
    let uncommented: Vec<_> =
        shipped("leverd.yaml").lines().filter(is_code).map(|line| line[1..].to_owned()).collect();
    project.write("config/leverd.yaml", &uncommented.join("\n"));
    for secret in ["prometheus.password", "leverd.token", "slack.webhook", "grafana.token"] {
        project.write(secret, "https://example.com/0123456789abcdef\n");
    }
    let token = project.path("leverd.token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let shown = project.load().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(find(None, &project.path("")).unwrap(), project.path("config/leverd.yaml"));

    assert_eq!(shown.environment, defaults.environment);
    assert_eq!(shown.cycle, defaults.cycle);
    assert_eq!(shown.policy, defaults.policy);
    assert_eq!(shown.abort, defaults.abort);
    assert_eq!(shown.sla, defaults.sla);
    assert_eq!(shown.log_rotation, defaults.log_rotation);
    assert_eq!(shown.prometheus.url, defaults.prometheus.url);
    assert_eq!(shown.prometheus.timeout, defaults.prometheus.timeout);
    assert_eq!(format!("{:?}", shown.exporter), format!("{:?}", defaults.exporter));
    assert_eq!(shown.target.name, defaults.target.name);
    assert_eq!(shown.target.postgresql_conf, defaults.target.postgresql_conf);
    assert_eq!(shown.target.restart.timeout, defaults.target.restart.timeout);
    assert_eq!(shown.signals[..4], defaults.signals[..]);
    assert_eq!(shown.target.dsn.expose(), "postgresql://postgres@localhost:5432/postgres?password=hunter2");
    let relative = |config: &Config| {
        let paths = &config.paths;
        let root = paths.root.clone();
        [
            &paths.ledger,
            &paths.lock,
            &paths.baseline,
            &paths.changelog,
            &paths.tuning_log,
            &paths.log_archive,
            &paths.backups,
        ]
        .map(|path| path.strip_prefix(&root).unwrap().to_path_buf())
    };
    assert_eq!(relative(&shown), relative(&defaults));
    assert_eq!(shown.paths.root, project.path("").components().collect::<PathBuf>());
}

#[test]
fn each_environment_has_the_playbooks_column() {
    let bounds = |environment: &str| {
        let project = Project::new(&format!("{TARGET}environment: {environment}\n"), LEVERS);
        let config = project.load().unwrap();
        config
            .sla
            .iter()
            .map(|target| {
                format!("{} {} {}", target.signal, if target.strict { "<" } else { "≤" }, target.bound)
            })
            .collect::<Vec<_>>()
            .join("; ")
    };
    insta::assert_snapshot!(bounds("development"), @"wal_rate ≤ 1.5× baseline; cpu_temperature ≤ 85; io_wait < 25; p95_write_latency ≤ 200");
    insta::assert_snapshot!(bounds("staging"), @"wal_rate ≤ 1.3× baseline; cpu_temperature ≤ 80; io_wait < 20; p95_write_latency ≤ 150");
    insta::assert_snapshot!(bounds("production"), @"wal_rate ≤ 1.2× baseline; cpu_temperature ≤ 75; io_wait < 15; p95_write_latency ≤ 100");
}

#[test]
fn the_playbooks_custom_lever_reads_as_it_is_written() {
    let levers = r#"levers:
  low_cost:
    - name: "custom_parameter"
      description: "Custom tuning parameter"
      target_symptom: "custom_issue"
      config_file: "monitoring/postgresql.conf"
      parameter: "custom_setting"
      default_value: "default"
      recommended_values: ["value1", "value2"]
# Example: High WAL rate detected
symptom_mappings:
  high_wal_rate:
    - "custom_parameter"    # LOW COST
"#;
    let config = Project::new(TARGET, levers).load().unwrap();
    let lever = &config.levers[0];
    assert_eq!(
        (lever.parameter.as_str(), lever.default_value.as_deref()),
        ("custom_setting", Some("default"))
    );
    assert_eq!(lever.values, ["value1", "value2"]);
    assert_eq!(lever.symptoms, [Symptom::new("custom_issue"), Symptom::new("high_wal_rate")]);
    assert_eq!((lever.place.clone(), lever.line), (Place::ServerConf, 3));
}

#[test]
fn a_signal_and_a_lever_of_the_users_own_need_yaml_alone() {
    let leverd = "
target:
  dsn: host=localhost user=leverd
  env_file: app/.env
signals:
  queue_depth:
    queries: ['sum(app_queue_depth)']
    unit: count
  throughput:
    queries: ['sum(rate(app_done_total[{{window}}]))']
    unit: per_sec
    direction: higher_is_better
    window: 2m
  io_wait:
    window: 5m
    optional: true
sla:
  queue_depth: < 1000
  throughput: '>= 0.8x baseline'
  p95_write_latency: ≤ 250ms
  cpu_temperature: none
";
    let levers = "
levers:
  low_cost:
    - {name: workers, config_file: .env, parameter: WORKERS, recommended_values: [4, 8, 16],
       target_symptom: high_queue_depth}
symptom_mappings:
  low_throughput: [workers]
";
    let project = Project::new(leverd, levers);
    std::fs::create_dir(project.path("app")).unwrap();
    project.write("app/.env", "WORKERS=2\n");
    let config = project.load().unwrap_or_else(|errors| panic!("{errors}"));
    let workers = &config.levers[0];
    assert_eq!(workers.place, Place::EnvFile(project.path("app/.env")));
    assert_eq!(workers.values, ["4", "8", "16"]);
    assert_eq!(workers.symptoms, [Symptom::new("high_queue_depth"), Symptom::new("low_throughput")]);
    let bound = |name: &str| config.sla_of(&name.into()).map(|target| (target.bound, target.strict));
    assert_eq!(bound("queue_depth"), Some((Bound::Absolute(1000.0), true)));
    assert_eq!(bound("throughput"), Some((Bound::TimesBaseline(0.8), false)));
    assert_eq!(bound("p95_write_latency"), Some((Bound::Absolute(250.0), false)));
    assert_eq!(bound("cpu_temperature"), None);
    let io_wait = config.signals.iter().find(|signal| signal.name.as_str() == "io_wait").unwrap();
    assert_eq!((io_wait.window, io_wait.optional), (Duration::from_secs(300), true));
    assert!(io_wait.queries[0].contains("iowait"));
}

#[test]
fn values_stay_as_they_are_written() {
    let levers = LEVERS.replace("[\"10min\", \"15min\"]", "[0.90, on, 1e3, 'it''s', ~]");
    insta::assert_snapshot!(levers_errors(&levers), @"config/levers.yaml:10: levers.low_cost[0].recommended_values[4]: found nothing; allowed: a text on one line");
    let levers = levers.replace(", ~]", "]");
    let config = Project::new(TARGET, &levers).load().unwrap();
    assert_eq!(config.levers[0].values, ["0.90", "on", "1e3", "it's"]);
}

#[test]
fn the_sandbox_is_used_where_nothing_is_configured() {
    let project = Project::new("environment: staging\n", LEVERS);
    let here = project.path("");
    insta::assert_snapshot!(find(None, &here).unwrap_err(), @"
config/leverd.yaml: target: no Postgres is named here
  hint: name your Postgres under `target:` in config/leverd.yaml (or in another file, with --config FILE), or run `leverd sandbox up` to try leverd on a Postgres of its own
");
    std::fs::create_dir_all(project.path(".leverd/sandbox")).unwrap();
    project.write(".leverd/sandbox/leverd.yaml", TARGET);
    assert_eq!(find(None, &here).unwrap(), project.path(".leverd/sandbox/leverd.yaml"));
    // A broken file is never a reason to tune something else.
    project.write("config/leverd.yaml", "target: [\n");
    assert!(find(None, &here).is_err());
    project.write("config/leverd.yaml", TARGET);
    assert_eq!(find(None, &here).unwrap(), project.path("config/leverd.yaml"));
    assert_eq!(find(Some(Path::new("other.yaml")), &here).unwrap(), project.path("other.yaml"));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    insta::assert_snapshot!(leverd_errors("promethues: {url: x}\ncycle: {setle: 5s}\npolicy: {lowest: auto}\n"), @"
config/leverd.yaml:2: promethues: this key is not known; allowed: environment, root, target, prometheus, cycle, signals, sla, load, policy, abort, levers, exporter, api, alerts, announce, paths, log
  hint: did you mean prometheus?
config/leverd.yaml:3: cycle.setle: this key is not known; allowed: load_cycle, settle, scrape_interval, max_extensions, cool_down, tick
  hint: did you mean settle?
config/leverd.yaml:4: policy.lowest: this key is not known; allowed: low, medium, high, restart, give_back_after, approve_within, windows, windows_for, windows_zone
");
    let lever = LEVERS.replace("recommended_values", "recomended_values");
    insta::assert_snapshot!(levers_errors(&lever), @"
config/levers.yaml:4: levers.low_cost[0].recommended_values: found nothing; allowed: a list of at least one value, from mild to strong
config/levers.yaml:10: levers.low_cost[0].recomended_values: this key is not known; allowed: name, description, target_symptom, config_file, parameter, default_value, recommended_values, impact, risk, evidence, spans_checkpoints, verify_query
  hint: did you mean recommended_values?
");
    insta::assert_snapshot!(levers_errors(&LEVERS.replace("low_cost", "low")), @"config/levers.yaml:3: levers.low: this key is not known; allowed: low_cost, medium_cost, high_cost");
}

#[test]
fn wrong_types_and_units_are_refused() {
    insta::assert_snapshot!(
        leverd_errors(
            "environment: prod\ncycle: {load_cycle: 15, settle: [1]}\nlog: {max_size: 10, keep: many}\n\
             exporter: {listen: 9188, host: maybe}\npolicy: auto\nprometheus: {url: localhost}\n"
        ),
        @r#"
config/leverd.yaml:2: environment: found "prod"; allowed: development, staging, production
config/leverd.yaml:3: cycle.load_cycle: found "15"; allowed: a duration such as 500ms, 90s, 15m, 1h, 1d, above 0
config/leverd.yaml:3: cycle.settle: found a list; allowed: a duration such as 500ms, 90s, 15m, 1h, 1d
config/leverd.yaml:4: log.max_size: found "10"; allowed: a size such as 64kB, 10MB, 2GB (1 kB is 1024 bytes)
config/leverd.yaml:4: log.keep: found "many"; allowed: a whole number from 1 to 10000
config/leverd.yaml:5: exporter.listen: found "9188"; allowed: an address such as 127.0.0.1:9188
config/leverd.yaml:5: exporter.host: found "maybe"; allowed: true, false
config/leverd.yaml:6: policy: found "auto"; allowed: a mapping with low, medium, high, restart, give_back_after, approve_within, windows, windows_for, windows_zone
config/leverd.yaml:7: prometheus.url: found "localhost"; allowed: an address such as http://localhost:9091
"#
    );
}

#[test]
fn giving_back_takes_a_time_or_never() {
    let bad = leverd_errors("policy: {give_back_after: soon}\n");
    insta::assert_snapshot!(bad, @r#"config/leverd.yaml:2: policy.give_back_after: found "soon"; allowed: never, or a duration such as 1d"#);
}

#[test]
fn what_others_may_write_or_read_is_refused() {
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let api = format!("{TARGET}api: {{token_file: t}}\n");
    let project = Project::new(&api, LEVERS);
    let token = |text: &str, mode| {
        project.write("t", text);
        set_mode(&project.path("t"), mode);
        project.load().map(|config| config.api.token).map_err(|errors| errors.to_string())
    };
    assert_eq!(token("0123456789abcdef\n", 0o640), Ok(Some(Secret::new("0123456789abcdef"))));
    assert_eq!(token("\n", 0o600), Ok(None), "a service's credential that is not set");
    assert!(token("0123456789abcdef\n", 0o644).unwrap_err().contains("everybody may read it"));
    assert!(token("0123456789abcdef\n", 0o620).unwrap_err().contains("others may write it"));
    assert!(token("short\n", 0o600).unwrap_err().contains("a token of 5 characters"));

    assert!(token("0123456789abcdef\n", 0o600).is_ok());
    set_mode(&project.path("config/leverd.yaml"), 0o666);
    assert!(project.load().unwrap_err().to_string().contains("everybody may write this file (mode 666)"));

    let open = Project::new(&format!("{TARGET}exporter: {{listen: \"0.0.0.0:9188\"}}\n"), LEVERS);
    assert!(open.errors().contains("can be reached from other machines, and there is no token"));
}

#[test]
fn a_policy_may_ask_first_and_wait_for_its_window() {
    let text =
        "policy: {low: approve, windows: [\"Sat 02:00-04:00\"], windows_for: all, approve_within: 2h}\n";
    let policy = Project::new(&format!("{TARGET}{text}"), LEVERS).load().unwrap().policy;
    assert_eq!((policy.low, policy.medium), (Pull::Approve, Pull::Auto));
    assert_eq!(policy.windows[0].to_string(), "Sat 02:00-04:00");
    assert!(policy.windows_for_all && !policy.windows_local);
    insta::assert_snapshot!(
        leverd_errors("policy: {low: ask, windows: [\"Sam 02:00-04:00\"], windows_zone: CET}\n"),
        @r#"
    config/leverd.yaml:2: policy.windows[0]: found "Sam 02:00-04:00"; allowed: a window such as "Sat 02:00-04:00", "Mon-Fri 22:00-05:00" or "03:00-04:00"
    config/leverd.yaml:2: policy.low: found "ask"; allowed: auto, approve, shadow
    config/leverd.yaml:2: policy.windows_zone: found "CET"; allowed: utc, local
    "#
    );
}

#[test]
fn bounds_must_fit_their_signal() {
    insta::assert_snapshot!(
        leverd_errors(
            "sla:\n  p95_write_latency: <= 0.2s\n  io_wait: '>= 3'\n  wal_rate: around 7\n  wal_rat: < 3\n  \
             cpu_temperature: <= 0x baseline\n"
        ),
        @r#"
config/leverd.yaml:3: sla.p95_write_latency: found "<= 0.2s"; allowed: a number without a unit, or with ms: p95_write_latency is in ms; or `x baseline`
config/leverd.yaml:4: sla.io_wait: found ">= 3"; allowed: <, <=, because io_wait is lower_is_better
  hint: say `direction:` under signals.io_wait if that is wrong
config/leverd.yaml:5: sla.wal_rate: found "around 7"; allowed: <= 200, < 25, <= 1.5x baseline, >= 100, none
  hint: write the comparison first, then the number
config/leverd.yaml:6: sla.wal_rat: there is no signal wal_rat; allowed: wal_rate, cpu_temperature, io_wait, p95_write_latency
  hint: did you mean wal_rate?
config/leverd.yaml:7: sla.cpu_temperature: found "<= 0x baseline"; allowed: a factor above 0
"#
    );
}

#[test]
fn signals_must_be_whole() {
    insta::assert_snapshot!(
        leverd_errors(
            "signals:\n  lag: {unit: second}\n  depth: {queries: [], unit: count}\n  \
             io_wait: {queries: ['rate(x[{{window}}]', 'x[{{win}}]', 'sum(\"a)'], window: 20s}\n  \
             9x: {queries: [x], unit: count}\n"
        ),
        @r#"
config/leverd.yaml:3: signals.lag.queries: found nothing; allowed: a list of PromQL queries, the first that answers wins
config/leverd.yaml:3: signals.lag.unit: found "second"; allowed: bytes_per_sec, celsius, percent, ms, seconds, per_sec, bytes, count
  hint: did you mean seconds?
config/leverd.yaml:4: signals.depth.queries: found a list; allowed: at least one query
config/leverd.yaml:5: signals.io_wait.queries[0]: this query does not close its (
config/leverd.yaml:5: signals.io_wait.queries[1]: found "x[{{win}}]"; allowed: {{window}} as the only placeholder
config/leverd.yaml:5: signals.io_wait.queries[2]: this query does not close its "
config/leverd.yaml:5: signals.io_wait: its window is 20s; allowed: at least two scrapes, 30s
  hint: a rate over less than two scrapes never has a value: set `window:`
config/leverd.yaml:6: signals.9x: found the name "9x"; allowed: letters, digits, _, - and ., a letter first, 63 characters at most
"#
    );
    insta::assert_snapshot!(
        leverd_errors("signals:\n  lag: {queries: [x], unit: seconds}\nsla: {lag: < 3}\n"), @"
config/leverd.yaml:3: signals.lag: the signal lag stands for the symptom high_lag, and no lever treats it
  hint: map a lever to high_lag under `symptom_mappings:` in levers.yaml, or only observe it with `lag: none` under `sla:`
"
    );
    insta::assert_snapshot!(
        leverd_errors("signals:\n  lag: {queries: [x], unit: seconds, baseline_key: wal_write_rate}\n"), @"
config/leverd.yaml:3: signals.lag: its baseline_key wal_write_rate is that of wal_rate too
  hint: give it a `baseline_key:` of its own
"
    );
}

#[test]
fn cycles_must_hold_enough_scrapes() {
    insta::assert_snapshot!(leverd_errors("cycle: {load_cycle: 60s, scrape_interval: 90s}\n"), @"
config/leverd.yaml:1: signals.io_wait: its window is 2m; allowed: at least two scrapes, 3m
  hint: a rate over less than two scrapes never has a value: set `window:`
config/leverd.yaml:2: cycle.load_cycle: found 1m; allowed: at least ten scrapes, 15m with scrape_interval 1m30s
  hint: have Prometheus scrape more often, or measure longer
");
}

#[test]
fn targets_must_be_whole() {
    insta::assert_snapshot!(Project::new("environment: staging\n", LEVERS).errors(), @"
config/leverd.yaml:1: target: found nothing; allowed: a mapping with at least `dsn`
  hint: name your Postgres there, or run `leverd sandbox up` to try leverd on one of its own
");
    let errors = |text: &str| Project::new(text, LEVERS).errors();
    insta::assert_snapshot!(errors("target: {name: capsim}\n"), @"config/leverd.yaml:1: target.dsn: found nothing; allowed: postgresql://user@host:5432/database");
    insta::assert_snapshot!(
        errors(
            "target:\n  dsn: capsim\n  postgresql_conf: autom\n  memory: lots\n  restart: {method: systemd, command: x}\n"
        ),
        @r#"
config/leverd.yaml:2: target.dsn: this is no Postgres address: unexpected EOF
  hint: write it as postgresql://user@host:5432/database, or as host=… port=… user=… dbname=…
config/leverd.yaml:3: target.postgresql_conf: found "autom"; allowed: auto, alter_system, or the path of the server's configuration file
config/leverd.yaml:4: target.memory: found "lots"; allowed: a size such as 64kB, 10MB, 2GB (1 kB is 1024 bytes)
config/leverd.yaml:5: target.restart.command: this key belongs to `method: command` only
config/leverd.yaml:5: target.restart.unit: found nothing; allowed: a systemd unit, e.g. postgresql@15-main
"#
    );
    insta::assert_snapshot!(errors("target: {dsn: 'host=x', restart: {timeout: 5s}}\n"), @"config/leverd.yaml:1: target.restart.method: found nothing; allowed: never, pg_ctl, command, systemd, brew, docker");
}

#[test]
fn secrets_are_never_shown() {
    let text = "target:\n  dsn: postgresql://u:${env:PGPASSWORD}@h:port/x\n  name: ${env:PGPASSWORD} x\n\
                prometheus: {url: 'http://u:hunter2@h'}\nsla: {wal_rate: '${env:PGPASSWORD}'}\n\
                environment: ${env:PGPASSWORD}\ncycle: {tick: '${env:PGPASSWORD}'}\n";
    let errors = Project::new(text, LEVERS).errors();
    insta::assert_snapshot!(errors, @r#"
config/leverd.yaml:2: target.dsn: this is no Postgres address: invalid value for option `port`
  hint: write it as postgresql://user@host:5432/database, or as host=… port=… user=… dbname=…
config/leverd.yaml:3: target.name: found "${env:PGPASSWORD} x"; allowed: letters, digits, _, - and ., a letter first, 63 characters at most
config/leverd.yaml:4: prometheus.url: found a user or a password in the address; allowed: http://host:port
  hint: write them under `basic_auth:`
config/leverd.yaml:5: sla.wal_rate: found "${env:PGPASSWORD}"; allowed: <= 200, < 25, <= 1.5x baseline, >= 100, none
  hint: write the comparison first, then the number
config/leverd.yaml:6: environment: found "${env:PGPASSWORD}"; allowed: development, staging, production
config/leverd.yaml:7: cycle.tick: found "${env:PGPASSWORD}"; allowed: a duration such as 500ms, 90s, 15m, 1h, 1d, above 0
"#);
    assert!(!errors.contains("hunter2"));
    let good = "target: {dsn: 'host=h', password: '${env:PGPASSWORD}'}\nprometheus: {bearer_token: '${env:PGPASSWORD}'}\n";
    let config = Project::new(good, LEVERS).load().unwrap();
    assert_eq!(config.target.dsn.expose(), "host=h password='hunter2'");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn an_unset_name_is_an_error() {
    insta::assert_snapshot!(
        Project::new("target:\n  dsn: host=h\n  password: ${env:NOT_SET}\n", LEVERS).errors(), @"
config/leverd.yaml:3: target.password: the environment variable NOT_SET is not set
  hint: set it, or give a default: ${env:NOT_SET:-default}
"
    );
}

#[test]
fn broken_yaml_is_refused() {
    insta::assert_snapshot!(leverd_errors("cycle: {tick: 5s\npolicy: {low: auto}\n"), @"
config/leverd.yaml:3: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}' (column 7)
  hint: check the indentation (spaces, no tabs), and quote texts that hold a colon or a brace
");
    insta::assert_snapshot!(leverd_errors("target: {dsn: host=other}\n"), @"
config/leverd.yaml:2: target: this key stands twice: it is on line 1 already
  hint: keep one of them
");
    insta::assert_snapshot!(levers_errors("- a\n- b\n"), @"config/levers.yaml:1: found a list; allowed: a mapping with levers, symptom_mappings");
    insta::assert_snapshot!(levers_errors(""), @"
config/levers.yaml:1: levers: found nothing; allowed: low_cost, medium_cost, high_cost
  hint: the playbook's form is levers: → low_cost: → a list
");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let project = Project::new(&format!("{TARGET}levers: nowhere.yaml\n"), LEVERS);
    insta::assert_snapshot!(project.errors(), @"
nowhere.yaml: this file cannot be read: No such file or directory (os error 2)
  hint: check the path, and who may read it
");
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(project.path("nowhere.yaml"), b"levers:\n  \xff\n").unwrap();
    insta::assert_snapshot!(project.errors(), @"
nowhere.yaml: line 2 is not UTF-8 text
  hint: save the file as UTF-8
");
}

#[test]
fn levers_must_be_whole() {
    insta::assert_snapshot!(
        levers_errors(
            "levers:\n  low_cost:\n    - name: a b\n    - {name: x, config_file: .env, parameter: A B, recommended_values: []}\n    \
             - {name: y, target_symptom: s, config_file: postgresql.conf, parameter: fsync, recommended_values: [off, off]}\n    \
             - {name: z, config_file: postgresql.conf, parameter: jit, recommended_values: off}\n"
        ),
        @r#"
config/levers.yaml:3: levers.low_cost[0].name: found "a b"; allowed: letters, digits, _, - and ., a letter first, 63 characters at most
config/levers.yaml:4: levers.low_cost[1].parameter: found "A B"; allowed: letters, digits and _, a letter first; a dot before an extension's own part
config/levers.yaml:4: levers.low_cost[1].recommended_values: found an empty list; allowed: a list of at least one value, from mild to strong
config/levers.yaml:5: levers.low_cost[2].parameter: found "fsync"; allowed: any parameter but fsync, full_page_writes, synchronous_commit, wal_level
  hint: leverd never trades committed data for speed
config/levers.yaml:5: levers.low_cost[2].recommended_values[1]: the value "off" stands twice
config/levers.yaml:6: levers.low_cost[3].recommended_values: found "off"; allowed: a list of at least one value, from mild to strong
"#
    );
    let twice = format!("{LEVERS}{}", LEVERS.trim_start().replace("levers:\n  low_cost", "  medium_cost"));
    insta::assert_snapshot!(levers_errors(&twice), @"
config/levers.yaml:12: levers.medium_cost[0].name: there is a lever checkpoint_timeout already, on line 4
  hint: give it another name, or take one of the two out
");
    insta::assert_snapshot!(levers_errors(&LEVERS.replace("      target_symptom: \"high_wal_rate\"\n", "")), @"
config/levers.yaml:4: levers.low_cost[0]: the lever checkpoint_timeout treats no symptom
  hint: give it a `target_symptom:`, or name it under `symptom_mappings:`
");
}

#[test]
fn mappings_name_levers_that_are_there() {
    let mapped = |text: &str| levers_errors(&format!("{LEVERS}symptom_mappings:\n{text}"));
    insta::assert_snapshot!(
        mapped("  high_wal_rate: [checkpoint_timeuot, checkpoint_timeout, checkpoint_timeout]\n  high_io_wait: []\n  high_p95_latency:\n"),
        @r#"
config/levers.yaml:12: symptom_mappings.high_wal_rate[0]: the symptom high_wal_rate names the lever "checkpoint_timeuot", which is not under `levers:`
  hint: did you mean checkpoint_timeout?
config/levers.yaml:12: symptom_mappings.high_wal_rate[2]: the lever "checkpoint_timeout" stands twice
config/levers.yaml:13: symptom_mappings.high_io_wait: the symptom high_io_wait has no lever; allowed: a list of at least one
  hint: name a lever that treats it, or take the symptom out
config/levers.yaml:14: symptom_mappings.high_p95_latency: the symptom high_p95_latency has no lever; allowed: a list of at least one
  hint: name a lever that treats it, or take the symptom out
"#
    );
}

#[test]
fn evidence_names_known_facts() {
    let with = |text: &str| levers_errors(&format!("{LEVERS}      evidence: {text}\n"));
    insta::assert_snapshot!(with("[{fact: checkpoint_requested_share, above: 0.3}]"), @r#"
config/levers.yaml:11: levers.low_cost[0].evidence[0].fact: found "checkpoint_requested_share"; allowed: active_connections, backend_write_share, backend_writes_per_second, bgwriter_maxwritten_per_second, cache_hit_ratio, checkpoints_per_minute, checkpoints_requested_share, commits_per_second, connections_used_share, container_cpu_throttled_share, container_memory_used_share, database_bytes_over_shared_buffers, dead_row_share, full_page_image_share, parallel_workers, pool_wait_seconds, pool_waiting_clients, rows_per_commit, sequential_rows_share, temp_bytes_per_second, wal_buffers_full_per_second
  hint: did you mean checkpoints_requested_share?
"#);
    insta::assert_snapshot!(
        with("[{fact: cache_hit_ratio}, {fact: cache_hit_ratio, above: 1, below: 0.5}, {fact: dead_row_share, above: much}]"),
        @r#"
config/levers.yaml:11: levers.low_cost[0].evidence[0]: found neither `above` nor `below`; allowed: at least one of them
config/levers.yaml:11: levers.low_cost[0].evidence[1]: no number is above 1 and below 0.5
config/levers.yaml:11: levers.low_cost[0].evidence[2].above: found "much"; allowed: a number
"#
    );
}

#[test]
fn a_lever_that_cannot_be_written_stays_with_its_reason() {
    let levers = LEVERS.replace("monitoring/postgresql.conf", "elsewhere/.env");
    let config = Project::new(TARGET, &levers).load().unwrap();
    let Place::Unavailable(why) = &config.levers[0].place else { panic!("available") };
    assert!(
        why.contains("elsewhere/.env (config_file; target.env_file may name another) cannot be reached"),
        "{why}"
    );
}

#[test]
fn what_may_not_be_meant_is_a_warning() {
    let config = Project::new(TARGET, &LEVERS.replace("high_wal_rate", "custom_issue")).load().unwrap();
    insta::assert_snapshot!(config.warnings().join("\n"), @"
wal_rate has a bound, and no lever treats high_wal_rate: where it is broken, nothing can be done
cpu_temperature has a bound, and no lever treats high_cpu_temperature: where it is broken, nothing can be done
io_wait has a bound, and no lever treats high_io_wait: where it is broken, nothing can be done
p95_write_latency has a bound, and no lever treats high_p95_latency: where it is broken, nothing can be done
the lever checkpoint_timeout treats custom_issue, and no signal stands for that: it is never pulled
");
    assert_eq!(config.environment, Environment::Development);
}

#[test]
fn the_documentation_lists_every_fact() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    let text = std::fs::read_to_string(path).unwrap();
    for (fact, meaning) in crate::model::FACTS {
        assert!(text.contains(&format!("| `{fact}` | {meaning} |")), "{fact}");
    }
}
