//! `leverd.yaml`: from the tree to the resolved configuration, without the levers.

use super::place::{absolute, default_paths};
use super::quantity::{parse_duration, render_duration};
use super::reader::{At, Fields};
use super::signals_section::{self, Signals};
use super::target_section::{self, path};
use super::{
    AbortLimits, AnnounceConfig, ApiConfig, Cycle, ExporterConfig, LoadSignal, LogRotation, Paths, Policy,
    PrometheusConfig, Pull, Secret, Target, Window, defaults,
};
use super::{announce_section, api_section};
use crate::model::{Environment, Symptom};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The top-level keys.
const KEYS: [&str; 17] = [
    "environment",
    "root",
    "target",
    "prometheus",
    "cycle",
    "signals",
    "sla",
    "load",
    "policy",
    "abort",
    "levers",
    "exporter",
    "api",
    "alerts",
    "announce",
    "paths",
    "log",
];

/// What `leverd.yaml` says, every default filled in.
pub(super) struct LeverdFile {
    pub(super) environment: Environment,
    pub(super) target: Target,
    pub(super) env_file: Option<PathBuf>,
    pub(super) prometheus: PrometheusConfig,
    pub(super) signals: Signals,
    pub(super) load: LoadSignal,
    pub(super) cycle: Cycle,
    pub(super) policy: Policy,
    pub(super) abort: AbortLimits,
    pub(super) levers: PathBuf,
    pub(super) exporter: ExporterConfig,
    pub(super) api: ApiConfig,
    pub(super) alert_symptoms: BTreeMap<String, Symptom>,
    pub(super) announce: AnnounceConfig,
    pub(super) paths: Paths,
    pub(super) log_rotation: LogRotation,
}

/// Reads the file. What is wrong is reported, and its default stands in for it.
pub(super) fn read(at: &At<'_>, root: &Path) -> LeverdFile {
    let top = at.fields(&KEYS);
    let environments = [
        ("development", Environment::Development),
        ("staging", Environment::Staging),
        ("production", Environment::Production),
    ];
    let environment = top.or("environment", Environment::default(), |at| at.one_of(&environments));
    let (target, env_file) = target_section::read(&top, root);
    let cycle = cycle(&top);
    let signals = signals_section::read(&top, environment, &cycle);
    let load = top.section("load", &["queries"]);
    let load = LoadSignal { queries: load.or("queries", defaults::load_queries(), signals_section::queries) };
    let api = api_section::read(&top, root);
    LeverdFile {
        environment,
        target,
        env_file,
        prometheus: prometheus(&top),
        signals,
        load,
        policy: policy(&top),
        abort: abort(&top),
        levers: top.or("levers", root.join("config/levers.yaml"), |at| path(at, root)),
        exporter: exporter(&top, &cycle, root, api.token.is_some()),
        api,
        alert_symptoms: api_section::alert_symptoms(&top),
        announce: announce_section::read(&top),
        cycle,
        paths: paths(&top, root),
        log_rotation: log_rotation(&top),
    }
}

fn prometheus(top: &Fields<'_>) -> PrometheusConfig {
    let fields = top.section("prometheus", &["url", "timeout", "basic_auth", "bearer_token"]);
    let bearer_token = fields.get("bearer_token").and_then(|at| at.secret()).map(Secret::new);
    let basic_auth = fields.get("basic_auth").and_then(|at| {
        let pair = at.fields(&["username", "password"]);
        let username = pair.required("username", "a text", None).and_then(|at| at.text());
        let password = pair.required("password", "a text, ${env:NAME}, ${file:PATH}", None);
        Some((username?, Secret::new(password?.secret()?)))
    });
    if bearer_token.is_some() && basic_auth.is_some() {
        fields.problem("bearer_token", "found a token and basic_auth; allowed: one of them", None);
    }
    PrometheusConfig {
        // The playbook's Prometheus.
        url: fields.or("url", "http://localhost:9091".to_owned(), url),
        timeout: fields.or("timeout", Duration::from_secs(10), At::positive_duration),
        basic_auth,
        bearer_token,
    }
}

