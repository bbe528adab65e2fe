//! How the rows of one table are read and written: which columns, each with its conversion. Pure.
//!
//! In: a table of the source's, and what its columns are in the target. Out: the list for SELECT, and a row's line in
//! COPY's text form. Always holds: the columns are those that the target does not compute, in their order, which is the
//! order that the writer must name them in; a row is written whole or refused with the place of a column.

use super::conversion::{Conversion, Rejection};
use super::copy_text::write_as_it_is;
use super::identifiers;
use super::{copy_binary, copy_text};
use crate::migrate::ddl::TargetColumn;
use crate::migrate::schema::Table;
use crate::migrate::transfer::Form;
use bytes::BytesMut;
use mysql_async::Value;

/// A key for people needs no more.
const MOST_KEY_CHARACTERS: usize = 200;

/// How a table's rows are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowPlan {
    columns: Vec<PlannedColumn>,
    /// The places of the primary key's columns among them.
    key: Vec<usize>,
    select_list: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PlannedColumn {
    name: String,
    conversion: Conversion,
    nullable: bool,
}

impl RowPlan {
    /// Of that table, whose columns become these in the target.
    pub(crate) fn new(table: &Table, columns: &[TargetColumn]) -> Self {
        let planned: Vec<PlannedColumn> = columns
            .iter()
            .filter(|column| !column.computed)
            .map(|column| {
                let source = table.columns.iter().find(|source| source.name == column.source);
                let in_key = table.primary_key.contains(&column.source);
                PlannedColumn {
                    name: column.source.clone(),
                    conversion: Conversion::for_target(&column.mapped.target),
                    nullable: !in_key && source.is_some_and(|source| source.nullable),
                }
            })
            .collect();
        let place = |name: &String| planned.iter().position(|column| column.name == *name);
        let key: Option<Vec<usize>> = table.primary_key.iter().map(place).collect();
        let select_list = identifiers(planned.iter().map(|column| column.name.as_str()));
        Self { key: key.unwrap_or_default(), select_list, columns: planned }
    }

    /// The source's columns for `SELECT`, quoted, in the order in which they are written.
    pub(crate) fn select_list(&self) -> &str {
        &self.select_list
    }

    /// The column at that place.
    pub(super) fn name(&self, at: usize) -> &str {
        self.columns.get(at).map_or("", |column| column.name.as_str())
    }

