//! Trains the dictionary that Debunk ships with (`src/store/dictionaries/1.bin`), from spans of our own recordings and
//! from conventional attributes: `cargo run --release --example dictionary`.
//!
//! It prints what the dictionary is worth for spans that it was not trained on. A dictionary that has been released
//! never changes: rows are packed with it. A better one gets the next number.

#![allow(clippy::unwrap_used, reason = "whoever trains sees why it failed")]
#![allow(clippy::print_stdout, reason = "it reports to whoever trains")]

use std::path::Path;
use std::time::Duration;

use debunk::clock;
use debunk::decode::dictionary::Dictionary;
use debunk::decode::{check, file};
use debunk::semconv::secrets;
use debunk::store::{Days, encode};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

const BYTES: usize = 64 << 10;
const TARGET: &str = "src/store/dictionaries/1.bin";
/// Spans made of each set of conventional attributes.
const EACH: usize = 40;

fn main() {
    let recorded = recorded();
    let conventional: Vec<Vec<u8>> =
        SHAPES.iter().flat_map(|shape| (0..EACH).map(|n| made(shape, n))).collect();
    let (even, odd): (Vec<_>, Vec<_>) = recorded.iter().cloned().enumerate().partition(|(at, _)| at % 2 == 0);
    let spans =
        |part: Vec<(usize, Vec<Vec<u8>>)>| part.into_iter().flat_map(|(_, spans)| spans).collect::<Vec<_>>();
    let (half, other) = (spans(even), spans(odd));
    report("trained on half of the recordings, packs the other half", &trained(&half, &conventional), &other);
    report(
        "trained on conventional attributes alone, packs the recordings",
        &trained(&[], &conventional),
        &other,
    );
    let all: Vec<Vec<u8>> = recorded.into_iter().flatten().collect();
    let body = trained(&all, &conventional);
    report("as it ships, packs the recordings it knows", &body, &other);
    std::fs::write(TARGET, body).unwrap();
}

fn trained(recorded: &[Vec<u8>], conventional: &[Vec<u8>]) -> Vec<u8> {
    let samples: Vec<&[u8]> = conventional.iter().chain(recorded).map(Vec::as_slice).collect();
    zstd::dict::from_samples(&samples, BYTES).unwrap()
}

fn report(what: &str, body: &[u8], spans: &[Vec<u8>]) {
    let dictionary = Dictionary::new(body.to_vec());
    let mut packer = dictionary.packer();
    let plain: usize = spans.iter().map(Vec::len).sum();
    let packed: usize = spans.iter().map(|span| packer.pack(span).map_or(span.len(), <[u8]>::len)).sum();
    println!("{what}: {} B a span plain, {} packed", plain / spans.len(), packed / spans.len());
}

/// What is stored of the recorded spans beside their columns, by export.
fn recorded() -> Vec<Vec<Vec<u8>>> {
    let mut exports = Vec::new();
    for name in ["lab-node", "lab-python"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.jsonl.gz"));
        for request in file::Requests::open(&path).unwrap() {
            let mut spans = request.unwrap().resource_spans;
            check::check(&mut spans);
            secrets::redact(&mut spans);
            exports.push(rests(spans));
        }
    }
    exports
}

fn rests(spans: Vec<ResourceSpans>) -> Vec<Vec<u8>> {
    let days = Days::new(clock::now().date(), Duration::from_hours(24));
    encode(spans, &days).rests().map(<[u8]>::to_vec).collect()
}

/// One span with the attributes of a shape; each value is the next of those that it may have.
fn made(shape: &[&str], number: usize) -> Vec<u8> {
    let pair = |(at, text): (usize, &&str)| {
        let (key, values) = text.split_once('=').unwrap();
        let values: Vec<&str> = values.split('|').collect();
        let value = values[(number / (at + 1) + number) % values.len()];
        let number = number * 7_919 % 1_000;
        let value = value.replace('#', &number.to_string());
        let value = match value.parse() {
            Ok(number) => Value::IntValue(number),
            Err(_) => Value::StringValue(value),
        };
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    };
    let is_event = |text: &str| text.starts_with("exception.");
    let attributes = shape.iter().enumerate().filter(|(_, text)| !is_event(text)).map(pair).collect();
    let event: Vec<KeyValue> =
        shape.iter().enumerate().filter(|(_, text)| is_event(text)).map(pair).collect();
    let events = if event.is_empty() {
        Vec::new()
    } else {
        vec![Event { name: "exception".to_owned(), attributes: event, ..Event::default() }]
    };
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        flags: 257,
        attributes,
        events,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    rests(vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }]).remove(0)
}

