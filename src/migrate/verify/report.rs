//! What a comparison found, as data and as text for people.
//!
//! In: what was found in each table. Out: a [`Report`], whose `Display` is what is shown. Always holds: keys are its
//! only values, cut after 80 characters where they are shown; what was not compared, or less than exactly, is in it; a
//! difference that may be none (the source went on changing) is called so and stays a difference.

use crate::migrate::quote::shown;
use crate::migrate::schema::TableName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Characters of a key's value that are shown.
const SHOWN_CHARACTERS: usize = 80;

/// Some rows: how many, and the keys of some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many.
    pub rows: u64,
    /// Of some of them the values of the key, as text: bytes in hexadecimal.
    pub keys: Vec<Vec<String>>,
}

/// A column that is not compared exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnNote {
    /// Its name in the source.
    pub column: String,
    /// How it is compared, as the rest of the sentence.
    pub text: String,
}

/// What came of the checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    /// All of them are the same on both sides; where the target may hold other rows, those of the source's rows.
    Same,
    /// Some are not.
    Differs,
    /// None was taken of the whole table.
    NotTaken,
}

/// How much of a table was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// All rows.
    Everything,
    /// The number of rows, and some rows by chance.
    Sample {
        /// Rows of the source's that were compared.
        rows: u64,
    },
}

/// What a table's comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing differs.
    Same,
    /// What is missing was rejected, and nothing else differs.
    SameButRejected,
    /// Something differs.
    Differs,
    /// It could not be compared.
    NotCompared,
}

/// What was found in one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableReport {
    /// Its name in the source.
    pub source: TableName,
    /// Its name in the target.
    pub target: TableName,
    /// Rows in the source; `None`: they could not be counted.
    pub source_rows: Option<u64>,
    /// Rows in the target, others than the source's too.
    pub target_rows: Option<u64>,
    /// What came of the checksums.
    pub checksum: Checksum,
    /// How much was compared.
    pub coverage: Coverage,
    /// The columns whose values stand in the tallies' keys, as the source names them; empty: rows cannot be named.
    pub key: Vec<String>,
    /// Rows of the source's that the target has not, rejected ones too.
    pub missing: Tally,
    /// Rows of the target's that the source has not.
    pub extra: Tally,
    /// Rows that both have, with other values.
    pub different: Tally,
    /// The tallies are complete; else there may be more.
    pub complete: bool,
    /// Rows that the run rejected.
    pub rejected: u64,
    /// Extra rows are no difference.
    pub others_allowed: bool,
    /// Columns that are not compared exactly.
    pub notes: Vec<ColumnNote>,
    /// Why it could not be compared.
    pub error: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// What was found in all tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Report {
    /// In the order in which they were given.
    pub tables: Vec<TableReport>,
    /// The source was not frozen since the run read it.
    pub source_may_have_changed: bool,
    /// Each side was read as of one moment.
    pub one_snapshot: bool,
    /// How long it took.
    pub seconds: f64,
}

impl TableReport {
    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        if self.error.is_some() {
            return Verdict::NotCompared;
        }
        let (source, target) = (self.source_rows.unwrap_or(0), self.target_rows.unwrap_or(0));
        // A sample does not see every row that is missing; the counts do.
        let too_few = source.saturating_sub(target) > self.rejected || self.missing.rows > self.rejected;
        let too_many = !self.others_allowed && (self.extra.rows > 0 || target > source);
        let unexplained = self.checksum == Checksum::Differs && self.missing.rows == 0;
        if too_few || too_many || self.different.rows > 0 || !self.complete || unexplained {
            Verdict::Differs
        } else if self.missing.rows > 0 || source > target {
            Verdict::SameButRejected
        } else {
            Verdict::Same
        }
    }
}

impl Report {
    /// Whether the target holds what it should: every table could be compared, and nothing differs but rows that were
    /// rejected and told as such.
    pub fn is_clean(&self) -> bool {
        self.tables.iter().all(|table| table.verdict() <= Verdict::SameButRejected)
    }

    /// Rows of the source's in all tables that could be counted.
    pub fn rows(&self) -> u64 {
        self.tables.iter().filter_map(|table| table.source_rows).fold(0, u64::saturating_add)
    }

