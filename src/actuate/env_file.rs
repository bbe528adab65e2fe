//! The text of an `.env` file, read as dotenv libraries and compose read it.
//!
//! In: bytes. Out: its assignments in order; and a value as a token.
//! `export` may come first; quotes are single (literal, over several lines) or double (with `\` escapes, over
//! several lines); an unquoted value ends at ` #` or the end of the line; keys are case-sensitive; the last wins.
//! Lines that are no assignment are left alone: readers differ in what they make of them.

use super::line_edit::{Assignment, Entry, end_of_line};

/// Whether this is a key: `BATCH_SIZE`.
pub(super) fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && key.bytes().all(is_key_byte)
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

/// Every assignment, in order.
pub(super) fn entries(text: &[u8]) -> Vec<Entry> {
    let mut found = Vec::new();
    // Some editors put a byte order mark first; it is no part of the key.
    let mut start = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut number = 1;
    while start < text.len() {
        let mut next = line_end(text, start);
        if let Some(assignment) = assignment(text, start, number) {
            next = assignment.next;
            found.push(Entry::Assignment(assignment));
        }
        let passed = text[start..next].iter().filter(|byte| **byte == b'\n').count();
        number += u32::try_from(passed).unwrap_or(u32::MAX);
        start = next;
    }
    found
}

/// The quotes that assignments other than `except` begin with and nothing closes.
pub(super) fn open_quotes<'a>(
    text: &'a [u8],
    except: Option<&'a Assignment>,
) -> impl Iterator<Item = char> + 'a {
    entries(text).into_iter().filter_map(move |entry| match entry {
        Entry::Assignment(found) if Some(&found) != except => {
            let quote = *text.get(found.token.start)?;
            let begins = matches!(quote, b'\'' | b'"') && !found.token.is_empty();
            (begins && quoted_end(text, found.token.start, quote).is_none()).then_some(char::from(quote))
        }
        _ => None,
    })
}

/// Where the line after the one that holds `at` begins.
fn line_end(text: &[u8], at: usize) -> usize {
    text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |found| at + found + 1)
}

fn assignment(text: &[u8], start: usize, number: u32) -> Option<Assignment> {
    let first_end = end_of_line(text, start, line_end(text, start));
    let line = &text[..first_end];
    let mut at = skip_blanks(line, start);
    let exported = line[at..].strip_prefix(b"export").is_some_and(|rest| rest.first().is_some_and(is_blank));
    if exported {
        at = skip_blanks(line, at + b"export".len());
    }
    let key_end = at + line[at..].iter().take_while(|byte| is_key_byte(**byte)).count();
    let key = std::str::from_utf8(&line[at..key_end]).ok().filter(|key| is_key(key))?;
    let equals = skip_blanks(line, key_end);
    if line.get(equals) != Some(&b'=') {
        return None;
    }
    let value_at = skip_blanks(line, equals + 1);
    let token = match line.get(value_at) {
        Some(quote @ (b'\'' | b'"')) => quoted_end(text, value_at, *quote).map(|end| value_at..end),
        _ => None,
    };
    let token = token.unwrap_or_else(|| unquoted(line, equals + 1, value_at));
    let next = line_end(text, token.end);
    Some(Assignment {
        key: key.to_owned(),
        number,
        line: start..end_of_line(text, start, next),
        next,
        value: decoded(&text[token.clone()]),
        token,
    })
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn skip_blanks(line: &[u8], at: usize) -> usize {
    at + line[at..].iter().take_while(|byte| is_blank(byte)).count()
}

/// Where the quoted value that begins at `start` ends, if nothing but a comment follows its closing quote. An
/// apostrophe that nothing closes is a letter, so that it cannot swallow the lines below.
fn quoted_end(text: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match *text.get(at)? {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote => break,
            _ => at += 1,
        }
    }
    let rest = &text[at + 1..];
    let blanks = rest.iter().take_while(|byte| is_blank(byte)).count();
    match &rest[blanks..] {
        [] | [b'\n' | b'#', ..] | [b'\r', b'\n', ..] => Some(at + 1),
        _ => None,
    }
}

