//! A MySQL's catalog (5.7, 8) or a MariaDB's (10.x): the statements that read `information_schema`, the rows that
//! they give, and [`assemble()`], which makes a [`Catalog`](super::Catalog) of them. There is no MySQL client here yet:
//! whoever has one runs [`statements`] in their order and hands the rows over. Until then none of it has met a server.
//!
//! Eight queries at most for a whole database, whatever the number of its tables, and none of them a join except where
//! MySQL 8 has a dictionary to join in: before, a join makes the server open every table's files once for each row.
//! Every `?` is the database's name. Columns are read by position, in the order of the row structs' fields.
//!
//! Always holds: a default is an expression in MySQL's words, whichever of the three ways the server has to tell it: a
//! bare text (MySQL 5.7), a bare text or an expression (8), an expression (MariaDB from 10.2.7).
//!
//! Decisions: every unique index is an index, and none stands behind a constraint: MySQL does not tell the two apart.
//! A column's collation is always told where it has one. A partitioned table is an ordinary one. A MariaDB's SEQUENCE
//! objects are not moved, and a remark says so.

mod assemble;

pub use assemble::assemble;

/// Which server it is; the version as `10203` for 1.2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Oracle's, or what calls itself so (Percona, Aurora).
    MySql(u32),
    /// MariaDB.
    MariaDb(u32),
}

impl Flavour {
    /// Reads what `SELECT VERSION()` says; `None`: it is no version.
    pub fn of(version: &str) -> Option<Self> {
        let maria = version.to_ascii_lowercase().contains("mariadb");
        // Old clients would refuse a server that begins with 10: MariaDB puts an old version before its own.
        let text = if maria { version.strip_prefix("5.5.5-").unwrap_or(version) } else { version };
        let mut numbers =
            text.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        let patch = numbers.next().flatten().unwrap_or(0);
        let number = major.checked_mul(10_000)?.checked_add(minor.checked_mul(100)?)?.checked_add(patch)?;
        Some(if maria { Self::MariaDb(number) } else { Self::MySql(number) })
    }

    /// `information_schema` has texts with one backslash more before each quote and backslash than they have.
    fn escapes_expressions(self) -> bool {
        matches!(self, Self::MySql(80_000..))
    }

    /// `COLUMN_DEFAULT` is an expression, and `NULL` is written.
    fn writes_default_expressions(self) -> bool {
        matches!(self, Self::MariaDb(100_207..))
    }

    /// A check is cut off after 64 characters (repaired in the course of 10.2 to 10.5).
    fn cuts_checks(self) -> bool {
        matches!(self, Self::MariaDb(..100_510))
    }
}

/// What to ask, in this order. A field that is `None`: this server has no such thing, and there are no such rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statements {
    /// Without rows, to be run before: else MySQL 8 tells statistics of up to a day ago.
    pub fresh_statistics: Option<&'static str>,
    /// Gives [`TableRow`]s.
    pub tables: &'static str,
    /// Gives [`ColumnRow`]s.
    pub columns: &'static str,
    /// Gives [`IndexPartRow`]s.
    pub index_parts: &'static str,
    /// Gives [`ForeignKeyPartRow`]s.
    pub foreign_key_parts: &'static str,
    /// Gives [`ForeignKeyRow`]s.
    pub foreign_keys: &'static str,
    /// Gives [`CheckRow`]s.
    pub checks: Option<&'static str>,
    /// Gives [`ViewRow`]s.
    pub views: &'static str,
    /// Gives [`OtherRow`]s; it has three `?`.
    pub others: &'static str,
}

