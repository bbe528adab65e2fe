//! Chunks: in which order, how large, and without gaps.

use super::*;
use crate::migrate::ranges::by_integer;
use crate::migrate::state::{CommittedChunk, remaining};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn relation(name: &str) -> TableName {
    TableName { schema: "s".to_owned(), name: name.to_owned() }
}

fn integer_part(number: u32, bounds: (i128, i128), rows: u64) -> PartPlan {
    PartPlan {
        number,
        relation: relation("t"),
        extent: Extent::Integer { column: "id".to_owned(), from: None, below: None },
        bounds: Some(bounds),
        blocks: 0,
        rows: Some(rows),
        bytes: Some(rows * 100),
    }
}

fn whole_table(number: u32) -> TablePlan {
    let part = PartPlan {
        number: 0,
        relation: relation(&format!("t{number}")),
        extent: Extent::Whole,
        bounds: None,
        blocks: 0,
        rows: Some(10),
        bytes: Some(1000),
    };
    table(number, false, part)
}

fn table(number: u32, large: bool, part: PartPlan) -> TablePlan {
    TablePlan { number, large, shares: 1, parts: vec![part] }
}

const WIDE: Limits = Limits { tables: 100, readers: 4 };

fn read(schedule: &mut Schedule, chunk_rows: u32) -> Option<Chunk> {
    match schedule.next(chunk_rows) {
        Task::Read(chunk) => Some(chunk),
        Task::Wait | Task::Done => None,
        Task::Ask(question) => panic!("{question:?}"),
    }
}

#[test]
fn a_dense_key_is_cut_by_the_size_in_force() {
    let table = table(7, false, integer_part(0, (1, 10_000), 10_000));
    let mut schedule = Schedule::new(vec![table], WIDE);
    let first = read(&mut schedule, 1_000).unwrap();
    let id = || "id".to_owned();
    assert_eq!(first.extent, Extent::Integer { column: id(), from: None, below: Some(1_001) });
    schedule.read(&first, Some(1_000));
    let second = read(&mut schedule, 5_000).unwrap();
    assert_eq!(second.extent, Extent::Integer { column: id(), from: Some(1_001), below: Some(6_001) });
    let third = read(&mut schedule, 5_000).unwrap();
    assert_eq!(third.extent, Extent::Integer { column: id(), from: Some(6_001), below: None });
    assert_eq!((first.seq, second.seq, third.seq), (0, 1, 2));
    assert!(matches!(schedule.next(1), Task::Wait));
    assert_eq!(schedule.committed(&third), None);
    assert_eq!(schedule.committed(&first), None);
    assert_eq!(schedule.committed(&second), Some(7));
    assert!(matches!(schedule.next(1), Task::Done));
}

#[test]
fn a_chunk_that_failed_comes_again_as_it_was() {
    let mut schedule = Schedule::new(vec![whole_table(0), whole_table(1)], WIDE);
    let chunk = read(&mut schedule, 10).unwrap();
    schedule.read(&chunk, None);
    schedule.again(chunk.clone(), true);
    let again = read(&mut schedule, 10).unwrap();
    assert_eq!((again.table, again.seq, &again.extent), (chunk.table, chunk.seq, &chunk.extent));
    assert_eq!((again.failures, again.salvage), (1, true));
    assert_eq!(schedule.committed(&again), Some(0));
}

#[test]
fn tables_that_nobody_reads_come_first_and_no_more_than_may_be_in_work() {
    let many = table(0, false, integer_part(0, (1, 1_000), 1_000));
    let mut schedule =
        Schedule::new(vec![many, whole_table(1), whole_table(2)], Limits { tables: 2, readers: 2 });
    let first = read(&mut schedule, 10).unwrap();
    let second = read(&mut schedule, 10).unwrap();
    assert_eq!((first.table, second.table), (0, 1));
    // Two are in work: the first is joined, up to two readers.
    assert_eq!(read(&mut schedule, 10).unwrap().table, 0);
    assert!(read(&mut schedule, 10).is_none());
    schedule.read(&second, Some(10));
    assert_eq!(read(&mut schedule, 10).unwrap().table, 2);
}

#[test]
fn a_large_table_is_joined_before_another_is_begun() {
    let large = table(0, true, integer_part(0, (1, 1_000), 1_000));
    let mut schedule = Schedule::new(vec![large, whole_table(1)], Limits { tables: 4, readers: 2 });
    let tables: Vec<u32> = (0..3).map(|_| read(&mut schedule, 10).unwrap().table).collect();
    assert_eq!(tables, [0, 0, 1]);
}

