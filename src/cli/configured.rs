//! The configuration for a command: found, loaded, or its errors on stderr and exit code 64.

use super::{EXIT_BAD_CONFIG, EXIT_FAILED, EXIT_TRY_LATER, Global};
use crate::config::{self, Config, ConfigErrors};
use crate::daemon::{Lock, LockError};
use std::process::ExitCode;

/// Finds and loads the configuration. On error all that is wrong is on stderr already, and the command returns
/// the exit code: `let config = match load_config(global) { Ok(config) => config, Err(code) => return Ok(code) };`
pub(crate) fn load_config(global: &Global) -> Result<Config, ExitCode> {
    try_load(global).map_err(|errors| {
        eprintln!("{errors}");
        ExitCode::from(EXIT_BAD_CONFIG)
    })
}

/// The same, and the right to act on the target, which ends with the lock.
pub(crate) fn load_and_lock(global: &Global) -> Result<(Config, Lock), ExitCode> {
    let config = load_config(global)?;
    match Lock::take(&config.paths.lock) {
        Ok(lock) => Ok((config, lock)),
        Err(error) => {
            eprintln!("leverd: {error}");
            let held = matches!(error, LockError::Held { .. });
            Err(ExitCode::from(if held { EXIT_TRY_LATER } else { EXIT_FAILED }))
        }
    }
}

/// The same as [`load_config`], with the errors for the caller to show.
pub(crate) fn try_load(global: &Global) -> Result<Config, ConfigErrors> {
    // A working folder that is gone leaves relative paths as they are: opening them then says so.
    let here = std::env::current_dir().unwrap_or_default();
    let file = config::find(global.config.as_deref(), &here)?;
    config::load(&file, &|name| std::env::var(name).ok())
}