/// An HTTP address without a trailing slash. It is not quoted where it holds a user or a password.
pub(super) fn url(at: &At<'_>) -> Option<String> {
    let text = at.secret()?;
    let parsed = reqwest::Url::parse(text.trim()).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let has_user = text.contains('@');
    match parsed {
        Some(_) if !has_user => Some(text.trim().trim_end_matches('/').to_owned()),
        _ if has_user => {
            at.problem(
                "found a user or a password in the address; allowed: http://host:port",
                Some("write them under `basic_auth:`".to_owned()),
            );
            None
        }
        _ => {
            at.refuse("an address such as http://localhost:9091", None);
            None
        }
    }
}

fn cycle(top: &Fields<'_>) -> Cycle {
    let keys = ["load_cycle", "settle", "scrape_interval", "max_extensions", "cool_down", "tick"];
    let fields = top.section("cycle", &keys);
    let seconds = Duration::from_secs;
    let cycle = Cycle {
        load_cycle: fields.or("load_cycle", seconds(900), At::positive_duration),
        settle: fields.or("settle", seconds(60), At::duration),
        scrape_interval: fields.or("scrape_interval", seconds(15), At::positive_duration),
        max_extensions: fields
            .or("max_extensions", 2, |at| at.integer(0, 10).and_then(|n| u8::try_from(n).ok())),
        cool_down: fields.or("cool_down", seconds(86_400), At::duration),
        tick: fields.or("tick", seconds(30), At::positive_duration),
    };
    // Fewer samples than this can prove nothing.
    let least = cycle.scrape_interval * 10;
    if cycle.load_cycle < least {
        fields.problem(
            "load_cycle",
            format!(
                "found {}; allowed: at least ten scrapes, {} with scrape_interval {}",
                render_duration(cycle.load_cycle),
                render_duration(least),
                render_duration(cycle.scrape_interval)
            ),
            Some("have Prometheus scrape more often, or measure longer".to_owned()),
        );
    }
    cycle
}

fn policy(top: &Fields<'_>) -> Policy {
    let keys = [
        "low",
        "medium",
        "high",
        "restart",
        "give_back_after",
        "approve_within",
        "windows",
        "windows_for",
        "windows_zone",
    ];
    let fields = top.section("policy", &keys);
    let words = [("auto", Pull::Auto), ("approve", Pull::Approve), ("shadow", Pull::Shadow)];
    let pull = |at: &At<'_>| at.one_of(&words);
    let windows = fields.get("windows").map(|at| {
        let one = "a window such as \"Sat 02:00-04:00\", \"Mon-Fri 22:00-05:00\" or \"03:00-04:00\"";
        at.items("a list of windows").iter().filter_map(|item| item.read(one, Window::parse)).collect()
    });
    Policy {
        low: fields.or("low", Pull::Auto, pull),
        medium: fields.or("medium", Pull::Auto, pull),
        high: fields.or("high", Pull::Shadow, pull),
        restart: fields.or("restart", Pull::Auto, pull),
        give_back_after: fields.or("give_back_after", None, give_back_after),
        approve_within: fields.or("approve_within", Duration::from_hours(24), At::positive_duration),
        windows: windows.unwrap_or_default(),
        windows_for_all: fields
            .or("windows_for", false, |at| at.one_of(&[("restart", false), ("all", true)])),
        windows_local: fields.or("windows_zone", false, |at| at.one_of(&[("utc", false), ("local", true)])),
    }
}

fn give_back_after(at: &At<'_>) -> Option<Option<Duration>> {
    at.read("never, or a duration such as 1d", |text| match text {
        "never" => Some(None),
        _ => parse_duration(text).filter(|after| !after.is_zero()).map(Some),
    })
}

