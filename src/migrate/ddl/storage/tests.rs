//! Storage parameters, replica identities and deferrable keys, from the catalog's words to the target's
//! statements.

use super::clause_of;
use crate::config::TargetMode;
use crate::migrate::catalog::{Partition, Partitioned, Storage};
use crate::migrate::ddl::{Ddl, Kind, Options, Phase, plan};
use crate::migrate::schema::{Column, Schema, Table, TableName, fixtures};
use crate::migrate::types::Engine;
use std::collections::BTreeMap;

fn name(of: &str) -> TableName {
    TableName { schema: "shop".to_owned(), name: of.to_owned() }
}

fn table(of: &str) -> Table {
    Table {
        primary_key: vec!["id".to_owned()],
        ..fixtures::table(name(of), vec![Column { nullable: false, ..fixtures::column("id", "integer") }])
    }
}

fn own(parameters: &[&str]) -> Vec<String> {
    parameters.iter().map(|parameter| (*parameter).to_owned()).collect()
}

/// The plain table `t`, and `p` with the one partition `p_1`.
fn planned(mode: TargetMode, storage: &[(&str, Storage)]) -> Ddl {
    let partition = Partition {
        name: name("p_1"),
        parent: name("p"),
        bound: "DEFAULT".to_owned(),
        key: None,
        comment: None,
    };
    let tree = Partitioned { table: name("p"), key: "HASH (id)".to_owned(), partitions: vec![partition] };
    let storage: BTreeMap<TableName, Storage> =
        storage.iter().map(|(of, storage)| (name(of), storage.clone())).collect();
    let options = Options { partitioned: vec![tree], storage, ..Options::new(Engine::Postgres, mode) };
    plan(&Schema { tables: vec![table("p"), table("t")], ..Schema::default() }, &options)
}

fn sql_of(ddl: &Ddl, kind: Kind) -> Vec<&str> {
    ddl.statements.iter().filter(|statement| statement.kind == kind).map(|found| found.sql.as_str()).collect()
}

fn stored() -> Vec<(&'static str, Storage)> {
    let parameters = own(&["fillfactor=70", "autovacuum_enabled=it's", "toast.vacuum_truncate=false"]);
    let leaf = own(&["toast_tuple_target=256", "parallel_workers=2"]);
    vec![
        ("p", Storage { replica_identity: Some("NOTHING".to_owned()), ..Storage::default() }),
        ("p_1", Storage { parameters: leaf, ..Storage::default() }),
        ("t", Storage { parameters, replica_identity: Some("FULL".to_owned()), ..Storage::default() }),
        ("gone", Storage { replica_identity: Some("FULL".to_owned()), ..Storage::default() }),
    ]
}

#[test]
fn what_rows_are_laid_out_by_comes_first_and_the_rest_last() {
    let ddl = planned(TargetMode::DropRecreate, &stored());
    assert!(sql_of(&ddl, Kind::Table)[1].ends_with("\n) WITH (\"fillfactor\" = '70')"));
    assert!(sql_of(&ddl, Kind::Partition)[0].ends_with(" DEFAULT WITH (\"toast_tuple_target\" = '256')"));
    assert_eq!(
        sql_of(&ddl, Kind::Storage),
        [
            "ALTER TABLE \"shop\".\"p\" REPLICA IDENTITY NOTHING",
            "ALTER TABLE \"shop\".\"p_1\" SET (\"parallel_workers\" = '2')",
            "ALTER TABLE \"shop\".\"t\" SET (\"autovacuum_enabled\" = 'it''s', \"toast\".\"vacuum_truncate\" = \
             'false')",
            "ALTER TABLE \"shop\".\"t\" REPLICA IDENTITY FULL",
        ]
    );
    assert!(ddl.statements.iter().all(|one| one.kind != Kind::Storage || one.phase == Phase::Last));
    assert!(ddl.notes.is_empty(), "{:?}", ddl.notes);
}

#[test]
fn a_table_that_was_kept_keeps_its_own() {
    let ddl = planned(TargetMode::Truncate, &stored());
    // One that is made all the same gets everything at once.
    let made = sql_of(&ddl, Kind::Table)[1];
    assert!(
        made.starts_with("CREATE TABLE IF NOT EXISTS") && made.contains("\"autovacuum_enabled\" ="),
        "{made}"
    );
    assert!(sql_of(&ddl, Kind::Partition)[0].contains("\"parallel_workers\" = '2'); END IF; EXCEPTION"));
    assert!(sql_of(&ddl, Kind::Storage).is_empty());
    let told: Vec<&str> = ddl.notes.iter().map(|note| note.about.as_str()).collect();
    assert!(told.contains(&"replica identity FULL of shop.t"), "{told:?}");
    assert!(told.contains(&"replica identity NOTHING of shop.p"), "{told:?}");
}

#[test]
fn a_key_keeps_its_parameters_and_when_it_is_checked() {
    let key = || Storage {
        key_parameters: own(&["fillfactor=60"]),
        key_deferrable: Some("DEFERRABLE INITIALLY DEFERRED".to_owned()),
        ..Storage::default()
    };
    let ddl = planned(TargetMode::DropRecreate, &[("t", key()), ("p", key())]);
    // A partitioned table's is made in one statement.
    assert_eq!(
        sql_of(&ddl, Kind::Index),
        [
            "CREATE UNIQUE INDEX IF NOT EXISTS \"t_pkey\" ON \"shop\".\"t\" (\"id\") WITH (\"fillfactor\" = '60')"
        ]
    );
    let keys = sql_of(&ddl, Kind::Constraint);
    assert!(keys[0].contains(
        "ADD CONSTRAINT \"p_pkey\" PRIMARY KEY (\"id\") WITH (\"fillfactor\" = '60') DEFERRABLE INITIALLY DEFERRED;"
    ));
    assert!(
        keys[1].contains("PRIMARY KEY USING INDEX \"t_pkey\" DEFERRABLE INITIALLY DEFERRED;"),
        "{}",
        keys[1]
    );
    assert!(ddl.notes.is_empty(), "{:?}", ddl.notes);

    // Rows cannot be replaced by a key that is checked late.
    let ddl = planned(TargetMode::Upsert, &[("t", key()), ("p", key())]);
    assert!(sql_of(&ddl, Kind::Constraint).iter().all(|sql| !sql.contains("DEFERRABLE")));
    let told = ddl.notes.iter().filter(|note| note.text.starts_with("is DEFERRABLE INITIALLY DEFERRED"));
    assert_eq!(told.count(), 2, "{:?}", ddl.notes);
}

#[test]
fn the_clause_of_an_index_is_found_and_no_name() {
    for (tail, clause) in [
        (" USING btree (a) WITH (fillfactor='70')", " WITH (fillfactor='70')"),
        (
            " USING btree (a) NULLS NOT DISTINCT WITH (fillfactor='70', deduplicate_items=off)",
            " WITH (fillfactor='70', deduplicate_items=off)",
        ),
        (" USING btree (a)", ""),
        (" USING btree (\"a WITH (b\")", ""),
    ] {
        assert_eq!(clause_of(tail), clause);
    }
}
