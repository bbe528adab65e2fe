//! `leverd run`: the daemon.

use super::{EXIT_DONE, Global, configured, signals};
use crate::config::watch::ConfigWatch;
use crate::config::{self, Config};
use crate::daemon::{Requests, serve};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Arguments of `leverd run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it until SIGTERM or SIGINT, which park an open trial. SIGHUP, and a change of a configuration file, reload.
pub(crate) async fn run(global: &Global, _args: Args) -> anyhow::Result<ExitCode> {
    let (config, _lock) = match configured::load_and_lock(global) {
        Ok(both) => both,
        Err(code) => return Ok(code),
    };
    let requests = Requests::default();
    let file = config.file.clone();
    let changes = watch(&watched(&config));
    let reloads = forward(changes, Arc::clone(&requests.reload));
    let load = move || config::load(&file, &|name| std::env::var(name).ok());
    let work = signals::until_stopped(serve(config, load, requests.clone()), &requests.stop);
    tokio::select! {
        done = work => done?,
        () = reloads => unreachable!("it waits for ever"),
    }
    Ok(ExitCode::from(EXIT_DONE))
}

fn watched(config: &Config) -> Vec<PathBuf> {
    vec![config.file.clone(), config.levers_file.clone()]
}

/// Without a watch SIGHUP still reloads: it is told, and no reason not to run.
fn watch(files: &[PathBuf]) -> Option<ConfigWatch> {
    config::watch::watch(files)
        .inspect_err(|error| tracing::warn!("{error}: {} ({})", error.source, error.hint()))
        .ok()
}

/// SIGHUP and changed files both ask for a reload.
async fn forward(mut watch: Option<ConfigWatch>, reload: Arc<Notify>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return std::future::pending().await };
    loop {
        let changed = async {
            match &mut watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hangup.recv() => {}
            _ = changed => {}
        }
        reload.notify_one();
    }
}
