//! Sequences: those of columns, those of their own, and their next values.
//!
//! Goes in: the layout. Comes out: `CREATE SEQUENCE`, `OWNED BY`, and at the end `setval`. Always holds: a column's
//! sequence goes on after the largest value that was loaded, whatever the source had said: its counter may have been
//! read before its last rows. One that counts down goes on below the least, one that counts by steps keeps them, and
//! one that begins again at its end goes on where the source's stands. An identity column's is made by its table.

use super::columns::can_be_identity;
use super::layout::{Laid, Layout};
use super::{Kind, Out, Phase};
use crate::migrate::quote::{identifier, literal, qualified, shown};
use crate::migrate::schema::{ColumnDefault, Counting, TableName};

/// Makes sequences that no column owns.
pub(super) fn own(layout: &Layout<'_>, out: &mut Out) {
    for (sequence, name) in layout.schema.sequences.iter().zip(&layout.sequences) {
        let sql = format!("CREATE SEQUENCE IF NOT EXISTS {} {}", qualified(name), sequence.definition);
        out.say(Phase::BeforeLoad, Kind::Sequence, None, sql.trim_end().to_owned(), describes(name));
    }
}

/// Makes the sequences that a table's defaults ask.
pub(super) fn of_columns(laid: &Laid<'_>, out: &mut Out) {
    for (at, name) in with_defaults(laid) {
        let target = laid.columns.get(at).map_or("bigint", |column| column.mapped.target.as_str());
        let data_type = if can_be_identity(target) { target } else { "bigint" };
        let words = counting_of(laid, at).map(words).unwrap_or_default();
        let sql = format!("CREATE SEQUENCE IF NOT EXISTS {} AS {data_type}{words}", qualified(&name));
        out.say(Phase::BeforeLoad, Kind::Sequence, Some(&laid.source.name), sql, describes(&name));
    }
}

fn counting_of<'l>(laid: &'l Laid<'_>, at: usize) -> Option<&'l Counting> {
    match &laid.source.columns.get(at)?.default {
        ColumnDefault::Identity { counting, .. } | ColumnDefault::Serial { counting, .. } => {
            counting.as_ref()
        }
        _ => None,
    }
}

/// How a sequence counts, as it is written behind its name or its type.
pub(super) fn words(counting: &Counting) -> String {
    format!(
        " INCREMENT BY {} MINVALUE {} MAXVALUE {} START WITH {} CACHE {}{}",
        counting.increment,
        counting.min,
        counting.max,
        counting.start,
        counting.cache,
        if counting.cycle { " CYCLE" } else { "" }
    )
}

/// Ties them to their columns, with which they are dropped.
pub(super) fn owners(laid: &Laid<'_>, out: &mut Out) {
    for (at, name) in with_defaults(laid) {
        let Some(column) = laid.columns.get(at) else { continue };
        let owner = format!("{}.{}", qualified(&laid.name), identifier(&column.target));
        let sql = format!("ALTER SEQUENCE {} OWNED BY {owner}", qualified(&name));
        let text = format!("owner of {}", describes(&name));
        out.say(Phase::BeforeLoad, Kind::Sequence, Some(&laid.source.name), sql, text);
    }
}

/// Columns whose sequence is asked by their default, with its name.
fn with_defaults(laid: &Laid<'_>) -> Vec<(usize, TableName)> {
    let mut found = Vec::new();
    for (at, (source, column)) in laid.source.columns.iter().zip(&laid.columns).enumerate() {
        let by_itself = match source.default {
            ColumnDefault::Serial { .. } => true,
            ColumnDefault::Identity { .. } => !can_be_identity(&column.mapped.target),
            _ => false,
        };
        if let (true, Some(Some(name))) = (by_itself, laid.sequences.get(at)) {
            found.push((at, TableName { schema: laid.name.schema.clone(), name: name.clone() }));
        }
    }
    found
}

