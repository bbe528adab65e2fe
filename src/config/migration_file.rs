//! A migration's file, in dmt's words: `source:`, `target:`, `migration:` and `ai:`, from the text to the resolved
//! configuration.
//!
//! In: a file, the environment, and what machine this is. Out: one [`MigrationConfig`] that is whole before anything
//! connects, or a list of all that is wrong, each with file, line and key. Always so: what is not said has a default
//! that depends on the file and the machine alone, and no error shows what came from `${…}`, a password or a key. It
//! connects to nothing, and does not read the `leverd.yaml` that `lever_config` names.

use super::document::Value;
use super::errors::Problems;
use super::leverd_file::default_root;
use super::migration_resolved::{CONTROL_CONNECTIONS, LEVER_CONNECTIONS};
use super::quantity::parse_duration;
use super::reader::{At, Fields};
use super::substitute::{Sources, substitute};
use super::target_section::path;
use super::{
    ConfigErrors, DatabaseEndpoint, DatabaseEngine, Machine, MigrationConfig, MigrationSettings, Secret,
    SslMode, TableFilter, TablePattern, TargetMode, ai_section, read_tree,
};
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOURCE_KEYS: [&str; 8] = ["type", "host", "port", "database", "user", "password", "schema", "ssl_mode"];
const TARGET_KEYS: [&str; 10] =
    ["type", "host", "port", "database", "user", "password", "schema", "ssl_mode", "serves", "lever_config"];
const MIGRATION_KEYS: [&str; 22] = [
    "workers",
    "chunk_size",
    "read_ahead_buffers",
    "write_ahead_writers",
    "parallel_readers",
    "max_partitions",
    "large_table_threshold",
    "max_source_connections",
    "max_target_connections",
    "max_memory_mb",
    "checkpoint_frequency",
    "max_retries",
    "target_mode",
    "include_tables",
    "exclude_tables",
    "create_indexes",
    "create_foreign_keys",
    "create_check_constraints",
    "strict_consistency",
    "sample_validation",
    "ai_adjust",
    "ai_adjust_interval",
];
/// Those of them that say where a run begins.
const START_KEYS: [&str; 5] =
    ["workers", "chunk_size", "read_ahead_buffers", "write_ahead_writers", "parallel_readers"];

const SOURCE_ENGINES: [(&str, DatabaseEngine); 3] = [
    ("postgres", DatabaseEngine::Postgres),
    ("mysql", DatabaseEngine::MySql),
    ("mariadb", DatabaseEngine::MariaDb),
];
const TARGET_ENGINES: [(&str, DatabaseEngine); 1] = [("postgres", DatabaseEngine::Postgres)];
/// dmt's other names for the same.
const ALSO_POSTGRES: [(&str, DatabaseEngine); 2] =
    [("postgresql", DatabaseEngine::Postgres), ("pg", DatabaseEngine::Postgres)];

/// libpq's words.
const SSL_MODES: [(&str, SslMode); 5] = [
    ("disable", SslMode::Disable),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];
/// MySQL's words for the same.
const MYSQL_SSL_MODES: [(&str, SslMode); 5] = [
    ("DISABLED", SslMode::Disable),
    ("PREFERRED", SslMode::Prefer),
    ("REQUIRED", SslMode::Require),
    ("VERIFY_CA", SslMode::VerifyCa),
    ("VERIFY_IDENTITY", SslMode::VerifyFull),
];
const TARGET_MODES: [(&str, TargetMode); 4] = [
    ("drop_recreate", TargetMode::DropRecreate),
    ("truncate", TargetMode::Truncate),
    ("append", TargetMode::Append),
    ("upsert", TargetMode::Upsert),
];

const SECTION_FORM: &str = "a mapping with at least host, database and user";
const HOST_FORM: &str = "one host's name or address, or a Unix socket's path that begins with /";
const TABLES_FORM: &str = "a list of tables' names";
const PATTERN_FORM: &str =
    "a table's name, or schema.name, with * and ?; no quotes and no brackets, and no dot inside a name";

/// Where an adjustment keeps to, and so where a run may begin: rows of a chunk, workers or writers, readers, buffers.
const CHUNK_ROWS: (u32, u32) = (1000, 500_000);
const WORKERS: (u32, u32) = (1, 16);
const READERS: (u32, u32) = (1, 4);
const BUFFERS: (u32, u32) = (2, 32);

const MAX_MEMORY_MB: u32 = 256;
/// Below this a few chunks of wide rows have no room.
const LEAST_MEMORY_MB: u32 = 64;
/// What a row is taken to be while nobody has seen one.
const TYPICAL_ROW_BYTES: u64 = 500;

/// Reads a migration's file and resolves it; defaults that depend on the machine are made from `machine`. `env`
/// answers `${env:NAME}`, and `DMT_AI_PROVIDER` and `DMT_AI_API_KEY` where `ai:` does not say who is asked. Relative
/// paths start at the folder above `config/`, or at the file's own. On error it lists all that is wrong.
pub fn load_migration(
    file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    machine: Machine,
) -> Result<MigrationConfig, ConfigErrors> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let root = default_root(&file);
    let problems = Problems::of(&file);
    let mut tree = read_tree(&file, &problems);
    if let Some(tree) = &mut tree {
        substitute(tree, "", &Sources { env, base: &root }, &problems);
    }
    let resolved = tree.as_ref().and_then(|tree| read(&At::root(tree, &problems), &file, env, machine));
    problems.into_result()?;
    Ok(resolved.expect("what cannot be resolved leaves a problem"))
}

