//! Where a server's binary log stands: what tells whether something was written between two moments.
//!
//! In: a session. Out: a text that is another one once a transaction was committed; `None`: the server keeps no such
//! log, or this user may not look.

use crate::migrate::catalog::mysql::Flavour;
use crate::migrate::mysql::connect::text_at;
use crate::migrate::mysql::session::MySqlSession;
use mysql_async::{Params, Row};

/// Where the log stands now.
pub(super) async fn of_the_log(session: &mut MySqlSession) -> Option<String> {
    for sql in statements(session.flavour()) {
        match session.ask("asking for the binary log's position", sql, Params::Empty).await {
            Ok(rows) => {
                if let Some(found) = rows.first().and_then(words) {
                    return Some(found);
                }
            }
            Err(error) => tracing::debug!("{error}"),
        }
    }
    None
}

/// Where the log stood when the session's snapshot began. MariaDB and Percona's MySQL tell it to anyone, and exactly.
pub(super) async fn of_the_snapshot(session: &mut MySqlSession) -> Option<String> {
    let doing = "asking for the snapshot's place in the binary log";
    let sql = "SHOW STATUS LIKE 'binlog_snapshot_%'";
    let rows = session.ask(doing, sql, Params::Empty).await.inspect_err(|error| tracing::debug!("{error}"));
    let told: Vec<(String, String)> =
        rows.ok()?.iter().filter_map(|row| Some((text_at(row, 0)?, text_at(row, 1)?))).collect();
    place(&told)
}

fn statements(flavour: Flavour) -> [&'static str; 2] {
    match flavour {
        Flavour::MySql(80_200..) => ["SHOW BINARY LOG STATUS", "SELECT @@global.gtid_executed"],
        Flavour::MySql(_) => ["SHOW MASTER STATUS", "SELECT @@global.gtid_executed"],
        Flavour::MariaDb(_) => ["SHOW MASTER STATUS", "SELECT @@global.gtid_binlog_pos"],
    }
}

/// All that a row says.
fn words(row: &Row) -> Option<String> {
    let values: Vec<String> = (0..row.len()).filter_map(|at| text_at(row, at)).collect();
    one_line(&values.join(" "))
}

/// File and position of a snapshot; without a log the file is empty.
fn place(told: &[(String, String)]) -> Option<String> {
    let value = |name: &str| {
        let found = told.iter().find(|(variable, _)| variable.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| one_line(value))
    };
    Some(format!("{} {}", value("binlog_snapshot_file")?, value("binlog_snapshot_position")?))
}

fn one_line(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(file: &str, position: &str) -> Vec<(String, String)> {
        vec![
            ("Binlog_snapshot_file".to_owned(), file.to_owned()),
            ("Binlog_snapshot_position".to_owned(), position.to_owned()),
        ]
    }

    #[test]
    fn a_snapshot_has_a_place_where_there_is_a_log() {
        assert_eq!(place(&told("bin.000003", "1572")).as_deref(), Some("bin.000003 1572"));
        assert_eq!(place(&told("", "0")), None);
        assert_eq!(place(&[]), None);
    }

    #[test]
    fn a_log_that_says_nothing_has_no_place() {
        assert_eq!(one_line("  \n "), None);
        assert_eq!(one_line("a:1-5,\nb:1").as_deref(), Some("a:1-5, b:1"));
        assert_eq!(statements(Flavour::MySql(80_403))[0], "SHOW BINARY LOG STATUS");
        assert_eq!(statements(Flavour::MySql(50_744))[0], "SHOW MASTER STATUS");
    }
}
