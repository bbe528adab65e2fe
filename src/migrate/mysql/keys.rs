//! Questions about a table's key: its bounds, and where a chunk of so many rows ends.
//!
//! In: a table's primary key, an extent. Out: values of the key, as `ranges` compares them. Always holds: a key comes
//! back as the same literal that finds it again: numbers as numbers, bytes as bytes, all else in MySQL's own text. So
//! these questions are asked as text and not as prepared statements. A key that is no UTF-8 is an error.

use super::connect::text_at;
use super::errors::ReadError;
use super::read::{BY_PRIMARY_KEY, key_list};
use super::session::MySqlSession;
use crate::migrate::quote::{mysql_identifier, mysql_qualified, shown};
use crate::migrate::ranges::{Extent, KeyValue};
use crate::migrate::schema::{Table, TableName};
use crate::migrate::types::Engine;
use mysql_async::{Params, Row, Value};

/// A column of a primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyColumn {
    /// Its name.
    pub(crate) name: String,
    kind: KeyKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Integer,
    Decimal,
    Bytes,
    Text,
}

impl KeyColumn {
    /// The columns of a table's primary key, in its order; empty: it has none.
    pub(crate) fn of(table: &Table) -> Vec<Self> {
        let source_type = |name: &String| {
            let column = table.columns.iter().find(|column| column.name == *name);
            column.map_or("", |column| column.source_type.as_str())
        };
        let key = table.primary_key.iter();
        key.map(|name| Self { name: name.clone(), kind: KeyKind::of(source_type(name)) }).collect()
    }
}

impl KeyKind {
    fn of(source_type: &str) -> Self {
        let text = source_type.to_ascii_lowercase();
        match text.split(['(', ' ']).next().unwrap_or_default() {
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "bool" | "boolean"
            | "year" => Self::Integer,
            "decimal" | "numeric" | "dec" | "fixed" => Self::Decimal,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Bytes,
            _ => Self::Text,
        }
    }