/// Reads the tree. What is wrong is reported; `None` only where something was.
fn read(
    at: &At<'_>,
    file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    machine: Machine,
) -> Option<MigrationConfig> {
    let root = default_root(file);
    let top = at.fields(&["source", "target", "migration", "ai"]);
    let source_fields = top.required("source", SECTION_FORM, None).map(|at| at.fields(&SOURCE_KEYS));
    let target_fields = top.required("target", SECTION_FORM, None).map(|at| at.fields(&TARGET_KEYS));
    let source = source_fields.as_ref().and_then(read_source);
    let target = target_fields.as_ref().and_then(read_target);
    if let (Some(source), Some(target), Some(fields)) = (&source, &target, &target_fields) {
        refuse_the_same(source, target, fields);
    }
    let serves = target_fields.as_ref().is_some_and(read_serves);
    let lever_config = target_fields
        .as_ref()
        .and_then(|fields| fields.get("lever_config"))
        .and_then(|at| existing_file(&at, &root));
    let has_levers = target_fields.as_ref().is_some_and(|fields| fields.get("lever_config").is_some());
    let settings = read_settings(&top, machine, has_levers);
    let ai = ai_section::read(&top, at.problems, env);
    Some(MigrationConfig {
        file: file.to_path_buf(),
        source: source?,
        target: target?,
        serves,
        lever_config,
        settings,
        typed: typed(&top),
        ai,
    })
}

/// Which settings of a run's beginning stand in the file. It reports nothing: reading them does.
fn typed(top: &Fields<'_>) -> BTreeSet<&'static str> {
    let Some(section) = top.get("migration") else { return BTreeSet::new() };
    let Value::Map(entries) = &section.node.value else { return BTreeSet::new() };
    let stands = |key: &&'static str| entries.iter().any(|entry| entry.key == *key && !entry.node.is_null());
    START_KEYS.into_iter().filter(stands).collect()
}

/// One of these words, or one of those that others use for the same and that are not advertised.
pub(super) fn word<T: Copy>(at: &At<'_>, words: &[(&str, T)], others: &[(&str, T)]) -> Option<T> {
    at.scalar().and_then(|text| meaning_of(text, others)).or_else(|| at.one_of(words))
}

/// What the word stands for, without a report.
pub(super) fn meaning_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Option<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
}

fn read_source(fields: &Fields<'_>) -> Option<DatabaseEndpoint> {
    let engine = fields
        .required("type", "postgres, mysql, mariadb", None)
        .and_then(|at| read_engine(&at, &SOURCE_ENGINES));
    read_endpoint(fields, engine)
}

fn read_target(fields: &Fields<'_>) -> Option<DatabaseEndpoint> {
    let engine = match fields.get("type") {
        Some(at) => read_engine(&at, &TARGET_ENGINES),
        None => Some(DatabaseEngine::Postgres),
    };
    read_endpoint(fields, engine)
}

fn read_engine(at: &At<'_>, engines: &[(&str, DatabaseEngine)]) -> Option<DatabaseEngine> {
    if matches!(at.scalar(), Some("mssql" | "sqlserver")) {
        let names: Vec<&str> = engines.iter().map(|(name, _)| *name).collect();
        at.problem(
            format!(
                "found {}: SQL Server comes in a later version; allowed: {}",
                at.found(),
                names.join(", ")
            ),
            None,
        );
        return None;
    }
    word(at, engines, &ALSO_POSTGRES)
}

/// Everything is read before the answer, so that all that is wrong is told at once.
fn read_endpoint(fields: &Fields<'_>, engine: Option<DatabaseEngine>) -> Option<DatabaseEndpoint> {
    let assumed = engine.unwrap_or(DatabaseEngine::Postgres);
    let host = fields.required("host", HOST_FORM, None).and_then(|at| read_host(&at));
    let port = fields.or("port", assumed.default_port(), |at| {
        at.integer(1, 65_535).and_then(|port| u16::try_from(port).ok())
    });
    let database = fields.required("database", "the database's name", None).and_then(|at| at.text());
    let user = fields.required("user", "a role or user", None).and_then(|at| at.text());
    let password = fields.get("password").and_then(|at| at.secret()).filter(|text| !text.is_empty());
    let schema = read_schema(fields, engine, database.as_deref());
    let ssl_mode = fields.or("ssl_mode", SslMode::Prefer, |at| word(at, &SSL_MODES, &MYSQL_SSL_MODES));
    Some(DatabaseEndpoint {
        engine: engine?,
        host: host?,
        port,
        database: database?,
        user: user?,
        password: password.map(Secret::new),
        schema,
        ssl_mode,
    })
}

/// One host. What else people write there is not shown: an address may hold a password.
fn read_host(at: &At<'_>) -> Option<String> {
    let text = at.secret()?;
    let host = text.trim();
    let one_line = !host.is_empty() && !host.chars().any(char::is_control) && !host.contains(',');
    let socket = host.starts_with('/');
    let more = |c: char| c.is_whitespace() || matches!(c, '/' | ':' | '@' | '?' | '=');
    let name = host.parse::<Ipv6Addr>().is_ok() || !host.contains(more);
    if one_line && (socket || name) {
        return Some(host.to_owned());
    }
    at.problem(
        format!(
            "found something that is no host (it is not shown: it may hold a password); allowed: {HOST_FORM}"
        ),
        Some("port, user, password and database have keys of their own".to_owned()),
    );
    None
}

/// The default is PostgreSQL's; MySQL's schemas are its databases. Where engine or database are wrong nothing is said.
fn read_schema(fields: &Fields<'_>, engine: Option<DatabaseEngine>, database: Option<&str>) -> String {
    let given = fields.get("schema");
    let text = given.as_ref().and_then(|at| at.text());
    let (Some(DatabaseEngine::MySql | DatabaseEngine::MariaDb), Some(database)) = (engine, database) else {
        return text.unwrap_or_else(|| "public".to_owned());
    };
    if let (Some(at), Some(text)) = (&given, &text)
        && text.as_str() != database
    {
        at.problem(
            format!("found {}; allowed here: the database's own name", at.found()),
            Some("MySQL's schemas are its databases: name it under `database:`".to_owned()),
        );
    }
    database.to_owned()
}

