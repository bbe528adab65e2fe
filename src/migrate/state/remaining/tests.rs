//! Whatever subset of chunks is committed, over several interruptions: every row is there or missing, and never both.

use super::*;
use proptest::prelude::*;

/// Keys are 0 to before this.
const KEYS: i64 = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Keyset,
    Blocks,
}

/// A key whose text says nothing of its place: it is in no order that texts have.
fn text(place: i64) -> Vec<KeyValue> {
    let scrambled = (place * 7919 + 13) % 10_007;
    vec![KeyValue::Text(format!("{scrambled}")), KeyValue::Integer(i128::from(scrambled % 3))]
}

/// The extent of the places `from` to before `below`.
fn extent(kind: Kind, from: Option<i64>, below: Option<i64>) -> Extent {
    match kind {
        Kind::Integer => Extent::Integer {
            column: "id".to_owned(),
            from: from.map(i128::from),
            below: below.map(i128::from),
        },
        Kind::Keyset => Extent::Keyset {
            columns: vec!["a".to_owned(), "b".to_owned()],
            after: from.map(|from| text(from - 1)),
            up_to: below.map(|below| text(below - 1)),
        },
        Kind::Blocks => Extent::Blocks { from: from.map(block), below: below.map(block) },
    }
}

fn block(place: i64) -> u32 {
    u32::try_from(place).unwrap()
}

fn ends(extent: &Extent) -> (Option<i64>, Option<i64>) {
    let behind = |key: &Vec<KeyValue>| (-1..KEYS).find(|place| text(*place) == *key).unwrap() + 1;
    let number = |key: i128| i64::try_from(key).unwrap();
    match extent {
        Extent::Whole => (None, None),
        Extent::Integer { from, below, .. } => (from.map(number), below.map(number)),
        Extent::Blocks { from, below } => (from.map(i64::from), below.map(i64::from)),
        Extent::Keyset { after, up_to, .. } => (after.as_ref().map(behind), up_to.as_ref().map(behind)),
    }
}

fn has(extent: &Extent, place: i64) -> bool {
    let (from, below) = ends(extent);
    from.is_none_or(|from| place >= from) && below.is_none_or(|below| place < below)
}

/// Numbers that look like chance, from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Pieces of an extent, each beginning where the one before it ends.
fn cut(kind: Kind, whole: &Extent, dice: &mut Dice) -> Vec<Extent> {
    let (from, below) = ends(whole);
    let inside = from.unwrap_or(0) + 1..below.unwrap_or(KEYS);
    let mut pieces = Vec::new();
    let mut start = from;
    for place in inside {
        if dice.roll(3) == 0 {
            pieces.push(extent(kind, start, Some(place)));
            start = Some(place);
        }
    }
    pieces.push(extent(kind, start, below));
    pieces
}

fn relation() -> TableName {
    TableName { schema: "public".to_owned(), name: "t".to_owned() }
}

fn part(number: u32, extent: Extent) -> PartState {
    let part = Part { table: 5, number, relation: relation(), extent, file: Some(7) };
    PartState { part, closed: false, chunks: Vec::new() }
}

fn chunk(seq: u32, extent: Extent) -> CommittedChunk {
    CommittedChunk { seq, extent, rows: 1, bytes: 10, rejected: 0 }
}

/// How often the chunks that are committed have each place.
fn committed(parts: &[PartState]) -> Vec<usize> {
    let chunks: Vec<&CommittedChunk> = parts.iter().flat_map(|state| &state.chunks).collect();
    (0..KEYS).map(|place| chunks.iter().filter(|chunk| has(&chunk.extent, place)).count()).collect()
}

/// Hands a part out from its beginning; `all` of its chunks are committed, or some.
fn hand_out(kind: Kind, state: &mut PartState, all: bool, dice: &mut Dice) {
    assert!(state.chunks.is_empty() && !state.closed, "only parts of which nothing is there are handed out");
    let pieces = cut(kind, &state.part.extent, dice);
    let reached = if all { pieces.len() as u64 } else { dice.roll(pieces.len() as u64 + 1) };
    for (seq, piece) in (0_u32..).zip(pieces) {
        let sent = u64::from(seq) < reached;
        if all || (sent && dice.roll(2) == 0) {
            state.chunks.push(chunk(seq, piece));
        }
    }
    // As another connection might give them.
    if dice.roll(2) == 0 {
        state.chunks.reverse();
    }
}

