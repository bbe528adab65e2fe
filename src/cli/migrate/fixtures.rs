//! What the tests of `leverd migrate` share: a configuration, and a plan of three tables.

use crate::config::{Machine, MigrationConfig, load_migration};
use crate::migrate::catalog::{Catalog, Relation};
use crate::migrate::plan::{self, Plan};
use crate::migrate::schema::{Column, Schema, Table, TableName, fixtures};

/// From one PostgreSQL into another; `more` stands under `migration:`.
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
pub(super) fn config(more: &str) -> MigrationConfig {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("migration.yaml");
    let text = format!(
        "source: {{type: postgres, host: old.example, database: shop, user: ann, password: hunter2}}\n\
         target: {{host: new.example, database: shop, user: leverd}}\n\
         migration:\n  chunk_size: 50000\n{more}"
    );
    std::fs::write(&file, text).unwrap();
    let machine = Machine { cores: 8, memory_bytes: 16 << 30 };
    load_migration(&file, &|_| None, machine).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Orders with a key, a log without one, and a small table.
pub(super) fn plan() -> Plan {
    let orders = table("orders", &[("id", "integer"), ("paid", "money")], &["id"]);
    let log = table("log", &[("at", "timestamp with time zone"), ("text", "text")], &[]);
    let kinds = table("kinds", &[("id", "integer"), ("name", "text")], &["id"]);
    let sizes = [(&orders, 1_000_000, 80_000_000), (&log, 200_000, 20_000_000), (&kinds, 10, 8_192)];
    let relations = sizes.map(|(table, rows, bytes)| {
        let relation = Relation {
            name: table.name.clone(),
            blocks: Some(100),
            estimated_rows: Some(rows),
            bytes: Some(bytes),
        };
        (table.name.clone(), vec![relation])
    });
    let relations = relations.into_iter().collect();
    let schema = Schema { tables: vec![kinds, log, orders], ..Schema::default() };
    plan::make(Catalog { schema, relations, ..Catalog::default() }, &config("")).unwrap()
}

fn table(name: &str, columns: &[(&str, &str)], key: &[&str]) -> Table {
    let columns = columns.iter().map(|(name, source_type)| Column {
        nullable: !key.contains(name),
        ..fixtures::column(name, source_type)
    });
    Table {
        primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
        ..fixtures::table(TableName { schema: "public".to_owned(), name: name.to_owned() }, columns.collect())
    }
}
