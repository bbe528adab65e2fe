//! Views.
//!
//! Goes in: the layout. Comes out: `CREATE VIEW`, in an order in which each finds what it reads. Always holds: a view
//! of PostgreSQL's keeps its query; of MySQL's only one is translated that reads columns of one table, with a
//! condition perhaps; any other is left out and told. Whether the functions that a query names exist, only the server
//! can say. A materialised view's indexes come right behind it: it is filled as it is made.

use super::expression::{Parser, Scope, same_name};
use super::indexes::{create, tail_of_view};
use super::layout::{Laid, Layout};
use super::mysql_lexer::{Token, tokens};
use super::tables::said;
use super::typed::{Ty, Typed};
use super::{Kind, Out, Phase};
use crate::migrate::quote::{MAX_NAME_BYTES, clipped, identifier, literal, qualified, shown};
use crate::migrate::schema::{TableName, View};
use crate::migrate::types::Engine;

/// Makes the views.
pub(super) fn views(layout: &Layout<'_>, out: &mut Out) {
    for ((view, name), index_names) in layout.schema.views.iter().zip(&layout.views).zip(&layout.view_indexes)
    {
        let query = match layout.options.engine {
            Engine::Postgres => layout.renaming.apply(view.query.trim().trim_end_matches(';')),
            Engine::MySql => of_one_table(layout, view),
        };
        let about = format!("view {}", shown(&view.name));
        let query = match query {
            Ok(query) => query,
            Err(why) => {
                out.note(None, about, format!("is left out: {why}"));
                continue;
            }
        };
        let own = qualified(name);
        let with = view.options.as_ref().map(|options| format!(" WITH ({options})")).unwrap_or_default();
        let (what, sql) = if view.materialized {
            ("MATERIALIZED VIEW", format!("CREATE MATERIALIZED VIEW IF NOT EXISTS {own}{with} AS {query}"))
        } else {
            ("VIEW", format!("CREATE OR REPLACE VIEW {own}{with} AS {query}"))
        };
        out.say(Phase::Last, Kind::View, None, sql, format!("view {}", shown(name)));
        indexes(layout, view, (name, index_names), out);
        if let Some(comment) = said(view.comment.as_deref()) {
            let sql = format!("COMMENT ON {what} {own} IS {}", literal(comment));
            out.say(Phase::Last, Kind::Comment, None, sql, format!("comment on view {}", shown(name)));
        }
    }
}

/// Builds a materialised view's indexes, of its rows that are there. `names`: the view's and theirs.
fn indexes(layout: &Layout<'_>, view: &View, names: (&TableName, &[String]), out: &mut Out) {
    let (own, index_names) = names;
    for (index, name) in view.indexes.iter().zip(index_names) {
        if !index.unique && !layout.options.indexes {
            continue;
        }
        match tail_of_view(layout, index) {
            Ok(tail) => {
                out.builds(own, name, false);
                let sql = create(own, index.unique, name, &tail);
                out.say(Phase::Last, Kind::Index, None, sql, format!("index {name} of {}", shown(own)));
            }
            Err(why) => out.note(None, format!("index {}", index.name), format!("is left out: {why}")),
        }
    }
}

/// `select … from one_table [where …]`, in PostgreSQL's words.
fn of_one_table(layout: &Layout<'_>, view: &View) -> Result<String, String> {
    let tokens = tokens(&view.query)?;
    let from = at_top(&tokens, "from").ok_or_else(|| "it reads no table".to_owned())?;
    let (list, rest) = (tokens.get(1..from).unwrap_or_default(), &tokens[from + 1..]);
    if !tokens.first().is_some_and(|token| token.is_word("select")) || list.is_empty() {
        return Err("it is no plain SELECT".to_owned());
    }
    let source = Source::read(layout, view, rest)?;
    let scope = Scope {
        columns: &source.table.columns,
        prefixes: source.prefixes.clone(),
        volatile: true,
        computed: true,
    };
    let mut columns = Vec::new();
    for item in between_commas(list) {
        columns.push(column(&scope, item)?);
    }
    let mut sql = format!("SELECT {} FROM {}", columns.join(", "), qualified(&source.table.name));
    if !source.condition.is_empty() {
        let mut parser = Parser::new(source.condition, &scope);
        let condition = parser.whole()?.condition()?;
        if parser.compares_text {
            return Err("it compares texts, which PostgreSQL does letter by letter".to_owned());
        }
        sql.push_str(&format!(" WHERE {condition}"));
    }
    Ok(sql)
}

