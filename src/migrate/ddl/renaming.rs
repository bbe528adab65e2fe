//! PostgreSQL's own expressions, moved into other schemas.
//!
//! Goes in: a text that PostgreSQL has written (a default, a view's query, a type), in which every name is qualified.
//! Comes out: the same with the target's schemas. Always holds: where nothing is renamed the text is not touched; texts
//! in quotes stay, but for `'shop.orders_id_seq'::regclass`; where a name could be a schema's or something else's, it
//! is an error and no guess. It parses no SQL: it knows names, texts and numbers, and reads the rest as it is.

use super::names::{Collision, NameKind};
use crate::migrate::quote::{identifier, is_of_a_name, literal};
use std::collections::{BTreeMap, BTreeSet};

/// What is named otherwise in the target.
#[derive(Debug, Default)]
pub(super) struct Renaming {
    /// Schemas whose name changes, and to what.
    schemas: BTreeMap<String, String>,
    /// Relations and columns whose name changes.
    others: BTreeSet<String>,
}

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// A name as PostgreSQL reads it, and as it is written.
    Name(String, &'a str),
    /// What is between single quotes, unquoted, and as it is written.
    Text(String, &'a str),
    /// One letter, or a number.
    Other(&'a str),
}

impl Piece<'_> {
    fn written(&self) -> &str {
        match self {
            Self::Name(_, written) | Self::Text(_, written) | Self::Other(written) => written,
        }
    }
}

impl Renaming {
    pub(super) fn new(schemas: &BTreeMap<String, String>, collisions: &[Collision]) -> Self {
        let schemas = schemas.iter().filter(|(old, new)| old != new);
        // No expression names an index or a constraint.
        let is_named =
            |kind: NameKind| !matches!(kind, NameKind::Schema | NameKind::Index | NameKind::Constraint);
        let others = collisions.iter().filter(|collision| is_named(collision.kind));
        Self {
            schemas: schemas.map(|(old, new)| (old.clone(), new.clone())).collect(),
            others: others.map(|collision| collision.name.clone()).collect(),
        }
    }

    /// The text for the target. `Err`: why not, as the rest of a sentence.
    pub(super) fn apply(&self, text: &str) -> Result<String, String> {
        if self.schemas.is_empty() && self.others.is_empty() {
            return Ok(text.to_owned());
        }
        let pieces = pieces(text);
        let mut out = String::with_capacity(text.len());
        for (at, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Name(name, written) => {
                    let before = at.checked_sub(1).map(|at| pieces[at].written());
                    let after = pieces.get(at + 1).map(Piece::written);
                    out.push_str(&self.name(name, written, before == Some("."), after == Some("."))?);
                }
                Piece::Text(inner, written) if is_cast_to_regclass(&pieces[at + 1..]) => {
                    let moved = self.apply(inner)?;
                    out.push_str(&if moved == *inner { (*written).to_owned() } else { literal(&moved) });
                }
                other => out.push_str(other.written()),
            }
        }
        Ok(out)
    }

    fn name(&self, name: &str, written: &str, after_dot: bool, before_dot: bool) -> Result<String, String> {
        if self.others.contains(name) {
            return Err(format!("it names {name}, which has another name in the target"));
        }
        match self.schemas.get(name) {
            None => Ok(written.to_owned()),
            Some(new) if before_dot && !after_dot => Ok(identifier(new)),
            Some(_) => {
                Err(format!("it uses {name} for more than the schema, which has another name in the target"))
            }
        }
    }
}

/// The first of the names that a qualified name is written as: `"My Schema".t` → `My Schema`.
pub(super) fn first_name(text: &str) -> Option<String> {
    let pieces = pieces(text);
    match (pieces.first(), pieces.get(1)) {
        (Some(Piece::Name(name, _)), Some(Piece::Other("."))) => Some(name.clone()),
        _ => None,
    }
}

fn is_cast_to_regclass(rest: &[Piece<'_>]) -> bool {
    let is_colon = |at: usize| rest.get(at).is_some_and(|piece| piece.written() == ":");
    is_colon(0) && is_colon(1) && matches!(rest.get(2), Some(Piece::Name(name, _)) if name == "regclass")
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (piece, used) = piece(rest, first);
        out.push(piece);
        rest = &rest[used..];
    }
    out
}