/// Attributes that instrumentation sets together, with some of their values; `#` is a number.
const SHAPES: &[&[&str]] = &[
    &[
        "http.request.method=GET|POST|PUT|DELETE|PATCH",
        "url.scheme=http|https",
        "url.path=/|/api/v1/items/#|/api/orders/#|/cart|/health",
        "url.query=page=#|q=shoes&limit=#",
        "http.route=/api/v1/items/{id}|/api/orders/:id|/cart",
        "http.response.status_code=200|201|204|400|404|500|503",
        "network.protocol.version=1.1|2",
        "network.peer.address=10.0.3.#|192.168.1.#|127.0.0.1|::1",
        "network.peer.port=4#",
        "server.address=localhost|shop.example.com",
        "server.port=8080|443|80|3000",
        "client.address=10.0.1.#",
        "user_agent.original=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)|curl/8.5.0|python-requests/2.32.3",
    ],
    &[
        "http.request.method=GET|POST|PUT|DELETE|PATCH",
        "url.full=http://localhost:8080/api/v1/items/#|https://api.example.com/v2/users/#",
        "server.address=localhost|api.example.com|inventory",
        "server.port=8080|443|80|3000",
        "http.response.status_code=200|201|204|400|404|500|503",
        "http.request.resend_count=1|2",
        "network.protocol.name=http",
        "network.protocol.version=1.1|2",
        "error.type=timeout|500|503|java.net.ConnectException|System.Net.Http.HttpRequestException",
    ],
    &[
        "http.method=GET|POST|PUT|DELETE",
        "http.scheme=http|https",
        "http.target=/|/api/v1/items/#|/api/orders/#?page=#",
        "http.route=/api/v1/items/{id}|/api/orders/:id|/cart",
        "http.status_code=200|201|204|400|404|500|503",
        "http.status_text=OK|NOT FOUND|INTERNAL SERVER ERROR",
        "http.flavor=1.1|2.0",
        "http.host=localhost:8080|shop.example.com",
        "http.user_agent=Mozilla/5.0|curl/8.5.0|okhttp/4.12.0",
        "http.server_name=localhost|shop",
        "http.client_ip=10.0.1.#",
        "net.host.name=localhost|shop",
        "net.host.port=8080|443",
        "net.peer.ip=10.0.3.#|::ffff:127.0.0.1",
        "net.peer.port=4#",
        "net.transport=ip_tcp",
        "http.request_content_length=#",
        "http.response_content_length=#",
    ],
    &[
        "http.method=GET|POST|PUT|DELETE",
        "http.url=http://localhost:8080/api/v1/items/#|https://api.example.com/v2/users/#",
        "http.status_code=200|201|204|400|404|500|503",
        "http.response_content_length=#",
        "net.peer.name=localhost|api.example.com|inventory",
        "net.peer.port=8080|443|80|3000",
        "net.sock.peer.addr=10.0.3.#",
        "thread.id=#",
        "thread.name=main|http-nio-8080-exec-#|grpc-default-executor-#",
    ],
    &[
        "db.system.name=postgresql|mysql|mongodb|redis|microsoft.sql_server|oracle.db",
        "db.namespace=shop|orders|users|postgres",
        "db.collection.name=items|orders|users|products",
        "db.operation.name=SELECT|INSERT|UPDATE|DELETE|find|HGET|GET|SET",
        "db.query.text=SELECT * FROM items WHERE id = $1|INSERT INTO orders (id, user_id, total) VALUES (?, ?, ?)|UPDATE users SET name = ? WHERE id = ?|HMSET cart:# ?",
        "db.query.summary=SELECT items|INSERT orders|UPDATE users",
        "db.response.returned_rows=#",
        "server.address=localhost|postgres|db.internal",
        "server.port=5432|3306|27017|6379",
        "network.peer.address=10.0.7.#",
        "network.peer.port=5432|3306",
    ],
    &[
        "db.system=postgresql|mysql|mongodb|redis|mssql|elasticsearch|cassandra",
        "db.name=shop|orders|users|postgres",
        "db.user=postgres|root|app",
        "db.statement=SELECT id, name, price FROM products WHERE id = ?|INSERT INTO orders VALUES (?, ?, ?)|GET cart:#",
        "db.operation=SELECT|INSERT|UPDATE|DELETE|GET",
        "db.sql.table=items|orders|users|products",
        "db.connection_string=postgresql://localhost:5432|mysql://db:3306",
        "db.redis.database_index=0|1",
        "db.mongodb.collection=items|orders",
        "net.peer.name=localhost|postgres|redis",
        "net.peer.port=5432|3306|6379",
        "net.transport=ip_tcp|IP.TCP",
    ],
    &[
        "rpc.system=grpc|aws-api|connect_rpc",
        "rpc.service=shop.v1.CartService|grpc.health.v1.Health|oteldemo.ProductCatalogService",
        "rpc.method=GetCart|AddItem|Check|ListProducts|GetProduct",
        "rpc.grpc.status_code=0|2|4|13|14",
        "rpc.system.name=grpc",
        "rpc.response.status_code=OK|UNAVAILABLE|DEADLINE_EXCEEDED",
        "network.peer.address=10.0.5.#|127.0.0.1",
        "network.peer.port=50051|8080",
        "network.transport=tcp",
        "network.type=ipv4|ipv6",
        "server.address=cart|productcatalog|localhost",
        "server.port=50051|8080",
        "net.sock.peer.addr=10.0.5.#",
        "net.sock.peer.port=50051",
        "message.type=SENT|RECEIVED",
    ],
    &[
        "messaging.system=kafka|rabbitmq|aws_sqs|nats|jms",
        "messaging.operation.name=send|receive|process|poll|publish|ack",
        "messaging.operation.type=send|receive|process|settle",
        "messaging.operation=publish|receive|process",
        "messaging.destination.name=orders|payments|order.created|emails",
        "messaging.destination.kind=topic|queue",
        "messaging.destination.partition.id=#",
        "messaging.consumer.group.name=billing|mailer",
        "messaging.kafka.consumer.group=billing|mailer",
        "messaging.kafka.message.offset=#",
        "messaging.kafka.message.key=#",
        "messaging.kafka.destination.partition=#",
        "messaging.rabbitmq.destination.routing_key=order.created|email.send",
        "messaging.message.id=ID:#",
        "messaging.message.body.size=#",
        "messaging.message.payload_size_bytes=#",
        "messaging.batch.message_count=#",
        "messaging.client.id=producer-#|rdkafka",
        "server.address=kafka|rabbitmq|localhost",
        "server.port=9092|5672",
    ],
    &[
        "exception.type=java.lang.IllegalStateException|TimeoutError|System.InvalidOperationException|requests.exceptions.ConnectionError|Error",
        "exception.message=connect ECONNREFUSED 127.0.0.1:#|Read timed out|The operation was canceled.|context deadline exceeded",
        "exception.stacktrace=Traceback (most recent call last):\n  File \"/app/main.py\", line #, in handle|java.lang.IllegalStateException\n\tat com.example.shop.Cart.add(Cart.java:#)|Error: connect ECONNREFUSED\n    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:#)",
        "exception.escaped=False|true",
        "error.type=timeout|500|_OTHER",
        "code.function=handle|doGet|main",
        "code.namespace=com.example.shop.CartController|app.views",
        "code.filepath=/app/main.py|src/index.js",
        "code.lineno=#",
        "code.function.name=com.example.shop.Cart.add",
    ],
    &[
        "peer.service=cart|inventory|payment",
        "enduser.id=user-#",
        "session.id=#",
        "graphql.operation.name=products|cart",
        "graphql.operation.type=query|mutation",
        "graphql.document=query { products { id name } }",
        "faas.trigger=http|pubsub|timer",
        "faas.invocation_id=#",
        "cloud.resource_id=arn:aws:lambda:eu-west-1:#",
        "aws.request_id=#",
        "otel.status_code=ERROR|OK",
        "otel.status_description=timeout",
        "express.name=/items/:id|query|jsonParser",
        "express.type=middleware|request_handler|router",
        "http.request.body.size=#",
        "http.response.body.size=#",
        "http.request.header.content-type=application/json",
        "tls.protocol.version=1.3",
    ],
];
