//! Words, values and symbols of a text of SQL.

use super::Dialect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An unquoted word: keyword or name.
    Word,
    /// A quoted name, with its quotes.
    Quoted,
    /// A value written in the text.
    Literal,
    /// A value that is bound elsewhere, or that somebody replaced.
    Placeholder,
    /// Anything else.
    Symbol,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

impl Token<'_> {
    /// The unquoted word, whatever its case.
    pub(super) fn is_word(self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }
}

pub(super) struct Lexed<'a> {
    pub(super) tokens: Vec<Token<'a>>,
    /// The text ends inside a string or comment, or with an ellipsis.
    pub(super) unfinished: bool,
}

/// Splits a text. Comments and white space are dropped; nothing fails.
pub(super) fn lex(text: &str, dialect: Dialect) -> Lexed<'_> {
    let mut lexer = Lexer { text, bytes: text.as_bytes(), at: 0, dialect, unfinished: false };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next() {
        // The sign belongs to the number wherever no operand stands before it.
        if token.kind == Kind::Literal && token.text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            drop_sign(&mut tokens);
        }
        tokens.push(token);
    }
    let ellipsis = text.trim_end().ends_with("...") || text.trim_end().ends_with('…');
    Lexed { tokens, unfinished: lexer.unfinished || ellipsis }
}