/// What a view reads.
struct Source<'l> {
    table: &'l Laid<'l>,
    /// What may stand before a column's name.
    prefixes: Vec<Vec<String>>,
    condition: &'l [Token],
}

impl<'l> Source<'l> {
    /// What follows FROM.
    fn read(layout: &'l Layout<'_>, view: &View, rest: &'l [Token]) -> Result<Self, String> {
        let empty = Scope { columns: &[], prefixes: Vec::new(), volatile: false, computed: false };
        let mut parser = Parser::new(rest, &empty);
        let mut path = vec![name(&mut parser)?];
        while parser.symbol(".") {
            path.push(name(&mut parser)?);
        }
        let (schema, table) = match path.as_slice() {
            [table] => (view.name.schema.as_str(), table.as_str()),
            [schema, table] => (schema.as_str(), table.as_str()),
            _ => return Err("it reads something of three names".to_owned()),
        };
        let laid = layout.tables.iter().find(|laid| {
            same_name(&laid.source.name.schema, schema) && same_name(&laid.source.name.name, table)
        });
        let laid =
            laid.ok_or_else(|| format!("it reads {schema}.{table}, which is no table that is moved"))?;
        let mut prefixes = vec![vec![table.to_owned()], vec![schema.to_owned(), table.to_owned()]];
        let named = parser.word("as");
        if named || parser.peek().is_some_and(|token| matches!(token, Token::Name(_))) {
            prefixes = vec![vec![name(&mut parser)?]];
        }
        let has_condition = parser.word("where");
        if !has_condition {
            parser.end()?;
        }
        let condition = &rest[rest.len() - parser.rest().len()..];
        if has_condition && condition.is_empty() {
            return Err("it has a WHERE without a condition".to_owned());
        }
        Ok(Self { table: laid, prefixes, condition })
    }
}

fn name(parser: &mut Parser<'_>) -> Result<String, String> {
    match parser.advance() {
        Some(Token::Name(name)) => Ok(name.clone()),
        Some(Token::Word(name)) if name != "where" => Ok(name.clone()),
        _ => Err("it reads more than one table".to_owned()),
    }
}

/// `expression [AS name]`.
fn column(scope: &Scope<'_>, item: &[Token]) -> Result<String, String> {
    let mut parser = Parser::new(item, scope);
    let value = parser.expression()?;
    if parser.compares_text {
        return Err("it compares texts, which PostgreSQL does letter by letter".to_owned());
    }
    let alias = if parser.word("as") {
        Some(name(&mut parser)?)
    } else {
        match item.last() {
            Some(Token::Name(name) | Token::Word(name)) => Some(name.clone()),
            _ => None,
        }
    };
    parser.end()?;
    let alias = alias.ok_or_else(|| "it has a column without a name".to_owned())?;
    Ok(format!("{} AS {}", with_type(&value), identifier(clipped(&alias, MAX_NAME_BYTES))))
}

/// A column of a view must have a type.
fn with_type(value: &Typed) -> String {
    match value.ty {
        Ty::Literal | Ty::Null => format!("{}::text", value.sql),
        _ => value.sql.clone(),
    }
}

/// The place of a word outside of parentheses.
fn at_top(tokens: &[Token], word: &str) -> Option<usize> {
    let mut depth = 0_i32;
    tokens.iter().position(|token| {
        depth += i32::from(token.is_symbol("(")) - i32::from(token.is_symbol(")"));
        depth == 0 && token.is_word(word)
    })
}

fn between_commas(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_i32;
    tokens
        .split(|token| {
            depth += i32::from(token.is_symbol("(")) - i32::from(token.is_symbol(")"));
            depth == 0 && token.is_symbol(",")
        })
        .collect()
}