/// The statements for that server.
pub fn statements(flavour: Flavour) -> Statements {
    let (fresh_statistics, checks) = match flavour {
        Flavour::MySql(80_016..) => (Some(FRESH_STATISTICS), Some(CHECKS_OF_MYSQL)),
        Flavour::MySql(80_000..) => (Some(FRESH_STATISTICS), None),
        Flavour::MariaDb(100_222..=100_299 | 100_310..) => (None, Some(CHECKS_OF_MARIADB)),
        _ => (None, None),
    };
    let index_parts = match flavour {
        Flavour::MySql(80_013..) => INDEX_PARTS_WITH_EXPRESSIONS,
        _ => INDEX_PARTS,
    };
    Statements {
        fresh_statistics,
        tables: TABLES,
        columns: COLUMNS,
        index_parts,
        foreign_key_parts: FOREIGN_KEY_PARTS,
        foreign_keys: FOREIGN_KEYS,
        checks,
        views: VIEWS,
        others: OTHERS,
    }
}

const FRESH_STATISTICS: &str = "SET SESSION information_schema_stats_expiry = 0";

const TABLES: &str = "\
SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, TABLE_ROWS, DATA_LENGTH, AUTO_INCREMENT, CREATE_OPTIONS, TABLE_COMMENT
FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE <> 'VIEW'";

const COLUMNS: &str = "\
SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, COLLATION_NAME,
       GENERATION_EXPRESSION, COLUMN_COMMENT
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME, ORDINAL_POSITION";

const INDEX_PARTS: &str = "\
SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, NULL, SUB_PART, COLLATION, INDEX_TYPE
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX";

const INDEX_PARTS_WITH_EXPRESSIONS: &str = "\
SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, EXPRESSION, SUB_PART, COLLATION, INDEX_TYPE
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX";

const FOREIGN_KEY_PARTS: &str = "\
SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME,
       REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = ? AND REFERENCED_TABLE_NAME IS NOT NULL
ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION";

const FOREIGN_KEYS: &str = "\
SELECT TABLE_NAME, CONSTRAINT_NAME, UPDATE_RULE, DELETE_RULE
FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = ?";

const CHECKS_OF_MYSQL: &str = "\
SELECT t.TABLE_NAME, c.CONSTRAINT_NAME, c.CHECK_CLAUSE, t.ENFORCED
FROM information_schema.CHECK_CONSTRAINTS c
JOIN information_schema.TABLE_CONSTRAINTS t ON t.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA
 AND t.CONSTRAINT_NAME = c.CONSTRAINT_NAME AND t.CONSTRAINT_TYPE = 'CHECK'
WHERE c.CONSTRAINT_SCHEMA = ?";

const CHECKS_OF_MARIADB: &str = "\
SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE, 'YES'
FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = ?";

const VIEWS: &str = "\
SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, CHECK_OPTION
FROM information_schema.VIEWS WHERE TABLE_SCHEMA = ?";

const OTHERS: &str = "\
SELECT 'triggers', COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = ?
UNION ALL
SELECT 'stored functions and procedures', COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = ?
UNION ALL
SELECT 'events', COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ?";

/// The rows of all statements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// Of [`Statements::tables`].
    pub tables: Vec<TableRow>,
    /// Of [`Statements::columns`], in its order.
    pub columns: Vec<ColumnRow>,
    /// Of [`Statements::index_parts`], in its order.
    pub index_parts: Vec<IndexPartRow>,
    /// Of [`Statements::foreign_key_parts`], in its order.
    pub foreign_key_parts: Vec<ForeignKeyPartRow>,
    /// Of [`Statements::foreign_keys`].
    pub foreign_keys: Vec<ForeignKeyRow>,
    /// Of [`Statements::checks`].
    pub checks: Vec<CheckRow>,
    /// Of [`Statements::views`].
    pub views: Vec<ViewRow>,
    /// Of [`Statements::others`].
    pub others: Vec<OtherRow>,
}

/// A table, or something that is listed as one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableRow {
    /// Its database.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `BASE TABLE`, `SYSTEM VERSIONED`, `SEQUENCE`.
    pub kind: String,
    /// Rows; with InnoDB an estimate.
    pub rows: Option<u64>,
    /// Bytes of its rows.
    pub bytes: Option<u64>,
    /// The next value of its AUTO_INCREMENT.
    pub auto_increment: Option<u64>,
    /// Among others `partitioned`.
    pub options: Option<String>,
    /// What was said of it; empty: nothing.
    pub comment: Option<String>,
}