fn abort(top: &Fields<'_>) -> AbortLimits {
    let keys = [
        "guard_factor",
        "guard_scrapes",
        "error_percent",
        "memory_percent",
        "disk_free_percent",
        "replica_lag",
    ];
    let fields = top.section("abort", &keys);
    let percent = |at: &At<'_>| at.number(0.0, 100.0, "a number from 0 to 100");
    AbortLimits {
        guard_factor: fields
            .or("guard_factor", 2.0, |at| at.number(1.1, 1000.0, "a number from 1.1 to 1000")),
        guard_scrapes: fields.or("guard_scrapes", 3, |at| at.integer(1, 1000)),
        error_percent: fields.or("error_percent", 5.0, percent),
        memory_percent: fields.or("memory_percent", 90.0, percent),
        disk_free_percent: fields.or("disk_free_percent", 10.0, percent),
        replica_lag: fields.or("replica_lag", Duration::from_secs(60), At::positive_duration),
    }
}

fn exporter(top: &Fields<'_>, cycle: &Cycle, root: &Path, has_token: bool) -> ExporterConfig {
    let keys = ["listen", "host", "postgres", "write_probe", "sample_every", "procfs", "sysfs"];
    let fields = top.section("exporter", &keys);
    let address = |at: &At<'_>| {
        let address =
            at.read("an address such as 127.0.0.1:9188", |text| text.trim().parse::<SocketAddr>().ok())?;
        if !address.ip().is_loopback() && !has_token {
            let hint =
                "set `api.token_file`; Prometheus names the token by `authorization: {credentials_file: …}`";
            at.problem(
                format!("{address} can be reached from other machines, and there is no token"),
                Some(hint.to_owned()),
            );
        }
        Some(address)
    };
    // A sample older than a scrape would be shown twice.
    let sample_every = Duration::from_secs(5).min(cycle.scrape_interval);
    ExporterConfig {
        listen: fields.or("listen", SocketAddr::from(([127, 0, 0, 1], 9188)), address),
        host: fields.or("host", true, At::boolean),
        postgres: fields.or("postgres", true, At::boolean),
        write_probe: fields.or("write_probe", true, At::boolean),
        sample_every: fields.or("sample_every", sample_every, At::positive_duration),
        procfs: fields.or("procfs", "/proc".into(), |at| path(at, root)),
        sysfs: fields.or("sysfs", "/sys".into(), |at| path(at, root)),
    }
}

fn paths(top: &Fields<'_>, root: &Path) -> Paths {
    let keys = ["ledger", "lock", "baseline", "changelog", "tuning_log", "log_archive", "backups"];
    let fields = top.section("paths", &keys);
    let default = default_paths(root);
    let at = |key: &str, default: PathBuf| fields.or(key, default, |at| path(at, root));
    Paths {
        ledger: at("ledger", default.ledger),
        lock: at("lock", default.lock),
        baseline: at("baseline", default.baseline),
        changelog: at("changelog", default.changelog),
        tuning_log: at("tuning_log", default.tuning_log),
        log_archive: at("log_archive", default.log_archive),
        backups: at("backups", default.backups),
        root: default.root,
    }
}

fn log_rotation(top: &Fields<'_>) -> LogRotation {
    let fields = top.section("log", &["max_size", "keep"]);
    LogRotation {
        max_bytes: fields.or("max_size", 10 << 20, At::size),
        keep: fields.or("keep", 12, |at| at.integer(1, 10_000)),
    }
}

/// The folder that relative paths start from: the one above `config/`, or the file's own; `root:` says otherwise.
pub(super) fn default_root(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new("/"));
    match folder.parent() {
        Some(above) if folder.file_name().is_some_and(|name| name == "config") => above.to_path_buf(),
        _ => folder.to_path_buf(),
    }
}

/// The `root:` of the file, if it has one.
pub(super) fn configured_root(at: &At<'_>, file: &Path) -> Option<PathBuf> {
    let text = at.text()?;
    let root = absolute(file.parent().unwrap_or(Path::new("/")), Path::new(&text));
    if !root.is_dir() {
        at.refuse("a folder that exists", Some(format!("it would be {}", root.display())));
    }
    // `root: ..` reads better without its dots.
    Some(root.canonicalize().unwrap_or(root))
}
