//! The house's rules, read off the source text: which room may import which, what stays pure, how long a file may be,
//! that every module says what it is for, and that what the README names exists.
//!
//! A failure names the rule, the file and the line. The rules are explained in `docs/ARCHITECTURE.md`; the table below
//! is their only other home.

mod rust_text;

use rust_text::{Path, SourceText};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path as FilePath, PathBuf};

/// What a room may import of the other rooms.
enum MayImport {
    /// These rooms, and of `config` only the resolved types where it is listed.
    Rooms(&'static [&'static str]),
    /// Wiring: all of them.
    Everything,
}

use MayImport::{Everything, Rooms};

/// Inside a room's own folder everything may import everything. A room that is not in the table is refused.
const ROOMS: &[(&str, MayImport)] = &[
    ("model", Rooms(&[])),
    ("judge", Rooms(&["model"])),
    ("decide", Rooms(&["model"])),
    ("trial", Rooms(&["model"])),
    ("config", Rooms(&["model"])),
    // The clients are given their part of the resolved configuration: an address, a timeout, a secret.
    ("postgres", Rooms(&["model", "config"])),
    ("prometheus", Rooms(&["model", "config"])),
    ("docker", Rooms(&["model", "config"])),
    ("llm", Rooms(&["model", "config"])),
    ("observe", Rooms(HANDS)),
    ("exporter", Rooms(HANDS)),
    ("actuate", Rooms(HANDS)),
    ("announce", Rooms(HANDS)),
    ("ledger", Rooms(HANDS)),
    ("advise", Rooms(HANDS)),
    ("migrate", Rooms(HANDS)),
    ("schema", Rooms(HANDS)),
    ("code", Rooms(HANDS)),
    ("sandbox", Rooms(HANDS)),
    // It drives a sandbox from outside: restarts it, and looks at its signals. leverd itself it runs as a program.
    ("gauntlet", Rooms(&["model", "config", "postgres", "prometheus", "observe", "actuate", "sandbox"])),
    ("control", Rooms(&["model", "ledger"])),
    ("api", Rooms(&["control", "model"])),
    ("daemon", Everything),
    ("cli", Everything),
];

/// The rooms that touch the world: the words, the clients and the resolved configuration, not each other.
const HANDS: &[&str] = &["model", "config", "postgres", "prometheus", "docker", "llm"];

/// Rooms whose output depends on their input alone.
const PURE: &[&str] = &["model", "judge", "decide", "trial"];

/// What a pure room may not name, and why.
const IMPURE: &[(&[&str], &str)] = &[
    (&["tokio"], "no runtime"),
    (&["std", "fs"], "no files"),
    (&["std", "net"], "no network"),
    (&["std", "process"], "no processes"),
    (&["std", "thread"], "no threads"),
    (&["std", "env"], "no environment"),
    (&["reqwest"], "no network"),
    (&["tokio_postgres"], "no network"),
    (&["rusqlite"], "no files"),
    (&["Instant"], "no clock: time is passed in"),
    (&["SystemTime"], "no clock: time is passed in"),
    (&["Utc", "now"], "no clock: time is passed in"),
    (&["Local", "now"], "no clock: time is passed in"),
    (&["rand", "rng"], "no chance: a seed is passed in"),
    (&["rand", "random"], "no chance: a seed is passed in"),
];

/// A file longer than this, tests aside, probably holds two ideas.
const MAX_LINES: usize = 500;

/// Files that may be longer. Empty, and meant to stay so.
const MAY_BE_LONGER: &[&str] = &[];

/// One Rust file under `src/`.
struct Source {
    /// Relative to `src/`, with `/`.
    file: String,
    /// Its text without its tests.
    text: SourceText,
    /// As it stands.
    raw: String,
}

impl Source {
    fn new(file: &str, raw: &str) -> Self {
        Self { file: file.to_owned(), text: SourceText::without_tests(raw), raw: raw.to_owned() }
    }

