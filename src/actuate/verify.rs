//! Whether a written value is in effect, by the server's word: `setting`, `source`, `sourcefile`, `pending_restart`.
//!
//! `pg_reload_conf()` answers true also where the file is wrong, and a value in a file may be masked by the command
//! line, a role or `postgresql.auto.conf`; so nothing counts as applied until this says so.

use super::postgresql_conf::PathMap;
use super::server;
use super::{ActuateError, Syntax, managed_file};
use crate::model::{Arm, Intent, PgValue, Place, Plan, Setting};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

/// A session takes a reloaded value at its next command once its signal came: milliseconds, more on a busy host.
const TAKES_EFFECT_WITHIN: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Asks until the value of `arm` is in effect, or long enough to be sure that it is not.
pub(super) async fn in_effect(
    pg: &Client,
    plan: &Plan,
    intent: &Intent,
    arm: Arm,
) -> Result<(), ActuateError> {
    server::is_the_one(pg, intent.system_identifier).await?;
    let map = path_map(pg, plan).await?;
    let wanted = wanted(plan, intent, arm);
    let deadline = Instant::now() + TAKES_EFFECT_WITHIN;
    loop {
        let Some(setting) = server::setting(pg, &intent.parameter).await? else {
            return Err(not_in_effect(intent, &wanted, "unknown", "the server has no such parameter"));
        };
        let Err(why) = agrees(&setting, &wanted, arm, plan, intent, &map) else { return Ok(()) };
        // What masks a value does not go away by waiting.
        if why.is_lasting || Instant::now() >= deadline {
            let mut text = why.text;
            for error in server::file_errors(pg).await {
                text.push_str("; ");
                text.push_str(&error);
            }
            let unit = setting.unit.as_deref().unwrap_or_default();
            let found = format!("{}{}{unit}", setting.value, if unit.is_empty() { "" } else { " × " });
            return Err(not_in_effect(intent, &wanted, &found, &text));
        }
        sleep(ASK_EVERY).await;
    }
}

/// Where the server's files are here.
async fn path_map(pg: &Client, plan: &Plan) -> Result<PathMap, ActuateError> {
    Ok(match &plan.place {
        Place::PostgresqlConf(main) => {
            PathMap::new(main, server::path_setting(pg, "config_file").await?.as_deref())
        }
        _ => PathMap::default(),
    })
}

/// Whether the server has this value from the file that the change was written into; `None`: it names no file.
pub(super) async fn comes_from_its_file(
    pg: &Client,
    setting: &Setting,
    plan: &Plan,
    intent: &Intent,
) -> Result<Option<bool>, ActuateError> {
    let Some(file) = &setting.sourced.file else { return Ok(None) };
    Ok(Some(is_the_file(file, plan, intent, &path_map(pg, plan).await?)))
}

fn not_in_effect(intent: &Intent, wanted: &[String], found: &str, why: &str) -> ActuateError {
    ActuateError::NotInEffect {
        parameter: intent.parameter.clone(),
        expected: wanted.join(" or "),
        found: found.to_owned(),
        why: why.to_owned(),
    }
}

/// The values that are right under `arm`. Without the change that is what stood there, or what was in effect:
/// the two differ where a restart was pending before leverd came.
fn wanted(plan: &Plan, intent: &Intent, arm: Arm) -> Vec<String> {
    if arm == Arm::B {
        return vec![plan.to.clone()];
    }
    let mut values: Vec<String> = managed_file::old_value(intent, Syntax::PostgresqlConf)
        .into_iter()
        .chain(plan.from.clone())
        .collect();
    values.dedup();
    values
}

struct Disagreement {
    text: String,
    is_lasting: bool,
}

