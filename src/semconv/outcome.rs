//! What one span alone says of outcome and effect: a table of ten rows, the first that fits decides.
//!
//! 1 timeout, 2 cancelled, 3 one of the two, 4 silence where an answer is always recorded, 5 never sent,
//! 6 refused by the callee, 7 failed at the callee or on the way, 8 failed without a word, 9 ok, 10 unknown.
//! What the spans of the other side add is `model`'s.

use super::errors::Errors;
use crate::model::{Effect, Facts, Kind, Outcome, Role, Status, Verdict};

/// Classes and codes of row 1, beside any class with `timeout` in its name.
const TIMEOUT_WORDS: &[&str] = &[
    "timed_out",
    "etimedout",
    "esockettimedout",
    "econnaborted",
    "deadlineexceedederror",
    "deadline_exceeded",
    "querycanceled",
    "querycancelled",
];
const TIMEOUT_PHRASES: &[&str] = &[
    "context deadline exceeded",
    "i/o timeout",
    "timed out",
    "deadline exceeded",
    "upstream request timeout",
    "timeout awaiting response headers",
    "client.timeout exceeded",
    "canceling statement due to statement timeout",
];
/// While connecting or waiting for a connection: nothing was sent.
const CONNECT_TIMEOUT_WORDS: &[&str] = &[
    "httpconnecttimeoutexception",
    "opentimeout",
    "und_err_connect_timeout",
    "pooltimeout",
    "connectiontimeout",
    "connectiontimeouterror",
    "connectionpooltimeoutexception",
    "connectionrequesttimeoutexception",
];
const CONNECT_TIMEOUT_PHRASES: &[&str] = &[
    "connect timed out",
    "connect etimedout",
    "connection timed out after",
    "resolving timed out",
    "tls handshake timeout",
    "timeout was reached",
    "timeout awaiting 'connect'",
    "timeout awaiting 'secureconnect'",
    "timeout awaiting 'lookup'",
    "queuepool limit",
    "connection is not available, request timed out",
];
const CANCEL_WORDS: &[&str] = &[
    "aborterror",
    "cancellationexception",
    "cancellederror",
    "err_canceled",
    "canceled",
    "cancelled",
    "jobcancellationexception",
];
const CANCEL_PHRASES: &[&str] = &["context canceled", "context cancelled"];
const ABANDON_WORDS: &[&str] = &["taskcanceledexception", "operationcanceledexception"];
const UNSENT_WORDS: &[&str] = &[
    "econnrefused",
    "connection_refused",
    "connection_error",
    "proxy_tunnel_error",
    "connectexception",
    "newconnectionerror",
    "ehostunreach",
    "enetunreach",
    "noroutetohostexception",
    "enotfound",
    "eai_again",
    "unknownhostexception",
    "name_resolution_error",
    "nameresolutionerror",
    "host_not_found",
    "gaierror",
    "connecterror",
    "clientconnectorerror",
    "clientconnectordnserror",
    "sslhandshakeexception",
    "secure_connection_error",
    "sslcertverificationerror",
    "clientconnectorsslerror",
    "clientconnectorcertificateerror",
    "isolatedcircuitexception",
    "err_tls_cert_altname_invalid",
    "depth_zero_self_signed_cert",
    "self_signed_cert_in_chain",
    "unable_to_verify_leaf_signature",
    "callnotpermittedexception",
    "brokencircuitexception",
    "refused_stream",
    "err_http2_stream_refused",
];
const UNSENT_PHRASES: &[&str] = &[
    "connection refused",
    "econnrefused",
    "ehostunreach",
    "enetunreach",
    "enotfound",
    "eai_again",
    "newconnectionerror",
    "name resolution failed",
    "server misbehaving",
    "no such host",
    "failed to resolve",
    "name or service not known",
    "temporary failure in name resolution",
    "x509:",
    "no healthy upstream",
    "refused_stream",
    "no route to host",
    "failed to connect to all addresses",
    "no connection established",
    "certificate verify failed",
    "self-signed certificate",
    "self signed certificate",
];
const RESET_WORDS: &[&str] = &[
    "econnreset",
    "epipe",
    "remotedisconnected",
    "response_ended",
    "und_err_socket",
    "remoteprotocolerror",
    "serverdisconnectederror",
    "connectionreseterror",
    "nohttpresponseexception",
    "prematurecloseexception",
    "readerror",
];
const RESET_PHRASES: &[&str] = &[
    "socket hang up",
    "connection reset",
    "unexpected eof",
    "remotedisconnected",
    "econnreset",
    "broken pipe",
    "other side closed",
    "eof",
    "empty reply from server",
];
/// What databases refuse for good, where the driver writes a class instead of a code.
const REFUSED_WORDS: &[&str] = &[
    "integrityerror",
    "uniqueviolation",
    "foreignkeyviolation",
    "notnullviolation",
    "checkviolation",
    "duplicatekeyexception",
    "dataintegrityviolationexception",
    "sqlintegrityconstraintviolationexception",
    "deadlockdetected",
    "serializationfailure",
    "undefinedtable",
    "undefinedcolumn",
    "cannotacquirelockexception",
    "deadlockloserdataaccessexception",
    "er_dup_entry",
    "er_lock_deadlock",
];
/// The same where only a sentence tells.
const REFUSED_PHRASES: &[&str] = &[
    "deadlock found when trying to get lock",
    "deadlock detected",
    "was deadlocked on lock resources",
    "lock wait timeout exceeded",
    "could not serialize access",
    "duplicate entry",
    "duplicate key",
    "violates unique constraint",
    "unique constraint failed",
    "database is locked",
    "ora-00001",
    "ora-00060",
    "e11000",
];

