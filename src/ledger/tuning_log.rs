//! `tuning.log`: one JSON object a line, for programs and for `tail -f`; rotated, and archived compressed.
//!
//! In: samples, decisions and steps of trials. Out: lines, each with `timestamp`, `wal_rate`, `cpu_temp`, `io_wait`,
//! `p95_latency` (null where unknown) and `kind`, then what else is known.
//!
//! Always holds: a line is appended by one write to a file that is opened for it, so a person may move the file away
//! at any time. A line that a crash or a full disk cut short is taken out before the next one. Rotation moves the file
//! to `tuning.log.rotating-STAMP`, compresses that into the archive by way of a temporary file, and deletes it last:
//! after a crash at any point the next rotation, or the next start, does what is left, so no line is lost and none is
//! there twice.
//!
//! One process writes it: the one that holds the target's lock.

use crate::config::LogRotation;
use crate::model::{Phase, SignalName, TrialId};
use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Number, Value};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The playbook's keys and the signals that stand behind them.
const PLAYBOOK_KEYS: [(&str, &str); 4] = [
    ("wal_rate", "wal_rate"),
    ("cpu_temp", "cpu_temperature"),
    ("io_wait", "io_wait"),
    ("p95_latency", "p95_write_latency"),
];

/// Keys that a user's signal cannot have; it gets `signal_` before its name.
const RESERVED: [&str; 7] = ["timestamp", "kind", "message", "trial", "phase", "cpu_temp", "p95_latency"];

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The signals, as they are sampled.
    Sample,
    /// What was decided, and why.
    Decision,
    /// A step of a trial.
    Trial,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    /// When.
    pub at: DateTime<Utc>,
    /// What it is about.
    pub kind: Kind,
    /// Every configured signal, in its own unit; `None` where it is not known.
    pub signals: &'a BTreeMap<SignalName, Option<f64>>,
    /// The open trial.
    pub trial: Option<(TrialId, &'a Phase)>,
    /// For people.
    pub message: Option<&'a str>,
}

impl Line<'_> {
    /// The line as JSON, its line ending included.
    fn to_json(&self) -> Vec<u8> {
        let time = self.at.trunc_subsecs(3).to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let mut fields = vec![("timestamp".to_owned(), Value::String(time))];
        for (key, signal) in PLAYBOOK_KEYS {
            let value = self.signals.get(&SignalName::new(signal)).copied().flatten();
            fields.push((key.to_owned(), number(value)));
        }
        let kind = match self.kind {
            Kind::Sample => "sample",
            Kind::Decision => "decision",
            Kind::Trial => "trial",
        };
        fields.push(("kind".to_owned(), Value::from(kind)));
        for (signal, value) in self.signals {
            let name = signal.as_str();
            if PLAYBOOK_KEYS.iter().any(|(_, known)| *known == name) {
                continue;
            }
            let key = if RESERVED.contains(&name) { format!("signal_{name}") } else { name.to_owned() };
            fields.push((key, number(*value)));
        }
        if let Some((id, phase)) = self.trial {
            fields.push(("trial".to_owned(), Value::from(id.0)));
            fields.push(("phase".to_owned(), Value::from(phase.name())));
        }
        if let Some(message) = self.message {
            fields.push(("message".to_owned(), Value::from(message)));
        }
        // By hand, because a map of serde_json sorts its keys and people look for the time first.
        let fields: Vec<String> =
            fields.into_iter().map(|(key, value)| format!("{}:{value}", Value::from(key))).collect();
        let mut text = format!("{{{}}}", fields.join(",")).into_bytes();
        text.push(b'\n');
        text
    }
}

/// JSON has no NaN and no infinity; a whole number is written as one.
fn number(value: Option<f64>) -> Value {
    match value {
        // Up to 2^53 every whole number is exact in both.
        Some(whole) if whole.fract() == 0.0 && whole.abs() < 9.0e15 => Value::from(whole as i64),
        Some(value) => Number::from_f64(value).map_or(Value::Null, Value::Number),
        None => Value::Null,
    }
}

