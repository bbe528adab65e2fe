//! `ALTER SYSTEM`: through the connection, or, where the server is down, in its `postgresql.auto.conf` directly.
//!
//! In: a parameter and a value, or an intent. Out: the value set, or reset where it was absent before.
//! Always holds: one statement a change (it cannot run in a transaction); a file is touched only after its data
//! folder's system identifier was found to be the intent's; a value that somebody else set is not written over.
//! Postgres accepts values here that keep it from starting: hence the way without a server.

use super::conf_text::{is_name, quoted};
use super::data_folder::belongs_to;
use super::durable_file::{self, read, real_path, sha256};
use super::line_edit::{Entry, Syntax, spliced};
use super::{ActuateError, backup, server};
use crate::model::{Arm, Found, Intent, OldValue};
use std::path::{Path, PathBuf};
use tokio_postgres::Client;

const AUTO_CONF: &str = "postgresql.auto.conf";

/// The statement that sets or resets a parameter, everything in it quoted.
pub(super) fn statement(parameter: &str, value: Option<&str>) -> Result<String, ActuateError> {
    let refuse = |why: &str| ActuateError::Value {
        parameter: parameter.to_owned(),
        value: value.unwrap_or_default().to_owned(),
        why: why.to_owned(),
    };
    if !is_name(parameter) {
        return Err(refuse("this is not a parameter's name"));
    }
    let Some(value) = value else { return Ok(format!("ALTER SYSTEM RESET {parameter}")) };
    if value.chars().any(char::is_control) {
        return Err(refuse("it holds a control character"));
    }
    // E'' reads backslashes in the same way whatever standard_conforming_strings says.
    let literal = value.replace('\'', "''").replace('\\', "\\\\");
    let prefix = if value.contains('\\') { "E" } else { "" };
    Ok(format!("ALTER SYSTEM SET {parameter} = {prefix}'{literal}'"))
}

/// The value that `postgresql.auto.conf` holds, as it stands there.
pub(super) async fn current(pg: &Client, parameter: &str) -> Result<Option<String>, ActuateError> {
    const FILE: &str = "SELECT setting FROM pg_catalog.pg_file_settings
         WHERE lower(name) = lower($1) AND sourcefile LIKE '%/postgresql.auto.conf' ORDER BY seqno DESC LIMIT 1";
    const VIEW: &str = "SELECT setting FROM pg_catalog.pg_settings
         WHERE lower(name) = lower($1) AND sourcefile LIKE '%/postgresql.auto.conf'";
    let doing = "reading postgresql.auto.conf";
    let found = match server::rows(pg, doing, FILE, &[&parameter]).await {
        Ok(found) => found,
        // The view shows the value in the setting's own unit, which ALTER SYSTEM reads as well.
        Err(error) if is_forbidden(&error) => server::rows(pg, doing, VIEW, &[&parameter]).await?,
        Err(error) => return Err(error.into()),
    };
    Ok(found.first().and_then(|row| row.try_get::<_, Option<String>>(0).ok().flatten()))
}

fn is_forbidden(error: &crate::postgres::PostgresError) -> bool {
    matches!(error, crate::postgres::PostgresError::Statement { code: Some(code), .. } if code == "42501")
}

/// Says how the change will be made and undone; copies `postgresql.auto.conf` where it can be read from here.
pub(super) async fn prepare(
    pg: &Client,
    parameter: &str,
    value: &str,
    system_identifier: u64,
    backup_folder: &Path,
) -> Result<Intent, ActuateError> {
    statement(parameter, Some(value))?;
    let old = current(pg, parameter).await?;
    let folder = server::path_setting(pg, "data_directory").await?;
    let file = folder.map_or_else(|| PathBuf::from(AUTO_CONF), |folder| folder.join(AUTO_CONF));
    if old.as_deref() == Some(value) {
        return Err(ActuateError::Unchanged {
            parameter: parameter.to_owned(),
            value: value.to_owned(),
            file,
        });
    }
    // A path of a remote server may name something else here, or nothing.
    let bytes = if belongs_to(&file, system_identifier) { read(&file).ok() } else { None };
    let copy = bytes.as_ref().map(|bytes| backup::make(backup_folder, &file, bytes)).transpose()?;
    Ok(Intent {
        system_identifier,
        file,
        parameter: parameter.to_owned(),
        old: old.map_or(OldValue::Absent, OldValue::AutoConf),
        new: value.to_owned(),
        sha256_before: bytes.as_deref().map(sha256).unwrap_or_default(),
        sha256_after: String::new(),
        backup: copy,
        in_place: false,
    })
}

