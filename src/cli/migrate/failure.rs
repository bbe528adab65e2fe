//! Why a command of `leverd migrate` failed, in words, and with which exit code.
//!
//! In: a [`MigrateError`]. Out: lines for stderr, a value for programs, and a code. Always holds: whoever reads them
//! knows what to do next; there is no secret in them.

use crate::cli::{EXIT_BAD_CONFIG, EXIT_FAILED, EXIT_TRY_LATER};
use crate::migrate::plan::PlanError;
use crate::migrate::quote::shown;
use crate::migrate::run::MigrateError;
use crate::migrate::state::StateError;
use serde_json::{Value, json};
use std::process::ExitCode;

/// The exit code: 64 the file or the plan is wrong, 75 the target is taken, 1 anything else.
pub(super) fn code(error: &MigrateError) -> u8 {
    match error {
        MigrateError::Plan(_) | MigrateError::Changed { .. } | MigrateError::NotOneMoment { .. } => {
            EXIT_BAD_CONFIG
        }
        MigrateError::State(StateError::Held(_)) => EXIT_TRY_LATER,
        _ => EXIT_FAILED,
    }
}

/// What a person could do about it.
pub(super) fn hint(error: &MigrateError) -> Option<String> {
    match error {
        MigrateError::State(StateError::Unfinished { run }) => Some(format!(
            "`leverd migrate resume` goes on with it; `leverd migrate run --replace` begins anew; `leverd migrate \
             forget {run}` gives it up"
        )),
        error => error.hint(),
    }
}

/// For people: what happened, the columns that are refused, and a hint.
pub(super) fn lines(error: &MigrateError) -> Vec<String> {
    let mut lines = vec![format!("leverd: {error}")];
    if let MigrateError::Plan(PlanError::Refused { refused }) = error {
        for column in refused {
            let of = format!("{}.{}", shown(&column.table), column.column);
            lines.push(format!("  {of}: {}", column.refusal));
            lines.push(format!("    hint: {}", column.refusal.hint()));
        }
    }
    lines.extend(hint(error).map(|hint| format!("  hint: {hint}")));
    lines
}

/// For programs.
pub(super) fn value(error: &MigrateError) -> Value {
    let mut value = json!({ "error": error.to_string(), "hint": hint(error) });
    if let MigrateError::Plan(PlanError::Refused { refused }) = error {
        let columns = refused.iter().map(|column| {
            json!({
                "table": shown(&column.table),
                "column": column.column,
                "why": column.refusal.to_string(),
                "hint": column.refusal.hint(),
            })
        });
        value["refused"] = columns.collect();
    }
    value
}

/// Says it on stderr, and gives the code.
pub(super) fn tell(error: &MigrateError) -> ExitCode {
    for line in lines(error) {
        eprintln!("{line}");
    }
    ExitCode::from(code(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::ddl::RefusedColumn;
    use crate::migrate::schema::TableName;
    use crate::migrate::types::TypeRefusal;

    #[test]
    fn a_refused_column_is_named_with_what_to_do() {
        let column = RefusedColumn {
            table: TableName { schema: "shop".to_owned(), name: "places".to_owned() },
            column: "at".to_owned(),
            refusal: TypeRefusal::Unknown { source_type: "geometry".to_owned() },
        };
        let error = MigrateError::Plan(PlanError::Refused { refused: vec![column] });
        let lines = lines(&error);
        assert_eq!(lines[0], "leverd: 1 of the source's columns have a type that PostgreSQL cannot hold");
        assert!(lines[1].starts_with("  shop.places.at: mapping the type \"geometry\""), "{lines:?}");
        assert!(lines[2].starts_with("    hint: "), "{lines:?}");
        assert_eq!(code(&error), EXIT_BAD_CONFIG);
        assert_eq!(value(&error)["refused"][0]["column"], "at");
    }

    #[test]
    fn what_is_not_of_one_moment_is_refused_with_what_to_do() {
        let error = MigrateError::NotOneMoment { why: "no right to lock".to_owned() };
        assert_eq!(code(&error), EXIT_BAD_CONFIG);
        assert!(hint(&error).unwrap().contains("strict_consistency: false"), "{error}");
    }

    #[test]
    fn an_open_run_has_three_ways_out() {
        let error = MigrateError::State(StateError::Unfinished { run: "r1".to_owned() });
        let hint = hint(&error).unwrap();
        assert!(
            hint.contains("resume") && hint.contains("--replace") && hint.contains("forget r1"),
            "{hint}"
        );
        assert_eq!(code(&error), EXIT_FAILED);
    }
}
