//! MySQL's expressions, cut into tokens.
//!
//! Goes in: an expression as `information_schema` or `SHOW CREATE` writes it. Comes out: its tokens, texts without
//! their quotes. Always holds: what it does not know is an error that says what, never a guess. A text may come with
//! its quotes escaped (`_utf8mb4\'a\'`), as MySQL 8 stores them.

use crate::migrate::quote::mysql_escape;

/// A piece of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name in backticks.
    Name(String),
    /// A bare word, in lower case.
    Word(String),
    /// A text.
    Text(String),
    /// A number, as written.
    Number(String),
    /// The digits of `b'…'` or `0b…`.
    Bits(String),
    /// The digits of `x'…'` or `0x…`, an even number of them.
    Hex(String),
    /// An operator or a mark.
    Symbol(&'static str),
}

impl Token {
    pub(super) fn is_word(&self, wanted: &str) -> bool {
        matches!(self, Self::Word(word) if word == wanted)
    }

    pub(super) fn is_symbol(&self, wanted: &str) -> bool {
        matches!(self, Self::Symbol(symbol) if *symbol == wanted)
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Name(name) => format!("`{name}`"),
            Self::Word(word) => word.clone(),
            Self::Text(_) => "a text".to_owned(),
            Self::Number(number) => number.clone(),
            Self::Bits(digits) => format!("b'{digits}'"),
            Self::Hex(digits) => format!("x'{digits}'"),
            Self::Symbol(symbol) => (*symbol).to_owned(),
        }
    }
}

/// Longer ones first.
const SYMBOLS: [&str; 25] = [
    "<=>", "->>", "<>", "!=", "<=", ">=", "||", "&&", "->", "(", ")", ",", ".", "+", "-", "*", "/", "%", "=",
    "<", ">", "!", "&", "|", "^",
];

/// The tokens of an expression. `Err`: why not, as the rest of a sentence.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut rest = text.trim_start();
    let mut out = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (token, used) = one(rest, first)?;
        out.push(token);
        rest = rest[used..].trim_start();
    }
    Ok(out)
}

/// The first token and its length in bytes.
fn one(rest: &str, first: char) -> Result<(Token, usize), String> {
    match first {
        '`' => quoted(rest, '`', false).map(|(name, used)| (Token::Name(name), used)),
        '\'' | '"' => quoted(rest, first, true).map(|(text, used)| (Token::Text(text), used)),
        '\\' => with_escaped_quotes(rest),
        '.' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => Ok(decimal(rest)),
        digit if digit.is_ascii_digit() => number(rest),
        letter if letter.is_alphabetic() || letter == '_' || letter == '$' => word(rest),
        _ => symbol(rest),
    }
}

/// What is between two quotes of that kind; a doubled one stands for itself.
fn quoted(rest: &str, quote: char, escapes: bool) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = chars.next() {
        if letter == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
                text.push(letter);
                continue;
            }
            return Ok((text, at + letter.len_utf8()));
        }
        if letter == '\\' && escapes {
            let Some((_, escaped)) = chars.next() else { break };
            // These two are left for LIKE.
            if escaped == '%' || escaped == '_' {
                text.push('\\');
            }
            text.push(mysql_escape(escaped));
        } else {
            text.push(letter);
        }
    }
    Err("it ends inside of quotes".to_owned())
}

/// `\'…\'`, without a backslash in it: nobody could say how often it was escaped.
fn with_escaped_quotes(rest: &str) -> Result<(Token, usize), String> {
    let Some(body) = rest.strip_prefix("\\'") else {
        return Err("it has a backslash outside of a text".to_owned());
    };
    let Some((text, _)) = body.split_once("\\'") else { return Err("it ends inside of quotes".to_owned()) };
    if text.contains('\\') {
        return Err("it has a backslash inside of an escaped text".to_owned());
    }
    Ok((Token::Text(text.to_owned()), text.len() + 4))
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    for (prefix, is_hex) in [("0x", true), ("0b", false)] {
        if let Some(digits) = rest.strip_prefix(prefix) {
            let end = digits.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(digits.len());
            return Ok((digits_of(&digits[..end], is_hex)?, end + prefix.len()));
        }
    }
    Ok(decimal(rest))
}

