//! PostgreSQL's expressions with their types, as far as a statement's validity depends on them.
//!
//! Goes in: pieces of an expression that was MySQL's. Comes out: the same pieces so written that PostgreSQL, which
//! compares no number with a text and no truth value with a number, takes them. Always holds: what cannot be made to
//! fit is an error with its reason; a literal is checked before it is believed.

use crate::migrate::quote;

/// What kind of value an expression has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ty {
    Bool,
    Integer,
    Number,
    Text,
    /// A date, or a timestamp without a time zone.
    Moment,
    /// A timestamp with a time zone.
    MomentTz,
    /// An interval.
    Span,
    Json,
    Bytes,
    Bits,
    Uuid,
    /// A type that no expression here is written for.
    Other,
    /// A text in quotes: its type is what it is compared with.
    Literal,
    Null,
}

impl Ty {
    /// The kind of a type as `format_type` writes it.
    pub(super) fn of(target: &str) -> Self {
        match target.split('(').next().unwrap_or_default().trim() {
            "boolean" => Self::Bool,
            "smallint" | "integer" | "bigint" => Self::Integer,
            "numeric" | "real" | "double precision" => Self::Number,
            "text" | "character varying" | "character" => Self::Text,
            "date" => Self::Moment,
            "timestamp" if target.ends_with(" with time zone") => Self::MomentTz,
            "timestamp" => Self::Moment,
            "interval" => Self::Span,
            "jsonb" => Self::Json,
            "bytea" => Self::Bytes,
            "bit" => Self::Bits,
            "uuid" => Self::Uuid,
            _ => Self::Other,
        }
    }

    fn is_numeric(self) -> bool {
        matches!(self, Self::Integer | Self::Number)
    }
}

/// An expression in PostgreSQL's words, in parentheses where it has more than one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) sql: String,
    pub(super) ty: Ty,
    /// What a constant says: a number's digits, a text's letters, a bit string's digits.
    pub(super) value: Option<String>,
}

impl Typed {
    pub(super) fn new(sql: impl Into<String>, ty: Ty) -> Self {
        Self { sql: sql.into(), ty, value: None }
    }

    /// A text in quotes.
    pub(super) fn literal(text: &str) -> Self {
        Self { sql: quote::literal(text), ty: Ty::Literal, value: Some(text.to_owned()) }
    }

    /// A number as it is written.
    pub(super) fn number(digits: &str) -> Self {
        let ty = if digits.parse::<i64>().is_ok() { Ty::Integer } else { Ty::Number };
        Self { sql: digits.to_owned(), ty, value: Some(digits.to_owned()) }
    }

    /// A bit string.
    pub(super) fn bits(digits: &str) -> Self {
        Self { sql: format!("B'{digits}'"), ty: Ty::Bits, value: Some(digits.to_owned()) }
    }

    fn text(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }

    /// As a condition: MySQL takes every number but 0 as true.
    pub(super) fn condition(&self) -> Result<String, String> {
        match self.ty {
            Ty::Bool | Ty::Null => Ok(self.sql.clone()),
            Ty::Integer | Ty::Number => Ok(format!("({} <> 0)", self.sql)),
            _ => Err("it takes something as true or false that is no number".to_owned()),
        }
    }

    /// As a truth value, where it is one, or is 0 or 1.
    fn truth(&self) -> Option<String> {
        match (self.ty, self.text()) {
            (Ty::Bool, _) => Some(self.sql.clone()),
            (Ty::Integer | Ty::Literal | Ty::Bits, "0") => Some("false".to_owned()),
            (Ty::Integer | Ty::Literal | Ty::Bits, "1") => Some("true".to_owned()),
            _ => None,
        }
    }
}

/// Both sides of a comparison, so that PostgreSQL has an operator for them.
pub(super) fn comparable(left: &Typed, right: &Typed) -> Result<(String, String), String> {
    let as_they_are = Some((left.sql.clone(), right.sql.clone()));
    let found = match (left.ty, right.ty) {
        (Ty::Null, _) | (_, Ty::Null) | (Ty::Literal, Ty::Literal) => as_they_are,
        (Ty::Bool, _) | (_, Ty::Bool) => left.truth().zip(right.truth()),
        (Ty::Literal, other) => compared_literal(left, other).map(|sql| (sql, right.sql.clone())),
        (other, Ty::Literal) => compared_literal(right, other).map(|sql| (left.sql.clone(), sql)),
        (one, other) if one.is_numeric() && other.is_numeric() => as_they_are,
        (Ty::Other, _) => None,
        (one, other) if one == other => as_they_are,
        _ => None,
    };
    found.ok_or_else(|| "it compares what PostgreSQL does not compare".to_owned())
}

