//! Indexes and keys, from rows to what a catalog has of them.
//!
//! Goes in: a row for each index. Comes out: a table's primary key and indexes, and a materialised view's.
//! Always holds: what is left out, or becomes something else, is told.

use super::rows::IndexRow;
use crate::migrate::catalog::Draft;
use crate::migrate::quote::shown;
use crate::migrate::schema::{Index, IndexPart};
use std::collections::BTreeMap;

/// Adds an index to its table, or to those `of_views`, which are by relation.
pub(super) fn add_index(draft: &mut Draft<u32>, row: &IndexRow, of_views: &mut BTreeMap<u32, Vec<Index>>) {
    let subject = format!("the index {} of {}", row.name, shown(&row.of));
    if !row.valid {
        draft.remark(subject, "is not valid on the source: it is left out");
        return;
    }
    // A deferrable key is none that rows can be replaced by, or a foreign key refer to.
    let deferrable = row.deferrable && !row.primary && row.constraint_statement.is_some();
    let as_one_statement = row.constraint.as_deref() == Some("x") || row.method != "btree" || deferrable;
    let by_constraint = row.constraint_statement.as_deref().filter(|_| as_one_statement);
    let index = index_of(row, by_constraint);
    let Some(table) = draft.table(&row.relation) else {
        of_views.entry(row.relation).or_default().push(index);
        return;
    };
    if row.primary && !as_one_statement {
        let keys = row.parts.len() - index.include.len();
        table.primary_key = row.parts[..keys].to_vec();
        table.primary_key_name = Some(row.name.clone());
        if !index.include.is_empty() {
            let text = format!("includes {}: the primary key is moved without", index.include.join(", "));
            draft.remark(subject, text);
        }
        return;
    }
    table.indexes.push(index);
    if by_constraint.is_some() && !row.parameters.is_empty() {
        let text = format!("is made without its storage parameters: {}", row.parameters.join(", "));
        draft.remark(subject.clone(), text);
    }
    if row.deferrable && by_constraint.is_none() {
        draft.remark(subject, "stands behind a deferrable constraint: it becomes one that is not");
    }
}

/// `by_constraint`: the statement that makes it together with its constraint.
fn index_of(row: &IndexRow, by_constraint: Option<&str>) -> Index {
    let keys = usize::try_from(row.keys).unwrap_or_default().min(row.parts.len());
    let parts = row.parts.iter().zip(&row.is_column).zip(&row.descending).take(keys);
    Index {
        name: row.name.clone(),
        parts: parts
            .map(|((expression, is_column), descending)| IndexPart {
                expression: expression.clone(),
                is_column: *is_column,
                descending: *descending,
                prefix: None,
            })
            .collect(),
        unique: row.unique && by_constraint.is_none(),
        constraint: row.constraint.is_some(),
        method: row.method.clone(),
        include: row.parts[keys..].to_vec(),
        condition: row.condition.clone(),
        definition: Some(by_constraint.unwrap_or(&row.definition).to_owned()),
    }
}
