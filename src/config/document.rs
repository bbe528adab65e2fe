//! YAML text → a tree that remembers its lines.
//!
//! Every scalar stays the text that stands in the file: `0.90` is not 0.9 and `on` is not true, because a lever's
//! values reach Postgres as people wrote them. Types come later, when a key says what it wants. A serde
//! deserializer would stop at the first error and forget lines; here everything that is wrong is found in one go.
//!
//! Always so: no key stands twice in a mapping, and the tree is bounded in size and depth. Tags and several
//! documents in one file are refused.

use super::errors::Problems;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use std::collections::HashMap;

/// Aliases may repeat a part of the tree; this bounds what they add up to.
const MAX_NODES: usize = 20_000;
const MAX_DEPTH: usize = 32;

/// A value with its line.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) value: Value,
}

/// What a node holds. There is no `Debug`: after substitution a scalar may hold a secret.
#[derive(Clone)]
pub(super) enum Value {
    /// Nothing, `~` or `null`: as if the key were not there.
    Null,
    /// A scalar.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the file's order.
    Map(Vec<Entry>),
    /// It was reported already; nothing more is said about it.
    Reported,
}

/// A scalar's text.
#[derive(Clone)]
pub(super) struct Scalar {
    /// The value, substitutions made. May hold a secret.
    pub(super) text: String,
    /// What stands in the file: the only form that errors may show.
    pub(super) written: String,
}

/// A key with its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u32,
    pub(super) node: Node,
}

impl Node {
    /// The entry's value; `None` where this is no mapping or holds nothing under that key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node).filter(|node| !node.is_null())
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }
}

/// Reads one document. What is wrong goes to `problems`; `None` where there is no tree at all. An empty file is
/// an empty mapping.
pub(super) fn parse(text: &str, problems: &Problems) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        problems,
        path: Vec::new(),
    };
    match builder.document() {
        Ok(node) => Some(node),
        Err(Stop { line, key, problem, hint }) => {
            // `>` begins a folded text in YAML, and a bound for people.
            let bound = |line: u32| {
                text.lines()
                    .nth(usize::try_from(line).ok()?.checked_sub(1)?)
                    .filter(|line| line.contains(": >="))
            };
            let hint = match bound(line).or_else(|| bound(line.saturating_sub(1))) {
                Some(_) => Some("quote a value that begins with >, e.g. \">= 100\"".to_owned()),
                None => hint,
            };
            problems.add(Some(line), &key, problem, hint);
            None
        }
    }
}

/// Why reading cannot go on.
struct Stop {
    line: u32,
    key: String,
    problem: String,
    hint: Option<String>,
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        let mark = error.marker();
        Self {
            line: line_number(mark.line()),
            key: String::new(),
            problem: format!("this is not YAML: {} (column {})", error.info(), mark.col() + 1),
            hint: Some(
                "check the indentation (spaces, no tabs), and quote texts that hold a colon or a brace"
                    .to_owned(),
            ),
        }
    }
}

struct Builder<'input> {
    events: Parser<'input, StrInput<'input>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    problems: &'input Problems,
    path: Vec<String>,
}

impl<'input> Builder<'input> {
    fn next(&mut self) -> Result<(Event<'input>, Span), Stop> {
        match self.events.next_event() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = Node { line: 1, value: Value::Map(Vec::new()) };
        let mut seen = false;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                _ if seen => {
                    return Err(self.stop(&span, "a second document begins here; allowed: one", None));
                }
                event => {
                    seen = true;
                    let node = self.node(event, &span, 0)?;
                    if !node.is_null() {
                        root = node;
                    }
                }
            }
        }
    }

    fn node(&mut self, event: Event<'input>, span: &Span, depth: usize) -> Result<Node, Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > MAX_DEPTH {
            let problem = format!("too large: allowed are {MAX_NODES} values, {MAX_DEPTH} levels deep");
            return Err(self.stop(span, &problem, None));
        }
        let line = line_number(span.start.line());
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.no_tag(tag.is_some(), span)?;
                let nothing =
                    style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let text = text.into_owned();
                let value =
                    if nothing { Value::Null } else { Value::Scalar(Scalar { written: text.clone(), text }) };
                (value, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.no_tag(tag.is_some(), span)?;
                (self.list(depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.no_tag(tag.is_some(), span)?;
                (self.mapping(depth)?, anchor)
            }
            _ => return Err(self.stop(span, "a value is missing here", None)),
        };
        let node = Node { line, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(self.stop(span, "this alias stands for the value that it is part of", None));
        };
        self.nodes += size_of(&node);
        Ok(Node { line: line_number(span.start.line()), ..node })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            self.path.push(format!("[{}]", items.len()));
            items.push(self.node(event, &span, depth + 1)?);
            self.path.pop();
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(self.stop(&span, "found a key that is not a plain word", None)),
            };
            let line = line_number(span.start.line());
            self.path.push(key.clone());
            let (event, span) = self.next()?;
            let node = self.node(event, &span, depth + 1)?;
            match entries.iter().find(|entry| entry.key == key) {
                Some(first) => self.problems.add(
                    Some(line),
                    &join(&self.path),
                    format!("this key stands twice: it is on line {} already", first.line),
                    Some("keep one of them".to_owned()),
                ),
                None => entries.push(Entry { key, line, node }),
            }
            self.path.pop();
        }
    }

    fn no_tag(&self, tagged: bool, span: &Span) -> Result<(), Stop> {
        if tagged {
            return Err(self.stop(span, "found a YAML tag (`!…`); allowed: plain values", None));
        }
        Ok(())
    }

    fn stop(&self, span: &Span, problem: &str, hint: Option<String>) -> Stop {
        Stop {
            line: line_number(span.start.line()),
            key: join(&self.path),
            problem: problem.to_owned(),
            hint,
        }
    }
}

