//! MySQL's expressions → PostgreSQL's: defaults, computed columns, checks, and what indexes and views are made of.
//!
//! Goes in: an expression in MySQL's words (a text in quotes, names in backticks) and the columns that it may name.
//! Comes out: the same in PostgreSQL's, or `Err` with the reason as the rest of a sentence ("it uses `rand()`"). Always
//! holds: only what means the same is translated, and every type is checked, so that PostgreSQL takes the statement;
//! nothing is passed through unread. What it does not do: division (which is another one here), regular expressions,
//! dates' arithmetic, JSON paths, subqueries, casts.

use super::functions::{WITHOUT_PARENTHESES, call, remainder};
use super::layout::TargetColumn;
use super::mysql_lexer::{Token, tokens};
use super::typed::{Ty, Typed, byte_string, comparable, fit, united};
use crate::migrate::quote::identifier;

/// An expression nested deeper than this is refused.
const MOST_DEPTH: usize = 100;

/// What an expression may use.
#[derive(Debug, Clone)]
pub(super) struct Scope<'a> {
    /// The columns that it may name.
    pub(super) columns: &'a [TargetColumn],
    /// What may stand before a column's name: `[["t"], ["shop", "t"]]`.
    pub(super) prefixes: Vec<Vec<String>>,
    /// Whether it may use the clock and make UUIDs.
    pub(super) volatile: bool,
    /// Whether it may name computed columns.
    pub(super) computed: bool,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) sql: String,
    /// Whether it compares texts, which PostgreSQL does letter by letter.
    pub(super) compares_text: bool,
}

/// A column's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DefaultValue {
    /// `None`: NULL.
    pub(super) sql: Option<String>,
    /// Whether MySQL sets it anew at every update.
    pub(super) on_update: bool,
}

/// The default of a column with that type in the target.
pub(super) fn default(expression: &str, target: &str) -> Result<DefaultValue, String> {
    let mut tokens = tokens(expression)?;
    let update = tokens.windows(2).position(|pair| pair[0].is_word("on") && pair[1].is_word("update"));
    if let Some(at) = update {
        tokens.truncate(at);
    }
    let on_update = update.is_some();
    let is_null = tokens.len() == 1 && tokens[0].is_word("null");
    if is_null || (on_update && tokens.is_empty()) {
        return Ok(DefaultValue { sql: None, on_update });
    }
    let scope = Scope { columns: &[], prefixes: Vec::new(), volatile: true, computed: false };
    let value = Parser::new(&tokens, &scope).whole()?;
    Ok(DefaultValue { sql: Some(fit(&value, target, false)?), on_update })
}

/// What computes a column with that type in the target.
pub(super) fn generation(expression: &str, scope: &Scope<'_>, target: &str) -> Result<String, String> {
    let tokens = tokens(expression)?;
    let value = Parser::new(&tokens, scope).whole()?;
    fit(&value, target, true)
}

/// A check's condition.
pub(super) fn condition(expression: &str, scope: &Scope<'_>) -> Result<Condition, String> {
    let tokens = tokens(expression)?;
    let mut parser = Parser::new(&tokens, scope);
    let sql = parser.whole()?.condition()?;
    Ok(Condition { sql, compares_text: parser.compares_text })
}

/// What an index is over.
pub(super) fn indexed(expression: &str, scope: &Scope<'_>) -> Result<String, String> {
    let tokens = tokens(expression)?;
    let value = Parser::new(&tokens, scope).whole()?;
    match value.ty {
        Ty::Literal | Ty::Null | Ty::Other => Err("it has no type that an index is over".to_owned()),
        _ => Ok(value.sql),
    }
}

type Parsed = Result<Typed, String>;

