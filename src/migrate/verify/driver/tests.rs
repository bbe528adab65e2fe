//! Whole comparisons of sides in memory, which read the very statements that servers are sent.

use super::*;
use crate::migrate::ddl::{TargetColumn, TargetTable};
use crate::migrate::schema::{Column, Table, fixtures};
use crate::migrate::types::{Mapped, Transfer};
use crate::migrate::verify::report::Verdict;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A table of one key and digests, on a server that knows no more than these statements.
struct Fake {
    /// Key → digest of the row.
    rows: BTreeMap<i128, i128>,
    /// What it gives as the sign that two servers hash alike.
    probe: &'static str,
    /// Statements that hold this fail.
    breaks: Option<&'static str>,
    /// Questions that are under way, and the most that ever were.
    under_way: AtomicUsize,
    most: AtomicUsize,
    asked: Mutex<Vec<String>>,
}

impl Fake {
    fn new(rows: impl IntoIterator<Item = (i128, i128)>) -> Self {
        Self {
            rows: rows.into_iter().collect(),
            probe: "UTF8",
            breaks: None,
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            asked: Mutex::new(Vec::new()),
        }
    }

    fn statements(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, sql: &str) -> Answers {
        if sql == PARTITIONED {
            return Vec::new();
        }
        if sql == PROBE {
            return vec![vec![Some(self.probe.to_owned())]];
        }
        if sql.starts_with("SELECT MIN(") {
            let bound = |key: Option<&i128>| key.map(i128::to_string);
            return vec![vec![bound(self.rows.keys().next()), bound(self.rows.keys().next_back())]];
        }
        let inside = |(key, digest): (&i128, &i128)| self.is_asked(sql, *key).then_some((*key, *digest));
        let rows: Vec<(i128, i128)> = self.rows.iter().filter_map(inside).collect();
        if sql.starts_with("SELECT COUNT(*)") {
            let sum: i128 = rows.iter().map(|(_, digest)| digest).sum();
            return vec![vec![Some(rows.len().to_string()), Some(sum.to_string())]];
        }
        if sql.ends_with("GROUP BY 1") {
            let bits = mask_after(sql, "SELECT (");
            let mut groups: BTreeMap<i128, (u64, i128)> = BTreeMap::new();
            for (key, digest) in rows {
                let group = groups.entry(grouped_by(key) & bits).or_default();
                group.0 += 1;
                group.1 += digest;
            }
            let row = |(group, (rows, digest)): (i128, (u64, i128))| -> Row {
                vec![Some(group.to_string()), Some(rows.to_string()), Some(digest.to_string())]
            };
            return groups.into_iter().map(row).collect();
        }
        let number = |mark: &str| -> usize { between(sql, mark, " ").parse().unwrap() };
        if sql.contains(" ORDER BY ") {
            let found = rows.get(number(" OFFSET "));
            return found.map(|(key, _)| vec![Some(key.to_string())]).into_iter().collect();
        }
        let row =
            |(key, digest): (i128, i128)| -> Row { vec![Some(key.to_string()), Some(digest.to_string())] };
        rows.into_iter().take(number(" LIMIT ")).map(row).collect()
    }

    fn is_asked(&self, sql: &str, key: i128) -> bool {
        let from = sql.find("\"k\" >= '").map(|at| between(&sql[at..], ">= '", "'").parse::<i128>().unwrap());
        let below = sql.find("\"k\" < '").map(|at| between(&sql[at..], "< '", "'").parse::<i128>().unwrap());
        let in_group = sql.find(" WHERE (").is_none_or(|at| {
            let bits = mask_after(&sql[at..], " WHERE (");
            let values = between(&sql[at..], " IN (", ")");
            values.split(", ").any(|value| value.parse::<i128>().unwrap() == grouped_by(key) & bits)
        });
        from.is_none_or(|from| key >= from) && below.is_none_or(|below| key < below) && in_group
    }
}

/// What stands between two marks, or behind the first.
fn between<'a>(text: &'a str, mark: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(mark).unwrap();
    rest.split_once(end).map_or(rest, |(inner, _)| inner)
}

/// The mask of a group's expression: what is behind its last `&`.
fn mask_after(sql: &str, mark: &str) -> i128 {
    let (_, rest) = sql.split_once(mark).unwrap();
    let (_, rest) = rest.split_once(" & ").unwrap();
    between(rest, "", ")").parse().unwrap()
}

/// Any function that spreads.
fn grouped_by(key: i128) -> i128 {
    (key * 2_654_435_761 + 12_345) >> 4
}

impl Ask for Fake {
    async fn ask(&self, sql: &str) -> Result<Answers, AskError> {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.asked.lock().unwrap().push(sql.to_owned());
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.breaks.is_some_and(|part| sql.contains(part)) {
            return Err(AskError { doing: "reading".to_owned(), why: "it is broken".to_owned() });
        }
        Ok(self.answer(sql))
    }

    fn one_snapshot(&self) -> bool {
        true
    }
}

