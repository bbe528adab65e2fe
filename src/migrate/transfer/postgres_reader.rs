//! Reading chunks of a PostgreSQL, all of them as of one moment.
//!
//! In: a chunk's relation, columns and extent. Out: its rows in COPY's form, into a [`Sink`]. Always holds: a reader
//! sees the snapshot that the run's control connection exported; rows are forwarded and not looked at.

use super::copy::{Form, Rows};
use super::failure::{Failure, Side};
use super::segment::{Sink, Totals};
use crate::config::DatabaseEndpoint;
use crate::migrate::quote;
use crate::migrate::ranges::{Extent, KeyValue, Range};
use crate::migrate::schema::TableName;
use crate::migrate::types::Engine;
use crate::postgres::{Connection, connect_for_work};
use futures_util::TryStreamExt;
use std::time::Duration;

/// A session of the source that reads.
#[derive(Debug)]
pub(crate) struct PostgresReader {
    connection: Connection,
}

/// What is written into each session: dates, floats and bytes must have the text that any server reads back alike.
pub(crate) const EXACT_TEXT: &str = "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; \
     SET extra_float_digits = 3; SET bytea_output = 'hex'; SET client_encoding = 'UTF8'; SET search_path = ''; \
     SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";

impl PostgresReader {
    /// Connects, and takes the snapshot on.
    pub(crate) async fn open(
        source: &DatabaseEndpoint,
        name: &str,
        snapshot: &str,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let connection = connect_for_work(source.postgres_dsn().expose(), name, timeout)
            .await
            .map_err(|error| Failure::lost(Side::Source, error.to_string()))?;
        let begin = format!(
            "{EXACT_TEXT}; BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}",
            quote::literal(snapshot)
        );
        connection
            .client()
            .batch_execute(&begin)
            .await
            .map_err(|error| Failure::of(Side::Source, "taking on the snapshot", &error))?;
        Ok(Self { connection })
    }

    /// Whether the session can go on.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// Sends a chunk's rows into the sink. `None`: its writer has gone, and nobody wants the rest.
    pub(crate) async fn read(
        &self,
        columns: &[&str],
        relation: &TableName,
        extent: &Extent,
        form: Form,
        mut sink: Sink,
    ) -> Option<Totals> {
        match self.forward(columns, relation, extent, form, &mut sink).await {
            Ok(true) => sink.finish().await.ok(),
            Ok(false) => None,
            Err(failure) => {
                sink.fail(failure);
                None
            }
        }
    }

    /// `false`: the writer has gone.
    async fn forward(
        &self,
        columns: &[&str],
        relation: &TableName,
        extent: &Extent,
        form: Form,
        sink: &mut Sink,
    ) -> Result<bool, Failure> {
        let doing = || format!("reading {}", quote::shown(relation));
        let failed = |error: tokio_postgres::Error| Failure::of(Side::Source, &doing(), &error);
        let copy = format!("COPY ({}) TO STDOUT (FORMAT {})", select(columns, relation, extent), form.word());
        let stream = self.connection.client().copy_out(&copy).await.map_err(failed)?;
        tokio::pin!(stream);
        let mut rows = Rows::new(form);
        while let Some(message) = stream.try_next().await.map_err(failed)? {
            let row = rows
                .row(&message)
                .map_err(|error| Failure::lasting(Side::Source, format!("{}: {error}", doing())))?;
            if let Some(row) = row
                && sink.row(row).await.is_err()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The key behind which `rows` rows of the extent lie; `None`: it has no more than that.
    pub(crate) async fn boundary(
        &self,
        relation: &TableName,
        extent: &Extent,
        rows: u32,
    ) -> Result<Option<Vec<KeyValue>>, Failure> {
        let Extent::Keyset { columns, .. } = extent else { return Ok(None) };
        let texts: Vec<String> =
            columns.iter().map(|column| format!("{}::text", quote::identifier(column))).collect();
        let range = Range { number: 0, extent: extent.clone(), estimated_rows: None };
        let sql = format!(
            "SELECT {} FROM ONLY {}{} OFFSET {} LIMIT 1",
            texts.join(", "),
            quote::qualified(relation),
            range.tail(Engine::Postgres, None),
            rows.saturating_sub(1)
        );
        let doing = format!("asking {} for a key", quote::shown(relation));
        let found = self
            .connection
            .client()
            .query_opt(&sql, &[])
            .await
            .map_err(|error| Failure::of(Side::Source, &doing, &error))?;
        let Some(row) = found else { return Ok(None) };
        let mut key = Vec::with_capacity(columns.len());
        for at in 0..columns.len() {
            let text: String = row.try_get(at).map_err(|error| Failure::of(Side::Source, &doing, &error))?;
            key.push(KeyValue::Text(text));
        }
        Ok(Some(key))
    }
}

fn select(columns: &[&str], relation: &TableName, extent: &Extent) -> String {
    let names: Vec<String> = columns.iter().map(|column| quote::identifier(column)).collect();
    let range = Range { number: 0, extent: extent.clone(), estimated_rows: None };
    let mut sql = format!("SELECT {} FROM ONLY {}", names.join(", "), quote::qualified(relation));
    if let Some(condition) = range.condition(Engine::Postgres) {
        sql.push_str(" WHERE ");
        sql.push_str(&condition);
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_selected_without_an_order() {
        let orders = TableName { schema: "shop".to_owned(), name: "orders".to_owned() };
        let extent = Extent::Integer { column: "id".to_owned(), from: Some(10), below: Some(20) };
        assert_eq!(
            select(&["id", "Total"], &orders, &extent),
            "SELECT \"id\", \"Total\" FROM ONLY \"shop\".\"orders\" WHERE \"id\" >= '10'::bigint \
             AND \"id\" < '20'::bigint"
        );
        assert_eq!(select(&[], &orders, &Extent::Whole), "SELECT  FROM ONLY \"shop\".\"orders\"");
    }
}
