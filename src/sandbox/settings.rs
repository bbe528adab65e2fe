//! Setting values in the sandbox's own `postgresql.conf` and `.env`. Pure text in, text out.
//!
//! This is not how leverd changes a person's file (that is `actuate`'s work); it prepares the patient.

use super::scenario::Scalar;
use std::collections::BTreeMap;

/// A scenario's values as text.
pub(super) fn values(settings: &BTreeMap<String, Scalar>) -> BTreeMap<String, String> {
    settings.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
}

/// `NAME = VALUE` in `text` for each setting: where the last active line of that name stands, else at the end.
pub(super) fn set_in_conf(text: &str, settings: &BTreeMap<String, String>) -> String {
    set(text, settings, |name, value| format!("{name} = {}", quoted(value)))
}

/// `NAME=VALUE` likewise, for an `.env` file.
pub(super) fn set_in_env(text: &str, settings: &BTreeMap<String, String>) -> String {
    set(text, settings, |name, value| format!("{name}={value}"))
}

fn set(text: &str, settings: &BTreeMap<String, String>, line: impl Fn(&str, &str) -> String) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (name, value) in settings {
        let new = line(name, value);
        match lines.iter().rposition(|old| name_of(old).eq_ignore_ascii_case(name)) {
            Some(at) => lines[at] = new,
            None => lines.push(new),
        }
    }
    lines.join("\n") + "\n"
}

/// The setting's name of an active line; empty for a comment or a blank.
fn name_of(line: &str) -> &str {
    let line = line.trim_start();
    let end = line.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(line.len());
    &line[..end]
}

/// Quotes what is neither a word nor a number with an optional unit: `127.0.0.1` is neither.
fn quoted(value: &str) -> String {
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    let number = value.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let is_number = value[..value.len() - number.len()].parse::<f64>().is_ok() && word(number);
    if is_number || (!value.is_empty() && word(value)) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_last_active_line_is_replaced_and_a_new_name_goes_to_the_end() {
        let text = "#work_mem = 4MB\nwork_mem = 1MB\n  Work_Mem=2MB # ours\nport = 1\n";
        let new =
            set_in_conf(text, &settings(&[("work_mem", "64kB"), ("listen_addresses", "127.0.0.1, ::1")]));
        insta::assert_snapshot!(new, @r"
        #work_mem = 4MB
        work_mem = 1MB
        work_mem = 64kB
        port = 1
        listen_addresses = '127.0.0.1, ::1'
        ");
    }

    #[test]
    fn words_and_numbers_need_no_quotes() {
        for plain in ["on", "replica", "256MB", "0.9", "4"] {
            assert_eq!(quoted(plain), plain);
        }
        assert_eq!(quoted("127.0.0.1"), "'127.0.0.1'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's"), "'it''s'");
    }

    #[test]
    fn an_env_file_keeps_its_other_lines() {
        let new = set_in_env("# of capsim\nBATCH_SIZE=50\nOTHER=x\n", &settings(&[("BATCH_SIZE", "1")]));
        assert_eq!(new, "# of capsim\nBATCH_SIZE=1\nOTHER=x\n");
    }
}
