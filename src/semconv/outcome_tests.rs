//! The ten rows, each by examples of what SDKs write.

use super::*;

/// One client span of a role, with the codes and the text it carries.
fn of(role: Role, http: Option<u16>, rpc: Option<&str>, text: &str, status: Status) -> Verdict {
    let mut facts = Facts { role, ..Facts::default() };
    facts.http.status = http;
    facts.rpc.code = rpc.map(ToOwned::to_owned);
    let mut errors = Errors::default();
    if !text.is_empty() {
        errors.add_word(text);
    }
    verdict(&facts, &errors, Kind::Client, status)
}

fn http(text: &str) -> Verdict {
    of(Role::Http, None, None, text, Status::Error)
}

#[test]
fn waiting_too_long_is_a_timeout_of_unknown_effect() {
    for text in [
        "java.net.SocketTimeoutException",
        "requests.exceptions.ReadTimeout",
        "httpx.ReadTimeout",
        "ReadTimeout: HTTPConnectionPool(host='pay', port=1): Read timed out. (read timeout=0.3)",
        "ECONNABORTED",
        "ETIMEDOUT",
        "UND_ERR_HEADERS_TIMEOUT",
        "23",
        "timeout of 300ms exceeded",
        "Post \"http://pay/charge\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        "redis timeout",
        "GuzzleHttp\\Exception\\ConnectException: cURL error 28: Operation timed out after 1001 milliseconds",
        "TimeoutError: Timeout awaiting 'request' for 500ms",
        "upstream request timeout",
        "timeout",
    ] {
        let verdict = http(text);
        assert_eq!((verdict.row, verdict.effect, verdict.never_sent), (1, Effect::Unknown, false), "{text}");
    }
}

#[test]
fn a_timeout_while_connecting_sent_nothing() {
    for text in [
        "requests.exceptions.ConnectTimeout",
        "httpx.PoolTimeout",
        "UND_ERR_CONNECT_TIMEOUT",
        "java.net.http.HttpConnectTimeoutException",
        "dial tcp 10.0.0.1:80: i/o timeout",
        "dial tcp 10.0.0.1:80: connect: connection timed out",
        "net/http: TLS handshake timeout",
        "connect timed out",
        "connect ETIMEDOUT 10.0.0.1:443",
        "TimeoutError: Timeout awaiting 'connect' for 500ms",
        "java.net.ConnectException: Connection timed out",
        "cURL error 28: Connection timed out after 1001 milliseconds",
        "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00",
    ] {
        let verdict = http(text);
        assert_eq!((verdict.row, verdict.effect, verdict.never_sent), (1, Effect::None, true), "{text}");
    }
}

#[test]
fn stopping_is_told_from_waiting() {
    for text in ["AbortError", "20", "ERR_CANCELED", "context canceled", "canceled"] {
        assert_eq!(http(text).outcome, Outcome::Cancelled, "{text}");
    }
    assert_eq!(http("System.Threading.Tasks.TaskCanceledException").outcome, Outcome::Abandoned);
    // The numbers are undici's own; elsewhere they mean nothing.
    assert_eq!(of(Role::Db, None, None, "23", Status::Error).row, 8);
}

#[test]
fn what_never_left_had_no_effect() {
    for text in [
        "ECONNREFUSED",
        "connect ECONNREFUSED 127.0.0.1:80",
        "ENOTFOUND",
        "java.net.UnknownHostException",
        "Max retries exceeded (Caused by NewConnectionError('Failed to establish a new connection: [Errno 111]'))",
        "name_resolution_error",
        "dial tcp: lookup cart on 127.0.0.11:53: no such host",
        "CERT_HAS_EXPIRED",
        "connection_error",
        "(Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')))",
        "io.github.resilience4j.circuitbreaker.CallNotPermittedException",
        "REFUSED_STREAM",
    ] {
        let verdict = http(text);
        assert_eq!((verdict.row, verdict.effect, verdict.never_sent), (5, Effect::None, true), "{text}");
    }
    let quoted = of(Role::Rpc, None, Some("INTERNAL"), "cart: connection refused", Status::Error);
    assert_eq!((quoted.row, quoted.never_sent), (7, false));
    let own = of(Role::Rpc, None, Some("UNAVAILABLE"), "connection refused", Status::Error);
    assert_eq!((own.row, own.never_sent), (5, true));
    assert_eq!(of(Role::Http, Some(502), None, "ECONNREFUSED", Status::Error).row, 7);
}

#[test]
fn a_connection_that_broke_leaves_the_effect_open() {
    for text in [
        "ECONNRESET",
        "Post \"http://pay/charge\": EOF",
        "httpx.ReadError",
        "org.apache.http.NoHttpResponseException",
        "Connection prematurely closed; connection reset",
    ] {
        let verdict = http(text);
        assert_eq!((verdict.row, verdict.effect, verdict.answered), (7, Effect::Unknown, false), "{text}");
    }
}

#[test]
fn what_a_database_refused_had_no_effect() {
    for text in [
        "Deadlock found when trying to get lock; try restarting transaction",
        "Lock wait timeout exceeded; try restarting transaction",
        "ER_DUP_ENTRY",
        "psycopg.errors.UniqueViolation",
        "E11000 duplicate key error collection: shop.orders",
    ] {
        let verdict = of(Role::Db, None, None, text, Status::Error);
        assert_eq!((verdict.row, verdict.effect), (6, Effect::None), "{text}");
    }
}

