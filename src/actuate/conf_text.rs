//! The text of a `postgresql.conf`, read as PostgreSQL's `guc-file.l` reads it.
//!
//! In: bytes of one file. Out: its assignments in order, include directives among them; and a value as a token.
//! Names ignore case, `=` may be missing, strings are quoted by `'` with `''` or `\` inside, `#` begins a comment.
//! It does not follow includes and does not know which parameters exist.

use super::line_edit::{Assignment, Entry, lines};
use std::ops::Range;

/// An include directive, as Postgres knows three of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    /// The file must be there.
    File,
    /// The file may be missing.
    FileIfExists,
    /// Every `*.conf` of a folder, by name.
    Folder,
}

/// Whether an assignment's key is an include directive.
pub(super) fn include_of(key: &str) -> Option<Include> {
    match key.to_ascii_lowercase().as_str() {
        "include" => Some(Include::File),
        "include_if_exists" => Some(Include::FileIfExists),
        "include_dir" => Some(Include::Folder),
        _ => None,
    }
}

/// Whether this is a parameter's name: `work_mem`, `auto_explain.log_min_duration`.
pub(super) fn is_name(name: &str) -> bool {
    let mut parts = name.split('.');
    let fits = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    parts.next().is_some_and(fits) && parts.next().is_none_or(fits) && parts.next().is_none()
}

/// Every assignment and malformed line, in order.
pub(super) fn entries(text: &[u8]) -> Vec<Entry> {
    lines(text).filter_map(|(number, line, next)| entry(text, number, line, next)).collect()
}

fn entry(text: &[u8], number: u32, line: Range<usize>, next: usize) -> Option<Entry> {
    let bytes = &text[line.clone()];
    let start = skip_space(bytes, 0);
    if matches!(bytes.get(start), None | Some(b'#')) {
        return None;
    }
    let word = start + bytes[start..].iter().take_while(|byte| is_word(**byte)).count();
    let key = String::from_utf8_lossy(&bytes[start..word]).into_owned();
    let Some(token) = is_identifier(&bytes[start..word]).then(|| value_token(bytes, word)).flatten() else {
        return Some(Entry::Malformed { key, number, line });
    };
    let value = decoded(&bytes[token.clone()]);
    let token = line.start + token.start..line.start + token.end;
    Some(Entry::Assignment(Assignment { key, number, line, next, token, value }))
}

/// The value's token behind the name that ends at `at`; nothing but a comment may follow it.
fn value_token(line: &[u8], at: usize) -> Option<Range<usize>> {
    let mut start = skip_space(line, at);
    if line.get(start) == Some(&b'=') {
        start = skip_space(line, start + 1);
    }
    let length = match line.get(start)? {
        b'\'' => string_length(&line[start..])?,
        byte if is_letter(*byte) => line[start..].iter().take_while(|byte| is_word(**byte)).count(),
        _ => number_length(&line[start..])?,
    };
    let end = start + length;
    matches!(line.get(skip_space(line, end)), None | Some(b'#')).then_some(start..end)
}

