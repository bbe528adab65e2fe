//! Chunks: in which order, how large, and without gaps.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

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

#[test]
fn sparse_keys_are_skipped_in_growing_steps() {
    let part = integer_part(0, (0, 1_i128 << 60), 1_000);
    let mut schedule = Schedule::new(vec![table(0, false, part)], WIDE);
    // All rows lie at the beginning; the rest is empty.
    let mut chunks = 0;
    while let Some(chunk) = read(&mut schedule, 100) {
        schedule.read(&chunk, Some(if chunk.seq == 0 { 1_000 } else { 0 }));
        schedule.committed(&chunk);
        chunks += 1;
    }
    assert!(schedule.is_done() && chunks < 40, "{chunks} chunks");
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

proptest! {
    /// Whatever is read, fails or is answered in whatever order: the extents of each part are a chain without gaps.
    #[test]
    fn chunks_are_a_chain(
        tables in prop::collection::vec((-500_i128..500, 0_i128..2_000, 0_u64..3_000, any::<bool>()), 1..5),
        choices in prop::collection::vec((0_u32..400, 0_usize..8, any::<bool>()), 1..400),
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
            let (rows, which, fails) = choices.next().unwrap();
            match schedule.next(rows) {
                Task::Read(chunk) => open.push(chunk),
                Task::Ask(_) => prop_assert!(false, "nothing to ask"),
                Task::Done => break,
                Task::Wait => {
                    prop_assert!(!open.is_empty(), "nothing is open, and there is nothing to do");
                    let chunk = open.swap_remove(which % open.len());
                    schedule.read(&chunk, (!fails).then_some(u64::from(rows)));
                    if fails && chunk.failures < 3 {
                        schedule.again(chunk, false);
                    } else {
                        finished += usize::from(schedule.committed(&chunk).is_some());
                        done.entry(chunk.table).or_default().push(chunk);
                    }
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
}