#[test]
fn each_share_of_a_large_table_has_readers() {
    let half = |number: u32, from: Option<i128>, below: Option<i128>| PartPlan {
        extent: Extent::Integer { column: "id".to_owned(), from, below },
        ..integer_part(number, (1, 1_000), 1_000)
    };
    let parts = vec![half(0, None, Some(501)), half(1, Some(501), None)];
    let large = TablePlan { number: 0, large: true, shares: 2, parts };
    let mut schedule = Schedule::new(vec![large, whole_table(1)], Limits { tables: 4, readers: 2 });
    let chunks: Vec<Chunk> = (0..5).map(|_| read(&mut schedule, 250).unwrap()).collect();
    let of: Vec<(u32, u32, u32)> = chunks.iter().map(|chunk| (chunk.table, chunk.part, chunk.seq)).collect();
    // In the order of the keys, and each part has its own numbers.
    assert_eq!(of, [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0)]);
    assert_eq!(schedule.committed(&chunks[4]), Some(1));
    for chunk in &chunks[..3] {
        assert_eq!(schedule.committed(chunk), None);
    }
    assert_eq!(schedule.committed(&chunks[3]), Some(0));
}

#[test]
fn one_at_a_time_asks_for_a_keyset_s_boundary() {
    let part = PartPlan {
        extent: Extent::Keyset { columns: vec!["k".to_owned()], after: None, up_to: None },
        bounds: None,
        ..integer_part(0, (0, 0), 100)
    };
    let mut schedule = Schedule::new(vec![table(0, true, part)], WIDE);
    let Task::Ask(question) = schedule.next(50) else { panic!("a question") };
    assert_eq!(question.rows, 50);
    assert!(matches!(schedule.next(50), Task::Wait));
    let key = |text: &str| Some(vec![KeyValue::Text(text.to_owned())]);
    let first = schedule.boundary(&question, key("m"), 50);
    let Task::Ask(question) = schedule.next(50) else { panic!("a second question") };
    assert_eq!(schedule.unanswered(&question), 1);
    let Task::Ask(question) = schedule.next(50) else { panic!("asked again") };
    assert_eq!(schedule.unanswered(&question), 2);
    let Task::Ask(question) = schedule.next(50) else { panic!("asked once more") };
    let last = schedule.boundary(&question, None, 50);
    let keyset = |after, up_to| Extent::Keyset { columns: vec!["k".to_owned()], after, up_to };
    assert_eq!(first.extent, keyset(None, key("m")));
    assert_eq!(last.extent, keyset(key("m"), None));
    assert_eq!(schedule.committed(&first), None);
    assert_eq!(schedule.committed(&last), Some(0));
}

/// The keys of an extent, of all keys.
fn inside(keys: &BTreeSet<i128>, extent: &Extent) -> Vec<i128> {
    let Extent::Integer { from, below, .. } = extent else { panic!("by integer: {extent:?}") };
    let behind = keys.range(from.unwrap_or(i128::MIN)..);
    behind.copied().take_while(|key| below.is_none_or(|below| *key < below)).collect()
}

/// Moves a relation with these keys, so many chunks at once, until `stop` of them are committed: gives those,
/// and how many questions it took.
fn moved(
    keys: &BTreeSet<i128>,
    parts: Vec<PartPlan>,
    chunk_rows: u32,
    at_once: usize,
    stop: usize,
) -> (Vec<Chunk>, usize) {
    let table = TablePlan { number: 0, large: true, shares: 4, parts };
    let mut schedule = Schedule::new(vec![table], WIDE);
    let mut open: Vec<Chunk> = Vec::new();
    let mut committed: Vec<Chunk> = Vec::new();
    let mut questions = 0;
    while committed.len() < stop {
        let task = if open.len() < at_once { schedule.next(chunk_rows) } else { Task::Wait };
        match task {
            Task::Read(chunk) => open.push(chunk),
            Task::Ask(question) => {
                questions += 1;
                let found = inside(keys, &question.extent);
                let key = found.get(question.rows as usize - 1).map(|key| vec![KeyValue::Integer(*key)]);
                open.push(schedule.boundary(&question, key, chunk_rows));
            }
            Task::Done => break,
            Task::Wait => {
                assert!(!open.is_empty(), "nothing is open, and there is nothing to do");
                // Not in the order in which they were begun.
                let at = committed.len() % open.len();
                let chunk = open.swap_remove(at);
                schedule.read(&chunk, Some(inside(keys, &chunk.extent).len() as u64));
                schedule.committed(&chunk);
                committed.push(chunk);
            }
        }
    }
    (committed, questions)
}