/// A column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnRow {
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// `int(10) unsigned`.
    pub source_type: String,
    /// `YES` or `NO`.
    pub nullable: String,
    /// In the server's own way; see the module.
    pub default: Option<String>,
    /// `auto_increment`, `STORED GENERATED`, `DEFAULT_GENERATED on update CURRENT_TIMESTAMP`, …
    pub extra: String,
    /// Of texts.
    pub collation: Option<String>,
    /// Of generated columns; else NULL or empty.
    pub generation: Option<String>,
    /// What was said of it; empty: nothing.
    pub comment: Option<String>,
}

/// One part of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexPartRow {
    /// Its table.
    pub table: String,
    /// The index; `PRIMARY` is the primary key.
    pub index: String,
    /// 0: unique.
    pub non_unique: u64,
    /// `None`: an expression.
    pub column: Option<String>,
    /// MySQL from 8.0.13.
    pub expression: Option<String>,
    /// So many characters of it alone.
    pub prefix: Option<u64>,
    /// `A`, or `D` for descending.
    pub collation: Option<String>,
    /// `BTREE`, `HASH`, `FULLTEXT`, `SPATIAL`.
    pub method: String,
}

/// One column of a foreign key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignKeyPartRow {
    /// The table that refers.
    pub table: String,
    /// The foreign key.
    pub name: String,
    /// The column that refers.
    pub column: String,
    /// The database that is referred to.
    pub to_schema: String,
    /// The table that is referred to.
    pub to_table: String,
    /// The column that is referred to.
    pub to_column: String,
}

/// What a foreign key does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignKeyRow {
    /// The table that refers.
    pub table: String,
    /// The foreign key.
    pub name: String,
    /// `CASCADE`, `NO ACTION`, …
    pub on_update: String,
    /// `CASCADE`, `NO ACTION`, …
    pub on_delete: String,
}

/// A check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckRow {
    /// Its table.
    pub table: String,
    /// Its name; a MariaDB's check of a column has the column's.
    pub name: String,
    /// The condition.
    pub clause: String,
    /// `YES` or `NO`.
    pub enforced: String,
}

/// A view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewRow {
    /// Its database.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Empty: this user may not see it.
    pub query: String,
    /// `NONE`, `LOCAL` or `CASCADED`.
    pub check_option: String,
}

/// Things of one kind that are not moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtherRow {
    /// Which things.
    pub kind: String,
    /// How many.
    pub count: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(Flavour::of("8.0.36-0ubuntu0.22.04.1"), Some(Flavour::MySql(80_036)));
        assert_eq!(Flavour::of("5.7.44-log"), Some(Flavour::MySql(50_744)));
        assert_eq!(Flavour::of("10.11.6-MariaDB-0+deb12u1"), Some(Flavour::MariaDb(101_106)));
        assert_eq!(Flavour::of("5.5.5-10.4.12-MariaDB"), Some(Flavour::MariaDb(100_412)));
        assert_eq!(Flavour::of("8.4"), Some(Flavour::MySql(80_400)));
        for bad in ["", "eight", "8", "99999999999.1", "4294967295.1.1"] {
            assert_eq!(Flavour::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_server_is_asked_what_it_has() {
        let old = statements(Flavour::MySql(50_744));
        assert_eq!((old.fresh_statistics, old.checks), (None, None));
        assert!(!old.index_parts.contains("EXPRESSION"));
        let new = statements(Flavour::MySql(80_036));
        assert!(new.fresh_statistics.is_some() && new.checks == Some(CHECKS_OF_MYSQL));
        assert!(new.index_parts.contains("EXPRESSION"));
        assert_eq!(statements(Flavour::MariaDb(101_106)).checks, Some(CHECKS_OF_MARIADB));
        assert_eq!(statements(Flavour::MariaDb(100_301)).checks, None);
    }
}
