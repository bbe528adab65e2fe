//! The rows of each query, and how they are read: one struct a query, so that the assembly is tested without a server.

use crate::migrate::catalog::UserType;
use crate::migrate::quote;
use crate::migrate::schema::TableName;
use crate::postgres::PostgresError;
use tokio_postgres::{Client, Error, Row};

/// The answers to all queries.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    /// `server_version_num`.
    pub(super) version_num: u32,
    /// Bytes of a block.
    pub(super) block_size: i64,
    pub(super) relations: Vec<RelationRow>,
    /// In order of relation and position.
    pub(super) columns: Vec<ColumnRow>,
    pub(super) indexes: Vec<IndexRow>,
    pub(super) constraints: Vec<ConstraintRow>,
    pub(super) sequences: Vec<SequenceRow>,
    /// Of those that may be read.
    pub(super) sequence_values: Vec<SequenceValueRow>,
    pub(super) views: Vec<ViewRow>,
    /// (the view that reads, the view that it reads).
    pub(super) view_reads: Vec<(u32, u32)>,
    pub(super) types: Vec<UserType>,
    pub(super) comments: Vec<CommentRow>,
    pub(super) others: Vec<OtherRow>,
}

/// An ordinary (`r`), partitioned (`p`) or foreign (`f`) table, or a partition.
#[derive(Debug, Clone)]
pub(super) struct RelationRow {
    pub(super) oid: u32,
    pub(super) name: TableName,
    pub(super) kind: String,
    pub(super) is_partition: bool,
    /// Whose partition it is, or what it inherits from.
    pub(super) parents: Vec<u32>,
    pub(super) bound: Option<String>,
    pub(super) partition_key: Option<String>,
    pub(super) heap: bool,
    pub(super) reltuples: f32,
    pub(super) relpages: i32,
    /// Bytes of the main fork; `None` where there is none.
    pub(super) heap_bytes: Option<i64>,
    pub(super) table_bytes: Option<i64>,
    pub(super) comment: Option<String>,
    /// Storage parameters: `fillfactor=70`.
    pub(super) parameters: Vec<String>,
    /// Those of its TOAST table.
    pub(super) toast_parameters: Vec<String>,
    /// `d`: its primary key, `f`: all columns, `n`: nothing, `i`: an index.
    pub(super) replica_identity: String,
}

/// A column of a table that is no partition.
#[derive(Debug, Clone)]
pub(super) struct ColumnRow {
    pub(super) relation: u32,
    pub(super) position: i16,
    pub(super) name: String,
    pub(super) source_type: String,
    pub(super) not_null: bool,
    /// `a`: always, `d`: by default, empty: no identity.
    pub(super) identity: String,
    /// `s`: stored, `v`: virtual, empty: not generated.
    pub(super) generated: String,
    pub(super) expression: Option<String>,
    pub(super) collation: Option<String>,
    pub(super) comment: Option<String>,
}

/// An index of a table or a materialised view.
#[derive(Debug, Clone)]
pub(super) struct IndexRow {
    pub(super) relation: u32,
    pub(super) of: TableName,
    pub(super) name: String,
    pub(super) unique: bool,
    pub(super) primary: bool,
    pub(super) valid: bool,
    pub(super) method: String,
    /// So many of the first parts are searched by; the others are included.
    pub(super) keys: i16,
    /// Columns' names, and expressions.
    pub(super) parts: Vec<String>,
    pub(super) is_column: Vec<bool>,
    pub(super) descending: Vec<bool>,
    pub(super) definition: String,
    pub(super) condition: Option<String>,
    /// `p`, `u` or `x`, of the constraint that it stands behind.
    pub(super) constraint: Option<String>,
    pub(super) deferrable: bool,
    /// The `ALTER TABLE` that adds that constraint.
    pub(super) constraint_statement: Option<String>,
    /// Storage parameters, which `definition` has too.
    pub(super) parameters: Vec<String>,
}