fn line_number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

fn size_of(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size_of).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size_of(&entry.node)).sum(),
        _ => 0,
    }
}

/// `a`, `b`, `[0]` → `a.b[0]`.
fn join(path: &[String]) -> String {
    path.iter().fold(String::new(), |joined, part| child_key(&joined, part))
}

/// The key of `part` below `parent`.
pub(super) fn child_key(parent: &str, part: &str) -> String {
    if parent.is_empty() || part.starts_with('[') {
        format!("{parent}{part}")
    } else {
        format!("{parent}.{part}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn errors(text: &str) -> String {
        let problems = Problems::of(Path::new("x.yaml"));
        let _ = parse(text, &problems);
        problems.into_result().map_or_else(|errors| errors.to_string(), |()| "none".to_owned())
    }

    #[test]
    fn scalars_stay_as_they_are_written() {
        let problems = Problems::of(Path::new("x.yaml"));
        let tree = parse("a: 0.90\nb: [on, 'x: y', ~]\nc:\n", &problems).unwrap();
        let Value::Scalar(a) = &tree.get("a").unwrap().value else { panic!("a scalar") };
        assert_eq!(a.text, "0.90");
        let Value::List(b) = &tree.get("b").unwrap().value else { panic!("a list") };
        assert!(matches!(&b[0].value, Value::Scalar(on) if on.text == "on") && b[2].is_null());
        assert!(tree.get("c").is_none());
        assert_eq!(tree.get("b").unwrap().line, 2);
        assert!(problems.is_empty());
    }

    #[test]
    fn broken_yaml_names_the_line() {
        insta::assert_snapshot!(errors("a: 1\nb: [1, 2\nc: 3\n"), @"
x.yaml:3: this is not YAML: illegal placement of ':' indicator (column 2)
  hint: check the indentation (spaces, no tabs), and quote texts that hold a colon or a brace
");
        insta::assert_snapshot!(errors("target:\n  name: x\n\tdsn: y\n"), @"
x.yaml:2: this is not YAML: while scanning a plain scalar, found a tab (column 9)
  hint: check the indentation (spaces, no tabs), and quote texts that hold a colon or a brace
");
        insta::assert_snapshot!(errors("sla:\n  throughput: >= 100\n  io_wait: < 25\n"), @r#"
x.yaml:2: this is not YAML: while scanning a block scalar, did not find expected comment or line break (column 15)
  hint: quote a value that begins with >, e.g. ">= 100"
"#);
        insta::assert_snapshot!(errors("a: b: c\n"), @"
x.yaml:1: this is not YAML: mapping values are not allowed in this context (column 5)
  hint: check the indentation (spaces, no tabs), and quote texts that hold a colon or a brace
");
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_with_both_lines() {
        insta::assert_snapshot!(errors("a:\n  b: 1\n  c: 2\n  b: 3\n"), @"
x.yaml:4: a.b: this key stands twice: it is on line 2 already
  hint: keep one of them
");
    }

    #[test]
    fn tags_and_second_documents_are_refused() {
        insta::assert_snapshot!(errors("a: !!binary aGk=\n"), @"x.yaml:1: a: found a YAML tag (`!…`); allowed: plain values");
        insta::assert_snapshot!(errors("a: 1\n---\nb: 2\n"), @"x.yaml:3: a second document begins here; allowed: one");
    }

    #[test]
    fn aliases_repeat_a_value_and_cannot_blow_up() {
        let problems = Problems::of(Path::new("x.yaml"));
        let tree = parse("a: &x [1, 2]\nb: *x\n", &problems).unwrap();
        assert!(matches!(&tree.get("b").unwrap().value, Value::List(items) if items.len() == 2));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        insta::assert_snapshot!(errors(&bomb), @"x.yaml:5: a4[1]: too large: allowed are 20000 values, 32 levels deep");
    }
}