/// Moves all sequences to their next values.
pub(super) fn next_values(layout: &Layout<'_>, out: &mut Out) {
    for (sequence, name) in layout.schema.sequences.iter().zip(&layout.sequences) {
        if let Some(next) = sequence.next {
            out.say(Phase::Last, Kind::NextValue, None, next_value(name, next), next_of(name));
        }
    }
    for laid in &layout.tables {
        for (source, column) in laid.source.columns.iter().zip(&laid.columns) {
            let (next, counting) = match source.default {
                ColumnDefault::Identity { next, counting, .. } | ColumnDefault::Serial { next, counting } => {
                    (next, counting)
                }
                _ => continue,
            };
            let sql = match counting {
                None => {
                    if next.is_some_and(|next| next < 1) {
                        let text = "counts down, or from below 1: its sequence counts up from 1 here";
                        out.note(Some(&laid.source.name), format!("column {}", source.name), text);
                    }
                    after_the_largest(&laid.name, &column.target, next)
                }
                Some(counting) => by_its_steps(&laid.name, &column.target, next, &counting),
            };
            let text = format!("next value of {}.{}", shown(&laid.name), column.target);
            out.say(Phase::Last, Kind::NextValue, Some(&laid.source.name), sql, text);
        }
    }
}

/// Moves a sequence that no column owns, unless somebody has it further on in the target.
pub(super) fn next_value(name: &TableName, next: i64) -> String {
    let sequence = qualified(name);
    let regclass = format!("{}::pg_catalog.regclass", literal(&sequence));
    format!(
        "SELECT pg_catalog.setval({regclass}, {next}, false) FROM {sequence} AS now, pg_catalog.pg_sequence AS its \
         WHERE its.seqrelid = {regclass} AND (NOT now.is_called OR CASE WHEN its.seqincrement > 0 \
         THEN now.last_value < {next} ELSE now.last_value > {next} END)"
    )
}

/// What that is for people.
pub(super) fn next_of(name: &TableName) -> String {
    format!("next value of {}", describes(name))
}

/// Asks for the sequence by its column: an older table of that name may have one with another name. It is told the last
/// value and not the next one, which may be one too large for the type.
fn after_the_largest(table: &TableName, column: &str, next: Option<i64>) -> String {
    let used = next.map_or(0, |next| next.saturating_sub(1).max(0));
    let sequence = sequence_of(table, column);
    format!(
        "SELECT pg_catalog.setval({sequence}, GREATEST(highest, 1), highest >= 1) FROM (SELECT \
         GREATEST(COALESCE(max({}), 0), {used})::bigint AS highest FROM {}) AS used",
        identifier(column),
        qualified(table)
    )
}

/// The same for a sequence with steps or bounds of its own: from `next` on (where that is not known, from its start)
/// by its steps, until it is past all that was loaded; used up where that is past its end. What begins again at its end
/// has values before it and behind it: there the source's word counts alone.
fn by_its_steps(table: &TableName, column: &str, next: Option<i64>, counting: &Counting) -> String {
    let sequence = sequence_of(table, column);
    let from = next.unwrap_or(counting.start).clamp(counting.min, counting.max);
    if next.is_some() && counting.cycle {
        return format!("SELECT pg_catalog.setval({sequence}, ({from})::bigint, false)");
    }
    let step = counting.increment.unsigned_abs();
    let (furthest, reached, sign, beyond, end) = if counting.increment > 0 {
        ("max", ">=", "+", ">", counting.max)
    } else {
        ("min", "<=", "-", "<", counting.min)
    };
    format!(
        "SELECT CASE WHEN following {beyond} ({end}) THEN pg_catalog.setval({sequence}, ({end})::bigint, true) \
         ELSE pg_catalog.setval({sequence}, following::bigint, false) END FROM (SELECT CASE WHEN furthest {reached} \
         ({from}) THEN ({from}) {sign} (pg_catalog.div(pg_catalog.abs(furthest - ({from})), {step}) + 1) * {step} \
         ELSE ({from}) END AS following FROM (SELECT {furthest}({})::numeric AS furthest FROM {}) AS loaded) AS used",
        identifier(column),
        qualified(table)
    )
}

fn sequence_of(table: &TableName, column: &str) -> String {
    format!(
        "pg_catalog.pg_get_serial_sequence({}, {})::pg_catalog.regclass",
        literal(&qualified(table)),
        literal(column)
    )
}

fn describes(name: &TableName) -> String {
    format!("sequence {}", shown(name))
}
