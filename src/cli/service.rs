//! `leverd service`: installs leverd as a service of the system's own manager, takes it away again, and shows it.
//!
//! systemd's unit and launchd's agent are the files under `packaging/`, with the program's and the configuration's paths
//! filled in. A file that is there and was not made by this is not written over.

use super::{EXIT_DONE, EXIT_FAILED, Global};
use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const UNIT: &str = include_str!("../../packaging/systemd/leverd.service");
const AGENT: &str = include_str!("../../packaging/launchd/org.leverd.leverd.plist");
const LABEL: &str = "org.leverd.leverd";
/// The line or comment by which a file is known to be ours.
const MARK: &str = "installed by `leverd service install`";

/// Arguments of `leverd service`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Action,
    /// Whose service it is to be [default: launchd on macOS, else systemd]
    #[arg(long, global = true, value_enum)]
    manager: Option<Manager>,
    /// The root of the system that it is for; nothing is started then
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the service's file, and start it now and at every boot or login
    Install {
        /// Write the file and start nothing
        #[arg(long)]
        no_start: bool,
        /// Print the file and write nothing
        #[arg(long)]
        print: bool,
    },
    /// Stop it and remove its file; configuration and records stay
    Uninstall,
    /// Show whether it is installed and runs
    Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Manager {
    Systemd,
    Launchd,
}

/// One service on one system.
struct Service {
    manager: Manager,
    root: PathBuf,
    file: PathBuf,
}

/// Runs it.
pub(crate) fn run(global: &Global, args: &Args) -> anyhow::Result<ExitCode> {
    let default = if cfg!(target_os = "macos") { Manager::Launchd } else { Manager::Systemd };
    let service = Service::new(args.manager.unwrap_or(default), &args.root)?;
    let mut out = std::io::stdout().lock();
    match &args.command {
        Action::Install { no_start, print } => {
            let program = std::env::current_exe().context("finding leverd's own program")?;
            let config = global.config.clone().unwrap_or_else(|| service.default_config());
            let text = service.text(&program, &std::path::absolute(config)?)?;
            if *print {
                write!(out, "{text}")?;
                return Ok(ExitCode::from(EXIT_DONE));
            }
            service.write(&text)?;
            writeln!(out, "{} is written", service.file.display())?;
            if !no_start && service.is_of_this_system() {
                service.start()?;
                writeln!(out, "leverd is started, and will be at every {}", service.occasion())?;
            }
        }
        Action::Uninstall => {
            if !service.file.exists() {
                eprintln!("leverd: {} is not there: nothing to remove", service.file.display());
                return Ok(ExitCode::from(EXIT_FAILED));
            }
            service.refuse_another()?;
            if service.is_of_this_system() {
                service.stop();
            }
            fs::remove_file(&service.file).with_context(|| format!("removing {}", service.file.display()))?;
            writeln!(out, "{} is removed; configuration and records stay", service.file.display())?;
        }
        Action::Status => {
            if !service.file.exists() {
                writeln!(out, "not installed: {} is not there", service.file.display())?;
                return Ok(ExitCode::from(EXIT_FAILED));
            }
            writeln!(out, "installed: {}", service.file.display())?;
            let (runs, words) = service.standing();
            writeln!(out, "{words}")?;
            return Ok(ExitCode::from(if runs { EXIT_DONE } else { EXIT_FAILED }));
        }
    }
    Ok(ExitCode::from(EXIT_DONE))
}

impl Service {
    fn new(manager: Manager, root: &Path) -> anyhow::Result<Self> {
        let file = match manager {
            Manager::Systemd => root.join("etc/systemd/system/leverd.service"),
            Manager::Launchd => {
                let home = std::env::var("HOME").context("an agent belongs to a user: HOME is not set")?;
                let home = home.trim_start_matches('/');
                root.join(home).join(format!("Library/LaunchAgents/{LABEL}.plist"))
            }
        };
        Ok(Self { manager, root: root.to_owned(), file })
    }

    fn default_config(&self) -> PathBuf {
        match self.manager {
            Manager::Systemd => "/etc/leverd/leverd.yaml".into(),
            Manager::Launchd => "config/leverd.yaml".into(),
        }
    }

    fn is_of_this_system(&self) -> bool {
        self.root == Path::new("/")
    }

