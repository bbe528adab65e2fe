//! What was said in the source, and what is said in the target.

use crate::config::TargetMode;
use crate::migrate::catalog::{Comment, Commented, UserType};
use crate::migrate::ddl::{Ddl, Kind, Options, Phase, plan};
use crate::migrate::schema::{
    Check, Column, ColumnDefault, Index, IndexPart, Schema, Sequence, Table, TableName, View, fixtures,
};
use crate::migrate::types::Engine;
use std::collections::BTreeMap;

fn name(of: &str) -> TableName {
    TableName { schema: "shop".to_owned(), name: of.to_owned() }
}

fn table(of: &str) -> Table {
    let column = Column {
        nullable: false,
        default: ColumnDefault::Identity { always: true, next: None, counting: None },
        ..fixtures::column("id", "integer")
    };
    let part = IndexPart { expression: "id".to_owned(), is_column: true, descending: false, prefix: None };
    let index = Index {
        name: "by_id".to_owned(),
        parts: vec![part],
        unique: true,
        constraint: true,
        method: "btree".to_owned(),
        include: Vec::new(),
        condition: None,
        definition: Some(format!("CREATE UNIQUE INDEX by_id ON shop.{of} USING btree (id)")),
    };
    Table {
        name: name(of),
        columns: vec![column],
        primary_key: vec!["id".to_owned()],
        primary_key_name: Some("number".to_owned()),
        indexes: vec![index],
        checks: vec![Check { name: "small".to_owned(), expression: "(id < 9)".to_owned() }],
        foreign_keys: Vec::new(),
        comment: None,
        estimated_rows: None,
        bytes: None,
    }
}

fn comment(of: Commented, text: &str) -> Comment {
    Comment { of, text: text.to_owned() }
}

fn index(of: &str, own: &str) -> Commented {
    Commented::Index { of: name(of), name: own.to_owned() }
}

fn constraint(of: &str, own: &str) -> Commented {
    Commented::Constraint { of: name(of), name: own.to_owned() }
}

fn planned(mode: TargetMode, comments: Vec<Comment>) -> Ddl {
    let view = View {
        name: name("seen"),
        query: "SELECT 1 AS x".to_owned(),
        materialized: true,
        options: None,
        indexes: vec![Index {
            constraint: false,
            definition: Some("CREATE UNIQUE INDEX by_id ON shop.seen USING btree (x)".to_owned()),
            ..table("seen").indexes.remove(0)
        }],
        comment: None,
    };
    let sequence = Sequence { name: name("tickets"), definition: "AS bigint".to_owned(), next: None };
    // Both tables have an index by_id: one of them gets another name.
    let schema =
        Schema { tables: vec![table("a"), table("b")], sequences: vec![sequence], views: vec![view] };
    let types = vec![UserType {
        name: "shop.\"Größe\"".to_owned(),
        kind: "domain".to_owned(),
        definition: Some(
            "CREATE DOMAIN shop.\"Größe\" AS integer CONSTRAINT above CHECK (VALUE > 0)".to_owned(),
        ),
    }];
    let schemas = BTreeMap::from([("shop".to_owned(), "all".to_owned())]);
    plan(&schema, &Options { types, comments, schemas, ..Options::new(Engine::Postgres, mode) })
}

fn said(ddl: &Ddl) -> Vec<&str> {
    let comments = ddl.statements.iter().filter(|statement| statement.kind == Kind::Comment);
    comments.map(|statement| statement.sql.as_str()).collect()
}

#[test]
fn what_has_another_name_is_found_by_it() {
    let comments = vec![
        comment(index("a", "by_id"), "first"),
        comment(index("b", "by_id"), "it's \\ second"),
        comment(constraint("b", "by_id"), "the constraint's own"),
        comment(index("b", "number"), "the key's index"),
        comment(constraint("a", "small"), "not many"),
        comment(index("seen", "by_id"), "a view's"),
    ];
    let ddl = planned(TargetMode::DropRecreate, comments);
    let found = said(&ddl);
    assert_eq!(
        found[0],
        "DO $leverd$BEGIN IF EXISTS (SELECT 1 FROM pg_catalog.pg_index WHERE indexrelid = \
         pg_catalog.to_regclass('\"all\".\"by_id\"') AND indrelid = pg_catalog.to_regclass('\"all\".\"a\"')) THEN \
         COMMENT ON INDEX \"all\".\"by_id\" IS 'first'; END IF; END$leverd$"
    );
    assert!(
        found[1].contains("COMMENT ON INDEX \"all\".\"b_by_id\" IS E'it''s \\\\ second'"),
        "{}",
        found[1]
    );
    assert!(
        found[2].contains("COMMENT ON CONSTRAINT \"b_by_id\" ON \"all\".\"b\" IS 'the constraint''s own'")
    );
    assert!(found[3].contains("COMMENT ON INDEX \"all\".\"b_pkey\" IS"), "{}", found[3]);
    assert!(found[4].contains("conname = 'small') THEN COMMENT ON CONSTRAINT \"small\" ON \"all\".\"a\" IS"));
    assert!(found[5].contains("COMMENT ON INDEX \"all\".\"seen_by_id\" IS 'a view''s'"), "{}", found[5]);
    assert!(ddl.statements.iter().all(|one| one.kind != Kind::Comment || one.phase == Phase::Last));
}

