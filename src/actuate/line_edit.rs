//! Changing one assignment in a text of assignments, and undoing exactly that.
//!
//! In: a file's bytes, its [`Syntax`], a key, a value. Out: the bytes with the value's token changed where the key
//! takes effect (its last assignment), or with one line more at the end, or below its section's head; and what is needed to put that back.
//! Always holds: every byte outside of that token or line stays; undone changes of several keys, in any order, give
//! the original back to the byte. Bytes need not be UTF-8, except those of the line that is changed.
//! It knows no files and no server.

use super::{conf_text, env_file, ini_file};
use crate::model::{Arm, OldValue};
use std::ops::Range;

/// Whose lines they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// `name = 'value' # comment`.
    PostgresqlConf,
    /// `KEY=value`.
    EnvFile,
    /// `key = value` in the section `[pgbouncer]`.
    PgBouncerIni,
}

/// One assignment, as ranges of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    /// Its key as it stands there.
    pub(super) key: String,
    /// Its line's number, from 1.
    pub(super) number: u32,
    /// Its line without the ending.
    pub(super) line: Range<usize>,
    /// Where the next line begins.
    pub(super) next: usize,
    /// The raw token of its value, quotes included.
    pub(super) token: Range<usize>,
    /// The value, quotes and escapes undone.
    pub(super) value: String,
}

/// What a line is, where it is more than blank or comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// An assignment.
    Assignment(Assignment),
    /// A line that its reader would refuse.
    Malformed {
        /// The word that it begins with.
        key: String,
        /// Its number, from 1.
        number: u32,
        /// The line.
        line: Range<usize>,
    },
}

/// Why an edit is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EditError {
    /// The key or value must not be written, and why.
    Value(String),
    /// The line with this number is not UTF-8.
    NotUtf8(u32),
}

/// An edit and how to undo it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// The text after it.
    pub(super) after: Vec<u8>,
    /// What stood there.
    pub(super) old: OldValue,
    /// The raw line that was written, its ending included. An added line that begins with a line ending closed a
    /// last line that had none, and goes again together with that.
    pub(super) new: String,
}

/// How a text stands to a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Without it.
    Before,
    /// With it.
    After,
    /// Neither; what stands there, for people.
    Neither(String),
}

impl Syntax {
    /// Every line that is more than blank or comment, in order.
    pub(super) fn entries(self, text: &[u8]) -> Vec<Entry> {
        match self {
            Self::PostgresqlConf => conf_text::entries(text),
            Self::EnvFile => env_file::entries(text),
            Self::PgBouncerIni => ini_file::entries(text),
        }
    }

    /// The assignment of `key` that takes effect within this text: the last one.
    pub(super) fn effective(self, text: &[u8], key: &str) -> Option<Assignment> {
        self.entries(text).into_iter().rev().find_map(|entry| match entry {
            Entry::Assignment(found) if self.same_key(&found.key, key) => Some(found),
            Entry::Assignment(_) | Entry::Malformed { .. } => None,
        })
    }

    /// Postgres' names ignore case.
    pub(super) fn same_key(self, one: &str, other: &str) -> bool {
        match self {
            Self::PostgresqlConf => one.eq_ignore_ascii_case(other),
            Self::EnvFile | Self::PgBouncerIni => one == other,
        }
    }

    fn token(self, value: &str, old: Option<&str>) -> Result<String, EditError> {
        // A line ending in a value would let it write lines of its own.
        if let Some(bad) = value.chars().find(|c| c.is_control()) {
            return Err(EditError::Value(format!("it holds the control character {bad:?}")));
        }
        Ok(match self {
            Self::PostgresqlConf => conf_text::token(value, old),
            Self::EnvFile => env_file::token(value, old),
            Self::PgBouncerIni if ini_file::is_value(value) => value.to_owned(),
            Self::PgBouncerIni => {
                return Err(EditError::Value("it is empty, or begins or ends with a blank".to_owned()));
            }
        })
    }

    fn added_line(self, key: &str, value: &str) -> Result<String, EditError> {
        let token = self.token(value, None)?;
        match self {
            Self::PostgresqlConf if conf_text::is_name(key) => Ok(format!("{key} = {token}")),
            Self::EnvFile if env_file::is_key(key) => Ok(format!("{key}={token}")),
            Self::PgBouncerIni if ini_file::is_key(key) => Ok(format!("{key} = {token}")),
            Self::PostgresqlConf | Self::EnvFile | Self::PgBouncerIni => {
                Err(EditError::Value(format!("{key:?} is not a name")))
            }
        }
    }