fn agrees(
    setting: &Setting,
    wanted: &[String],
    arm: Arm,
    plan: &Plan,
    intent: &Intent,
    map: &PathMap,
) -> Result<(), Disagreement> {
    let not_yet = |text: &str| Disagreement { text: text.to_owned(), is_lasting: false };
    let lasting = |text: String| Disagreement { text, is_lasting: true };
    let source = setting.sourced.source.as_str();
    if arm == Arm::B
        && matches!(source, "command line" | "environment variable" | "database" | "user" | "database user")
    {
        return Err(lasting(format!("it is masked: the {source} sets it")));
    }
    // Where a restart was pending before leverd came, the value in effect was not the file's, and will not be.
    let old = managed_file::old_value(intent, Syntax::PostgresqlConf);
    let was_pending_before = arm == Arm::A && old.is_some_and(|old| !is_value(setting, &old));
    if setting.pending_restart && !was_pending_before {
        // Under A the flag goes away with the reload that is on its way.
        let text = "the new value waits for a restart".to_owned();
        return Err(Disagreement { text, is_lasting: arm == Arm::B });
    }
    if !wanted.iter().any(|value| is_value(setting, value)) {
        return Err(not_yet(if setting.pending_restart {
            "it waits for a restart"
        } else {
            "the server has not taken it over"
        }));
    }
    if arm == Arm::A {
        return Ok(());
    }
    if source != "configuration file" && !is_automatic(setting, wanted) {
        return Err(not_yet(&format!("its source is {source:?}, not a configuration file")));
    }
    match &setting.sourced.file {
        Some(file) if !is_the_file(file, plan, intent, map) => {
            Err(not_yet(&format!("it comes from {}, not from {}", file.display(), intent.file.display())))
        }
        // Roles without pg_read_all_settings do not see the file.
        _ => Ok(()),
    }
}

fn is_the_file(found: &Path, plan: &Plan, intent: &Intent, map: &PathMap) -> bool {
    if matches!(plan.place, Place::AlterSystem) {
        return found.file_name() == intent.file.file_name();
    }
    let here = map.local(found);
    fs::canonicalize(&here).unwrap_or(here) == intent.file
}

/// Whether the server's value is this one, units and rounding aside.
fn is_value(setting: &Setting, value: &str) -> bool {
    let Ok(wanted) = PgValue::parse(value, setting) else { return false };
    let own = Setting { unit: None, ..setting.clone() };
    let is_same = match (&wanted, PgValue::parse(&setting.value, &own)) {
        (PgValue::Number(wanted), Ok(PgValue::Number(found))) => {
            (wanted - found).abs() <= 1e-9 * wanted.abs().max(found.abs())
        }
        // `on` is a spelling of wal_compression's first method, and the server shows the method.
        (PgValue::Text(wanted), Ok(PgValue::Text(found))) if wanted == "on" => {
            found == "on" || found == "pglz"
        }
        (wanted, Ok(found)) => *wanted == found,
        (_, Err(_)) => false,
    };
    is_same || is_automatic(setting, std::slice::from_ref(&value.to_owned()))
}