    fn with(&self, verdict: Verdict) -> usize {
        self.tables.iter().filter(|table| table.verdict() == verdict).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "compared {} with {} of the source's in {:.1} s: ",
            counted(self.tables.len() as u64, "table"),
            counted(self.rows(), "row"),
            self.seconds
        )?;
        let (rejected, differ) = (self.with(Verdict::SameButRejected), self.with(Verdict::Differs));
        let failed = self.with(Verdict::NotCompared);
        if self.is_clean() {
            f.write_str("the target holds the same")?;
            if rejected > 0 {
                write!(f, ", but for rejected rows of {}", counted(rejected as u64, "table"))?;
            }
        } else {
            write!(f, "{differ} of them differ")?;
            if failed > 0 {
                write!(f, ", {failed} could not be compared")?;
            }
        }
        writeln!(f)?;
        for table in &self.tables {
            write!(f, "{table}")?;
        }
        if self.source_may_have_changed && differ > 0 {
            writeln!(
                f,
                "the source could be written to since the run read it: a difference may be a change since then"
            )?;
        }
        if !self.one_snapshot {
            writeln!(
                f,
                "not each side could be read as of one moment: what was written meanwhile may look like a difference"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for TableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shown(&self.source))?;
        if self.source != self.target {
            write!(f, " → {}", shown(&self.target))?;
        }
        if let Some(error) = &self.error {
            return writeln!(f, ": COULD NOT BE COMPARED: {error}");
        }
        let (source, target) = (self.source_rows.unwrap_or(0), self.target_rows.unwrap_or(0));
        write!(f, ": {}, {target} in the target: ", counted(source, "row"))?;
        f.write_str(match self.verdict() {
            Verdict::Same => "the same",
            Verdict::SameButRejected => "the same but for rejected rows",
            _ => "DIFFERS",
        })?;
        if let Coverage::Sample { rows } = self.coverage {
            write!(f, " (all counted, {} compared)", counted(rows, "row"))?;
        }
        writeln!(f)?;
        self.differences(f)?;
        for note in &self.notes {
            writeln!(f, "  column {} {}", note.column, note.text)?;
        }
        Ok(())
    }
}

impl TableReport {
    fn differences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.missing.rows > 0 {
            write!(f, "  missing {}", self.missing.rows)?;
            match self.missing.rows.min(self.rejected) {
                0 => {}
                rejected if self.coverage == Coverage::Everything => {
                    write!(f, ", of which {rejected} are among the rejected rows")?;
                }
                _ => write!(f, ", and {} rejected", counted(self.rejected, "row was"))?,
            }
            self.keys(f, &self.missing)?;
        }
        if self.different.rows > 0 {
            write!(f, "  different {}", self.different.rows)?;
            self.keys(f, &self.different)?;
        }
        if self.extra.rows > 0 && self.others_allowed {
            writeln!(f, "  {} are there besides, and may be", self.extra.rows)?;
        } else if self.extra.rows > 0 {
            write!(f, "  extra {}", self.extra.rows)?;
            self.keys(f, &self.extra)?;
        }
        let found = self.missing.rows + self.different.rows + self.extra.rows > 0;
        if !self.complete {
            writeln!(f, "  there may be more: not every range that differs was looked at to its end")?;
        } else if self.checksum == Checksum::Differs && !found {
            writeln!(f, "  a checksum differed and then no row did: one side was written to meanwhile")?;
        }
        if found && self.key.is_empty() {
            writeln!(
                f,
                "  the table has no key: rows are counted and not named, and a changed row counts twice"
            )?;
        }
        Ok(())
    }

    /// `: id=1; id=2; …` and the line's end.
    fn keys(&self, f: &mut fmt::Formatter<'_>, tally: &Tally) -> fmt::Result {
        for (at, values) in tally.keys.iter().enumerate() {
            f.write_str(if at == 0 { ": " } else { "; " })?;
            for (place, value) in values.iter().enumerate() {
                let name = self.key.get(place).map_or("?", String::as_str);
                let joint = if place == 0 { "" } else { ", " };
                write!(f, "{joint}{name}={}", legible(value))?;
            }
        }
        if !tally.keys.is_empty() && tally.rows > tally.keys.len() as u64 {
            f.write_str("; …")?;
        }
        writeln!(f)
    }
}

/// `1 row`, `2 rows`; `1 row was`, `2 rows were`.
fn counted(count: u64, what: &str) -> String {
    match (count, what.strip_suffix(" was")) {
        (1, _) => format!("1 {what}"),
        (_, Some(noun)) => format!("{count} {noun}s were"),
        (_, None) => format!("{count} {what}s"),
    }
}

