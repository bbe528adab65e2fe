//! One text for a value, whichever side writes it, and one text for a row or a key.
//!
//! In: a column's type on both sides. Out: the expression that writes its value, in the words of either engine, and
//! what is done with all of them: joined to a row's text, and that to a digest. Always holds: two rows have the same
//! text exactly where all of their values have; NULL is not '' and is no text that a value can have. It is so because
//! values are joined with `|`, NULL is `~`, and in a value `~` becomes `~0` and `|` becomes `~1`: what follows a `~`
//! tells what it is, as in a JSON pointer.
//!
//! In MySQL everything is bytes of UTF-8 from the first step on, with its constants in hexadecimal: so no collation, no
//! character set of a column and no `sql_mode` matters. In PostgreSQL texts carry `COLLATE "C"`.
//!
//! Choices, each of which the report names where something is lost:
//! - A float of MySQL's becomes a decimal with 25 places, from 1e15 on rounded to 15 digits. Both engines take the
//!   shortest digits that mean the same double, but where a short decimal lies exactly between two doubles they differ
//!   (1e23 is 9.999999999999999e+22 in PostgreSQL). Below 1e-24 and from 1e39 on only the sign is left.
//! - Bytes are their SHA-256: a value of 1 GB would be a text of 2 GB.
//! - Decimals of MySQL's are without trailing zeros, times are microseconds, timestamps have six digits and are in UTC.
//! - A date that MySQL holds and PostgreSQL cannot (`0000-00-00`) is NULL where the column may be NULL, as it travels.
//! - JSON of MySQL's is compared only for being there: both engines rewrite it, each in its own way.

use crate::migrate::quote::{identifier, identifier_of};
use crate::migrate::types::{Engine, UNSIGNED_BIGINT};

/// What a MySQL gives for a row that it could not hash. No digest of theirs is so large: they have 60 bits.
pub(super) const NOT_HASHED: i128 = u64::MAX as i128;

/// How a column's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// PostgreSQL on both sides, and neither `~` nor `|` can occur.
    Plain,
    /// Whatever it is, as text.
    Text,
    Bytes,
    Integer,
    Truth,
    Decimal {
        /// MySQL would write zeros before it.
        zerofill: bool,
    },
    Float,
    Bits {
        length: u32,
    },
    Date,
    Timestamp,
    TimestampTz,
    TimeSpan,
    Uuid,
    Inet,
    /// Only whether there is a value.
    Presence,
}

/// What a value's text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// A row's digest.
    Row,
    /// A key: it is shown, and given back as a bound.
    Key,
}

/// A column on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compared {
    /// Its name in the source.
    pub(super) source: String,
    /// Its name in the target.
    pub(super) target: String,
    /// How its values are written.
    pub(super) form: Form,
    /// A date that PostgreSQL cannot hold has become NULL.
    pub(super) zero_is_null: bool,
}

/// How a text becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    /// PostgreSQL's own hash for texts, 64 bits with a sign. It depends on the encoding and on the machine's byte
    /// order, and no version promises it: both sides are asked first whether they have the same ([`PROBE`]).
    Fast,
    /// The first 60 bits of MD5 over UTF-8: a number that both engines hold without a sign.
    Md5,
}

/// Two PostgreSQL that give the same answer have the same [`Digest::Fast`].
pub(super) const PROBE: &str = "\
SELECT pg_catalog.current_setting('server_encoding'), pg_catalog.hashtextextended('leverd' COLLATE \"C\", 0)::text, \
pg_catalog.hashtextextended('the quick brown fox jumps over the lazy dog 0123456789' COLLATE \"C\", 0)::text";

impl Form {
    /// The form of a column with these types.
    pub(super) fn of(engine: Engine, source_type: &str, target_type: &str) -> Self {
        match engine {
            Engine::Postgres => of_postgres(target_type),
            Engine::MySql => of_mysql(source_type, target_type),
        }
    }

    /// What is not compared exactly, as the rest of a sentence about the column.
    pub(super) fn limit(self) -> Option<&'static str> {
        match self {
            Self::Float => Some(
                "is compared to 15 digits from 1e15 on and to 25 decimals below, and by its sign alone under 1e-24 \
                 and from 1e39 on",
            ),
            Self::Presence => Some(
                "is compared only for whether it is NULL: MySQL and PostgreSQL do not write its type alike",
            ),
            _ => None,
        }
    }
}

fn of_postgres(target_type: &str) -> Form {
    match base_of(target_type).as_str() {
        "bytea" => Form::Bytes,
        "smallint" | "integer" | "bigint" => Form::Integer,
        "numeric"
        | "real"
        | "double precision"
        | "boolean"
        | "date"
        | "uuid"
        | "oid"
        | "bit"
        | "bit varying"
        | "timestamp without time zone"
        | "timestamp with time zone"
        | "time without time zone"
        | "time with time zone"
        | "interval" => Form::Plain,
        _ => Form::Text,
    }
}

