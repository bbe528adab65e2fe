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

/// Makes the backup and says how the change will be made and undone. The file itself is not touched.
pub(super) fn prepare(
    file: &Path,
    text: &[u8],
    syntax: Syntax,
    key: &str,
    value: &str,
    system_identifier: u64,
    backup_folder: &Path,
) -> Result<Intent, ActuateError> {
    let edit = edit(file, text, syntax, key, value)?;
    durable_file::check_replaceable(file)?;
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
    })
}

/// Brings the file under `arm`. Doing it twice is as doing it once.
pub(super) fn write(intent: &Intent, syntax: Syntax, arm: Arm) -> Result<(), ActuateError> {
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
    durable_file::replace(&intent.file, &text, &wanted)
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
        OldValue::Absent => None,
    }
}