/// A check (`c`) or a foreign key (`f`).
#[derive(Debug, Clone)]
pub(super) struct ConstraintRow {
    pub(super) relation: u32,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) definition: String,
}

/// A sequence.
#[derive(Debug, Clone)]
pub(super) struct SequenceRow {
    pub(super) oid: u32,
    pub(super) name: TableName,
    pub(super) data_type: String,
    pub(super) start: i64,
    pub(super) increment: i64,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) cache: i64,
    pub(super) cycle: bool,
    /// The default that asks it, as PostgreSQL writes it.
    pub(super) nextval: String,
    /// The column that owns it: relation and position.
    pub(super) owner: Option<(u32, i16)>,
    /// Its value may be read by this role.
    pub(super) readable: bool,
}

/// A sequence's present value.
#[derive(Debug, Clone, Copy)]
pub(super) struct SequenceValueRow {
    pub(super) oid: u32,
    pub(super) last_value: i64,
    /// `last_value` was given already.
    pub(super) is_called: bool,
}

/// A view.
#[derive(Debug, Clone)]
pub(super) struct ViewRow {
    pub(super) oid: u32,
    pub(super) name: TableName,
    pub(super) materialized: bool,
    pub(super) query: String,
    pub(super) options: Option<String>,
    pub(super) comment: Option<String>,
}

/// What was said of something that is neither a table nor a view nor a column of a table.
#[derive(Debug, Clone)]
pub(super) struct CommentRow {
    /// `schema`, `type`, `attribute`, `domain check`, `index`, `constraint`, `sequence` or `view column`.
    pub(super) kind: String,
    pub(super) schema: String,
    /// What it belongs to; a type's name with its schema. Of what belongs to nothing its own name.
    pub(super) of: String,
    pub(super) name: String,
    pub(super) text: String,
}

/// Things of one kind that are not moved.
#[derive(Debug, Clone)]
pub(super) struct OtherRow {
    pub(super) kind: String,
    pub(super) count: i64,
    /// The first five names.
    pub(super) examples: Vec<String>,
}

/// Sends a query without parameters and reads its rows.
pub(super) async fn ask<T>(
    client: &Client,
    doing: &str,
    sql: &str,
    read: fn(&Row) -> Result<T, Error>,
) -> Result<Vec<T>, PostgresError> {
    let failed = |error: Error| PostgresError::statement(doing, &error);
    let rows = client.query_typed(sql, &[]).await.map_err(failed)?;
    let mut read_rows = Vec::with_capacity(rows.len());
    for row in &rows {
        read_rows.push(read(row).map_err(failed)?);
    }
    Ok(read_rows)
}

fn name_at(row: &Row, schema: usize) -> Result<TableName, Error> {
    Ok(TableName { schema: row.try_get(schema)?, name: row.try_get(schema + 1)? })
}

impl RelationRow {
    pub(super) fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            name: name_at(row, 1)?,
            kind: row.try_get(3)?,
            is_partition: row.try_get(4)?,
            parents: row.try_get::<_, Option<Vec<u32>>>(5)?.unwrap_or_default(),
            bound: row.try_get(6)?,
            partition_key: row.try_get(7)?,
            heap: row.try_get(8)?,
            reltuples: row.try_get(9)?,
            relpages: row.try_get(10)?,
            heap_bytes: row.try_get(11)?,
            table_bytes: row.try_get(12)?,
            comment: row.try_get(13)?,
            parameters: row.try_get::<_, Option<Vec<String>>>(14)?.unwrap_or_default(),
            toast_parameters: row.try_get::<_, Option<Vec<String>>>(15)?.unwrap_or_default(),
            replica_identity: row.try_get(16)?,
        })
    }
}

impl ColumnRow {
    pub(super) fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            relation: row.try_get(0)?,
            position: row.try_get(1)?,
            name: row.try_get(2)?,
            source_type: row.try_get(3)?,
            not_null: row.try_get(4)?,
            identity: row.try_get(5)?,
            generated: row.try_get(6)?,
            expression: row.try_get(7)?,
            collation: row.try_get(8)?,
            comment: row.try_get(9)?,
        })
    }
}

