//! What the types of a scenario do not say: names that must be known, and numbers that must fit each other.

use super::{Ending, Scalar, Scenario};
use crate::sandbox::load::{ENV_KEYS, env_range};
use std::collections::BTreeMap;

/// Settings that are the sandbox's own: a scenario that set them would take away its private port or its safety.
const OWN_SETTINGS: [&str; 8] = [
    "port",
    "listen_addresses",
    "unix_socket_directories",
    "data_directory",
    "hba_file",
    "config_file",
    "fsync",
    "full_page_writes",
];

/// A lever's key: a turn that set it would mask what leverd does.
const LEVERS_KEY: &str = "BATCH_SIZE";

const MOST_TURNS: usize = 20;

/// Where in the file, from the outermost key on, and the reason.
pub(super) struct Wrong<'a> {
    pub(super) path: Vec<&'a str>,
    pub(super) why: String,
}

fn wrong<'a, T>(path: &[&'a str], why: String) -> Result<T, Wrong<'a>> {
    Err(Wrong { path: path.to_vec(), why })
}

pub(super) fn check(scenario: &Scenario) -> Result<(), Wrong<'_>> {
    let name = &scenario.name;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return wrong(&["name"], format!("found `{name}`; allowed: letters, digits, `-` and `_`"));
    }
    if scenario.ends == Ending::Unchanged && !scenario.expected.is_empty() {
        let found = scenario.expected.join(", ");
        let why = format!("found {found}; allowed with `ends: unchanged`: none, for nothing is to be kept");
        return wrong(&["expected"], why);
    }
    settings("healthy", "postgresql", &scenario.healthy.postgresql)?;
    for (kind, values) in scenario.broken.settings() {
        settings("broken", kind, values)?;
    }
    for (part, values) in [("healthy", &scenario.healthy.env), ("broken", &scenario.broken.env)] {
        env(&[part, "env"], values)?;
    }
    timetable(scenario)?;
    for (signal, bound) in &scenario.sla {
        if !bound.starts_with(['<', '>']) {
            let why = format!("found `{bound}`; allowed: a bound such as `<= 1.5x baseline` or `< 25`");
            return wrong(&["sla", signal], why);
        }
    }
    neighbour(scenario)?;
    load(scenario)
}

fn settings<'a>(part: &'a str, kind: &'a str, values: &'a BTreeMap<String, Scalar>) -> Result<(), Wrong<'a>> {
    for (name, value) in values {
        let path = [part, kind, name];
        if OWN_SETTINGS.contains(&name.as_str()) {
            return wrong(&path, "is the sandbox's own; allowed: any other setting of Postgres".to_owned());
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if name.is_empty() || !name.chars().all(is_name) {
            return wrong(&path, "is no setting's name; allowed: letters, digits, `_` and `.`".to_owned());
        }
        // It goes through a shell (pg_ctl) and through SQL.
        if value.to_string().contains(['\'', '\\', '\n']) {
            return wrong(&path, format!("found `{value}`; allowed: a value without quotes and backslashes"));
        }
    }
    Ok(())
}

fn env<'a>(path: &[&'a str], values: &'a BTreeMap<String, Scalar>) -> Result<(), Wrong<'a>> {
    for (name, value) in values {
        let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        let Some(range) = env_range(name) else {
            let allowed = ENV_KEYS.join(", ");
            return wrong(&path, format!("is not a key of the load's .env; allowed: {allowed}"));
        };
        if !value.to_string().parse().is_ok_and(|number: u32| range.contains(&number)) {
            return wrong(&path, format!("found `{value}`; allowed: {} to {}", range.start(), range.end()));
        }
    }
    Ok(())
}

fn timetable(scenario: &Scenario) -> Result<(), Wrong<'_>> {
    let turns = &scenario.timetable;
    if turns.len() > MOST_TURNS {
        let why = format!("found {} turns; allowed: {MOST_TURNS} at most", turns.len());
        return wrong(&["timetable"], why);
    }
    if !turns.is_empty() && scenario.broken.is_empty() {
        let why = "its times count from the mis-setting, and `broken` is empty".to_owned();
        return wrong(&["timetable"], why);
    }
    if let Some(pair) = turns.windows(2).find(|pair| pair[0].after.get() >= pair[1].after.get()) {
        let why = format!("found {} behind {}; allowed: later and later", pair[1].after, pair[0].after);
        return wrong(&["timetable", "after"], why);
    }
    for turn in turns {
        env(&["timetable", "env"], &turn.env)?;
        if turn.env.contains_key(LEVERS_KEY) {
            let why = "is a lever, which a turn would mask; allowed: the other keys of the load's .env";
            return wrong(&["timetable", LEVERS_KEY], why.to_owned());
        }
    }
    Ok(())
}

fn neighbour(scenario: &Scenario) -> Result<(), Wrong<'_>> {
    let Some(neighbour) = scenario.broken.neighbour else { return Ok(()) };
    for (key, span) in [("busy", neighbour.busy), ("idle", neighbour.idle)] {
        if span.get().is_zero() {
            return wrong(&["neighbour", key], format!("found {span}; allowed: 1ms or more"));
        }
    }
    Ok(())
}