fn of_mysql(source_type: &str, target_type: &str) -> Form {
    match base_of(target_type).as_str() {
        "boolean" => Form::Truth,
        "smallint" | "integer" | "bigint" => Form::Integer,
        "numeric" if target_type == UNSIGNED_BIGINT => Form::Integer,
        "numeric" => Form::Decimal { zerofill: source_type.to_ascii_lowercase().contains("zerofill") },
        "real" | "double precision" => Form::Float,
        "bit" => Form::Bits { length: argument(target_type).unwrap_or(1) },
        "text" | "character varying" => Form::Text,
        "bytea" => Form::Bytes,
        "date" => Form::Date,
        "timestamp without time zone" => Form::Timestamp,
        "timestamp with time zone" => Form::TimestampTz,
        "interval" => Form::TimeSpan,
        "uuid" => Form::Uuid,
        "inet" => Form::Inet,
        _ => Form::Presence,
    }
}

/// `timestamp(3) without time zone` → `timestamp without time zone`; arrays and names in quotes are none of these.
pub(super) fn base_of(target_type: &str) -> String {
    let mut base = String::with_capacity(target_type.len());
    let mut depth = 0_usize;
    for letter in target_type.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => base.push(letter),
            _ => {}
        }
    }
    let base = base.trim();
    base.strip_prefix("pg_catalog.").unwrap_or(base).to_owned()
}

/// `bit(12)` → 12.
fn argument(target_type: &str) -> Option<u32> {
    let (_, rest) = target_type.split_once('(')?;
    rest.split_once(')')?.0.trim().parse().ok()
}

/// The text of a column's value in the source; NULL where the value is.
pub(super) fn source_value(engine: Engine, column: &Compared, usage: Usage) -> String {
    let quoted = identifier_of(engine, &column.source);
    match engine {
        Engine::Postgres => postgres_value(&quoted, column.form, usage),
        Engine::MySql => mysql_value(&quoted, column, usage),
    }
}

/// The text of a column's value in the target; NULL where the value is.
pub(super) fn target_value(column: &Compared, usage: Usage) -> String {
    postgres_value(&identifier(&column.target), column.form, usage)
}

fn postgres_value(column: &str, form: Form, usage: Usage) -> String {
    match form {
        Form::Plain | Form::Integer | Form::Bits { .. } | Form::Uuid => format!("{column}::text"),
        Form::Text => format!("replace(replace({column}::text COLLATE \"C\", '~', '~0'), '|', '~1')"),
        Form::Bytes if usage == Usage::Key => format!("encode({column}, 'hex')"),
        Form::Bytes => format!("encode(sha256({column}), 'hex')"),
        Form::Truth => format!("{column}::integer::text"),
        Form::Decimal { .. } => format!(
            "CASE WHEN strpos({column}::text, '.') > 0 THEN rtrim(rtrim({column}::text, '0'), '.') \
             ELSE {column}::text END"
        ),
        Form::Float => postgres_float(column),
        Form::Date => format!("to_char({column}::timestamp, 'YYYY-MM-DD')"),
        Form::Timestamp => format!("to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US')"),
        Form::TimestampTz => format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"),
        Form::TimeSpan => format!("(EXTRACT(epoch FROM {column}) * 1000000)::bigint::text"),
        // After family, bits, kind and length come the address's bytes.
        Form::Inet => format!("encode(substring(inet_send({column}) FROM 5), 'hex')"),
        Form::Presence => format!("CASE WHEN {column} IS NULL THEN NULL ELSE 'x' END"),
    }
}

fn postgres_float(column: &str) -> String {
    let number = format!("{column}::float8::text::numeric");
    format!(
        "CASE WHEN {column} = 0 THEN '0' \
         WHEN abs({column}) >= '1e39'::float8 THEN CASE WHEN {column} > 0 THEN 'large' ELSE '-large' END \
         WHEN abs({column}) < '1e-24'::float8 THEN CASE WHEN {column} > 0 THEN 'small' ELSE '-small' END \
         WHEN abs({column}) < '1e15'::float8 THEN {number}::numeric(65,25)::text \
         ELSE round({number}, 15 - length(trunc(abs({number}))::text))::numeric(65,25)::text END"
    )
}

