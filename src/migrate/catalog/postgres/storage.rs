//! How tables and partitions are stored, from rows to what a catalog has of it.
//!
//! Goes in: the rows. Comes out: what of it somebody said, by table. Always holds: a partition has what is
//! its own; what is said of a primary key stands with its table, a partitioned one too.

use super::rows::{IndexRow, RelationRow, Rows};
use crate::migrate::catalog::Storage;
use crate::migrate::schema::TableName;
use std::collections::BTreeMap;

pub(super) fn storage_of(rows: &Rows) -> BTreeMap<TableName, Storage> {
    let mut found: BTreeMap<TableName, Storage> = BTreeMap::new();
    for row in rows.relations.iter().filter(|row| row.kind != "f") {
        found.insert(row.name.clone(), of_relation(row));
    }
    // Any other stands behind a constraint that is made in one statement.
    for row in rows.indexes.iter().filter(|row| row.primary && row.valid && row.method == "btree") {
        if let Some(storage) = found.get_mut(&row.of) {
            storage.key_parameters.clone_from(&row.parameters);
            storage.key_deferrable = deferrable_of(row).map(ToOwned::to_owned);
        }
    }
    found.retain(|_, storage| *storage != Storage::default());
    found
}

fn of_relation(row: &RelationRow) -> Storage {
    let of_toast = row.toast_parameters.iter().map(|parameter| format!("toast.{parameter}"));
    let replica_identity = match row.replica_identity.as_str() {
        "f" => Some("FULL"),
        "n" => Some("NOTHING"),
        _ => None,
    };
    Storage {
        parameters: row.parameters.iter().cloned().chain(of_toast).collect(),
        replica_identity: replica_identity.map(ToOwned::to_owned),
        ..Storage::default()
    }
}

/// PostgreSQL writes it at the end.
fn deferrable_of(row: &IndexRow) -> Option<&'static str> {
    let statement = row.constraint_statement.as_deref().unwrap_or_default();
    let at_the_end = statement.ends_with(" INITIALLY DEFERRED");
    row.deferrable.then_some(if at_the_end { "DEFERRABLE INITIALLY DEFERRED" } else { "DEFERRABLE" })
}