#[test]
fn an_outlier_leaves_chunks_as_they_are() {
    let keys: BTreeSet<i128> = (1..=10_000).chain([1_000_000_000_000]).collect();
    let part = integer_part(0, (1, 1_000_000_000_000), 10_001);
    let (chunks, questions) = moved(&keys, vec![part], 500, 3, usize::MAX);
    let rows: Vec<usize> = chunks.iter().map(|chunk| inside(&keys, &chunk.extent).len()).collect();
    assert_eq!(rows.iter().sum::<usize>(), keys.len());
    assert!(rows.iter().all(|rows| *rows <= 500), "{rows:?}");
    // One where the keys begin, and one behind them: between them they are dense, and nobody is asked.
    assert!(chunks.len() < 30 && questions <= 3, "{} chunks, {questions} questions", chunks.len());
}

#[test]
fn keys_that_are_known_to_be_few_are_not_asked_for() {
    let keys: BTreeSet<i128> = (0..400).map(|key| key * 5).collect();
    let (chunks, questions) = moved(&keys, vec![integer_part(0, (0, 1_995), 400)], 500, 1, usize::MAX);
    assert_eq!((chunks.len(), questions), (1, 0));
    // Sparse and many: each chunk is as large as it should be.
    let keys: BTreeSet<i128> = (0..4_000).map(|key| key * 1_000).collect();
    let (chunks, _) = moved(&keys, vec![integer_part(0, (0, 3_999_000), 4_000)], 500, 2, usize::MAX);
    assert_eq!(chunks.len(), 8);
    assert!(chunks.iter().all(|chunk| inside(&keys, &chunk.extent).len() == 500));
}

#[test]
fn wide_rows_make_smaller_chunks() {
    let part = PartPlan { bytes: Some(1_000 * 1024 * 1024), ..integer_part(0, (1, 1_000), 1_000) };
    let mut schedule = Schedule::new(vec![table(0, false, part)], WIDE);
    let chunk = read(&mut schedule, 100_000).unwrap();
    assert_eq!(chunk.extent, Extent::Integer { column: "id".to_owned(), from: None, below: Some(65) });
    // What was asked for is what the state shows.
    assert_eq!(chunk.chunk_rows, 100_000);
}

/// Its reader may be away: then others commit before anybody reads it again.
#[test]
fn a_table_is_not_loaded_while_a_chunk_waits_to_be_read_again() {
    let mut schedule = Schedule::new(vec![table(0, false, integer_part(0, (1, 1_000), 1_000))], WIDE);
    let first = read(&mut schedule, 500).unwrap();
    let mut others = Vec::new();
    while let Some(chunk) = read(&mut schedule, 1_000) {
        others.push(chunk);
    }
    for chunk in others.iter().chain([&first]) {
        schedule.read(chunk, Some(500));
    }
    schedule.again(first, true);
    for chunk in &others {
        assert_eq!(schedule.committed(chunk), None);
    }
    assert!(!schedule.is_done());
    let Task::Read(first) = schedule.next(1_000) else { panic!("it waits") };
    assert!(first.salvage && first.failures == 1);
    schedule.read(&first, Some(500));
    assert_eq!(schedule.committed(&first), Some(0));
    assert!(schedule.is_done());
}

