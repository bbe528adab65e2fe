//! `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` inside scalars.
//!
//! It happens after the YAML is read, so what comes in is text and never structure: no secret can add a key. An
//! unset name is an error, never an empty text. `$${` stands for `${` itself. What came in is never shown: errors
//! quote what stands in the file. A scalar that comes out empty counts as not set.

use super::document::{Node, Scalar, Value, child_key};
use super::errors::Problems;
use std::path::Path;

const MAX_FILE_BYTES: u64 = 64 * 1024;
const ALLOWED: &str = "allowed: ${env:NAME}, ${env:NAME:-default}, ${file:PATH}";
const LITERAL_HINT: &str = "write $${ for the characters ${ themselves";

/// Where the values come from.
pub(super) struct Sources<'a> {
    /// The environment.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Where relative paths start.
    pub(super) base: &'a Path,
}

/// Replaces every `${…}` in the tree; what cannot be replaced is reported and marked so.
pub(super) fn substitute(node: &mut Node, key: &str, sources: &Sources<'_>, problems: &Problems) {
    let replaced = match &mut node.value {
        Value::Scalar(scalar) if scalar.written.contains("${") => match replace(&scalar.written, sources) {
            Ok(text) if text.is_empty() => Some(Value::Null),
            Ok(text) => Some(Value::Scalar(Scalar { text, written: std::mem::take(&mut scalar.written) })),
            Err((problem, hint)) => {
                problems.add(Some(node.line), key, problem, Some(hint));
                Some(Value::Reported)
            }
        },
        Value::List(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                substitute(item, &child_key(key, &format!("[{at}]")), sources, problems);
            }
            None
        }
        Value::Map(entries) => {
            for entry in entries {
                substitute(&mut entry.node, &child_key(key, &entry.key), sources, problems);
            }
            None
        }
        Value::Scalar(_) | Value::Null | Value::Reported => None,
    };
    if let Some(value) = replaced {
        node.value = value;
    }
}

/// The text with every `${…}` replaced, or (problem, hint).
fn replace(written: &str, sources: &Sources<'_>) -> Result<String, (String, String)> {
    let mut out = String::new();
    let mut rest = written;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let end = inside
            .find('}')
            .ok_or_else(|| (format!("found ${{ without a closing }}; {ALLOWED}"), LITERAL_HINT.to_owned()))?;
        out.push_str(&value_of(&inside[..end], sources)?);
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of(reference: &str, sources: &Sources<'_>) -> Result<String, (String, String)> {
    if let Some(name) = reference.strip_prefix("env:") {
        let (name, default) = match name.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (name, None),
        };
        if !is_env_name(name) {
            let problem = "${env:…} holds no name of an environment variable; allowed: letters, digits and _";
            return Err((problem.to_owned(), LITERAL_HINT.to_owned()));
        }
        return (sources.env)(name).or_else(|| default.map(str::to_owned)).ok_or_else(|| {
            (
                format!("the environment variable {name} is not set"),
                format!("set it, or give a default: ${{env:{name}:-default}}"),
            )
        });
    }
    if let Some(path) = reference.strip_prefix("file:") {
        let path = sources.base.join(path);
        return read_secret(&path).map_err(|why| {
            (format!("${{file:…}} cannot be read: {}: {why}", path.display()), {
                "name a small text file that this user may read; a relative path starts at the root"
                    .to_owned()
            })
        });
    }
    Err((format!("found ${{ with neither env: nor file:; {ALLOWED}"), LITERAL_HINT.to_owned()))
}

fn read_secret(path: &Path) -> Result<String, String> {
    let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is not a file".to_owned());
    }
    if meta.len() > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    let mut text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document;

    fn env(name: &str) -> Option<String> {
        match name {
            "USER_NAME" => Some("ann".to_owned()),
            "PASSWORD" => Some("x\ntarget: {dsn: evil}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn read(text: &str) -> (Option<String>, String) {
        let folder = tempfile::tempdir().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
        let problems = Problems::of(Path::new("x.yaml"));
        let mut tree = document::parse(text, &problems).unwrap();
        substitute(&mut tree, "", &Sources { env: &env, base: folder.path() }, &problems);
        let value = match &tree.get("a").map(|node| &node.value) {
            Some(Value::Scalar(scalar)) => Some(scalar.text.clone()),
            _ => None,
        };
        let errors = problems.into_result().map_or_else(|errors| errors.to_string(), |()| String::new());
        (value, errors.replace(&folder.path().display().to_string(), "ROOT"))
    }

    #[test]
    fn references_are_replaced_inside_a_text() {
        assert_eq!(
            read("a: postgresql://${env:USER_NAME}:${file:secret}@h/").0.unwrap(),
            "postgresql://ann:hunter2@h/"
        );
        assert_eq!(read("a: ${env:NOPE:-fall:-back}").0.unwrap(), "fall:-back");
        assert_eq!(read("a: price $${env:USER_NAME} $5").0.unwrap(), "price ${env:USER_NAME} $5");
    }

    #[test]
    fn what_comes_in_stays_text() {
        assert_eq!(read("a: ${env:PASSWORD}").0.unwrap(), "x\ntarget: {dsn: evil}");
        assert_eq!(read("a: ${env:EMPTY}").0, None);
        assert_eq!(read("a: ${env:NOPE:-}").0, None);
    }

    #[test]
    fn what_is_missing_is_an_error_with_its_line_and_key() {
        insta::assert_snapshot!(read("b: 1\na: ${env:NOPE}").1, @"
x.yaml:2: a: the environment variable NOPE is not set
  hint: set it, or give a default: ${env:NOPE:-default}
");
        insta::assert_snapshot!(read("a: [x, '${file:nope}']").1, @"
x.yaml:1: a[1]: ${file:…} cannot be read: ROOT/nope: No such file or directory (os error 2)
  hint: name a small text file that this user may read; a relative path starts at the root
");
        insta::assert_snapshot!(read("a: ${vault:x}").1, @"
x.yaml:1: a: found ${ with neither env: nor file:; allowed: ${env:NAME}, ${env:NAME:-default}, ${file:PATH}
  hint: write $${ for the characters ${ themselves
");
        insta::assert_snapshot!(read("a: ${env:PASSWORD").1, @"
x.yaml:1: a: found ${ without a closing }; allowed: ${env:NAME}, ${env:NAME:-default}, ${file:PATH}
  hint: write $${ for the characters ${ themselves
");
    }
}