    /// `judge/rank.rs` → `judge`; `lib.rs` and `main.rs` are no room.
    fn room(&self) -> Option<&str> {
        let first = self.file.split('/').next().unwrap_or_default();
        let room = first.strip_suffix(".rs").unwrap_or(first);
        (!matches!(self.file.as_str(), "lib.rs" | "main.rs")).then_some(room)
    }

    /// `judge.rs` → 1, `judge/rank.rs` → 2: so many `super` lead to the crate.
    fn depth(&self) -> usize {
        self.file.split('/').count()
    }
}

/// The names that `config` re-exports from `config/resolved.rs`.
fn resolved_names(sources: &[Source]) -> BTreeSet<String> {
    let config = sources.iter().find(|source| source.file == "config.rs");
    config.map_or_else(BTreeSet::new, |source| {
        let paths = source.text.use_paths();
        paths
            .iter()
            .filter(|path| path.segments.first().is_some_and(|first| first == "resolved"))
            .filter_map(|path| path.segments.get(1).cloned())
            .collect()
    })
}

/// `crate::x::y` and its `super::` spellings → `[x, y]`.
fn inside_crate(source: &Source, path: &Path) -> Option<Vec<String>> {
    let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
    let skip = match path.segments.first().map(String::as_str) {
        Some("crate" | "leverd") => 1,
        Some("super") if supers == source.depth() => supers,
        _ => return None,
    };
    Some(path.segments[skip..].to_vec())
}

fn broken_imports(sources: &[Source]) -> Vec<String> {
    let resolved = resolved_names(sources);
    let mut broken = Vec::new();
    for source in sources {
        let Some(room) = source.room() else { continue };
        let Some((_, may)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            broken.push(format!(
                "rule `known rooms`: src/{}: the room `{room}` is not in the table of tests/integration/house.rs",
                source.file
            ));
            continue;
        };
        let Rooms(allowed) = may else { continue };
        let mut config_module_line = None;
        for path in source.text.paths() {
            let Some(rest) = inside_crate(source, &path) else { continue };
            let Some(other) = rest.first().filter(|other| *other != room) else { continue };
            let at = format!("src/{}:{}", source.file, path.line);
            let shown = rest.join("::");
            if !allowed.contains(&other.as_str()) {
                broken.push(format!(
                    "rule `what a room may import`: {at}: `{room}` imports crate::{shown}; it may import {}",
                    if allowed.is_empty() { "no other room".to_owned() } else { allowed.join(", ") }
                ));
            } else if other == "config" {
                match rest.get(1).map(String::as_str) {
                    None | Some("self") => config_module_line = Some(path.line),
                    Some(name) if resolved.contains(name) => {}
                    Some(_) => broken.push(only_resolved(&at, room, &shown)),
                }
            }
        }
        // `use crate::config;` is allowed; what is then called through it must still be a resolved type.
        for path in source.text.paths().iter().filter(|_| config_module_line.is_some()) {
            if path.segments.first().is_some_and(|first| first == "config")
                && path.segments.get(1).is_some_and(|name| !resolved.contains(name))
            {
                let at = format!("src/{}:{}", source.file, path.line);
                broken.push(only_resolved(&at, room, &path.segments.join("::")));
            }
        }
    }
    broken
}

fn only_resolved(at: &str, room: &str, shown: &str) -> String {
    format!(
        "rule `config's resolved types only`: {at}: `{room}` imports {shown}; outside wiring, only what config.rs \
         re-exports from config/resolved.rs is allowed"
    )
}