fn subject(key_type: Option<&str>, rows: u64) -> Subject {
    let name = TableName { schema: "shop".to_owned(), name: "orders".to_owned() };
    let column = Column { nullable: false, ..fixtures::column("k", key_type.unwrap_or("text")) };
    let target = TargetColumn {
        source: "k".to_owned(),
        target: "k".to_owned(),
        mapped: Mapped { target: column.source_type.clone(), transfer: Transfer::Binary, notes: Vec::new() },
        computed: false,
    };
    Subject {
        source: Table {
            name: name.clone(),
            primary_key: key_type.map(|_| "k".to_owned()).into_iter().collect(),
            primary_key_name: None,
            columns: vec![column],
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            comment: None,
            estimated_rows: Some(rows),
            bytes: None,
        },
        target: TargetTable { source: name.clone(), target: name, columns: vec![target] },
        rejected: 0,
    }
}

fn settings() -> Settings {
    Settings::new(Engine::Postgres, Others::Refused)
}

/// Keys 0 to 9,999, none of whose digests are alike.
fn many() -> Vec<(i128, i128)> {
    (0..10_000).map(|key| (key, key * key + 17)).collect()
}

async fn compared(
    source: &Arc<Fake>,
    target: &Arc<Fake>,
    subjects: &[Subject],
    settings: &Settings,
) -> Report {
    let mut told = 0;
    let (source, target) = (Arc::clone(source), Arc::clone(target));
    let report = verify(source, target, subjects, settings, &mut |_| told += 1).await.unwrap();
    assert_eq!(told, subjects.len());
    report
}

#[tokio::test]
async fn equal_tables_are_the_same_in_one_question_each() {
    let (source, target) = (Arc::new(Fake::new(many())), Arc::new(Fake::new(many())));
    let subjects = [subject(Some("bigint"), 10_000), subject(Some("text"), 10_000), subject(None, 10_000)];
    let report = compared(&source, &target, &subjects, &settings()).await;
    assert!(report.is_clean() && report.one_snapshot, "{report}");
    assert_eq!(report.rows(), 30_000);
    assert!(report.tables.iter().all(|table| table.checksum == Checksum::Same));
    // Two to know what the servers are, and one for each table.
    assert_eq!(source.statements().len(), 5);
    assert!(source.statements().iter().any(|sql| sql.contains("hashtextextended(concat_ws")));
}

#[tokio::test]
async fn differences_are_named_by_ranges_and_by_groups() {
    let mut rows: BTreeMap<i128, i128> = many().into_iter().collect();
    rows.remove(&77);
    rows.insert(4000, 1);
    rows.insert(20_000, 5);
    let (source, target) = (Arc::new(Fake::new(many())), Arc::new(Fake::new(rows)));
    for key_type in ["bigint", "text"] {
        let subjects = [subject(Some(key_type), 10_000)];
        let report = compared(&source, &target, &subjects, &settings()).await;
        let table = &report.tables[0];
        assert_eq!(table.missing.keys, [["77"]], "{key_type}");
        assert_eq!(table.different.keys, [["4000"]], "{key_type}");
        assert_eq!(table.extra.keys, [["20000"]], "{key_type}");
        assert_eq!((table.source_rows, table.target_rows), (Some(10_000), Some(10_000)));
        assert!(!report.is_clean() && table.complete);
    }
    // Without a key they are counted: the changed one on both sides.
    let report = compared(&source, &target, &[subject(None, 10_000)], &settings()).await;
    let table = &report.tables[0];
    assert!(table.missing.keys.is_empty() && table.extra.keys.is_empty() && table.key.is_empty());
    assert!(table.missing.rows > 0 && !report.is_clean());
}

#[tokio::test]
async fn rejected_rows_are_the_missing_ones() {
    let rows: Vec<(i128, i128)> = many().into_iter().filter(|(key, _)| key % 1000 != 0).collect();
    let (source, target) = (Arc::new(Fake::new(many())), Arc::new(Fake::new(rows)));
    let rejected = Subject { rejected: 10, ..subject(Some("bigint"), 10_000) };
    let report = compared(&source, &target, &[rejected], &settings()).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.tables[0].verdict(), Verdict::SameButRejected);
    let lost = Subject { rejected: 9, ..subject(Some("bigint"), 10_000) };
    assert!(!compared(&source, &target, &[lost], &settings()).await.is_clean());
}

#[tokio::test]
async fn other_rows_are_allowed_where_they_were_there_before() {
    let more = many().into_iter().chain((50_000..90_000).map(|key| (key, key)));
    let (source, target) = (Arc::new(Fake::new(many())), Arc::new(Fake::new(more)));
    let allowed = Settings { others: Others::Allowed, ..settings() };
    for key_type in ["bigint", "text"] {
        let subjects = [subject(Some(key_type), 10_000)];
        let report = compared(&source, &target, &subjects, &allowed).await;
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.tables[0].extra.rows, 40_000);
        assert!(!compared(&source, &target, &subjects, &settings()).await.is_clean());
    }
    let mut fewer = many();
    fewer.retain(|(key, _)| *key != 5);
    let target = Arc::new(Fake::new(fewer.into_iter().chain((50_000..90_000).map(|key| (key, key)))));
    let report = compared(&source, &target, &[subject(Some("bigint"), 10_000)], &allowed).await;
    assert_eq!(report.tables[0].missing.keys, [["5"]]);
    assert!(!report.is_clean());
}

