//! Names and texts as servers read them back: the one place where a name of the source's becomes SQL. And as people
//! read them in a line.
//!
//! Goes in: a name or a text as it is. Comes out: a piece of a statement; PostgreSQL's, where nothing else is said.
//! Always holds: what the server reads from it is what went in, whatever is in it and whatever
//! `standard_conforming_strings` or the SQL mode says; NUL, which no text and no name of PostgreSQL's can hold, is left
//! out. It looks at no length: a name that is too long is cut by [`clipped`] where names are chosen, and told.

use super::schema::TableName;
use super::types::Engine;

/// The longest name that PostgreSQL keeps, in bytes: `NAMEDATALEN - 1`.
pub const MAX_NAME_BYTES: usize = 63;

/// A name, always in double quotes: `Order "x"` → `"Order ""x"""`.
pub fn identifier(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    out.push('"');
    for letter in name.chars().filter(|letter| *letter != '\0') {
        if letter == '"' {
            out.push('"');
        }
        out.push(letter);
    }
    out.push('"');
    out
}

/// Names with commas between them: `"a", "b"`.
pub fn identifiers(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| identifier(name)).collect();
    quoted.join(", ")
}

/// A name with its schema: `"shop"."orders"`.
pub fn qualified(name: &TableName) -> String {
    format!("{}.{}", identifier(&name.schema), identifier(&name.name))
}

/// A text, in single quotes; with a backslash in it as `E'…'`, which every setting reads alike.
pub fn literal(text: &str) -> String {
    let escapes = text.contains('\\');
    let mut out = String::with_capacity(text.len() + 3);
    if escapes {
        out.push('E');
    }
    out.push('\'');
    for letter in text.chars().filter(|letter| *letter != '\0') {
        if letter == '\'' || letter == '\\' {
            out.push(letter);
        }
        out.push(letter);
    }
    out.push('\'');
    out
}

/// A body for `DO`, between dollar quotes that do not occur in it.
pub fn dollar_quoted(body: &str) -> String {
    let mut tag = "$leverd".to_owned();
    let mut turn = 0_u32;
    // Without its last dollar: a body that ends like the tag begins would close it early.
    while body.contains(&tag) {
        turn += 1;
        tag = format!("$leverd_{turn}");
    }
    format!("{tag}${body}{tag}$")
}

/// As much of a name's beginning as fits into `most_bytes`, cut between two letters as PostgreSQL does.
pub fn clipped(name: &str, most_bytes: usize) -> &str {
    let mut end = name.len().min(most_bytes);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// A name for people: `shop.orders`.
pub fn shown(name: &TableName) -> String {
    format!("{}.{}", name.schema, name.name)
}

/// One line of at most `most` characters: what a server or a model wrote must not break a log's lines.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    words.join(" ").chars().take(most).collect()
}

/// Whether PostgreSQL takes the letter as one of a name without quotes.
pub(super) fn is_of_a_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

/// A name as MySQL reads it back.
pub(super) fn mysql_identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table of MySQL's with its database.
pub(super) fn mysql_qualified(name: &TableName) -> String {
    format!("{}.{}", mysql_identifier(&name.schema), mysql_identifier(&name.name))
}

/// A name in the words of an engine.
pub(super) fn identifier_of(engine: Engine, name: &str) -> String {
    match engine {
        Engine::Postgres => identifier(name),
        Engine::MySql => mysql_identifier(name),
    }
}

/// What MySQL means by a backslash and this letter in a text.
pub(super) fn mysql_escape(letter: char) -> char {
    match letter {
        '0' => '\0',
        'b' => '\u{8}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'Z' => '\u{1a}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PostgreSQL reads it: `None` where the quotes do not end at the end.
    fn read_back(quoted: &str, quote: char, escapes: bool) -> Option<String> {
        let mut chars = quoted.strip_prefix(quote)?.chars().peekable();
        let mut out = String::new();
        while let Some(letter) = chars.next() {
            if letter == quote {
                if chars.peek() != Some(&quote) {
                    return chars.next().is_none().then_some(out);
                }
                chars.next();
            } else if letter == '\\' && escapes {
                out.push(chars.next()?);
                continue;
            }
            out.push(letter);
        }
        None
    }

    fn read_literal(quoted: &str) -> Option<String> {
        match quoted.strip_prefix('E') {
            Some(rest) => read_back(rest, '\'', true),
            None => read_back(quoted, '\'', false),
        }
    }

    #[test]
    fn names_are_always_quoted() {
        assert_eq!(identifier("orders"), "\"orders\"");
        assert_eq!(identifier("Order \"x\""), "\"Order \"\"x\"\"\"");
        let name = TableName { schema: "shop".to_owned(), name: "a.b".to_owned() };
        assert_eq!(qualified(&name), "\"shop\".\"a.b\"");
        assert_eq!(identifiers(&["a".to_owned(), "b".to_owned()]), "\"a\", \"b\"");
        assert_eq!(mysql_qualified(&name), "`shop`.`a.b`");
        assert_eq!(identifier_of(Engine::MySql, "or`der:x"), "`or``der:x`");
        assert_eq!(identifier_of(Engine::Postgres, "or`der:x"), "\"or`der:x\"");
    }

    #[test]
    fn foreign_text_becomes_one_short_line() {
        assert_eq!(one_line("a\n\tb\u{7} c", 80), "a b c");
        assert_eq!(one_line("äöü", 2), "äö");
        assert_eq!(one_line(" \n ", 10), "");
    }

    #[test]
    fn texts_with_quotes_and_backslashes() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(literal("a\0b"), "'ab'");
    }

    #[test]
    fn a_name_is_cut_between_letters() {
        let name = format!("{}é", "a".repeat(62));
        assert_eq!(clipped(&name, MAX_NAME_BYTES), "a".repeat(62));
        assert_eq!(clipped("short", MAX_NAME_BYTES), "short");
        assert_eq!(clipped("é", 0), "");
    }

    #[test]
    fn a_body_never_holds_its_own_quotes() {
        for body in ["BEGIN END", "$leverd$", "x$leverd", "$leverd_1$leverd"] {
            let quoted = dollar_quoted(body);
            let tag: String = quoted.chars().skip(1).take_while(|letter| *letter != '$').collect();
            let tag = format!("${tag}$");
            let inner = quoted.strip_prefix(&tag).unwrap();
            assert_eq!(inner.find(&tag), Some(body.len()), "{quoted}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_read_back(name in "[^\0]{0,40}") {
            proptest::prop_assert_eq!(read_back(&identifier(&name), '"', false), Some(name));
        }

        #[test]
        fn any_text_is_read_back(text in "[^\0]{0,40}") {
            proptest::prop_assert_eq!(read_literal(&literal(&text)), Some(text));
        }

        #[test]
        fn backslashes_and_quotes_are_read_back(text in r"[a\\'$E]{0,12}") {
            proptest::prop_assert_eq!(read_literal(&literal(&text)), Some(text));
        }

        #[test]
        fn what_is_cut_fits_and_is_a_beginning(name in "[^\0]{0,80}", most in 0_usize..80) {
            let short = clipped(&name, most);
            proptest::prop_assert!(short.len() <= most && name.starts_with(short));
        }
    }
}