#[test]
fn codes_decide_before_words() {
    for (code, row) in [
        (200, 9),
        (302, 9),
        (404, 6),
        (409, 6),
        (429, 6),
        (408, 1),
        (499, 2),
        (500, 7),
        (503, 7),
        (504, 1),
        (524, 1),
    ] {
        let status = if code < 400 { Status::Unset } else { Status::Error };
        assert_eq!(of(Role::Http, Some(code), None, "", status).row, row, "{code}");
    }
    assert_eq!(of(Role::Http, Some(500), None, "upstream timed out", Status::Error).row, 7);
    for (code, row) in [
        ("OK", 9),
        ("DEADLINE_EXCEEDED", 1),
        ("CANCELLED", 2),
        ("ALREADY_EXISTS", 6),
        ("ABORTED", 6),
        ("UNAVAILABLE", 7),
        ("UNKNOWN", 7),
    ] {
        let status = if code == "OK" { Status::Unset } else { Status::Error };
        assert_eq!(of(Role::Rpc, None, Some(code), "", status).row, row, "{code}");
    }
}

#[test]
fn a_refusal_with_a_hint_when_to_come_back_had_no_effect() {
    let mut facts = Facts { role: Role::Http, ..Facts::default() };
    facts.http.status = Some(503);
    facts.http.retry_after = true;
    assert_eq!(verdict(&facts, &Errors::default(), Kind::Client, Status::Error).row, 6);
}

#[test]
fn an_answer_that_came_is_not_undone_by_what_was_overcome() {
    assert_eq!(of(Role::Http, Some(200), None, "ReadTimeout", Status::Unset).row, 9);
    assert_eq!(of(Role::Http, Some(200), None, "ReadTimeout", Status::Error).row, 1);
    assert_eq!(of(Role::Remote, None, None, "ReadTimeout", Status::Ok).row, 9);
}

#[test]
fn resets_leave_the_effect_open() {
    for text in ["ECONNRESET", "socket hang up", "Connection reset by peer", "RemoteDisconnected"] {
        let verdict = http(text);
        assert_eq!((verdict.row, verdict.effect), (7, Effect::Unknown), "{text}");
    }
}

#[test]
fn databases_say_what_they_refused() {
    let store = |code: &str, status| {
        let mut facts = Facts { role: Role::Db, ..Facts::default() };
        facts.db.code = Some(code.to_owned());
        verdict(&facts, &Errors::default(), Kind::Client, status)
    };
    assert_eq!(store("23505", Status::Error).row, 6);
    assert!(store("40P01", Status::Error).answered);
    assert_eq!(store("57014", Status::Error).row, 1);
    assert_eq!(store("08006", Status::Error).row, 8);
    assert_eq!(store("40003", Status::Error).row, 8);
    assert_eq!(store("00000", Status::Unset).row, 9);
    assert_eq!(of(Role::Db, None, None, "psycopg.errors.UniqueViolation", Status::Error).row, 6);
}

#[test]
fn silence_counts_where_codes_are_always_written() {
    let mut facts = Facts { role: Role::Http, always_records_code: true, ..Facts::default() };
    let of = |facts: &Facts, kind, status| verdict(facts, &Errors::default(), kind, status);
    assert_eq!(of(&facts, Kind::Client, Status::Unset).outcome, Outcome::Abandoned);
    assert_eq!(of(&facts, Kind::Server, Status::Unset).row, 10);
    assert_eq!(of(&facts, Kind::Client, Status::Error).row, 8);
    facts.streaming = true;
    assert_eq!(of(&facts, Kind::Client, Status::Unset).row, 10);
    facts.streaming = false;
    facts.always_records_code = false;
    assert_eq!(of(&facts, Kind::Client, Status::Unset).row, 10);
}

#[test]
fn flags_of_envoy_speak_for_themselves() {
    for (flag, code, row) in
        [("UT", 504, 1), ("DC", 0, 2), ("UF", 503, 5), ("NR", 404, 5), ("UC", 503, 7), ("-", 200, 9)]
    {
        let mut facts = Facts { role: Role::Http, ..Facts::default() };
        facts.http.status = Some(code).filter(|code| *code != 0);
        let errors = Errors { flags: vec![flag.to_owned()], ..Errors::default() };
        assert_eq!(verdict(&facts, &errors, Kind::Client, Status::Unset).row, row, "{flag}");
    }
}

#[test]
fn quiet_stores_and_brokers_did_it() {
    for role in [Role::Db, Role::Cache, Role::Messaging] {
        assert_eq!(of(role, None, None, "", Status::Unset).row, 9, "{role:?}");
    }
    for role in [Role::Rpc, Role::Remote, Role::Http] {
        assert_eq!(of(role, None, None, "", Status::Unset).row, 10, "{role:?}");
    }
}

#[test]
fn words_count_whole() {
    assert_eq!(http("the timeouts table is gone").row, 8);
    assert_eq!(http("bad x509ish thing").row, 8);
    assert!(says("caused by: i/o timeout (1)", "i/o timeout"));
    assert!(!says("gui/o timeouts", "i/o timeout"));
}