fn unquoted(line: &[u8], after_equals: usize, start: usize) -> std::ops::Range<usize> {
    let comment = (start..line.len()).find(|at| line[*at] == b'#' && is_blank(&line[at - 1]));
    let mut end = comment.unwrap_or(line.len());
    while end > start && matches!(line[end - 1], b' ' | b'\t' | b'\r') {
        end -= 1;
    }
    // An empty value stands right behind `=`, before the blanks of a comment.
    if end <= start { after_equals..after_equals } else { start..end }
}

fn decoded(token: &[u8]) -> String {
    let text = String::from_utf8_lossy(token);
    let inner = |quote: char| {
        let rest = text.strip_prefix(quote)?;
        rest.strip_suffix(quote)
    };
    if let Some(literal) = inner('\'') {
        return literal.to_owned();
    }
    let Some(escaped) = inner('"') else { return text.into_owned() };
    let mut value = String::new();
    let mut letters = escaped.chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '\\' { letters.next() } else { None }) {
            ('\\', Some('n')) => value.push('\n'),
            ('\\', Some('r')) => value.push('\r'),
            ('\\', Some('t')) => value.push('\t'),
            ('\\', Some(plain @ ('\\' | '"' | '$' | '`'))) => value.push(plain),
            ('\\', Some(other)) => value.extend(['\\', other]),
            (letter, _) => value.push(letter),
        }
    }
    value
}

/// A value as a token, in the quotes of `old` where that can be; bare where there were none and it is plain.
pub(super) fn token(value: &str, old: Option<&str>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    match old.and_then(|old| old.chars().next()) {
        Some('"') => double_quoted(value),
        Some('\'') if !value.contains('\'') => format!("'{value}'"),
        Some('\'') => double_quoted(value),
        _ if value.chars().all(plain) => value.to_owned(),
        _ if value.contains('\'') => double_quoted(value),
        _ => format!("'{value}'"),
    }
}

fn double_quoted(value: &str) -> String {
    let mut token = String::from("\"");
    for letter in value.chars() {
        if matches!(letter, '\\' | '"' | '$' | '`') {
            token.push('\\');
        }
        token.push(letter);
    }
    token.push('"');
    token
}

#[cfg(test)]
mod tests {
    use super::super::line_edit::{EditError, Standing, Syntax, set, standing, under_arm};
    use super::*;
    use crate::model::{Arm, OldValue};
    use proptest::prelude::*;

    const ENV: Syntax = Syntax::EnvFile;

    fn after(text: &str, key: &str, value: &str) -> String {
        String::from_utf8(set(text.as_bytes(), ENV, key, value).unwrap().after).unwrap()
    }

    fn value_of(text: &str, key: &str) -> Option<String> {
        ENV.effective(text.as_bytes(), key).map(|found| found.value)
    }

    #[test]
    fn reads_what_dotenv_reads() {
        let text = "\u{feff}FIRST=1\n# BATCH=9\n export  BATCH = 'a # b' # c\r\nURL=http://x/#y # z\n\
                    EMPTY= # nothing\nMULTI=\"one\nBATCH=2\n\\\"two\"\nAPOS=it's\nNOT AN ASSIGNMENT\n";
        let of = |key| value_of(text, key);
        assert_eq!(of("FIRST").as_deref(), Some("1"));
        assert_eq!(of("BATCH").as_deref(), Some("a # b"), "what stands in a quoted value is no assignment");
        assert_eq!(of("URL").as_deref(), Some("http://x/#y"));
        assert_eq!(of("EMPTY").as_deref(), Some(""));
        assert_eq!(of("MULTI").as_deref(), Some("one\nBATCH=2\n\"two"));
        assert_eq!(of("APOS").as_deref(), Some("it's"));
        assert_eq!(of("batch"), None);
    }

    #[test]
    fn an_apostrophe_that_nothing_closes_swallows_nothing() {
        assert_eq!(value_of("A='open\nBATCH_SIZE=1\nB='x'\n", "BATCH_SIZE").as_deref(), Some("1"));
        assert_eq!(value_of("A=\"open\nBATCH_SIZE=1\n", "BATCH_SIZE").as_deref(), Some("1"));
    }