/// `1`, `1.5`, `.5`, `1e-3`.
fn decimal(rest: &str) -> (Token, usize) {
    let bytes = rest.as_bytes();
    let mut end = after_digits(bytes, 0);
    if bytes.get(end) == Some(&b'.') {
        end = after_digits(bytes, end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = after_digits(bytes, end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    (Token::Number(rest[..end].to_owned()), end)
}

fn after_digits(bytes: &[u8], from: usize) -> usize {
    from + bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count()
}

fn word(rest: &str) -> Result<(Token, usize), String> {
    let of_a_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
    let end = rest.find(|letter: char| !of_a_word(letter)).unwrap_or(rest.len());
    let word = rest[..end].to_lowercase();
    let after = &rest[end..];
    if after.starts_with('\'') && (word == "b" || word == "x") {
        let (digits, used) = quoted(after, '\'', false)?;
        return Ok((digits_of(&digits, word == "x")?, end + used));
    }
    Ok((Token::Word(word), end))
}

fn digits_of(digits: &str, is_hex: bool) -> Result<Token, String> {
    if is_hex && digits.len().is_multiple_of(2) && digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(Token::Hex(digits.to_ascii_lowercase()));
    }
    if !is_hex && digits.chars().all(|digit| matches!(digit, '0' | '1')) {
        return Ok(Token::Bits(digits.to_owned()));
    }
    Err(format!("it has the digits {digits:?}"))
}

fn symbol(rest: &str) -> Result<(Token, usize), String> {
    match SYMBOLS.iter().copied().find(|symbol| rest.starts_with(*symbol)) {
        Some(symbol) => Ok((Token::Symbol(symbol), symbol.len())),
        None => Err(format!("it has {:?}", rest.chars().next().unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let tokens = tokens(text).unwrap();
        tokens.iter().map(Token::shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_expression_is_cut_into_tokens() {
        assert_eq!(shown("(`a`.`b``c`>=1.5e3) AND x<>.5"), "( `a` . `b`c` >= 1.5e3 ) and x <> .5");
        assert_eq!(shown("b'0101' | 0xFf | x'00' | 0b1"), "b'0101' | x'ff' | x'00' | b'1'");
        assert_eq!(shown("`a`->>'$.b'"), "`a` ->> a text");
        assert_eq!(shown(""), "");
    }

    #[test]
    fn texts_lose_their_quotes() {
        for (written, text) in [
            ("'it''s'", "it's"),
            ("\"it's\"", "it's"),
            (r"'a\nb\\c\%'", "a\nb\\c\\%"),
            (r"\'plain\'", "plain"),
            ("''", ""),
        ] {
            assert_eq!(tokens(written).unwrap(), [Token::Text(text.to_owned())], "{written}");
        }
        let introduced = tokens(r"_utf8mb4\'x\'").unwrap();
        assert_eq!(introduced, [Token::Word("_utf8mb4".to_owned()), Token::Text("x".to_owned())]);
    }

    #[test]
    fn what_is_unknown_is_said() {
        for (written, why) in [
            ("'a", "ends inside"),
            ("`a", "ends inside"),
            (r"\'a", "ends inside"),
            (r"\'a\\b\'", "backslash"),
            (r"\x", "backslash"),
            ("b'2'", "digits"),
            ("0xabc", "digits"),
            ("a ; b", "it has ';'"),
        ] {
            let found = tokens(written).unwrap_err();
            assert!(found.contains(why), "{written}: {found}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a-z`'\"\\\\(),.<>=!|0-9xbe_é ;-]{0,40}") {
            let _ = tokens(&text);
        }

        #[test]
        fn any_text_is_read_back(text in "[^\0]{0,20}") {
            let written = format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
            proptest::prop_assert_eq!(tokens(&written).unwrap(), vec![Token::Text(text)]);
        }
    }
}
