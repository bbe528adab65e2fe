//! One change of one line in a file: prepared, written, undone and looked at.
//!
//! In: the file's place or its intent. Out: the file under the arm that was asked for, or an error and the file as
//! it was. Always holds: a line that somebody else changed is not written over; where the whole file is as leverd
//! left it, undoing gives the backup's bytes. It blocks on the disk, so the caller runs it on a thread that may.

use super::durable_file::{self, read, sha256};
use super::line_edit::{self, Edit, EditError, Standing, Syntax};
use super::{ActuateError, backup};
use crate::model::{Arm, Found, Intent, OldValue};
use std::path::Path;

/// The edit that sets `key` in this text, or why it cannot be made.
pub(super) fn edit(
    file: &Path,
    text: &[u8],
    syntax: Syntax,
    key: &str,
    value: &str,
) -> Result<Edit, ActuateError> {
    let edit = line_edit::set(text, syntax, key, value).map_err(|error| match error {
        EditError::Value(why) => {
            ActuateError::Value { parameter: key.to_owned(), value: value.to_owned(), why }
        }
        EditError::NotUtf8(line) => {
            ActuateError::NotUtf8 { path: file.to_owned(), line, parameter: key.to_owned() }
        }
    })?;
    if edit.after == text {
        return Err(ActuateError::Unchanged {
            parameter: key.to_owned(),
            value: value.to_owned(),
            file: file.to_owned(),
        });
    }
    Ok(edit)
}

/// A file as it was read, and how it may be written.
pub(super) struct Original<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a [u8],
    pub(super) syntax: Syntax,
    /// A container sees this very file, not its folder.
    pub(super) mounted_alone: bool,
}

/// Makes the backup and says how the change will be made and undone. The file itself is not touched.
pub(super) fn prepare(
    original: &Original<'_>,
    key: &str,
    value: &str,
    system_identifier: u64,
    backup_folder: &Path,
) -> Result<Intent, ActuateError> {
    let Original { file, text, syntax, mounted_alone } = *original;
    let edit = edit(file, text, syntax, key, value)?;
    let in_place = mounted_alone || durable_file::is_mount_point(file);
    if !in_place {
        durable_file::check_replaceable(file)?;
    }
    let copy = backup::make(backup_folder, file, text)?;
    Ok(Intent {
        system_identifier,
        file: file.to_owned(),
        parameter: key.to_owned(),
        old: edit.old,
        new: edit.new,
        sha256_before: sha256(text),
        sha256_after: sha256(&edit.after),
        backup: Some(copy),
        in_place,
    })
}

/// Brings the file under `arm`. Doing it twice is as doing it once.
pub(super) fn write(intent: &Intent, syntax: Syntax, arm: Arm) -> Result<(), ActuateError> {
    mend(intent, syntax)?;
    let text = read(&intent.file)?;
    let Intent { parameter, old, new, .. } = intent;
    let Some(mut wanted) = line_edit::under_arm(&text, syntax, parameter, old, new, arm) else {
        return Err(edited(intent, &text, syntax));
    };
    if wanted == text {
        // An interrupted run may have renamed the file and not synced its folder.
        return durable_file::sync(&intent.file);
    }
    if arm == Arm::A
        && sha256(&text) == intent.sha256_after
        && let Some(bytes) = intact_backup(intent)
    {
        wanted = bytes;
    }
    if intent.in_place {
        return durable_file::write_in_place(&intent.file, &text, &wanted);
    }
    durable_file::replace(&intent.file, &text, &wanted)
}

/// Undoes a write into the file that was cut short: its old text comes back from the backup.
fn mend(intent: &Intent, syntax: Syntax) -> Result<(), ActuateError> {
    if !intent.in_place {
        return Ok(());
    }
    let text = read(&intent.file)?;
    let Some(before) = intact_backup(intent) else { return Ok(()) };
    let Intent { parameter, old, new, .. } = intent;
    let Some(after) = line_edit::under_arm(&before, syntax, parameter, old, new, Arm::B) else {
        return Ok(());
    };
    if durable_file::torn(&text, &before, &after) {
        return durable_file::write_in_place(&intent.file, &text, &before);
    }
    Ok(())
}

/// The backup's bytes, where they are those from before.
fn intact_backup(intent: &Intent) -> Option<Vec<u8>> {
    let bytes = read(intent.backup.as_ref()?).ok()?;
    (sha256(&bytes) == intent.sha256_before).then_some(bytes)
}

fn edited(intent: &Intent, text: &[u8], syntax: Syntax) -> ActuateError {
    let Intent { file, parameter, old, new, .. } = intent;
    let found = match line_edit::standing(text, syntax, parameter, old, new) {
        Standing::Neither(found) => found,
        Standing::Before | Standing::After => "it cannot be put back by its line".to_owned(),
    };
    ActuateError::Edited { file: file.clone(), parameter: parameter.clone(), found }
}

