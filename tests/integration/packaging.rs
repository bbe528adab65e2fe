//! What `packaging/` and the Dockerfile make, by the tools that read it. The Homebrew formula and the launchd agents need
//! a Mac; no image can be pulled to build the Dockerfile's from.

use crate::support::leverd::{both, finish};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(5);

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("LEVERD", env!("CARGO_BIN_EXE_leverd")).env("LC_ALL", "C");
    // A program with debug assertions is large; how small it packs is not looked at.
    command.env("DPKG_DEB_COMPRESSOR_LEVEL", "0");
    finish(command, PATIENCE)
}

fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Built from this test's own program, unpacked, and run from where it was unpacked.
#[test]
fn the_debian_package_holds_what_a_service_needs() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        eprintln!("not run: there is no dpkg-deb");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/debian/build.sh");
    let package = must(script, &[&at("built")]).trim().to_owned();
    let fields = must("dpkg-deb", &["--field", &package]);
    let version = format!("Version: {}", env!("CARGO_PKG_VERSION"));
    for field in
        ["Package: leverd", &version, "Architecture: ", "Depends: adduser, ca-certificates, libc6 (>= 2."]
    {
        assert!(fields.contains(field), "{field} is not in\n{fields}");
    }
    must("dpkg-deb", &["--raw-extract", &package, &at("root")]);
    for file in [
        "usr/lib/systemd/system/leverd.service",
        "etc/leverd/levers.yaml",
        "usr/share/bash-completion/completions/leverd",
        "usr/share/zsh/vendor-completions/_leverd",
        "usr/share/fish/vendor_completions.d/leverd.fish",
        "usr/share/man/man1/leverd.1.gz",
        "usr/share/doc/leverd/copyright",
        "DEBIAN/conffiles",
    ] {
        assert!(Path::new(&at("root")).join(file).is_file(), "{file} is not in it");
    }
    let mut sums = Command::new("md5sum");
    sums.args(["--check", "--quiet", "DEBIAN/md5sums"]).current_dir(at("root"));
    assert!(sums.status().unwrap().success(), "md5sums");
    // What it installs as configuration is one, but for the target that a person must name.
    let config = at("root/etc/leverd/leverd.yaml");
    let checked = run(&at("root/usr/bin/leverd"), &["check", "--config", &config]);
    assert_eq!(checked.status.code(), Some(64), "{}", both(&checked));
    assert!(both(&checked).contains("target"), "{}", both(&checked));
    // The same program gives the same package.
    let again = must(script, &[&at("again")]).trim().to_owned();
    assert!(fs::read(&package).unwrap() == fs::read(&again).unwrap(), "two builds differ");
}

/// What is built into the program is there when the image is built.
#[test]
fn the_image_is_built_from_all_that_is_built_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let (dockerfile, ignored) = (read("Dockerfile"), read(".dockerignore"));
    let mut built_in = 0;
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let text = fs::read_to_string(&entry).unwrap();
            for named in text.split("include_str!(\"").skip(1) {
                let file = entry.parent().unwrap().join(named.split('"').next().unwrap());
                let file =
                    fs::canonicalize(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                let inside = file.strip_prefix(fs::canonicalize(root).unwrap()).unwrap();
                let first = inside.iter().next().unwrap().to_string_lossy();
                // For tests alone.
                if matches!(&*first, "tests" | "CHANGELOG_TUNING.md") {
                    continue;
                }
                built_in += 1;
                assert!(
                    dockerfile.contains(&format!("COPY {first} {first}\n")),
                    "{} is not copied",
                    inside.display()
                );
                assert!(ignored.contains(&format!("!{first}\n")), "{} is ignored", inside.display());
            }
        }
    }
    assert!(built_in > 20, "{built_in}");
}
