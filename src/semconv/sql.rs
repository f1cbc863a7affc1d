//! Shapes of SQL: a lexer that replaces values, and what the words say of verb, table and repetition.
//!
//! It does not parse: it looks at words in order and at parentheses, which is enough for one verb, one table and
//! the few clauses that decide whether twice is as once. Unknown dialects degrade to unknown, never to a guess.

mod lexer;
mod meaning;

use lexer::{Kind, Token};

use crate::model::EffectClass;

/// Text behind this many bytes is not read; the statement counts as truncated.
const MOST_TEXT: usize = 64 * 1024;
/// Longer shapes keep their start and a hash of the whole.
const LONGEST_SHAPE: usize = 2000;
/// Most literal values kept.
const MOST_ARGUMENTS: usize = 64;

/// How a dialect quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Double quotes hold identifiers, a backslash is a backslash.
    Standard,
    /// Double quotes hold strings, a backslash escapes.
    MySql,
    /// INSERT and UPDATE overwrite (CQL).
    Cassandra,
}

/// What one text of SQL says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    /// The text with values replaced by `?`, keywords in upper case, comments gone.
    pub(super) shape: String,
    /// The verb that does the work, upper-case: `SELECT`, also behind `WITH`.
    pub(super) verb: Option<String>,
    /// The main table.
    pub(super) table: Option<String>,
    /// Literal values in order.
    pub(super) arguments: Vec<String>,
    /// Values are hidden behind placeholders.
    pub(super) has_placeholders: bool,
    /// The text was cut.
    pub(super) truncated: bool,
    /// Statements in the text, or rows of one multi-row `VALUES`; at least 1.
    pub(super) batch: u32,
    /// What repeating it would do.
    pub(super) class: EffectClass,
}

/// Reads a text of SQL.
pub(super) fn read(text: &str, dialect: Dialect) -> Statement {
    let within = super::template::cut_to(text, MOST_TEXT);
    let lexed = lexer::lex(within, dialect);
    let mut statement = Statement {
        truncated: lexed.unfinished || within.len() < text.len(),
        batch: 1,
        has_placeholders: lexed.tokens.iter().any(|token| token.kind == Kind::Placeholder),
        arguments: lexed
            .tokens
            .iter()
            .filter(|token| token.kind == Kind::Literal)
            .take(MOST_ARGUMENTS)
            .map(|token| unquoted(token.text).to_owned())
            .collect(),
        ..Statement::default()
    };
    let (tokens, rows) = without_further_rows(&lexed.tokens);
    let parts: Vec<&[Token<'_>]> =
        tokens.split(|token| token.text == ";").filter(|part| !part.is_empty()).collect();
    statement.shape = bounded(shape(&parts));
    let main = parts.iter().find(|part| !meaning::is_housekeeping(part)).or_else(|| parts.first());
    if let Some(main) = main {
        statement.verb = meaning::verb(main).map(str::to_ascii_uppercase);
        statement.table = meaning::table(main);
    }
    statement.class = parts.iter().map(|part| meaning::class(part, dialect)).fold(EffectClass::Safe, worst);
    if parts.is_empty() {
        statement.class = EffectClass::Unknown;
    }
    statement.batch = rows.max(u32::try_from(parts.len()).unwrap_or(u32::MAX)).max(1);
    statement
}

/// What is known when only the verb is.
pub(super) fn class_of_verb(verb: &str, dialect: Dialect) -> EffectClass {
    meaning::class_of_verb(verb, dialect)
}

/// Rows of a multi-row `VALUES` after the first are dropped, and counted.
fn without_further_rows<'a>(tokens: &[Token<'a>]) -> (Vec<Token<'a>>, u32) {
    let mut kept: Vec<Token<'a>> = Vec::with_capacity(tokens.len());
    let mut most_rows = 1;
    let mut at = 0;
    while at < tokens.len() {
        let is_values =
            tokens[at].is_word("values") && tokens.get(at + 1).is_some_and(|next| next.text == "(");
        kept.push(tokens[at]);
        at += 1;
        if !is_values {
            continue;
        }
        let end = closing(tokens, at);
        kept.extend_from_slice(&tokens[at..end]);
        at = end;
        let mut rows = 1;
        while tokens.get(at).is_some_and(|token| token.text == ",")
            && tokens.get(at + 1).is_some_and(|token| token.text == "(")
        {
            at = closing(tokens, at + 1);
            rows += 1;
        }
        most_rows = most_rows.max(rows);
    }
    (kept, most_rows)
}

/// One past the parenthesis that closes the one at `open`, or the end.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" => depth += 1,
            ")" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

fn shape(parts: &[&[Token<'_>]]) -> String {
    let mut shape = String::new();
    for part in parts {
        if !shape.is_empty() {
            shape.push_str("; ");
        }
        write_part(&mut shape, part);
    }
    shape
}

fn write_part(shape: &mut String, part: &[Token<'_>]) {
    let mut last = "";
    let mut at = 0;
    while let Some(token) = part.get(at) {
        let written = match token.kind {
            Kind::Literal | Kind::Placeholder => "?",
            Kind::Word | Kind::Quoted | Kind::Symbol => token.text,
        };
        let tight = matches!(last, "" | "(" | "." | "::") || matches!(written, ")" | "," | "." | "::");
        // A call keeps its parenthesis: `now()`, `count(*)`.
        let call = written == "(" && at.checked_sub(1).is_some_and(|before| is_name(part[before]));
        if !tight && !call {
            shape.push(' ');
        }
        if token.kind == Kind::Word && lexer::is_keyword(token.text) {
            shape.extend(token.text.chars().map(|letter| letter.to_ascii_uppercase()));
        } else {
            shape.push_str(written);
        }
        last = written;
        // MySQL's `LIMIT 100, 50` is a place and a size.
        let is_place = at.checked_sub(1).is_some_and(|before| part[before].is_word("LIMIT"));
        at += 1;
        if written == "?" && !is_place {
            // A list of values is one value, however long: `IN (?)`.
            while part.get(at).is_some_and(|comma| comma.text == ",")
                && part.get(at + 1).is_some_and(|next| matches!(next.kind, Kind::Literal | Kind::Placeholder))
            {
                at += 2;
            }
        }
    }
}

fn is_name(token: Token<'_>) -> bool {
    token.kind == Kind::Quoted || (token.kind == Kind::Word && !lexer::is_keyword(token.text))
}

/// Long shapes stay different where their ends differ.
fn bounded(shape: String) -> String {
    if shape.len() <= LONGEST_SHAPE {
        return shape;
    }
    let hash = xxhash_rust::xxh3::xxh3_64(shape.as_bytes());
    format!("{}… #{hash:016x}", super::template::cut_to(&shape, LONGEST_SHAPE))
}

fn unquoted(literal: &str) -> &str {
    literal.trim_matches(['\'', '"'])
}

fn worst(one: EffectClass, other: EffectClass) -> EffectClass {
    let rank = |class: EffectClass| match class {
        EffectClass::Safe => 0,
        EffectClass::Idempotent => 1,
        EffectClass::Unknown => 2,
        EffectClass::NonIdempotent => 3,
    };
    if rank(one) < rank(other) { other } else { one }
}

#[cfg(test)]
mod tests;
