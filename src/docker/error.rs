//! Why a container engine could not be used.

use bollard::errors::Error;
use std::path::PathBuf;
use std::time::Duration;

/// Why the engine did not do what was asked. The text is for people and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// No engine answers.
    #[error("no container engine answers: {}", listed(tried))]
    NoEngine {
        /// Each socket that was tried, and why it was not that.
        tried: Vec<(PathBuf, String)>,
    },
    /// An engine answers, and has no such container.
    #[error("there is no container {container}{}", at(asked))]
    NoContainer {
        /// The name or id that was asked for.
        container: String,
        /// The sockets of the engines that were asked.
        asked: Vec<PathBuf>,
    },
    /// The engine was there, and does not answer now.
    #[error("{doing}: the container engine does not answer: {why}")]
    Unreachable {
        /// The operation.
        doing: &'static str,
        /// The reason.
        why: String,
    },
    /// The engine refuses.
    #[error("{doing}: the container engine refuses: {why}")]
    Refused {
        /// The operation.
        doing: &'static str,
        /// Its words.
        why: String,
    },
    /// The restarted container is not well.
    #[error("the container {container} did not come back within {:.0} s: {why}{}", waited.as_secs_f64(), shown(log))]
    NotBack {
        /// The container.
        container: String,
        /// How long was waited for it.
        waited: Duration,
        /// How it stood at last.
        why: String,
        /// The end of its log.
        log: String,
    },
}

impl DockerError {
    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoEngine { tried } if tried.iter().any(|(_, why)| why.contains("ermission denied")) => {
                Some(
                    "leverd's user must be allowed to use the socket, e.g. by the group docker: that is as much as root",
                )
            }
            Self::NoEngine { .. } => {
                Some("is the engine started? `target.docker.socket` in leverd.yaml names its socket")
            }
            Self::NoContainer { .. } => {
                Some("`docker ps --all` lists the names; it is `target.docker.container`")
            }
            Self::NotBack { .. } => Some("`docker logs` says why"),
            Self::Unreachable { .. } | Self::Refused { .. } => None,
        }
    }

    /// bollard's error in words.
    pub(super) fn of(doing: &'static str, error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code: 404, .. } => {
                Self::NoContainer { container: String::new(), asked: Vec::new() }
            }
            Error::DockerResponseServerError { status_code, message } => {
                let message = message.trim();
                let why =
                    if message.is_empty() { format!("status {status_code}") } else { message.to_owned() };
                Self::Refused { doing, why }
            }
            other => Self::Unreachable { doing, why: with_causes(&other) },
        }
    }

    /// The same with the container's name where it is about that.
    pub(super) fn naming(self, container: &str) -> Self {
        match self {
            Self::NoContainer { asked, .. } => Self::NoContainer { container: container.to_owned(), asked },
            other => other,
        }
    }
}

/// hyper's errors say little themselves: "client error (Connect)".
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        source = cause.source();
    }
    words
}

fn listed(tried: &[(PathBuf, String)]) -> String {
    let each: Vec<String> = tried.iter().map(|(socket, why)| format!("{} {why}", socket.display())).collect();
    each.join("; ")
}

fn at(asked: &[PathBuf]) -> String {
    match asked.iter().map(|socket| socket.display().to_string()).collect::<Vec<_>>() {
        none if none.is_empty() => String::new(),
        some => format!(" at {}", some.join(", ")),
    }
}

fn shown(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!(":\n{log}") }
}
