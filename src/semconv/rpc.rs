//! RPC: `rpc.*`, what gRPC writes into span names and status messages, and cloud providers' APIs.

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::field::Field;
use crate::model::RpcFacts;

/// What the attributes of one span say of RPC.
#[derive(Default)]
pub(super) struct Names<'a> {
    system: Field<'a>,
    method: Field<'a>,
    service: Field<'a>,
    code: Field<'a>,
    /// gRPC's own text of the error.
    pub(super) message: Field<'a>,
    /// gRPC-js' name of the error.
    pub(super) error_name: Field<'a>,
    /// Ordinal of this attempt as gRPC counts.
    pub(super) previous_attempts: Field<'a>,
    transparent: Field<'a>,
    /// Size of the request.
    pub(super) request_size: Field<'a>,
    /// Size of the response.
    pub(super) response_size: Field<'a>,
}

/// Names of gRPC's codes in the order of their numbers (<https://grpc.io/docs/guides/status-codes/>).
pub const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl<'a> Names<'a> {
    /// Takes an attribute of the namespaces `rpc` and `grpc`, and gRPC's own attributes of attempts.
    pub(super) fn take(&mut self, key: &str, value: &'a Value) {
        match key {
            "rpc.system.name" => self.system.current(value),
            "rpc.system" => self.system.former(value),
            "rpc.method" => self.method.current(value),
            "rpc.service" => self.service.current(value),
            "rpc.status_code" => self.code.current(value),
            "rpc.response.status_code" => self.code.former(value),
            "rpc.grpc.status_code" => self.code.ranked(2, value),
            "rpc.connect_rpc.error_code" => self.code.ranked(3, value),
            "rpc.jsonrpc.error_code" => self.code.ranked(4, value),
            "grpc.status_code" => self.code.ranked(5, value),
            "grpc.error_message" => self.message.current(value),
            "rpc.grpc.error_message" | "grpc.message" => self.message.former(value),
            "grpc.error_name" => self.error_name.current(value),
            "previous-rpc-attempts" => self.previous_attempts.current(value),
            "transparent-retry" => self.transparent.current(value),
            "rpc.request.size" => self.request_size.current(value),
            "rpc.response.size" => self.response_size.current(value),
            _ => {}
        }
    }

    /// Something here is said of RPC. Envoy's `grpc.status_code` alone is: the proxied request was one.
    pub(super) fn is_present(&self) -> bool {
        self.system.is_some()
            || self.service.is_some()
            || self.method.is_some()
            || self.code.is_some()
            || self.previous_attempts.is_some()
            || self.transparent.is_some()
    }

    /// The system as it is called today.
    pub(super) fn system(&self) -> Option<String> {
        let sent = self.system.text()?.to_ascii_lowercase();
        Some(match sent.as_str() {
            "apache_dubbo" => "dubbo".to_owned(),
            "connect_rpc" => "connectrpc".to_owned(),
            _ => sent,
        })
    }

    /// The facts; `name` is the span's, `status_message` its status' and where codes hide.
    pub(super) fn facts(&self, name: &str, status_message: &str) -> RpcFacts {
        let named = method_in_name(name);
        let method = self.method.text().map(|method| match self.service.text() {
            Some(service) if !method.contains('/') => format!("{service}/{method}"),
            _ => method.trim_start_matches('/').to_owned(),
        });
        let native = ["Sent.", "Recv.", "Attempt."].iter().any(|prefix| name.starts_with(prefix));
        let code = self.code.text().map(|code| canonical(&code));
        let hidden = || code_in_text(status_message).or_else(|| code_in_text(&self.message.text()?));
        RpcFacts {
            system: self.system().or_else(|| (native && named.is_some()).then(|| "grpc".to_owned())),
            method: method.or(named),
            code: code.or_else(|| hidden().map(ToOwned::to_owned)),
            transparent_retry: self.transparent.is_true(),
        }
    }
}

/// The full method in a span's name: `/pkg.Svc/Method`, `pkg.Svc/Method`, `grpc.pkg.Svc/Method`, `Sent.pkg.Svc.Method`.
pub(super) fn method_in_name(name: &str) -> Option<String> {
    if let Some(native) = ["Sent.", "Recv.", "Attempt."].iter().find_map(|prefix| name.strip_prefix(prefix)) {
        let native = native.replace('/', ".");
        let (service, method) = native.rsplit_once('.')?;
        return (is_service(service) && is_method(method)).then(|| format!("{service}/{method}"));
    }
    // gRPC-js puts its own name in front; gRPC's own services are called so.
    let own = name
        .strip_prefix("grpc.")
        .filter(|rest| !rest.starts_with("health.") && !rest.starts_with("reflection."));
    let bare = name.strip_prefix('/').or(own).unwrap_or(name);
    let (service, method) = bare.split_once('/')?;
    (service.contains('.') && is_service(service) && is_method(method)).then(|| format!("{service}/{method}"))
}