/// The first piece and its length in bytes.
fn piece(rest: &str, first: char) -> (Piece<'_>, usize) {
    match first {
        '"' => {
            let (name, used) = quoted(rest, '"', false);
            (Piece::Name(name, &rest[..used]), used)
        }
        '\'' => {
            let (text, used) = quoted(rest, '\'', false);
            (Piece::Text(text, &rest[..used]), used)
        }
        'E' if rest[1..].starts_with('\'') => {
            let (text, used) = quoted(&rest[1..], '\'', true);
            (Piece::Text(text, &rest[..used + 1]), used + 1)
        }
        digit if digit.is_ascii_digit() => {
            let used = rest.find(|letter: char| !is_of_a_name(letter)).unwrap_or(rest.len());
            (Piece::Other(&rest[..used]), used)
        }
        letter if is_of_a_name(letter) => {
            let used = rest.find(|letter: char| !is_of_a_name(letter)).unwrap_or(rest.len());
            (Piece::Name(rest[..used].to_ascii_lowercase(), &rest[..used]), used)
        }
        other => (Piece::Other(&rest[..other.len_utf8()]), other.len_utf8()),
    }
}

/// What is between the quotes, and how many bytes it takes with them. What does not end goes to the end.
fn quoted(rest: &str, quote: char, escapes: bool) -> (String, usize) {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = chars.next() {
        if letter == '\\' && escapes {
            if let Some((_, escaped)) = chars.next() {
                text.push(escaped);
            }
        } else if letter != quote {
            text.push(letter);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            text.push(letter);
        } else {
            return (text, at + letter.len_utf8());
        }
    }
    (text, rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::ddl::names::CollisionReason;
    use crate::migrate::schema::TableName;

    fn renaming(from: &str, to: &str) -> Renaming {
        Renaming::new(&BTreeMap::from([(from.to_owned(), to.to_owned())]), &[])
    }

    #[test]
    fn schemas_are_replaced_where_they_qualify() {
        let shop = renaming("shop", "New Shop");
        for (text, moved) in [
            ("nextval('shop.orders_id_seq'::regclass)", "nextval('\"New Shop\".orders_id_seq'::regclass)"),
            ("SELECT o.id FROM shop.orders o", "SELECT o.id FROM \"New Shop\".orders o"),
            ("'new'::shop.status", "'new'::\"New Shop\".status"),
            ("\"shop\".f(x, 'shop.orders')", "\"New Shop\".f(x, 'shop.orders')"),
            ("shop.status[]", "\"New Shop\".status[]"),
            ("E'it\\'s shop.x' || workshop.y", "E'it\\'s shop.x' || workshop.y"),
            ("1.5e3 + price", "1.5e3 + price"),
        ] {
            assert_eq!(shop.apply(text).unwrap(), moved);
        }
    }

    #[test]
    fn what_could_be_something_else_is_refused() {
        let shop = renaming("shop", "public");
        for text in ["SELECT shop.id FROM shop.shop", "SELECT o.shop FROM shop.orders o", "shop > 1"] {
            assert!(shop.apply(text).unwrap_err().contains("shop"), "{text}");
        }
        let table = TableName { schema: "shop".to_owned(), name: "orders".to_owned() };
        let collision = Collision {
            kind: NameKind::Table,
            table: Some(table),
            name: "orders".to_owned(),
            renamed: "orders_1".to_owned(),
            reason: CollisionReason::TooLong,
        };
        let renamed = Renaming::new(&BTreeMap::new(), &[collision]);
        assert!(renamed.apply("SELECT 1 FROM shop.orders").is_err());
        assert_eq!(renamed.apply("SELECT 1 FROM shop.customers").unwrap(), "SELECT 1 FROM shop.customers");
    }

    #[test]
    fn a_types_schema() {
        assert_eq!(first_name("shop.status").as_deref(), Some("shop"));
        assert_eq!(first_name("\"My \"\"Shop\"\"\".status").as_deref(), Some("My \"Shop\""));
        assert_eq!(first_name("citext"), None);
    }

    proptest::proptest! {
        #[test]
        fn without_a_schema_of_that_name_nothing_changes(text in "[a-z'\"\\\\.:E0-9 é$]{0,40}") {
            let moved = renaming("NoSuchSchema", "x").apply(&text);
            proptest::prop_assert_eq!(moved.unwrap(), text);
        }
    }
}
