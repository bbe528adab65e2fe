//! Lines, rotation, and what a death in between leaves.

use super::super::fixtures::at;
use super::*;
use flate2::read::GzDecoder;
use proptest::prelude::*;

struct Room {
    folder: tempfile::TempDir,
    log: TuningLog,
}

impl Room {
    fn new(max_bytes: u64, keep: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path(), max_bytes, keep);
        Self { folder, log }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tuning.log")
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("logs/archive")
    }

    /// Starts again, as after a crash.
    fn reopen(&mut self) {
        let LogRotation { max_bytes, keep } = self.log.rotation.clone();
        self.log = open(self.folder.path(), max_bytes, keep);
    }

    /// Appends line number `n`, at second `seconds`.
    fn append(&mut self, n: i64, seconds: i64) -> Result<(), TuningLogError> {
        let message = n.to_string();
        self.log.append(&Line {
            at: at(seconds),
            kind: Kind::Sample,
            signals: &BTreeMap::new(),
            trial: None,
            message: Some(&message),
        })
    }

    /// The numbers of all lines, in the archives by name and then in the log.
    fn numbers(&self) -> Vec<i64> {
        let mut text = String::new();
        for path in files(&self.archive()) {
            GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        }
        text.push_str(&fs::read_to_string(self.path()).unwrap_or_default());
        text.lines()
            .map(|line| {
                let value: Value = serde_json::from_str(line).unwrap();
                value["message"].as_str().unwrap().parse().unwrap()
            })
            .collect()
    }
}

