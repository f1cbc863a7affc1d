//! What an SDK would write on a span of which only kind and name are drawn. The other direction of this module:
//! names are given, not read. Used by sketches alone, so that a drawing says only what matters to it.

use crate::model::Kind;

/// Attribute that holds the service's name on a resource.
pub const SERVICE: &str = "service.name";

/// Name of the event that records an exception.
pub const EXCEPTION: &str = "exception";

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"];

/// Attributes of a drawn span that names none itself. `failed` leaves out the status code of an answer: an answer
/// that matters is drawn.
///
/// `POST stock/reserve` is a request to host `stock`; `POST /reserve` is one handled, or sent somewhere unsaid;
/// `shop.Stock/Get` is gRPC; a database's name is its statement; a message's last word is its destination.
pub fn usual(kind: Kind, database: bool, name: &str, failed: bool) -> Vec<(&'static str, String)> {
    let (first, rest) = name.split_once(' ').unwrap_or((name, ""));
    match kind {
        _ if database => database_attributes(name, first, rest),
        Kind::Producer => messaging("send", rest, first),
        Kind::Consumer => messaging("process", rest, first),
        Kind::Client | Kind::Server if METHODS.contains(&first) => http(kind, first, rest, failed),
        Kind::Client | Kind::Server if is_rpc(name) => rpc(name, failed),
        _ => Vec::new(),
    }
}

/// Attributes named here belong to an exception event, not to its span.
pub fn is_of_exception(key: &str) -> bool {
    key.starts_with("exception.")
}

fn database_attributes(name: &str, first: &str, rest: &str) -> Vec<(&'static str, String)> {
    let mut all = vec![("db.system.name", "postgresql".to_owned()), ("db.query.text", name.to_owned())];
    // `SELECT item` stands for any statement over that table; a whole statement says it itself.
    if !rest.is_empty() && !rest.contains(' ') {
        all.push(("db.operation.name", first.to_owned()));
        all.push(("db.collection.name", rest.to_owned()));
    }
    all
}

fn messaging(operation: &str, rest: &str, first: &str) -> Vec<(&'static str, String)> {
    let destination = if rest.is_empty() { first } else { rest };
    vec![
        ("messaging.system", "kafka".to_owned()),
        ("messaging.operation.type", operation.to_owned()),
        ("messaging.destination.name", destination.to_owned()),
    ]
}

fn http(kind: Kind, method: &str, target: &str, failed: bool) -> Vec<(&'static str, String)> {
    let mut all = vec![("http.request.method", method.to_owned())];
    match kind {
        Kind::Server => {
            let path = target.split('?').next().unwrap_or_default();
            all.push(("http.route", path.to_owned()));
            if !path.contains('{') {
                all.push(("url.path", path.to_owned()));
            }
        }
        _ if target.starts_with("http") => all.push(("url.full", target.to_owned())),
        _ if target.starts_with('/') => all.push(("url.path", target.to_owned())),
        _ if !target.is_empty() => all.push(("url.full", format!("http://{target}"))),
        _ => {}
    }
    if !failed {
        all.push(("http.response.status_code", "200".to_owned()));
    }
    all
}

fn rpc(name: &str, failed: bool) -> Vec<(&'static str, String)> {
    let mut all = vec![("rpc.system.name", "grpc".to_owned()), ("rpc.method", name.to_owned())];
    if !failed {
        all.push(("rpc.response.status_code", "OK".to_owned()));
    }
    all
}

/// `package.Service/Method`: one slash, a dot before it, no space.
fn is_rpc(name: &str) -> bool {
    name.split_once('/').is_some_and(|(service, method)| {
        service.contains('.') && !method.is_empty() && !name.contains(' ') && !method.contains('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(all: &'a [(&'static str, String)], key: &str) -> Option<&'a str> {
        all.iter().find(|(found, _)| *found == key).map(|(_, value)| value.as_str())
    }

    #[test]
    fn names_become_what_an_sdk_would_write() {
        let sent = usual(Kind::Client, false, "POST stock/reserve?id=7", false);
        assert_eq!(value(&sent, "url.full"), Some("http://stock/reserve?id=7"));
        assert_eq!(value(&sent, "http.response.status_code"), Some("200"));
        let handled = usual(Kind::Server, false, "POST /reserve/{id}", true);
        assert_eq!(value(&handled, "http.route"), Some("/reserve/{id}"));
        assert_eq!(value(&handled, "url.path"), None);
        assert_eq!(value(&handled, "http.response.status_code"), None);
        let asked = usual(Kind::Client, false, "shop.Stock/Get", false);
        assert_eq!(value(&asked, "rpc.method"), Some("shop.Stock/Get"));
        let stored = usual(Kind::Client, true, "INSERT INTO charges VALUES (1)", false);
        assert_eq!(value(&stored, "db.query.text"), Some("INSERT INTO charges VALUES (1)"));
        assert_eq!(value(&stored, "db.collection.name"), None);
        let sent = usual(Kind::Producer, false, "publish orders", false);
        assert_eq!(value(&sent, "messaging.destination.name"), Some("orders"));
        assert_eq!(usual(Kind::Client, false, "pay", false), Vec::new());
    }
}