/// Dotted words of which the last starts in upper case: a path or a host does not look like that.
fn is_service(text: &str) -> bool {
    text.split('.')
        .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        && text.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_uppercase()))
}

fn is_method(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Numbers and lower-case spellings become canonical names; what is no canonical code stays.
fn canonical(sent: &str) -> String {
    if let Some(code) = sent.parse::<usize>().ok().and_then(|number| GRPC_CODES.get(number)) {
        return (*code).to_owned();
    }
    let upper = sent.to_ascii_uppercase();
    match upper.as_str() {
        "CANCELED" => "CANCELLED".to_owned(),
        code if GRPC_CODES.contains(&code) => upper,
        _ => sent.to_owned(),
    }
}

/// A code in a message: `UNAVAILABLE, why`, `4 DEADLINE_EXCEEDED: why`, `… StatusCode.CANCELLED …`,
/// `rpc error: code = DeadlineExceeded desc = …`. The outermost one counts: deeper calls are quoted behind it.
pub(super) fn code_in_text(text: &str) -> Option<&'static str> {
    let upto = |rest: &str| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().map(known);
    if let Some((_, rest)) = text.split_once("StatusCode.") {
        return upto(rest).flatten();
    }
    let head = text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let first = head.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    let ends = head[first.len()..].starts_with([',', ':']) || head.len() == first.len();
    if let Some(code) = known(first).filter(|code| ends && first == *code) {
        return Some(code);
    }
    let (_, rest) = text.split_once("rpc error: code = ")?;
    upto(rest).flatten()
}

/// `DeadlineExceeded`, `DEADLINE_EXCEEDED` → the canonical name.
fn known(word: &str) -> Option<&'static str> {
    let bare = |text: &str| text.replace('_', "").to_ascii_lowercase();
    let word = bare(word);
    let word = if word == "canceled" { "cancelled" } else { &word };
    GRPC_CODES.into_iter().find(|code| bare(code) == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_in_names() {
        for name in [
            "/shop.v1.Stock/GetItem",
            "shop.v1.Stock/GetItem",
            "grpc.shop.v1.Stock/GetItem",
            "Sent.shop.v1.Stock.GetItem",
            "Attempt.shop.v1.Stock.GetItem",
            "Recv.shop.v1.Stock/GetItem",
        ] {
            assert_eq!(method_in_name(name).as_deref(), Some("shop.v1.Stock/GetItem"), "{name}");
        }
        for name in [
            "/api/v1/seats",
            "details.svc.cluster.local:9080/*",
            "GET /a.b/C",
            "Recv.",
            "Sent.mail",
            "/v1.0/Users",
        ] {
            assert_eq!(method_in_name(name), None, "{name}");
        }
    }

    #[test]
    fn codes_are_found_in_messages() {
        for (text, code) in [
            ("UNAVAILABLE, the channel is gone", Some("UNAVAILABLE")),
            ("4 DEADLINE_EXCEEDED: Deadline exceeded", Some("DEADLINE_EXCEEDED")),
            ("_InactiveRpcError: <… status = StatusCode.CANCELLED details", Some("CANCELLED")),
            ("rpc error: code = DeadlineExceeded desc = context", Some("DEADLINE_EXCEEDED")),
            ("13 INTERNAL: rpc error: code = Unavailable desc = lookup", Some("INTERNAL")),
            ("Internal server error", None),
            ("unknown host", None),
            ("", None),
        ] {
            assert_eq!(code_in_text(text), code, "{text}");
        }
    }

    #[test]
    fn codes_have_one_spelling() {
        assert_eq!(canonical("4"), "DEADLINE_EXCEEDED");
        assert_eq!(canonical("deadline_exceeded"), "DEADLINE_EXCEEDED");
        assert_eq!(canonical("canceled"), "CANCELLED");
        assert_eq!(canonical("-32600"), "-32600");
        assert_eq!(canonical("99"), "99");
    }
}