    /// A value that came as text.
    fn read(self, value: &Value) -> Result<KeyValue, &'static str> {
        let Value::Bytes(bytes) = value else { return Err("it is NULL") };
        if self == Self::Bytes {
            return Ok(KeyValue::Bytes(bytes.clone()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8")?;
        match self {
            Self::Integer => text.parse().map(KeyValue::Integer).map_err(|_| "it is no whole number"),
            Self::Decimal => Ok(KeyValue::Decimal(text.to_owned())),
            Self::Bytes | Self::Text => Ok(KeyValue::Text(text.to_owned())),
        }
    }
}

impl MySqlSession {
    /// The key of the extent's row with that number, from 1: a chunk of `rows` rows ends with it. `None`: the extent
    /// has fewer rows. `key` are the columns that the extent is by.
    pub(crate) async fn boundary(
        &mut self,
        key: &[KeyColumn],
        relation: &TableName,
        extent: &Extent,
        rows: u32,
    ) -> Result<Option<Vec<KeyValue>>, ReadError> {
        let doing = format!("asking {} for a key", shown(relation));
        let Some(sql) = boundary_sql(relation, extent, rows) else {
            return Err(ReadError::permanent(&doing, "it is not read by a key"));
        };
        let found = self.ask(&doing, &sql, Params::Empty).await?;
        found.first().map(|row| key_of(&doing, key, row)).transpose()
    }

    /// The least and the greatest value of an integer key; `None`: there are no rows.
    pub(crate) async fn bounds(
        &mut self,
        relation: &TableName,
        column: &str,
    ) -> Result<Option<(i128, i128)>, ReadError> {
        let doing = format!("asking {} for its bounds", shown(relation));
        let name = mysql_identifier(column);
        let sql = format!("SELECT MIN({name}), MAX({name}) FROM {}", mysql_qualified(relation));
        let found = self.ask(&doing, &sql, Params::Empty).await?;
        let Some(row) = found.first() else { return Ok(None) };
        let (Some(least), Some(greatest)) = (text_at(row, 0), text_at(row, 1)) else { return Ok(None) };
        match (least.parse(), greatest.parse()) {
            (Ok(least), Ok(greatest)) => Ok(Some((least, greatest))),
            _ => Err(ReadError::permanent(&doing, format!("{column} is no whole number"))),
        }
    }
}

fn key_of(doing: &str, key: &[KeyColumn], row: &Row) -> Result<Vec<KeyValue>, ReadError> {
    let mut values = Vec::with_capacity(key.len());
    for (at, column) in key.iter().enumerate() {
        let value = row.as_ref(at).unwrap_or(&Value::NULL);
        let read = column.kind.read(value);
        let why = |why: &str| ReadError::permanent(doing, format!("{} cannot be cut by: {why}", column.name));
        values.push(read.map_err(why)?);
    }
    Ok(values)
}

fn boundary_sql(relation: &TableName, extent: &Extent, rows: u32) -> Option<String> {
    let list = key_list(extent)?;
    Some(format!(
        "SELECT {list} FROM {}{BY_PRIMARY_KEY}{} ORDER BY {list} LIMIT 1 OFFSET {}",
        mysql_qualified(relation),
        extent.filter(Engine::MySql),
        rows.saturating_sub(1)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> TableName {
        TableName { schema: "shop".to_owned(), name: "orders".to_owned() }
    }

    fn column(name: &str, source_type: &str) -> KeyColumn {
        KeyColumn { name: name.to_owned(), kind: KeyKind::of(source_type) }
    }

    #[test]
    fn a_value_becomes_the_literal_that_finds_it() {
        let text = |text: &str| KeyValue::Text(text.to_owned());
        for (source_type, bytes, value) in [
            ("int(10) unsigned zerofill", b"00042".to_vec(), KeyValue::Integer(42)),
            ("BIGINT unsigned", b"18446744073709551615".to_vec(), KeyValue::Integer(u64::MAX.into())),
            ("tinyint(1)", b"-1".to_vec(), KeyValue::Integer(-1)),
            ("decimal(10,2)", b"1.50".to_vec(), KeyValue::Decimal("1.50".to_owned())),
            ("varbinary(16)", vec![255, 0], KeyValue::Bytes(vec![255, 0])),
            ("varchar(20)", "größe".as_bytes().to_vec(), text("größe")),
            ("datetime(3)", b"2024-01-02 03:04:05.000".to_vec(), text("2024-01-02 03:04:05.000")),
            ("uuid", b"a0".to_vec(), text("a0")),
        ] {
            assert_eq!(KeyKind::of(source_type).read(&Value::Bytes(bytes)), Ok(value), "{source_type}");
        }
        assert!(KeyKind::Text.read(&Value::Bytes(vec![255])).is_err());
        assert!(KeyKind::Integer.read(&Value::Bytes(b"x".to_vec())).is_err());
        assert!(KeyKind::Integer.read(&Value::NULL).is_err());
    }

    #[test]
    fn a_boundary_is_asked_for_behind_the_last_one() {
        let extent = Extent::Keyset {
            columns: vec!["a".to_owned()],
            after: Some(vec![KeyValue::Text("x".to_owned())]),
            up_to: None,
        };
        assert_eq!(
            boundary_sql(&name(), &extent, 1000).unwrap(),
            "SELECT `a` FROM `shop`.`orders` FORCE INDEX (PRIMARY) WHERE `a` > 'x' ORDER BY `a` LIMIT 1 OFFSET 999"
        );
        let integer = Extent::Integer { column: "id".to_owned(), from: Some(5), below: None };
        let first = boundary_sql(&name(), &integer, 0).unwrap();
        assert!(first.ends_with(" WHERE `id` >= 5 ORDER BY `id` LIMIT 1 OFFSET 0"), "{first}");
        assert_eq!(boundary_sql(&name(), &Extent::Whole, 1), None);
    }

    #[test]
    fn the_key_of_a_table_has_its_columns_kinds() {
        assert_eq!(column("a", "int(11)").kind, KeyKind::Integer);
        assert_eq!(column("a", "interval").kind, KeyKind::Text);
        assert_eq!(column("a", "YEAR(4)").kind, KeyKind::Integer);
    }
}
