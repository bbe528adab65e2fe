//! Where an engine's socket may be: as configured, as `DOCKER_HOST` says, as the CLI's context says, or where Docker,
//! Docker Desktop, Colima, OrbStack, Rancher Desktop and Podman put it.

use crate::config::EngineSocket;
use std::fs;
use std::path::{Path, PathBuf};

/// The sockets to try, in this order; each once.
pub(super) fn candidates(configured: &EngineSocket) -> Vec<PathBuf> {
    match configured {
        EngineSocket::Path(path) => vec![path.clone()],
        EngineSocket::Auto => {
            let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
            let uid = rustix::process::getuid().as_raw();
            found(var("HOME").as_deref().map(Path::new), var("DOCKER_HOST"), var("XDG_RUNTIME_DIR"), uid)
        }
    }
}

/// Below the home folder: Docker Desktop on macOS and on Linux, Colima's two places, OrbStack, Rancher Desktop, Podman's
/// machine on macOS.
const AT_HOME: [&str; 7] = [
    ".docker/run/docker.sock",
    ".docker/desktop/docker.sock",
    ".colima/default/docker.sock",
    ".config/colima/default/docker.sock",
    ".orbstack/run/docker.sock",
    ".rd/docker.sock",
    ".local/share/containers/podman/machine/podman.sock",
];

/// Below the user's runtime folder: rootless Docker, rootless Podman.
const AT_RUNTIME: [&str; 2] = ["docker.sock", "podman/podman.sock"];

/// The system's own.
const SYSTEM: [&str; 3] = ["/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock"];

fn found(
    home: Option<&Path>,
    docker_host: Option<String>,
    runtime: Option<String>,
    uid: u32,
) -> Vec<PathBuf> {
    let runtime = runtime.map_or_else(|| format!("/run/user/{uid}").into(), PathBuf::from);
    let mut all: Vec<PathBuf> = Vec::new();
    all.extend(docker_host.as_deref().and_then(unix));
    all.extend(home.and_then(of_context));
    all.extend(SYSTEM.map(PathBuf::from));
    all.extend(home.into_iter().flat_map(|home| AT_HOME.map(|socket| home.join(socket))));
    all.extend(AT_RUNTIME.map(|socket| runtime.join(socket)));
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|socket| seen.insert(socket.clone()));
    all
}

/// A Unix socket's address; leverd speaks to no engine over the network.
fn unix(address: &str) -> Option<PathBuf> {
    address.strip_prefix("unix://").map(PathBuf::from)
}

/// The socket of the CLI's present context: Colima and OrbStack make one of their own.
fn of_context(home: &Path) -> Option<PathBuf> {
    let json = |path: PathBuf| -> Option<serde_json::Value> {
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    };
    let docker = home.join(".docker");
    let current = json(docker.join("config.json"))?.get("currentContext")?.as_str()?.to_owned();
    for folder in fs::read_dir(docker.join("contexts/meta")).ok()?.flatten() {
        let Some(meta) = json(folder.path().join("meta.json")) else { continue };
        if meta.get("Name").and_then(|name| name.as_str()) == Some(&current) {
            return unix(meta.pointer("/Endpoints/docker/Host")?.as_str()?);
        }
    }
    None
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixture files")]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_said_comes_first_and_each_socket_once() {
        let home = tempfile::tempdir().unwrap();
        let meta = home.path().join(".docker/contexts/meta/5f2c");
        fs::create_dir_all(&meta).unwrap();
        fs::write(home.path().join(".docker/config.json"), r#"{"currentContext": "colima"}"#).unwrap();
        let text = r#"{"Name": "colima", "Endpoints": {"docker": {"Host": "unix:///c/docker.sock"}}}"#;
        fs::write(meta.join("meta.json"), text).unwrap();
        let all = found(Some(home.path()), Some("unix:///var/run/docker.sock".into()), None, 501);
        let shown: Vec<String> = all
            .iter()
            .map(|path| path.display().to_string().replace(&home.path().display().to_string(), "~"))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @"
        /var/run/docker.sock
        /c/docker.sock
        /run/docker.sock
        /run/podman/podman.sock
        ~/.docker/run/docker.sock
        ~/.docker/desktop/docker.sock
        ~/.colima/default/docker.sock
        ~/.config/colima/default/docker.sock
        ~/.orbstack/run/docker.sock
        ~/.rd/docker.sock
        ~/.local/share/containers/podman/machine/podman.sock
        /run/user/501/docker.sock
        /run/user/501/podman/podman.sock
        ");
        let over_the_network = found(None, Some("tcp://10.0.0.1:2375".into()), Some("/r".into()), 0);
        assert_eq!(over_the_network[0], Path::new("/var/run/docker.sock"));
        assert_eq!(over_the_network.last().unwrap(), Path::new("/r/podman/podman.sock"));
    }
}
