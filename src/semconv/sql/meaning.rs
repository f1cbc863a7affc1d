//! What the words of one statement say: its verb, its table, and whether twice is as once.

use super::Dialect;
use super::lexer::{Kind, Token, is_keyword};
use crate::model::EffectClass;

/// Verbs that leave no data behind.
const READS: &[&str] = &[
    "SELECT",
    "SHOW",
    "BEGIN",
    "START",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "SET",
    "USE",
    "EXPLAIN",
    "DESCRIBE",
    "DESC",
    "ANALYZE",
    "PRAGMA",
    "PREPARE",
    "DEALLOCATE",
    "DISCARD",
    "LISTEN",
    "UNLISTEN",
    "FETCH",
    "DECLARE",
    "CLOSE",
    "VALUES",
    "TABLE",
    "LOCK",
    "END",
    "ABORT",
];
/// Verbs after which twice is as once.
const OVERWRITES: &[&str] = &[
    "REPLACE", "MERGE", "UPSERT", "DELETE", "TRUNCATE", "CREATE", "ALTER", "DROP", "GRANT", "REVOKE",
    "COMMENT", "VACUUM", "REINDEX", "REFRESH",
];

/// Statements around the work rather than the work: transactions, settings, probes.
pub(super) fn is_housekeeping(part: &[Token<'_>]) -> bool {
    let words =
        ["BEGIN", "START", "COMMIT", "ROLLBACK", "SET", "SAVEPOINT", "RELEASE", "USE", "SHOW", "DISCARD"];
    part.first().is_some_and(|first| words.iter().any(|word| first.is_word(word)))
}

/// The verb that does the work. Behind `WITH` it is the first one outside parentheses; a subquery in front of it
/// that writes is what matters most.
pub(super) fn verb<'a>(part: &[Token<'a>]) -> Option<&'a str> {
    verb_at(part).map(|at| part[at].text)
}

