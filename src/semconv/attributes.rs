//! The one pass over a span's attributes: every key goes to its protocol, and what no convention names is kept aside.

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};

use super::field::{self, Field};
use super::{db, errors, host, http, idempotency, messaging, rpc, template, tls};
use crate::model::IdempotencyFacts;

/// Most attributes without a convention that are kept, and the longest value.
const MOST_CUSTOM: usize = 32;
const LONGEST_CUSTOM: usize = 256;
/// Attributes behind this many are not read.
const MOST_ATTRIBUTES: usize = 1024;

/// The attributes of one span, sorted by what they speak of.
#[derive(Default)]
pub(super) struct Attributes<'a> {
    pub(super) http: http::Names<'a>,
    pub(super) rpc: rpc::Names<'a>,
    pub(super) db: db::Names<'a>,
    pub(super) messaging: messaging::Names<'a>,
    pub(super) host: host::Names<'a>,
    pub(super) tls: tls::Names<'a>,
    pub(super) errors: errors::Names<'a>,
    pub(super) idempotency: IdempotencyFacts,
    /// Ordinal of the attempt where a proxy or an SDK counts on its own.
    pub(super) ordinal: Field<'a>,
    /// One more than the ordinal (Envoy's attempt count, the AWS SDK's `attempt=n`).
    pub(super) attempt_count: Field<'a>,
    /// Retries inside the span (botocore).
    pub(super) retries_inside: Field<'a>,
    pub(super) graphql: Field<'a>,
    pub(super) soap_action: Field<'a>,
    /// `component`, as OpenTracing and Envoy write it.
    pub(super) component: Field<'a>,
    pub(super) is_genai: bool,
    pub(super) is_cloud: bool,
    /// Pairs that no convention names and that look like data.
    pub(super) custom: Vec<(String, String)>,
}

impl<'a> Attributes<'a> {
    /// Reads all attributes of a span, once.
    pub(super) fn read(attributes: &'a [KeyValue]) -> Self {
        let mut read = Self::default();
        for attribute in attributes.iter().take(MOST_ATTRIBUTES) {
            if let Some(value) = attribute.value.as_ref().and_then(|any| any.value.as_ref()) {
                read.take(&attribute.key, value);
            }
        }
        read.custom.sort();
        read
    }

    fn take(&mut self, key: &'a str, value: &'a Value) {
        let namespace = key.split('.').next().unwrap_or(key);
        match namespace {
            "http" => self.take_http(key, value),
            "user_agent" if key == namespace => self.http.user_agent.ranked(3, value),
            "url" | "user_agent" => self.http.take(key, value),
            "rpc" => self.take_rpc(key, value),
            "grpc" | "previous-rpc-attempts" | "transparent-retry" => self.rpc.take(key, value),
            "db" | "sql" | "cassandra" => self.db.take(key, value),
            "messaging" | "kafka" | "rabbit" => self.messaging.take(key, value),
            "server" | "client" | "network" | "net" | "peer" | "upstream_address" => {
                self.host.take(key, value);
            }
            "tls" => {
                self.host.take(key, value);
                self.tls.take(key, value);
            }
            "service" => self.host.take(key, value),
            "error" | "exception" | "response_flags" | "status" => self.errors.take(key, value),
            "request_size" => self.http.request_size.ranked(5, value),
            "response_size" => self.http.response_size.ranked(5, value),
            "component" => self.component.current(value),
            "retry" if key == "retry.count" => self.ordinal.current(value),
            "retry_attempts" => self.retries_inside.current(value),
            "graphql" if key == "graphql.operation.type" => self.graphql.current(value),
            "gen_ai" => self.is_genai = true,
            "aws" => self.is_cloud = true,
            _ if is_convention(namespace) => {}
            _ => self.take_custom(key, value),
        }
        if !key.contains(".header.") && !key.contains(".metadata.") {
            idempotency::attribute(&mut self.idempotency, key, value);
        }
    }

    fn take_http(&mut self, key: &'a str, value: &'a Value) {
        if let Some(name) = key.strip_prefix("http.request.header.") {
            let name = header_name(name);
            self.take_request_header(&name, value);
        } else if let Some(name) = key.strip_prefix("http.response.header.") {
            self.http.take_response_header(&header_name(name), value);
        } else {
            self.http.take(key, value);
            self.host.take(key, value);
        }
    }

    fn take_request_header(&mut self, name: &str, value: &'a Value) {
        match name {
            "x-envoy-attempt-count" => self.attempt_count.current(value),
            "amz-sdk-request" => self.attempt_count.former(value),
            "grpc-previous-rpc-attempts" => self.ordinal.former(value),
            "soapaction" => self.soap_action.current(value),
            _ => self.http.take_request_header(name, value),
        }
        idempotency::header(&mut self.idempotency, name, value);
    }

    fn take_rpc(&mut self, key: &'a str, value: &'a Value) {
        let metadata =
            ["rpc.request.metadata.", "rpc.grpc.request.metadata.", "rpc.connect_rpc.request.metadata."];
        match metadata.iter().find_map(|prefix| key.strip_prefix(prefix)) {
            Some(name) => {
                let name = header_name(name);
                if name == "grpc-previous-rpc-attempts" {
                    self.ordinal.former(value);
                }
                idempotency::metadata(&mut self.idempotency, &name, value);
            }
            None => self.rpc.take(key, value),
        }
    }

    fn take_custom(&mut self, key: &str, value: &Value) {
        if MOST_CUSTOM <= self.custom.len() || !matches!(value, Value::StringValue(_) | Value::IntValue(_)) {
            return;
        }
        let Some(text) = field::text(value) else { return };
        let is_data = template::is_token(&text) || template::names_identifier(key);
        if is_data && !text.is_empty() && text.len() <= LONGEST_CUSTOM {
            self.custom.push((key.to_owned(), text.into_owned()));
        }
    }
}

/// Captured headers are written with hyphens or, by Python, with underscores.
fn header_name(written: &str) -> String {
    written.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// First words of attribute names that belong to a convention, an SDK or a proxy: no application's own data.
fn is_convention(namespace: &str) -> bool {
    const NAMESPACES: &[&str] = &[
        "artifact",
        "asgi",
        "aspnetcore",
        "azure",
        "browser",
        "cicd",
        "cloud",
        "cloudevents",
        "code",
        "container",
        "cpu",
        "cpython",
        "deployment",
        "destination",
        "device",
        "disk",
        "dns",
        "dotnet",
        "elasticsearch",
        "enduser",
        "event",
        "express",
        "faas",
        "feature_flag",
        "file",
        "gcp",
        "geo",
        "go",
        "graphql",
        "guid:x-request-id",
        "hapi",
        "heroku",
        "host",
        "hw",
        "internal",
        "ios",
        "istio",
        "jvm",
        "k8s",
        "koa",
        "library",
        "linux",
        "log",
        "mcp",
        "next",
        "node_id",
        "nodejs",
        "oci",
        "openai",
        "opentracing",
        "os",
        "otel",
        "process",
        "profile",
        "protocol",
        "retry",
        "router",
        "sampler",
        "security_rule",
        "session",
        "signalr",
        "source",
        "span",
        "system",
        "telemetry",
        "test",
        "thread",
        "threadName",
        "upstream_cluster",
        "downstream_cluster",
        "user",
        "v8js",
        "vcs",
        "webengine",
        "zone",
        "servlet",
        "spring",
        "hibernate",
        "mvc",
        "busy_ns",
        "idle_ns",
        "lc",
        "instance",
    ];
    NAMESPACES.contains(&namespace)
}
