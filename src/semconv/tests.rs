//! Each fact under each of its names: the current one as the conventions' own constants spell it, former ones, both at
//! once in either order, and numbers as text.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use opentelemetry_semantic_conventions::{attribute, resource};
use proptest::prelude::{
    Just, Strategy, any as arbitrary, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::*;
use crate::model::{Basis, EffectClass, Outcome};

type Pair<'a> = (&'a str, &'a str);

fn any(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

/// Whole numbers as numbers, `[…]` as an array, anything else as text.
fn value(text: &str) -> AnyValue {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let value = match (text.parse(), inner) {
        (Ok(number), _) => Value::IntValue(number),
        (_, Some(inner)) => Value::ArrayValue(ArrayValue { values: vec![any(inner)] }),
        _ => Value::StringValue(text.to_owned()),
    };
    AnyValue { value: Some(value) }
}

fn pairs(pairs: &[Pair<'_>], value: fn(&str) -> AnyValue) -> Vec<KeyValue> {
    let pair = |(key, text): &Pair<'_>| KeyValue {
        key: (*key).to_owned(),
        value: Some(value(text)),
        ..KeyValue::default()
    };
    pairs.iter().map(pair).collect()
}

fn span_of(kind: i32, name: &str, scope: &str, attributes: Vec<KeyValue>) -> Received {
    Received {
        resource: Arc::new(v1::Resource::default()),
        scope: Arc::new(InstrumentationScope { name: scope.to_owned(), ..Default::default() }),
        span: otlp::Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            kind,
            name: name.to_owned(),
            attributes,
            ..otlp::Span::default()
        },
    }
}

fn read(received: &Received) -> Span {
    Reader::new(&BTreeMap::new()).read(received)
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// One fact: (current name, former names newest first, what makes the rest of the span, its value, how to read it).
struct Row<'a> {
    kind: i32,
    names: &'a [&'a str],
    beside: &'a [Pair<'a>],
    sent: &'a str,
    other: &'a str,
    fact: fn(&Span) -> String,
    expected: &'a str,
}

