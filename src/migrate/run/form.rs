//! In which form rows travel into tables that were there before the run.
//!
//! In: the plan, and the types of the target's columns. Out: the plan, in which a table travels as text where a column
//! has another type in the target than the source's becomes. Always holds: COPY's binary form goes between columns of
//! one type alone. Another type would take the same bytes for another value, often without a word (a bigint's 5 is a
//! numeric's 0.00000); as text a value is converted, or refused and rejected with its row. It changes no table.

use super::{MigrateError, Running};
use crate::config::TargetMode;
use crate::migrate::plan::PlannedTable;
use crate::migrate::quote;
use crate::postgres::PostgresError;
use tokio_postgres::Client;

/// Columns whose type is another one: their table's number, their name, the type that is planned, the one that is
/// there. A type with other modifiers is the same one: it has the same binary form, and the server applies its own.
const OTHERS: &str = "\
SELECT w.number, w.column_name, w.type_name, pg_catalog.format_type(a.atttypid, a.atttypmod)
FROM ROWS FROM (pg_catalog.unnest($1::bigint[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]),
                pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]))
     AS w(number, schema_name, table_name, column_name, type_name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table_name
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.column_name AND NOT a.attisdropped
WHERE a.atttypid IS DISTINCT FROM pg_catalog.to_regtype(w.type_name)::oid
ORDER BY w.number, a.attnum";

/// A column whose type is another one in the target.
#[derive(Debug)]
struct Other {
    table: i64,
    column: String,
    planned: String,
    there: String,
}

impl Running<'_> {
    /// Where the run makes its tables itself they have the plan's types.
    pub(super) async fn settle_form(&mut self) -> Result<(), MigrateError> {
        if self.config.settings.target_mode == TargetMode::DropRecreate {
            return Ok(());
        }
        let others = others(self.target.client(), &self.plan.tables).await.map_err(MigrateError::Target)?;
        for other in others {
            let table = usize::try_from(other.table).ok().and_then(|at| self.plan.tables.get_mut(at));
            let Some(table) = table else { continue };
            table.binary = false;
            self.notes.push(format!(
                "{}.{} is {} in the target and would be {}: the table travelled as text",
                quote::shown(&table.target),
                other.column,
                other.there,
                other.planned
            ));
        }
        Ok(())
    }
}

/// One query, whatever the number of tables.
async fn others(client: &Client, tables: &[PlannedTable]) -> Result<Vec<Other>, PostgresError> {
    let failed = |error: tokio_postgres::Error| {
        PostgresError::statement("looking at the types of the target's columns", &error)
    };
    let mut numbers: Vec<i64> = Vec::new();
    let mut schemas: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut columns: Vec<&str> = Vec::new();
    let mut types: Vec<&str> = Vec::new();
    for (number, table) in (0_i64..).zip(tables) {
        for column in table.laid.iter().filter(|column| table.binary && !column.computed) {
            numbers.push(number);
            schemas.push(&table.target.schema);
            names.push(&table.target.name);
            columns.push(&column.target);
            types.push(&column.mapped.target);
        }
    }
    let rows = client.query(OTHERS, &[&numbers, &schemas, &names, &columns, &types]).await.map_err(failed)?;
    let mut others = Vec::with_capacity(rows.len());
    for row in rows {
        others.push(Other {
            table: row.try_get(0).map_err(failed)?,
            column: row.try_get(1).map_err(failed)?,
            planned: row.try_get(2).map_err(failed)?,
            there: row.try_get(3).map_err(failed)?,
        });
    }
    Ok(others)
}