fn compared_literal(literal: &Typed, with: Ty) -> Option<String> {
    match with {
        Ty::Json | Ty::Bits | Ty::Other => None,
        with => fit_literal(literal.text(), with),
    }
}

/// Several values of one expression (of a CASE, a COALESCE) and the kind that they have together.
pub(super) fn united(values: &[Typed]) -> Result<(Vec<String>, Ty), String> {
    let ty = if values.iter().all(|value| matches!(value.ty, Ty::Null | Ty::Integer)) {
        Ty::Integer
    } else if values.iter().all(|value| value.ty == Ty::Null || value.ty.is_numeric()) {
        Ty::Number
    } else if values.iter().all(|value| matches!(value.ty, Ty::Null | Ty::Text | Ty::Literal)) {
        Ty::Text
    } else {
        let first = values.iter().find(|value| !matches!(value.ty, Ty::Null | Ty::Literal));
        first.map_or(Ty::Other, |value| value.ty)
    };
    let fitted: Option<Vec<String>> = values
        .iter()
        .map(|value| match value.ty {
            Ty::Null => Some("NULL".to_owned()),
            _ if ty == Ty::Bool => value.truth(),
            Ty::Literal => compared_literal(value, ty),
            own if own == ty || (ty == Ty::Number && own == Ty::Integer) => Some(value.sql.clone()),
            _ => None,
        })
        .collect();
    match fitted {
        Some(fitted) if ty != Ty::Other => Ok((fitted, ty)),
        _ => Err("its values are of several types".to_owned()),
    }
}

/// A value for a column of that type. `immutable`: as a computed column needs it, depending on no setting.
pub(super) fn fit(value: &Typed, target: &str, immutable: bool) -> Result<String, String> {
    let sql = &value.sql;
    let fitted = match (value.ty, Ty::of(target)) {
        (Ty::Null, _) => Some("NULL".to_owned()),
        (Ty::Literal, wanted) => fit_literal(value.text(), wanted),
        (Ty::Bits, Ty::Bool) => value.value.as_deref().map(|digits| digits.contains('1').to_string()),
        (Ty::Bits, Ty::Bits) => value.value.as_deref().and_then(|digits| fit_bits(digits, target)),
        (Ty::Integer | Ty::Number, Ty::Text) => value.value.as_deref().map(quote::literal),
        (Ty::Integer, Ty::Bool) => value.truth().or_else(|| value.condition().ok()),
        (own, wanted) if own.is_numeric() && wanted.is_numeric() => Some(sql.clone()),
        (Ty::Bool, wanted) if wanted.is_numeric() => Some(format!("({sql})::integer")),
        (Ty::Uuid, Ty::Text) => Some(format!("({sql})::text")),
        (Ty::Moment, Ty::MomentTz) | (Ty::MomentTz, Ty::Moment) if !immutable => Some(sql.clone()),
        (own, wanted) if own == wanted && own != Ty::Other => Some(sql.clone()),
        _ => None,
    };
    fitted.ok_or_else(|| format!("its value is none for the type {target}"))
}

/// A text in quotes, as a value of that kind; `None`: it is none.
fn fit_literal(text: &str, wanted: Ty) -> Option<String> {
    let number = text.trim();
    match wanted {
        Ty::Bytes => {
            let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            Some(byte_string(&digits))
        }
        // No text of PostgreSQL's can hold it.
        _ if text.contains('\0') => None,
        Ty::Bool => match number {
            "0" => Some("false".to_owned()),
            "1" => Some("true".to_owned()),
            _ => None,
        },
        Ty::Integer => number.parse::<i64>().ok().map(|number| number.to_string()),
        Ty::Number => number.parse::<f64>().is_ok_and(f64::is_finite).then(|| number.to_owned()),
        Ty::Text | Ty::Span | Ty::Json | Ty::Uuid => Some(quote::literal(text)),
        Ty::Moment | Ty::MomentTz => (!is_zero_date(text)).then(|| quote::literal(text)),
        Ty::Bits | Ty::Other | Ty::Literal | Ty::Null => None,
    }
}

/// Bytes from their hexadecimal digits.
pub(super) fn byte_string(digits: &str) -> String {
    format!("{}::bytea", quote::literal(&format!("\\x{digits}")))
}

/// MySQL fills up from the left; PostgreSQL wants as many as the type has.
fn fit_bits(digits: &str, target: &str) -> Option<String> {
    let length: usize = target.strip_prefix("bit(")?.strip_suffix(')')?.parse().ok()?;
    (digits.len() <= length).then(|| format!("B'{digits:0>length$}'"))
}

