//! A migration's configuration as the other rooms see it: every default filled in, every path absolute, all of it
//! checked.
//!
//! In: what `migration_file` read. Out: types that leave nothing to ask, and the few questions that they answer
//! themselves: what a Postgres client is given, what may not be meant. Always so: a password or an API key is a
//! [`Secret`]. It reads no file, no clock and no environment, and connects to nothing.

use super::Secret;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a migration was told.
#[derive(Debug, Clone, PartialEq)]
pub struct MigrationConfig {
    /// The file that it came from, absolute.
    pub file: PathBuf,
    /// Where rows come from.
    pub source: DatabaseEndpoint,
    /// Where rows go to: a PostgreSQL.
    pub target: DatabaseEndpoint,
    /// The target serves others while rows arrive: the signals of its SLA are guards. Then `lever_config` is there.
    pub serves: bool,
    /// The `leverd.yaml` that says where the target's signals are read and which levels they have; absolute. It was a
    /// file when this was read; what it says was not looked at.
    pub lever_config: Option<PathBuf>,
    /// How rows are moved, and what is made beside them.
    pub settings: MigrationSettings,
    /// Which of `workers`, `chunk_size`, `read_ahead_buffers`, `write_ahead_writers` and `parallel_readers` stand in
    /// the file: a run begins with those as they are, whatever earlier runs say.
    pub typed: BTreeSet<&'static str>,
    /// Who is asked for adjustments.
    pub ai: AiConfig,
}

/// Sessions of the target that keep the run's lease and state, and read its statistics.
pub(super) const CONTROL_CONNECTIONS: u32 = 2;
/// The session of the target that pulls its levers, where `lever_config` names them.
pub(super) const LEVER_CONNECTIONS: u32 = 1;

/// What the defaults depend on, measured by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Processors that may be used; 0: not known.
    pub cores: usize,
    /// Memory in bytes, a container's limit where there is one; 0: not known.
    pub memory_bytes: u64,
}

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseEngine {
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    MySql,
    /// MariaDB.
    MariaDb,
}

impl DatabaseEngine {
    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }

    /// The port that it listens on unless told otherwise.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::MySql | Self::MariaDb => 3306,
        }
    }
}

/// Whether a connection is encrypted, and what is checked; libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Where the server can.
    Prefer,
    /// Always.
    Require,
    /// Always, and the certificate's issuer must be a known one.
    VerifyCa,
    /// Always, and the certificate must be that host's.
    VerifyFull,
}

/// A database and who connects to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseEndpoint {
    /// What kind of server.
    pub engine: DatabaseEngine,
    /// A name or an address. What begins with `/` is a Unix socket: its folder for PostgreSQL, the socket for MySQL.
    pub host: String,
    /// The port; for a socket of PostgreSQL it is part of its name.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role, or MySQL's user.
    pub user: String,
    /// As it was given, to the letter; `None`: the server asks for none.
    pub password: Option<Secret>,
    /// The schema whose tables are meant; with MySQL the database itself.
    pub schema: String,
    /// Whether it is encrypted.
    pub ssl_mode: SslMode,
}

impl DatabaseEndpoint {
    /// What `postgres::connect` takes: libpq's key-value string, password included. Only for a PostgreSQL. Its client
    /// knows three modes and checks certificates in whichever is encrypted, so both `verify` modes are `require` here.
    pub fn postgres_dsn(&self) -> Secret {
        let ssl_mode = match self.ssl_mode {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => "require",
        };
        let mut dsn = format!(
            "host={} port={} user={} dbname={} sslmode={ssl_mode}",
            quoted(&self.host),
            self.port,
            quoted(&self.user),
            quoted(&self.database),
        );
        if let Some(password) = &self.password {
            dsn.push_str(" password=");
            dsn.push_str(&quoted(password.expose()));
        }
        Secret::new(dsn)
    }
}

