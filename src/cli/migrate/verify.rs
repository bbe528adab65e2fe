//! `leverd migrate verify`: whether the target holds what the source holds.
//!
//! In: the configuration. Out: the comparison's report on stdout. Always holds: it only reads, on both sides; what was
//! compared less than exactly is in the report.

use super::failure;
use super::figures::counted;
use crate::cli::{EXIT_DONE, EXIT_FAILED, Global};
use crate::config::MigrationConfig;
use crate::migrate::comparison::{CompareError, compare};
use crate::migrate::quote::shown;
use crate::migrate::verify::{Depth, TableReport};
use std::io::Write;
use std::process::ExitCode;

/// Arguments of `leverd migrate verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Count all rows, and compare about so many of each table [default: compare all]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Which rows a sample takes: the same number takes the same rows [default: the time]
    #[arg(long, value_name = "N", requires = "sample")]
    seed: Option<u64>,
    /// Sessions on each side
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    sessions: u32,
}

/// Runs it. 0: the target holds the same, but for rejected rows; 1: it does not, or it cannot be told; 64: there is no
/// plan.
pub(super) async fn run(global: &Global, config: &MigrationConfig, args: &Args) -> anyhow::Result<ExitCode> {
    let depth = match args.sample {
        None => Depth::Everything,
        Some(rows) => {
            let seed = args.seed.unwrap_or_else(|| super::now().timestamp().unsigned_abs());
            eprintln!("comparing a sample; --seed {seed} takes the same rows again");
            Depth::Sample { rows, seed }
        }
    };
    let quiet = global.json || global.no_tty;
    let mut done: u64 = 0;
    let mut told = |table: &TableReport| {
        done += 1;
        if !quiet {
            eprintln!("{}. {} is compared", counted(done), shown(&table.source));
        }
    };
    let report = match compare(config, depth, args.sessions as usize, &mut told).await {
        Ok(report) => report,
        Err(CompareError::Migration(error)) => return Ok(failure::tell(&error)),
        Err(error) => {
            eprintln!("leverd: {error}");
            return Ok(ExitCode::from(EXIT_FAILED));
        }
    };
    let mut out = std::io::stdout().lock();
    if global.json {
        let mut value = serde_json::to_value(&report)?;
        value["clean"] = report.is_clean().into();
        writeln!(out, "{value:#}")?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(ExitCode::from(if report.is_clean() { EXIT_DONE } else { EXIT_FAILED }))
}