fn mysql_value(column: &str, compared: &Compared, usage: Usage) -> String {
    match compared.form {
        Form::Plain | Form::Text => format!(
            "REPLACE(REPLACE(CAST(CONVERT({column} USING utf8mb4) AS BINARY), X'7E', X'7E30'), X'7C', X'7E31')"
        ),
        Form::Bytes if usage == Usage::Key => format!("LOWER(HEX({column}))"),
        Form::Bytes => format!("SHA2({column}, 256)"),
        // The sum is written without ZEROFILL's zeros, and a BIT becomes a number.
        Form::Integer | Form::Truth => format!("CAST({column} + 0 AS CHAR)"),
        Form::Decimal { zerofill } => {
            let text = if zerofill { format!("{column} + 0") } else { column.to_owned() };
            let text = format!("CAST({text} AS CHAR)");
            format!(
                "CASE WHEN LOCATE('.', {text}) > 0 THEN TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {text})) \
                 ELSE {text} END"
            )
        }
        Form::Float => mysql_float(column),
        Form::Bits { length } => format!("LPAD(BIN({column} + 0), {length}, '0')"),
        Form::Date => without_zero_dates(column, compared, "%Y-%m-%d"),
        Form::Timestamp | Form::TimestampTz => without_zero_dates(column, compared, "%Y-%m-%d %H:%i:%s.%f"),
        // TIME_TO_SEC has a fraction in MariaDB and none in MySQL; these four are whole numbers in both.
        Form::TimeSpan => format!(
            "CONCAT(CASE WHEN LEFT(CAST({column} AS CHAR), 1) = '-' THEN '-' ELSE '' END, \
             CAST(((HOUR({column}) * 60 + MINUTE({column})) * 60 + SECOND({column})) * 1000000 \
             + MICROSECOND({column}) AS CHAR))"
        ),
        Form::Uuid => format!("LOWER(CAST({column} AS CHAR))"),
        Form::Inet => format!("LOWER(HEX({column}))"),
        Form::Presence => format!("CASE WHEN {column} IS NULL THEN NULL ELSE 'x' END"),
    }
}

/// Looked for in the text: what the functions say of such a date depends on `sql_mode`.
fn without_zero_dates(column: &str, compared: &Compared, format: &str) -> String {
    let text = format!("DATE_FORMAT({column}, '{format}')");
    if compared.zero_is_null {
        format!("CASE WHEN CAST({column} AS CHAR) LIKE '%-00%' THEN NULL ELSE {text} END")
    } else {
        text
    }
}

fn mysql_float(column: &str) -> String {
    let number = format!("CAST({column} AS DECIMAL(65,25))");
    format!(
        "CASE WHEN {column} = 0 THEN '0' \
         WHEN ABS({column}) >= 1e39 THEN CASE WHEN {column} > 0 THEN 'large' ELSE '-large' END \
         WHEN ABS({column}) < 1e-24 THEN CASE WHEN {column} > 0 THEN 'small' ELSE '-small' END \
         WHEN ABS({column}) < 1e15 THEN CAST({number} AS CHAR) \
         ELSE CAST(CAST(ROUND({number}, 15 - LENGTH(CAST(TRUNCATE(ABS({number}), 0) AS CHAR))) \
         AS DECIMAL(65,25)) AS CHAR) END"
    )
}

/// One text of all values.
pub(super) fn joined(engine: Engine, values: &[String]) -> String {
    match engine {
        Engine::Postgres => {
            let parts: Vec<String> = values.iter().map(|value| format!("COALESCE({value}, '~')")).collect();
            format!("concat_ws('|', VARIADIC ARRAY[{}]::text[])", parts.join(", "))
        }
        Engine::MySql => {
            let parts: Vec<String> =
                values.iter().map(|value| format!("COALESCE(CAST({value} AS BINARY), X'7E')")).collect();
            format!("CONCAT_WS(X'7C', {})", parts.join(", "))
        }
    }
}

/// A text's digest. In MySQL a function gives NULL where its result passes `max_allowed_packet`, and a sum would pass
/// over that: such a row has [`NOT_HASHED`].
pub(super) fn digest(engine: Engine, digest: Digest, text: &str) -> String {
    match (engine, digest) {
        (Engine::Postgres, Digest::Fast) => format!("hashtextextended({text} COLLATE \"C\", 0)"),
        (Engine::Postgres, Digest::Md5) => {
            format!("('x0' || left(md5(convert_to({text}, 'UTF8')), 15))::bit(64)::bigint")
        }
        (Engine::MySql, _) => {
            format!("COALESCE(CAST(CONV(LEFT(MD5({text}), 15), 16, 10) AS UNSIGNED), {NOT_HASHED})")
        }
    }
}

/// The values of a text that [`joined`] has made.
pub(super) fn values_of(joined: &str) -> Vec<String> {
    let value = |part: &str| {
        if part == "~" { "NULL".to_owned() } else { part.replace("~1", "|").replace("~0", "~") }
    };
    joined.split('|').map(value).collect()
}

#[cfg(test)]
mod tests;