#[test]
fn sequences_and_columns_of_views() {
    let column = |own: &str| Commented::ColumnSequence { of: name("a"), column: own.to_owned() };
    let comments = vec![
        comment(Commented::Sequence(name("tickets")), "one each"),
        comment(column("id"), "counts"),
        comment(Commented::ViewColumn { of: name("seen"), name: "x".to_owned() }, "one"),
    ];
    let ddl = planned(TargetMode::DropRecreate, comments);
    let found = said(&ddl);
    assert!(found[0].contains("COMMENT ON SEQUENCE \"all\".\"tickets\" IS 'one each'"), "{}", found[0]);
    assert!(found[1].contains("COMMENT ON SEQUENCE \"all\".\"a_id_seq\" IS 'counts'"), "{}", found[1]);
    assert!(found[2].contains("COMMENT ON COLUMN \"all\".\"seen\".\"x\" IS 'one'"), "{}", found[2]);
    // Behind the view.
    let place = |kind: Kind| ddl.statements.iter().rposition(|statement| statement.kind == kind);
    assert!(place(Kind::View) < place(Kind::Comment));
}

#[test]
fn what_was_there_keeps_its_own_comment() {
    let comments = vec![comment(index("a", "by_id"), "first"), comment(constraint("a", "small"), "second")];
    let ddl = planned(TargetMode::Truncate, comments);
    let found = said(&ddl);
    assert!(found[0].contains(" AND pg_catalog.obj_description(indexrelid, 'pg_class') IS NULL) THEN"));
    assert!(found[1].contains(" AND pg_catalog.obj_description(oid, 'pg_constraint') IS NULL) THEN"));
}

#[test]
fn schemas_and_types_have_theirs_when_they_are_made() {
    let domain = || "shop.\"Größe\"".to_owned();
    let comments = vec![
        comment(Commented::Schema("shop".to_owned()), "all that is sold"),
        comment(Commented::Schema("other".to_owned()), "nothing of it is moved"),
        comment(Commented::Type(domain()), "how large"),
        comment(Commented::DomainCheck { of: domain(), name: "above".to_owned() }, "no holes"),
        comment(Commented::Type("shop.unknown".to_owned()), "nothing"),
    ];
    let ddl = planned(TargetMode::Append, comments);
    let made = |kind: Kind| {
        let mut found = ddl.statements.iter().filter(|statement| statement.kind == kind);
        found.next().unwrap().sql.as_str()
    };
    assert!(
        made(Kind::Schema)
            .contains("THEN CREATE SCHEMA \"all\"; COMMENT ON SCHEMA \"all\" IS 'all that is sold'; END IF;")
    );
    let domain = made(Kind::Type);
    assert!(
        domain.contains(
            "(VALUE > 0); COMMENT ON TYPE \"all\".\"Größe\" IS 'how large'; \
             COMMENT ON CONSTRAINT \"above\" ON DOMAIN \"all\".\"Größe\" IS 'no holes'; END IF;"
        ),
        "{domain}"
    );
    assert!(said(&ddl).is_empty());
}

#[test]
fn what_is_not_moved_has_no_comment() {
    let comments = vec![
        comment(index("gone", "by_id"), "x"),
        comment(index("a", "gone"), "x"),
        comment(constraint("a", "gone"), "x"),
        comment(Commented::Sequence(name("gone")), "x"),
        comment(Commented::ColumnSequence { of: name("a"), column: "gone".to_owned() }, "x"),
        comment(Commented::ViewColumn { of: name("gone"), name: "x".to_owned() }, "x"),
    ];
    assert!(said(&planned(TargetMode::DropRecreate, comments)).is_empty());
}

#[test]
fn of_two_schemas_that_become_one_the_second_comment_is_told() {
    let comments = vec![
        comment(Commented::Schema("archive".to_owned()), "old"),
        comment(Commented::Schema("shop".to_owned()), "new"),
    ];
    let mut archived = table("a");
    archived.name.schema = "archive".to_owned();
    let schema = Schema { tables: vec![archived, table("b")], ..Schema::default() };
    let all = |from: &str| (from.to_owned(), "all".to_owned());
    let options = Options {
        comments,
        schemas: BTreeMap::from([all("archive"), all("shop")]),
        ..Options::new(Engine::Postgres, TargetMode::DropRecreate)
    };
    let ddl = plan(&schema, &options);
    let made = ddl.statements.iter().find(|statement| statement.kind == Kind::Schema).unwrap();
    assert!(made.sql.contains("IS 'old'"), "{}", made.sql);
    assert_eq!(ddl.notes[0].about, "comment on schema shop");
}