/// How the file stands to the change. Removes what a killed run may have left beside it.
pub(super) fn look(intent: &Intent, syntax: Syntax) -> Result<Found, ActuateError> {
    durable_file::remove_leftover(&intent.file);
    mend(intent, syntax)?;
    let text = read(&intent.file)?;
    let hash = sha256(&text);
    if hash == intent.sha256_before {
        return Ok(Found::Before);
    }
    if hash == intent.sha256_after {
        return Ok(Found::After);
    }
    Ok(match line_edit::standing(&text, syntax, &intent.parameter, &intent.old, &intent.new) {
        Standing::Before => Found::Before,
        Standing::After => Found::After,
        Standing::Neither(found) => {
            Found::Neither(format!("{} in {}: {found}", intent.parameter, intent.file.display()))
        }
    })
}

/// The value that a raw line sets, as people write it.
pub(super) fn value_in(raw: &str, syntax: Syntax, key: &str) -> Option<String> {
    syntax.effective(raw.as_bytes(), key).map(|found| found.value)
}

/// The value that stood in the file before, where one did.
pub(super) fn old_value(intent: &Intent, syntax: Syntax) -> Option<String> {
    match &intent.old {
        OldValue::Line { raw, .. } => value_in(raw, syntax, &intent.parameter),
        OldValue::AutoConf(value) => Some(value.clone()),
        OldValue::Absent | OldValue::Container(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn prepared(folder: &Path, text: &str, value: &str) -> (std::path::PathBuf, Intent) {
        let file = folder.join("postgresql.conf");
        durable_file::create(&file, text.as_bytes()).unwrap();
        let file = fs::canonicalize(file).unwrap();
        let original = Original {
            file: &file,
            text: text.as_bytes(),
            syntax: Syntax::PostgresqlConf,
            mounted_alone: true,
        };
        let intent = prepare(&original, "work_mem", value, 0, &folder.join("backups/1")).unwrap();
        (file, intent)
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own file, torn on purpose")]
    fn tear(file: &Path, bytes: &[u8]) {
        fs::write(file, bytes).unwrap();
    }

    #[test]
    fn a_file_that_is_mounted_alone_stays_the_same_file() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let text = "a = 1\nwork_mem = 4MB # theirs\nb = 2\n";
        let (file, intent) = prepared(folder.path(), text, "16MB");
        assert!(intent.in_place);
        let inode = fs::metadata(&file).unwrap().ino();
        write(&intent, Syntax::PostgresqlConf, Arm::B).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text.replace("4MB", "16MB"));
        assert_eq!(look(&intent, Syntax::PostgresqlConf).unwrap(), Found::After);
        write(&intent, Syntax::PostgresqlConf, Arm::A).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert_eq!(fs::metadata(&file).unwrap().ino(), inode, "the container sees this one");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        /// Wherever a write is cut, in both directions, the old text is back at the next look.
        #[test]
        fn a_write_that_was_cut_short_is_undone(
            before in "(b = [0-9]{1,9}\n){0,3}",
            behind in "(c = [0-9]{1,9}\n){0,3}",
            value in "[1-9][0-9]{0,5}kB",
            cut in 0_usize..200,
            backwards: bool,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let old = format!("{before}work_mem = 4MB # theirs\n{behind}");
            prop_assume!(value != "4MB");
            let (file, intent) = prepared(folder.path(), &old, &value);
            let new = old.replace("4MB", &value);
            let (from, to) = if backwards { (&new, &old) } else { (&old, &new) };
            let cut = cut.min(to.len());
            let mut torn = to.as_bytes()[..cut].to_vec();
            torn.extend_from_slice(from.as_bytes().get(cut..).unwrap_or_default());
            tear(&file, &torn);
            let found = look(&intent, Syntax::PostgresqlConf).unwrap();
            let stands = fs::read(&file).unwrap();
            prop_assert!(matches!(found, Found::Before | Found::After), "{found:?}");
            prop_assert!(stands == old.as_bytes() || stands == new.as_bytes());
            write(&intent, Syntax::PostgresqlConf, Arm::A).unwrap();
            prop_assert_eq!(fs::read(&file).unwrap(), old.into_bytes());
        }

        /// What a person wrote is not taken for a torn write.
        #[test]
        fn a_person_s_text_stays(theirs in "(work_mem|b) = [0-9]{1,3}MB\n(d = 1\n)?") {
            let folder = tempfile::tempdir().unwrap();
            let (file, intent) = prepared(folder.path(), "work_mem = 4MB\nb = 2\n", "16MB");
            let text = format!("# by hand\n{theirs}");
            tear(&file, text.as_bytes());
            let _ = look(&intent, Syntax::PostgresqlConf);
            prop_assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
