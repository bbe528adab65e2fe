//! One connection, bounded in time, with TLS where the server offers it.
//!
//! A network that carries nothing any more tells nobody: TCP itself asks a silent server whether it is still there, and
//! ends the connection where no answer comes. A server that is at work, and says nothing for hours, answers that.

use rustls::pki_types::CertificateDer;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Why Postgres could not be used. The text is for people and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The DSN cannot be read.
    #[error("the Postgres address cannot be read: {0}")]
    BadDsn(String),
    /// Nobody answers there, in time.
    #[error("Postgres at {at} does not answer: {why}")]
    Unreachable {
        /// host:port or socket.
        at: String,
        /// The reason.
        why: String,
    },
    /// It answers, and refuses.
    #[error("Postgres at {at} refuses: {why}")]
    Refused {
        /// host:port or socket.
        at: String,
        /// The server's words, with its SQLSTATE.
        why: String,
    },
    /// A statement failed.
    #[error("{doing}: {why}")]
    Statement {
        /// What was being done.
        doing: String,
        /// The server's words, with its SQLSTATE where there is one.
        why: String,
        /// The server's SQLSTATE.
        code: Option<String>,
    },
}

impl PostgresError {
    /// Wraps a failed statement: `doing` names the operation, e.g. "reading pg_settings".
    pub fn statement(doing: impl Into<String>, error: &tokio_postgres::Error) -> Self {
        Self::Statement {
            doing: doing.into(),
            why: words_of(error),
            code: error.code().map(|code| code.code().to_owned()),
        }
    }

    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::BadDsn(_) => Some("write it as postgresql://user@host:5432/database"),
            Self::Unreachable { .. } => Some("is the server up, and the port right? `pg_isready` tells"),
            Self::Refused { .. } => {
                Some("check user, password (`password: ${env:…}` or `${file:…}`) and pg_hba.conf")
            }
            Self::Statement { code, .. } if code.as_deref() == Some("42501") => {
                Some("GRANT pg_monitor TO the role; to change settings it needs superuser, or file access")
            }
            Self::Statement { .. } => None,
        }
    }
}

/// A connection: dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

impl Connection {
    /// The client to send statements with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server hung up, or the network did.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What `pg_stat_activity` shows.
const OWN_NAME: &str = "leverd";

/// After so long without a word a server is asked by TCP whether it is still there.
const SILENT_FOR: Duration = Duration::from_secs(30);

/// It is asked again after so long.
const ASKED_EACH: Duration = Duration::from_secs(10);

/// So many questions without an answer end the connection.
const MOST_ASKED: u32 = 3;

/// So long after it was sent what nobody has taken ends the connection too (on Linux).
const NOT_TAKEN_FOR: Duration = Duration::from_secs(60);

/// What goes to the server over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// Statements, each of which it takes at once.
    Statements,
    /// Rows too. A server that waits for a lock or its disk takes none for as long as that lasts, and TCP cannot tell
    /// that from one that is gone: what was not taken is left to the system's own limit on sending again.
    Rows,
}

/// Connects within `timeout`; statements and locks on the connection are bounded by it too.
pub async fn connect(dsn: &str, timeout: Duration) -> Result<Connection, PostgresError> {
    let millis = timeout.as_millis();
    // Not as start options: those would count as the server's values, and replace the user's own options.
    let limits = format!("SET statement_timeout = {millis}; SET lock_timeout = {millis}");
    opened(configured(dsn, OWN_NAME, timeout, Sends::Statements)?, timeout, Some(&limits)).await
}

/// No bounds of the server's.
const UNBOUNDED: &str = "SET statement_timeout = 0; SET lock_timeout = 0";

/// Connects within `timeout`, under a name that `pg_stat_activity` shows, for work that takes as long as it takes:
/// statements and locks are not bounded.
pub async fn connect_for_work(
    dsn: &str,
    application_name: &str,
    timeout: Duration,
) -> Result<Connection, PostgresError> {
    opened(configured(dsn, application_name, timeout, Sends::Statements)?, timeout, Some(UNBOUNDED)).await
}

/// The same for a session that rows are sent through, by COPY.
pub async fn connect_to_load(
    dsn: &str,
    application_name: &str,
    timeout: Duration,
) -> Result<Connection, PostgresError> {
    opened(configured(dsn, application_name, timeout, Sends::Rows)?, timeout, Some(UNBOUNDED)).await
}

/// Connects to a console that speaks the protocol and knows no settings: PgBouncer's.
pub(super) async fn connect_to_console(dsn: &str, timeout: Duration) -> Result<Connection, PostgresError> {
    opened(configured(dsn, OWN_NAME, timeout, Sends::Statements)?, timeout, None).await
}