    /// Writes a row. Where a value cannot be converted its column's place comes back, and `out` holds a part.
    pub(super) fn write_row<'v>(
        &self,
        form: Form,
        value: impl Fn(usize) -> Option<&'v Value>,
        out: &mut BytesMut,
    ) -> Result<(), (usize, Rejection)> {
        if form == Form::Binary {
            copy_binary::begin_row(self.columns.len(), out);
        }
        for (at, column) in self.columns.iter().enumerate() {
            let Some(value) = value(at) else {
                return Err((at, Rejection::missing()));
            };
            let written = match form {
                Form::Binary => copy_binary::write_value(value, column.conversion, column.nullable, out),
                Form::Text => {
                    if at > 0 {
                        out.extend_from_slice(b"\t");
                    }
                    copy_text::write_value(value, column.conversion, column.nullable, out)
                }
            };
            written.map_err(|rejection| (at, rejection))?;
        }
        if form == Form::Text {
            out.extend_from_slice(b"\n");
        }
        Ok(())
    }

    /// A row that was refused, with its values as the source has them; and whether it was cut off there.
    pub(super) fn payload<'v>(
        &self,
        value: impl Fn(usize) -> Option<&'v Value>,
        most_bytes: usize,
    ) -> (Vec<u8>, bool) {
        let mut out = BytesMut::new();
        for at in 0..self.columns.len() {
            if at > 0 {
                out.extend_from_slice(b"\t");
            }
            write_as_it_is(value(at).unwrap_or(&Value::NULL), &mut out);
            if out.len() > most_bytes {
                out.truncate(most_bytes);
                return (out.to_vec(), true);
            }
        }
        out.extend_from_slice(b"\n");
        (out.to_vec(), false)
    }

    /// A row's key for people; `None`: the table has none.
    pub(super) fn key_text<'v>(&self, value: impl Fn(usize) -> Option<&'v Value>) -> Option<String> {
        if self.key.is_empty() {
            return None;
        }
        let mut out = BytesMut::new();
        for (nth, at) in self.key.iter().enumerate() {
            if nth > 0 {
                out.extend_from_slice(b", ");
            }
            write_as_it_is(value(*at).unwrap_or(&Value::NULL), &mut out);
        }
        Some(String::from_utf8_lossy(&out).chars().take(MOST_KEY_CHARACTERS).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::schema::fixtures;
    use crate::migrate::schema::{Column, TableName};
    use crate::migrate::types::{ColumnUse, Engine, map};

    fn column(name: &str, source_type: &str, nullable: bool) -> Column {
        Column { nullable, ..fixtures::column(name, source_type) }
    }

    fn table() -> Table {
        Table {
            primary_key: vec!["id".to_owned()],
            ..fixtures::table(
                TableName { schema: "shop".to_owned(), name: "orders".to_owned() },
                vec![
                    column("id", "int(11)", true),
                    column("Total", "decimal(10,2)", false),
                    column("twice", "int(11)", true),
                    column("at", "datetime", true),
                    column("name", "varchar(20)", true),
                ],
            )
        }
    }

    fn plan(table: &Table) -> RowPlan {
        let columns: Vec<TargetColumn> = table
            .columns
            .iter()
            .map(|column| TargetColumn {
                source: column.name.clone(),
                target: column.name.to_lowercase(),
                mapped: map(Engine::MySql, column, ColumnUse::Ordinary).unwrap(),
                computed: column.name == "twice",
            })
            .collect();
        RowPlan::new(table, &columns)
    }

    fn row(name: &[u8], day: u8) -> Vec<Value> {
        vec![
            Value::Int(7),
            Value::Bytes(b"12.50".to_vec()),
            Value::Date(2024, 2, day, 1, 2, 3, 0),
            Value::Bytes(name.to_vec()),
        ]
    }

    #[test]
    fn a_row_becomes_a_line_without_what_the_target_computes() {
        let plan = plan(&table());
        assert_eq!(plan.select_list(), "`id`, `Total`, `at`, `name`");
        let values = row(b"a\tb", 29);
        let mut out = BytesMut::new();
        plan.write_row(Form::Text, |at| values.get(at), &mut out).unwrap();
        assert_eq!(&out[..], b"7\t12.50\t2024-02-29 01:02:03\ta\\tb\n");
        let zero = row(b"x", 0);
        out.clear();
        plan.write_row(Form::Text, |at| zero.get(at), &mut out).unwrap();
        assert_eq!(&out[..], b"7\t12.50\t\\N\tx\n");
    }

    #[test]
    fn a_row_in_the_binary_form_has_the_same_fields() {
        let plan = plan(&table());
        let values = row(b"a\tb", 0);
        let mut out = BytesMut::new();
        plan.write_row(Form::Binary, |at| values.get(at), &mut out).unwrap();
        let id = [0, 0, 0, 4, 0, 0, 0, 7];
        let total = [0, 0, 0, 12, 0, 2, 0, 0, 0, 0, 0, 2, 0, 12, 0x13, 0x88];
        let (no_day, name) = ([255; 4], [&[0, 0, 0, 3][..], b"a\tb"].concat());
        assert_eq!(&out[..], [&[0, 4][..], &id, &total, &no_day, &name].concat());
    }

    #[test]
    fn a_row_that_cannot_be_converted_names_its_column_and_keeps_its_bytes() {
        let plan = plan(&table());
        let values = row(b"a\0b\xff", 1);
        let (at, rejection) =
            plan.write_row(Form::Text, |at| values.get(at), &mut BytesMut::new()).unwrap_err();
        assert_eq!((plan.name(at), rejection.sqlstate), ("name", "22021"));
        let (payload, cut) = plan.payload(|at| values.get(at), 1000);
        assert_eq!((&payload[..], cut), (&b"7\t12.50\t2024-02-01 01:02:03\ta\0b\xff\n"[..], false));
        assert_eq!(plan.payload(|at| values.get(at), 5), (b"7\t12.".to_vec(), true));
        assert_eq!(plan.key_text(|at| values.get(at)).as_deref(), Some("7"));
        let short = plan
            .write_row(Form::Text, |at| values.get(at).filter(|_| at < 1), &mut BytesMut::new())
            .unwrap_err();
        assert_eq!(short.0, 1);
    }

    #[test]
    fn what_is_in_the_key_is_never_null() {
        let mut table = table();
        table.primary_key = vec!["at".to_owned()];
        let zero = row(b"x", 0);
        let (at, _) =
            plan(&table).write_row(Form::Text, |at| zero.get(at), &mut BytesMut::new()).unwrap_err();
        assert_eq!(plan(&table).name(at), "at");
    }
}