fn skip_space(line: &[u8], at: usize) -> usize {
    at + line[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count()
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// What an unquoted string may hold behind its first letter.
fn is_word(byte: u8) -> bool {
    is_letter(byte) || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'/')
}

fn is_identifier(word: &[u8]) -> bool {
    let mut parts = word.split(|byte| *byte == b'.');
    let fits = |part: &[u8]| {
        part.first().is_some_and(|first| is_letter(*first))
            && part.iter().all(|byte| is_letter(*byte) || byte.is_ascii_digit())
    };
    parts.next().is_some_and(fits) && parts.next().is_none_or(fits) && parts.next().is_none()
}

/// The length of the quoted string that `text` begins with, quotes included.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match (text.get(at)?, text.get(at + 1)) {
            (b'\\', Some(_)) | (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The length of the number, perhaps with a unit, that `text` begins with.
fn number_length(text: &[u8]) -> Option<usize> {
    let count =
        |from: usize, fits: fn(&u8) -> bool| text[from..].iter().take_while(|byte| fits(byte)).count();
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let digits = count(sign, u8::is_ascii_digit);
    let mut at = sign + digits;
    if text.get(at) == Some(&b'.') {
        at += 1;
        at += count(at, u8::is_ascii_digit);
        if matches!(text.get(at), Some(b'e' | b'E')) {
            let signed = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
            let exponent = if signed <= text.len() { count(signed, u8::is_ascii_digit) } else { 0 };
            at = if exponent > 0 { signed + exponent } else { at };
        }
        return Some(at);
    }
    if digits == 0 {
        return None;
    }
    if text[sign..at] == *b"0" && text.get(at) == Some(&b'x') {
        let hex = count(at + 1, u8::is_ascii_hexdigit);
        at += if hex > 0 { 1 + hex } else { 0 };
    }
    Some(at + count(at, u8::is_ascii_alphabetic))
}

/// A token's value, as `GUC_scanstr` undoes quotes and escapes.
fn decoded(token: &[u8]) -> String {
    let Some(inner) = token.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'")) else {
        return String::from_utf8_lossy(token).into_owned();
    };
    let mut value = Vec::new();
    let mut at = 0;
    while at < inner.len() {
        match (inner[at], inner.get(at + 1)) {
            (b'\'', Some(b'\'')) => {
                value.push(b'\'');
                at += 2;
            }
            (b'\\', Some(b'0'..=b'7')) => {
                let digits = inner[at + 1..].iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7'));
                let (count, code) =
                    digits.fold((0, 0_u32), |(n, code), byte| (n + 1, code * 8 + u32::from(byte - b'0')));
                value.push((code & 0xff) as u8);
                at += 1 + count;
            }
            (b'\\', Some(escaped)) => {
                value.push(match escaped {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                at += 2;
            }
            (byte, _) => {
                value.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&value).into_owned()
}

/// A value as a token: bare where `old` was bare (or there was none) and Postgres reads it so, else quoted.
pub(super) fn token(value: &str, old: Option<&str>) -> String {
    let was_quoted = old.is_some_and(|old| old.starts_with('\''));
    if !was_quoted && is_bare(value) { value.to_owned() } else { quoted(value) }
}

/// A value in the quotes of a configuration file.
pub(super) fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// Stricter than Postgres: one word of ASCII letters and digits, or a plain number with an optional unit.
fn is_bare(value: &str) -> bool {
    let bytes = value.as_bytes();
    match bytes.first() {
        Some(first) if first.is_ascii_alphabetic() || *first == b'_' => {
            bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        }
        Some(_) => number_length(bytes) == Some(bytes.len()) && bytes.iter().any(u8::is_ascii_digit),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::line_edit::{Edit, EditError, Standing, Syntax, set, standing, under_arm};
    use super::*;
    use crate::model::{Arm, OldValue};
    use proptest::prelude::*;

    const CONF: Syntax = Syntax::PostgresqlConf;

    fn after(text: &str, key: &str, value: &str) -> String {
        String::from_utf8(set(text.as_bytes(), CONF, key, value).unwrap().after).unwrap()
    }

    fn undone(text: &[u8], key: &str, edit: &Edit) -> Vec<u8> {
        under_arm(text, CONF, key, &edit.old, &edit.new, Arm::A).unwrap()
    }

    fn values(text: &str) -> Vec<(String, String)> {
        entries(text.as_bytes())
            .into_iter()
            .map(|entry| match entry {
                Entry::Assignment(found) => (found.key, found.value),
                Entry::Malformed { key, .. } => (key, "malformed".to_owned()),
            })
            .collect()
    }

    #[test]
    fn reads_what_postgres_reads() {
        let text = "a=1\n b 2kB # x\n\tC = 'it''s \\\\ \\101'#y\nd.e = on\r\n  # f = 1\n\ng = 1.5e3\nh -1\n\
                    i = a/b:c-d\nj = 0x1F\nk'v'\nwal = .5\n";
        let expected = [
            ("a", "1"),
            ("b", "2kB"),
            ("C", "it's \\ A"),
            ("d.e", "on"),
            ("g", "1.5e3"),
            ("h", "-1"),
            ("i", "a/b:c-d"),
            ("j", "0x1F"),
            ("k", "v"),
            ("wal", ".5"),
        ];
        assert_eq!(values(text), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn refuses_what_postgres_refuses() {
        for line in [
            "a",
            "a =",
            "a = 1 2",
            "a = 1.5GB",
            "a = 'x",
            "a = = 1",
            "= 1",
            "a-b = 1",
            "a = 'x' y",
            "a = 1e3",
        ] {
            let found = values(line);
            assert!(matches!(found.as_slice(), [(_, value)] if value == "malformed"), "{line}: {found:?}");
        }
    }

    #[test]
    fn only_the_token_changes() {
        let text = "# head\r\n  work_mem\t=  4MB   # four\r\nport = 1\r\n";
        assert_eq!(after(text, "work_mem", "64MB"), "# head\r\n  work_mem\t=  64MB   # four\r\nport = 1\r\n");
        assert_eq!(after("WORK_MEM='4MB'#x", "work_mem", "64MB"), "WORK_MEM='64MB'#x");
        assert_eq!(after("work_mem'4MB'", "work_mem", "64MB"), "work_mem'64MB'");
        assert_eq!(after("work_mem+4", "work_mem", "64MB"), "work_mem'64MB'");
    }

    #[test]
    fn the_last_of_three_is_edited() {
        let text = "work_mem = 1MB\nwork_mem = 2MB\nwork_mem = 3MB\n#work_mem = 9MB\n";
        let edit = set(text.as_bytes(), CONF, "work_mem", "64MB").unwrap();
        assert_eq!(edit.old, OldValue::Line { raw: "work_mem = 3MB\n".into(), number: 3 });
        assert_eq!(edit.new, "work_mem = 64MB\n");
        assert_eq!(undone(&edit.after, "work_mem", &edit), text.as_bytes());
    }

    #[test]
    fn an_absent_one_goes_to_the_end_in_the_files_own_style() {
        assert_eq!(after("a = 1\n", "jit", "off"), "a = 1\njit = off\n");
        assert_eq!(after("a = 1\r\n", "jit", "off"), "a = 1\r\njit = off\r\n");
        assert_eq!(after("a = 1", "jit", "off"), "a = 1\njit = off");
        assert_eq!(after("", "jit", "off"), "jit = off\n");
        assert_eq!(after("", "jit", "1.5GB"), "jit = '1.5GB'\n");
        assert_eq!(after("", "jit", ""), "jit = ''\n");
    }

    #[test]
    fn a_value_cannot_write_lines_of_its_own() {
        for value in ["1\nfsync = off", "1\rx", "1\0", "1\u{7f}"] {
            assert!(matches!(set(b"a = 1\n", CONF, "a", value), Err(EditError::Value(_))), "{value:?}");
        }
        assert!(matches!(set(b"", CONF, "a = 1 #", "2"), Err(EditError::Value(_))));
        assert_eq!(after("a = 1 # c\n", "a", "2 # '\\"), "a = '2 # ''\\\\' # c\n");
    }

    #[test]
    fn a_line_in_latin_1_is_left_alone_and_refused_where_it_must_change() {
        let text = b"a = 1 # \xe9\nb = 2\n";
        assert_eq!(set(text, CONF, "b", "3").unwrap().after, b"a = 1 # \xe9\nb = 3\n");
        assert_eq!(set(text, CONF, "a", "3"), Err(EditError::NotUtf8(1)));
    }

    #[test]
    fn somebody_elses_hand_is_seen() {
        let edit = set(b"a = 1\n", CONF, "jit", "off").unwrap();
        let stands = |text: &str| standing(text.as_bytes(), CONF, "jit", &edit.old, &edit.new);
        assert_eq!(stands("a = 2 # theirs\njit = off\nb = 1\n"), Standing::After);
        assert_eq!(stands("a = 1\n#jit = off\n"), Standing::Before);
        assert_eq!(stands("a = 1\njit = on\n"), Standing::Neither("line 2 is \"jit = on\"".into()));
        assert_eq!(stands("a = 1\njit = = off\n"), Standing::Neither("line 2 is \"jit = = off\"".into()));
        let edit = set(b"a = 1\n", CONF, "a", "2").unwrap();
        let gone = standing(b"", CONF, "a", &edit.old, &edit.new);
        assert_eq!(gone, Standing::Neither("it is not set there any more".into()));
    }

    #[test]
    fn an_added_line_goes_also_when_the_files_end_was_edited() {
        let added = |text: &str| set(text.as_bytes(), CONF, "jit", "off").unwrap();
        let edit = added("a = 1");
        assert_eq!(undone(b"a = 1\njit = off\n", "jit", &edit), b"a = 1\n");
        assert_eq!(undone(b"a = 1\njit = off\nb = 2\n", "jit", &edit), b"a = 1\nb = 2\n");
        assert_eq!(undone(b"jit = off\n", "jit", &edit), b"");
        let edit = added("a = 1\n");
        assert_eq!(undone(b"a = 1\njit = off", "jit", &edit), b"a = 1\n");
    }

    fn any_line() -> impl Strategy<Value = String> {
        let value = "([a-z0-9]{1,4}|'([a-z #=]|''|\\\\\\\\){0,4}'|[0-9]{1,3}(MB|kB)?|-1|0\\.[0-9])";
        let name = "(work_mem|WORK_MEM|jit|max_wal_size|port|include_dir)";
        prop_oneof![
            4 => (name, "[ \t]{0,2}", "( ?= ?| )", value, "( *#[ -~é]{0,6})?")
                .prop_map(|(name, space, eq, value, comment)| format!("{space}{name}{eq}{value}{comment}")),
            2 => "[ \t]{0,2}#[ -~é]{0,10}",
            1 => "[ \t]{0,3}",
            1 => "[ -~]{0,10}",
        ]
    }

    fn any_text() -> impl Strategy<Value = String> {
        let ending = prop_oneof![3 => Just("\n"), 1 => Just("\r\n")];
        (prop::collection::vec((any_line(), ending), 0..8), any::<bool>()).prop_map(|(lines, cut)| {
            let mut text: String = lines.iter().map(|(line, ending)| format!("{line}{ending}")).collect();
            if cut {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            text
        })
    }

    fn any_value() -> impl Strategy<Value = String> {
        prop_oneof!["[0-9]{1,4}(MB|kB)?", "[ -~é]{0,12}"]
    }

    const KEYS: [&str; 3] = ["work_mem", "jit", "max_wal_size"];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_edit_reads_back_and_changes_nothing_else(text in any_text(), value in any_value()) {
            let edit = set(text.as_bytes(), CONF, "work_mem", &value).unwrap();
            let found = CONF.effective(&edit.after, "work_mem").unwrap();
            prop_assert_eq!(&found.value, &value);
            let others = |text: &[u8]| -> Vec<(String, Vec<u8>)> {
                entries(text).into_iter().filter_map(|entry| match entry {
                    Entry::Assignment(a) if a.number == found.number => None,
                    Entry::Assignment(a) => Some((a.key, text[a.line].to_vec())),
                    Entry::Malformed { key, line, .. } => Some((key, text[line].to_vec())),
                }).collect()
            };
            prop_assert_eq!(others(text.as_bytes()), others(&edit.after));
            let comments = |text: &str| text.matches('#').count();
            let after = String::from_utf8(edit.after.clone()).unwrap();
            prop_assume!(!value.contains('#') && !text.contains('\''));
            prop_assert_eq!(comments(&text), comments(&after));
        }

        #[test]
        fn changes_undo_in_any_order_to_the_byte(
            text in any_text(),
            values in prop::collection::vec(any_value(), 3),
            order in Just(vec![0_usize, 1, 2]).prop_shuffle(),
        ) {
            // A malformed line that begins with a key of ours is "neither", and preflight refuses the file.
            prop_assume!(!entries(text.as_bytes()).iter().any(|entry| matches!(entry, Entry::Malformed { .. })));
            let mut bytes = text.clone().into_bytes();
            let mut edits = Vec::new();
            for (key, value) in KEYS.iter().zip(&values) {
                let edit = set(&bytes, CONF, key, value).unwrap();
                bytes.clone_from(&edit.after);
                edits.push(edit);
            }
            // A change that writes what stood there is refused by the caller.
            prop_assume!(edits.iter().all(|edit| edit.old != OldValue::Line { raw: edit.new.clone(), number: 1 }));
            for at in order {
                let (key, edit) = (KEYS[at], &edits[at]);
                prop_assert_eq!(standing(&bytes, CONF, key, &edit.old, &edit.new), Standing::After);
                let without = undone(&bytes, key, edit);
                let again = under_arm(&without, CONF, key, &edit.old, &edit.new, Arm::B).unwrap();
                prop_assert_eq!(CONF.effective(&again, key).unwrap().value, &values[at][..]);
                bytes = without;
            }
            prop_assert_eq!(bytes, text.into_bytes());
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = entries(&bytes);
        }
    }
}