/// `wal_buffers = -1` and its like: the server shows the number that it chose.
fn is_automatic(setting: &Setting, wanted: &[String]) -> bool {
    setting.boot_value == "-1"
        && wanted.iter().any(|value| value.trim() == "-1")
        && matches!(setting.sourced.source.as_str(), "default" | "override" | "configuration file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activation, Context, CostTier, OldValue, SettingType, Sourced, Unit};

    fn setting(value: &str, source: &str, file: Option<&str>) -> Setting {
        Setting {
            name: "work_mem".into(),
            value: value.into(),
            unit: Some("kB".into()),
            vartype: SettingType::Integer,
            context: Context::User,
            min: Some(64.0),
            max: Some(2_147_483_647.0),
            enumvals: vec![],
            sourced: Sourced { source: source.into(), file: file.map(Into::into), line: Some(1) },
            reset_value: value.into(),
            boot_value: "4096".into(),
            pending_restart: false,
        }
    }

    fn plan_and_intent() -> (Plan, Intent) {
        let plan = Plan {
            target: "t".into(),
            symptom: "s".into(),
            signal: "x".into(),
            unit: Unit::Ms,
            goal_from: 2.0,
            limit: 1.0,
            lever: "work_mem".into(),
            tier: CostTier::Low,
            parameter: "work_mem".into(),
            place: Place::PostgresqlConf("/here/postgresql.conf".into()),
            from: Some("4MB".into()),
            to: "64MB".into(),
            activation: Activation::Reload,
            spans_checkpoints: false,
            verify_query: None,
            reason: String::new(),
            passed_over: vec![],
            gives_back: None,
            needs_approval: false,
            borrowed_for: None,
        };
        let intent = Intent {
            system_identifier: 1,
            file: "/here/postgresql.conf".into(),
            parameter: "work_mem".into(),
            old: OldValue::Line { raw: "work_mem = 4096kB # x\n".into(), number: 1 },
            new: "work_mem = 64MB # x\n".into(),
            sha256_before: String::new(),
            sha256_after: String::new(),
            backup: None,
            in_place: false,
        };
        (plan, intent)
    }

    fn verdict(setting: &Setting, arm: Arm) -> Result<(), String> {
        let (plan, intent) = plan_and_intent();
        let map =
            PathMap::new(Path::new("/here/postgresql.conf"), Some(Path::new("/etc/pg/postgresql.conf")));
        agrees(setting, &wanted(&plan, &intent, arm), arm, &plan, &intent, &map).map_err(|why| why.text)
    }

    #[test]
    fn the_value_its_source_and_its_file_must_agree() {
        let good = setting("65536", "configuration file", Some("/etc/pg/postgresql.conf"));
        assert_eq!(verdict(&good, Arm::B), Ok(()));
        let hidden = setting("65536", "configuration file", None);
        assert_eq!(verdict(&hidden, Arm::B), Ok(()));
        let stale = setting("4096", "configuration file", Some("/etc/pg/postgresql.conf"));
        assert_eq!(verdict(&stale, Arm::B), Err("the server has not taken it over".into()));
        assert_eq!(verdict(&stale, Arm::A), Ok(()));
        let elsewhere = setting("65536", "configuration file", Some("/data/postgresql.auto.conf"));
        let words = "it comes from /data/postgresql.auto.conf, not from /here/postgresql.conf";
        assert_eq!(verdict(&elsewhere, Arm::B), Err(words.into()));
        let waits = Setting { pending_restart: true, ..good };
        assert_eq!(verdict(&waits, Arm::B), Err("the new value waits for a restart".into()));
    }

    #[test]
    fn undone_means_that_nothing_is_pending_that_was_not_before() {
        let back = setting("4096", "configuration file", None);
        let pending = Setting { pending_restart: true, ..back.clone() };
        assert_eq!(verdict(&back, Arm::A), Ok(()));
        assert_eq!(verdict(&pending, Arm::A), Err("the new value waits for a restart".into()));
        let (mut plan, intent) = plan_and_intent();
        plan.from = Some("2MB".into());
        let in_effect = Setting { value: "2048".into(), ..pending };
        let wanted = wanted(&plan, &intent, Arm::A);
        let found = agrees(&in_effect, &wanted, Arm::A, &plan, &intent, &PathMap::default());
        assert!(found.is_ok(), "a person's own pending restart is as it was");
    }

    #[test]
    fn a_masked_value_is_not_applied_even_where_it_is_equal() {
        let masked = setting("65536", "command line", None);
        assert_eq!(verdict(&masked, Arm::B), Err("it is masked: the command line sets it".into()));
    }

    #[test]
    fn what_the_server_chooses_itself_counts_as_minus_one() {
        let mut buffers = setting("512", "override", None);
        buffers.boot_value = "-1".into();
        buffers.min = Some(-1.0);
        assert!(is_value(&buffers, "-1"));
        assert!(!is_value(&setting("512", "default", None), "-1"));
    }
}
