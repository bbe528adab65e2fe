//! How tables, partitions and primary keys are stored: parameters, replica identities, and keys that are
//! checked late.
//!
//! Goes in: the layout, and what the source said. Comes out: pieces of the statements that make them, and
//! statements at the end. Always holds: a table that was kept keeps its own; names and values are quoted,
//! whatever is in them. What rows are laid out by counts from the first one on. All else of a new table comes
//! at the end: a target that is older than the source may not know it, and says so then for that table alone,
//! when nothing is lost by it any more.

use super::layout::{Laid, Layout};
use super::{Kind, Out, Phase, TargetMode};
use crate::migrate::catalog::Storage;
use crate::migrate::quote::{identifier, literal, qualified, shown};
use crate::migrate::schema::TableName;

/// What rows are laid out by. Every server that is moved into knows these.
const BEFORE_ROWS: [&str; 2] = ["fillfactor", "toast_tuple_target"];

fn is_before_rows(parameter: &str) -> bool {
    BEFORE_ROWS.contains(&split(parameter).0)
}

/// What stands at the end of the statement that makes a table or a partition, by its name in the source.
pub(super) fn at_creation(layout: &Layout<'_>, source: &TableName) -> String {
    let Some(storage) = layout.options.storage.get(source) else { return String::new() };
    // Later nobody knows any more whether a table was there: what is to be said is said as it is made.
    let all = layout.options.mode != TargetMode::DropRecreate;
    with(storage.parameters.iter().filter(|parameter| all || is_before_rows(parameter)))
}

/// What stands behind the columns of a primary key's index.
pub(super) fn of_key(layout: &Layout<'_>, source: &TableName) -> String {
    layout.options.storage.get(source).map(|storage| with(storage.key_parameters.iter())).unwrap_or_default()
}

/// Whether the primary key that is made is checked late. Rows that are brought beside others need one that is
/// not: none could be replaced by it, and one that it refuses would be told when its whole chunk is
/// committed.
pub(super) fn is_checked_late(layout: &Layout<'_>, laid: &Laid<'_>) -> bool {
    !layout.options.mode.keeps_rows() && deferrable(layout, laid).is_some()
}

fn deferrable<'l>(layout: &'l Layout<'_>, laid: &Laid<'_>) -> Option<&'l str> {
    layout.options.storage.get(&laid.source.name)?.key_deferrable.as_deref()
}

/// What stands at the end of a primary key: ` DEFERRABLE INITIALLY DEFERRED`.
pub(super) fn checked_late(layout: &Layout<'_>, laid: &Laid<'_>, out: &mut Out) -> String {
    match deferrable(layout, laid) {
        Some(words) if is_checked_late(layout, laid) => format!(" {words}"),
        Some(words) => {
            let text =
                format!("is {words} in the source: here it is not, since rows are brought beside others");
            out.note(Some(&laid.source.name), "primary key".to_owned(), text);
            String::new()
        }
        None => String::new(),
    }
}

/// The ` WITH (…)` at the end of what PostgreSQL says of an index without a condition.
pub(super) fn clause_of(tail: &str) -> &str {
    let at = tail.rfind(" WITH (").unwrap_or(tail.len());
    let clause = &tail[at..];
    // A column's name may look like one, but is in quotes then.
    if clause.ends_with(')') && !clause.contains('"') { clause } else { "" }
}

/// Says of all that was made anew what it was not made with.
pub(super) fn afterwards(layout: &Layout<'_>, out: &mut Out) {
    if layout.options.storage.is_empty() {
        return;
    }
    for laid in &layout.tables {
        relation(layout, laid, (&laid.source.name, &laid.name), out);
        for partition in laid.partitions() {
            relation(layout, laid, (partition.source_name(), &partition.name), out);
        }
    }
}

/// `names`: in the source and in the target.
fn relation(layout: &Layout<'_>, laid: &Laid<'_>, names: (&TableName, &TableName), out: &mut Out) {
    let (source, target) = names;
    let Some(storage) = layout.options.storage.get(source) else { return };
    if layout.options.mode != TargetMode::DropRecreate {
        if let Some(identity) = &storage.replica_identity {
            let about = format!("replica identity {identity} of {}", shown(source));
            out.note(Some(&laid.source.name), about, "is left out, since the target's tables are kept");
        }
        return;
    }
    for change in changes(storage) {
        let sql = format!("ALTER TABLE {} {change}", qualified(target));
        let describes = format!("storage of {}", shown(target));
        out.say(Phase::Last, Kind::Storage, Some(&laid.source.name), sql, describes);
    }
}

fn changes(storage: &Storage) -> Vec<String> {
    let later: Vec<&String> =
        storage.parameters.iter().filter(|parameter| !is_before_rows(parameter)).collect();
    let set = (!later.is_empty()).then(|| format!("SET ({})", words(later.into_iter())));
    let identity = storage.replica_identity.iter().map(|identity| format!("REPLICA IDENTITY {identity}"));
    set.into_iter().chain(identity).collect()
}

fn with<'p>(parameters: impl Iterator<Item = &'p String>) -> String {
    let words = words(parameters);
    if words.is_empty() { words } else { format!(" WITH ({words})") }
}

/// `"fillfactor" = '70', "toast"."autovacuum_enabled" = 'false'`
fn words<'p>(parameters: impl Iterator<Item = &'p String>) -> String {
    let words = parameters.map(|parameter| {
        let (name, value) = split(parameter);
        let name = match name.strip_prefix("toast.") {
            Some(name) => format!("{}.{}", identifier("toast"), identifier(name)),
            None => identifier(name),
        };
        format!("{name} = {}", literal(value))
    });
    words.collect::<Vec<String>>().join(", ")
}

/// `fillfactor=70` → `fillfactor`, `70`.
fn split(parameter: &str) -> (&str, &str) {
    parameter.split_once('=').unwrap_or((parameter, ""))
}

#[cfg(test)]
mod tests;