/// `0000-00-00`, `2020-00-10`, `2020-01-00`, with a time after it or not.
fn is_zero_date(text: &str) -> bool {
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    part(0, 4) == "0000" || part(5, 7) == "00" || part(8, 10) == "00"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(ty: Ty) -> Typed {
        Typed::new("\"c\"", ty)
    }

    #[test]
    fn kinds_of_types() {
        for (target, ty) in [
            ("numeric(20)", Ty::Number),
            ("character varying(20)", Ty::Text),
            ("timestamp(0) without time zone", Ty::Moment),
            ("timestamp(0) with time zone", Ty::MomentTz),
            ("bit(3)", Ty::Bits),
            ("inet", Ty::Other),
        ] {
            assert_eq!(Ty::of(target), ty, "{target}");
        }
    }

    #[test]
    fn both_sides_are_made_alike() {
        let sides = |left: &Typed, right: &Typed| comparable(left, right).map(|(a, b)| format!("{a} = {b}"));
        assert_eq!(sides(&column(Ty::Bool), &Typed::number("1")).unwrap(), "\"c\" = true");
        assert_eq!(sides(&Typed::literal("0"), &column(Ty::Bool)).unwrap(), "false = \"c\"");
        assert_eq!(sides(&column(Ty::Integer), &Typed::literal("18")).unwrap(), "\"c\" = 18");
        assert_eq!(sides(&column(Ty::Integer), &Typed::number("1.5")).unwrap(), "\"c\" = 1.5");
        assert_eq!(sides(&column(Ty::Text), &Typed::literal("18")).unwrap(), "\"c\" = '18'");
        assert!(sides(&column(Ty::Text), &Typed::number("18")).is_err());
        assert!(sides(&column(Ty::Bool), &Typed::number("2")).is_err());
        assert!(sides(&column(Ty::Integer), &Typed::literal("many")).is_err());
        assert!(sides(&column(Ty::Moment), &Typed::literal("0000-00-00")).is_err());
        assert!(sides(&column(Ty::Other), &column(Ty::Other)).is_err());
    }

    #[test]
    fn values_fit_columns_or_say_why_not() {
        for (value, target, sql) in [
            (Typed::literal("abc"), "text", "'abc'"),
            (Typed::literal("5"), "smallint", "5"),
            (Typed::literal("0.00"), "numeric(10,2)", "0.00"),
            (Typed::literal("1"), "boolean", "true"),
            (Typed::number("0"), "boolean", "false"),
            (Typed::number("7"), "character varying(5)", "'7'"),
            (Typed::bits("0"), "boolean", "false"),
            (Typed::bits("101"), "bit(8)", "B'00000101'"),
            (Typed::literal("2020-01-31"), "date", "'2020-01-31'"),
            (Typed::literal("ab"), "bytea", "E'\\\\x6162'::bytea"),
            (Typed::new("(a < b)", Ty::Bool), "smallint", "((a < b))::integer"),
            (Typed::new("NULL", Ty::Null), "date", "NULL"),
        ] {
            assert_eq!(fit(&value, target, true).unwrap(), sql);
        }
        for (value, target) in [
            (Typed::literal("0000-00-00 00:00:00"), "timestamp(0) without time zone"),
            (Typed::literal("2020-00-01"), "date"),
            (Typed::literal("x"), "integer"),
            (Typed::literal("inf"), "double precision"),
            (Typed::literal("a\0b"), "text"),
            (Typed::bits("111"), "bit(2)"),
            (column(Ty::MomentTz), "date"),
            (column(Ty::Text), "integer"),
        ] {
            assert!(fit(&value, target, true).is_err(), "{value:?} {target}");
        }
        assert_eq!(fit(&column(Ty::MomentTz), "date", false).unwrap(), "\"c\"");
    }

    #[test]
    fn values_of_one_expression_get_one_type() {
        let (values, ty) =
            united(&[column(Ty::Text), Typed::literal("x"), Typed::new("NULL", Ty::Null)]).unwrap();
        assert_eq!((values.join(","), ty), ("\"c\",'x',NULL".to_owned(), Ty::Text));
        assert_eq!(united(&[Typed::number("1"), Typed::number("2.5")]).unwrap().1, Ty::Number);
        assert_eq!(united(&[column(Ty::Bool), Typed::number("0")]).unwrap().0, ["\"c\"", "false"]);
        assert!(united(&[column(Ty::Text), Typed::number("1")]).is_err());
        assert!(united(&[column(Ty::Moment), column(Ty::Text)]).is_err());
    }
}
