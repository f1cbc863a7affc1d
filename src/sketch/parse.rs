//! A drawing to spans as they would have come over the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::USUAL_COLUMN_NS;
use super::attributes::{attribute, lay, pairs};
use crate::model::{Kind, Received, SpanId};
use crate::semconv::drawn;

/// Where every drawing begins: 2026-01-01T00:00:00Z. No rule may care.
const BEGIN_NS: i64 = 1_767_225_600_000_000_000;
const TRACE_ID: u128 = 0x0de6_0000_0000_0000_0000_0000_0000_0001;

/// A drawing read: spans and which of them are marked.
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    /// One span a line, in the order of the lines.
    pub spans: Vec<Received>,
    /// Ids of the spans marked `<<`.
    pub marked: BTreeSet<SpanId>,
    /// Ids by line, counted from 0 over all lines of the text; `None` for lines that are no span.
    pub lines: Vec<Option<SpanId>>,
}

/// Why a text is no drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadDrawing {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub why: String,
}

impl fmt::Display for BadDrawing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for BadDrawing {}

/// One line, split but not yet understood.
struct Line<'a> {
    number: usize,
    start: usize,
    columns: usize,
    failed: bool,
    depth: usize,
    service: &'a str,
    kind: &'a str,
    name: &'a str,
    words: Vec<(String, String)>,
    marked: bool,
}

/// Reads a drawing.
pub fn parse(text: &str) -> Result<Drawing, BadDrawing> {
    let mut column_ns = USUAL_COLUMN_NS;
    let mut lines = Vec::new();
    let mut of_line = vec![None; text.lines().count()];
    for (index, raw) in text.lines().enumerate() {
        let trimmed = raw.trim();
        if trimmed.is_empty() || trimmed.starts_with('…') {
            continue;
        }
        let number = index + 1;
        if let Some(scale) = trimmed.strip_prefix('@') {
            column_ns = period(scale.trim()).ok_or_else(|| bad(number, "no scale such as `@ 1ms`"))?;
            continue;
        }
        lines.push(split(number, trimmed).map_err(|why| BadDrawing { line: number, why })?);
        of_line[index] = Some(SpanId(lines.len() as u64));
    }
    let mut drawing = Drawing { lines: of_line, ..Drawing::default() };
    let mut places = Places::default();
    for (index, line) in lines.iter().enumerate() {
        let received = places
            .span(index, line, column_ns, &lines)
            .map_err(|why| BadDrawing { line: line.number, why })?;
        if line.marked {
            drawing.marked.insert(SpanId::from_bytes(&received.span.span_id).unwrap_or(SpanId(1)));
        }
        drawing.spans.push(received);
    }
    Ok(drawing)
}

fn bad(line: usize, why: &str) -> BadDrawing {
    BadDrawing { line, why: why.to_owned() }
}

/// `1ms`, `500us`, `2s`, `50ns` to nanoseconds.
fn period(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: i64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim() {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(factor).filter(|ns| 0 < *ns)
}

fn split(number: usize, text: &str) -> Result<Line<'_>, String> {
    let inner = text.strip_prefix('|').ok_or("a line starts with `|`, `@` or `…`")?;
    let (bar, rest) = inner.split_once('|').ok_or("the bar has no end")?;
    let (start, columns, failed) = self::bar(bar)?;
    let (rest, marked) = match rest.find("<<") {
        Some(at) if rest[..at].ends_with("  ") => (&rest[..at], true),
        _ => (rest, false),
    };
    let indent = rest.len() - rest.trim_start().len();
    let depth = indent.checked_sub(1).ok_or("a space stands after the bar")?;
    if !depth.is_multiple_of(2) {
        return Err(format!("{indent} spaces after the bar: one, and two more for each level"));
    }
    let rest = rest.trim();
    let (fields, words) = match rest.find("  {") {
        Some(at) => {
            let braces = rest[at..].trim();
            let inside = braces.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            (&rest[..at], pairs(inside.ok_or("the braces have no end")?)?)
        }
        None => (rest, Vec::new()),
    };
    let mut fields = fields.split("  ").map(str::trim).filter(|field| !field.is_empty());
    let mut field = |what: &str| fields.next().ok_or_else(|| format!("no {what}"));
    let line = Line {
        number,
        start,
        columns,
        failed,
        depth: depth / 2,
        service: field("service")?,
        kind: field("kind")?,
        name: field("name")?,
        words,
        marked,
    };
    match fields.next() {
        Some(more) => Err(format!("`{more}` after the name")),
        None => Ok(line),
    }
}

