//! The parts of a constraint, read from what `pg_get_constraintdef` writes.
//!
//! In: the text of a session whose `search_path` is empty, so that every table is qualified. Out: the parts; `None`
//! where the text is not of that form (a later version's syntax): the caller says so and never guesses.

use crate::migrate::quote::is_of_a_name;
use crate::migrate::schema::TableName;

/// `CHECK (…)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckParts {
    /// What is between the outer parentheses.
    pub(super) expression: String,
    /// Rows that were there before it may break it.
    pub(super) not_valid: bool,
    /// It is written down and not kept (PostgreSQL 18).
    pub(super) not_enforced: bool,
}

/// `FOREIGN KEY (…) REFERENCES …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignKeyParts {
    pub(super) columns: Vec<String>,
    pub(super) refers_to: TableName,
    pub(super) referred: Vec<String>,
    pub(super) match_full: bool,
    pub(super) on_update: Option<String>,
    pub(super) on_delete: Option<String>,
    pub(super) deferrable: Option<String>,
    pub(super) not_valid: bool,
    pub(super) not_enforced: bool,
}

/// Reads a check.
pub(super) fn check(definition: &str) -> Option<CheckParts> {
    let mut text = Scanner { rest: definition };
    if !text.word("CHECK") {
        return None;
    }
    let expression = text.parenthesised()?.to_owned();
    let mut parts = CheckParts { expression, not_valid: false, not_enforced: false };
    loop {
        if text.word("NO") {
            // NO INHERIT is about children, which are tables of their own in a move.
            if !text.word("INHERIT") {
                return None;
            }
        } else if text.word("NOT") {
            match text.negated()? {
                Negated::Valid => parts.not_valid = true,
                Negated::Enforced => parts.not_enforced = true,
                Negated::Deferrable => {}
            }
        } else {
            return text.is_at_end().then_some(parts);
        }
    }
}

/// Reads a foreign key. One with a `PERIOD` (PostgreSQL 18) is `None`.
pub(super) fn foreign_key(definition: &str) -> Option<ForeignKeyParts> {
    let mut text = Scanner { rest: definition };
    if !(text.word("FOREIGN") && text.word("KEY")) {
        return None;
    }
    let columns = text.names()?;
    if !text.word("REFERENCES") {
        return None;
    }
    let schema = text.name()?;
    if !text.symbol('.') {
        return None;
    }
    let name = text.name()?;
    let mut parts = ForeignKeyParts {
        columns,
        refers_to: TableName { schema, name },
        referred: text.names()?,
        match_full: false,
        on_update: None,
        on_delete: None,
        deferrable: None,
        not_valid: false,
        not_enforced: false,
    };
    while !text.is_at_end() {
        if text.word("MATCH") {
            parts.match_full = text.word("FULL");
            if !parts.match_full && !text.word("SIMPLE") {
                return None;
            }
        } else if text.word("ON") {
            let update = text.word("UPDATE");
            if !update && !text.word("DELETE") {
                return None;
            }
            let action = text.action()?;
            if update { parts.on_update = action } else { parts.on_delete = action }
        } else if text.word("DEFERRABLE") {
            parts.deferrable = Some("DEFERRABLE".to_owned());
        } else if text.word("INITIALLY") {
            if text.word("DEFERRED") {
                parts.deferrable = Some("DEFERRABLE INITIALLY DEFERRED".to_owned());
            } else if !text.word("IMMEDIATE") {
                return None;
            }
        } else if text.word("NOT") {
            match text.negated()? {
                Negated::Valid => parts.not_valid = true,
                Negated::Enforced => parts.not_enforced = true,
                Negated::Deferrable => {}
            }
        } else {
            return None;
        }
    }
    Some(parts)
}

enum Negated {
    Valid,
    Enforced,
    Deferrable,
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn is_at_end(&self) -> bool {
        self.rest.trim_start().is_empty()
    }

