//! Connecting to a MySQL: where, encrypted or not, and what every session is set to before it reads.
//!
//! In: an endpoint. Out: a connection whose texts are UTF-8, whose timestamps are UTC, whose literals have one meaning,
//! and which no timeout of the server's ends while a slow target keeps it waiting. Always holds: `prefer` and `require`
//! encrypt without looking at the certificate, as libpq's do; `verify-ca` and `verify-full` trust this machine's
//! certificates beside those that the driver brings. A Unix socket is never encrypted. It times nothing out itself.

use super::errors::{MySqlError, ReadError};
use crate::config::{DatabaseEndpoint, SslMode};
use crate::migrate::catalog::mysql::Flavour;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, OptsBuilder, Row, SslOpts, Value};
use std::fmt;
use std::time::Duration;

/// A row of MySQL's is never longer; a smaller limit would refuse long values.
const MOST_PACKET_BYTES: usize = 1 << 30;
/// A dead peer is noticed, where no row comes that would tell.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Statements that a session keeps prepared. With one the driver closes each when the next comes.
const PREPARED: usize = 1;
/// For so long the server waits for a reader that waits for a slow target: a day. Its own default is a minute.
const PATIENCE_S: u32 = 86_400;
/// For so long a session may be idle: a week.
const IDLE_S: u32 = 604_800;
/// For so long a statement waits for somebody's ALTER TABLE. The server's own default is a year.
const METADATA_LOCK_S: u32 = 60;

/// Modes that make a statement, or what it gives, mean something else. The first give a literal or an operator another
/// meaning, `PAD_CHAR_TO_FULL_LENGTH` gives a CHAR blanks that it has not; the rest stand for several of the others.
const SURPRISES: [&str; 16] = [
    "ANSI_QUOTES",
    "NO_BACKSLASH_ESCAPES",
    "PIPES_AS_CONCAT",
    "HIGH_NOT_PRECEDENCE",
    "IGNORE_SPACE",
    "REAL_AS_FLOAT",
    "PAD_CHAR_TO_FULL_LENGTH",
    "EMPTY_STRING_IS_NULL",
    "ANSI",
    "DB2",
    "MAXDB",
    "MSSQL",
    "ORACLE",
    "POSTGRESQL",
    "MYSQL323",
    "MYSQL40",
];

/// Where a server is, and how to log in.
#[derive(Clone)]
pub(super) struct Address {
    opts: Opts,
    /// To be tried where the first was no success and encryption is only preferred.
    plain: Option<Opts>,
    /// host:port, or the socket.
    pub(super) at: String,
}

/// The options hold the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("at", &self.at).finish_non_exhaustive()
    }
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    Never,
    WhereOffered,
    Unchecked,
    Issuer,
    Host,
}

impl Encryption {
    fn of(mode: SslMode, is_socket: bool) -> Self {
        match mode {
            // What stays on the machine needs none, and the driver cannot.
            _ if is_socket => Self::Never,
            SslMode::Disable => Self::Never,
            SslMode::Prefer => Self::WhereOffered,
            SslMode::Require => Self::Unchecked,
            SslMode::VerifyCa => Self::Issuer,
            SslMode::VerifyFull => Self::Host,
        }
    }

    fn options(self) -> Option<SslOpts> {
        let unchecked = || {
            SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true)
        };
        match self {
            Self::Never => None,
            Self::WhereOffered | Self::Unchecked => Some(unchecked()),
            Self::Issuer => Some(with_own_roots().with_danger_skip_domain_validation(true)),
            Self::Host => Some(with_own_roots()),
        }
    }
}

/// With what this machine trusts. The driver refuses all where it cannot read one, so that one is left out.
fn with_own_roots() -> SslOpts {
    let mut readable = rustls::RootCertStore::empty();
    let mut roots = Vec::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        let bytes = certificate.to_vec();
        if readable.add(certificate).is_ok() {
            roots.push(bytes.into());
        }
    }
    SslOpts::default().with_root_certs(roots)
}

