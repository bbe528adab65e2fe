//! `leverd check`: what is configured, and everything that is wrong with it.
//!
//! The answer is a list of sections, each a small table; a section that found something wrong fails the command.
//! Sections that ask Postgres and Prometheus join those of the files in `run`.

use super::configured::{load_config, try_load};
use super::{EXIT_BAD_CONFIG, Global};
use crate::config::{Config, PostgresqlConf, Pull, RestartMethod};
use crate::model::{Bound, CostTier, Direction, Lever, LeverName, Place, Signal, SlaTarget};
use std::io::Write;
use std::process::ExitCode;

/// Arguments of `leverd check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// One part of the answer.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Section {
    /// Its heading.
    pub(crate) title: String,
    /// What the columns are.
    pub(crate) columns: Vec<&'static str>,
    /// One row a thing.
    pub(crate) rows: Vec<Vec<String>>,
    /// What is allowed and yet may not be meant.
    pub(crate) warnings: Vec<String>,
    /// What is wrong.
    pub(crate) errors: Vec<String>,
}

impl Section {
    /// A section without rows.
    pub(crate) fn new(title: &str, columns: &[&'static str]) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.to_vec(),
            rows: Vec::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Adds a row; one text for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// Runs it.
#[expect(clippy::unused_async, reason = "sections that ask Postgres and Prometheus await")]
pub(crate) async fn run(global: &Global, _args: Args) -> anyhow::Result<ExitCode> {
    let config = if global.json {
        match try_load(global) {
            Ok(config) => config,
            Err(errors) => {
                let errors: Vec<_> = errors.iter().collect();
                print_json(&serde_json::json!({ "ok": false, "errors": errors }))?;
                return Ok(ExitCode::from(EXIT_BAD_CONFIG));
            }
        }
    } else {
        match load_config(global) {
            Ok(config) => config,
            Err(code) => return Ok(code),
        }
    };
    let sections = offline_sections(&config);
    let ok = sections.iter().all(|section| section.errors.is_empty());
    if global.json {
        print_json(&serde_json::json!({ "ok": ok, "sections": sections }))?;
    } else {
        let mut out = std::io::stdout().lock();
        for section in &sections {
            writeln!(out, "{}", render(section))?;
        }
    }
    // What the files say is wrong is bad configuration; what a server says is a failure of this check.
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BAD_CONFIG) })
}

fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{value:#}")?;
    Ok(())
}

/// What the files alone say.
fn offline_sections(config: &Config) -> Vec<Section> {
    vec![files(config), target(config), signals(config), levers(config)]
}

fn files(config: &Config) -> Section {
    let mut section = Section::new("Files", &["file", "path", "there"]);
    let paths = &config.paths;
    for (name, path) in [
        ("configuration", &config.file),
        ("levers", &config.levers_file),
        ("baseline", &paths.baseline),
        ("ledger", &paths.ledger),
        ("changelog", &paths.changelog),
    ] {
        let there = if path.exists() { "yes" } else { "not yet" };
        section.row([name.to_owned(), path.display().to_string(), there.to_owned()]);
    }
    match crate::config::read_baseline(&paths.baseline, &config.signals) {
        Ok(_) => {}
        Err(errors) => section.errors.push(errors.to_string()),
    }
    section
}