/// A run that would read what it drops. Other names of the same host are found out when both are connected.
fn refuse_the_same(source: &DatabaseEndpoint, target: &DatabaseEndpoint, fields: &Fields<'_>) {
    let same = source.engine == target.engine
        && source.host.eq_ignore_ascii_case(&target.host)
        && source.port == target.port
        && source.database == target.database
        && source.schema == target.schema;
    if same && let Some(at) = fields.get("database") {
        at.problem(
            "source and target are one database and one schema; allowed: two that differ",
            Some("inside one database give the target another `schema:`".to_owned()),
        );
    }
}

/// A target that serves others needs somebody to say what they are owed.
fn read_serves(fields: &Fields<'_>) -> bool {
    let serves = fields.or("serves", false, At::boolean);
    if serves
        && fields.get("lever_config").is_none()
        && let Some(at) = fields.get("serves")
    {
        at.problem(
            "the target serves others, and nothing says which levels must hold; allowed: true beside `lever_config`",
            Some("name its leverd.yaml, `lever_config: config/leverd.yaml`: its signals are the guards".to_owned()),
        );
    }
    serves
}

fn existing_file(at: &At<'_>, root: &Path) -> Option<PathBuf> {
    let file = path(at, root)?;
    if file.is_file() {
        return Some(file);
    }
    at.refuse(
        "the path of a leverd.yaml that exists",
        Some("a relative path starts at the folder above config/, or at this file's own".to_owned()),
    );
    None
}

fn read_settings(top: &Fields<'_>, machine: Machine, has_levers: bool) -> MigrationSettings {
    let fields = top.section("migration", &MIGRATION_KEYS);
    let count = |key: &str, default: u32, (low, high): (u32, u32)| {
        fields.or(key, default, |at| at.integer(low, high))
    };
    let yes_or_no = |key: &str, default: bool| fields.or(key, default, At::boolean);

    let quarter = cores(machine) / 4;
    let workers = count("workers", cores(machine).saturating_sub(2).clamp(4, 12), WORKERS);
    let chunk_size = count("chunk_size", default_chunk_rows(machine), CHUNK_ROWS);
    let writers = count("write_ahead_writers", quarter.clamp(2, WORKERS.1), WORKERS);
    let readers = count("parallel_readers", quarter.clamp(2, READERS.1), READERS);
    let max_memory_bytes =
        fields.or("max_memory_mb", u64::from(MAX_MEMORY_MB) << 20, |at| read_max_memory(at, machine));
    let buffers = default_buffers(max_memory_bytes, workers, chunk_size);
    MigrationSettings {
        workers,
        chunk_size,
        read_ahead_buffers: count("read_ahead_buffers", buffers, BUFFERS),
        write_ahead_writers: writers,
        parallel_readers: readers,
        max_partitions: count("max_partitions", workers, (1, 1024)),
        large_table_threshold: u64::from(count("large_table_threshold", 5_000_000, (1, u32::MAX))),
        max_source_connections: count(
            "max_source_connections",
            default_connections(workers, readers),
            (2, 1000),
        ),
        max_target_connections: fields.or(
            "max_target_connections",
            default_connections(workers, writers),
            |at| read_target_connections(at, has_levers),
        ),
        max_memory_bytes,
        checkpoint_frequency: fields.or("checkpoint_frequency", None, |at| at.integer(1, 10_000).map(Some)),
        max_retries: count("max_retries", 3, (0, 100)),
        target_mode: fields.or("target_mode", TargetMode::DropRecreate, |at| at.one_of(&TARGET_MODES)),
        tables: read_tables(&fields),
        create_indexes: yes_or_no("create_indexes", true),
        create_foreign_keys: yes_or_no("create_foreign_keys", true),
        create_check_constraints: yes_or_no("create_check_constraints", true),
        strict_consistency: yes_or_no("strict_consistency", false),
        sample_validation: yes_or_no("sample_validation", false),
        ai_adjust: yes_or_no("ai_adjust", false),
        ai_adjust_interval: fields.or("ai_adjust_interval", Duration::from_secs(30), read_interval),
    }
}

/// Processors, where it is known how many.
fn cores(machine: Machine) -> u32 {
    u32::try_from(machine.cores).unwrap_or(u32::MAX)
}

/// 75,000 rows, and 25,000 more for each 8 GB of memory.
fn default_chunk_rows(machine: Machine) -> u32 {
    let megabytes = machine.memory_bytes >> 20;
    let rows = 75_000 + megabytes.saturating_mul(25_000) / (8 * 1024);
    u32::try_from(rows.clamp(50_000, 200_000)).unwrap_or(200_000)
}

/// As many chunks as half of the memory holds, shared by the workers.
fn default_buffers(max_memory_bytes: u64, workers: u32, chunk_rows: u32) -> u32 {
    let chunk_bytes = u64::from(chunk_rows).max(1) * TYPICAL_ROW_BYTES;
    let buffers = max_memory_bytes / 2 / u64::from(workers).max(1) / chunk_bytes;
    u32::try_from(buffers.clamp(4, 32)).unwrap_or(32)
}

/// One for each reader or writer and four beside them; a default takes no more than most servers have to give.
fn default_connections(workers: u32, of_each: u32) -> u32 {
    (workers * of_each + 4).clamp(12, 64)
}

/// The run's own, a writer and a builder of indexes at least.
fn read_target_connections(at: &At<'_>, has_levers: bool) -> Option<u32> {
    let own = CONTROL_CONNECTIONS + if has_levers { LEVER_CONNECTIONS } else { 0 };
    let count = at.integer(1, 1000)?;
    if count >= own + 2 {
        return Some(count);
    }
    at.problem(
        format!("found {}; allowed: a whole number from {} to 1000", at.found(), own + 2),
        Some(format!("the run itself has {own}, and beside them it needs a writer and a builder of indexes")),
    );
    None
}