/// Brings the parameter under `arm` through the server.
pub(super) async fn write(pg: &Client, intent: &Intent, arm: Arm) -> Result<(), ActuateError> {
    server::is_the_one(pg, intent.system_identifier).await?;
    match (standing(current(pg, &intent.parameter).await?, intent), arm) {
        (Found::Before, Arm::A) | (Found::After, Arm::B) => return Ok(()),
        (Found::Neither(found), _) => return Err(edited(intent, found)),
        (Found::Before, Arm::B) | (Found::After, Arm::A) => {}
    }
    let sql = statement(&intent.parameter, value_under(intent, arm))?;
    server::execute(pg, &format!("running {sql}"), &sql).await?;
    Ok(())
}

/// How the parameter stands to the change, by the server's word.
pub(super) async fn look(pg: &Client, intent: &Intent) -> Result<Found, ActuateError> {
    server::is_the_one(pg, intent.system_identifier).await?;
    Ok(standing(current(pg, &intent.parameter).await?, intent))
}

/// The same without a server.
pub(super) fn look_offline(intent: &Intent, folders: &[PathBuf]) -> Result<Found, ActuateError> {
    let file = reachable(intent, folders, "looking at postgresql.auto.conf")?;
    let text = read(&file)?;
    Ok(standing(Syntax::PostgresqlConf.effective(&text, &intent.parameter).map(|found| found.value), intent))
}

/// Brings the parameter under `arm` in `postgresql.auto.conf` itself. `ALTER SYSTEM` rewrites the whole file anyway,
/// so no more than its lines is kept.
pub(super) fn write_offline(intent: &Intent, arm: Arm, folders: &[PathBuf]) -> Result<(), ActuateError> {
    let file = reachable(intent, folders, "ALTER SYSTEM")?;
    let text = read(&file)?;
    let found = Syntax::PostgresqlConf.effective(&text, &intent.parameter);
    match (standing(found.map(|found| found.value), intent), arm) {
        (Found::Before, Arm::A) | (Found::After, Arm::B) => return durable_file::sync(&file),
        (Found::Neither(found), _) => return Err(edited(intent, found)),
        (Found::Before, Arm::B) | (Found::After, Arm::A) => {}
    }
    let wanted = with_value(&text, &intent.parameter, value_under(intent, arm));
    durable_file::replace(&file, &text, &wanted)
}

/// The text with the parameter's lines replaced as `ALTER SYSTEM` does it: all of them out, one at the end.
fn with_value(text: &[u8], parameter: &str, value: Option<&str>) -> Vec<u8> {
    let mut result = text.to_vec();
    for entry in Syntax::PostgresqlConf.entries(text).into_iter().rev() {
        if let Entry::Assignment(found) = entry
            && Syntax::PostgresqlConf.same_key(&found.key, parameter)
        {
            result = spliced(&result, found.line.start..found.next, b"");
        }
    }
    if let Some(value) = value {
        if !result.is_empty() && !result.ends_with(b"\n") {
            result.push(b'\n');
        }
        result.extend_from_slice(format!("{parameter} = {}\n", quoted(value)).as_bytes());
    }
    result
}

fn value_under(intent: &Intent, arm: Arm) -> Option<&str> {
    match (arm, &intent.old) {
        (Arm::B, _) => Some(&intent.new),
        (Arm::A, OldValue::AutoConf(old)) => Some(old),
        (Arm::A, OldValue::Absent | OldValue::Line { .. } | OldValue::Container(_)) => None,
    }
}