/// Why a line could not be written, or the file not rotated.
#[derive(Debug, thiserror::Error)]
pub enum TuningLogError {
    /// The line is not in the log.
    #[error("{}: the line could not be written: {source}", path.display())]
    Line {
        /// The log.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The line is in the log; moving old lines to the archive failed and is tried again later.
    #[error("{}: {doing}: {source}", path.display())]
    Rotation {
        /// The file that was being worked on.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl TuningLogError {
    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        let (Self::Line { source, .. } | Self::Rotation { source, .. }) = self;
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space; leverd goes on and writes the lines that come after")
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some("check the owner and the mode (`paths.tuning_log` and `paths.log_archive` name them)")
            }
            _ => None,
        }
    }
}

/// The log of one target.
#[derive(Debug)]
pub struct TuningLog {
    path: PathBuf,
    archive: PathBuf,
    rotation: LogRotation,
    /// After a rotation that failed: at which size it is tried again, bytes.
    retry_at_bytes: u64,
}

impl TuningLog {
    /// The log at `path`. A rotation that was cut short is finished; where that fails the log works all the same, and
    /// the error comes with it.
    pub fn open(path: &Path, archive: &Path, rotation: LogRotation) -> (Self, Option<TuningLogError>) {
        let log = Self { path: path.to_owned(), archive: archive.to_owned(), rotation, retry_at_bytes: 0 };
        let unfinished = log.finish_rotations().err();
        (log, unfinished)
    }

    /// Appends a line; past the configured size it then rotates the file.
    ///
    /// # Errors
    /// [`TuningLogError::Line`]: the line is not there. [`TuningLogError::Rotation`]: it is.
    pub fn append(&mut self, line: &Line<'_>) -> Result<(), TuningLogError> {
        let size =
            self.write(line).map_err(|source| TuningLogError::Line { path: self.path.clone(), source })?;
        if size <= self.rotation.max_bytes || size < self.retry_at_bytes {
            return Ok(());
        }
        let done = self.rotate(line.at);
        // Not at every line: a rotation reads and compresses the whole file.
        self.retry_at_bytes =
            if done.is_err() { size.saturating_add(self.rotation.max_bytes / 8) } else { 0 };
        done
    }

    /// Writes the line and says how large the file is now.
    fn write(&self, line: &Line<'_>) -> io::Result<u64> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        mend(&mut file)?;
        file.write_all(&line.to_json())?;
        // A sample each second is not worth a sync on the disk whose I/O is being judged; a decision is.
        if line.kind != Kind::Sample {
            file.sync_data()?;
        }
        Ok(file.metadata()?.len())
    }

    fn rotate(&self, at: DateTime<Utc>) -> Result<(), TuningLogError> {
        // Before another file is moved aside: while the archive cannot be written, they would pile up.
        self.finish_rotations()?;
        let stamp = self.free_stamp(at);
        let aside = self.aside(&stamp);
        fs::rename(&self.path, &aside).map_err(rotation(&self.path, "moving it aside"))?;
        sync_folder(&self.path)?;
        fail::fail_point!("tuning_log::moved_aside", |_| std::process::abort());
        self.finish(&stamp)?;
        self.prune(&stamp)
    }

    /// Does what is left of rotations that were cut short.
    fn finish_rotations(&self) -> Result<(), TuningLogError> {
        for stamp in self.stamps_aside() {
            self.finish(&stamp)?;
        }
        Ok(())
    }

    /// From the file that was moved aside to the archive. What is in the archive under its stamp is whole.
    fn finish(&self, stamp: &str) -> Result<(), TuningLogError> {
        let (aside, archived) = (self.aside(stamp), self.archived(stamp));
        if !archived.exists() {
            compress(&aside, &archived)?;
            fail::fail_point!("tuning_log::archived", |_| std::process::abort());
        }
        fs::remove_file(&aside).map_err(rotation(&aside, "deleting it after it was archived"))?;
        sync_folder(&aside)
    }

    /// Deletes the oldest archives past the number to keep; the one just made only where none is kept.
    fn prune(&self, newest: &str) -> Result<(), TuningLogError> {
        let mut stamps = self.archived_stamps();
        stamps.retain(|stamp| stamp != newest);
        stamps.sort_by_key(|stamp| parse_stamp(stamp));
        stamps.push(newest.to_owned());
        let surplus = stamps.len().saturating_sub(self.rotation.keep as usize);
        for stamp in &stamps[..surplus] {
            let path = self.archived(stamp);
            fs::remove_file(&path).map_err(rotation(&path, "deleting an archive past the number to keep"))?;
        }
        Ok(())
    }