#[tokio::test]
async fn servers_that_hash_otherwise_are_compared_by_md5() {
    let target = Arc::new(Fake { probe: "LATIN1", ..Fake::new(many()) });
    let source = Arc::new(Fake::new(many()));
    let report = compared(&source, &target, &[subject(Some("bigint"), 10)], &settings()).await;
    assert!(report.is_clean());
    assert!(source.statements().iter().any(|sql| sql.contains("md5(convert_to(")));
    assert!(!source.statements().iter().any(|sql| sql.contains("hashtextextended(concat_ws")));
}

#[tokio::test]
async fn a_table_that_cannot_be_compared_stops_no_other() {
    let source = Arc::new(Fake { breaks: Some("FROM ONLY \"shop\".\"gone\""), ..Fake::new(many()) });
    let target = Arc::new(Fake::new(many()));
    let mut gone = subject(Some("bigint"), 10);
    gone.source.name.name = "gone".to_owned();
    let mut renamed = subject(Some("bigint"), 10);
    renamed.source.columns[0].name = "renamed".to_owned();
    let subjects = [gone, renamed, subject(Some("bigint"), 10)];
    let report = compared(&source, &target, &subjects, &settings()).await;
    let verdicts: Vec<Verdict> = report.tables.iter().map(TableReport::verdict).collect();
    assert_eq!(verdicts, [Verdict::NotCompared, Verdict::NotCompared, Verdict::Same]);
    assert!(report.tables[0].error.as_deref().unwrap().contains("asking the source: reading: it is broken"));
    assert!(!report.is_clean());
    let broken = Arc::new(Fake { breaks: Some("SELECT"), ..Fake::new(many()) });
    let error = verify(broken, target, &subjects, &settings(), &mut |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("the source could not be asked"), "{error}");
}

#[tokio::test]
async fn no_more_questions_are_under_way_than_allowed() {
    let rows: Vec<(i128, i128)> = many().into_iter().take(1_000).collect();
    let other: Vec<(i128, i128)> = rows.iter().map(|(key, digest)| (*key, digest + key % 3)).collect();
    let (source, target) = (Arc::new(Fake::new(rows)), Arc::new(Fake::new(other)));
    let subjects: Vec<Subject> = (0..6).map(|_| subject(Some("bigint"), 1_000)).collect();
    let few = Settings { concurrency: 3, ..settings() };
    let report = compared(&source, &target, &subjects, &few).await;
    assert!(!report.is_clean());
    assert!(source.most.load(Ordering::SeqCst) <= 3);
    assert!(target.most.load(Ordering::SeqCst) <= 3);
    assert_eq!(report.tables[0].different.rows, 666);
    assert_eq!(report.tables[0].different.keys.len(), 20);
}

#[tokio::test]
async fn a_large_table_is_cut_before_it_is_compared() {
    let (source, target) = (Arc::new(Fake::new(many())), Arc::new(Fake::new(many())));
    // Its statistics say more than there is: ranges without rows cost a question and nothing else.
    let report = compared(&source, &target, &[subject(Some("bigint"), 2_500_000)], &settings()).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.tables[0].source_rows, Some(10_000));
    assert_eq!(target.statements().iter().filter(|sql| sql.starts_with("SELECT COUNT")).count(), 5);
    assert_eq!(target.statements().iter().filter(|sql| sql.starts_with("SELECT MIN")).count(), 0);
    // A key that is no integer is cut by its own rows: here there is no row so far behind.
    let report = compared(&source, &target, &[subject(Some("numeric"), 2_500_000)], &settings()).await;
    assert!(report.is_clean(), "{report}");
    assert!(source.statements().iter().any(|sql| sql.ends_with("LIMIT 1 OFFSET 499999")));
}

#[tokio::test]
async fn a_sample_counts_all_and_compares_some() {
    let other: Vec<(i128, i128)> = many().into_iter().map(|(key, digest)| (key, digest + 1)).collect();
    let (source, target) = (Arc::new(Fake::new(many())), Arc::new(Fake::new(other)));
    let some = Settings { depth: Depth::Sample { rows: 100, seed: 5 }, ..settings() };
    let report = compared(&source, &target, &[subject(Some("bigint"), 10_000)], &some).await;
    let Coverage::Sample { rows } = report.tables[0].coverage else { panic!("{report}") };
    assert!((10..1000).contains(&rows), "{rows}");
    assert_eq!((report.tables[0].different.rows, report.tables[0].source_rows), (rows, Some(10_000)));
    let report = compared(&source, &source, &[subject(None, 10_000)], &some).await;
    assert!(report.is_clean());
}