/// How a connection is opened. What the DSN itself says of a silent server holds where it is stricter.
fn configured(
    dsn: &str,
    application_name: &str,
    timeout: Duration,
    sends: Sends,
) -> Result<Config, PostgresError> {
    // tokio-postgres' parse errors name the key, never the value.
    let mut config: Config =
        dsn.parse().map_err(|error: tokio_postgres::Error| PostgresError::BadDsn(words_of(&error)))?;
    let idle = config.get_keepalives_idle().min(SILENT_FOR);
    let interval = config.get_keepalives_interval().unwrap_or(ASKED_EACH).min(ASKED_EACH);
    let retries = config.get_keepalives_retries().unwrap_or(MOST_ASKED).min(MOST_ASKED);
    config
        .connect_timeout(timeout)
        .application_name(application_name)
        .keepalives_idle(idle)
        .keepalives_interval(interval)
        .keepalives_retries(retries);
    if sends == Sends::Statements && config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(NOT_TAKEN_FOR);
    }
    Ok(config)
}

async fn opened(config: Config, timeout: Duration, first: Option<&str>) -> Result<Connection, PostgresError> {
    let at = place_of(&config);
    let opened = async {
        let connection = open(&config).await?;
        if let Some(first) = first {
            connection.client().batch_execute(first).await?;
        }
        Ok(connection)
    };
    match tokio::time::timeout(timeout, opened).await {
        Err(_) => Err(PostgresError::Unreachable {
            at,
            why: format!("no answer within {:.1} s", timeout.as_secs_f64()),
        }),
        Ok(Err(error)) if tokio_postgres::Error::as_db_error(&error).is_some() => {
            Err(PostgresError::Refused { at, why: words_of(&error) })
        }
        // It answers, and wants a password.
        Ok(Err(error)) if words_of(&error).contains("password missing") => {
            Err(PostgresError::Refused { at, why: words_of(&error) })
        }
        Ok(Err(error)) => Err(PostgresError::Unreachable { at, why: words_of(&error) }),
        Ok(Ok(connection)) => Ok(connection),
    }
}

async fn open(config: &Config) -> Result<Connection, tokio_postgres::Error> {
    if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await?;
        return Ok(drive(client, connection));
    }
    let (client, connection) = config.connect(tls()).await?;
    Ok(drive(client, connection))
}

#[expect(clippy::disallowed_methods, reason = "the task ends with its Connection, which aborts it")]
fn drive<S, T>(client: Client, connection: tokio_postgres::Connection<S, T>) -> Connection
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("the Postgres connection ended: {}", words_of(&error));
        }
    });
    Connection { client, driver }
}

fn tls() -> MakeRustlsConnect {
    static SHARED: OnceLock<rustls::ClientConfig> = OnceLock::new();
    let config = SHARED.get_or_init(|| {
        let mut roots = rustls::RootCertStore::empty();
        let found: Vec<CertificateDer<'static>> = rustls_native_certs::load_native_certs().certs;
        roots.add_parsable_certificates(found);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    });
    MakeRustlsConnect::new(config.clone())
}

fn place_of(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
        Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    format!("{host}:{}", config.get_ports().first().copied().unwrap_or(5432))
}

/// The server's own words with SQLSTATE, or the chain of causes; tokio-postgres alone says only "db error".
fn words_of(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", db.message(), db.code().code());
    }
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dsn: &str, sends: Sends) -> Config {
        configured(dsn, "leverd reader 1", Duration::from_secs(5), sends).unwrap()
    }

    #[test]
    fn a_silent_server_is_asked_whether_it_is_there() {
        for sends in [Sends::Statements, Sends::Rows] {
            let config = of("host=db.example user=ann", sends);
            assert!(config.get_keepalives());
            assert_eq!(config.get_keepalives_idle(), SILENT_FOR);
            assert_eq!(config.get_keepalives_interval(), Some(ASKED_EACH));
            assert_eq!(config.get_keepalives_retries(), Some(MOST_ASKED));
            assert_eq!(config.get_application_name(), Some("leverd reader 1"));
        }
    }

    #[test]
    fn a_server_that_takes_no_rows_for_a_while_is_not_gone() {
        let timeout_of = |dsn: &str, sends: Sends| of(dsn, sends).get_tcp_user_timeout().copied();
        assert_eq!(timeout_of("host=db.example user=ann", Sends::Statements), Some(NOT_TAKEN_FOR));
        assert_eq!(timeout_of("host=db.example user=ann", Sends::Rows), None);
    }

    #[test]
    fn what_the_dsn_says_holds_where_it_is_stricter() {
        let strict =
            of("host=h user=u keepalives_idle=5 keepalives_retries=9 tcp_user_timeout=7", Sends::Statements);
        assert_eq!(strict.get_keepalives_idle(), Duration::from_secs(5));
        assert_eq!(strict.get_keepalives_retries(), Some(MOST_ASKED));
        assert_eq!(strict.get_tcp_user_timeout(), Some(&Duration::from_secs(7)));
        let error = configured("host=h nonsense=s3cret", "leverd", SILENT_FOR, Sends::Rows).unwrap_err();
        assert!(matches!(&error, PostgresError::BadDsn(_)), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
