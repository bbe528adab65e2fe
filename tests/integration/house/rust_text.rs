//! Reads just enough of Rust's text to find the paths that it names: comments and literals are blanked, `use` trees
//! are written out, and what stands behind `#[cfg(test)]` is left away. It is no parser: macros are read as they stand.

/// A path as it is named in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// `crate`, `model`, `Unit`; for an import `as` something, the original name.
    pub(super) segments: Vec<String>,
    /// From 1.
    pub(super) line: usize,
}

/// A file's code: comments and the insides of literals are spaces, so lines and columns stay.
#[derive(Debug)]
pub(super) struct SourceText(String);

impl SourceText {
    /// The code up to its first inline test module.
    pub(super) fn without_tests(raw: &str) -> Self {
        let mut code = blanked(raw);
        if let Some(at) = inline_tests(&code) {
            code.truncate(at);
        }
        Self(code)
    }

    /// How many lines it has.
    pub(super) fn lines(&self) -> usize {
        self.0.lines().count()
    }

    /// Every path of two segments or more that is named anywhere, and every import.
    pub(super) fn paths(&self) -> Vec<Path> {
        let mut paths = self.use_paths();
        let tokens = tokens(&self.0);
        let mut at = 0;
        while at < tokens.len() {
            if is_import(&tokens, at) {
                while at < tokens.len() && tokens[at].text != ";" {
                    at += 1;
                }
                continue;
            }
            let path = path_at(&tokens, at);
            // `a::b` is three tokens, two of them names.
            at += path.segments.len().saturating_mul(2).saturating_sub(1).max(1);
            if path.segments.len() > 1 {
                paths.push(path);
            }
        }
        paths
    }

    /// Every import, with its braces written out.
    pub(super) fn use_paths(&self) -> Vec<Path> {
        let tokens = tokens(&self.0);
        let mut paths = Vec::new();
        for at in (0..tokens.len()).filter(|at| is_import(&tokens, *at)) {
            expand(&tokens, at + 1, &[], &mut paths);
        }
        paths
    }
}

/// The modules that only tests compile: `#[cfg(test)] mod name;`.
pub(super) fn test_modules(raw: &str) -> Vec<String> {
    let code = blanked(raw);
    let tokens = tokens(&code);
    let texts: Vec<&str> = tokens.iter().map(|token| token.text).collect();
    let modules =
        texts.iter().enumerate().filter(|(at, text)| **text == "mod" && texts.get(at + 2) == Some(&";"));
    modules
        .filter(|(at, _)| {
            // Back over a visibility and other attributes to the end of the item before.
            let begins =
                texts[..*at].iter().rposition(|text| matches!(*text, ";" | "}")).map_or(0, |end| end + 1);
            texts[begins..*at].windows(4).any(|window| window == ["cfg", "(", "test", ")"])
        })
        .map(|(at, _)| texts[at + 1].to_owned())
        .collect()
}

/// Where the first `#[cfg(test)] mod name {` begins.
fn inline_tests(code: &str) -> Option<usize> {
    code.match_indices("#[cfg(test)]").map(|(at, _)| at).find(|&at| {
        let mut rest = code[at..].trim_start_matches("#[cfg(test)]").trim_start();
        while let Some(attribute) = rest.strip_prefix("#[") {
            rest = attribute.split_once(']').map_or("", |(_, after)| after).trim_start();
        }
        let module = rest.strip_prefix("mod ").unwrap_or_default();
        module.find(['{', ';']).is_some_and(|end| module[end..].starts_with('{'))
    })
}

struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// Names, `::`, and single signs.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = code[at..].chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            let rest = &code[at..];
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if code[at..].starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(Token { text: &code[at..at + length], line });
        }
        line += usize::from(first == '\n');
        at += length;
    }
    tokens
}

/// `use a::b;`, not the `use<'a>` of a bound.
fn is_import(tokens: &[Token<'_>], at: usize) -> bool {
    tokens[at].text == "use" && tokens.get(at + 1).is_some_and(|next| next.text != "<")
}

fn is_name(token: &Token<'_>) -> bool {
    token.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The path that begins at a token; empty where none does.
fn path_at(tokens: &[Token<'_>], mut at: usize) -> Path {
    let mut path = Path { segments: Vec::new(), line: tokens[at].line };
    while tokens.get(at).is_some_and(is_name) {
        path.segments.push(tokens[at].text.to_owned());
        if tokens.get(at + 1).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 2;
    }
    path
}

/// Writes the use tree at a token out into `paths`; returns the token behind it.
fn expand(tokens: &[Token<'_>], mut at: usize, prefix: &[String], paths: &mut Vec<Path>) -> usize {
    let mut segments = prefix.to_vec();
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text {
            "::" => {}
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = expand(tokens, at, &segments, paths);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                return at + 1;
            }
            "as" => at += 1,
            "*" => segments.push("*".to_owned()),
            _ if is_name(token) => {
                line = token.line;
                segments.push(token.text.to_owned());
            }
            _ => break,
        }
        at += 1;
    }
    paths.push(Path { segments, line });
    at
}

/// Comments and the insides of texts and characters become spaces; line ends stay.
fn blanked(raw: &str) -> String {
    let mut code = String::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        let rest = &raw[at..];
        let (length, keep) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (block_comment(rest), false)
        } else if let Some(length) = raw_text(rest, raw[..at].chars().next_back()) {
            (length, false)
        } else if rest.starts_with('"') {
            (quoted(rest, '"'), false)
        } else if let Some(length) = character(rest) {
            (length, false)
        } else {
            (rest.chars().next().map_or(1, char::len_utf8), true)
        };
        let piece = &rest[..length];
        if keep {
            code.push_str(piece);
        } else {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        at += length;
    }
    code
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, also with a `b` or `c` before it.
fn raw_text(rest: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let marked =
        rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let hashes = marked.len() - marked.trim_start_matches('#').len();
    let inside = marked[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = rest.len() - inside.len();
    Some(inside.find(&end).map_or(rest.len(), |at| opening + at + end.len()))
}

/// From a quote to its partner, escapes skipped.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `'x'` or `'\n'`; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let mut characters = inside.chars();
    let first = characters.next()?;
    (first == '\\' || characters.next() == Some('\'')).then(|| quoted(rest, '\''))
}