fn drop_sign(tokens: &mut Vec<Token<'_>>) {
    let is_sign = tokens.last().is_some_and(|last| matches!(last.text, "-" | "+"));
    let before = tokens.len().checked_sub(2).and_then(|at| tokens.get(at));
    let is_operand = before.is_some_and(|before| match before.kind {
        Kind::Symbol => matches!(before.text, ")" | "]"),
        Kind::Word => !is_keyword(before.text),
        Kind::Quoted | Kind::Literal | Kind::Placeholder => true,
    });
    if is_sign && !is_operand {
        tokens.pop();
    }
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    dialect: Dialect,
    unfinished: bool,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let start = self.at;
        let first = self.peek(0)?;
        let kind = match first {
            b'\'' => self.string(b'\'', self.dialect == Dialect::MySql),
            b'"' if self.dialect == Dialect::MySql => self.string(b'"', true),
            b'"' | b'`' => self.quoted(first),
            b'[' if self.peek(1).is_some_and(is_word_start) && self.is_bracketed_name() => self.quoted(b']'),
            b'$' => self.dollar(),
            b'?' => self.placeholder(1),
            b':' | b'@' if self.peek(1).is_some_and(is_word_start) => self.named_placeholder(),
            b'%' if self.peek(1) == Some(b's') && !self.peek(2).is_some_and(is_word) => self.placeholder(2),
            b'%' if self.peek(1) == Some(b'(') => self.percent_name(),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) && !self.follows_name() => {
                self.number()
            }
            _ if is_word_start(first) => self.word(),
            _ => self.symbol(),
        };
        Some(Token { kind, text: &self.text[start..self.at] })
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn take_while(&mut self, test: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&test) {
            self.at += 1;
        }
    }

    fn skip_blank(&mut self) {
        loop {
            self.take_while(|byte| byte.is_ascii_whitespace());
            match (self.peek(0), self.peek(1)) {
                (Some(b'-'), Some(b'-')) => self.take_while(|byte| byte != b'\n'),
                (Some(b'/'), Some(b'*')) => self.skip_to("*/"),
                _ => return,
            }
        }
    }

    /// Goes behind the next `end`, or to the end of a text that was cut.
    fn skip_to(&mut self, end: &str) {
        let from = (self.at + 2).min(self.text.len());
        if let Some(found) = self.bytes[from..].windows(end.len()).position(|window| window == end.as_bytes())
        {
            self.at = from + found + end.len();
        } else {
            self.at = self.text.len();
            self.unfinished = true;
        }
    }

    fn string(&mut self, quote: u8, escapes: bool) -> Kind {
        self.at += 1;
        loop {
            match self.peek(0) {
                None => {
                    self.unfinished = true;
                    return Kind::Literal;
                }
                Some(b'\\') if escapes => self.at = (self.at + 2).min(self.bytes.len()),
                Some(byte) if byte == quote => {
                    self.at += 1;
                    if self.peek(0) != Some(quote) {
                        return Kind::Literal;
                    }
                    self.at += 1;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn quoted(&mut self, end: u8) -> Kind {
        self.at += 1;
        self.take_while(|byte| byte != end);
        self.unfinished |= self.peek(0).is_none();
        self.at = (self.at + 1).min(self.bytes.len());
        Kind::Quoted
    }

    /// `[order details]` is a name where it stands for one; `a[1]` and `[26 other arguments]` are not.
    fn is_bracketed_name(&self) -> bool {
        let rest = &self.bytes[self.at + 1..];
        let end = rest.iter().position(|byte| *byte == b']').unwrap_or(0);
        rest[..end].iter().all(|byte| is_word(*byte) || *byte == b' ') && end != 0
    }

    /// `$1`, or `$tag$ text $tag$`.
    fn dollar(&mut self) -> Kind {
        if self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
            self.take_while(|byte| byte.is_ascii_digit());
            return Kind::Placeholder;
        }
        let rest = &self.text[self.at + 1..];
        let name = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        if rest.as_bytes().get(name) != Some(&b'$') {
            return self.symbol();
        }
        let tag = &self.text[self.at..self.at + name + 2];
        let from = self.at + tag.len();
        if let Some(found) = self.text[from..].find(tag) {
            self.at = from + found + tag.len();
        } else {
            self.at = self.text.len();
            self.unfinished = true;
        }
        Kind::Literal
    }

    fn placeholder(&mut self, length: usize) -> Kind {
        self.at += length;
        self.take_while(|byte| byte.is_ascii_digit());
        Kind::Placeholder
    }

    fn named_placeholder(&mut self) -> Kind {
        self.at += 1;
        self.take_while(is_word);
        Kind::Placeholder
    }

    /// `%(name)s`
    fn percent_name(&mut self) -> Kind {
        let rest = &self.bytes[self.at + 2..];
        let name = rest.iter().take_while(|byte| is_word(**byte)).count();
        if name == 0 || rest.get(name) != Some(&b')') || rest.get(name + 1) != Some(&b's') {
            return self.symbol();
        }
        self.at += name + 4;
        Kind::Placeholder
    }

    fn number(&mut self) -> Kind {
        self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_');
        let exponent = self.bytes[self.at - 1].eq_ignore_ascii_case(&b'e');
        if exponent
            && matches!(self.peek(0), Some(b'+' | b'-'))
            && self.peek(1).is_some_and(|b| b.is_ascii_digit())
        {
            self.at += 1;
            self.take_while(|byte| byte.is_ascii_digit());
        }
        Kind::Literal
    }

    fn follows_name(&self) -> bool {
        self.at.checked_sub(1).and_then(|before| self.bytes.get(before)).copied().is_some_and(is_word)
    }

    fn word(&mut self) -> Kind {
        let start = self.at;
        self.take_while(is_word);
        let prefix = &self.bytes[start..self.at];
        // `E'…'`, `N'…'`, `X'…'`, `B'…'`, `U&'…'` are values.
        if prefix.len() == 1 && self.peek(0) == Some(b'\'') && b"eEnNxXbB".contains(&prefix[0]) {
            return self.string(b'\'', prefix[0].eq_ignore_ascii_case(&b'e'));
        }
        Kind::Word
    }

    fn symbol(&mut self) -> Kind {
        let two = self.bytes.get(self.at..self.at + 2).unwrap_or_default();
        let is_pair = [&b"::"[..], b"<=", b">=", b"<>", b"!=", b"||", b"->", b":=", b"@@"].contains(&two);
        // One whole character, so that the next token starts on a boundary.
        let length = self.text[self.at..].chars().next().map_or(1, char::len_utf8);
        self.at += if is_pair { 2 } else { length };
        Kind::Symbol
    }
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte == b'#' || !byte.is_ascii()
}

/// Words that are written in upper case and are no names.
pub(super) fn is_keyword(word: &str) -> bool {
    const KEYWORDS: &[&str] = &[
        "ALL",
        "ALTER",
        "AND",
        "ANY",
        "AS",
        "ASC",
        "BEGIN",
        "BETWEEN",
        "BY",
        "CALL",
        "CASE",
        "COMMIT",
        "CONFLICT",
        "CREATE",
        "CROSS",
        "DELETE",
        "DESC",
        "DISTINCT",
        "DO",
        "DROP",
        "DUPLICATE",
        "ELSE",
        "END",
        "EXEC",
        "EXISTS",
        "FALSE",
        "FETCH",
        "FIRST",
        "FOR",
        "FROM",
        "FULL",
        "GROUP",
        "HAVING",
        "IF",
        "IGNORE",
        "ILIKE",
        "IN",
        "INDEX",
        "INNER",
        "INSERT",
        "INTO",
        "IS",
        "JOIN",
        "LEFT",
        "LIKE",
        "LIMIT",
        "LOCK",
        "MERGE",
        "NATURAL",
        "NOT",
        "NOTHING",
        "NULL",
        "OFFSET",
        "ON",
        "ONLY",
        "OR",
        "ORDER",
        "OUTER",
        "OVER",
        "PARTITION",
        "REPLACE",
        "RETURNING",
        "RIGHT",
        "ROLLBACK",
        "ROWS",
        "SAVEPOINT",
        "SELECT",
        "SET",
        "SHARE",
        "TABLE",
        "THEN",
        "TOP",
        "TRUE",
        "TRUNCATE",
        "UNION",
        "UPDATE",
        "USING",
        "VALUES",
        "VIEW",
        "WHEN",
        "WHERE",
        "WITH",
    ];
    word.len() <= 9 && KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}