/// Codes by which the callee says that it did not do it.
const REFUSALS: &[&str] = &[
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "UNAUTHENTICATED",
];

/// The verdict of one span.
pub(super) fn verdict(facts: &Facts, errors: &Errors, kind: Kind, status: Status) -> Verdict {
    let (row, never_sent) = row(facts, errors, kind, status);
    let (outcome, effect) = match row {
        1 => (Outcome::Timeout, if never_sent { Effect::None } else { Effect::Unknown }),
        2 => (Outcome::Cancelled, Effect::Unknown),
        3 | 4 => (Outcome::Abandoned, Effect::Unknown),
        5 | 6 => (Outcome::Error, Effect::None),
        7 | 8 => (Outcome::Error, Effect::Unknown),
        9 => (Outcome::Ok, Effect::Applied),
        _ => (Outcome::Unknown, Effect::Unknown),
    };
    Verdict { outcome, effect, row, never_sent, answered: answered(facts) }
}

/// The fourth row, for a client whose library always records the code of an answer.
pub(super) fn is_silent(facts: &Facts, kind: Kind, status: Status) -> bool {
    facts.role == Role::Http
        && kind == Kind::Client
        && facts.http.status.is_none()
        && status == Status::Unset
        && facts.errors.is_empty()
        && !facts.streaming
}

/// Says of a silent span what row 4 says of one whose library is known.
pub(super) fn abandon(facts: &mut Facts) {
    facts.always_records_code = true;
    facts.verdict = Verdict { outcome: Outcome::Abandoned, effect: Effect::Unknown, row: 4, ..facts.verdict };
}

/// The callee gave a code.
fn answered(facts: &Facts) -> bool {
    let own = ["DEADLINE_EXCEEDED", "CANCELLED", "UNAVAILABLE"];
    facts.http.status.is_some()
        || facts.rpc.code.as_deref().is_some_and(|code| !own.contains(&code))
        || facts.db.code.as_deref().is_some_and(is_refusal)
}

fn row(facts: &Facts, errors: &Errors, kind: Kind, status: Status) -> (u8, bool) {
    let http = facts.http.status;
    let rpc = facts.rpc.code.as_deref().filter(|_| facts.role != Role::Http);
    let by_code = row_of_code(facts, rpc);
    let by_flag = row_of_flags(errors);
    // An error code of another row means that the callee answered; a good code and no failure, that the words tell
    // of something that was overcome.
    let words_count = match by_code {
        Some(1..=3) => true,
        Some(9) => status == Status::Error,
        Some(_) => false,
        None => status != Status::Ok,
    };
    // undici writes the numbers of DOM exceptions: 23 TimeoutError, 20 AbortError.
    let dom = |number: &[&str]| facts.role == Role::Http && errors.has(number, &[]);
    let timeout =
        words_count && (errors.has(TIMEOUT_WORDS, TIMEOUT_PHRASES) || errors.names_timeout() || dom(&["23"]));
    let connecting = words_count && errors.is_connect_timeout();
    if by_code == Some(1) || by_flag == Some(1) || timeout || connecting {
        return (1, connecting && by_code.is_none());
    }
    let cancelled = words_count && (errors.has(CANCEL_WORDS, CANCEL_PHRASES) || dom(&["20"]));
    if by_code == Some(2) || by_flag == Some(2) || cancelled {
        return (2, false);
    }
    if words_count && errors.has(ABANDON_WORDS, &[]) {
        return (3, false);
    }
    if facts.always_records_code && errors.is_empty() && is_silent(facts, kind, status) {
        return (4, false);
    }
    let may_be_unsent = matches!(rpc, None | Some("UNAVAILABLE")) && http.is_none() && kind != Kind::Server;
    let unsent = may_be_unsent && status != Status::Ok && errors.is_unsent();
    if by_flag == Some(5) || unsent {
        return (5, true);
    }
    if by_code == Some(6) || (is_store(facts) && errors.has(REFUSED_WORDS, REFUSED_PHRASES)) {
        return (6, false);
    }
    let reset = words_count && errors.has(RESET_WORDS, RESET_PHRASES);
    if by_code == Some(7) || by_flag == Some(7) || reset {
        return (7, false);
    }
    if status == Status::Error {
        return (8, false);
    }
    let quiet_success =
        (is_store(facts) || facts.role == Role::Messaging) && status == Status::Unset && errors.is_empty();
    if by_code == Some(9) || status == Status::Ok || quiet_success {
        return (9, false);
    }
    (10, false)
}