impl DatabaseEndpoint {
    /// Whether it is taken for this machine: a socket, or a loopback address.
    pub fn is_here(&self) -> bool {
        self.host.starts_with('/') || is_loopback(&self.host)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A value as libpq quotes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// For people and logs: without the password.
impl fmt::Display for DatabaseEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = self.engine.as_str();
        write!(f, "{engine}://{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

/// How rows are moved. The first five are where a run begins: adjustments move them inside the same bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationSettings {
    /// Parts of tables that are moved at once; 1 to 16.
    pub workers: u32,
    /// Rows that a chunk may have; 1,000 to 500,000.
    pub chunk_size: u32,
    /// Chunks that may wait between the readers and the writers; 2 to 32.
    pub read_ahead_buffers: u32,
    /// Writers of the whole run: connections that write, whatever table; 1 to 16.
    pub write_ahead_writers: u32,
    /// Readers of one table, or of one part of a large one; 1 to 4.
    pub parallel_readers: u32,
    /// Parts that a large table is divided into at most, each with readers of its own; 1: it is one part.
    pub max_partitions: u32,
    /// From so many rows on a table is large.
    pub large_table_threshold: u64,
    /// Connections to the source at most, the run's own among them; from 2 on.
    pub max_source_connections: u32,
    /// Connections to the target at most: writers, builders of indexes and the run's own. At least one writer and one
    /// builder have room beside the latter.
    pub max_target_connections: u32,
    /// Bytes that leverd itself may use.
    pub max_memory_bytes: u64,
    /// Chunks between two records of progress, where the file has it. Without effect: each chunk has its record.
    pub checkpoint_frequency: Option<u32>,
    /// How often a chunk is tried again after an error that may pass.
    pub max_retries: u32,
    /// What becomes of a table that is there already.
    pub target_mode: TargetMode,
    /// Which tables are meant.
    pub tables: TableFilter,
    /// Whether indexes are made beside the primary key's.
    pub create_indexes: bool,
    /// Whether foreign keys are made.
    pub create_foreign_keys: bool,
    /// Whether check constraints are made.
    pub create_check_constraints: bool,
    /// Whether a run is refused, or what was begun is loaded again, where rows would be of several moments; else the
    /// report says so.
    pub strict_consistency: bool,
    /// Whether samples of rows are compared afterwards, beside all that is counted.
    pub sample_validation: bool,
    /// Whether the settings are adjusted while rows are moved.
    pub ai_adjust: bool,
    /// Between two looks of that.
    pub ai_adjust_interval: Duration,
}

/// What becomes of a table of the target that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetMode {
    /// It is dropped and made anew.
    DropRecreate,
    /// It stays, and its rows go.
    Truncate,
    /// It stays, and rows are added to it.
    Append,
    /// It stays; rows are added, and replaced where the key is there.
    Upsert,
}

impl TargetMode {
    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DropRecreate => "drop_recreate",
            Self::Truncate => "truncate",
            Self::Append => "append",
            Self::Upsert => "upsert",
        }
    }

    /// Whether rows stay that are there already: then the table cannot be emptied and loaded again.
    pub fn keeps_rows(self) -> bool {
        match self {
            Self::Append | Self::Upsert => true,
            Self::DropRecreate | Self::Truncate => false,
        }
    }
}

/// Which tables are meant. A pattern that no table fits is for the caller to tell: it may be mistyped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableFilter {
    /// Only these; empty: all.
    pub include: Vec<TablePattern>,
    /// None of these, whatever `include` says.
    pub exclude: Vec<TablePattern>,
}

/// A table's name with `*` (any characters, also none) and `?` (one character). What fits it, `migrate::selection`
/// says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePattern {
    /// The pattern of the schema; `None`: any schema.
    pub schema: Option<String>,
    /// The pattern of the name.
    pub name: String,
}

impl TablePattern {
    /// Reads `name` or `schema.name`; `None` where it is neither, or holds quotes or brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        let fits = is_pattern(name) && schema.is_none_or(is_pattern);
        fits.then(|| Self { schema: schema.map(str::to_owned), name: name.to_owned() })
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Quotes and brackets mean something in other tools; as a part of a name they would silently fit nothing.
fn is_pattern(part: &str) -> bool {
    let strange = |c: char| c.is_control() || matches!(c, '.' | '[' | ']' | '"' | '`');
    !part.is_empty() && !part.contains(strange)
}

/// Who is asked for adjustments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AiConfig {
    /// Who.
    pub provider: AiProvider,
    /// What a service wants to see; `None`: there is none.
    pub api_key: Option<Secret>,
    /// The model's name as the service has it; `None` where no service is asked.
    pub model: Option<String>,
    /// The service's base address without a trailing slash and without the path of a call; `None` where no service is
    /// asked.
    pub endpoint: Option<String>,
    /// For one call.
    pub timeout: Duration,
}

impl AiConfig {
    /// Whether there is a service that can be asked: one with a key, or one that needs none.
    pub fn can_ask(&self) -> bool {
        match self.provider {
            AiProvider::Claude | AiProvider::OpenAi => self.api_key.is_some(),
            AiProvider::Ollama => true,
            AiProvider::Rules | AiProvider::Model => false,
        }
    }
}

/// Who decides on adjustments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AiProvider {
    /// Anthropic's service.
    Claude,
    /// OpenAI's, or what speaks its form.
    OpenAi,
    /// An Ollama, by default on this machine.
    Ollama,
    /// Fixed rules; nothing leaves this machine.
    Rules,
    /// leverd's own model of what this run measured; nothing leaves this machine.
    Model,
}