/// A value on one line, and not for ever.
fn legible(value: &str) -> String {
    let mut letters = value.chars();
    let shown: String = letters
        .by_ref()
        .take(SHOWN_CHARACTERS)
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect();
    if letters.next().is_some() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableReport {
        let name = TableName { schema: "shop".to_owned(), name: "orders".to_owned() };
        TableReport {
            source: name.clone(),
            target: name,
            source_rows: Some(1000),
            target_rows: Some(1000),
            checksum: Checksum::Same,
            coverage: Coverage::Everything,
            key: vec!["id".to_owned()],
            missing: Tally::default(),
            extra: Tally::default(),
            different: Tally::default(),
            complete: true,
            rejected: 0,
            others_allowed: false,
            notes: Vec::new(),
            error: None,
            seconds: 0.5,
        }
    }

    fn tally(rows: u64, keys: &[&[&str]]) -> Tally {
        let key = |key: &&[&str]| -> Vec<String> { key.iter().map(|value| (*value).to_owned()).collect() };
        Tally { rows, keys: keys.iter().map(key).collect() }
    }

    fn report(tables: Vec<TableReport>) -> Report {
        Report { tables, source_may_have_changed: false, one_snapshot: true, seconds: 1.5 }
    }

    #[test]
    fn what_is_the_same_takes_a_line() {
        let text = report(vec![table()]).to_string();
        assert_eq!(
            text,
            "compared 1 table with 1000 rows of the source's in 1.5 s: the target holds the same\n\
             shop.orders: 1000 rows, 1000 in the target: the same\n"
        );
    }

    #[test]
    fn rejected_rows_are_told_apart_and_are_clean() {
        let rejected = TableReport {
            target_rows: Some(997),
            checksum: Checksum::Differs,
            missing: tally(3, &[&["4"], &["9"], &["12"]]),
            rejected: 3,
            ..table()
        };
        assert_eq!(rejected.verdict(), Verdict::SameButRejected);
        assert!(report(vec![rejected.clone()]).is_clean());
        assert_eq!(
            rejected.to_string(),
            "shop.orders: 1000 rows, 997 in the target: the same but for rejected rows\n  \
             missing 3, of which 3 are among the rejected rows: id=4; id=9; id=12\n"
        );
        let lost = TableReport { rejected: 2, ..rejected };
        assert_eq!(lost.verdict(), Verdict::Differs);
        assert!(lost.to_string().contains("missing 3, of which 2 are among the rejected rows"));
        assert!(!report(vec![lost]).is_clean());
    }

    #[test]
    fn extra_rows_are_no_difference_where_they_may_be_there() {
        let more = TableReport { target_rows: Some(1005), extra: tally(5, &[]), ..table() };
        assert_eq!(more.verdict(), Verdict::Differs);
        let allowed = TableReport { others_allowed: true, ..more };
        assert_eq!(allowed.verdict(), Verdict::Same);
        assert!(allowed.to_string().ends_with("  5 are there besides, and may be\n"));
    }

    #[test]
    fn what_is_not_known_is_never_clean() {
        for (unclean, words) in [
            (
                TableReport { error: Some("asking the target: gone".to_owned()), ..table() },
                "COULD NOT BE COMPARED",
            ),
            (TableReport { complete: false, ..table() }, "there may be more"),
            (TableReport { checksum: Checksum::Differs, ..table() }, "written to meanwhile"),
            (TableReport { target_rows: Some(999), checksum: Checksum::NotTaken, ..table() }, "DIFFERS"),
            (TableReport { target_rows: Some(1001), checksum: Checksum::NotTaken, ..table() }, "DIFFERS"),
            (TableReport { different: tally(1, &[&["7"]]), ..table() }, "different 1: id=7"),
        ] {
            let text = unclean.to_string();
            assert!(text.contains(words), "{text}");
            assert!(!report(vec![table(), unclean]).is_clean());
        }
        assert!(report(Vec::new()).is_clean());
    }

    #[test]
    fn keys_are_legible_and_some_are_left_out() {
        let long = "x".repeat(90);
        let table = TableReport {
            key: vec!["a".to_owned(), "b".to_owned()],
            different: tally(9, &[&["1", "line\nend"], &["2", &long]]),
            notes: vec![ColumnNote { column: "j".to_owned(), text: "is compared less".to_owned() }],
            target: TableName { schema: "public".to_owned(), name: "orders".to_owned() },
            ..table()
        };
        let text = table.to_string();
        assert!(text.starts_with("shop.orders → public.orders: "), "{text}");
        assert!(text.contains("different 9: a=1, b=line\u{fffd}end; a=2, b=xxx"), "{text}");
        assert!(text.contains("xxx…; …\n  column j is compared less\n"), "{text}");
        let keyless = TableReport { key: Vec::new(), missing: tally(1, &[]), ..table };
        assert!(keyless.to_string().contains("missing 1\n"));
        assert!(keyless.to_string().contains("no key"));
    }

    #[test]
    fn a_source_that_may_have_changed_is_said_once() {
        let mut live = report(vec![TableReport { different: tally(1, &[]), ..table() }]);
        live.source_may_have_changed = true;
        live.one_snapshot = false;
        let text = live.to_string();
        assert!(text.contains("a difference may be a change since then"), "{text}");
        assert!(text.contains("as of one moment"), "{text}");
        live.tables.clear();
        assert!(!live.to_string().contains("change since then"));
    }

    #[test]
    fn a_report_is_read_back() {
        let mut whole = report(vec![TableReport { coverage: Coverage::Sample { rows: 10 }, ..table() }]);
        whole.tables[0].extra = tally(2, &[&["1"]]);
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), whole);
        assert!(whole.to_string().contains("(all counted, 10 rows compared)"));
    }
}