/// The table that the verb works on, without quotes.
pub(super) fn table(part: &[Token<'_>]) -> Option<String> {
    let at = verb_at(part)?;
    let verb = part[at].text.to_ascii_uppercase();
    let rest = &part[at + 1..];
    let after = |word: &str| rest.iter().position(|token| token.is_word(word)).map(|at| at + 1);
    let start = match verb.as_str() {
        "SELECT" | "DELETE" => first_source(rest),
        "INSERT" | "REPLACE" | "MERGE" => after("INTO").or(Some(0)),
        "CREATE" | "ALTER" | "DROP" | "TRUNCATE" => after("EXISTS")
            .or_else(|| after("TABLE"))
            .or_else(|| after("INDEX"))
            .or_else(|| after("VIEW"))
            .or(Some(0)),
        "UPDATE" | "CALL" | "EXEC" | "EXECUTE" | "LOCK" | "COPY" => Some(0),
        _ => None,
    }?;
    let skipped =
        ["ONLY", "IGNORE", "LOW_PRIORITY", "TABLE", "OR", "ROLLBACK", "ABORT", "FAIL", "REPLACE", "INTO"];
    let name = rest[start.min(rest.len())..]
        .iter()
        .skip_while(|token| skipped.iter().any(|word| token.is_word(word)));
    dotted_name(name)
}

/// What repeating the statement would do.
pub(super) fn class(part: &[Token<'_>], dialect: Dialect) -> EffectClass {
    let Some(at) = verb_at(part) else { return EffectClass::Unknown };
    let rest = &part[at + 1..];
    let has = |word: &str| rest.iter().any(|token| token.is_word(word));
    match part[at].text.to_ascii_uppercase().as_str() {
        "SELECT" if has("NEXTVAL") || has("INTO") => EffectClass::Unknown,
        "INSERT" if dialect == Dialect::Cassandra => EffectClass::Idempotent,
        "INSERT" if has("CONFLICT") || has("IGNORE") || has("DUPLICATE") => EffectClass::Idempotent,
        // `INSERT OR REPLACE`, `INSERT … SELECT … WHERE NOT EXISTS (…)`.
        "INSERT" if rest.first().is_some_and(|first| first.is_word("OR")) => EffectClass::Idempotent,
        "INSERT" if has("NOT") && has("EXISTS") => EffectClass::Idempotent,
        "UPDATE" if builds_on_itself(rest) => EffectClass::NonIdempotent,
        "UPDATE" => EffectClass::Idempotent,
        verb => class_of_verb(verb, dialect),
    }
}

/// What is known when only the verb is. An UPDATE may or may not build on the value that it changes.
pub(super) fn class_of_verb(verb: &str, dialect: Dialect) -> EffectClass {
    match verb {
        "INSERT" if dialect == Dialect::Cassandra => EffectClass::Idempotent,
        "INSERT" | "NOTIFY" => EffectClass::NonIdempotent,
        _ if READS.contains(&verb) => EffectClass::Safe,
        _ if OVERWRITES.contains(&verb) => EffectClass::Idempotent,
        _ => EffectClass::Unknown,
    }
}

fn verb_at(part: &[Token<'_>]) -> Option<usize> {
    let first = part.iter().position(|token| token.text != "(")?;
    if !part[first].is_word("WITH") {
        return (part[first].kind == Kind::Word).then_some(first);
    }
    let writes = ["INSERT", "UPDATE", "DELETE", "MERGE"];
    let is_writer = |token: &Token<'_>| writes.iter().any(|verb| token.is_word(verb));
    // `FOR UPDATE`, `ON UPDATE` and `DO UPDATE` are no verbs: a verb opens the text or a subquery.
    let inner = (1..part.len()).find(|at| part[at - 1].text == "(" && is_writer(&part[*at]));
    let mut depth = 0_usize;
    let outer = part.iter().enumerate().skip(first + 1).find_map(|(at, token)| {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        (depth == 0 && (is_writer(token) || token.is_word("SELECT") || token.is_word("VALUES"))).then_some(at)
    });
    match outer {
        Some(at) if is_writer(&part[at]) => Some(at),
        _ => inner.or(outer),
    }
}

/// Behind the first `FROM` that names a table rather than a subquery.
fn first_source(rest: &[Token<'_>]) -> Option<usize> {
    rest.windows(2).position(|pair| pair[0].is_word("FROM") && pair[1].text != "(").map(|at| at + 1)
}

fn dotted_name<'a>(mut tokens: impl Iterator<Item = &'a Token<'a>>) -> Option<String> {
    let mut name = String::new();
    loop {
        let token = tokens.next().filter(|token| match token.kind {
            Kind::Quoted => true,
            Kind::Word => !name.is_empty() || !is_keyword(token.text),
            _ => false,
        });
        let Some(token) = token else { break };
        name.push_str(token.text.trim_matches(['"', '`', '[', ']']));
        if tokens.next().is_none_or(|next| next.text != ".") {
            return Some(name);
        }
        name.push('.');
    }
    (!name.is_empty()).then(|| name.trim_end_matches('.').to_owned())
}

/// `SET qty = qty - 1`: the new value depends on the old one. A condition `version = 7` on the same column makes the
/// second run find nothing, so it protects.
fn builds_on_itself(rest: &[Token<'_>]) -> bool {
    let Some(set) = rest.iter().position(|token| token.is_word("SET")) else { return false };
    let end = rest.iter().position(|token| token.is_word("WHERE")).unwrap_or(rest.len());
    let assignments = &rest[set + 1..end.max(set + 1)];
    let conditions = &rest[end..];
    let mut depth = 0_usize;
    let clauses = assignments.split(|token| {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.text == ","
    });
    clauses.into_iter().any(|clause| {
        let Some(equals) = clause.iter().position(|token| token.text == "=") else { return false };
        let Some(column) = clause[..equals].last() else { return false };
        let value = &clause[equals + 1..];
        let reads = value.iter().any(|token| token.text.eq_ignore_ascii_case(column.text));
        let computes = value.iter().any(|token| matches!(token.text, "+" | "-" | "*" | "/" | "||"));
        reads && computes && !is_pinned(conditions, column.text)
    })
}

fn is_pinned(conditions: &[Token<'_>], column: &str) -> bool {
    conditions.windows(3).any(|three| {
        three[0].text.eq_ignore_ascii_case(column)
            && three[1].text == "="
            && matches!(three[2].kind, Kind::Literal | Kind::Placeholder)
    })
}