fn is_store(facts: &Facts) -> bool {
    matches!(facts.role, Role::Db | Role::Cache)
}

fn row_of_code(facts: &Facts, rpc: Option<&str>) -> Option<u8> {
    if let Some(code) = rpc {
        return Some(match code {
            "OK" => 9,
            "DEADLINE_EXCEEDED" => 1,
            "CANCELLED" => 2,
            _ if REFUSALS.contains(&code) => 6,
            _ => 7,
        });
    }
    if let Some(code) = facts.http.status.filter(|_| !is_store(facts)) {
        return Some(match code {
            408 | 504 | 524 => 1,
            499 => 2,
            503 if facts.http.retry_after => 6,
            400..=498 => 6,
            500..=599 => 7,
            _ => 9,
        });
    }
    let code = facts.db.code.as_deref()?;
    match code {
        "57014" => Some(1),
        _ if is_refusal(code) => Some(6),
        _ => None,
    }
}

/// An SQLSTATE by which the server says that it did not do it; connection (08), operator (57), system (58) and
/// internal (XX) classes and "statement completion unknown" say no such thing, nor do successes.
fn is_refusal(code: &str) -> bool {
    let is_sqlstate =
        code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let open = ["00", "01", "02", "08", "57", "58", "XX"];
    is_sqlstate && code != "40003" && !open.iter().any(|class| code.starts_with(class))
}

fn row_of_flags(errors: &Errors) -> Option<u8> {
    let any = |flags: &[&str]| errors.flags.iter().any(|flag| flags.contains(&flag.as_str()));
    if any(&["UT", "SI", "UMSDR"]) {
        Some(1)
    } else if any(&["DC"]) {
        Some(2)
    } else if any(&["UF", "UH", "UO", "NR", "NC", "RL"]) {
        Some(5)
    } else if any(&["UC", "UR", "LR", "UPE"]) {
        Some(7)
    } else {
        None
    }
}

impl Errors {
    fn has(&self, words: &[&str], phrases: &[&str]) -> bool {
        self.words.iter().any(|word| words.contains(&word.as_str()))
            || self.texts.iter().any(|text| phrases.iter().any(|phrase| says(text, phrase)))
    }

    /// A class with `timeout` in its name, a code `timeout`, or a sentence that ends so: `redis timeout`.
    fn names_timeout(&self) -> bool {
        let is_class = |word: &String| {
            word.contains("timeout") && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let exceeded = |text: &String| {
            text.split_once("timeout of ").is_some_and(|(_, rest)| rest.contains("ms exceeded"))
        };
        self.words.iter().any(is_class)
            || self.texts.iter().any(|text| exceeded(text) || text.ends_with(" timeout") || text == "timeout")
    }

    fn is_connect_timeout(&self) -> bool {
        self.has(CONNECT_TIMEOUT_WORDS, CONNECT_TIMEOUT_PHRASES)
            || self.words.iter().any(|word| word.starts_with("connecttimeout"))
            || self.texts.iter().any(|text| is_late_dial(text))
            || (self.has(&["connectexception", "httphostconnectexception"], &[])
                && self.has(&[], &["connection timed out"]))
    }

    fn is_unsent(&self) -> bool {
        self.has(UNSENT_WORDS, UNSENT_PHRASES) || self.words.iter().any(|word| word.starts_with("cert_"))
    }
}

/// Go's words for a connection that was not made in time.
fn is_late_dial(text: &str) -> bool {
    let late = ["i/o timeout", "connection timed out", "context deadline exceeded"];
    text.contains("dial tcp") && late.iter().any(|phrase| says(text, phrase))
}

/// The phrase stands in the text, between the ends of words.
fn says(text: &str, phrase: &str) -> bool {
    let is_inner = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(phrase).any(|(at, found)| {
        let before = text[..at].chars().next_back().is_some_and(is_inner);
        let after = text[at + found.len()..].chars().next().is_some_and(is_inner);
        !before && !after
    })
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
