//! MySQL's functions → PostgreSQL's: the few that give the same value for every argument.
//!
//! Goes in: a name in lower case and its arguments. Comes out: a call. Always holds: what is not listed is refused, and
//! all but the clock and the UUIDs are immutable in PostgreSQL, so that a computed column and an index may use them:
//! `a || b` and not `concat(a, b)`, `EXTRACT` from what has no time zone alone.

use super::typed::{Ty, Typed, united};
use crate::migrate::quote;

/// Words that are calls without parentheses.
pub(super) const WITHOUT_PARENTHESES: [&str; 4] =
    ["current_timestamp", "localtime", "localtimestamp", "current_date"];

/// A call. `volatile`: whether it may give another value each time.
pub(super) fn call(name: &str, arguments: &[Typed], volatile: bool) -> Result<Typed, String> {
    let found = match (name, arguments) {
        ("now" | "current_timestamp" | "localtime" | "localtimestamp" | "sysdate", precision) if volatile => {
            clock(precision)
        }
        ("curdate" | "current_date", []) if volatile => Some(Typed::new("CURRENT_DATE", Ty::Moment)),
        ("utc_timestamp", []) if volatile => Some(Typed::new("(now() AT TIME ZONE 'UTC')", Ty::Moment)),
        ("uuid", []) if volatile => Some(Typed::new("gen_random_uuid()", Ty::Uuid)),
        ("uuid_to_bin", [uuid]) if uuid.ty == Ty::Uuid => {
            Some(Typed::new(format!("uuid_send({})", uuid.sql), Ty::Bytes))
        }
        ("lower" | "lcase", [text]) => of_text("lower", text, Ty::Text),
        ("upper" | "ucase", [text]) => of_text("upper", text, Ty::Text),
        ("char_length" | "character_length", [text]) => of_text("char_length", text, Ty::Integer),
        // LENGTH counts bytes.
        ("length" | "octet_length", [text]) => of_text("octet_length", text, Ty::Integer),
        ("concat", [_, ..]) => concatenated(arguments),
        ("coalesce" | "ifnull", [_, ..]) => return coalesce(arguments),
        ("nullif", [_, _]) => return nullif(arguments),
        ("abs", [number]) => of_number("abs", number),
        ("ceil" | "ceiling", [number]) => of_number("ceil", number),
        ("floor", [number]) => of_number("floor", number),
        ("mod", [left, right]) => remainder(left, right),
        ("year", [moment]) => part_of("YEAR", moment),
        ("month", [moment]) => part_of("MONTH", moment),
        ("day" | "dayofmonth", [moment]) => part_of("DAY", moment),
        ("date", [moment]) if moment.ty == Ty::Moment => {
            Some(Typed::new(format!("({})::date", moment.sql), Ty::Moment))
        }
        // A jsonb is always valid.
        ("json_valid", [json]) if json.ty == Ty::Json => Some(Typed::new("true", Ty::Bool)),
        ("json_object", []) => Some(Typed::literal("{}")),
        ("json_array", []) => Some(Typed::literal("[]")),
        _ => None,
    };
    found.ok_or_else(|| format!("it uses {name}()"))
}

/// What is left of a division by a constant. By 0 it would be NULL there and an error here.
pub(super) fn remainder(left: &Typed, right: &Typed) -> Option<Typed> {
    let divides = right.ty == Ty::Integer && right.value.as_deref().is_some_and(|digits| digits != "0");
    (left.ty == Ty::Integer && divides)
        .then(|| Typed::new(format!("({} % {})", left.sql, right.sql), Ty::Integer))
}

fn clock(precision: &[Typed]) -> Option<Typed> {
    match precision {
        // MySQL's gives whole seconds then, and so does the column, which has the same precision.
        [] => Some(Typed::new("CURRENT_TIMESTAMP", Ty::MomentTz)),
        [digits] => {
            let digits: u8 = digits.value.as_deref()?.parse().ok()?;
            (digits <= 6).then(|| Typed::new(format!("CURRENT_TIMESTAMP({digits})"), Ty::MomentTz))
        }
        _ => None,
    }
}

fn of_text(function: &str, text: &Typed, gives: Ty) -> Option<Typed> {
    (text.ty == Ty::Text).then(|| Typed::new(format!("{function}({})", text.sql), gives))
}

fn of_number(function: &str, number: &Typed) -> Option<Typed> {
    match number.ty {
        // `ceil` and `floor` of a whole number are the number, and PostgreSQL would make a double of it.
        Ty::Integer if function != "abs" => Some(number.clone()),
        Ty::Integer | Ty::Number => Some(Typed::new(format!("{function}({})", number.sql), number.ty)),
        _ => None,
    }
}

fn part_of(part: &str, moment: &Typed) -> Option<Typed> {
    (moment.ty == Ty::Moment)
        .then(|| Typed::new(format!("(EXTRACT({part} FROM {}))::integer", moment.sql), Ty::Integer))
}

/// Both CONCAT and `||` are NULL where one of the arguments is.
fn concatenated(arguments: &[Typed]) -> Option<Typed> {
    let pieces: Option<Vec<String>> = arguments
        .iter()
        .map(|piece| match piece.ty {
            Ty::Text => Some(piece.sql.clone()),
            Ty::Literal => piece.value.as_deref().map(|text| format!("{}::text", quote::literal(text))),
            Ty::Integer => Some(format!("({})::text", piece.sql)),
            _ => None,
        })
        .collect();
    pieces.map(|pieces| Typed::new(format!("({})", pieces.join(" || ")), Ty::Text))
}

fn coalesce(arguments: &[Typed]) -> Result<Typed, String> {
    let (values, ty) = united(arguments)?;
    Ok(Typed::new(format!("COALESCE({})", values.join(", ")), ty))
}

fn nullif(arguments: &[Typed]) -> Result<Typed, String> {
    let (values, ty) = united(arguments)?;
    Ok(Typed::new(format!("NULLIF({})", values.join(", ")), ty))
}
