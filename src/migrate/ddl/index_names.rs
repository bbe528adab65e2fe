//! Whether the names of indexes are free in the target.
//!
//! Goes in: the indexes that statements of their own build. Comes out: a statement that fails, before the first row,
//! where what has such a name is no index of that table. Always holds: `CREATE INDEX IF NOT EXISTS`, which a run needs
//! that goes on, would pass over such a name without a word, and the index would be missing.

use super::{Kind, Out, Phase};
use crate::migrate::quote::{dollar_quoted, literal};
use crate::migrate::schema::TableName;

/// Names that one statement looks up.
const NAMES_AT_ONCE: usize = 1000;

/// An index that is built where its name is not there.
#[derive(Debug)]
pub(super) struct IndexName {
    /// Its table in the target, and so its schema.
    table: TableName,
    name: String,
    /// A table that was kept may have its primary key under another name: then this one is not built.
    is_key: bool,
}

impl Out {
    /// An index is built on `table`.
    pub(super) fn builds(&mut self, table: &TableName, name: &str, is_key: bool) {
        self.index_names.push(IndexName { table: table.clone(), name: name.to_owned(), is_key });
    }
}

/// Asks for all names at once.
pub(super) fn must_be_free(out: &mut Out) {
    let names = std::mem::take(&mut out.index_names);
    for some in names.chunks(NAMES_AT_ONCE) {
        let describes = match some {
            [one] => format!("name of index {}", one.name),
            several => format!("names of {} indexes", several.len()),
        };
        out.say(Phase::BeforeLoad, Kind::FreeNames, None, statement(some), describes);
    }
}

fn statement(names: &[IndexName]) -> String {
    let rows: Vec<String> = names.iter().map(row).collect();
    let body = format!(
        "DECLARE taken text; BEGIN \
         SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', w.s, w.i), ', ' ORDER BY w.s, w.i) INTO taken \
         FROM (VALUES {}) AS w (s, i, t, is_key) \
         JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.s \
         JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.i \
         LEFT JOIN pg_catalog.pg_index AS x ON x.indexrelid = c.oid \
         LEFT JOIN pg_catalog.pg_class AS own ON own.relnamespace = n.oid AND own.relname = w.t \
         WHERE (own.oid IS NULL OR x.indrelid IS DISTINCT FROM own.oid) AND NOT (w.is_key AND EXISTS (SELECT 1 \
         FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = own.oid AND k.contype = 'p')); \
         IF taken IS NOT NULL THEN RAISE EXCEPTION \
         'other relations of the target have the names of indexes that are to be built: %', taken \
         USING ERRCODE = 'duplicate_table', HINT = 'Rename or drop them.'; END IF; END",
        rows.join(", ")
    );
    format!("DO {}", dollar_quoted(&body))
}

fn row(index: &IndexName) -> String {
    let [schema, name, table] =
        [&index.table.schema, &index.name, &index.table.name].map(|text| literal(text));
    format!("({schema}, {name}, {table}, {})", index.is_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_asked_for_with_their_tables_many_at_once() {
        let mut out = Out::default();
        let table = TableName { schema: "shop".to_owned(), name: "it's".to_owned() };
        for at in 0..=NAMES_AT_ONCE {
            out.builds(&table, &format!("i{at}"), at == 0);
        }
        must_be_free(&mut out);
        let [first, second] = out.statements.as_slice() else { panic!("{}", out.statements.len()) };
        assert_eq!(first.describes, "names of 1000 indexes");
        assert!(first.sql.contains("(VALUES ('shop', 'i0', 'it''s', true), ('shop', 'i1', 'it''s', false)"));
        assert_eq!(second.describes, "name of index i1000");
        assert!(second.sql.contains("(VALUES ('shop', 'i1000', 'it''s', false)) AS w"));
    }
}
