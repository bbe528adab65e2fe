//! Writing settings into a migration's file, and leaving all that stands around them as it is.
//!
//! In: the file's text, and numbers for keys under `migration:`. Out: the text with them: a value is replaced where its
//! key stands, and a line is added where it does not. Always holds: comments, order and line ends stay; what the new
//! text says is what the old one said and those numbers, and is looked at before it is written; the old file is kept.

use crate::cli::baseline;
use anyhow::Context;
use chrono::{DateTime, Utc};
use serde_yaml::{Mapping, Value};
use std::fs;
use std::path::{Path, PathBuf};

const SECTION: &str = "migration";

/// Why a file is not edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EditError {
    /// It is no YAML, or not as this edit reads it.
    #[error("reading the file as YAML: {0}")]
    Unreadable(String),
    /// `migration: {…}` or the like.
    #[error("`migration:` is not written with a line for each key")]
    NotLines,
    /// The edit would have done something else.
    #[error("the file is written in a way that cannot be edited line by line")]
    NotTheSame,
}

/// Writes the settings into `file`; the old file's new name.
pub(super) fn write(
    file: &Path,
    settings: &[(&str, u32)],
    at: DateTime<Utc>,
) -> anyhow::Result<Option<PathBuf>> {
    // A link stays a link.
    let real = fs::canonicalize(file).with_context(|| format!("finding {}", file.display()))?;
    let text = fs::read_to_string(&real).with_context(|| format!("reading {}", real.display()))?;
    let edited = with_settings(&text, settings).with_context(|| format!("editing {}", real.display()))?;
    baseline::write(&real, &edited, at)
}

/// The text with these settings under `migration:`.
pub(super) fn with_settings(text: &str, settings: &[(&str, u32)]) -> Result<String, EditError> {
    let expected = expected(text, settings)?;
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let section = match section_line(&lines)? {
        Some(at) => at,
        None => {
            end_last_line(&mut lines, line_end);
            lines.push(format!("{SECTION}:{line_end}"));
            lines.len() - 1
        }
    };
    // In reverse, so that what is added stands in order.
    for (key, value) in settings.iter().rev() {
        let (end, indent) = block_of(&lines, section);
        let found =
            (section + 1..end).find(|at| lines.get(*at).is_some_and(|line| is_entry(line, indent, key)));
        match found {
            Some(at) => lines[at] = replaced(&lines[at], key, *value),
            None => {
                if section + 1 == lines.len() {
                    end_last_line(&mut lines, line_end);
                }
                lines.insert(section + 1, format!("{:indent$}{key}: {value}{line_end}", ""));
            }
        }
    }
    let edited = lines.concat();
    if parsed(&edited)? == expected { Ok(edited) } else { Err(EditError::NotTheSame) }
}

fn parsed(text: &str) -> Result<Value, EditError> {
    // Its words name keys and places, and may show a value: a password stands elsewhere in the file.
    serde_yaml::from_str(text).map_err(|error| {
        let place = error.location().map(|at| format!("something is wrong at line {}", at.line()));
        EditError::Unreadable(place.unwrap_or_else(|| "something is wrong".to_owned()))
    })
}

/// What the new text must say.
fn expected(text: &str, settings: &[(&str, u32)]) -> Result<Value, EditError> {
    let mut root = match parsed(text)? {
        Value::Null => Mapping::new(),
        Value::Mapping(root) => root,
        _ => return Err(EditError::NotTheSame),
    };
    let section = root.entry(Value::from(SECTION)).or_insert(Value::Null);
    if section.is_null() {
        *section = Value::Mapping(Mapping::new());
    }
    let Value::Mapping(section) = section else { return Err(EditError::NotLines) };
    for (key, value) in settings {
        section.insert(Value::from(*key), Value::from(*value));
    }
    Ok(Value::Mapping(root))
}

/// Where `migration:` stands.
fn section_line(lines: &[String]) -> Result<Option<usize>, EditError> {
    for (at, line) in lines.iter().enumerate() {
        let Some(rest) = line.strip_prefix(SECTION).and_then(|rest| rest.strip_prefix(':')) else { continue };
        let rest = rest.trim();
        let alone = rest.is_empty() || rest.starts_with('#');
        return if alone { Ok(Some(at)) } else { Err(EditError::NotLines) };
    }
    Ok(None)
}

/// The line behind the section's last, and how far its keys are indented.
fn block_of(lines: &[String], section: usize) -> (usize, usize) {
    let mut indent = None;
    for (at, line) in lines.iter().enumerate().skip(section + 1) {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let depth = line.len() - line.trim_start().len();
        if depth == 0 {
            return (at, indent.unwrap_or(2));
        }
        indent = indent.or(Some(depth));
    }
    (lines.len(), indent.unwrap_or(2))
}

fn is_entry(line: &str, indent: usize, key: &str) -> bool {
    let text = line.trim_start();
    let rest = text.strip_prefix(key).and_then(|rest| rest.strip_prefix(':'));
    let is_key = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
    is_key && line.len() - text.len() == indent
}

/// The line with another value; what stands behind the value stays.
fn replaced(line: &str, key: &str, value: u32) -> String {
    let Some(colon) = line.find(':') else { return line.to_owned() };
    let rest = &line[colon + 1..];
    let token = rest.trim_start_matches([' ', '\t']);
    let spaces = rest.len() - token.len();
    let gap = if spaces == 0 { " " } else { &rest[..spaces] };
    let tail = &token[value_end(token)..];
    let joint = if tail.starts_with('#') { " " } else { "" };
    let indent = &line[..line.len() - line.trim_start().len()];
    format!("{indent}{key}:{gap}{value}{joint}{tail}")
}

