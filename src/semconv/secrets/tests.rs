//! Nothing secret survives anywhere, equality does, and what is no secret stays as it was.

use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span, Status, span};
use proptest::prelude::*;

use super::*;

fn text_value(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

fn pair(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// One span with one attribute; what became of it.
fn of(key: &str, text: &str) -> String {
    let mut attributes = [pair(key, text_value(text))];
    Redactor { replaced: 0 }.attributes(&mut attributes);
    match attributes[0].value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn hidden(key: &str, text: &str, secret: &str, kind: &str) {
    let clean = of(key, text);
    assert!(!clean.contains(secret), "{key}: {clean}");
    assert!(clean.contains(&format!("[{kind}:")), "{key}: {clean}");
    assert_eq!(of(key, &clean), clean, "twice is as once");
    assert!(text.contains(secret), "the example holds its secret");
}

const JWT: &str =
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";

#[test]
fn every_kind_is_hidden() {
    for (key, text, secret, kind) in [
        ("url.full", "https://anna:hunter2@shop.example/a", "hunter2", "password"),
        ("db.connection_string", "postgres://u:p@ss/w0rd@db/x", "p@ss/w0rd", "password"),
        ("messaging.url", "amqp://guest:gu3st@mq:5672", "gu3st", "password"),
        ("db.connection_string", "host=db user=u password=hunter2 sslmode=off", "hunter2", "password"),
        ("db.connection_string", "Server=db;User=u;Password=hun,ter2;Timeout=3", "hun,ter2", "password"),
        ("x", "jdbc:postgresql://db/x?user=u&password=hunter2", "hunter2", "password"),
        ("db.query.text", "UPDATE users SET password = 'hunter2' WHERE id = 1", "hunter2", "password"),
        ("db.query.text", "{\"name\": \"u\", \"password\": \"hunter2\"}", "hunter2", "password"),
        ("body", "{\\\"password\\\":\\\"hunter2\\\"}", "hunter2", "password"),
        ("http.request.header.authorization", "Basic dTpw", "dTpw", "authorization"),
        ("http.request.header.proxy_authorization", "Basic dTpw", "dTpw", "authorization"),
        ("http.request.header.cookie", "sid=1", "sid=1", "cookie"),
        ("http.response.header.set-cookie", "sid=1", "sid=1", "cookie"),
        ("http.response.header.set_cookie", "sid=1", "sid=1", "cookie"),
        ("http.request.header.x-api-key", "k1", "k1", "api_key"),
        ("http.request.header.x_api_key", "k1", "k1", "api_key"),
        ("rpc.request.metadata.authorization", "x", "x", "authorization"),
        ("db.query.parameter.password", "hunter2", "hunter2", "password"),
        ("app.client_secret", "hunter2", "hunter2", "secret"),
        ("message", "Authorization: Basic dTpw\nAccept: x", "dTpw", "authorization"),
        ("message", "sent bearer abcdef0123456789abcdef", "abcdef0123456789abcdef", "token"),
        ("message", concat!("key AKIA", "IOSFODNN7EXAMPLE"), "IOSFODNN7EXAMPLE", "aws_key"),
        ("message", concat!("ghp", "_0123456789abcdefghijABCDEFGHIJ012345"), "0123456789abc", "github_token"),
        ("message", concat!("xox", "b-1234567890-abcdef"), "1234567890", "slack_token"),
        ("message", concat!("(sk", "_live_abcdef0123456789)"), "abcdef0123456789", "stripe_key"),
        ("message", JWT, "dozjgNry", "jwt"),
        (
            "pem",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            "MIIE",
            "private_key",
        ),
        ("pem", "-----BEGIN PRIVATE KEY-----\nMIIE", "MIIE", "private_key"),
        ("url.query", "access_token=abc&x=1", "abc", "token"),
        ("url.full", "https://s3/x?X-Amz-Signature=abc&X-Amz-Security-Token=def", "abc", "signature"),
        ("http.target", "/cb?api_key=k123", "k123", "api_key"),
        ("http.target", "/cb?apikey=k123#top", "k123", "api_key"),
        ("http.target", "/cb?a=1&sig=k123", "k123", "signature"),
    ] {
        hidden(key, text, secret, kind);
    }
}

#[test]
fn what_is_no_secret_stays_as_it_was() {
    for (key, text) in [
        ("url.full", "https://shop.example:8443/a?page_token=abc&next_token=1&continuation=2&csrf=3"),
        ("http.request.header.idempotency-key", "9d094ac8-f7c7-4c1c-a95d-15ff2d1ea99c"),
        ("db.query.text", "SELECT a FROM t WHERE password = $1 AND token = ? AND pwd=:pwd AND x == 1"),
        ("db.query.text", "UPDATE t SET password = %(password)s"),
        ("url.full", "https://user@shop.example/a:b@c"),
        ("url.full", "http://[2001:db8::1]:80/a@b"),
        ("message", "AKIA is a prefix, eyJ another, ghp_ a third; -----BEGIN CERTIFICATE-----"),
        ("http.target", "/tokens?type=token&design=1&assignature=2"),
        ("app.page.token", "abc"),
        ("x", "password=***&token=REDACTED&secret=[REDACTED]"),
        ("exception.message", "password must be longer"),
        ("http.request.header.accept", "text/html"),
        ("x", "größe=ü&name=ß"),
        ("x", ""),
    ] {
        assert_eq!(of(key, text), text, "{key}");
    }
}

#[test]
fn equality_survives_and_difference_too() {
    let of = |secret: &str| of("url.query", &format!("token={secret}"));
    assert_eq!(of("a1"), of("a1"));
    assert_ne!(of("a1"), of("a2"));
}

#[test]
fn no_place_is_forgotten() {
    let secret = || "password=hunter2".to_owned();
    let nested = AnyValue {
        value: Some(Value::ArrayValue(ArrayValue {
            values: vec![AnyValue {
                value: Some(Value::KvlistValue(KeyValueList {
                    values: vec![pair("a", text_value(&secret())), pair("api_key", text_value("hunter2"))],
                })),
            }],
        })),
    };
    let raw = AnyValue { value: Some(Value::BytesValue(secret().into_bytes())) };
    let attributes = || vec![pair("a", nested.clone()), pair("b", raw.clone())];
    let span = Span {
        name: secret(),
        attributes: attributes(),
        status: Some(Status { message: secret(), code: 2 }),
        events: vec![span::Event { name: secret(), attributes: attributes(), ..span::Event::default() }],
        links: vec![span::Link { attributes: attributes(), ..span::Link::default() }],
        ..Span::default()
    };
    let mut exports = vec![ResourceSpans {
        resource: Some(opentelemetry_proto::tonic::resource::v1::Resource {
            attributes: attributes(),
            ..Default::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(opentelemetry_proto::tonic::common::v1::InstrumentationScope {
                attributes: attributes(),
                ..Default::default()
            }),
            spans: vec![span],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }];
    assert_eq!(redact(&mut exports), 3 + 5 * 3);
    let left = prost::Message::encode_to_vec(&exports[0]);
    assert!(!left.windows(7).any(|window| window == b"hunter2"));
    let once = exports.clone();
    assert_eq!(redact(&mut exports), 0);
    assert_eq!(exports, once);
}

#[test]
fn depth_does_not_matter() {
    let mut deep = text_value("token=abc");
    for _ in 0..50_000 {
        deep = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![deep] })) };
    }
    let mut redactor = Redactor { replaced: 0 };
    redactor.value(&mut deep, None);
    assert_eq!(redactor.replaced, 1);
    // Dropping it would recurse as deeply; take it apart by hand.
    let mut next = Some(deep);
    while let Some(AnyValue { value: Some(Value::ArrayValue(mut array)) }) = next {
        next = array.values.pop();
    }
}

/// Quadratic time would show as minutes here.
#[test]
fn hostile_texts_take_linear_time() {
    for piece in [
        "=",
        "[",
        "://",
        "://a:",
        "password=",
        "password=*",
        "token=[jwt:0123abcd]",
        "\"password\": \"",
        "eyJ.",
        "eyJ",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY",
        "bearer ",
        "authorization: ",
        "password=[",
        "ghp_",
        "token=:a",
    ] {
        let text = piece.repeat(200_000 / piece.len());
        let started = std::time::Instant::now();
        let once = of("x", &text);
        assert!(started.elapsed().as_secs() < 20, "{piece}");
        assert_eq!(of("x", &once), once, "{piece}");
    }
}

/// Pieces that secrets are made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("password=".to_owned()),
        Just("token=".to_owned()),
        Just("\"secret\": \"".to_owned()),
        Just("://u:".to_owned()),
        Just("Authorization: ".to_owned()),
        Just("bearer ".to_owned()),
        Just(JWT.to_owned()),
        Just(concat!("AKIA", "IOSFODNN7EXAMPLE").to_owned()),
        Just(concat!("sk", "_live_abcdef0123456789").to_owned()),
        Just("-----BEGIN PRIVATE KEY-----".to_owned()),
        Just("-----END PRIVATE KEY-----".to_owned()),
        Just("[password:0123abcd]".to_owned()),
        "[ -~]{0,6}",
        "[@:/?&;='\"\\\\\\[\\] ]{1,2}",
        "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Names, most of them of secrets, with what may stand between letters.
fn names() -> impl Strategy<Value = String> {
    let words = "password|passwd|passphrase|pwd|api|key|access|secret|private|aws|id|client|sig|signature|x|amz|goog\
                 |token|refresh|auth|session|security|authorization|proxy|set|cookie|vault|[a-z]{1,3}";
    prop::collection::vec(words, 1..4).prop_flat_map(|words| {
        prop::collection::vec("[-_]?", words.len()).prop_map(move |between| {
            let pairs = words.iter().map(String::as_str).zip(between.iter().map(String::as_str));
            pairs.flat_map(|(word, between)| [word, between]).collect()
        })
    })
}

proptest! {
    #[test]
    fn no_walk_is_spared_that_would_have_found_something(text in pieces(), cut in 0..100_usize) {
        let text = &text[text.floor_char_boundary(cut)..];
        prop_assert_eq!(find::secrets(text), find::walk(text));
    }

    #[test]
    fn no_name_of_a_secret_is_overlooked(name in names(), upper: bool) {
        let name = if upper { name.to_ascii_uppercase() } else { name };
        let known = find::kind_of_name(&name).or_else(|| find::kind_of_header(&name));
        prop_assert!(known.is_none() || find::ends_like_a_name(name.as_bytes()), "{}", name);
    }

    #[test]
    fn twice_is_as_once(text in pieces()) {
        let once = of("x", &text);
        prop_assert_eq!(of("x", &once), once);
    }
}