fn impurities(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.room().is_some_and(|room| PURE.contains(&room))) {
        for path in source.text.paths() {
            for (forbidden, why) in IMPURE {
                let names = |window: &[String]| window.iter().zip(*forbidden).all(|(a, b)| a == b);
                // Crates are named at the start of a path; types may be reached through any.
                let found = if forbidden[0].starts_with(char::is_lowercase) {
                    path.segments.len() >= forbidden.len() && names(&path.segments)
                } else {
                    path.segments.windows(forbidden.len()).any(names)
                };
                if found {
                    let shown = path.segments.join("::");
                    broken.push(format!(
                        "rule `pure rooms`: src/{}:{}: {shown}: {why}",
                        source.file, path.line
                    ));
                }
            }
        }
    }
    broken
}

fn without_a_purpose(sources: &[Source]) -> Vec<String> {
    let silent = sources.iter().filter(|source| {
        let first = source.raw.lines().next().unwrap_or_default();
        first.strip_prefix("//!").is_none_or(|text| text.trim().is_empty())
    });
    silent
        .map(|source| {
            format!(
                "rule `a module says what it is for`: src/{}:1: it must start with `//!` and a sentence",
                source.file
            )
        })
        .collect()
}

fn badly_placed(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    let files: BTreeSet<&str> = sources.iter().map(|source| source.file.as_str()).collect();
    for source in sources {
        if source.file.ends_with("mod.rs") {
            broken
                .push(format!("rule `no mod.rs`: src/{}: name it after its folder, beside it", source.file));
            continue;
        }
        if matches!(source.file.as_str(), "lib.rs" | "main.rs") {
            continue;
        }
        // A file that nobody declares is not compiled, and so neither linted nor tested.
        let (folder, name) = source.file.rsplit_once('/').unwrap_or(("", &source.file));
        let name = name.trim_end_matches(".rs");
        let parent = if folder.is_empty() { "lib.rs".to_owned() } else { format!("{folder}.rs") };
        let declared = files.contains(parent.as_str())
            && sources.iter().any(|other| other.file == parent && declares(&other.raw, name));
        if !declared {
            broken.push(format!(
                "rule `no file that nobody compiles`: src/{}: src/{parent} has no `mod {name};`",
                source.file
            ));
        }
    }
    broken
}

fn declares(text: &str, module: &str) -> bool {
    let wanted = format!("mod {module};");
    text.lines().any(|line| {
        let line = line.trim_start();
        !line.starts_with("//") && line.find(&wanted).is_some_and(|at| at == 0 || line[..at].ends_with(' '))
    })
}

fn too_long(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.text.lines() > MAX_LINES);
    long.filter(|source| !MAY_BE_LONGER.contains(&source.file.as_str()))
        .map(|source| {
            format!(
                "rule `a file holds one idea`: src/{}: {} lines before its tests, at most {MAX_LINES} are allowed: \
                 it probably holds two",
                source.file,
                source.text.lines()
            )
        })
        .collect()
}

