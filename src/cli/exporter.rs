//! `leverd exporter`: the exporter alone, for a host or a Postgres that nothing is tuned on.

use super::{EXIT_BAD_CONFIG, Global, configured, listening};
use crate::api::{self, ApiState, Readiness};
use crate::config::{self, Config, ConfigErrors, ExporterConfig, Secret};
use crate::exporter::{self, Exporter, Options};
use anyhow::Context as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// postgres_exporter's port, so that a Prometheus that knows it finds leverd too.
const DEFAULT_PORT: u16 = 9187;

/// How long the tasks may take to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Arguments of `leverd exporter`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen, e.g. `127.0.0.1:9187` (the default) or `[::1]:9187`
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Listen beyond loopback too: anyone who reaches the port can read the metrics, there is no token yet
    #[arg(long)]
    allow_remote: bool,
    /// How to reach Postgres [default: the configuration's target, else PGHOST, PGPORT, PGUSER, PGPASSWORD,
    /// PGDATABASE, else no Postgres metrics]
    #[arg(long, value_name = "DSN", env = "LEVERD_DSN", hide_env_values = true)]
    dsn: Option<String>,
    /// Leave out the node_* set, for use beside a node_exporter; temperatures under leverd's names stay
    #[arg(long)]
    no_host: bool,
    /// Leave out Postgres
    #[arg(long)]
    no_postgres: bool,
    /// No write probe: it makes the table leverd.leverd_write_probe and commits to it once a second
    #[arg(long)]
    no_write_probe: bool,
    /// Seconds between two samples
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    sample_every: Option<Duration>,
    /// Where /proc is
    #[arg(long = "path.procfs", value_name = "DIR")]
    procfs: Option<PathBuf>,
    /// Where /sys is
    #[arg(long = "path.sysfs", value_name = "DIR")]
    sysfs: Option<PathBuf>,
}

/// Runs it until SIGINT or SIGTERM.
pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let configured = match configured(global, &args) {
        Ok(configured) => configured,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(ExitCode::from(EXIT_BAD_CONFIG));
        }
    };
    let listen = match &args.listen {
        Some(text) => listening::address("--listen", "127.0.0.1:9187", text).await?,
        None => configured
            .as_ref()
            .map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)), |config| config.exporter.listen),
    };
    if !listening::is_loopback(listen.ip()) && !args.allow_remote {
        eprintln!(
            "leverd: --listen {listen} is reachable from other machines, and /metrics has no token yet: anyone \
             there could read database names, sizes and load.\nhint: listen on 127.0.0.1 and let Prometheus scrape \
             it locally or through a tunnel, or say --allow-remote where the network is trusted"
        );
        return Ok(ExitCode::from(EXIT_BAD_CONFIG));
    }
    let options = options(&args, configured.as_ref(), listen);
    if let Some(Err(error)) = options.dsn.as_ref().map(|dsn| dsn.expose().parse::<tokio_postgres::Config>()) {
        // The parser's words name a key at most, never a value.
        eprintln!(
            "leverd: the Postgres address cannot be read: {error}{}\nhint: write it as \
             postgresql://user@host:5432/database",
            std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default()
        );
        return Ok(ExitCode::from(EXIT_BAD_CONFIG));
    }
    let bound = TcpListener::bind(listen).await;
    let listener = bound.map_err(|error| listening::not_bound("--listen", listen, &error))?;
    serve(listener, options).await?;
    Ok(ExitCode::SUCCESS)
}

/// What `leverd.yaml` says: the one that is named, else, where no DSN is given, the one that is found. Without any the
/// exporter still serves the host.
fn configured(global: &Global, args: &Args) -> Result<Option<Config>, ConfigErrors> {
    let here = std::env::current_dir().unwrap_or_default();
    let wanted = global.config.is_some() || (args.dsn.is_none() && config::find(None, &here).is_ok());
    if wanted { configured::try_load(global).map(Some) } else { Ok(None) }
}

