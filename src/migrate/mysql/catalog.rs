//! Reading a database's catalog: asks what [`catalog::mysql`](crate::migrate::catalog::mysql) wants to know, and hands
//! the answers over.
//!
//! Always holds: eight queries at most, whatever the number of tables. `information_schema` is as of now, also within a
//! snapshot.

use super::connect::text_at;
use super::errors::{MySqlError, ReadError};
use super::session::MySqlSession;
use crate::migrate::catalog::Catalog;
use crate::migrate::catalog::mysql::{
    self as questions, CheckRow, ColumnRow, ForeignKeyPartRow, ForeignKeyRow, IndexPartRow, OtherRow, Rows,
    TableRow, ViewRow,
};
use mysql_async::{Params, Row, Value};

impl MySqlSession {
    /// What the session's database holds.
    pub(crate) async fn read_catalog(&mut self) -> Result<Catalog, MySqlError> {
        let flavour = self.flavour();
        let wanted = questions::statements(flavour);
        if let Some(sql) = wanted.fresh_statistics {
            let asked = self.ask("asking for fresh statistics", sql, Params::Empty).await;
            match asked {
                Ok(_) => {}
                // The numbers of rows are older then, and nothing else.
                Err(error @ ReadError::Permanent { .. }) => tracing::debug!("{error}"),
                Err(error) => return Err(error.into()),
            }
        }
        let mut rows = Rows {
            tables: self.all("reading the source's tables", wanted.tables, table_row).await?,
            columns: self.all("reading the source's columns", wanted.columns, column_row).await?,
            ..Rows::default()
        };
        rows.index_parts =
            self.all("reading the source's indexes", wanted.index_parts, index_part_row).await?;
        let doing = "reading the source's foreign keys";
        rows.foreign_key_parts = self.all(doing, wanted.foreign_key_parts, foreign_key_part_row).await?;
        rows.foreign_keys = self.all(doing, wanted.foreign_keys, foreign_key_row).await?;
        if let Some(checks) = wanted.checks {
            rows.checks = self.all("reading the source's checks", checks, check_row).await?;
        }
        rows.views = self.all("reading the source's views", wanted.views, view_row).await?;
        rows.others = self.all("reading what the source holds besides", wanted.others, other_row).await?;
        Ok(questions::assemble(flavour, &rows))
    }

    /// Every `?` of the statement is the database.
    async fn all<T>(&mut self, doing: &str, sql: &str, of: fn(&Row) -> T) -> Result<Vec<T>, ReadError> {
        let many = sql.matches('?').count();
        let database = Value::Bytes(self.database().as_bytes().to_vec());
        let found = self.ask(doing, sql, Params::Positional(vec![database; many])).await?;
        Ok(found.iter().map(of).collect())
    }
}

/// A text; empty where it is NULL.
fn text(row: &Row, at: usize) -> String {
    text_at(row, at).unwrap_or_default()
}

/// A whole number that is not negative.
fn number(row: &Row, at: usize) -> Option<u64> {
    match row.as_ref(at)? {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::UInt(number) => Some(*number),
        _ => text_at(row, at)?.parse().ok(),
    }
}

fn table_row(row: &Row) -> TableRow {
    TableRow {
        schema: text(row, 0),
        name: text(row, 1),
        kind: text(row, 2),
        rows: number(row, 3),
        bytes: number(row, 4),
        auto_increment: number(row, 5),
        options: text_at(row, 6),
        comment: text_at(row, 7),
    }
}

fn column_row(row: &Row) -> ColumnRow {
    ColumnRow {
        table: text(row, 0),
        name: text(row, 1),
        source_type: text(row, 2),
        nullable: text(row, 3),
        default: text_at(row, 4),
        extra: text(row, 5),
        collation: text_at(row, 6),
        generation: text_at(row, 7),
        comment: text_at(row, 8),
    }
}

fn index_part_row(row: &Row) -> IndexPartRow {
    IndexPartRow {
        table: text(row, 0),
        index: text(row, 1),
        // What is not known is not unique: then no row is refused because of it.
        non_unique: number(row, 2).unwrap_or(1),
        column: text_at(row, 3),
        expression: text_at(row, 4),
        prefix: number(row, 5),
        collation: text_at(row, 6),
        method: text(row, 7),
    }
}

fn foreign_key_part_row(row: &Row) -> ForeignKeyPartRow {
    ForeignKeyPartRow {
        table: text(row, 0),
        name: text(row, 1),
        column: text(row, 2),
        to_schema: text(row, 3),
        to_table: text(row, 4),
        to_column: text(row, 5),
    }
}

fn foreign_key_row(row: &Row) -> ForeignKeyRow {
    ForeignKeyRow {
        table: text(row, 0),
        name: text(row, 1),
        on_update: text(row, 2),
        on_delete: text(row, 3),
    }
}

fn check_row(row: &Row) -> CheckRow {
    CheckRow { table: text(row, 0), name: text(row, 1), clause: text(row, 2), enforced: text(row, 3) }
}

fn view_row(row: &Row) -> ViewRow {
    ViewRow { schema: text(row, 0), name: text(row, 1), query: text(row, 2), check_option: text(row, 3) }
}

fn other_row(row: &Row) -> OtherRow {
    let count = number(row, 1).and_then(|count| i64::try_from(count).ok());
    OtherRow { kind: text(row, 0), count: count.unwrap_or_default() }
}
