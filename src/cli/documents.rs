//! `leverd completions` and `leverd man`: what shells and readers are given, made from the command line itself.

use super::{Cli, EXIT_DONE};
use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `leverd completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// Whose
    shell: Shell,
}

/// Arguments of `leverd man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The folder to write leverd.1, leverd-run.1, … into; made where it is not there
    folder: PathBuf,
}

/// Prints the completions.
pub(crate) fn completions(args: &Completions) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "leverd", &mut text);
    std::io::stdout().write_all(&text).context("printing")?;
    Ok(ExitCode::from(EXIT_DONE))
}

/// Writes the pages.
pub(crate) fn man(args: &Man) -> anyhow::Result<ExitCode> {
    let folder = &args.folder;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("writing into {}", folder.display()))?;
    Ok(ExitCode::from(EXIT_DONE))
}
