//! The present values of `.env` keys that levers refer to.
//!
//! A key of the answer is `"{file}:{KEY}"`, e.g. `/srv/app/.env:BATCH_SIZE`. A key that is not set, or whose file
//! cannot be read, is absent.

use crate::model::{Lever, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// No `.env` file is larger, bytes; what is larger is something else.
const CAP_BYTES: u64 = 1 << 20;

/// Reads each file once.
pub(super) fn read(levers: &[Lever]) -> BTreeMap<String, String> {
    let mut wanted: BTreeMap<&Path, BTreeSet<&str>> = BTreeMap::new();
    for lever in levers {
        if let Place::EnvFile(file) = &lever.place {
            wanted.entry(file).or_default().insert(&lever.parameter);
        }
    }
    let mut values = BTreeMap::new();
    for (file, keys) in wanted {
        let text = match text_of(file) {
            Ok(text) => text,
            Err(error) => {
                tracing::debug!("{}: cannot be read: {error}", file.display());
                continue;
            }
        };
        for (key, value) in assignments(&text) {
            if keys.contains(key) {
                // The last assignment of a file counts.
                values.insert(format!("{}:{key}", file.display()), value.to_owned());
            }
        }
    }
    values
}

fn text_of(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(CAP_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// `KEY=value`, `export KEY='value'`, `KEY=value # remark`.
fn assignments(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=')?;
        let key = key.trim_end();
        (!key.starts_with('#')).then(|| (key, unquoted(value.trim())))
    })
}

fn unquoted(value: &str) -> &str {
    for quote in ['\'', '"'] {
        if let Some((inner, _)) = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return inner;
        }
    }
    value.split_once(" #").map_or(value, |(value, _)| value.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_compose_reads_them() {
        let text = "# BATCH_SIZE=1\nBATCH_SIZE=10\r\nexport POOL='5 # no' # yes\nURL=\"a=b\"\nX= 7 # seven\nBATCH_SIZE=20\nplain\nE=\n";
        let all: Vec<_> = assignments(text).collect();
        assert_eq!(
            all,
            [
                ("BATCH_SIZE", "10"),
                ("POOL", "5 # no"),
                ("URL", "a=b"),
                ("X", "7"),
                ("BATCH_SIZE", "20"),
                ("E", "")
            ]
        );
    }
}