/// Megabytes in the file, bytes here.
fn read_max_memory(at: &At<'_>, machine: Machine) -> Option<u64> {
    let bytes = u64::from(at.integer(LEAST_MEMORY_MB, 1 << 20)?) << 20;
    if machine.memory_bytes > 0 && bytes > machine.memory_bytes {
        let has = machine.memory_bytes >> 20;
        at.problem(format!("found {}; allowed: at most the {has} MB that there are here", at.found()), None);
        return None;
    }
    Some(bytes)
}

fn read_interval(at: &At<'_>) -> Option<Duration> {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(3600));
    at.read("a duration from 1s to 1h, such as 30s", |text| {
        parse_duration(text).filter(|interval| *interval >= least && *interval <= most)
    })
}

fn read_tables(fields: &Fields<'_>) -> TableFilter {
    let include = read_patterns(fields, "include_tables");
    let exclude = read_patterns(fields, "exclude_tables");
    for (at, pattern) in &exclude {
        if include.iter().any(|(_, other)| other == pattern) {
            at.problem(
                format!("{} stands under include_tables too", at.found()),
                Some("keep one of the two".to_owned()),
            );
        }
    }
    TableFilter {
        include: include.into_iter().map(|(_, pattern)| pattern).collect(),
        exclude: exclude.into_iter().map(|(_, pattern)| pattern).collect(),
    }
}

