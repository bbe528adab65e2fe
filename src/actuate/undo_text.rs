//! The commands with which a person undoes one change without leverd. Text only: nothing is run here.
//!
//! They change the line that leverd changed and nothing else, so they serve also after other changes to the file.
//! They hold no password.

use super::backup::{quoted, shell_word};
use super::line_edit::content;
use crate::model::{Activation, Intent, OldValue, Place, Plan};
use tokio_postgres::config::Host;

/// What undoes the change in its place.
pub(super) fn put_back(plan: &Plan, intent: &Intent, dsn: &str) -> Vec<String> {
    let alter = |sql: Result<String, _>| sql.map(|sql| psql(dsn, &sql)).unwrap_or_default();
    if let (true, Some(backup)) = (intent.in_place, &intent.backup) {
        // sed would replace the file, and the container go on seeing the one that is gone: `cp` writes into it.
        return vec![format!("cp {} {}", quoted(backup), quoted(&intent.file))];
    }
    match (&plan.place, &intent.old) {
        (Place::AlterSystem, OldValue::AutoConf(old)) => {
            vec![alter(super::alter_system::statement(&intent.parameter, Some(old)))]
        }
        (Place::AlterSystem, _) => vec![alter(super::alter_system::statement(&intent.parameter, None))],
        (_, OldValue::Line { raw, .. }) => vec![sed(intent, Some(content(raw)))],
        (_, _) => vec![sed(intent, None)],
    }
}

/// What makes the old value take effect.
pub(super) fn activate(
    activation: Activation,
    dsn: &str,
    restart: Option<String>,
    app_reload: Option<&str>,
    console: &str,
) -> Option<String> {
    match activation {
        Activation::Reload => Some(psql(dsn, "SELECT pg_reload_conf()")),
        Activation::AppReload => app_reload.map(str::to_owned),
        Activation::AtOnce => None,
        Activation::PoolerReload => Some(psql(console, "RELOAD")),
        Activation::Restart => Some(restart.unwrap_or_else(|| "# then restart PostgreSQL".to_owned())),
    }
}

/// `sed` with a suffix for `-i`, which GNU and BSD read alike; what was there stays beside the file under it.
fn sed(intent: &Intent, old: Option<&str>) -> String {
    let file = quoted(&intent.file);
    let new = pattern(content(&intent.new));
    // The line ending of the file stays what it is.
    let carriage = if intent.new.contains('\r') { "$(printf '\\r')" } else { "" };
    let (open, close) = if carriage.is_empty() { ("'", "'") } else { ("\"", "\"") };
    let script = match old {
        Some(old) => format!("s/^{new}{carriage}$/{}{carriage}/", replacement(old)),
        None => format!("/^{new}{carriage}$/d"),
    };
    let script =
        if carriage.is_empty() { script.replace('\'', "'\\''") } else { in_double_quotes(&script, carriage) };
    format!("sed -i.before-undo {open}{script}{close} {file}")
}

fn in_double_quotes(script: &str, keep: &str) -> String {
    let escape = |part: &str| {
        part.chars().fold(String::new(), |mut text, letter| {
            // A `$` before the closing delimiter is sed's own and nothing for the shell.
            if matches!(letter, '\\' | '"' | '`' | '$') {
                text.push('\\');
            }
            text.push(letter);
            text
        })
    };
    script.split(keep).map(escape).collect::<Vec<_>>().join(keep)
}

/// A text as a basic regular expression that matches just it.
fn pattern(text: &str) -> String {
    escaped(text, r"\/.*[]^$")
}

/// A text as the replacement of an `s` command.
fn replacement(text: &str) -> String {
    escaped(text, r"\/&")
}

fn escaped(text: &str, special: &str) -> String {
    text.chars().fold(String::new(), |mut result, letter| {
        if special.contains(letter) {
            result.push('\\');
        }
        result.push(letter);
        result
    })
}

/// `psql` on this server, without the password.
fn psql(dsn: &str, sql: &str) -> String {
    let mut words = vec!["psql".to_owned()];
    if let Ok(config) = dsn.parse::<tokio_postgres::Config>() {
        let host = config.get_hosts().first().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        });
        let port = config.get_ports().first().map(u16::to_string);
        let parts = [
            ("-h", host),
            ("-p", port),
            ("-U", config.get_user().map(str::to_owned)),
            ("-d", config.get_dbname().map(str::to_owned)),
        ];
        for (option, value) in parts {
            words.extend(value.into_iter().flat_map(|value| [option.to_owned(), shell_word(&value)]));
        }
    }
    words.extend(["-c".to_owned(), shell_word(sql)]);
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    fn intent(file: &Path, old: OldValue, new: &str) -> Intent {
        Intent {
            system_identifier: 1,
            file: file.to_owned(),
            parameter: "a".into(),
            old,
            new: new.into(),
            sha256_before: String::new(),
            sha256_after: String::new(),
            backup: None,
            in_place: false,
        }
    }

    /// What a real shell and a real sed make of `text`.
    fn after_sed(text: &str, old: Option<&str>, new: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("it's a.conf");
        super::super::durable_file::create(&file, text.as_bytes()).unwrap();
        let stood = old.map_or(OldValue::Absent, |raw| OldValue::Line { raw: raw.into(), number: 1 });
        let command = sed(&intent(&file, stood, new), old.map(content));
        let status = Command::new("sh").arg("-c").arg(&command).status().unwrap();
        assert!(status.success(), "{command}");
        std::fs::read_to_string(&file).unwrap()
    }

    #[test]
    fn the_pasted_sed_undoes_just_that_line() {
        let old = "a = 'x''/y' # it's \"$HOME\" & `id` [1] *\n";
        let new = "a = '1.5GB' # it's \"$HOME\" & `id` [1] *\n";
        assert_eq!(after_sed(&format!("# 1\n{new}b = 1\n"), Some(old), new), format!("# 1\n{old}b = 1\n"));
        let crlf = |line: &str| line.replace('\n', "\r\n");
        let text = crlf(&format!("# 1\n{new}b = 1\n"));
        let expected = crlf(&format!("# 1\n{old}b = 1\n"));
        assert_eq!(after_sed(&text, Some(&crlf(old)), &crlf(new)), expected);
        assert_eq!(after_sed("a = 1\njit = off\nb = 1\n", None, "jit = off\n"), "a = 1\nb = 1\n");
        assert_eq!(after_sed("a = 1\r\njit = off\r\n", None, "jit = off\r\n"), "a = 1\r\n");
    }

    #[test]
    fn commands_read_well_and_hold_no_password() {
        let file = Path::new("/pg/postgresql.conf");
        let old = OldValue::Line { raw: "a = 1\n".into(), number: 1 };
        insta::assert_snapshot!(sed(&intent(file, old, "a = 2\n"), Some("a = 1")),
            @"sed -i.before-undo 's/^a = 2$/a = 1/' /pg/postgresql.conf");
        let dsn = "postgresql://me:hunter2@db:5433/shop";
        insta::assert_snapshot!(activate(Activation::Reload, dsn, None, None, "").unwrap(),
            @"psql -h db -p 5433 -U me -d shop -c 'SELECT pg_reload_conf()'");
    }
}