    /// Takes a keyword. Keywords are in capitals there, and names in capitals are quoted.
    fn word(&mut self, wanted: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(wanted) {
            Some(rest) if !rest.starts_with(is_of_a_name) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn symbol(&mut self, wanted: char) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes a name, quoted or not, and gives it unquoted.
    fn name(&mut self) -> Option<String> {
        self.skip_space();
        let text = self.rest;
        if let Some(quoted) = text.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            while let Some((at, letter)) = chars.next() {
                if letter != '"' {
                    name.push(letter);
                } else if chars.peek().is_some_and(|(_, next)| *next == '"') {
                    chars.next();
                    name.push('"');
                } else {
                    self.rest = &quoted[at + 1..];
                    return Some(name);
                }
            }
            return None;
        }
        let end = text.find(|letter: char| !is_of_a_name(letter)).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        self.rest = rest;
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// Takes `(a, "b c")`.
    fn names(&mut self) -> Option<Vec<String>> {
        if !self.symbol('(') {
            return None;
        }
        let mut names = vec![self.name()?];
        while self.symbol(',') {
            names.push(self.name()?);
        }
        self.symbol(')').then_some(names)
    }

    /// Takes what follows `ON UPDATE` or `ON DELETE`; `Some(None)`: `NO ACTION`.
    fn action(&mut self) -> Option<Option<String>> {
        if self.word("NO") {
            return self.word("ACTION").then_some(None);
        }
        if self.word("RESTRICT") {
            return Some(Some("RESTRICT".to_owned()));
        }
        if self.word("CASCADE") {
            return Some(Some("CASCADE".to_owned()));
        }
        if !self.word("SET") {
            return None;
        }
        let mut action = if self.word("NULL") {
            "SET NULL".to_owned()
        } else if self.word("DEFAULT") {
            "SET DEFAULT".to_owned()
        } else {
            return None;
        };
        // From PostgreSQL 15 only some of the columns may be set.
        self.skip_space();
        if self.rest.starts_with('(') {
            let columns = self.parenthesised()?;
            action.push_str(&format!(" ({columns})"));
        }
        Some(Some(action))
    }

    fn negated(&mut self) -> Option<Negated> {
        if self.word("VALID") {
            Some(Negated::Valid)
        } else if self.word("ENFORCED") {
            Some(Negated::Enforced)
        } else if self.word("DEFERRABLE") {
            Some(Negated::Deferrable)
        } else {
            None
        }
    }

    /// Takes what stands in parentheses and gives it without them. Parentheses in texts and names do not count; a
    /// doubled quote ends a text and begins the next, which comes to the same.
    fn parenthesised(&mut self) -> Option<&'a str> {
        self.skip_space();
        let text = self.rest.strip_prefix('(')?;
        let mut depth = 1_usize;
        let mut quote = None;
        for (at, letter) in text.char_indices() {
            match (quote, letter) {
                (Some(open), letter) => {
                    if letter == open {
                        quote = None;
                    }
                }
                (None, '\'' | '"') => quote = Some(letter),
                (None, '(') => depth += 1,
                (None, ')') => {
                    depth -= 1;
                    if depth == 0 {
                        self.rest = &text[at + 1..];
                        return Some(&text[..at]);
                    }
                }
                (None, _) => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    #[test]
    fn a_plain_foreign_key() {
        let found = foreign_key("FOREIGN KEY (order_id) REFERENCES public.orders(id)").unwrap();
        assert_eq!(found.columns, ["order_id"]);
        assert_eq!(found.refers_to, TableName { schema: "public".into(), name: "orders".into() });
        assert_eq!(found.referred, ["id"]);
        assert_eq!((found.on_update, found.on_delete, found.deferrable), (None, None, None));
        assert!(!found.match_full && !found.not_valid && !found.not_enforced);
    }

    #[test]
    fn a_foreign_key_with_everything() {
        let text = "FOREIGN KEY (a, \"B (x\"\"y), \") REFERENCES \"S.1\".\"t\"(c, d) MATCH FULL ON UPDATE CASCADE \
                    ON DELETE SET NULL (a) DEFERRABLE INITIALLY DEFERRED NOT VALID";
        let found = foreign_key(text).unwrap();
        assert_eq!(found.columns, ["a", "B (x\"y), "]);
        assert_eq!(found.refers_to, TableName { schema: "S.1".into(), name: "t".into() });
        assert_eq!(found.on_update.as_deref(), Some("CASCADE"));
        assert_eq!(found.on_delete.as_deref(), Some("SET NULL (a)"));
        assert_eq!(found.deferrable.as_deref(), Some("DEFERRABLE INITIALLY DEFERRED"));
        assert!(found.match_full && found.not_valid && !found.not_enforced);
    }

    #[test]
    fn no_action_is_nothing_and_an_unknown_form_is_none() {
        let found =
            foreign_key("FOREIGN KEY (a) REFERENCES s.t(b) ON DELETE NO ACTION NOT ENFORCED").unwrap();
        assert_eq!(found.on_delete, None);
        assert!(found.not_enforced);
        for unknown in [
            "FOREIGN KEY (a, PERIOD b) REFERENCES s.t(a, PERIOD b)",
            "FOREIGN KEY (a) REFERENCES t(a)",
            "FOREIGN KEY (a) REFERENCES s.t(a) ON DELETE EXPLODE",
            "FOREIGN KEY (a) REFERENCES s.t(a) SOMETHING NEW",
            "FOREIGN KEY (a",
            "CHECK (a)",
            "",
        ] {
            assert_eq!(foreign_key(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn checks_keep_their_inner_parentheses() {
        let found =
            check("CHECK (((price > (0)::numeric) AND (note <> ')'::text))) NO INHERIT NOT VALID").unwrap();
        assert_eq!(found.expression, "((price > (0)::numeric) AND (note <> ')'::text))");
        assert!(found.not_valid && !found.not_enforced);
        assert_eq!(
            check("CHECK ((\"a)\" <> 'it''s )'::text))").unwrap().expression,
            "(\"a)\" <> 'it''s )'::text)"
        );
        assert_eq!(check("CHECK ((a > 0)"), None);
        assert_eq!(check("CHECK ((a > 0)) WITH LOVE"), None);
    }

    proptest! {
        #[test]
        fn any_name_is_read_back(
            column in "[^\0]{1,20}", schema in "[^\0]{1,20}", table in "[^\0]{1,20}", referred in "[^\0]{1,20}",
        ) {
            let text = format!(
                "FOREIGN KEY ({}) REFERENCES {}.{}({}) ON DELETE CASCADE",
                quoted(&column), quoted(&schema), quoted(&table), quoted(&referred)
            );
            let found = foreign_key(&text).unwrap();
            prop_assert_eq!(found.columns, vec![column]);
            prop_assert_eq!(found.refers_to, TableName { schema, name: table });
            prop_assert_eq!(found.referred, vec![referred]);
        }

        #[test]
        fn no_text_panics(text in "(CHECK|FOREIGN KEY)? ?[ -~é]{0,40}") {
            let _ = check(&text);
            let _ = foreign_key(&text);
        }
    }
}