    /// Where a line that was not there is added: the end, or below the head of its section.
    fn insertion_point(self, text: &[u8]) -> usize {
        match self {
            Self::PostgresqlConf | Self::EnvFile => text.len(),
            Self::PgBouncerIni => ini_file::insertion_point(text),
        }
    }
}

/// Sets `key` to `value` where it takes effect, or at the end where it is absent.
pub(super) fn set(text: &[u8], syntax: Syntax, key: &str, value: &str) -> Result<Edit, EditError> {
    if syntax == Syntax::PgBouncerIni
        && let Some(number) = first_malformed(text, syntax)
    {
        return Err(EditError::Value(format!(
            "line {number} is none that PgBouncer reads: correct it first"
        )));
    }
    let found = syntax.effective(text, key);
    let edit = match &found {
        Some(found) => change(text, syntax, found, value)?,
        None => add(text, syntax, key, value)?,
    };
    // A quote that another line leaves open can make a new line part of that line's value: now, or once a line between
    // the two is gone.
    let may_close = match syntax {
        Syntax::PostgresqlConf | Syntax::PgBouncerIni => false,
        Syntax::EnvFile => env_file::open_quotes(text, found.as_ref()).any(|quote| edit.new.contains(quote)),
    };
    let after = syntax.effective(&edit.after, key);
    let reads_back = after.as_ref().is_some_and(|after| after.value == value);
    if !may_close
        && reads_back
        && others(text, syntax, found.as_ref()) == others(&edit.after, syntax, after.as_ref())
    {
        Ok(edit)
    } else {
        let why = match syntax {
            Syntax::PostgresqlConf | Syntax::EnvFile => {
                "another line leaves a quote open, and could swallow it"
            }
            Syntax::PgBouncerIni => "there is no section [pgbouncer] that it could stand in",
        };
        Err(EditError::Value(why.to_owned()))
    }
}

/// The number of the first line that the file's reader would refuse.
fn first_malformed(text: &[u8], syntax: Syntax) -> Option<u32> {
    syntax.entries(text).into_iter().find_map(|entry| match entry {
        Entry::Malformed { number, .. } => Some(number),
        Entry::Assignment(_) => None,
    })
}

/// Every assignment but `except`: what an edit must not change.
fn others(text: &[u8], syntax: Syntax, except: Option<&Assignment>) -> Vec<(String, String)> {
    syntax
        .entries(text)
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Assignment(found) => (Some(&found) != except).then_some((found.key, found.value)),
            Entry::Malformed { key, line, .. } => {
                Some((key, String::from_utf8_lossy(&text[line]).into_owned()))
            }
        })
        .collect()
}

fn change(text: &[u8], syntax: Syntax, found: &Assignment, value: &str) -> Result<Edit, EditError> {
    let not_utf8 = |_| EditError::NotUtf8(found.number);
    let raw = std::str::from_utf8(&text[found.line.start..found.next]).map_err(not_utf8)?;
    let old_token = &text[found.token.clone()];
    // `name'value'` is one token beside the other: without its quotes the two would melt together.
    let glued = text[..found.token.start]
        .last()
        .is_some_and(|byte| syntax == Syntax::PostgresqlConf && !matches!(byte, b' ' | b'\t' | b'\r' | b'='));
    let style = if glued { "'" } else { std::str::from_utf8(old_token).map_err(not_utf8)? };
    let token = syntax.token(value, Some(style))?;
    let before = &raw[..found.token.start - found.line.start];
    let behind = &raw[found.token.end - found.line.start..];
    let new = format!("{before}{token}{behind}");
    Ok(Edit {
        after: spliced(text, found.line.start..found.next, new.as_bytes()),
        old: OldValue::Line { raw: raw.to_owned(), number: found.number },
        new,
    })
}

fn add(text: &[u8], syntax: Syntax, key: &str, value: &str) -> Result<Edit, EditError> {
    let (at, new) = to_add(text, syntax, &syntax.added_line(key, value)?);
    Ok(Edit { after: spliced(text, at..at, new.as_bytes()), old: OldValue::Absent, new })
}

/// Where a line is added, and the line with its ending.
fn to_add(text: &[u8], syntax: Syntax, line: &str) -> (usize, String) {
    let at = syntax.insertion_point(text);
    // In the middle it stands before another line, and the text before it ends with a line ending.
    (at, with_ending(&text[..at], line))
}