impl IndexRow {
    pub(super) fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            relation: row.try_get(0)?,
            of: name_at(row, 1)?,
            name: row.try_get(3)?,
            unique: row.try_get(4)?,
            primary: row.try_get(5)?,
            valid: row.try_get(6)?,
            method: row.try_get(7)?,
            keys: row.try_get(8)?,
            parts: row.try_get(9)?,
            is_column: row.try_get(10)?,
            descending: row.try_get(11)?,
            definition: row.try_get(12)?,
            condition: row.try_get(13)?,
            constraint: row.try_get(14)?,
            deferrable: row.try_get(15)?,
            constraint_statement: row.try_get(16)?,
            parameters: row.try_get::<_, Option<Vec<String>>>(17)?.unwrap_or_default(),
        })
    }
}

impl ConstraintRow {
    pub(super) fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            relation: row.try_get(0)?,
            name: row.try_get(1)?,
            kind: row.try_get(2)?,
            definition: row.try_get(3)?,
        })
    }
}

impl SequenceRow {
    pub(super) fn of(row: &Row) -> Result<Self, Error> {
        let relation: Option<u32> = row.try_get(11)?;
        let position: Option<i32> = row.try_get(12)?;
        // Positions of columns are 16 bits wide where they are at home.
        let position = position.and_then(|position| i16::try_from(position).ok());
        Ok(Self {
            oid: row.try_get(0)?,
            name: name_at(row, 1)?,
            data_type: row.try_get(3)?,
            start: row.try_get(4)?,
            increment: row.try_get(5)?,
            min: row.try_get(6)?,
            max: row.try_get(7)?,
            cache: row.try_get(8)?,
            nextval: row.try_get(9)?,
            cycle: row.try_get(10)?,
            owner: relation.zip(position),
            readable: row.try_get(13)?,
        })
    }
}

impl SequenceValueRow {
    pub(super) fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self { oid: row.try_get(0)?, last_value: row.try_get(1)?, is_called: row.try_get(2)? })
    }
}

impl ViewRow {
    pub(super) fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            name: name_at(row, 1)?,
            materialized: row.try_get(3)?,
            query: row.try_get(4)?,
            options: row.try_get(5)?,
            comment: row.try_get(6)?,
        })
    }
}

impl CommentRow {
    pub(super) fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            kind: row.try_get(0)?,
            schema: row.try_get(1)?,
            of: row.try_get(2)?,
            name: row.try_get(3)?,
            text: row.try_get(4)?,
        })
    }
}

impl OtherRow {
    pub(super) fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self { kind: row.try_get(0)?, count: row.try_get(1)?, examples: row.try_get(2)? })
    }
}

/// `server_version_num` and `block_size`.
pub(super) fn server_of(row: &Row) -> Result<(i32, i64), Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

pub(super) fn view_read_of(row: &Row) -> Result<(u32, u32), Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

pub(super) fn type_of(row: &Row) -> Result<UserType, Error> {
    let kind: &str = row.try_get(1)?;
    let kind = match kind {
        "e" => "enum",
        "d" => "domain",
        "c" => "composite",
        "r" => "range",
        other => other,
    };
    Ok(UserType { name: row.try_get(0)?, kind: kind.to_owned(), definition: row.try_get(2)? })
}

/// Asks several sequences for their values by one statement; `sequences` is not empty.
pub(super) fn values_statement(sequences: &[&SequenceRow]) -> String {
    let arms: Vec<String> = sequences
        .iter()
        .map(|sequence| {
            let name = quote::qualified(&sequence.name);
            format!("SELECT {}::pg_catalog.oid, last_value, is_called FROM {name}", sequence.oid)
        })
        .collect();
    arms.join(" UNION ALL ")
}
