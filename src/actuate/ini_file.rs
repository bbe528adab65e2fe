//! The text of a `pgbouncer.ini`, read as PgBouncer reads it.
//!
//! In: bytes. Out: its assignments in order. Those of the section `[pgbouncer]` have their plain key; those of other
//! sections have the section before it, so that a database of that name is never taken for a setting.
//! A comment is a line of its own that begins with `;` or `#`: behind a value both are part of the value. Nothing is
//! quoted. `%include` is not followed: what it says shows when the console is asked.

use super::line_edit::{Assignment, Entry, lines};
use std::ops::Range;

const SECTION: &[u8] = b"pgbouncer";

/// Whether this is a setting's name.
pub(super) fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether this can be a value: it may not begin or end with a blank, which would be lost.
pub(super) fn is_value(value: &str) -> bool {
    !value.is_empty() && value.trim() == value
}

/// Every assignment, in order.
pub(super) fn entries(text: &[u8]) -> Vec<Entry> {
    let mut section: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    for (number, line, next) in lines(text) {
        let bytes = text[line.clone()].trim_ascii();
        match bytes.first() {
            None | Some(b';' | b'#' | b'%') => {}
            Some(b'[') => {
                section = bytes[1..].strip_suffix(b"]").unwrap_or(&bytes[1..]).trim_ascii().to_vec();
            }
            Some(_) => found.push(entry(text, &section, number, line, next)),
        }
    }
    found
}

/// Where a new setting can stand: right below the section's head. The end where there is no such section.
pub(super) fn insertion_point(text: &[u8]) -> usize {
    let head = lines(text).find(|(_, line, _)| {
        let bytes = text[line.clone()].trim_ascii();
        let name = bytes.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
        name.is_some_and(|name| name.trim_ascii() == SECTION)
    });
    head.map_or(text.len(), |(_, _, next)| next)
}

fn entry(text: &[u8], section: &[u8], number: u32, line: Range<usize>, next: usize) -> Entry {
    let bytes = &text[line.clone()];
    let Some(equals) = bytes.iter().position(|byte| *byte == b'=') else {
        let key = String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
        return Entry::Malformed { key: named(section, &key), number, line };
    };
    let key = String::from_utf8_lossy(bytes[..equals].trim_ascii()).into_owned();
    let value = bytes[equals + 1..].trim_ascii();
    let blanks = bytes[equals + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    // An empty value stands right behind `=`.
    let start = line.start + equals + 1 + if value.is_empty() { 0 } else { blanks };
    Entry::Assignment(Assignment {
        key: named(section, &key),
        number,
        token: start..start + value.len(),
        value: String::from_utf8_lossy(value).into_owned(),
        line,
        next,
    })
}

fn named(section: &[u8], key: &str) -> String {
    if section == SECTION { key.to_owned() } else { format!("[{}] {key}", String::from_utf8_lossy(section)) }
}

#[cfg(test)]
mod tests {
    use super::super::line_edit::{EditError, Standing, Syntax, set, standing, under_arm};
    use crate::model::{Arm, OldValue};
    use proptest::prelude::*;

    const INI: Syntax = Syntax::PgBouncerIni;
    const FILE: &str = "[databases]\n* = host=127.0.0.1 pool_size=5\ndefault_pool_size = host=x\n\n; a remark\n\
                        [pgbouncer]\nlisten_port = 6432\n;default_pool_size = 9\ndefault_pool_size=20\n\
                        pool_mode = session\n[users]\nadmin = pool_mode=session\n";

    fn after(text: &str, key: &str, value: &str) -> String {
        String::from_utf8(set(text.as_bytes(), INI, key, value).unwrap().after).unwrap()
    }

    #[test]
    fn only_the_pooler_s_own_section_has_settings() {
        let found = INI.effective(FILE.as_bytes(), "default_pool_size").unwrap();
        assert_eq!((found.number, found.value.as_str()), (9, "20"));
        assert_eq!(after(FILE, "default_pool_size", "40"), FILE.replace("size=20", "size=40"));
        assert_eq!(INI.effective(FILE.as_bytes(), "admin"), None);
    }

    #[test]
    fn what_is_absent_comes_below_the_head_and_goes_again() {
        let edit = set(FILE.as_bytes(), INI, "reserve_pool_size", "5").unwrap();
        let expected = FILE.replace("[pgbouncer]\n", "[pgbouncer]\nreserve_pool_size = 5\n");
        assert_eq!(String::from_utf8(edit.after.clone()).unwrap(), expected);
        let back = under_arm(&edit.after, INI, "reserve_pool_size", &edit.old, &edit.new, Arm::A).unwrap();
        assert_eq!(back, FILE.as_bytes());
        let again = under_arm(&back, INI, "reserve_pool_size", &edit.old, &edit.new, Arm::B).unwrap();
        assert_eq!(again, edit.after);
        assert_eq!(after("[pgbouncer]", "pool_mode", "transaction"), "[pgbouncer]\npool_mode = transaction");
    }

    #[test]
    fn without_the_section_nothing_is_written() {
        let error = set(b"[databases]\n* = host=x\n", INI, "pool_mode", "session").unwrap_err();
        assert!(matches!(error, EditError::Value(_)), "{error:?}");
        assert!(matches!(set(FILE.as_bytes(), INI, "pool_mode", "a\nb"), Err(EditError::Value(_))));
        assert!(matches!(set(FILE.as_bytes(), INI, "pool_mode", " x"), Err(EditError::Value(_))));
    }

    #[test]
    fn somebody_elses_hand_is_seen() {
        let edit = set(FILE.as_bytes(), INI, "pool_mode", "transaction").unwrap();
        let theirs = FILE.replace("pool_mode = session", "pool_mode = statement");
        let stands = |text: &str| standing(text.as_bytes(), INI, "pool_mode", &edit.old, &edit.new);
        assert_eq!(stands(FILE), Standing::Before);
        assert_eq!(stands(&theirs), Standing::Neither("line 10 is \"pool_mode = statement\"".into()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn changes_undo_to_the_byte(
            lines in prop::collection::vec("(\\[pgbouncer\\]|\\[x\\]|(a|b)[ ]?=[ ]?[a-z0-9 ;]{0,5}|;.{0,4}|[a-z]?)", 0..8),
            value in "[a-z0-9]{1,5}",
        ) {
            let text = lines.join("\n");
            if let Ok(edit) = set(text.as_bytes(), INI, "a", &value) {
                prop_assert_eq!(&INI.effective(&edit.after, "a").unwrap().value, &value);
                let is_same = matches!(&edit.old, OldValue::Line { raw, .. } if *raw == edit.new);
                if !is_same {
                    let back = under_arm(&edit.after, INI, "a", &edit.old, &edit.new, Arm::A).unwrap();
                    prop_assert_eq!(back, text.into_bytes());
                }
            }
        }
    }
}