fn load(scenario: &Scenario) -> Result<(), Wrong<'_>> {
    let load = &scenario.load;
    let rows = load.items.rows.get();
    let of_items = |number: u32, path: &[&'static str]| {
        if number <= rows {
            return Ok(());
        }
        wrong(path, format!("found {number}; allowed: 1 to {rows}, the rows of items"))
    };
    of_items(load.reads.working_set_rows.get(), &["load", "reads", "working_set_rows"])?;
    of_items(load.reports.rows.get(), &["load", "reports", "rows"])?;
    of_items(load.lookups.rows.get(), &["load", "lookups", "rows"])?;
    let (writers, accounts) = (load.writers.get(), load.accounts.rows.get());
    if accounts < writers * 100 {
        let why = format!("found {accounts}; allowed: at least 100 for each of {writers} writers");
        return wrong(&["load", "accounts", "rows"], why);
    }
    if load.analytics.connections.get() > 0 && load.analytics.every.get().is_zero() {
        return wrong(&["load", "analytics", "every"], "found 0s; allowed: 1ms or more".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Scenario;
    use std::path::Path;

    /// What is said of healthy.yaml with one piece replaced, and the line that it names.
    fn refused(from: &str, to: &str) -> (String, String) {
        let text = include_str!("../../../config/scenarios/healthy.yaml");
        assert!(text.contains(from), "{from}");
        let text = text.replace(from, to);
        let text = if to.starts_with("ends:") { text.replace("ends: compliant", "") } else { text };
        let error = Scenario::parse(Path::new("s.yaml"), &text).unwrap_err().to_string();
        let (place, why) = error.split_once(": ").unwrap();
        let number: usize = place.strip_prefix("s.yaml, line ").unwrap().parse().unwrap();
        (text.lines().nth(number - 1).unwrap().to_owned(), why.to_owned())
    }

    #[test]
    fn each_way_to_break_it_is_checked_like_the_others() {
        for part in ["postgresql", "alter_system", "command_line", "role"] {
            let (line, why) = refused("broken: {}", &format!("broken:\n  {part}:\n    fsync: off"));
            assert_eq!(line, "    fsync: off");
            assert_eq!(why, "fsync: is the sandbox's own; allowed: any other setting of Postgres");
        }
        let (line, why) = refused("broken: {}", "broken:\n  command_line:\n    cluster_name: \"a'b\"");
        assert_eq!(line, "    cluster_name: \"a'b\"");
        assert_eq!(why, "cluster_name: found `a'b`; allowed: a value without quotes and backslashes");
        let (_, why) = refused("broken: {}", "broken: {role: {\"a b\": 1}}");
        assert_eq!(why, "a b: is no setting's name; allowed: letters, digits, `_` and `.`");
    }

    #[test]
    fn a_name_is_a_word_and_an_ending_fits_what_is_expected() {
        let (line, why) = refused("name: healthy", "name: ../healthy");
        assert_eq!(line, "name: ../healthy");
        assert_eq!(why, "name: found `../healthy`; allowed: letters, digits, `-` and `_`");
        let (line, why) = refused("expected: [] ", "ends: unchanged\nexpected: [work_mem] ");
        assert!(line.starts_with("expected: [work_mem]"), "{line}");
        assert!(why.starts_with("expected: found work_mem; allowed with `ends: unchanged`: none"), "{why}");
    }

    #[test]
    fn values_of_the_env_are_within_their_range() {
        let (line, why) = refused("broken: {}", "broken:\n  env:\n    BATCH_SIZE: 0");
        assert_eq!(
            (line.as_str(), why.as_str()),
            ("    BATCH_SIZE: 0", "BATCH_SIZE: found `0`; allowed: 1 to 10000")
        );
        let (_, why) = refused("broken: {}", "broken:\n  env: {BATCH: 5}");
        assert!(why.starts_with("BATCH: is not a key of the load's .env; allowed: BATCH_SIZE, "), "{why}");
    }

    #[test]
    fn a_timetable_goes_forward_from_a_mis_setting_and_masks_no_lever() {
        let broken = "broken: {indexes: 1}";
        let with = |turns: &str| {
            let text = include_str!("../../../config/scenarios/healthy.yaml").replace("broken: {}", broken);
            let text = text.replace("timetable: []", &format!("timetable:\n{turns}"));
            Scenario::parse(Path::new("s.yaml"), &text).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(with("  - {after: 10s, env: {EVENTS_PER_SEC: 9}}\n  - {after: 20s, env: {}}"), Ok(()));
        let late = with("  - {after: 20s, env: {}}\n  - {after: 10s, env: {}}").unwrap_err();
        assert!(late.ends_with("after: found 10s behind 20s; allowed: later and later"), "{late}");
        let lever = with("  - after: 20s\n    env:\n      BATCH_SIZE: 7").unwrap_err();
        assert!(lever.contains("BATCH_SIZE: is a lever, which a turn would mask"), "{lever}");
        let (line, why) = refused("timetable: []", "timetable: [{after: 1s, env: {}}]");
        assert!(line.starts_with("timetable:") && why.contains("`broken` is empty"), "{line}: {why}");
    }

    #[test]
    fn numbers_fit_each_other() {
        let (line, why) = refused("    working_set_rows: 100000", "    working_set_rows: 100001");
        assert_eq!(line, "    working_set_rows: 100001");
        assert_eq!(why, "working_set_rows: found 100001; allowed: 1 to 100000, the rows of items");
        let (line, why) = refused("    rows: 2000\n", "    rows: 150\n");
        assert_eq!(
            (line.as_str(), why.as_str()),
            ("    rows: 150", "rows: found 150; allowed: at least 100 for each of 2 writers")
        );
        let (line, why) =
            refused("broken: {}", "broken:\n  neighbour:\n    {threads: 1, busy: 0s, idle: 1s}");
        assert_eq!(line, "    {threads: 1, busy: 0s, idle: 1s}");
        assert_eq!(why, "busy: found 0s; allowed: 1ms or more");
    }
}