fn interrupted_runs(kind: Kind, seed: u64, rounds: u32) {
    let mut dice = Dice(seed);
    let first = cut(kind, &extent(kind, None, None), &mut dice);
    let mut parts: Vec<PartState> =
        (0_u32..).zip(first).map(|(number, extent)| part(number * 2, extent)).collect();
    for round in 0..=rounds {
        let split = match resumption(&parts).unwrap() {
            Resumption::Split(split) => split,
            Resumption::Complete => break,
            other => panic!("{other:?}"),
        };
        let there = committed(&parts);
        for (place, there) in (0..KEYS).zip(there) {
            let lacking = split.added.iter().filter(|part| has(&part.extent, place)).count();
            assert_eq!(there + lacking, 1, "place {place}, round {round}");
        }
        let to_read: Vec<u32> = split.added.iter().map(|part| part.number).collect();
        for state in &mut parts {
            assert!(!split.added.iter().any(|added| added.number == state.part.number));
            state.closed |= split.closed.contains(&state.part.number);
        }
        parts.extend(split.added.into_iter().map(|part| PartState {
            part,
            closed: false,
            chunks: Vec::new(),
        }));
        for state in parts.iter_mut().filter(|state| to_read.contains(&state.part.number)) {
            hand_out(kind, state, round == rounds, &mut dice);
        }
    }
    assert_eq!(resumption(&parts).unwrap(), Resumption::Complete);
    assert_eq!(committed(&parts), vec![1; KEYS as usize]);
}

proptest! {
    #[test]
    fn integer_keys_arrive_once(seed in any::<u64>(), rounds in 0_u32..6) {
        interrupted_runs(Kind::Integer, seed, rounds);
    }

    #[test]
    fn keys_in_an_order_that_nobody_knows_arrive_once(seed in any::<u64>(), rounds in 0_u32..6) {
        interrupted_runs(Kind::Keyset, seed, rounds);
    }

    /// Of any part, cut and committed in any way, what is there and what is missing is all of it, once.
    #[test]
    fn committed_and_remaining_are_the_part(
        seed in any::<u64>(), kind in prop::sample::select(vec![Kind::Integer, Kind::Keyset, Kind::Blocks]),
        from in prop::option::of(1_i64..20), below in prop::option::of(21_i64..KEYS),
    ) {
        let mut dice = Dice(seed);
        let whole = extent(kind, from, below);
        let mut state = part(0, whole.clone());
        hand_out(kind, &mut state, false, &mut dice);
        let missing = remaining(&whole, &state.chunks).unwrap();
        let there = committed(std::slice::from_ref(&state));
        for (place, there) in (0..KEYS).zip(there) {
            let lacking = missing.iter().filter(|extent| has(extent, place)).count();
            prop_assert_eq!(there + lacking, usize::from(has(&whole, place)));
        }
        // Nothing is asked for that has no rows.
        for extent in &missing {
            prop_assert!((0..KEYS).any(|place| has(extent, place)), "{:?}", extent);
        }
    }
}

#[test]
fn a_part_of_which_nothing_is_there_is_missing_as_it_is() {
    for whole in [
        Extent::Whole,
        extent(Kind::Integer, None, None),
        extent(Kind::Integer, Some(3), Some(9)),
        extent(Kind::Keyset, None, Some(9)),
        extent(Kind::Blocks, Some(3), None),
    ] {
        assert_eq!(remaining(&whole, &[]), Ok(vec![whole]));
    }
}