impl Row<'_> {
    fn of(&self, attributes: &[Pair<'_>], value: fn(&str) -> AnyValue) -> String {
        let all: Vec<Pair<'_>> = self.beside.iter().chain(attributes).copied().collect();
        (self.fact)(&read(&span_of(self.kind, "x", "", pairs(&all, value))))
    }

    fn check(&self) {
        for name in self.names {
            let alone = [(*name, self.sent)];
            assert_eq!(self.of(&alone, value), self.expected, "{name}");
            assert_eq!(self.of(&alone, any), self.expected, "{name} as text");
        }
        for (newer, older) in self.names.iter().zip(&self.names[1..]) {
            let (new, old) = ((*newer, self.sent), (*older, self.other));
            assert_eq!(self.of(&[new, old], value), self.expected, "{newer} before {older}");
            assert_eq!(self.of(&[old, new], value), self.expected, "{older} before {newer}");
            assert_eq!(self.of(&[(*newer, ""), (*older, self.sent)], value), self.expected, "empty {newer}");
        }
    }
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

macro_rules! rows {
    ($($kind:ident [$($name:expr),+] $(with [$(($key:expr, $with:expr)),+])? $sent:literal not $other:literal => $fact:expr, $expected:literal;)+) => {
        &[$(Row {
            kind: $kind,
            names: &[$($name),+],
            beside: &[$($(($key, $with)),+)?],
            sent: $sent,
            other: $other,
            fact: $fact,
            expected: $expected,
        }),+]
    };
}

fn check(rows: &[Row<'_>]) {
    rows.iter().for_each(Row::check);
}

#[test]
fn http_by_every_name() {
    check(rows! {
        CLIENT [attribute::HTTP_REQUEST_METHOD, "http.method"] "post" not "GET"
            => |span| text(span.facts.http.method.clone()), "POST";
        CLIENT [attribute::HTTP_RESPONSE_STATUS_CODE, "http.status_code"] "503" not "200"
            => |span| text(span.facts.http.status), "503";
        CLIENT [attribute::URL_FULL, "http.url"] "http://stock:8080/items/7?b=2&a=1" not "http://other/"
            => |span| format!("{} {} {} {:?}", text(span.facts.host.clone()), text(span.facts.port),
                span.facts.operation, span.facts.http.query),
            r#"stock 8080 /items/{} [("a", "1"), ("b", "2")]"#;
        SERVER [attribute::URL_PATH, "http.target", "http.path"] with [("http.method", "GET")] "/items/7" not "/other"
            => |span| text(span.facts.http.path.clone()), "/items/7";
        SERVER [attribute::URL_QUERY] with [("http.method", "GET")] "?a=1" not ""
            => |span| format!("{:?}", span.facts.http.query), r#"[("a", "1")]"#;
        CLIENT [attribute::URL_SCHEME, "http.scheme"] with [("http.method", "GET")] "HTTPS" not "http"
            => |span| text(span.facts.http.scheme.clone()), "https";
        SERVER [attribute::HTTP_ROUTE, attribute::URL_TEMPLATE] with [("http.method", "GET")] "/items/<id>" not "/other"
            => |span| span.facts.operation.clone(), "GET /items/{}";
        CLIENT [attribute::HTTP_REQUEST_RESEND_COUNT, "http.resend_count", "http.retry_count"] "2" not "1"
            => |span| text(span.facts.ordinal), "2";
        CLIENT [attribute::HTTP_REQUEST_BODY_SIZE, "http.request.size", "http.request.header.content_length",
            "http.request_content_length", "http.request_content_length_uncompressed", "request_size"] "12" not "99"
            => |span| text(span.facts.request_bytes), "12";
        CLIENT [attribute::HTTP_RESPONSE_BODY_SIZE, "http.response.size", "http.response.header.content-length",
            "http.response_content_length", "http.response_content_length_uncompressed", "response_size"] "12" not "99"
            => |span| text(span.facts.response_bytes), "12";
        SERVER [attribute::USER_AGENT_SYNTHETIC_TYPE] "test" not "" => |span| span.facts.synthetic_test.to_string(), "true";
        SERVER [attribute::USER_AGENT_ORIGINAL, "http.user_agent"] "kube-probe/1.30" not "curl"
            => |span| span.facts.self_defence.to_string(), "true";
    });
}

#[test]
fn addresses_by_every_name() {
    check(rows! {
        CLIENT [attribute::SERVER_ADDRESS, "net.peer.name", "http.host", "http.server_name", "tls.client.server_name"]
            "Stock.shop:81" not "other" => |span| text(span.facts.host.clone()), "stock.shop";
        SERVER [attribute::SERVER_ADDRESS, "net.host.name", "http.host"] "stock.shop" not "other"
            => |span| text(span.facts.host.clone()), "stock.shop";
        CLIENT [attribute::SERVER_PORT, "net.peer.port"] "81" not "82" => |span| text(span.facts.port), "81";
        SERVER [attribute::SERVER_PORT, "net.host.port"] "81" not "82" => |span| text(span.facts.port), "81";
        CLIENT [attribute::NETWORK_PEER_ADDRESS, "net.sock.peer.addr", "net.peer.ip", "peer.ipv4", "peer.address",
            "upstream_address"] "10.0.0.1" not "10.0.0.2" => |span| text(span.facts.peer_ip), "10.0.0.1";
        CLIENT [attribute::SERVICE_PEER_NAME, "peer.service"] "stock" not "other"
            => |span| text(span.facts.peer_service.clone()), "stock";
    });
    let asker = read(&span_of(SERVER, "x", "", pairs(&[("net.peer.name", "browser")], value)));
    assert_eq!(asker.facts.host, None, "on a server span the peer is the client");
}

#[test]
fn tls_by_every_name() {
    check(rows! {
        CLIENT [attribute::TLS_PROTOCOL_VERSION, "tls.protocol"] "1.1" not "1.3"
            => |span| text(span.facts.tls.as_ref().and_then(|tls| tls.protocol.clone())), "TLS 1.1";
        CLIENT [attribute::TLS_SERVER_NOT_AFTER, "tls.certificate.validTo"] "1970-01-01T00:00:01Z"
            not "Jan  1 00:00:09 1970 GMT"
            => |span| text(span.facts.tls.as_ref().and_then(|tls| tls.not_after_ns)), "1000000000";
        CLIENT ["tls.authorized"] "false" not "" => |span| text(span.facts.tls.as_ref().map(|tls| tls.unverified)), "true";
    });
}

#[test]
fn rpc_by_every_name() {
    check(rows! {
        CLIENT [attribute::RPC_SYSTEM_NAME, "rpc.system"] "connect_rpc" not "grpc"
            => |span| text(span.facts.rpc.system.clone()), "connectrpc";
        CLIENT [attribute::RPC_METHOD] with [("rpc.service", "shop.Stock")] "Get" not ""
            => |span| span.facts.operation.clone(), "shop.Stock/Get";
        CLIENT [attribute::RPC_METHOD] with [("rpc.system.name", "grpc")] "shop.Stock/Get" not ""
            => |span| span.facts.operation.clone(), "shop.Stock/Get";
        CLIENT ["rpc.status_code", attribute::RPC_RESPONSE_STATUS_CODE, "rpc.grpc.status_code", "rpc.connect_rpc.error_code",
            "rpc.jsonrpc.error_code", "grpc.status_code"] "4" not "0"
            => |span| text(span.facts.rpc.code.clone()), "DEADLINE_EXCEEDED";
        CLIENT ["previous-rpc-attempts", "rpc.request.metadata.grpc-previous-rpc-attempts"] "1" not "1"
            => |span| text(span.facts.ordinal), "1";
    });
    for name in ["Sent.shop.Stock.Get", "/shop.Stock/Get", "grpc.shop.Stock/Get"] {
        let span = read(&span_of(CLIENT, name, "", Vec::new()));
        assert_eq!((span.facts.role, span.facts.operation.as_str()), (Role::Rpc, "shop.Stock/Get"), "{name}");
    }
}

#[test]
fn databases_by_every_name() {
    check(rows! {
        CLIENT [attribute::DB_SYSTEM_NAME, "db.system", "db.type"] "mssql" not "redis"
            => |span| text(span.facts.db.system.clone()), "microsoft.sql_server";
        CLIENT [attribute::DB_NAMESPACE, "db.name", "db.redis.database_index", "db.cassandra.keyspace",
            "db.elasticsearch.cluster.name"] with [("db.system", "x")] "shop" not "other"
            => |span| text(span.facts.db.namespace.clone()), "shop";
        CLIENT [attribute::DB_QUERY_TEXT, "db.statement", "sql.query"] "select a from t where b = 7" not "DELETE FROM x"
            => |span| format!("{} {:?}", span.facts.template, span.facts.db.arguments),
            r#"SELECT t | SELECT a FROM t WHERE b = ? ["7"]"#;
        CLIENT [attribute::DB_QUERY_SUMMARY] with [("db.system", "x")] "SELECT t" not ""
            => |span| text(span.facts.db.shape.clone()), "SELECT t";
        CLIENT [attribute::DB_OPERATION_NAME, "db.operation"] with [("db.system", "x")] "SELECT shop" not "INSERT"
            => |span| text(span.facts.db.operation.clone()), "SELECT";
        CLIENT [attribute::DB_COLLECTION_NAME, "db.sql.table", "db.cassandra.table"] with [("db.system", "x")] "t" not "u"
            => |span| text(span.facts.db.collection.clone()), "t";
        CLIENT [attribute::DB_OPERATION_BATCH_SIZE, "db.redis.pipeline_length"] with [("db.system", "x")] "3" not "2"
            => |span| span.facts.db.batch.to_string(), "3";
        CLIENT [attribute::DB_RESPONSE_RETURNED_ROWS] with [("db.system", "x")] "3" not ""
            => |span| text(span.facts.db.rows), "3";
        CLIENT [attribute::DB_RESPONSE_STATUS_CODE, "db.cosmosdb.status_code"] with [("db.system", "x")] "40001" not "0"
            => |span| text(span.facts.db.code.clone()), "40001";
        CLIENT [attribute::CASSANDRA_QUERY_IDEMPOTENT, "db.cassandra.idempotence"]
            with [("db.statement", "UPDATE t SET a = a + 1")] "true" not "false"
            => |span| format!("{:?}", span.facts.class), "Idempotent";
        CLIENT [attribute::CASSANDRA_SPECULATIVE_EXECUTION_COUNT, "db.cassandra.speculative_execution_count"]
            with [("db.system", "cassandra")] "2" not "1"
            => |span| format!("{} {}", span.facts.speculative, span.facts.hidden_retries), "2 2";
    });
}

#[test]
fn messaging_by_every_name() {
    check(rows! {
        PRODUCER [attribute::MESSAGING_SYSTEM] "AmazonSQS" not "" => |span| text(span.facts.messaging.system.clone()), "aws_sqs";
        CONSUMER [attribute::MESSAGING_OPERATION_TYPE, "messaging.operation", attribute::MESSAGING_OPERATION_NAME]
            with [("messaging.system", "kafka")] "receive" not "send"
            => |span| format!("{:?}", span.facts.messaging.operation), "Some(Receive)";
        PRODUCER [attribute::MESSAGING_DESTINATION_TEMPLATE, attribute::MESSAGING_DESTINATION_NAME, "messaging.destination",
            "kafka.topic", "rabbit.queue", "messaging.url"] "orders" not "other"
            => |span| span.facts.operation.clone(), "publish orders";
        PRODUCER [attribute::MESSAGING_RABBITMQ_DESTINATION_ROUTING_KEY, "messaging.rabbitmq.routing_key",
            "rabbit.routing_key"] with [("messaging.system", "rabbitmq"), ("messaging.destination", "shop")] "paid" not "x"
            => |span| format!("{} {}", text(span.facts.messaging.destination.clone()), span.facts.messaging.destination_opaque),
            "shop paid false";
        CONSUMER [attribute::MESSAGING_MESSAGE_ID, "messaging.message_id"] with [("messaging.system", "kafka")] "m1" not "m2"
            => |span| text(span.facts.messaging.message_id.clone()), "m1";
        CONSUMER [attribute::MESSAGING_CONSUMER_GROUP_NAME, "messaging.kafka.consumer.group",
            attribute::MESSAGING_DESTINATION_SUBSCRIPTION_NAME, "messaging.servicebus.destination.subscription_name"]
            with [("messaging.system", "kafka")] "g" not "h" => |span| text(span.facts.messaging.group.clone()), "g";
        CONSUMER [attribute::MESSAGING_DESTINATION_PARTITION_ID, "messaging.kafka.destination.partition",
            "messaging.kafka.partition"] with [("messaging.system", "kafka"), ("messaging.kafka.message.offset", "7")] "1" not "2"
            => |span| format!("{:?}", span.facts.messaging.offset), r#"Some(("1", "7"))"#;
        CONSUMER [attribute::MESSAGING_KAFKA_OFFSET, "messaging.kafka.message.offset"]
            with [("messaging.system", "kafka"), ("messaging.kafka.partition", "1")] "7" not "8"
            => |span| format!("{:?}", span.facts.messaging.offset), r#"Some(("1", "7"))"#;
        PRODUCER [attribute::MESSAGING_MESSAGE_BODY_SIZE, "messaging.message.payload_size_bytes",
            "messaging.message_payload_size_bytes", attribute::MESSAGING_MESSAGE_ENVELOPE_SIZE]
            with [("messaging.system", "kafka")] "5" not "6" => |span| text(span.facts.request_bytes), "5";
    });
}

#[test]
fn resources_by_every_name() {
    let of = |attributes: &[Pair<'_>]| {
        let mut received = span_of(SERVER, "x", "", Vec::new());
        received.resource =
            Arc::new(v1::Resource { attributes: pairs(attributes, value), ..Default::default() });
        read(&received).resource
    };
    for (names, sent, expected) in [
        (&[resource::DEPLOYMENT_ENVIRONMENT_NAME, "deployment.environment"][..], "Prod", "production"),
        (&["deployment.environment"], "uat", "uat"),
    ] {
        for name in names {
            assert_eq!(of(&[(name, sent)]).environment, expected, "{name}");
        }
    }
    let known = [
        (resource::SERVICE_NAME, "shop"),
        (resource::SERVICE_NAMESPACE, "s"),
        (resource::SERVICE_VERSION, "1.2"),
        (resource::TELEMETRY_SDK_LANGUAGE, "Go"),
        (resource::CLOUD_REGION, "r"),
        (resource::CLOUD_AVAILABILITY_ZONE, "z"),
    ];
    let shop = of(&known);
    assert_eq!((shop.service.as_str(), shop.language.as_deref()), ("shop", Some("go")));
    assert_eq!((shop.region.as_deref(), shop.zone.as_deref()), (Some("r"), Some("z")));
    // Each of these is asked before the next.
    let instances = [
        resource::SERVICE_INSTANCE_ID,
        resource::K8S_POD_UID,
        resource::K8S_POD_NAME,
        resource::CONTAINER_ID,
        resource::HOST_NAME,
    ];
    for (at, name) in instances.iter().enumerate() {
        let all: Vec<Pair<'_>> = instances[at..]
            .iter()
            .rev()
            .map(|other| (*other, if other == name { "me" } else { "x" }))
            .collect();
        assert_eq!(of(&all).instance.as_deref(), Some("me"), "{name}");
    }
    let clocks = [resource::HOST_ID, resource::K8S_NODE_NAME, resource::HOST_IP, resource::HOST_NAME];
    for (at, name) in clocks.iter().enumerate() {
        let all: Vec<Pair<'_>> =
            clocks[at..].iter().map(|other| (*other, if other == name { "me" } else { "x" })).collect();
        assert_eq!(of(&all).clock_domain, "me", "{name}");
    }
    assert_eq!(of(&[]).service, "unknown_service");
    assert_eq!(of(&[]).clock_domain, "unknown_service");
}

#[test]
fn roles_in_order() {
    let role = |attributes: &[Pair<'_>]| read(&span_of(CLIENT, "x", "", pairs(attributes, value))).facts.role;
    let http = ("http.request.method", "POST");
    assert_eq!(role(&[http, ("db.system.name", "redis")]), Role::Cache);
    assert_eq!(role(&[http, ("db.query.text", "SELECT 1"), ("messaging.system", "kafka")]), Role::Db);
    assert_eq!(role(&[http, ("messaging.system", "kafka"), ("rpc.system", "grpc")]), Role::Messaging);
    assert_eq!(role(&[http, ("rpc.system", "grpc")]), Role::Rpc);
    assert_eq!(role(&[http, ("rpc.system", "aws-api")]), Role::Cloud);
    assert_eq!(role(&[http, ("gen_ai.system", "x")]), Role::Http);
    assert_eq!(role(&[("gen_ai.system", "x")]), Role::GenAi);
    assert_eq!(role(&[]), Role::Remote);
    let named = |kind, name| read(&span_of(kind, name, "", Vec::new())).facts.role;
    assert_eq!(named(CLIENT, "get"), Role::Http);
    assert_eq!(named(CLIENT, "HTTP GET: /route"), Role::Http);
    assert_eq!(named(CLIENT, "get my_cache"), Role::Remote);
    assert_eq!(named(1, "GET /x"), Role::Internal);
    assert_eq!(named(CLIENT, "http.getconn"), Role::ConnectionPhase);
}

#[test]
fn headers_that_make_answers_differ_are_kept() {
    let sent = [
        ("http.request.header.accept_language", "[de]"),
        ("http.request.header.X-Tenant-Id", "[acme]"),
        ("http.request.header.x-request-id", "[1]"),
        ("http.request.method", "GET"),
    ];
    let kept = read(&span_of(CLIENT, "GET", "", pairs(&sent, value))).facts.http.preferences;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(kept, [pair("accept-language", "de"), pair("x-tenant-id", "acme")]);
}

#[test]
fn a_connection_that_was_there_is_none_that_was_made() {
    let made = |name: &str, attributes: &[Pair<'_>]| {
        let span = read(&span_of(CLIENT, name, "", pairs(attributes, value)));
        assert_eq!(span.facts.role, Role::ConnectionPhase, "{name}");
        span.facts.connects
    };
    let reused = |word| made("http.getconn", &[("http.conn.reused", word)]);
    assert!(reused("false") && !reused("true") && !made("http.getconn", &[]));
    assert!(made("tls.connect", &[]) && made("pg.connect", &[("db.system.name", "postgresql")]));
    assert!(!made("dns.lookup", &[]) && !made("pg-pool.connect", &[("db.system.name", "postgresql")]));
}

#[test]
fn keys_and_conditions_are_seen_wherever_they_stand() {
    let of =
        |attributes: &[Pair<'_>]| read(&span_of(CLIENT, "x", "", pairs(attributes, value))).facts.idempotency;
    for key in [
        "http.request.header.idempotency-key",
        "http.request.header.idempotency_key",
        "http.request.header.X-Idempotency-Key",
        "rpc.grpc.request.metadata.idempotency-key",
        "rpc.request.metadata.request-id",
        "app.idempotency_key",
    ] {
        assert_eq!(of(&[(key, "[k1]")]).keys.len(), 1, "{key}");
    }
    assert_eq!(
        of(&[("url.full", "http://a/b?request_id=k1")]).keys,
        [("request_id".to_owned(), "k1".to_owned())]
    );
    assert!(of(&[("http.request.header.if-match", "[x]")]).conditional);
    let other =
        of(&[("http.request.header.x-request-id", "[k1]"), ("http.request.header.traceparent", "[x]")]);
    assert!(other.keys.is_empty() && other.headers_captured);
}

#[test]
fn a_silent_span_is_told_by_those_of_its_library_that_speak() {
    let silent = pairs(&[("http.request.method", "POST"), ("url.full", "http://a/b")], value);
    let mut speaking = silent.clone();
    speaking.extend(pairs(&[("http.response.status_code", "200")], value));
    let outcome = |received: &[Received]| spans(received, &BTreeMap::new())[0].facts.verdict.outcome;
    let quiet = span_of(CLIENT, "POST", "lib", silent.clone());
    let spoken = |scope: &str| span_of(CLIENT, "POST", scope, speaking.clone());
    assert_eq!(outcome(std::slice::from_ref(&quiet)), Outcome::Unknown);
    assert_eq!(outcome(&[quiet.clone(), spoken("other")]), Outcome::Unknown);
    assert_eq!(outcome(&[quiet, spoken("lib")]), Outcome::Abandoned);
    let known = span_of(CLIENT, "POST", "@opentelemetry/instrumentation-undici", silent);
    assert_eq!(outcome(&[known]), Outcome::Abandoned);
}

#[test]
fn streams_probes_and_custom_data_are_told_apart() {
    let of = |name: &str, attributes: &[Pair<'_>]| {
        read(&span_of(CLIENT, name, "", pairs(attributes, value))).facts
    };
    assert!(of("/flagd.Service/EventStream", &[]).streaming && of("/a.B/WatchOrders", &[]).streaming);
    assert!(of("GET", &[("http.response.header.content-type", "[text/event-stream; x]")]).streaming);
    assert!(!of("/a.B/GetStreamers", &[]).streaming);
    for url in ["http://otel:4318/v1/traces", "http://a/healthz", "http://a/metrics", "http://a/api/health"] {
        assert!(of("GET", &[("url.full", url)]).self_defence, "{url}");
    }
    assert!(of("/grpc.health.v1.Health/Check", &[]).self_defence);
    assert!(!of("GET", &[("url.full", "http://a/livestream/readings")]).self_defence);
    let custom = of(
        "GetDriver",
        &[("param.driverID", "T757183C"), ("http.foo", "123456"), ("note", "hello"), ("n", "7")],
    );
    assert_eq!(custom.custom, [("param.driverID".to_owned(), "T757183C".to_owned())]);
    assert_eq!((custom.class, custom.basis), (EffectClass::Safe, Basis::Name));
}

/// Names that mean something, and some that do not.
fn any_key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "http.request.method",
        "http.url",
        "url.full",
        "http.target",
        "url.query",
        "http.status_code",
        "http.route",
        "http.request.header.idempotency_key",
        "rpc.method",
        "rpc.service",
        "rpc.grpc.status_code",
        "db.statement",
        "db.system",
        "db.operation",
        "db.query.parameter.x",
        "messaging.destination",
        "messaging.operation",
        "server.address",
        "net.peer.ip",
        "error.type",
        "response_flags",
        "exception.type",
        "param.id",
        "",
        "x",
    ])
    .prop_map(ToOwned::to_owned)
}

fn any_value() -> impl Strategy<Value = Option<AnyValue>> {
    let leaf = prop_oneof![
        "\\PC{0,40}".prop_map(Value::StringValue),
        "[ -~]{0,40}".prop_map(Value::StringValue),
        "(SELECT|INSERT INTO|WITH|\\(|\\)|'|\"|\\$|\\[|,|--|/\\*| |[a-z0-9:/?&=%@.-]){0,20}"
            .prop_map(Value::StringValue),
        arbitrary::<i64>().prop_map(Value::IntValue),
        arbitrary::<f64>().prop_map(Value::DoubleValue),
        arbitrary::<bool>().prop_map(Value::BoolValue),
        Just(Value::ArrayValue(ArrayValue::default())),
        prop::collection::vec(arbitrary::<u8>(), 0..8).prop_map(Value::BytesValue),
    ];
    prop::option::of(leaf.prop_map(|value| AnyValue { value: Some(value) }))
}

proptest! {
    #[test]
    fn nothing_makes_reading_fail(
        kind in -1..7_i32,
        name in "\\PC{0,30}",
        attributes in prop::collection::vec((any_key(), any_value()), 0..12),
        message in "\\PC{0,30}",
        times in arbitrary::<(u64, u64)>(),
    ) {
        let attributes: Vec<KeyValue> =
            attributes.into_iter().map(|(key, value)| KeyValue { key, value, ..KeyValue::default() }).collect();
        let mut received = span_of(kind, &name, "", attributes.clone());
        received.resource = Arc::new(v1::Resource { attributes: attributes.clone(), ..Default::default() });
        received.span.start_time_unix_nano = times.0;
        received.span.end_time_unix_nano = times.1;
        received.span.status = Some(otlp::Status { message, code: kind });
        received.span.events = vec![otlp::span::Event { name: "exception".into(), attributes, ..Default::default() }];
        let one = read(&received);
        prop_assert!(0 <= one.duration_ns && one.facts.tokens.len() <= 16);
        received.span.attributes.reverse();
        let reversed = read(&received);
        prop_assert_eq!(one.digest, reversed.digest);
    }
}
