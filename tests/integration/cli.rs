//! Commands that need no target: health, completions, the manual, the service's file.

use crate::support::http::{TinyHttp, response};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Output};

fn leverd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leverd")).args(arguments).env_remove("LEVERD_CONFIG").output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn health_is_the_answer_s_status() {
    for (status, code) in [("200 OK", 0), ("503 Service Unavailable", 1)] {
        let server = TinyHttp::start(move |_, connection| {
            let _ = connection.write_all(response(status, "text/plain", "x").as_bytes());
        });
        let output = leverd(&["health", "--url", &format!("http://127.0.0.1:{}/readyz", server.port)]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    }
    let nobody = leverd(&["health", "--url", "http://127.0.0.1:1/healthz"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody).contains("does not answer"), "{}", text(&nobody));
}

#[test]
fn completions_and_the_manual_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = leverd(&["completions", shell]);
        assert!(output.status.success() && text(&output).contains("rollback"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    let output = leverd(&["man", &pages.display().to_string()]);
    assert!(output.status.success(), "{}", text(&output));
    for page in ["leverd.1", "leverd-run.1", "leverd-approve.1"] {
        assert!(fs::read_to_string(pages.join(page)).unwrap().contains(".TH"), "{page}");
    }
}

#[test]
fn a_service_is_installed_into_another_root_shown_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let service = |action: &[&str]| {
        let mut arguments = vec!["service", "--manager", "systemd", "--root"];
        let at = root.path().display().to_string();
        arguments.push(&at);
        arguments.extend(action);
        leverd(&arguments)
    };
    assert_eq!(service(&["status"]).status.code(), Some(1));
    let installed = service(&["install"]);
    assert!(installed.status.success(), "{}", text(&installed));
    let unit = root.path().join("etc/systemd/system/leverd.service");
    let written = fs::read_to_string(&unit).unwrap();
    assert!(
        written.contains(env!("CARGO_BIN_EXE_leverd"))
            && written.contains("--config /etc/leverd/leverd.yaml")
    );
    assert!(text(&service(&["status"])).contains("installed: "));
    assert_eq!(text(&service(&["install", "--print"])), written);
    assert!(service(&["uninstall"]).status.success());
    assert!(!unit.exists());
    assert_eq!(service(&["uninstall"]).status.code(), Some(1));
}