fn open(folder: &Path, max_bytes: u64, keep: u32) -> TuningLog {
    let rotation = LogRotation { max_bytes, keep };
    let (log, unfinished) =
        TuningLog::open(&folder.join("tuning.log"), &folder.join("logs/archive"), rotation);
    assert!(unfinished.is_none(), "{unfinished:?}");
    log
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

fn signals(of: &[(&str, Option<f64>)]) -> BTreeMap<SignalName, Option<f64>> {
    of.iter().map(|(name, value)| (SignalName::new(*name), *value)).collect()
}

#[test]
fn a_line_has_the_playbooks_keys_first_and_users_signals_under_their_names() {
    let signals = signals(&[
        ("wal_rate", Some(1_234_567.0)),
        ("cpu_temperature", Some(72.0)),
        ("io_wait", Some(15.5)),
        ("p95_write_latency", Some(f64::NAN)),
        ("queue_depth", Some(3.25)),
        ("checkout_errors", None),
        ("kind", Some(1.0)),
    ]);
    let line = |kind, trial, message| {
        let line = Line { at: at(0), kind, signals: &signals, trial, message };
        String::from_utf8(line.to_json()).unwrap()
    };
    let phase = Phase::Measuring { look: 1 };
    insta::assert_snapshot!(line(Kind::Sample, None, None), @r#"{"timestamp":"2024-01-15T10:14:00Z","wal_rate":1234567,"cpu_temp":72,"io_wait":15.5,"p95_latency":null,"kind":"sample","checkout_errors":null,"signal_kind":1,"queue_depth":3.25}"#);
    insta::assert_snapshot!(line(Kind::Trial, Some((TrialId(12), &phase)), Some("look \"2\"\n")), @r#"{"timestamp":"2024-01-15T10:14:00Z","wal_rate":1234567,"cpu_temp":72,"io_wait":15.5,"p95_latency":null,"kind":"trial","checkout_errors":null,"signal_kind":1,"queue_depth":3.25,"trial":12,"phase":"measuring","message":"look \"2\"\n"}"#);
}

proptest! {
    #[test]
    fn any_line_is_one_json_object(
        value in proptest::option::of(any::<f64>()), name in any::<String>(), message in any::<String>(),
    ) {
        let signals = BTreeMap::from([(SignalName::new(name), value)]);
        let line = Line { at: at(0), kind: Kind::Decision, signals: &signals, trial: None, message: Some(&message) };
        let text = String::from_utf8(line.to_json()).unwrap();
        prop_assert_eq!(text.matches('\n').count(), 1);
        let parsed: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(parsed["message"].as_str(), Some(message.as_str()));
    }
}

#[test]
fn no_line_is_lost_and_none_is_twice_over_many_rotations() {
    let mut room = Room::new(500, 100);
    // The clock stands still, then jumps back: stamps repeat.
    for n in 0..40 {
        room.append(n, if n < 20 { 50 } else { n - 20 }).unwrap();
    }
    let mut numbers = room.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
    assert!(files(&room.archive()).len() > 5);
    assert!(fs::metadata(room.path()).map_or(0, |metadata| metadata.len()) <= 500);
}

#[test]
fn only_the_newest_archives_are_kept_and_other_files_are_left_alone() {
    let mut room = Room::new(100, 2);
    let theirs = room.archive().join("tuning-january.log.gz");
    put(&theirs, b"somebody's");
    for n in 0..6 {
        room.append(n, n * 60).unwrap();
    }
    let names: Vec<_> = files(&room.archive())
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        ["tuning-20240115_101800.log.gz", "tuning-20240115_101900.log.gz", "tuning-january.log.gz",]
    );
}

#[test]
fn an_archive_of_a_clock_that_jumped_back_is_not_deleted_at_once() {
    let mut room = Room::new(100, 2);
    for (n, seconds) in [(0, 5000), (1, 6000), (2, 10)] {
        room.append(n, seconds).unwrap();
    }
    assert!(room.numbers().contains(&2), "{:?}", files(&room.archive()));
}

#[test]
fn a_rotation_that_was_cut_short_is_finished_at_the_next_start() {
    let lines = b"{\"timestamp\":\"x\",\"message\":\"1\"}\n";
    let stamp = "20240115_090000";
    let whole_archive = {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(lines).unwrap();
        encoder.finish().unwrap()
    };
    for (archive, draft) in
        [(None, None), (None, Some(&whole_archive[..9])), (Some(&whole_archive[..]), None)]
    {
        let mut room = Room::new(10_000, 5);
        let archived = room.archive().join(format!("tuning-{stamp}.log.gz"));
        put(&room.folder.path().join(format!("tuning.log.rotating-{stamp}")), lines);
        if let Some(bytes) = archive {
            put(&archived, bytes);
        }
        if let Some(bytes) = draft {
            put(&archived.with_extension("gz.tmp"), bytes);
        }
        room.reopen();
        room.append(2, 0).unwrap();
        assert_eq!(room.numbers(), [1, 2]);
        assert_eq!(files(&room.archive()), [archived]);
        assert_eq!(files(room.folder.path()).len(), 2, "the file that was moved aside is gone");
    }
}

#[test]
fn a_line_that_was_cut_short_is_taken_out_and_a_persons_text_is_not() {
    let mut room = Room::new(10_000, 5);
    room.append(1, 0).unwrap();
    let whole = fs::read(room.path()).unwrap();
    for cut in 0..whole.len() {
        put(&room.path(), &[&whole[..], &whole[..cut]].concat());
        room.append(2, 1).unwrap();
        let numbers = room.numbers();
        // With only its line ending missing it is whole, and is kept.
        let expected: &[i64] = if cut == whole.len() - 1 { &[1, 1, 2] } else { &[1, 2] };
        assert_eq!(numbers, expected, "cut at {cut}");
    }
    put(&room.path(), b"a note without a line ending");
    room.append(3, 2).unwrap();
    assert!(fs::read_to_string(room.path()).unwrap().starts_with("a note without a line ending\n{"));
}

#[test]
fn a_person_may_move_the_file_away_at_any_time() {
    let mut room = Room::new(10_000, 5);
    room.append(1, 0).unwrap();
    fs::rename(room.path(), room.folder.path().join("mine")).unwrap();
    room.append(2, 1).unwrap();
    assert_eq!(room.numbers(), [2]);
}

#[test]
fn an_archive_that_cannot_be_written_is_an_error_and_costs_no_line() {
    let mut room = Room::new(300, 5);
    put(&room.folder.path().join("logs"), b"a file in the archive's place");
    let errors: Vec<_> = (0..12).filter_map(|n| room.append(n, n).err()).collect();
    assert!(!errors.is_empty() && errors.len() < 12);
    assert!(errors.iter().all(|error| matches!(error, TuningLogError::Rotation { .. })));
    fs::remove_file(room.folder.path().join("logs")).unwrap();
    for n in 12..20 {
        room.append(n, n).unwrap();
    }
    assert_eq!(room.numbers(), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_folder_in_its_place_is_named() {
    let mut room = Room::new(300, 5);
    fs::create_dir_all(room.path()).unwrap();
    let error = room.append(1, 0).unwrap_err();
    assert!(error.to_string().contains("tuning.log: the line could not be written"), "{error}");
}