#[test]
fn gaps_lie_before_between_and_behind() {
    for kind in [Kind::Integer, Kind::Keyset, Kind::Blocks] {
        let chunks = [chunk(5, extent(kind, Some(30), Some(35))), chunk(2, extent(kind, Some(10), Some(20)))];
        let missing = remaining(&extent(kind, None, None), &chunks).unwrap();
        let gaps: Vec<(Option<i64>, Option<i64>)> = missing.iter().map(ends).collect();
        assert_eq!(gaps, [(None, Some(10)), (Some(20), Some(30)), (Some(35), None)], "{kind:?}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let integer = |from, below| extent(Kind::Integer, from, below);
    let whole = integer(Some(0), Some(30));
    let refused = |chunks: &[(u32, Extent)]| {
        let chunks: Vec<CommittedChunk> =
            chunks.iter().map(|(seq, extent)| chunk(*seq, extent.clone())).collect();
        remaining(&whole, &chunks).unwrap_err()
    };
    let first = (0, integer(Some(0), Some(10)));
    assert_eq!(refused(&[first.clone(), first.clone()]), Contradiction::SameNumber { seq: 0 });
    let neighbour = (1, integer(Some(11), Some(20)));
    assert_eq!(refused(&[first.clone(), neighbour]), Contradiction::NoNeighbour { seq: 1 });
    assert_eq!(refused(&[(0, integer(Some(1), Some(9)))]), Contradiction::NoNeighbour { seq: 0 });
    let overlap = Contradiction::Overlap { seq: 2 };
    assert_eq!(refused(&[first.clone(), (2, integer(Some(5), Some(20)))]), overlap);
    assert_eq!(refused(&[first.clone(), (2, integer(None, Some(20)))]), overlap);
    assert_eq!(refused(&[(1, integer(Some(5), Some(30))), (2, integer(Some(30), Some(30)))]), overlap);
    let outside = Contradiction::Outside { seq: 1 };
    assert_eq!(refused(&[(1, integer(Some(20), Some(31)))]), outside);
    assert_eq!(refused(&[(1, integer(Some(20), None))]), outside);
    assert_eq!(refused(&[(1, integer(Some(20), Some(19)))]), outside);
    let other = Contradiction::OtherKind { seq: 3 };
    assert_eq!(refused(&[(3, extent(Kind::Keyset, None, None))]), other);
    assert_eq!(refused(&[(3, Extent::Integer { column: "b".to_owned(), from: None, below: None })]), other);
}

#[test]
fn a_whole_relation_is_one_chunk() {
    let there = [chunk(0, Extent::Whole)];
    assert_eq!(remaining(&Extent::Whole, &there), Ok(Vec::new()));
    let twice = [chunk(0, Extent::Whole), chunk(1, Extent::Whole)];
    assert_eq!(remaining(&Extent::Whole, &twice), Err(Contradiction::Overlap { seq: 1 }));
    let other = [chunk(0, extent(Kind::Blocks, None, None))];
    assert_eq!(remaining(&Extent::Whole, &other), Err(Contradiction::OtherKind { seq: 0 }));
}

#[test]
fn nothing_overflows_at_the_ends_of_all_integers() {
    let extent = |from, below| Extent::Integer { column: "id".to_owned(), from, below };
    let chunks = [chunk(u32::MAX, extent(Some(i128::MIN), Some(i128::MAX)))];
    let missing = remaining(&extent(None, None), &chunks).unwrap();
    assert_eq!(missing, [extent(None, Some(i128::MIN)), extent(Some(i128::MAX), None)]);
}

#[test]
fn a_table_that_was_not_cut_and_one_that_is_complete() {
    assert_eq!(resumption(&[]).unwrap(), Resumption::Uncut);
    let mut complete = part(0, Extent::Whole);
    complete.chunks.push(chunk(0, Extent::Whole));
    assert_eq!(resumption(&[complete]).unwrap(), Resumption::Complete);
}

#[test]
fn blocks_are_all_there_or_none_or_read_again() {
    let blocks = |from, below| extent(Kind::Blocks, from, below);
    let (first, second) = (part(0, blocks(None, Some(9))), part(1, blocks(Some(9), None)));
    let there = |state: &PartState| {
        let chunks = vec![chunk(0, state.part.extent.clone())];
        PartState { chunks, ..state.clone() }
    };
    let begun = |state: &PartState| {
        let chunks = vec![chunk(1, blocks(Some(2), Some(3)))];
        PartState { chunks, ..state.clone() }
    };
    let numbered = |state: &PartState, number| Part { number, ..state.part.clone() };
    let none = resumption(&[first.clone(), second.clone()]).unwrap();
    let added = vec![numbered(&first, 2), numbered(&second, 3)];
    assert_eq!(none, Resumption::Split(Split { closed: vec![0, 1], added }));
    assert_eq!(resumption(&[there(&first), there(&second)]).unwrap(), Resumption::Complete);
    assert_eq!(resumption(&[there(&first), second.clone()]).unwrap(), Resumption::Restart);
    assert_eq!(resumption(&[begun(&first), second.clone()]).unwrap(), Resumption::Restart);
    // Another relation of the same table is its own.
    let mut elsewhere = second.clone();
    elsewhere.part.relation.name = "t_2".to_owned();
    elsewhere.part.extent = blocks(None, None);
    let mut alone = first.clone();
    alone.part.extent = blocks(None, None);
    let found = resumption(&[there(&alone), elsewhere.clone()]).unwrap();
    let added = vec![numbered(&elsewhere, 2)];
    assert_eq!(found, Resumption::Split(Split { closed: vec![1], added }));
}

#[test]
fn a_contradiction_names_table_and_part() {
    let mut state = part(3, extent(Kind::Integer, None, None));
    state.chunks = vec![chunk(0, extent(Kind::Integer, Some(1), Some(2)))];
    let error = resumption(&[state]).unwrap_err();
    let told = "part 3 of table 5: chunk 0 does not begin where what was handed out before it ends";
    assert_eq!(error.to_string(), told);
}