impl Address {
    /// Of that endpoint.
    pub(super) fn of(endpoint: &DatabaseEndpoint) -> Self {
        let is_socket = endpoint.host.starts_with('/');
        let base = OptsBuilder::default()
            .user(Some(endpoint.user.clone()))
            .pass(endpoint.password.as_ref().map(|password| password.expose().to_owned()))
            .db_name(Some(endpoint.database.clone()))
            .prefer_socket(false)
            .stmt_cache_size(Some(PREPARED))
            .max_allowed_packet(Some(MOST_PACKET_BYTES))
            .tcp_keepalive(Some(KEEPALIVE));
        let (base, at) = if is_socket {
            (base.socket(Some(endpoint.host.clone())), endpoint.host.clone())
        } else {
            let at = format!("{}:{}", endpoint.host, endpoint.port);
            (base.ip_or_hostname(endpoint.host.clone()).tcp_port(endpoint.port), at)
        };
        let encryption = Encryption::of(endpoint.ssl_mode, is_socket);
        let plain = (encryption == Encryption::WhereOffered).then(|| Opts::from(base.clone()));
        Self { opts: Opts::from(base.ssl_opts(encryption.options())), plain, at }
    }

    /// Connects and logs in. With it come the options that were a success.
    pub(super) async fn open(&self) -> Result<(Conn, Opts), MySqlError> {
        let failed = |error: Error| MySqlError::connecting(&self.at, &error);
        match (Conn::new(self.opts.clone()).await, &self.plain) {
            (Ok(conn), _) => Ok((conn, self.opts.clone())),
            // A server's word is no matter of encryption.
            (Err(error), Some(plain)) if !matches!(error, Error::Server(_)) => {
                tracing::debug!("{}: not encrypted: {error}", self.at);
                let conn = Conn::new(plain.clone()).await.map_err(failed)?;
                Ok((conn, plain.clone()))
            }
            (Err(error), _) => Err(failed(error)),
        }
    }
}

/// Sets a new session up, and says what its server is.
pub(super) async fn set_up(conn: &mut Conn, at: &str) -> Result<Flavour, MySqlError> {
    let doing = "setting up a session of the source";
    let failed = |error: Error| ReadError::of(doing, &error);
    let asked: Option<Row> =
        conn.query_first("SELECT @@version, @@session.sql_mode").await.map_err(failed)?;
    let Some(row) = asked else {
        return Err(ReadError::permanent(doing, "the server does not tell its version").into());
    };
    let version = text_at(&row, 0).unwrap_or_default();
    let Some(flavour) = Flavour::of(&version).filter(|flavour| is_supported(*flavour)) else {
        return Err(MySqlError::NotSupported { at: at.to_owned(), version });
    };
    for statement in settings(&text_at(&row, 1).unwrap_or_default()) {
        conn.query_drop(statement.as_str()).await.map_err(failed)?;
    }
    for statement in wishes(flavour) {
        if let Err(error) = conn.query_drop(statement.as_str()).await {
            if !matches!(error, Error::Server(_)) {
                return Err(failed(error).into());
            }
            tracing::debug!("{doing}: {statement}: {error}");
        }
    }
    Ok(flavour)
}

fn is_supported(flavour: Flavour) -> bool {
    matches!(flavour, Flavour::MySql(50_700..) | Flavour::MariaDb(100_000..))
}

/// What must be so.
fn settings(sql_mode: &str) -> Vec<String> {
    vec![
        "SET NAMES utf8mb4".to_owned(),
        format!("SET SESSION sql_mode = '{}'", without_surprises(sql_mode)),
        "SET SESSION time_zone = '+00:00'".to_owned(),
        "SET SESSION autocommit = 1".to_owned(),
        format!("SET SESSION net_write_timeout = {PATIENCE_S}"),
        format!("SET SESSION net_read_timeout = {PATIENCE_S}"),
        format!("SET SESSION wait_timeout = {IDLE_S}"),
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY".to_owned(),
    ]
}