/// Where a value ends: at its closing quote, or before the blanks and the comment or the end of the line.
fn value_end(token: &str) -> usize {
    match token.chars().next() {
        Some(quote @ ('"' | '\'')) => token[1..].find(quote).map_or(token.len(), |at| at + 2),
        // A comment in the place of a value.
        Some('#') => 0,
        _ => {
            let line = token.trim_end_matches(['\r', '\n']);
            let value = line.find(" #").map_or(line, |at| &line[..at]);
            value.trim_end().len()
        }
    }
}

fn end_last_line(lines: &mut [String], line_end: &str) {
    if let Some(last) = lines.last_mut()
        && !last.ends_with('\n')
    {
        last.push_str(line_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[(&str, u32)] = &[("chunk_size", 150_000), ("write_ahead_writers", 8)];

    #[test]
    fn values_are_replaced_where_they_stand() {
        let text = "# mine\nmigration: # how\n  workers: 4\n  chunk_size: 50000   # rows\n\n  # writers\n  \
                    write_ahead_writers: '2'\nai:\n  provider: rules\n";
        assert_eq!(
            with_settings(text, BOTH).unwrap(),
            "# mine\nmigration: # how\n  workers: 4\n  chunk_size: 150000   # rows\n\n  # writers\n  \
             write_ahead_writers: 8\nai:\n  provider: rules\n"
        );
    }

    #[test]
    fn what_is_missing_is_added_in_order_and_as_deep_as_the_rest() {
        assert_eq!(
            with_settings("migration:\n    workers: 4\nai: {}\n", BOTH).unwrap(),
            "migration:\n    chunk_size: 150000\n    write_ahead_writers: 8\n    workers: 4\nai: {}\n"
        );
        assert_eq!(
            with_settings("source: {host: a}", BOTH).unwrap(),
            "source: {host: a}\nmigration:\n  chunk_size: 150000\n  write_ahead_writers: 8\n"
        );
        assert_eq!(
            with_settings("migration:", BOTH).unwrap(),
            "migration:\n  chunk_size: 150000\n  write_ahead_writers: 8\n"
        );
    }

    #[test]
    fn a_comment_is_no_setting() {
        let text = "#migration:\n#  chunk_size: 5\nmigration:\n  # chunk_size: 7\n  workers: 4\n";
        assert_eq!(
            with_settings(text, &[("chunk_size", 9)]).unwrap(),
            "#migration:\n#  chunk_size: 5\nmigration:\n  chunk_size: 9\n  # chunk_size: 7\n  workers: 4\n"
        );
        let empty = "migration:\n  chunk_size: # later\n";
        assert_eq!(
            with_settings(empty, &[("chunk_size", 9)]).unwrap(),
            "migration:\n  chunk_size: 9 # later\n"
        );
    }

    #[test]
    fn line_ends_stay() {
        let text = "migration:\r\n  chunk_size: 5\r\n";
        let edited = with_settings(text, BOTH).unwrap();
        assert_eq!(edited, "migration:\r\n  write_ahead_writers: 8\r\n  chunk_size: 150000\r\n");
    }

    #[test]
    fn what_cannot_be_edited_is_refused() {
        assert_eq!(with_settings("migration: {workers: 4}\n", BOTH), Err(EditError::NotLines));
        assert_eq!(with_settings("- a\n", BOTH), Err(EditError::NotTheSame));
        assert!(matches!(with_settings("a: [\n", BOTH), Err(EditError::Unreadable(_))));
        // The key in quotes is not found, and would stand there twice.
        let quoted = "'migration':\n  workers: 4\n";
        assert!(with_settings(quoted, BOTH).is_err());
        let folded = "migration:\n  chunk_size: >\n    5\n";
        assert!(with_settings(folded, BOTH).is_err());
    }

    #[test]
    fn an_error_shows_no_value() {
        let error = with_settings("source: {password: hunter2\n", BOTH).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn the_file_is_edited_and_the_old_one_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("migration.yaml");
        let at = DateTime::from_timestamp(1_705_314_600, 0).unwrap();
        baseline::write(&file, "migration:\n  workers: 4\n", at).unwrap();
        let kept = write(&file, BOTH, at).unwrap().unwrap();
        assert_eq!(fs::read_to_string(kept).unwrap(), "migration:\n  workers: 4\n");
        assert!(fs::read_to_string(file).unwrap().contains("  chunk_size: 150000\n"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_edited_says_the_same_and_the_settings(
            keys in proptest::collection::vec(("[a-z_]{1,8}", 0_u32..9), 0..6), indent in 1_usize..5,
            chunk_size in 1_000_u32..500_000,
        ) {
            let mut text = "# top\nsource:\n  host: a\nmigration:\n".to_owned();
            let mut seen = std::collections::BTreeSet::new();
            for (key, value) in keys.iter().filter(|(key, _)| seen.insert(key.clone())) {
                text.push_str(&format!("{:indent$}{key}: {value} # {key}\n", ""));
            }
            // `y`, `n` and the like are no texts to every reader: such a file is refused or right.
            if let Ok(edited) = with_settings(&text, &[("chunk_size", chunk_size)]) {
                let found: Value = serde_yaml::from_str(&edited).unwrap();
                proptest::prop_assert_eq!(found[SECTION]["chunk_size"].as_u64(), Some(u64::from(chunk_size)));
                for line in text.lines().filter(|line| !line.contains("chunk_size")) {
                    proptest::prop_assert!(edited.lines().any(|other| other == line), "{}", line);
                }
            }
        }
    }
}
