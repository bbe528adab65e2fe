//! Tables and columns for tests, as plain as they can be.

use super::{Column, ColumnDefault, Table, TableName};

pub(crate) fn name(schema: &str, of: &str) -> TableName {
    TableName { schema: schema.to_owned(), name: of.to_owned() }
}

/// One that may be null, and has no default.
pub(crate) fn column(of: &str, source_type: &str) -> Column {
    Column {
        name: of.to_owned(),
        source_type: source_type.to_owned(),
        nullable: true,
        default: ColumnDefault::None,
        collation: None,
        comment: None,
    }
}

/// One without a key, and of which nothing is known.
pub(crate) fn table(name: TableName, columns: Vec<Column>) -> Table {
    Table {
        name,
        columns,
        primary_key: Vec::new(),
        primary_key_name: None,
        indexes: Vec::new(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        comment: None,
        estimated_rows: None,
        bytes: None,
    }
}