proptest! {
    /// Whatever is read, fails or is answered in whatever order: the extents of each part are a chain without gaps, and
    /// a table is loaded with its last chunk.
    #[test]
    fn chunks_are_a_chain(
        tables in prop::collection::vec((-500_i128..500, 0_i128..2_000, 0_u64..3_000, any::<bool>()), 1..5),
        choices in prop::collection::vec((0_u32..400, 0_usize..8, any::<bool>(), any::<bool>()), 1..400),
    ) {
        let plans = tables.iter().enumerate().map(|(at, (least, keys, rows, large))| {
            table(at as u32, *large, integer_part(0, (*least, least + keys), *rows))
        });
        let mut schedule = Schedule::new(plans.collect(), Limits { tables: 3, readers: 2 });
        let mut open: Vec<Chunk> = Vec::new();
        let mut done: BTreeMap<u32, Vec<Chunk>> = BTreeMap::new();
        let mut finished = 0;
        let mut choices = choices.into_iter().cycle();
        for _ in 0..20_000 {
            let (rows, which, fails, ends) = choices.next().unwrap();
            // Readers may be away while writers commit.
            let task = if ends && !open.is_empty() { Task::Wait } else { schedule.next(rows) };
            match task {
                Task::Read(chunk) => open.push(chunk),
                Task::Ask(question) => {
                    let Extent::Integer { from, .. } = &question.extent else { panic!("by integer") };
                    // Any key: one that lies outside ends nothing.
                    let key = KeyValue::Integer(from.unwrap_or(-500) + i128::from(rows.max(50)));
                    open.push(schedule.boundary(&question, Some(vec![key]), rows));
                }
                Task::Done => break,
                Task::Wait => {
                    prop_assert!(!open.is_empty(), "nothing is open, and there is nothing to do");
                    let chunk = open.swap_remove(which % open.len());
                    schedule.read(&chunk, (!fails).then_some(u64::from(rows)));
                    if fails && chunk.failures < 3 {
                        schedule.again(chunk, false);
                        continue;
                    }
                    if let Some(loaded) = schedule.committed(&chunk) {
                        finished += 1;
                        let is_left = open.iter().chain(&schedule.again).any(|other| other.table == loaded);
                        prop_assert!(!is_left, "table {} is loaded, and a chunk of it is not", loaded);
                    }
                    done.entry(chunk.table).or_default().push(chunk);
                }
            }
        }
        prop_assert!(schedule.is_done());
        prop_assert_eq!(finished, tables.len());
        for chunks in done.values_mut() {
            chunks.sort_by_key(|chunk| chunk.seq);
            let mut end = Some(None);
            for (at, chunk) in chunks.iter().enumerate() {
                prop_assert_eq!(chunk.seq as usize, at);
                let Extent::Integer { from, below, .. } = &chunk.extent else { panic!("by integer") };
                prop_assert_eq!(end, Some(*from), "a gap before chunk {}", at);
                end = below.map(Some);
            }
            prop_assert_eq!(end, None, "the last one has no end");
        }
    }

    /// Wherever keys lie, whatever the source says of their number, and wherever a run ends and goes on: each
    /// key is moved once, and no chunk has many more than it should.
    #[test]
    fn no_distribution_makes_large_chunks(
        clusters in prop::collection::vec(
            (
                prop_oneof![-500_i128..500, -1_000_000_000_000_i128..1_000_000_000_000],
                1_i128..200,
                prop_oneof![Just(1_i128), Just(3), Just(1_000), Just(1_000_000_007)],
            ),
            1..5,
        ),
        rows in 0_u64..5_000, most in 1_u32..5, chunk_rows in 5_u32..100,
        at_once in 1_usize..7, stop in 0_usize..60,
    ) {
        let keys: BTreeSet<i128> = clusters
            .iter()
            .flat_map(|(first, many, step)| (0..*many).map(move |at| first + at * step))
            .collect();
        let bounds = (*keys.first().unwrap(), *keys.last().unwrap());
        let part = |(number, extent): (u32, Extent)| {
            let like = integer_part(number, bounds, rows);
            PartPlan { extent, ..like }
        };
        let extents = by_integer("id", bounds, rows, 50, most);
        let parts: Vec<PartPlan> = (0_u32..).zip(extents).map(part).collect();
        let (mut chunks, _) = moved(&keys, parts.clone(), chunk_rows, at_once, stop);
        // It goes on with what is missing, as a run that was ended does.
        let mut missing = Vec::new();
        for part in &parts {
            let own = chunks.iter().filter(|chunk| chunk.part == part.number);
            let there: Vec<CommittedChunk> = own
                .map(|chunk| CommittedChunk {
                    seq: chunk.seq,
                    extent: chunk.extent.clone(),
                    rows: 0,
                    bytes: 0,
                    rejected: 0,
                })
                .collect();
            missing.extend(remaining(&part.extent, &there).unwrap());
        }
        let left: Vec<PartPlan> = (10_u32..).zip(missing).map(part).collect();
        chunks.extend(moved(&keys, left, chunk_rows, at_once, usize::MAX).0);
        let mut brought = Vec::new();
        for chunk in &chunks {
            let found = inside(&keys, &chunk.extent);
            prop_assert!(found.len() <= 4 * chunk_rows as usize, "{} in {:?}", found.len(), chunk.extent);
            brought.extend(found);
        }
        brought.sort_unstable();
        prop_assert_eq!(brought, keys.into_iter().collect::<Vec<i128>>());
    }
}