/// A line to be added, with the line ending of the file's own style: behind it, or before it where the last line
/// has none, so that the file ends as it did.
fn with_ending(text: &[u8], line: &str) -> String {
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    let crlf = text.windows(2).filter(|pair| pair == b"\r\n").count();
    let ending = if crlf * 2 > lines { "\r\n" } else { "\n" };
    if text.is_empty() || text.ends_with(b"\n") {
        format!("{line}{ending}")
    } else {
        format!("{ending}{line}")
    }
}

/// How the text stands to the change `old` → `new` of `key`, other lines aside.
pub(super) fn standing(text: &[u8], syntax: Syntax, key: &str, old: &OldValue, new: &str) -> Standing {
    let broken = syntax.entries(text).into_iter().rev().find_map(|entry| match entry {
        Entry::Malformed { key: found, line, number } if syntax.same_key(&found, key) => {
            Some(format!("line {number} is {:?}", String::from_utf8_lossy(&text[line])))
        }
        Entry::Malformed { .. } | Entry::Assignment(_) => None,
    });
    if let Some(broken) = broken {
        return Standing::Neither(broken);
    }
    match (syntax.effective(text, key), old) {
        (Some(found), _) if text[found.line.clone()] == *content(new).as_bytes() => Standing::After,
        (Some(found), OldValue::Line { raw, .. }) if text[found.line.clone()] == *content(raw).as_bytes() => {
            Standing::Before
        }
        (None, OldValue::Absent) => Standing::Before,
        (Some(found), _) => Standing::Neither(format!(
            "line {} is {:?}",
            found.number,
            String::from_utf8_lossy(&text[found.line])
        )),
        (None, _) => Standing::Neither("it is not set there any more".to_owned()),
    }
}

/// The text under `arm`: with the change (B) or without it (A). `None` where it stands neither before nor after.
pub(super) fn under_arm(
    text: &[u8],
    syntax: Syntax,
    key: &str,
    old: &OldValue,
    new: &str,
    arm: Arm,
) -> Option<Vec<u8>> {
    match (standing(text, syntax, key, old, new), arm) {
        (Standing::Neither(_), _) => None,
        (Standing::Before, Arm::A) | (Standing::After, Arm::B) => Some(text.to_vec()),
        (Standing::Before, Arm::B) => Some(match syntax.effective(text, key) {
            Some(found) => spliced(text, found.line, content(new).as_bytes()),
            None => {
                let (at, line) = to_add(text, syntax, content(new));
                spliced(text, at..at, line.as_bytes())
            }
        }),
        (Standing::After, Arm::A) => {
            let found = syntax.effective(text, key)?;
            match old {
                OldValue::Line { raw, .. } => Some(spliced(text, found.line, content(raw).as_bytes())),
                OldValue::Absent => Some(spliced(text, added(text, &found, new), b"")),
                OldValue::AutoConf(_) | OldValue::Container(_) => None,
            }
        }
    }
}

/// The range of an added line with the one line ending that came with it.
fn added(text: &[u8], found: &Assignment, new: &str) -> Range<usize> {
    let before = &text[..found.line.start];
    let came_first = new.starts_with(['\r', '\n']);
    // Someone may have taken the last line's ending off since.
    let has_none = found.next == found.line.end;
    if (came_first || has_none) && before.ends_with(b"\n") {
        let ending = if came_first && new.starts_with('\r') && before.ends_with(b"\r\n") { 2 } else { 1 };
        return if came_first {
            found.line.start - ending..found.line.end
        } else {
            found.line.start..found.line.end
        };
    }
    found.line.start..found.next
}

/// A raw line without its line endings.
pub(super) fn content(raw: &str) -> &str {
    let start = raw.strip_prefix("\r\n").or_else(|| raw.strip_prefix('\n')).unwrap_or(raw);
    start.strip_suffix("\r\n").or_else(|| start.strip_suffix('\n')).unwrap_or(start)
}

pub(super) fn spliced(text: &[u8], range: Range<usize>, middle: &[u8]) -> Vec<u8> {
    [&text[..range.start], middle, &text[range.end..]].concat()
}

/// The lines of a text: number from 1, range without the ending, where the next begins.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (u32, Range<usize>, usize)> {
    let mut start = 0;
    let mut number = 0;
    std::iter::from_fn(move || {
        if start >= text.len() {
            return None;
        }
        let next =
            text[start..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| start + at + 1);
        let line = start..end_of_line(text, start, next);
        start = next;
        number += 1;
        Some((number, line, next))
    })
}

/// Where the line `start..next` ends, its line ending aside.
pub(super) fn end_of_line(text: &[u8], start: usize, next: usize) -> usize {
    match &text[start..next] {
        [.., b'\r', b'\n'] => next - 2,
        [.., b'\n'] => next - 1,
        _ => next,
    }
}