fn root() -> &'static FilePath {
    FilePath::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(under: &FilePath) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// All of `src/`, without the files that only tests compile.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let all: BTreeMap<String, String> = rust_files(&src)
        .iter()
        .map(|path| {
            let file = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
            (file, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(all.contains_key("lib.rs"), "src/ was not read");
    let of_tests: Vec<String> = all
        .iter()
        .flat_map(|(file, text)| {
            let folder = if file == "lib.rs" { String::new() } else { file.replace(".rs", "/") };
            rust_text::test_modules(text).into_iter().map(move |name| format!("{folder}{name}"))
        })
        .collect();
    let for_tests = |file: &str| {
        of_tests.iter().any(|module| {
            file.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    };
    all.iter().filter(|(file, _)| !for_tests(file)).map(|(file, text)| Source::new(file, text)).collect()
}

fn must_be_empty(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn rooms_import_what_they_may() {
    let sources = sources();
    // A reader that finds no path at all would find no broken rule either.
    let resolved = sources.iter().find(|source| source.file == "config/resolved.rs").unwrap();
    let of_model = |path: &Path| inside_crate(resolved, path).is_some_and(|rest| rest[0] == "model");
    assert!(resolved.text.paths().iter().any(of_model), "config/resolved.rs imports the model");
    assert!(resolved_names(&sources).contains("PrometheusConfig"), "config.rs re-exports the resolved types");
    must_be_empty(&broken_imports(&sources));
}

#[test]
fn pure_rooms_are_pure() {
    must_be_empty(&impurities(&sources()));
}

#[test]
fn every_module_says_what_it_is_for() {
    must_be_empty(&without_a_purpose(&sources()));
}

#[test]
fn every_source_file_is_compiled_and_none_is_mod_rs() {
    let src = root().join("src");
    let all: Vec<Source> = rust_files(&src)
        .iter()
        .map(|path| {
            let file = path.strip_prefix(&src).unwrap().to_str().unwrap();
            Source::new(file, &fs::read_to_string(path).unwrap())
        })
        .collect();
    must_be_empty(&badly_placed(&all));
}

#[test]
fn files_stay_short() {
    must_be_empty(&too_long(&sources()));
}

#[test]
fn every_integration_test_is_compiled() {
    let folder = root().join("tests/integration");
    let main = fs::read_to_string(folder.join("main.rs")).unwrap();
    for path in rust_files(&folder).iter().filter(|path| path.parent() == Some(folder.as_path())) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            name == "main" || declares(&main, name),
            "rule `no file that nobody compiles`: tests/integration/main.rs has no `mod {name};`"
        );
    }
}

/// Targets that a text tells people to type: `make x`, in code spans and blocks.
fn make_targets(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .chain(text.lines().filter(|line| line.starts_with("make ")))
        .flat_map(|code| code.split("make ").skip(1))
        .filter_map(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_the_readme_names_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    for document in ["README.md", "docs/ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for target in make_targets(&text) {
            assert!(
                makefile.lines().any(|line| line.starts_with(&format!("{target}:"))),
                "rule `documents tell the truth`: {document} says `make {target}`, and the Makefile has no such target"
            );
        }
        let folder = root().join(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let missing =
                !file.is_empty() && !file.contains("://") && !folder.parent().unwrap().join(file).exists();
            assert!(
                !missing,
                "rule `documents tell the truth`: {document} links to {link}, which is not there"
            );
        }
    }
}

/// The rules on made-up sources: each finds what it is for, and nothing else.
mod on_made_up_sources {
    use super::*;

    const CONFIG: &str =
        "//! C.\nmod load;\nmod resolved;\npub use load::load;\npub use resolved::{Config, Secret};\n";

    fn broken_by(file: &str, text: &str) -> Vec<String> {
        broken_imports(&[Source::new("config.rs", CONFIG), Source::new(file, text)])
    }

    #[test]
    fn a_pure_room_may_not_import_a_client() {
        let text = "//! J.\nuse crate::model::Bound;\nuse crate::{\n    model::Unit,\n    postgres::{Connection, stats},\n};\n";
        let broken = broken_by("judge/rank.rs", text);
        insta::assert_snapshot!(broken.join("\n"), @r"
        rule `what a room may import`: src/judge/rank.rs:5: `judge` imports crate::postgres::Connection; it may import model
        rule `what a room may import`: src/judge/rank.rs:5: `judge` imports crate::postgres::stats; it may import model
        ");
    }

    #[test]
    fn a_path_in_the_middle_of_code_is_an_import_too() {
        let broken = broken_by("ledger.rs", "//! L.\nfn f() -> u8 {\n    crate::actuate::apply(1)\n}\n");
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].contains("ledger.rs:3: `ledger` imports crate::actuate::apply"), "{broken:?}");
    }

    #[test]
    fn super_is_followed_out_of_the_room() {
        assert_eq!(broken_by("judge/rank.rs", "//! J.\nuse super::super::ledger::Ledger;\n").len(), 1);
        assert_eq!(broken_by("judge/rank.rs", "//! J.\nuse super::ledger;\n"), Vec::<String>::new());
    }

    #[test]
    fn comments_texts_and_tests_are_no_imports() {
        let text = r####"//! See [`crate::ledger`].
/* crate::ledger::A /* nested */ crate::ledger::B */
const A: &str = "crate::ledger::C \" crate::ledger::D";
const B: &str = r#"crate::ledger::E " "#;
const C: char = '"';
fn f<'a>(x: &'a str) -> &'a str { x } // crate::ledger::F
#[cfg(test)]
mod tests {
    use crate::ledger::Ledger;
}
"####;
        assert_eq!(broken_by("judge.rs", text), Vec::<String>::new());
    }

    #[test]
    fn of_the_configuration_only_resolved_types() {
        assert_eq!(
            broken_by("observe.rs", "//! O.\nuse crate::config::{Config, Secret};\n"),
            Vec::<String>::new()
        );
        let broken = broken_by("observe.rs", "//! O.\nuse crate::config::load;\n");
        assert!(broken[0].contains("rule `config's resolved types only`: src/observe.rs:2"), "{broken:?}");
        let broken = broken_by("observe.rs", "//! O.\nuse crate::config;\nfn f() { config::load() }\n");
        assert!(broken[0].contains("src/observe.rs:3"), "{broken:?}");
        assert_eq!(
            broken_by("observe.rs", "//! O.\nuse crate::config;\nfn f(_: config::Config) {}\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_room_that_is_not_in_the_table_is_refused() {
        assert!(broken_by("utils.rs", "//! U.\n")[0].starts_with("rule `known rooms`: src/utils.rs"));
    }

    #[test]
    fn clocks_files_and_runtimes_are_impure() {
        let text = "//! J.\nuse std::time::{Duration, Instant};\nuse std::{fmt, fs};\nfn f() { chrono::Utc::now(); \
                    tokio::spawn(async {}); }\n";
        let broken = impurities(&[Source::new("judge.rs", text), Source::new("cli.rs", text)]);
        let found: Vec<&str> = broken.iter().map(|rule| rule.split(": ").nth(2).unwrap()).collect();
        assert_eq!(found, ["std::time::Instant", "std::fs", "chrono::Utc::now", "tokio::spawn"]);
    }

    #[test]
    fn a_type_that_only_names_time_is_pure() {
        let text =
            "//! J.\nuse chrono::{DateTime, Utc};\nuse std::time::Duration;\nfn f(_: DateTime<Utc>) {}\n";
        assert_eq!(impurities(&[Source::new("judge.rs", text)]), Vec::<String>::new());
    }

    #[test]
    fn long_silent_and_misplaced_files_are_found() {
        let long = format!("//! L.\n{}", "fn f() {}\n".repeat(MAX_LINES));
        assert_eq!(too_long(&[Source::new("judge.rs", &long)]).len(), 1);
        let tested = format!("//! L.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn f() {}\n".repeat(MAX_LINES));
        assert_eq!(too_long(&[Source::new("judge.rs", &tested)]), Vec::<String>::new());
        assert_eq!(without_a_purpose(&[Source::new("judge.rs", "// not a doc\n")]).len(), 1);
        let lib = Source::new("lib.rs", "//! M.\npub mod judge;\n// mod ghost;\n");
        let placed = [
            lib,
            Source::new("judge.rs", "//! J.\n"),
            Source::new("ghost.rs", "//! G.\n"),
            Source::new("judge/mod.rs", "//! J.\n"),
        ];
        let broken = badly_placed(&placed);
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken[0].contains("src/ghost.rs") && broken[1].contains("no mod.rs"), "{broken:?}");
    }

    #[test]
    fn make_targets_are_read_from_code() {
        let text = "We make sure. Type `make test` or:\n\n```\nmake check-health\n```\n";
        let found: Vec<String> = make_targets(text).into_iter().collect();
        assert_eq!(found, ["check-health", "test"]);
    }
}