fn target(config: &Config) -> Section {
    let mut section = Section::new("Target", &["what", "value"]);
    let target = &config.target;
    let conf = match &target.postgresql_conf {
        PostgresqlConf::Auto => {
            "the server's own file where it can be written here, else ALTER SYSTEM".to_owned()
        }
        PostgresqlConf::AlterSystem => "ALTER SYSTEM".to_owned(),
        PostgresqlConf::File(file) => file.display().to_string(),
    };
    let restart = match &target.restart.method {
        RestartMethod::Never => "never: levers that need one are refused".to_owned(),
        RestartMethod::PgCtl { data_directory, .. } => format!("pg_ctl, {}", data_directory.display()),
        RestartMethod::Command(command) => format!("command: {command}"),
        RestartMethod::Systemd(unit) => format!("systemctl restart {unit}"),
        RestartMethod::Brew(formula) => format!("brew services restart {formula}"),
        RestartMethod::Docker => "the container is restarted by its engine".to_owned(),
    };
    let policy = &config.policy;
    let pull = |pull: Pull| match pull {
        Pull::Auto => "auto",
        Pull::Approve => "approve",
        Pull::Shadow => "shadow",
    };
    let tiers = format!(
        "low {}, medium {}, high {}, restart {}",
        pull(policy.low),
        pull(policy.medium),
        pull(policy.high),
        pull(policy.restart)
    );
    let windows: Vec<String> = policy.windows.iter().map(ToString::to_string).collect();
    let windows = match (windows.is_empty(), policy.windows_for_all) {
        (true, _) => "always".to_owned(),
        (false, true) => format!("every change: {}", windows.join("; ")),
        (false, false) => format!("restarts: {}", windows.join("; ")),
    };
    let alerts = match &config.api.token {
        Some(_) => "whoever has the token may send alerts",
        None => "nobody may send alerts: there is no token",
    };
    let pooler = target.pgbouncer.as_ref().map(|pooler| pooler.config_file.display().to_string());
    for (what, value) in [
        ("name", target.name.to_string()),
        ("environment", config.environment.to_string()),
        ("settings", conf),
        ("restart", restart),
        (
            "container",
            target.container.as_ref().map_or("none".to_owned(), |container| container.name.clone()),
        ),
        ("PgBouncer", pooler.unwrap_or_else(|| "none".to_owned())),
        ("policy", tiers),
        ("windows", windows),
        ("Prometheus", config.prometheus.url.clone()),
        ("webhook", alerts.to_owned()),
    ] {
        section.row([what.to_owned(), value]);
    }
    section
}

fn signals(config: &Config) -> Section {
    let mut section = Section::new("Signals", &["signal", "bound", "symptom", "levers"]);
    for signal in &config.signals {
        let bound = config.sla_of(&signal.name);
        let bound = bound.map_or_else(|| "none: only observed".to_owned(), |bound| words(bound, signal));
        let treating = config.levers.iter().filter(|lever| lever.symptoms.contains(&signal.symptom)).count();
        section.row([
            if signal.optional { format!("{} (optional)", signal.name) } else { signal.name.to_string() },
            bound,
            signal.symptom.to_string(),
            treating.to_string(),
        ]);
    }
    section.warnings = config.warnings();
    section
}

fn words(target: &SlaTarget, signal: &Signal) -> String {
    let sign = match (signal.direction, target.strict) {
        (Direction::LowerIsBetter, false) => "≤",
        (Direction::LowerIsBetter, true) => "<",
        (Direction::HigherIsBetter, false) => "≥",
        (Direction::HigherIsBetter, true) => ">",
    };
    match target.bound {
        Bound::Absolute(limit) => format!("{sign} {}", signal.unit.show(limit)),
        Bound::TimesBaseline(_) => format!("{sign} {}", target.bound),
    }
}

fn levers(config: &Config) -> Section {
    let mut section = Section::new("Levers", &["tier", "lever", "values", "written to"]);
    for tier in [CostTier::Low, CostTier::Medium, CostTier::High] {
        for lever in config.levers.iter().filter(|lever| lever.tier == tier) {
            section.row([tier.to_string(), lever.name.to_string(), lever.values.join(", "), place(lever)]);
        }
    }
    let unmapped: Vec<_> = config
        .levers
        .iter()
        .map(|lever| &lever.name)
        .filter(|name| !config.symptom_mappings.values().flatten().any(|mapped| mapped == *name))
        .map(LeverName::as_str)
        .collect();
    if !unmapped.is_empty() {
        section.warnings.push(format!(
            "under no symptom of `symptom_mappings:`, so ranked last by their target_symptom: {}",
            unmapped.join(", ")
        ));
    }
    section
}

fn place(lever: &Lever) -> String {
    match &lever.place {
        Place::PostgresqlConf(file) | Place::EnvFile(file) | Place::PgBouncer(file) => {
            file.display().to_string()
        }
        Place::AlterSystem => "ALTER SYSTEM".to_owned(),
        Place::ContainerLimit { container, .. } => format!("the container {container}"),
        Place::ServerConf => "the server's own file".to_owned(),
        Place::Unavailable(why) => format!("not available: {why}"),
    }
}

/// A section as people read it.
fn render(section: &Section) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(section.columns.iter().map(|name| name.to_uppercase()));
    for row in &section.rows {
        table.add_row(row);
    }
    let mut text = format!("{}\n", section.title);
    for line in table.to_string().lines() {
        text.push_str(&format!("  {}\n", line.trim_end()));
    }
    for warning in &section.warnings {
        text.push_str(&format!("  warning: {warning}\n"));
    }
    for error in &section.errors {
        text.push_str(&format!("  error: {error}\n"));
    }
    text
}