/// What is so unless a server was told otherwise, and what not every server has.
fn wishes(flavour: Flavour) -> Vec<String> {
    let mut wishes = vec![
        format!("SET SESSION lock_wait_timeout = {METADATA_LOCK_S}"),
        "SET SESSION sql_big_selects = 1".to_owned(),
        format!("SET SESSION sql_select_limit = {}", u64::MAX),
    ];
    let own: &[&str] = match flavour {
        Flavour::MySql(_) => &["max_execution_time"],
        Flavour::MariaDb(_) => {
            &["max_statement_time", "idle_transaction_timeout", "idle_readonly_transaction_timeout"]
        }
    };
    wishes.extend(own.iter().map(|variable| format!("SET SESSION {variable} = 0")));
    wishes
}

/// The session's modes without those that would change what leverd's statements mean.
fn without_surprises(sql_mode: &str) -> String {
    let is_word = |mode: &str| mode.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let kept: Vec<&str> = sql_mode
        .split(',')
        .map(str::trim)
        .filter(|mode| !mode.is_empty() && is_word(mode))
        .filter(|mode| !SURPRISES.iter().any(|surprise| mode.eq_ignore_ascii_case(surprise)))
        .collect();
    kept.join(",")
}

/// A value as text; `None`: NULL, or there is no such column.
pub(crate) fn text_at(row: &Row, at: usize) -> Option<String> {
    match row.as_ref(at)? {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        // None of the statements that this is for give a date.
        Value::Date(..) | Value::Time(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DatabaseEngine, Secret};

    fn endpoint(host: &str, ssl_mode: SslMode) -> DatabaseEndpoint {
        DatabaseEndpoint {
            engine: DatabaseEngine::MySql,
            host: host.to_owned(),
            port: 3307,
            database: "shop".to_owned(),
            user: "ann".to_owned(),
            password: Some(Secret::new("hunter2")),
            schema: "shop".to_owned(),
            ssl_mode,
        }
    }

    #[test]
    fn an_endpoint_becomes_options() {
        let address = Address::of(&endpoint("db.example", SslMode::Prefer));
        assert_eq!((address.at.as_str(), address.opts.tcp_port()), ("db.example:3307", 3307));
        assert_eq!((address.opts.user(), address.opts.db_name()), (Some("ann"), Some("shop")));
        assert_eq!(address.opts.pass(), Some("hunter2"));
        assert!(address.plain.is_some());
        assert!(!format!("{address:?}").contains("hunter2"));
        let socket = Address::of(&endpoint("/run/mysqld/mysqld.sock", SslMode::VerifyFull));
        assert_eq!((socket.at.as_str(), socket.plain.is_some()), ("/run/mysqld/mysqld.sock", false));
    }

    #[test]
    fn only_what_is_preferred_may_be_plain() {
        for mode in [SslMode::Disable, SslMode::Require] {
            assert!(Address::of(&endpoint("db", mode)).plain.is_none(), "{mode:?}");
        }
        assert_eq!(Encryption::of(SslMode::VerifyCa, false), Encryption::Issuer);
        assert_eq!(Encryption::of(SslMode::Require, true), Encryption::Never);
        assert!(Encryption::Unchecked.options().unwrap().accept_invalid_certs());
        assert!(Encryption::Never.options().is_none());
    }

    #[test]
    fn modes_that_surprise_are_left_out() {
        assert_eq!(
            without_surprises(
                "REAL_AS_FLOAT,PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,ONLY_FULL_GROUP_BY,ANSI"
            ),
            "ONLY_FULL_GROUP_BY"
        );
        assert_eq!(
            without_surprises("STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"),
            "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"
        );
        assert_eq!(without_surprises("A,b'; DROP,pad_char_to_full_length"), "A");
        assert_eq!(without_surprises(""), "");
    }

    #[test]
    fn each_server_is_asked_for_what_it_has() {
        assert!(wishes(Flavour::MySql(80_036)).contains(&"SET SESSION max_execution_time = 0".to_owned()));
        assert!(wishes(Flavour::MariaDb(101_106)).contains(&"SET SESSION max_statement_time = 0".to_owned()));
        assert!(is_supported(Flavour::MySql(50_744)) && is_supported(Flavour::MariaDb(110_402)));
        assert!(!is_supported(Flavour::MySql(50_651)) && !is_supported(Flavour::MariaDb(50_568)));
    }
}
