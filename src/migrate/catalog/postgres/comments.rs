//! What was said of things, from rows to what a catalog has of it.
//!
//! Goes in: the rows. Comes out: each comment with what it is on. Always holds: a sequence that comes with
//! its column is known by the column, since its name in the target is made of that.

use super::rows::{CommentRow, Rows};
use crate::migrate::catalog::{Comment, Commented};
use crate::migrate::schema::TableName;
use std::collections::{HashMap, HashSet};

/// All comments, by what they are on. `with_a_column`: the sequences that come with their column.
pub(super) fn comments_of(rows: &Rows, with_a_column: &HashSet<u32>) -> Vec<Comment> {
    if rows.comments.is_empty() {
        return Vec::new();
    }
    let owners = owners_of(rows, with_a_column);
    let found = rows.comments.iter().filter(|row| !row.text.is_empty()).filter_map(|row| {
        let of = commented(row, &owners)?;
        Some(Comment { of, text: row.text.clone() })
    });
    let mut comments: Vec<Comment> = found.collect();
    comments.sort();
    comments
}

fn commented(row: &CommentRow, owners: &HashMap<&TableName, (&TableName, &str)>) -> Option<Commented> {
    let (of_type, name) = (row.of.clone(), row.name.clone());
    let of = TableName { schema: row.schema.clone(), name: row.of.clone() };
    Some(match row.kind.as_str() {
        "schema" => Commented::Schema(name),
        "type" => Commented::Type(of_type),
        "attribute" => Commented::Attribute { of: of_type, name },
        "domain check" => Commented::DomainCheck { of: of_type, name },
        "index" => Commented::Index { of, name },
        "constraint" => Commented::Constraint { of, name },
        "sequence" => match owners.get(&of) {
            Some((table, column)) => {
                Commented::ColumnSequence { of: (*table).clone(), column: (*column).to_owned() }
            }
            None => Commented::Sequence(of),
        },
        "view column" => Commented::ViewColumn { of, name },
        _ => return None,
    })
}

/// For each sequence that comes with its column the table and that column.
fn owners_of<'a>(
    rows: &'a Rows,
    with_a_column: &HashSet<u32>,
) -> HashMap<&'a TableName, (&'a TableName, &'a str)> {
    let tables: HashMap<u32, &TableName> = rows.relations.iter().map(|row| (row.oid, &row.name)).collect();
    let columns: HashMap<(u32, i16), &str> =
        rows.columns.iter().map(|row| ((row.relation, row.position), row.name.as_str())).collect();
    let owned = rows.sequences.iter().filter(|row| with_a_column.contains(&row.oid)).filter_map(|row| {
        let owner = row.owner?;
        Some((&row.name, (*tables.get(&owner.0)?, *columns.get(&owner)?)))
    });
    owned.collect()
}