/// Reads tokens and writes PostgreSQL's words.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    scope: &'a Scope<'a>,
    pub(super) compares_text: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn new(tokens: &'a [Token], scope: &'a Scope<'a>) -> Self {
        Self { tokens, at: 0, depth: 0, scope, compares_text: false }
    }

    /// One expression, and nothing after it.
    pub(super) fn whole(&mut self) -> Parsed {
        let value = self.expression()?;
        self.end().map(|()| value)
    }

    /// Nothing follows.
    pub(super) fn end(&self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(token) => Err(format!("it has {} where it should end", token.shown())),
        }
    }

    pub(super) fn expression(&mut self) -> Parsed {
        self.deeper(Self::disjunction)
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn advance(&mut self) -> Option<&'a Token> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token)
    }

    /// All that was not read.
    pub(super) fn rest(&self) -> &'a [Token] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    /// Takes that word, if it is next.
    pub(super) fn word(&mut self, wanted: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_word(wanted));
        self.at += usize::from(found);
        found
    }

    /// Takes that symbol, if it is next.
    pub(super) fn symbol(&mut self, wanted: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_symbol(wanted));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        if self.symbol(wanted) || self.word(wanted) {
            return Ok(());
        }
        Err(self.peek().map_or_else(
            || "it ends too early".to_owned(),
            |token| format!("it has {} where {wanted} should be", token.shown()),
        ))
    }

    fn deeper(&mut self, parse: fn(&mut Self) -> Parsed) -> Parsed {
        if self.depth >= MOST_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn disjunction(&mut self) -> Parsed {
        let mut left = self.conjunction()?;
        while self.word("or") {
            let right = self.conjunction()?;
            left = Typed::new(format!("({} OR {})", left.condition()?, right.condition()?), Ty::Bool);
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Parsed {
        let mut left = self.negation()?;
        while self.word("and") || self.symbol("&&") {
            let right = self.negation()?;
            left = Typed::new(format!("({} AND {})", left.condition()?, right.condition()?), Ty::Bool);
        }
        Ok(left)
    }

    fn negation(&mut self) -> Parsed {
        if !self.word("not") {
            return self.predicate();
        }
        let inner = self.deeper(Self::negation)?;
        Ok(Typed::new(format!("(NOT {})", inner.condition()?), Ty::Bool))
    }

    fn predicate(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            if let Some(operator) = self.comparison() {
                let right = self.sum()?;
                let (own, other) = self.compared(&left, &right)?;
                left = Typed::new(format!("({own} {operator} {other})"), Ty::Bool);
                continue;
            }
            if self.word("is") {
                left = self.state_of(&left)?;
                continue;
            }
            let not = if self.word("not") { "NOT " } else { "" };
            left = if self.word("in") {
                self.one_of(&left, not)?
            } else if self.word("between") {
                self.between(&left, not)?
            } else if self.word("like") {
                self.like(&left, not)?
            } else if not.is_empty() {
                return Ok(left);
            } else {
                return Err("it has NOT where nothing is to be negated".to_owned());
            };
        }
    }

    fn comparison(&mut self) -> Option<&'static str> {
        let Some(Token::Symbol(symbol)) = self.peek() else { return None };
        let operator = match *symbol {
            "=" => "=",
            "<>" | "!=" => "<>",
            "<" => "<",
            "<=" => "<=",
            ">" => ">",
            ">=" => ">=",
            "<=>" => "IS NOT DISTINCT FROM",
            _ => return None,
        };
        self.at += 1;
        Some(operator)
    }

    fn compared(&mut self, left: &Typed, right: &Typed) -> Result<(String, String), String> {
        self.compares_text |= left.ty == Ty::Text || right.ty == Ty::Text;
        comparable(left, right)
    }

    fn state_of(&mut self, left: &Typed) -> Parsed {
        let not = if self.word("not") { "NOT " } else { "" };
        let sql = if self.word("null") {
            format!("({} IS {not}NULL)", left.sql)
        } else if self.word("true") {
            format!("({} IS {not}TRUE)", left.condition()?)
        } else if self.word("false") {
            format!("({} IS {not}FALSE)", left.condition()?)
        } else {
            return Err("it has IS before something that is neither NULL nor TRUE nor FALSE".to_owned());
        };
        Ok(Typed::new(sql, Ty::Bool))
    }

    fn one_of(&mut self, left: &Typed, not: &str) -> Parsed {
        self.expect("(")?;
        let mut others = Vec::new();
        loop {
            let right = self.expression()?;
            let (own, other) = self.compared(left, &right)?;
            if own != left.sql {
                return Err("it looks for a constant among columns".to_owned());
            }
            others.push(other);
            if !self.symbol(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(Typed::new(format!("({} {not}IN ({}))", left.sql, others.join(", ")), Ty::Bool))
    }

    fn between(&mut self, left: &Typed, not: &str) -> Parsed {
        let low = self.sum()?;
        self.expect("and")?;
        let high = self.sum()?;
        let (own, low) = self.compared(left, &low)?;
        let (again, high) = self.compared(left, &high)?;
        if own != left.sql || again != left.sql {
            return Err("it looks for a constant between columns".to_owned());
        }
        Ok(Typed::new(format!("({own} {not}BETWEEN {low} AND {high})"), Ty::Bool))
    }

    fn like(&mut self, left: &Typed, not: &str) -> Parsed {
        let pattern = self.sum()?;
        if left.ty != Ty::Text || !matches!(pattern.ty, Ty::Text | Ty::Literal) {
            return Err("it uses LIKE on what is no text".to_owned());
        }
        self.compares_text = true;
        Ok(Typed::new(format!("({} {not}LIKE {})", left.sql, pattern.sql), Ty::Bool))
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let operator = if self.symbol("+") {
                "+"
            } else if self.symbol("-") {
                "-"
            } else {
                return Ok(left);
            };
            let right = self.product()?;
            left = calculated(&left, operator, &right)?;
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            if self.symbol("*") {
                let right = self.unary()?;
                left = calculated(&left, "*", &right)?;
            } else if self.symbol("%") || self.word("mod") {
                let right = self.unary()?;
                let found = remainder(&left, &right);
                left = found.ok_or_else(|| "it takes the remainder of what is no whole number".to_owned())?;
            } else if self.symbol("/") || self.word("div") {
                return Err("it divides, and PostgreSQL rounds otherwise".to_owned());
            } else {
                return Ok(left);
            }
        }
    }

    fn unary(&mut self) -> Parsed {
        if !self.symbol("-") {
            return self.primary();
        }
        let inner = self.deeper(Self::unary)?;
        match (inner.ty, &inner.value) {
            (Ty::Integer | Ty::Number, Some(digits)) if !digits.starts_with('-') => {
                Ok(Typed::number(&format!("-{digits}")))
            }
            (Ty::Integer | Ty::Number, _) => Ok(Typed::new(format!("(- {})", inner.sql), inner.ty)),
            _ => Err("it negates what is no number".to_owned()),
        }
    }

    fn primary(&mut self) -> Parsed {
        let Some(token) = self.advance() else { return Err("it ends too early".to_owned()) };
        match token {
            Token::Number(digits) => Ok(Typed::number(digits)),
            Token::Text(text) => Ok(Typed::literal(text)),
            Token::Bits(digits) => Ok(Typed::bits(digits)),
            Token::Hex(digits) => Ok(Typed::new(byte_string(digits), Ty::Bytes)),
            Token::Name(name) => self.column(name),
            Token::Word(word) => self.after_word(word),
            Token::Symbol("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol(symbol) => Err(format!("it has {symbol} where a value should be")),
        }
    }

    fn after_word(&mut self, word: &str) -> Parsed {
        if word.starts_with('_')
            && let Some(Token::Text(text)) = self.peek()
        {
            // `_utf8mb4'a'`: the text has been read by now, whatever it was written in. Bytes are no text.
            self.at += 1;
            return if word == "_binary" {
                Err("it has bytes as a text".to_owned())
            } else {
                Ok(Typed::literal(text))
            };
        }
        match word {
            "null" => Ok(Typed::new("NULL", Ty::Null)),
            "true" => Ok(Typed::number("1")),
            "false" => Ok(Typed::number("0")),
            "case" => self.case(),
            _ if self.symbol("(") => self.call(word),
            _ if WITHOUT_PARENTHESES.contains(&word) => call(word, &[], self.scope.volatile),
            _ => self.column(word),
        }
    }

    fn call(&mut self, name: &str) -> Parsed {
        let mut arguments = Vec::new();
        if !self.symbol(")") {
            loop {
                arguments.push(self.expression()?);
                if !self.symbol(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        match (name, arguments.as_slice()) {
            ("if", [condition, yes, no]) => chosen(&[condition.condition()?], &[yes.clone(), no.clone()]),
            _ => call(name, &arguments, self.scope.volatile),
        }
    }

    /// `CASE WHEN … THEN … ELSE … END`; its word was read.
    fn case(&mut self) -> Parsed {
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        while self.word("when") {
            conditions.push(self.expression()?.condition()?);
            self.expect("then")?;
            values.push(self.expression()?);
        }
        if conditions.is_empty() {
            return Err("it has a CASE of values".to_owned());
        }
        let other = if self.word("else") { self.expression()? } else { Typed::new("NULL", Ty::Null) };
        values.push(other);
        self.expect("end")?;
        chosen(&conditions, &values)
    }

    fn column(&mut self, first: &str) -> Parsed {
        let mut name = first.to_owned();
        let mut prefix = Vec::new();
        while self.symbol(".") {
            let Some(Token::Name(next) | Token::Word(next)) = self.advance() else {
                return Err(format!("it has {name} before no name"));
            };
            prefix.push(std::mem::replace(&mut name, next.clone()));
        }
        let may_stand = |allowed: &Vec<String>| {
            allowed.len() == prefix.len()
                && allowed.iter().zip(&prefix).all(|(one, other)| same_name(one, other))
        };
        if !prefix.is_empty() && !self.scope.prefixes.iter().any(may_stand) {
            return Err(format!("it names {}.{name}, which is of another table", prefix.join(".")));
        }
        let Some(column) = self.scope.columns.iter().find(|column| same_name(&column.source, &name)) else {
            return Err(format!("it names {name}, which is no column here"));
        };
        if column.computed && !self.scope.computed {
            return Err(format!("it names {name}, which is computed itself"));
        }
        Ok(Typed::new(identifier(&column.target), Ty::of(&column.mapped.target)))
    }
}

/// MySQL finds a column whatever the case of its name.
pub(super) fn same_name(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// A sum, a difference or a product.
fn calculated(left: &Typed, operator: &str, right: &Typed) -> Parsed {
    let ty = match (left.ty, right.ty) {
        (Ty::Integer, Ty::Integer) => Ty::Integer,
        (Ty::Integer | Ty::Number, Ty::Integer | Ty::Number) => Ty::Number,
        _ => return Err("it calculates with what is no number".to_owned()),
    };
    Ok(Typed::new(format!("({} {operator} {})", widened(left), widened(right)), ty))
}

/// MySQL calculates with 64 bits whatever the columns have.
fn widened(number: &Typed) -> String {
    if number.ty == Ty::Integer && number.value.is_none() {
        format!("{}::bigint", number.sql)
    } else {
        number.sql.clone()
    }
}

/// The first value whose condition holds, or the last one.
fn chosen(conditions: &[String], values: &[Typed]) -> Parsed {
    let (fitted, ty) = united(values)?;
    let cases: Vec<String> = conditions
        .iter()
        .zip(&fitted)
        .map(|(condition, value)| format!("WHEN {condition} THEN {value}"))
        .collect();
    let other = fitted.last().map_or("NULL", String::as_str);
    Ok(Typed::new(format!("(CASE {} ELSE {other} END)", cases.join(" ")), ty))
}

#[cfg(test)]
mod tests;