    fn occasion(&self) -> &'static str {
        match self.manager {
            Manager::Systemd => "boot",
            Manager::Launchd => "login",
        }
    }

    /// The file with this program and this configuration in it.
    fn text(&self, program: &Path, config: &Path) -> anyhow::Result<String> {
        let (program, config) = (one_line(program)?, one_line(config)?);
        Ok(match self.manager {
            Manager::Systemd => {
                let start =
                    format!("ExecStart={} run --no-tty --config {}", unit_word(&program), unit_word(&config));
                let lines =
                    UNIT.lines().map(|line| if line.starts_with("ExecStart=") { &start } else { line });
                let lines: Vec<&str> = lines.collect();
                format!("# {MARK}\n{}\n", lines.join("\n"))
            }
            Manager::Launchd => {
                let home = std::env::var("HOME").unwrap_or_default();
                let folder = Path::new(&config).parent().and_then(Path::to_str).unwrap_or("/");
                // The longer ones first: one is the beginning of another.
                let text = AGENT
                    .replace("/opt/homebrew/etc/leverd/leverd.yaml", &xml(&config))
                    .replace(
                        "/opt/homebrew/var/log/leverd.log",
                        &xml(&format!("{home}/Library/Logs/leverd.log")),
                    )
                    .replace("/opt/homebrew/var/leverd</string>", &format!("{}</string>", xml(folder)))
                    .replace("/opt/homebrew/bin/leverd", &xml(&program));
                text.replacen("<plist", &format!("<!-- {MARK} -->\n<plist"), 1)
            }
        })
    }

    fn write(&self, text: &str) -> anyhow::Result<()> {
        self.refuse_another()?;
        let folder = self.file.parent().context("the service's file has a folder")?;
        let doing =
            || format!("writing {} (root may, or whoever the folder belongs to)", self.file.display());
        fs::create_dir_all(folder).with_context(doing)?;
        let mut new = tempfile::NamedTempFile::new_in(folder).with_context(doing)?;
        new.write_all(text.as_bytes()).and_then(|()| new.as_file().sync_all()).with_context(doing)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        new.as_file().set_permissions(mode).with_context(doing)?;
        new.persist(&self.file).with_context(doing)?;
        Ok(())
    }

    fn refuse_another(&self) -> anyhow::Result<()> {
        match fs::read_to_string(&self.file) {
            Ok(text) if !text.contains(MARK) => bail!(
                "{} was not made by `leverd service install` (a package's, perhaps): it stays as it is",
                self.file.display()
            ),
            _ => Ok(()),
        }
    }

    fn start(&self) -> anyhow::Result<()> {
        match self.manager {
            Manager::Systemd => {
                must("systemctl", &["daemon-reload"])?;
                must("systemctl", &["enable", "--now", "leverd.service"])
            }
            Manager::Launchd => {
                must("launchctl", &["bootstrap", &domain(), &self.file.display().to_string()])
            }
        }
    }

    /// One that does not run is stopped already.
    fn stop(&self) {
        let stopped = match self.manager {
            Manager::Systemd => must("systemctl", &["disable", "--now", "leverd.service"]),
            Manager::Launchd => must("launchctl", &["bootout", &format!("{}/{LABEL}", domain())]),
        };
        if let Err(error) = stopped {
            eprintln!("leverd: {error:#}");
        }
    }

    fn standing(&self) -> (bool, String) {
        if !self.is_of_this_system() {
            return (false, "whether it runs there cannot be told from here".to_owned());
        }
        let (program, arguments) = match self.manager {
            Manager::Systemd => ("systemctl", vec!["is-active".to_owned(), "leverd.service".to_owned()]),
            Manager::Launchd => ("launchctl", vec!["print".to_owned(), format!("{}/{LABEL}", domain())]),
        };
        match Command::new(program).args(&arguments).output() {
            Ok(output) => {
                let runs = output.status.success();
                (runs, if runs { "it runs".to_owned() } else { "it does not run".to_owned() })
            }
            Err(error) => (false, format!("{program} cannot be asked: {error}")),
        }
    }
}

/// launchd's domain of this user.
fn domain() -> String {
    format!("gui/{}", rustix::process::getuid().as_raw())
}

fn must(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let shown = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output().with_context(|| shown.clone())?;
    if !output.status.success() {
        bail!("`{shown}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn one_line(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    text.map(str::to_owned).with_context(|| format!("{} cannot stand in a service's file", path.display()))
}

/// A word of a unit's command line.
fn unit_word(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if escaped == text && !text.contains(char::is_whitespace) { escaped } else { format!("\"{escaped}\"") }
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_this_program_and_this_configuration() {
        let service = Service::new(Manager::Systemd, Path::new("/")).unwrap();
        let text =
            service.text(Path::new("/opt/my tools/leverd"), Path::new("/srv/50%/leverd.yaml")).unwrap();
        let start: Vec<&str> = text.lines().filter(|line| line.starts_with("ExecStart=")).collect();
        let expected = "ExecStart=\"/opt/my tools/leverd\" run --no-tty --config \"/srv/50%%/leverd.yaml\"";
        assert_eq!(start, [expected]);
        assert!(text.contains(MARK) && text.contains("NoNewPrivileges=yes"));
        assert!(service.text(Path::new("/x\n[Service]"), Path::new("/y")).is_err());
    }

    #[test]
    fn the_agent_names_this_program_and_this_configuration() {
        let service = Service::new(Manager::Launchd, Path::new("/")).unwrap();
        let text = service.text(Path::new("/opt/a&b/leverd"), Path::new("/srv/c.yaml")).unwrap();
        let strings: Vec<&str> =
            text.lines().filter_map(|line| line.trim().strip_prefix("<string>")).collect();
        for expected in ["/opt/a&amp;b/leverd</string>", "/srv/c.yaml</string>", "/srv</string>"] {
            assert!(strings.contains(&expected), "{expected}: {text}");
        }
        assert!(!strings.iter().any(|text| text.starts_with("/opt/homebrew/var")), "{text}");
    }

    #[test]
    fn a_file_of_somebody_else_stays() {
        let root = tempfile::tempdir().unwrap();
        let service = Service::new(Manager::Systemd, root.path()).unwrap();
        service.write(&format!("# {MARK}\n1\n")).unwrap();
        service.write(&format!("# {MARK}\n2\n")).unwrap();
        assert!(fs::read_to_string(&service.file).unwrap().ends_with("2\n"));
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(&service.file, "[Unit]\n").unwrap();
        assert!(service.write("x").unwrap_err().to_string().contains("stays as it is"));
    }
}