async fn serve(listener: TcpListener, options: Options) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let tracker = TaskTracker::new();
    let with_postgres = options.dsn.is_some() && options.sets.postgres;
    let exporter = exporter::start(options, &tracker, shutdown.clone())?;
    let at = listener.local_addr().context("the listener has no address")?;
    writeln!(std::io::stdout().lock(), "http://{at}/metrics")?;
    let sets = if with_postgres { "host and Postgres" } else { "host only" };
    tracing::info!(listen.address = %at, "the exporter serves: {sets}");
    tracker.spawn(api::serve(listener, state_of(exporter), shutdown.clone()));
    tracker.close();
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
    }
    shutdown.cancel();
    if tokio::time::timeout(DRAIN, tracker.wait()).await.is_err() {
        tracing::warn!("some tasks did not end in time; leaving them");
    }
    Ok(())
}

fn state_of(exporter: Exporter) -> ApiState {
    let of_metrics = exporter.clone();
    let readiness = move || {
        let (ready, reason) = exporter.readiness();
        Readiness { ready, reason }
    };
    ApiState::showing(move || of_metrics.render(), readiness)
}

fn options(args: &Args, configured: Option<&Config>, listen: SocketAddr) -> Options {
    let base = configured.map_or_else(defaults, |config| config.exporter.clone());
    let dsn = args.dsn.as_deref().map(Secret::new);
    let dsn = dsn.or_else(|| Some(configured?.target.dsn.clone()));
    let dsn = dsn.or_else(|| dsn_from(|name| std::env::var(name).ok()).map(Secret::new));
    let sets = ExporterConfig {
        listen,
        host: base.host && !args.no_host,
        postgres: base.postgres && !args.no_postgres,
        write_probe: base.write_probe && !args.no_write_probe,
        sample_every: args.sample_every.unwrap_or(base.sample_every),
        procfs: args.procfs.clone().unwrap_or(base.procfs),
        sysfs: args.sysfs.clone().unwrap_or(base.sysfs),
    };
    Options { sets, dsn }
}

fn defaults() -> ExporterConfig {
    ExporterConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
        host: true,
        postgres: true,
        write_probe: true,
        sample_every: Duration::from_secs(1),
        procfs: "/proc".into(),
        sysfs: "/sys".into(),
    }
}

/// libpq's own variables as a DSN; `None` where they name no server.
fn dsn_from(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let keys = [
        ("PGHOST", "host"),
        ("PGPORT", "port"),
        ("PGUSER", "user"),
        ("PGPASSWORD", "password"),
        ("PGDATABASE", "dbname"),
        ("PGSSLMODE", "sslmode"),
    ];
    variable("PGHOST").filter(|host| !host.is_empty())?;
    let pairs = keys.into_iter().filter_map(|(name, key)| {
        let value = variable(name).filter(|value| !value.is_empty())?;
        Some(format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")))
    });
    Some(pairs.collect::<Vec<_>>().join(" "))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("{text} is not between 0.1 and 3600 seconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libpqs_variables_become_a_dsn() {
        let with = |name: &str| match name {
            "PGHOST" => Some("127.0.0.1".to_owned()),
            "PGUSER" => Some("o'brien".to_owned()),
            "PGPASSWORD" => Some(r"back\slash and blank".to_owned()),
            _ => None,
        };
        let dsn = dsn_from(with).unwrap();
        let parsed: tokio_postgres::Config = dsn.parse().unwrap();
        assert_eq!(parsed.get_user(), Some("o'brien"));
        assert_eq!(parsed.get_password(), Some(br"back\slash and blank".as_slice()));
        assert_eq!(dsn_from(|_| None), None);
    }

    #[test]
    fn an_interval_must_make_sense() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for odd in ["0", "-1", "nan", "4000", "x"] {
            assert!(seconds(odd).is_err(), "{odd}");
        }
    }
}