impl AiProvider {
    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::OpenAi => "openai",
            Self::Ollama => "ollama",
            Self::Rules => "rules",
            Self::Model => "model",
        }
    }

    /// Whether something is asked over the network.
    pub fn is_service(self) -> bool {
        match self {
            Self::Claude | Self::OpenAi | Self::Ollama => true,
            Self::Rules | Self::Model => false,
        }
    }

    /// The model that is asked unless told otherwise; `None`: there is none that every user of it has.
    pub fn default_model(self) -> Option<&'static str> {
        match self {
            Self::Claude => Some("claude-haiku-4-5-20251001"),
            Self::OpenAi => Some("gpt-4o"),
            Self::Ollama | Self::Rules | Self::Model => None,
        }
    }

    /// The service's base address unless told otherwise; `None` where no service is asked.
    pub fn default_endpoint(self) -> Option<&'static str> {
        match self {
            Self::Claude => Some("https://api.anthropic.com"),
            Self::OpenAi => Some("https://api.openai.com"),
            Self::Ollama => Some("http://localhost:11434"),
            Self::Rules | Self::Model => None,
        }
    }
}

impl MigrationConfig {
    /// Sessions of the target that are neither writers nor builders of indexes.
    pub fn control_connections(&self) -> u32 {
        let levers = if self.lever_config.is_some() { LEVER_CONNECTIONS } else { 0 };
        CONTROL_CONNECTIONS + levers
    }

    /// What is allowed and yet may not be meant, in sentences for people.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.settings.checkpoint_frequency.is_some() {
            warnings.push(
                "migration.checkpoint_frequency has no effect: every chunk is recorded together with its rows"
                    .to_owned(),
            );
        }
        let ai = &self.ai;
        if self.settings.ai_adjust && ai.provider.is_service() && !ai.can_ask() {
            warnings.push(format!(
                "ai.provider is {} and there is no ai.api_key: the rules decide",
                ai.provider.as_str()
            ));
        }
        if ai.api_key.is_some() && ai.endpoint.as_deref().is_some_and(is_clear_text) {
            warnings
                .push("ai.endpoint is no https address: the API key crosses the network in clear".to_owned());
        }
        if self.serves && self.settings.target_mode == TargetMode::DropRecreate {
            warnings.push(
                "the target serves others, and migration.target_mode is drop_recreate: tables that are there already \
                 are dropped"
                    .to_owned(),
            );
        }
        warnings
    }
}

/// Whether what is sent there can be read on its way.
fn is_clear_text(endpoint: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(endpoint) else { return false };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    url.scheme() == "http" && !is_loopback(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(password: &str) -> DatabaseEndpoint {
        DatabaseEndpoint {
            engine: DatabaseEngine::Postgres,
            host: "/run/it's here".to_owned(),
            port: 5433,
            database: "the shop".to_owned(),
            user: "ann\\bob".to_owned(),
            password: Some(Secret::new(password)),
            schema: "public".to_owned(),
            ssl_mode: SslMode::VerifyFull,
        }
    }

    proptest::proptest! {
        #[test]
        fn a_dsn_says_what_the_endpoint_says(password in "[^\0]{1,40}") {
            let endpoint = endpoint(&password);
            let parsed: tokio_postgres::Config = endpoint.postgres_dsn().expose().parse().unwrap();
            proptest::prop_assert_eq!(parsed.get_password(), Some(password.as_bytes()));
            proptest::prop_assert_eq!(parsed.get_user(), Some("ann\\bob"));
            proptest::prop_assert_eq!(parsed.get_dbname(), Some("the shop"));
            proptest::prop_assert_eq!(parsed.get_ports(), &[5433_u16][..]);
            proptest::prop_assert_eq!(parsed.get_hosts().len(), 1);
            proptest::prop_assert_eq!(parsed.get_ssl_mode(), tokio_postgres::config::SslMode::Require);
        }
    }

    #[test]
    fn an_endpoint_is_shown_without_its_password() {
        let endpoint = endpoint("hunter2");
        assert_eq!(endpoint.to_string(), "postgres://ann\\bob@/run/it's here:5433/the shop");
        assert!(!format!("{endpoint:?}").contains("hunter2"));
    }

    #[test]
    fn patterns_have_a_name_and_perhaps_a_schema() {
        let of = |text: &str| TablePattern::parse(text).map(|pattern| (pattern.schema, pattern.name));
        assert_eq!(of(" temp_* "), Some((None, "temp_*".to_owned())));
        assert_eq!(of("s?op.*"), Some((Some("s?op".to_owned()), "*".to_owned())));
        assert_eq!(TablePattern::parse(" shop.o* ").unwrap().to_string(), "shop.o*");
        for bad in ["", ".", "shop.", ".orders", "a.b.c", "[ab]*", "\"Orders\"", "`orders`", "a\nb"] {
            assert_eq!(TablePattern::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_safe_on_the_way_by_https_and_on_this_machine() {
        for safe in ["https://llm.example", "http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:1"] {
            assert!(!is_clear_text(safe), "{safe}");
        }
        assert!(is_clear_text("http://llm.example") && is_clear_text("http://10.0.0.7:8080"));
    }
}
