//! Reads typed values out of a [`Node`] tree. What does not fit is reported with file, line, key, what was found
//! and what is allowed, and reading goes on: a person sees all that is wrong at once.

use super::document::{Entry, Node, Value, child_key};
use super::errors::Problems;
use super::quantity::{DURATION_FORM, SIZE_FORM, parse_duration, parse_size};
use super::suggest::did_you_mean;
use std::time::Duration;

/// A value at its place.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    pub(super) key: String,
    pub(super) problems: &'a Problems,
}

/// A mapping whose keys are known.
pub(super) struct Fields<'a> {
    entries: &'a [Entry],
    /// It was no mapping, which is reported: what it lacks is not reported too.
    broken: bool,
    line: u32,
    key: String,
    problems: &'a Problems,
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node, problems: &'a Problems) -> Self {
        Self { node, key: String::new(), problems }
    }

    /// The line of the value.
    pub(super) fn line(&self) -> u32 {
        self.node.line
    }

    /// Reports a problem with this value.
    pub(super) fn problem(&self, problem: impl Into<String>, hint: Option<String>) {
        self.problems.add(Some(self.node.line), &self.key, problem.into(), hint);
    }

    /// Reports "found …; allowed: …".
    pub(super) fn refuse(&self, allowed: &str, hint: Option<String>) {
        if !matches!(self.node.value, Value::Reported) {
            self.problem(format!("found {}; allowed: {allowed}", self.found()), hint);
        }
    }

    /// What stands in the file, for messages.
    pub(super) fn found(&self) -> String {
        match &self.node.value {
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Reported => "something wrong".to_owned(),
            Value::Scalar(scalar) if scalar.written.chars().count() > 80 => {
                format!("\"{}…\"", scalar.written.chars().take(80).collect::<String>())
            }
            Value::Scalar(scalar) => format!("\"{}\"", scalar.written),
        }
    }

    /// The text of a scalar, without a report.
    pub(super) fn scalar(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Reads a scalar with `read`; what does not fit is reported with `allowed`.
    pub(super) fn read<T>(&self, allowed: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.scalar().and_then(read);
        if value.is_none() {
            self.refuse(allowed, None);
        }
        value
    }

    /// A text on one line. Long ones are folded by YAML itself.
    pub(super) fn text(&self) -> Option<String> {
        self.read("a text on one line", |text| {
            let clean = text.trim();
            (!clean.is_empty() && !clean.chars().any(char::is_control)).then(|| clean.to_owned())
        })
    }

    /// A text of any shape, e.g. a query on several lines.
    pub(super) fn long_text(&self) -> Option<String> {
        self.read("a text", |text| {
            let clean = text.trim();
            (!clean.is_empty() && !clean.contains('\0')).then(|| clean.to_owned())
        })
    }

    /// A text that must never be shown, also not in an error.
    pub(super) fn secret(&self) -> Option<String> {
        let text = self.scalar().map(str::to_owned);
        if text.is_none() && !matches!(self.node.value, Value::Reported) {
            self.problem("found something that is no text; allowed: a text, ${env:NAME}, ${file:PATH}", None);
        }
        text
    }

    /// A name: letters, digits, `_`, `-`, `.`; a letter first; 63 characters at most.
    pub(super) fn name(&self) -> Option<String> {
        self.read(NAME_FORM, |text| is_name(text).then(|| text.to_owned()))
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        self.read(DURATION_FORM, parse_duration)
    }

    pub(super) fn positive_duration(&self) -> Option<Duration> {
        self.read(&format!("{DURATION_FORM}, above 0"), |text| {
            parse_duration(text).filter(|duration| !duration.is_zero())
        })
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.read(SIZE_FORM, |text| parse_size(text).filter(|bytes| *bytes > 0))
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.read("true, false", |text| match text {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    pub(super) fn integer(&self, low: u32, high: u32) -> Option<u32> {
        self.read(&format!("a whole number from {low} to {high}"), |text| {
            text.parse().ok().filter(|number| (low..=high).contains(number))
        })
    }

    /// A finite number in a range, ends included.
    pub(super) fn number(&self, low: f64, high: f64, allowed: &str) -> Option<f64> {
        self.read(allowed, |text| {
            text.parse::<f64>().ok().filter(|number| number.is_finite() && (low..=high).contains(number))
        })
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let found = self.scalar();
        let value =
            found.and_then(|text| words.iter().find(|(word, _)| *word == text)).map(|(_, value)| *value);
        if value.is_none() {
            let hint = found.and_then(|text| did_you_mean(text, words.iter().map(|(word, _)| *word)));
            let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.refuse(&allowed.join(", "), hint);
        }
        value
    }

    /// A list's items, each at its place.
    pub(super) fn items(&self, allowed: &str) -> Vec<Self> {
        let Value::List(items) = &self.node.value else {
            self.refuse(allowed, None);
            return Vec::new();
        };
        let at = |(index, node)| Self {
            node,
            key: child_key(&self.key, &format!("[{index}]")),
            problems: self.problems,
        };
        items.iter().enumerate().map(at).collect()
    }

    /// A mapping whose keys are names that the user chose, in the file's order.
    pub(super) fn entries(&self, allowed: &str) -> Vec<(&'a str, Self)> {
        let Value::Map(entries) = &self.node.value else {
            self.refuse(allowed, None);
            return Vec::new();
        };
        let at = |entry: &'a Entry| {
            let key = child_key(&self.key, &entry.key);
            let at = Self { node: &entry.node, key, problems: self.problems };
            if !is_name(&entry.key) {
                self.problems.add(
                    Some(entry.line),
                    &at.key,
                    format!("found the name \"{}\"; allowed: {NAME_FORM}", entry.key),
                    None,
                );
            }
            (entry.key.as_str(), at)
        };
        entries.iter().map(at).collect()
    }

    /// A mapping with these keys only; others are reported.
    pub(super) fn fields(&self, known: &[&str]) -> Fields<'a> {
        let (entries, broken): (&[Entry], bool) = match &self.node.value {
            Value::Map(entries) => (entries, false),
            Value::Null => (&[], false),
            _ => {
                self.refuse(&format!("a mapping with {}", known.join(", ")), None);
                (&[], true)
            }
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let hint = did_you_mean(&entry.key, known.iter().copied());
            self.problems.add(
                Some(entry.line),
                &child_key(&self.key, &entry.key),
                format!("this key is not known; allowed: {}", known.join(", ")),
                hint,
            );
        }
        Fields { entries, broken, line: self.node.line, key: self.key.clone(), problems: self.problems }
    }
}

impl<'a> Fields<'a> {
    /// The value under `key`; `None` where there is none, or nothing.
    pub(super) fn get(&self, key: &str) -> Option<At<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let at = At { node: &entry.node, key: child_key(&self.key, key), problems: self.problems };
        (!entry.node.is_null()).then_some(at)
    }

    /// The value under `key`, or a report that it is missing.
    pub(super) fn required(&self, key: &str, allowed: &str, hint: Option<&str>) -> Option<At<'a>> {
        let found = self.get(key);
        if found.is_none() && !self.broken {
            let line =
                self.entries.iter().find(|entry| entry.key == key).map_or(self.line, |entry| entry.line);
            self.problems.add(
                Some(line),
                &child_key(&self.key, key),
                format!("found nothing; allowed: {allowed}"),
                hint.map(str::to_owned),
            );
        }
        found
    }

    /// The value under `key` as `read` has it, else `default`: also where it is wrong, which is reported.
    pub(super) fn or<T>(&self, key: &str, default: T, read: impl FnOnce(&At<'a>) -> Option<T>) -> T {
        self.get(key).and_then(|at| read(&at)).unwrap_or(default)
    }

    /// An empty mapping in place of an absent one: every default holds.
    pub(super) fn section(&self, key: &str, known: &[&str]) -> Self {
        match self.get(key) {
            Some(at) => at.fields(known),
            None => {
                let key = child_key(&self.key, key);
                Fields { entries: &[], broken: false, line: self.line, key, problems: self.problems }
            }
        }
    }

    /// Reports a problem with the mapping as a whole.
    pub(super) fn problem(&self, key: &str, problem: impl Into<String>, hint: Option<String>) {
        self.problems.add(Some(self.line), &child_key(&self.key, key), problem.into(), hint);
    }
}

/// What a name may look like, for messages.
pub(super) const NAME_FORM: &str = "letters, digits, _, - and ., a letter first, 63 characters at most";

pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}