fn read_patterns<'a>(fields: &Fields<'a>, key: &str) -> Vec<(At<'a>, TablePattern)> {
    let Some(list) = fields.get(key) else { return Vec::new() };
    let mut patterns = Vec::new();
    for item in list.items(TABLES_FORM) {
        if let Some(pattern) = item.read(PATTERN_FORM, TablePattern::parse) {
            patterns.push((item, pattern));
        }
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AiProvider;
    use tempfile::TempDir;

    const MACHINE: Machine = Machine { cores: 8, memory_bytes: 16 << 30 };
    /// The least that there must be, on lines 1 and 2.
    const ENDS: &str = "source: {type: mysql, host: old.example, database: shop, user: ann}\n\
                        target: {host: new.example, database: shop, user: leverd}\n";

    /// A folder with the file, as a user has it.
    struct Project(TempDir);

    impl Project {
        fn new(text: &str) -> Self {
            let project = Self(tempfile::tempdir().unwrap());
            project.write("migration.yaml", text);
            project
        }

        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fn write(&self, file: &str, text: &str) {
            std::fs::write(self.0.path().join(file), text).unwrap();
        }

        fn load_on(
            &self,
            machine: Machine,
            env: &dyn Fn(&str) -> Option<String>,
        ) -> Result<MigrationConfig, ConfigErrors> {
            load_migration(&self.0.path().join("migration.yaml"), env, machine)
        }

        fn load(&self) -> Result<MigrationConfig, ConfigErrors> {
            self.load_on(MACHINE, &|name| (name == "PASSWORD").then(|| "hunter2".to_owned()))
        }

        /// The errors as people see them from the project's folder.
        fn errors(&self) -> String {
            let root = format!("{}/", self.0.path().display());
            match self.load() {
                Ok(_) => "no error".to_owned(),
                Err(errors) => errors.to_string().replace(&root, ""),
            }
        }
    }

    fn load(text: &str) -> MigrationConfig {
        Project::new(text).load().unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// Errors of what stands below good ends, from line 3 on.
    fn errors_below(text: &str) -> String {
        Project::new(&format!("{ENDS}{text}")).errors()
    }

    #[track_caller]
    fn says(errors: &str, lines: &[&str]) {
        for line in lines {
            assert!(errors.lines().any(|found| found == *line), "no line\n{line}\nin\n{errors}");
        }
    }

    #[test]
    fn the_least_file_has_every_default() {
        let config = load(ENDS);
        let settings = &config.settings;
        assert_eq!(config.source.to_string(), "mysql://ann@old.example:3306/shop");
        assert_eq!(config.target.to_string(), "postgres://leverd@new.example:5432/shop");
        assert_eq!((config.source.schema.as_str(), config.target.schema.as_str()), ("shop", "public"));
        assert_eq!((config.source.ssl_mode, &config.source.password), (SslMode::Prefer, &None));
        assert_eq!((config.serves, &config.lever_config), (false, &None));
        assert_eq!((settings.workers, settings.chunk_size), (6, 125_000));
        assert_eq!((settings.write_ahead_writers, settings.parallel_readers), (2, 2));
        assert_eq!((settings.read_ahead_buffers, settings.max_partitions), (4, 6));
        assert_eq!((settings.max_source_connections, settings.max_target_connections), (16, 16));
        assert_eq!((settings.max_memory_bytes, settings.large_table_threshold), (256 << 20, 5_000_000));
        assert_eq!((settings.checkpoint_frequency, settings.max_retries), (None, 3));
        assert_eq!(settings.target_mode, TargetMode::DropRecreate);
        assert_eq!(settings.tables, TableFilter::default());
        assert!(settings.create_indexes && settings.create_foreign_keys && settings.create_check_constraints);
        assert!(!settings.strict_consistency && !settings.sample_validation && !settings.ai_adjust);
        assert_eq!(settings.ai_adjust_interval, Duration::from_secs(30));
        assert!(config.typed.is_empty());
        assert_eq!((config.ai.provider, &config.ai.api_key), (AiProvider::Claude, &None));
        assert_eq!(config.ai.model.as_deref(), Some("claude-haiku-4-5-20251001"));
        assert_eq!(config.ai.endpoint.as_deref(), Some("https://api.anthropic.com"));
        assert_eq!(config.ai.timeout, Duration::from_secs(30));
        assert_eq!(config.warnings(), Vec::<String>::new());
    }

    #[test]
    fn defaults_follow_the_machine() {
        let on = |cores: usize, memory_bytes: u64| {
            let project = Project::new(ENDS);
            project.load_on(Machine { cores, memory_bytes }, &|_| None).unwrap().settings
        };
        let (small, large, unknown) = (on(2, 8 << 30), on(64, 512 << 30), on(0, 0));
        assert_eq!((small.workers, small.chunk_size, small.parallel_readers), (4, 100_000, 2));
        assert_eq!((large.workers, large.chunk_size, large.parallel_readers), (12, 200_000, 4));
        assert_eq!((large.write_ahead_writers, large.max_target_connections), (16, 64));
        assert_eq!((unknown.workers, unknown.chunk_size), (4, 75_000));
        // The promise is leverd's own, whatever the machine has.
        assert_eq!(large.max_memory_bytes, 256 << 20);
    }

    proptest::proptest! {
        #[test]
        fn every_machine_gets_defaults_inside_the_bounds(
            cores in 0_usize..=100_000,
            memory_bytes in 0_u64..u64::MAX,
        ) {
            let machine = Machine { cores, memory_bytes };
            let problems = Problems::of(Path::new("x.yaml"));
            let tree = crate::config::document::parse("", &problems).unwrap();
            let settings = read_settings(&At::root(&tree, &problems).fields(&[]), machine, false);
            let inside = |value: u32, (low, high): (u32, u32)| (low..=high).contains(&value);
            proptest::prop_assert!(problems.is_empty());
            proptest::prop_assert!(inside(settings.workers, WORKERS));
            proptest::prop_assert!(inside(settings.write_ahead_writers, WORKERS));
            proptest::prop_assert!(inside(settings.parallel_readers, READERS));
            proptest::prop_assert!(inside(settings.read_ahead_buffers, BUFFERS));
            proptest::prop_assert!(inside(settings.chunk_size, CHUNK_ROWS));
        }

        #[test]
        fn any_password_arrives_as_it_is(password in "[^\0]{1,40}") {
            let project = Project::new(
                "source: {type: postgres, host: old.example, database: shop, user: ann, password: '${env:SECRET}'}\n\
                 target: {host: new.example, database: shop, user: leverd, password: '${env:SECRET}'}\n",
            );
            let config = project.load_on(MACHINE, &|name| (name == "SECRET").then(|| password.clone())).unwrap();
            for endpoint in [&config.source, &config.target] {
                proptest::prop_assert_eq!(endpoint.password.as_ref().map(Secret::expose), Some(password.as_str()));
                let parsed: tokio_postgres::Config = endpoint.postgres_dsn().expose().parse().unwrap();
                proptest::prop_assert_eq!(parsed.get_password(), Some(password.as_bytes()));
            }
        }
    }

    #[test]
    fn a_password_may_stand_in_the_file_or_in_another() {
        let project = Project::new(
            "source: {type: mysql, host: h, database: d, user: u, password: ' p''w $${x} : # {'}\n\
             target: {host: h, database: d, user: u, password: '${file:secret}'}\n",
        );
        project.write("secret", " hunter2 \n");
        let config = project.load().unwrap();
        let of =
            |endpoint: &DatabaseEndpoint| endpoint.password.as_ref().map(|secret| secret.expose().to_owned());
        assert_eq!(of(&config.source).as_deref(), Some(" p'w ${x} : # {"));
        assert_eq!(of(&config.target).as_deref(), Some(" hunter2 "));
        assert!(!format!("{config:?}").contains("hunter2"));
        let none = load(
            "source: {type: mysql, host: h, database: d, user: u, password: ''}\n\
                         target: {host: h, database: d, user: u}\n",
        );
        assert_eq!((&none.source.password, &none.target.password), (&None, &None));
    }

    #[test]
    fn every_key_is_read() {
        let project = Project::new(
            "source:\n  {type: pg, host: /run/postgresql, port: 5433, database: shop, user: ann, schema: old,\n   \
             ssl_mode: verify-full}\n\
             target:\n  {type: postgres, host: '::1', port: 6000, database: shop2, user: leverd, schema: new,\n   \
             ssl_mode: REQUIRED, serves: true, lever_config: tuning.yaml}\n\
             migration:\n  workers: 16\n  chunk_size: 1000\n  read_ahead_buffers: 32\n  write_ahead_writers: 1\n  \
             parallel_readers: 4\n  max_partitions: 3\n  large_table_threshold: 7\n  max_source_connections: 2\n  \
             max_target_connections: 1000\n  max_memory_mb: 64\n  checkpoint_frequency: 1\n  max_retries: 0\n  \
             target_mode: upsert\n  include_tables: [orders, 'old.*']\n  exclude_tables: [temp_*]\n  \
             create_indexes: false\n  create_foreign_keys: no\n  create_check_constraints: off\n  \
             strict_consistency: true\n  sample_validation: yes\n  ai_adjust: on\n  ai_adjust_interval: 1m30s\n\
             ai:\n  {api_key: '${env:PASSWORD}', provider: openai, model: o, endpoint: 'http://127.0.0.1:8080/',\n   \
             timeout_seconds: 5}\n",
        );
        project.write("tuning.yaml", "");
        let config = project.load().unwrap_or_else(|errors| panic!("{errors}"));
        let patterns = |texts: &[&str]| -> Vec<TablePattern> {
            texts.iter().filter_map(|text| TablePattern::parse(text)).collect()
        };
        assert_eq!(config.source.to_string(), "postgres://ann@/run/postgresql:5433/shop");
        assert_eq!(config.target.to_string(), "postgres://leverd@::1:6000/shop2");
        assert_eq!((config.source.schema.as_str(), config.target.schema.as_str()), ("old", "new"));
        assert_eq!((config.source.ssl_mode, config.target.ssl_mode), (SslMode::VerifyFull, SslMode::Require));
        assert!(config.serves && config.lever_config.as_ref().is_some_and(|file| file.is_absolute()));
        assert_eq!(
            config.settings,
            MigrationSettings {
                workers: 16,
                chunk_size: 1000,
                read_ahead_buffers: 32,
                write_ahead_writers: 1,
                parallel_readers: 4,
                max_partitions: 3,
                large_table_threshold: 7,
                max_source_connections: 2,
                max_target_connections: 1000,
                max_memory_bytes: 64 << 20,
                checkpoint_frequency: Some(1),
                max_retries: 0,
                target_mode: TargetMode::Upsert,
                tables: TableFilter {
                    include: patterns(&["orders", "old.*"]),
                    exclude: patterns(&["temp_*"]),
                },
                create_indexes: false,
                create_foreign_keys: false,
                create_check_constraints: false,
                strict_consistency: true,
                sample_validation: true,
                ai_adjust: true,
                ai_adjust_interval: Duration::from_secs(90),
            }
        );
        assert_eq!(config.typed, BTreeSet::from(START_KEYS));
        assert_eq!((config.ai.provider, config.ai.can_ask()), (AiProvider::OpenAi, true));
        assert_eq!(config.ai.endpoint.as_deref(), Some("http://127.0.0.1:8080"));
        assert_eq!(config.ai.timeout, Duration::from_secs(5));
        let told =
            "migration.checkpoint_frequency has no effect: every chunk is recorded together with its rows";
        assert_eq!(config.warnings(), [told]);
    }

    #[test]
    fn what_stands_in_the_file_is_known_from_what_the_machine_gave() {
        let typed = |text: &str| load(&format!("{ENDS}{text}")).typed;
        assert!(typed("migration:\n").is_empty());
        assert!(typed("migration: {max_retries: 1, workers: ~}\n").is_empty(), "nothing is said of workers");
        // Also where it is what the default would be.
        let text = "migration: {write_ahead_writers: 2, chunk_size: 125000}\n";
        assert_eq!(typed(text), BTreeSet::from(["chunk_size", "write_ahead_writers"]));
    }

    #[test]
    fn what_is_missing_is_named() {
        says(
            &Project::new("").errors(),
            &[
                "migration.yaml:1: source: found nothing; allowed: a mapping with at least host, database and user",
                "migration.yaml:1: target: found nothing; allowed: a mapping with at least host, database and user",
            ],
        );
        let errors = Project::new("source: {}\ntarget: {host: h}\n").errors();
        says(
            &errors,
            &[
                "migration.yaml:1: source.type: found nothing; allowed: postgres, mysql, mariadb",
                "migration.yaml:1: source.database: found nothing; allowed: the database's name",
                "migration.yaml:1: source.user: found nothing; allowed: a role or user",
                "migration.yaml:2: target.database: found nothing; allowed: the database's name",
                "migration.yaml:2: target.user: found nothing; allowed: a role or user",
            ],
        );
        assert!(errors.contains("migration.yaml:1: source.host: found nothing; allowed: one host's name"));
        let unset = Project::new("source: {type: mysql, password: '${env:NOPE}'}\n").errors();
        assert!(
            unset.contains("migration.yaml:1: source.password: the environment variable NOPE is not set"),
            "{unset}"
        );
    }

    #[test]
    fn unknown_keys_and_words_are_refused_with_the_nearest() {
        let errors = errors_below(
            "migation: {}\nmigration:\n  chunk_sise: 5\n  target_mode: upsrt\n  create_indexes: maybe\n\
             ai: {provider: cluade}\n",
        );
        says(
            &errors,
            &[
                "migration.yaml:3: migation: this key is not known; allowed: source, target, migration, ai",
                "  hint: did you mean migration?",
                "  hint: did you mean chunk_size?",
                "migration.yaml:6: migration.target_mode: found \"upsrt\"; allowed: drop_recreate, truncate, append, \
                 upsert",
                "  hint: did you mean upsert?",
                "migration.yaml:7: migration.create_indexes: found \"maybe\"; allowed: true, false",
                "migration.yaml:8: ai.provider: found \"cluade\"; allowed: claude, openai, ollama, rules, model",
                "  hint: did you mean claude?",
            ],
        );
        assert!(
            errors.contains(
                "migration.yaml:5: migration.chunk_sise: this key is not known; allowed: workers, "
            )
        );
        let ends = "source: {type: postgrse, host: h, database: d, user: u, serves: true}\n\
                    target: {host: h, database: e, user: u, ssl_mode: requird}\n";
        says(
            &Project::new(ends).errors(),
            &[
                "migration.yaml:1: source.type: found \"postgrse\"; allowed: postgres, mysql, mariadb",
                "  hint: did you mean postgres?",
                "migration.yaml:1: source.serves: this key is not known; allowed: type, host, port, database, user, \
                 password, schema, ssl_mode",
                "migration.yaml:2: target.ssl_mode: found \"requird\"; allowed: disable, prefer, require, verify-ca, \
                 verify-full",
                "  hint: did you mean require?",
            ],
        );
    }

    #[test]
    fn numbers_keep_to_their_bounds() {
        says(
            &errors_below(
                "migration:\n  workers: 17\n  chunk_size: 999\n  read_ahead_buffers: 1\n  write_ahead_writers: 0\n  \
                 parallel_readers: 5\n  max_partitions: all\n  max_memory_mb: 63\n  max_source_connections: 1\n  \
                 ai_adjust_interval: 30\n  max_retries: -1\nai: {timeout_seconds: 30s}\n",
            ),
            &[
                "migration.yaml:4: migration.workers: found \"17\"; allowed: a whole number from 1 to 16",
                "migration.yaml:5: migration.chunk_size: found \"999\"; allowed: a whole number from 1000 to 500000",
                "migration.yaml:6: migration.read_ahead_buffers: found \"1\"; allowed: a whole number from 2 to 32",
                "migration.yaml:7: migration.write_ahead_writers: found \"0\"; allowed: a whole number from 1 to 16",
                "migration.yaml:8: migration.parallel_readers: found \"5\"; allowed: a whole number from 1 to 4",
                "migration.yaml:9: migration.max_partitions: found \"all\"; allowed: a whole number from 1 to 1024",
                "migration.yaml:10: migration.max_memory_mb: found \"63\"; allowed: a whole number from 64 to 1048576",
                "migration.yaml:11: migration.max_source_connections: found \"1\"; allowed: a whole number from 2 to \
                 1000",
                "migration.yaml:12: migration.ai_adjust_interval: found \"30\"; allowed: a duration from 1s to 1h, \
                 such as 30s",
                "migration.yaml:13: migration.max_retries: found \"-1\"; allowed: a whole number from 0 to 100",
                "migration.yaml:14: ai.timeout_seconds: found \"30s\"; allowed: a whole number from 1 to 600",
            ],
        );
        says(
            &errors_below("migration: {max_memory_mb: 20000}\n"),
            &[
                "migration.yaml:3: migration.max_memory_mb: found \"20000\"; allowed: at most the 16384 MB that there \
               are here",
            ],
        );
    }

    #[test]
    fn a_target_needs_room_for_a_writer_and_a_builder() {
        let found = errors_below("migration: {max_target_connections: 3}\n");
        assert!(found.contains("found \"3\"; allowed: a whole number from 4 to 1000"), "{found}");
        assert!(found.contains("a writer and a builder"), "{found}");
        assert_eq!(errors_below("migration: {max_target_connections: 4}\n"), "no error");
    }

    #[test]
    fn sql_server_comes_later() {
        let ends = "source: {type: mssql, host: h, database: d, user: u}\n\
                    target: {type: sqlserver, host: h, database: d, user: u}\n";
        says(
            &Project::new(ends).errors(),
            &[
                "migration.yaml:1: source.type: found \"mssql\": SQL Server comes in a later version; allowed: \
                 postgres, mysql, mariadb",
                "migration.yaml:2: target.type: found \"sqlserver\": SQL Server comes in a later version; allowed: \
                 postgres",
            ],
        );
        let mysql = ENDS.replace("target: {", "target: {type: mysql, ");
        says(
            &Project::new(&mysql).errors(),
            &["migration.yaml:2: target.type: found \"mysql\"; allowed: postgres"],
        );
    }

    #[test]
    fn an_address_is_no_host_and_is_not_shown() {
        for host in [
            "postgresql://u:hunter2@h/d",
            "u:hunter2@h",
            "h:5432",
            "a,b",
            "two words",
            "h/hunter2",
            "",
            "${env:PASSWORD} x",
        ] {
            let errors = Project::new(&ENDS.replace("old.example", &format!("'{host}'"))).errors();
            assert!(
                errors.contains("migration.yaml:1: source.host: found something that is no host"),
                "{errors}"
            );
            assert!(!errors.contains("hunter2"), "{errors}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let ends = "source: {type: '${env:PASSWORD}', host: h, port: '${env:PASSWORD}', database: d, user: u,\n  \
                    password: [hunter2]}\n\
                    target: {host: h, database: d, user: u, ssl_mode: '${env:PASSWORD}'}\n\
                    ai: {api_key: two hunter2, endpoint: 'http://u:hunter2@h', provider: '${env:PASSWORD}'}\n";
        let errors = Project::new(ends).errors();
        says(
            &errors,
            &[
                "migration.yaml:1: source.type: found \"${env:PASSWORD}\"; allowed: postgres, mysql, mariadb",
                "migration.yaml:1: source.port: found \"${env:PASSWORD}\"; allowed: a whole number from 1 to 65535",
                "migration.yaml:2: source.password: found something that is no text; allowed: a text, ${env:NAME}, \
                 ${file:PATH}",
                "migration.yaml:4: ai.api_key: found a key with blanks or line breaks inside (it is not shown); \
                 allowed: one word",
            ],
        );
        assert!(!errors.contains("hunter2"), "{errors}");
    }

    #[test]
    fn patterns_are_names_and_stand_on_one_side() {
        let errors = errors_below(
            "migration:\n  include_tables: [a.b.c, '[ab]*', 'shop.*', orders]\n  exclude_tables: [orders]\n",
        );
        let refused = |index: u32, found: &str| {
            format!(
                "migration.yaml:4: migration.include_tables[{index}]: found {found}; allowed: {PATTERN_FORM}"
            )
        };
        says(
            &errors,
            &[
                refused(0, "\"a.b.c\"").as_str(),
                refused(1, "\"[ab]*\"").as_str(),
                "migration.yaml:5: migration.exclude_tables[0]: \"orders\" stands under include_tables too",
            ],
        );
        assert!(!errors.contains("include_tables[2]"), "{errors}");
        says(
            &errors_below("migration: {exclude_tables: temp_*}\n"),
            &[
                "migration.yaml:3: migration.exclude_tables: found \"temp_*\"; allowed: a list of tables' names",
            ],
        );
    }

    #[test]
    fn one_database_is_not_moved_onto_itself() {
        let ends = |schema: &str| {
            format!(
                "source: {{type: postgres, host: Db.example, database: shop, user: ann}}\n\
                 target: {{host: db.example, database: shop, user: leverd, schema: {schema}}}\n"
            )
        };
        says(
            &Project::new(&ends("public")).errors(),
            &[
                "migration.yaml:2: target.database: source and target are one database and one schema; allowed: two \
                 that differ",
                "  hint: inside one database give the target another `schema:`",
            ],
        );
        assert_eq!(Project::new(&ends("copy")).errors(), "no error");
        let mysql = ENDS.replace("user: ann", "user: ann, schema: public");
        says(
            &Project::new(&mysql).errors(),
            &["migration.yaml:1: source.schema: found \"public\"; allowed here: the database's own name"],
        );
    }

    #[test]
    fn a_target_that_serves_others_names_its_levels() {
        let with = |keys: &str| Project::new(&ENDS.replace("user: leverd", &format!("user: leverd, {keys}")));
        let errors = with("serves: true").errors();
        assert!(
            errors.contains("migration.yaml:2: target.serves: the target serves others, and nothing"),
            "{errors}"
        );
        let project = with("serves: true, lever_config: config/leverd.yaml");
        says(
            &project.errors(),
            &["migration.yaml:2: target.lever_config: found \"config/leverd.yaml\"; allowed: the path of a \
               leverd.yaml that exists"],
        );
        std::fs::create_dir(project.0.path().join("config")).unwrap();
        project.write("config/leverd.yaml", "");
        let config = project.load().unwrap();
        assert!(config.serves && config.lever_config.is_some());
        assert!(config.warnings()[0].starts_with("the target serves others"), "{:?}", config.warnings());
    }

    #[test]
    fn who_is_asked_may_come_from_the_environment() {
        let with = |text: &str, provider: &str, key: &str| {
            let env = |name: &str| match name {
                "DMT_AI_PROVIDER" => Some(provider.to_owned()),
                "DMT_AI_API_KEY" => Some(key.to_owned()),
                _ => None,
            };
            Project::new(&format!("{ENDS}{text}")).load_on(MACHINE, &env)
        };
        let of = |text: &str, provider: &str, key: &str| with(text, provider, key).unwrap().ai;
        let asked = of("", "anthropic", " sk-1\n");
        assert_eq!((asked.provider, asked.api_key), (AiProvider::Claude, Some(Secret::new("sk-1"))));
        let asked = of("ai: {provider: openai, api_key: sk-2}\n", "claude", "sk-1");
        assert_eq!((asked.provider, asked.api_key), (AiProvider::OpenAi, Some(Secret::new("sk-2"))));
        let nobody = of("ai: {api_key: '${env:NOPE:-}'}\n", "", "");
        assert_eq!((nobody.provider, nobody.can_ask()), (AiProvider::Claude, false));
        let rules = of("ai: {provider: rules, model: x, endpoint: 'http://h'}\n", "", "sk-1");
        assert_eq!((rules.can_ask(), rules.model, rules.endpoint), (false, None, None));
        let errors = with("", "hunter2", "").unwrap_err().to_string();
        assert!(
            errors.contains("ai.provider: the environment variable DMT_AI_PROVIDER names no provider"),
            "{errors}"
        );
        assert!(!errors.contains("hunter2"), "{errors}");
    }

    #[test]
    fn a_service_without_a_key_or_a_model_is_told() {
        let config = load(&format!("{ENDS}migration: {{ai_adjust: true}}\n"));
        assert_eq!(config.warnings(), ["ai.provider is claude and there is no ai.api_key: the rules decide"]);
        let config = load(&format!("{ENDS}ai: {{api_key: sk-1, endpoint: 'http://llm.example'}}\n"));
        assert!(config.warnings()[0].contains("crosses the network in clear"), "{:?}", config.warnings());
        says(
            &errors_below("ai: {provider: ollama}\n"),
            &[
                "migration.yaml:3: ai.model: found nothing; allowed: a model that this Ollama has (`ollama list`)",
            ],
        );
        let ollama = load(&format!("{ENDS}ai: {{provider: ollama, model: 'qwen2.5:7b'}}\n")).ai;
        assert_eq!(ollama.endpoint.as_deref(), Some("http://localhost:11434"));
        assert!(ollama.can_ask());
    }

    /// The shipped file says nothing; with every comment taken off it says every key, and the defaults.
    #[test]
    fn the_shipped_file_shows_every_key_and_its_default() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/migration.yaml");
        let text = std::fs::read_to_string(shipped).unwrap();
        assert!(Project::new(&text).errors().contains("migration.yaml:1: source: found nothing"));
        let is_code =
            |line: &&str| line.starts_with('#') && (line.starts_with("#  ") || !line.starts_with("# "));
        let lines: Vec<&str> = text.lines().filter(is_code).map(|line| &line[1..]).collect();
        for key in SOURCE_KEYS.iter().chain(&TARGET_KEYS).chain(&MIGRATION_KEYS).chain(&ai_section::KEYS) {
            assert!(lines.iter().any(|line| line.starts_with(&format!("  {key}: "))), "{key} is not there");
        }
        let project = Project::new(&lines.join("\n"));
        std::fs::create_dir(project.0.path().join("config")).unwrap();
        project.write("config/leverd.yaml", "");
        let env = |name: &str| matches!(name, "SOURCE_PASS" | "TARGET_PASS").then(|| "hunter2".to_owned());
        let shown = project.load_on(MACHINE, &env).unwrap_or_else(|errors| panic!("{errors}"));
        let defaults = load(ENDS);
        let (mut settings, ai) = (shown.settings, shown.ai);
        // dmt's default. It has no effect, and a file without it is told nothing.
        assert_eq!(settings.checkpoint_frequency.take(), Some(10));
        assert_eq!((settings, ai), (defaults.settings, defaults.ai));
        for (shown, default) in [(&shown.source, &defaults.source), (&shown.target, &defaults.target)] {
            assert_eq!((shown.engine, shown.port), (default.engine, default.port));
            assert_eq!(shown.ssl_mode, default.ssl_mode);
            assert_eq!(shown.password, Some(Secret::new("hunter2")));
        }
        assert_eq!((shown.target.schema.as_str(), shown.serves), ("public", false));
    }
}