/// Where the bar starts, how many columns it has, and whether it ends in a failure.
fn bar(text: &str) -> Result<(usize, usize, bool), String> {
    let body = text.trim_matches(' ');
    let failed = body.ends_with('x');
    let plain = body.strip_suffix('x').unwrap_or(body);
    if body.is_empty() || !plain.bytes().all(|byte| byte == b'=') {
        return Err(format!("`{text}` is no bar of `=` with at most one `x` at its end"));
    }
    Ok((text.len() - text.trim_start_matches(' ').len(), body.len(), failed))
}

/// What lines have in common: ancestors of the current line, and each service's resource.
#[derive(Default)]
struct Places {
    above: Vec<SpanId>,
    of_service: BTreeMap<String, Vec<(String, String)>>,
    resources: BTreeMap<Vec<(String, String)>, Arc<Resource>>,
    scopes: BTreeMap<String, Arc<InstrumentationScope>>,
}

impl Places {
    fn span(
        &mut self,
        index: usize,
        line: &Line<'_>,
        column_ns: i64,
        all: &[Line<'_>],
    ) -> Result<Received, String> {
        let (kind, database) = kind(line.kind)?;
        if self.above.len() < line.depth {
            return Err("indented by more than one level below the line before".to_owned());
        }
        self.above.truncate(line.depth);
        let id_of = |text: &str| line_id(text, all);
        let start_ns = BEGIN_NS + line.start as i64 * column_ns;
        let mut span = Span {
            trace_id: TRACE_ID.to_be_bytes().to_vec(),
            span_id: SpanId(index as u64 + 1).0.to_be_bytes().to_vec(),
            parent_span_id: self.above.last().map(|id| id.0.to_be_bytes().to_vec()).unwrap_or_default(),
            name: line.name.to_owned(),
            kind: kind as i32 + 1,
            start_time_unix_nano: start_ns as u64,
            end_time_unix_nano: (start_ns + line.columns as i64 * column_ns) as u64,
            status: Some(Status { code: if line.failed { 2 } else { 0 }, message: String::new() }),
            ..Span::default()
        };
        for (key, text) in drawn::usual(kind, database, line.name, line.failed) {
            lay(&mut span.attributes, key, &text);
        }
        let mut of_resource = Vec::new();
        let mut scope = String::from("sketch");
        let mut of_exception: Vec<KeyValue> = Vec::new();
        for (key, text) in &line.words {
            if let Some(key) = key.strip_prefix("resource.") {
                of_resource.push((key.to_owned(), text.clone()));
            } else if key == "scope.name" {
                scope.clone_from(text);
            } else if let Some(word) = key.strip_prefix("span.") {
                about_span(&mut span, word, text, &id_of)?;
            } else if drawn::is_of_exception(key) {
                of_exception.push(attribute(key, text));
            } else {
                lay(&mut span.attributes, key, text);
            }
        }
        if !of_exception.is_empty() {
            span.events.push(Event {
                time_unix_nano: span.end_time_unix_nano,
                name: drawn::EXCEPTION.to_owned(),
                attributes: of_exception,
                dropped_attributes_count: 0,
            });
        }
        self.above.push(SpanId::from_bytes(&span.span_id).ok_or("an id of zero")?);
        Ok(Received { resource: self.resource(line.service, of_resource), scope: self.scope(scope), span })
    }

    /// The resource of a service: what its first span said, overlaid with what this one says.
    fn resource(&mut self, service: &str, own: Vec<(String, String)>) -> Arc<Resource> {
        let first = self.of_service.entry(service.to_owned()).or_insert_with(|| own.clone());
        let mut words = first.clone();
        words.retain(|(key, _)| own.iter().all(|(other, _)| other != key));
        words.extend(own);
        words.push((drawn::SERVICE.to_owned(), service.to_owned()));
        words.sort();
        let made = self.resources.entry(words).or_insert_with_key(|words| {
            let attributes = words.iter().map(|(key, text)| attribute(key, text)).collect();
            Arc::new(Resource { attributes, ..Resource::default() })
        });
        Arc::clone(made)
    }

    fn scope(&mut self, name: String) -> Arc<InstrumentationScope> {
        let made = self.scopes.entry(name).or_insert_with_key(|name| {
            Arc::new(InstrumentationScope { name: name.clone(), ..Default::default() })
        });
        Arc::clone(made)
    }
}

fn kind(word: &str) -> Result<(Kind, bool), String> {
    Ok(match word {
        "server" => (Kind::Server, false),
        "client" => (Kind::Client, false),
        "db" => (Kind::Client, true),
        "producer" => (Kind::Producer, false),
        "consumer" => (Kind::Consumer, false),
        "local" => (Kind::Internal, false),
        _ => return Err(format!("`{word}` is none of server client db producer consumer local")),
    })
}

/// The id of the span on a line of the drawing, the scale's line not counted.
fn line_id(text: &str, all: &[Line<'_>]) -> Result<Vec<u8>, String> {
    let number = text.parse::<u64>().ok().filter(|number| (1..=all.len() as u64).contains(number));
    let number = number.ok_or_else(|| format!("`{text}` is no line with a span"))?;
    Ok(number.to_be_bytes().to_vec())
}

fn about_span(
    span: &mut Span,
    word: &str,
    text: &str,
    id_of: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> Result<(), String> {
    let status = span.status.get_or_insert_default();
    match (word, text) {
        ("message", _) => text.clone_into(&mut status.message),
        ("status", "unset") => status.code = 0,
        ("status", "ok") => status.code = 1,
        ("status", "error") => status.code = 2,
        ("parent", "gone") => span.parent_span_id = vec![0xff; 8],
        ("id", _) => span.span_id = id_of(text)?,
        ("link", _) => span.links.push(Link {
            trace_id: span.trace_id.clone(),
            span_id: id_of(text)?,
            ..Link::default()
        }),
        _ => return Err(format!("`span.{word}={text}` says nothing known of a span")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        parse(text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_line_is_a_span() {
        let drawing = parse(
            "@ 1ms\n\
             |==========| shop  server  POST /order/{id}  {http.route=/order/{id}}\n\
             | ====x    |   shop  client  POST bank/pay  {exception.type=ReadTimeout, span.message=\"a, b\"}  << attempt:1\n\
             … 3 more\n\
             |     =    |     bank  server  POST /pay  {resource.deployment.environment.name=staging}\n",
        )
        .unwrap();
        let [order, pay, bank] = &drawing.spans[..] else { panic!("three spans") };
        assert_eq!(order.span.kind, 2);
        assert_eq!(order.span.parent_span_id, Vec::<u8>::new());
        assert_eq!(pay.span.kind, 3);
        assert_eq!(pay.span.parent_span_id, order.span.span_id);
        assert_eq!(pay.span.end_time_unix_nano - pay.span.start_time_unix_nano, 5_000_000);
        assert_eq!(pay.span.status.as_ref().map(|status| status.message.as_str()), Some("a, b"));
        assert_eq!(pay.span.events[0].attributes[0].key, "exception.type");
        assert_eq!(bank.span.parent_span_id, pay.span.span_id);
        assert_eq!(bank.resource.attributes.len(), 2);
        assert_eq!(drawing.marked, BTreeSet::from([SpanId(2)]));
        assert_eq!(drawing.lines, [None, Some(SpanId(1)), Some(SpanId(2)), None, Some(SpanId(3))]);
    }

    #[test]
    fn words_about_the_span_itself() {
        let drawing = parse(
            "|==  | a  client  GET b/x\n\
             | == | a  client  GET b/x  {span.id=1, span.status=error}\n\
             |  = | b  consumer  process x  {span.link=1, span.parent=gone}\n",
        )
        .unwrap();
        assert_eq!(drawing.spans[1].span.span_id, drawing.spans[0].span.span_id);
        assert_eq!(drawing.spans[2].span.links[0].span_id, drawing.spans[0].span.span_id);
        assert_eq!(drawing.spans[2].span.parent_span_id, [0xff; 8]);
    }

    #[test]
    fn a_resource_said_once_holds_for_its_service() {
        let drawing = parse(
            "|====| a  server  GET /  {resource.x=1}\n\
             | == |   a  client  GET b/\n\
             | =  |   a  local  z  {resource.x=2}\n\
             |  = |   b  server  GET /\n",
        )
        .unwrap();
        assert!(Arc::ptr_eq(&drawing.spans[0].resource, &drawing.spans[1].resource));
        assert_ne!(drawing.spans[2].resource.attributes, drawing.spans[0].resource.attributes);
        assert_eq!(drawing.spans[3].resource.attributes.len(), 1);
    }

    #[test]
    fn what_is_no_drawing_is_named_with_its_line() {
        assert_eq!(why("@ soon\n"), "line 1: no scale such as `@ 1ms`");
        assert_eq!(why("|==| a  server  x\n\n==| a"), "line 3: a line starts with `|`, `@` or `…`");
        assert!(why("|= =| a  server  x").contains("no bar"));
        assert!(why("|==| a  service  x").contains("none of server"));
        assert!(why("|==| a  server  ").contains("no name"));
        assert!(why("|==|  a  server  x").contains("spaces after the bar"));
        assert!(why("|==|   a  server  x").contains("more than one level"));
        assert!(why("|==| a  server  x  y").contains("after the name"));
        assert!(why("|==| a  server  x  {a=1").contains("braces"));
        assert!(why("|==| a  server  x  {span.link=7}").contains("no line"));
        assert!(why("|==| a  server  x  {span.colour=7}").contains("nothing known"));
    }
}