fn standing(value: Option<String>, intent: &Intent) -> Found {
    if value.as_deref() == value_under(intent, Arm::B) {
        return Found::After;
    }
    if value.as_deref() == value_under(intent, Arm::A) {
        return Found::Before;
    }
    Found::Neither(match value {
        Some(value) => format!("{AUTO_CONF} sets {} to {value:?}", intent.parameter),
        None => format!("{AUTO_CONF} does not set {} any more", intent.parameter),
    })
}

fn edited(intent: &Intent, found: String) -> ActuateError {
    ActuateError::Edited { file: intent.file.clone(), parameter: intent.parameter.clone(), found }
}

/// The intent's `postgresql.auto.conf` as it can be reached from here, of the same server for certain.
fn reachable(intent: &Intent, folders: &[PathBuf], doing: &'static str) -> Result<PathBuf, ActuateError> {
    let candidates =
        std::iter::once(intent.file.clone()).chain(folders.iter().map(|folder| folder.join(AUTO_CONF)));
    let found = candidates.into_iter().find(|file| belongs_to(file, intent.system_identifier));
    real_path(&found.ok_or(ActuateError::NeedsConnection { doing })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(parameter: &str, value: Option<&str>) -> String {
        statement(parameter, value).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn statements_are_quoted() {
        insta::assert_snapshot!(shown("work_mem", Some("64MB")), @"ALTER SYSTEM SET work_mem = '64MB'");
        insta::assert_snapshot!(shown("work_mem", None), @"ALTER SYSTEM RESET work_mem");
        insta::assert_snapshot!(shown("a.b", Some("it's \\")), @r"ALTER SYSTEM SET a.b = E'it''s \\'");
        insta::assert_snapshot!(
            shown("x; DROP TABLE t", Some("1")),
            @r#"x; DROP TABLE t = "1" cannot be written: this is not a parameter's name"#
        );
        insta::assert_snapshot!(
            shown("work_mem", Some("1\n")),
            @r#"work_mem = "1\n" cannot be written: it holds a control character"#
        );
    }

    #[test]
    fn the_offline_edit_takes_the_parameters_lines_alone() {
        let text = b"# Do not edit\nwork_mem = '4MB'\nshared_buffers = '900GB'\nWORK_MEM = '5MB'\n";
        let without = with_value(text, "shared_buffers", None);
        assert_eq!(without, b"# Do not edit\nwork_mem = '4MB'\nWORK_MEM = '5MB'\n");
        let with = with_value(&without, "work_mem", Some("it's"));
        assert_eq!(with, b"# Do not edit\nwork_mem = 'it''s'\n");
    }

    #[test]
    fn a_folder_of_another_server_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("global")).unwrap();
        durable_file::create(&folder.path().join("global/pg_control"), &7_u64.to_ne_bytes()).unwrap();
        let file = folder.path().join(AUTO_CONF);
        durable_file::create(&file, b"work_mem = '64MB'\n").unwrap();
        let mut intent = Intent {
            system_identifier: 8,
            file: file.clone(),
            parameter: "work_mem".into(),
            old: OldValue::Absent,
            new: "64MB".into(),
            sha256_before: String::new(),
            sha256_after: String::new(),
            backup: None,
            in_place: false,
        };
        let error = write_offline(&intent, Arm::A, &[]).unwrap_err();
        assert!(matches!(error, ActuateError::NeedsConnection { .. }), "{error}");
        intent.system_identifier = 7;
        assert_eq!(look_offline(&intent, &[]).unwrap(), Found::After);
        write_offline(&intent, Arm::A, &[]).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"");
        assert_eq!(look_offline(&intent, &[]).unwrap(), Found::Before);
        // The intent's own path may be the container's; the configured data folder is the same one seen from here.
        intent.file = "/nowhere/postgresql.auto.conf".into();
        assert_eq!(look_offline(&intent, &[folder.path().to_owned()]).unwrap(), Found::Before);
    }
}