    #[test]
    fn a_line_that_an_open_quote_above_would_swallow_is_refused() {
        let error = set(b"D='\"\nA=1\n", ENV, "B", "#").unwrap_err();
        assert_eq!(error, EditError::Value("another line leaves a quote open, and could swallow it".into()));
        assert_eq!(after("D='x\n", "B", "1"), "D='x\nB=1\n");
        // It stands well as long as A's quote comes between; A's undo would have D swallow it.
        assert!(set(b"D='\"\nA='x'y\n", ENV, "B", "#").is_err());
        assert!(set(b"D='\"\n", ENV, "A", "\u{e9}").is_err());
    }

    #[test]
    fn only_the_token_changes() {
        assert_eq!(after("A=1\r\nexport B = 5  # five\r\n", "B", "50"), "A=1\r\nexport B = 50  # five\r\n");
        assert_eq!(after("B=\"5\"", "B", "50"), "B=\"50\"");
        assert_eq!(after("B='5' # x\n", "B", "it's"), "B=\"it's\" # x\n");
        assert_eq!(after("B= # x\n", "B", "5"), "B=5 # x\n");
        assert_eq!(after("B=1\nB=2\n", "B", "3"), "B=1\nB=3\n");
        assert_eq!(after("A=1", "B", "3 4"), "A=1\nB='3 4'");
        assert_eq!(after("A=1\r\n", "B", "$x'"), "A=1\r\nB=\"\\$x'\"\r\n");
    }

    #[test]
    fn a_value_or_key_cannot_write_lines_of_its_own() {
        assert!(matches!(set(b"A=1\n", ENV, "A", "1\nB=2"), Err(EditError::Value(_))));
        assert!(matches!(set(b"A=1\n", ENV, "B=2\nC", "1"), Err(EditError::Value(_))));
    }

    #[test]
    fn somebody_elses_hand_is_seen() {
        let edit = set(b"BATCH_SIZE=1\n", ENV, "BATCH_SIZE", "50").unwrap();
        let stands = |text: &str| standing(text.as_bytes(), ENV, "BATCH_SIZE", &edit.old, &edit.new);
        assert_eq!(stands("# theirs\nBATCH_SIZE=50\nX=1\n"), Standing::After);
        assert_eq!(stands("X=1\nBATCH_SIZE=1"), Standing::Before);
        assert_eq!(stands("BATCH_SIZE=7\n"), Standing::Neither("line 1 is \"BATCH_SIZE=7\"".into()));
    }

    fn any_text() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            3 => "(export )?(A|B|C)[ ]?=[ ]?([a-z0-9]{0,4}|'[a-z #=]{0,4}'|\"[a-z #=]{0,4}\")( +#[ -~é]{0,6})?",
            1 => "[ ]{0,2}#[ -~é]{0,8}",
            1 => "[ -~]{0,8}",
            1 => "(D|E)=['\"][a-z\n]{0,6}['\"]",
        ];
        let ending = prop_oneof![3 => Just("\n"), 1 => Just("\r\n")];
        (prop::collection::vec((line, ending), 0..8), any::<bool>()).prop_map(|(lines, cut)| {
            let mut text: String = lines.iter().map(|(line, ending)| format!("{line}{ending}")).collect();
            if cut {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn changes_read_back_and_undo_in_any_order_to_the_byte(
            text in any_text(),
            values in prop::collection::vec("[ -~é]{0,10}", 3),
            order in Just(vec![0_usize, 1, 2]).prop_shuffle(),
        ) {
            const KEYS: [&str; 3] = ["A", "B", "C"];
            let mut bytes = text.clone().into_bytes();
            let mut edits = Vec::new();
            for (key, value) in KEYS.iter().zip(&values) {
                let edit = set(&bytes, ENV, key, value);
                // An open quote above refuses the edit.
                prop_assume!(edit.is_ok());
                let edit = edit.unwrap();
                prop_assert_eq!(&ENV.effective(&edit.after, key).unwrap().value, value);
                bytes.clone_from(&edit.after);
                edits.push(edit);
            }
            prop_assume!(edits.iter().all(|edit| !matches!(&edit.old, OldValue::Line { raw, .. } if *raw == edit.new)));
            for at in order {
                let edit = &edits[at];
                prop_assert_eq!(standing(&bytes, ENV, KEYS[at], &edit.old, &edit.new), Standing::After);
                bytes = under_arm(&bytes, ENV, KEYS[at], &edit.old, &edit.new, Arm::A).unwrap();
            }
            prop_assert_eq!(bytes, text.into_bytes());
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = entries(&bytes);
        }
    }
}