    fn aside(&self, stamp: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or(OsStr::new("tuning.log")).to_owned();
        name.push(format!(".rotating-{stamp}"));
        self.path.with_file_name(name)
    }

    fn archived(&self, stamp: &str) -> PathBuf {
        let name = self.path.file_stem().and_then(OsStr::to_str).unwrap_or("tuning");
        self.archive.join(format!("{name}-{stamp}.log.gz"))
    }

    fn stamps_aside(&self) -> Vec<String> {
        let name = self.path.file_name().and_then(OsStr::to_str).unwrap_or("tuning.log");
        stamps_in(self.path.parent().unwrap_or(Path::new(".")), &format!("{name}.rotating-"), "")
    }

    fn archived_stamps(&self) -> Vec<String> {
        let name = self.path.file_stem().and_then(OsStr::to_str).unwrap_or("tuning");
        stamps_in(&self.archive, &format!("{name}-"), ".log.gz")
    }

    /// `20240115_103000`, or with `-1` and so on where a clock that jumped back has used it up.
    fn free_stamp(&self, at: DateTime<Utc>) -> String {
        let base = at.format("%Y%m%d_%H%M%S").to_string();
        let taken = |stamp: &str| self.aside(stamp).exists() || self.archived(stamp).exists();
        if !taken(&base) {
            return base;
        }
        (1_u32..)
            .map(|n| format!("{base}-{n}"))
            .find(|stamp| !taken(stamp))
            .expect("a folder does not hold four thousand million archives")
    }
}

/// Makes the file end in a whole line: what a crash or a full disk left of one of ours is taken out; what else has no
/// line ending gets one.
fn mend(file: &mut File) -> io::Result<()> {
    let len = file.metadata()?.len();
    if len == 0 {
        return Ok(());
    }
    let mut last = [0_u8];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(());
    }
    // Far longer than any line of ours.
    const REACH: u64 = 1 << 20;
    let from = len.saturating_sub(REACH);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let start = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let torn = &tail[start..];
    let opening: &[u8] = b"{\"timestamp\":";
    let ours = torn.starts_with(opening) || opening.starts_with(torn);
    let whole = serde_json::from_slice::<Value>(torn).is_ok();
    if ours && !whole && (start > 0 || from == 0) {
        file.set_len(from + start as u64)
    } else {
        file.write_all(b"\n")
    }
}

/// Compresses `from` into `to` so that `to` is there whole or not at all.
fn compress(from: &Path, to: &Path) -> Result<(), TuningLogError> {
    let failed = rotation(to, "compressing old lines into it");
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(&failed)?;
    let mut source = File::open(from).map_err(rotation(from, "reading it to archive it"))?;
    // A crash leaves it behind under this very name, and the next try takes it over.
    let draft = to.with_extension("gz.tmp");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&draft).map_err(&failed)?;
    let written = (|| {
        let mut encoder = GzEncoder::new(file, Compression::default());
        io::copy(&mut source, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::rename(&draft, to)
    })();
    if written.is_err() {
        // On a full disk the half would keep the space that the log needs.
        let _ = fs::remove_file(&draft);
    }
    written.map_err(&failed)?;
    sync_folder(to)
}

fn stamps_in(folder: &Path, before: &str, after: &str) -> Vec<String> {
    let mut stamps: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let stamp = name.to_str()?.strip_prefix(before)?.strip_suffix(after)?;
            parse_stamp(stamp).map(|_| stamp.to_owned())
        })
        .collect();
    stamps.sort_by_key(|stamp| parse_stamp(stamp));
    stamps
}

/// `20240115_103000` or `20240115_103000-2`; anything else is somebody else's file.
fn parse_stamp(stamp: &str) -> Option<(u32, u32, u32)> {
    let (base, n) = stamp.split_once('-').unwrap_or((stamp, "0"));
    let (day, time) = base.split_once('_')?;
    let digits = |text: &str, len: usize| {
        (text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().ok())
            .flatten()
    };
    Some((digits(day, 8)?, digits(time, 6)?, n.parse().ok()?))
}

fn sync_folder(of: &Path) -> Result<(), TuningLogError> {
    let folder = match of.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(rotation(of, "syncing its folder"))
}

fn rotation(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> TuningLogError + use<> {
    let path = path.to_owned();
    move |source| TuningLogError::Rotation { path: path.clone(), doing, source }
}

#[cfg(test)]
mod tests;
