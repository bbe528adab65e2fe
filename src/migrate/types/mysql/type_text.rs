//! The parts of a type as MySQL's `COLUMN_TYPE` writes it.
//!
//! Goes in: `enum('a','it''s')`, `bigint(20) unsigned zerofill`, `datetime(3) /* mariadb-5.3 */`. Comes out: its
//! name, its arguments without their quotes, and the words after them. It knows no type.

use crate::migrate::quote::mysql_escape;
use std::iter::Peekable;
use std::str::CharIndices;

/// A type's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypeText {
    /// The first word, in lower case.
    pub(super) base: String,
    /// What is in the parentheses, unquoted.
    pub(super) arguments: Vec<String>,
    /// All other words, in lower case.
    pub(super) flags: Vec<String>,
}

impl TypeText {
    /// `None`: it has no name, or its quotes or parentheses do not end.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (head, arguments, tail) = match text.find('(') {
            None => (text, Vec::new(), ""),
            Some(open) => {
                let inner = &text[open + 1..];
                let (arguments, used) = arguments(inner)?;
                (&text[..open], arguments, &inner[used..])
            }
        };
        let mut words = words(head);
        words.extend(self::words(tail));
        if words.is_empty() {
            return None;
        }
        let base = words.remove(0);
        Some(Self { base, arguments, flags: words })
    }

    /// The argument at that place, as a number.
    pub(super) fn number(&self, at: usize) -> Option<u32> {
        self.arguments.get(at)?.parse().ok()
    }

    /// Whether that word is among the others.
    pub(super) fn has(&self, word: &str) -> bool {
        self.flags.iter().any(|flag| flag == word)
    }
}

/// The words of a text, in lower case, without comments.
fn words(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        plain.push_str(before);
        plain.push(' ');
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain.split_whitespace().map(str::to_ascii_lowercase).collect()
}

/// What stands before the closing parenthesis, and how many bytes it takes with that.
fn arguments(text: &str) -> Option<(Vec<String>, usize)> {
    let mut list = Vec::new();
    let mut current = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, letter)) = chars.next() {
        match letter {
            '\'' => quoted(&mut chars, &mut current)?,
            ',' => list.push(std::mem::take(&mut current)),
            ')' => {
                list.push(current);
                return Some((list, at + 1));
            }
            space if space.is_whitespace() => {}
            other => current.push(other),
        }
    }
    None
}

/// The rest of a text in quotes, without its end.
fn quoted(chars: &mut Peekable<CharIndices<'_>>, into: &mut String) -> Option<()> {
    while let Some((_, letter)) = chars.next() {
        match letter {
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
                into.push('\'');
            }
            '\'' => return Some(()),
            '\\' => into.push(mysql_escape(chars.next()?.1)),
            other => into.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Vec<String>, Vec<String>) {
        let found = TypeText::parse(text).unwrap();
        (found.base, found.arguments, found.flags)
    }

    #[test]
    fn names_arguments_and_flags() {
        assert_eq!(
            parsed("BIGINT(20) unsigned zerofill"),
            ("bigint".to_owned(), vec!["20".to_owned()], vec!["unsigned".to_owned(), "zerofill".to_owned()])
        );
        assert_eq!(parsed("double precision"), ("double".to_owned(), vec![], vec!["precision".to_owned()]));
        assert_eq!(
            parsed("decimal(10, 2)"),
            ("decimal".to_owned(), vec!["10".to_owned(), "2".to_owned()], Vec::<String>::new())
        );
    }

    #[test]
    fn members_keep_their_letters() {
        let (_, members, flags) =
            parsed(r"enum('a','it''s','x, y)','c\\d','/* no */','') collate utf8mb4_bin");
        assert_eq!(members, ["a", "it's", "x, y)", r"c\d", "/* no */", ""]);
        assert_eq!(flags, ["collate", "utf8mb4_bin"]);
    }

    #[test]
    fn comments_are_no_words() {
        assert_eq!(parsed("datetime /* mariadb-5.3 */").2, Vec::<String>::new());
        assert_eq!(parsed("varchar(10) /*M!100301 COMPRESSED*/").2, Vec::<String>::new());
        assert_eq!(parsed("time /* never ends").0, "time");
    }

    #[test]
    fn what_does_not_end_is_none() {
        for broken in ["", "   ", "enum('a", "enum('a'", "int(", "(1)"] {
            assert_eq!(TypeText::parse(broken), None, "{broken:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a-z(),'/*\\\\é 0-9]{0,40}") {
            let _ = TypeText::parse(&text);
        }

        #[test]
        fn any_member_is_read_back(member in "[^\0\n\r]{0,20}") {
            let written = format!("set('{}')", member.replace('\\', "\\\\").replace('\'', "''"));
            proptest::prop_assert_eq!(TypeText::parse(&written).unwrap().arguments, vec![member]);
        }
    }
}
