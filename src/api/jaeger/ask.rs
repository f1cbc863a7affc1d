//! What Jaeger's clients ask for, in our terms.

use std::collections::BTreeMap;

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::model::TraceId;
use crate::store::WantedTraces;
use crate::view::{Failure, MAX_LIMIT, Parameters, Place, TraceFilter};

/// Traces of a search where nobody says.
const LIMIT: u32 = 20;
const US_PER_S: i64 = 1_000_000;

/// Reads the parameters of a search.
pub(super) fn search(mut parameters: Parameters) -> Result<TraceFilter, Failure> {
    let limit = parameters.one::<u32>("limit")?.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    // `start` and `end` say it already.
    ignore(&mut parameters, &["lookback", "prettyPrint", "raw"])?;
    let wanted = WantedTraces {
        services: parameters.texts("service")?,
        operation: parameters.text("operation")?.filter(|name| name != "all"),
        min_ns: length(&mut parameters, "minDuration")?,
        max_ns: length(&mut parameters, "maxDuration")?,
        error: error(&mut parameters, "tags", "tag")?,
        since: instant(&mut parameters, "start")?,
        until: instant(&mut parameters, "end")?,
        ..WantedTraces::default()
    };
    parameters.finish()?;
    Ok(TraceFilter::first(wanted, limit))
}

/// Reads the parameters of a search of version 3, which has two spellings of each.
pub(super) fn search_v3(mut parameters: Parameters) -> Result<TraceFilter, Failure> {
    let limit = one_of(&mut parameters, ["query.searchDepth", "query.search_depth", "query.num_traces"])?;
    let limit = limit.map(|(name, text)| {
        text.parse::<u32>().map_err(|_| Failure::parameter(name, format!("{text:?} is no number")))
    });
    ignore(&mut parameters, &["query.rawTraces", "query.raw_traces"])?;
    let [shortest, longest] =
        [["query.durationMin", "query.duration_min"], ["query.durationMax", "query.duration_max"]];
    let [earliest, latest] =
        [["query.startTimeMin", "query.start_time_min"], ["query.startTimeMax", "query.start_time_max"]];
    let service = one_of(&mut parameters, ["query.serviceName", "query.service_name"])?;
    let operation = one_of(&mut parameters, ["query.operationName", "query.operation_name"])?;
    let wanted = WantedTraces {
        services: service.into_iter().map(|(_, name)| name).collect(),
        operation: operation.map(|(_, name)| name),
        min_ns: length_v3(&mut parameters, shortest)?,
        max_ns: length_v3(&mut parameters, longest)?,
        error: error(&mut parameters, "query.attributes", "query.attribute")?,
        since: instant_v3(&mut parameters, earliest)?,
        until: instant_v3(&mut parameters, latest)?,
        ..WantedTraces::default()
    };
    parameters.finish()?;
    let limit = limit.transpose()?.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    Ok(TraceFilter::first(wanted, limit))
}

/// The value under whichever of these names, and the name.
fn one_of<const N: usize>(
    parameters: &mut Parameters,
    names: [&'static str; N],
) -> Result<Option<(&'static str, String)>, Failure> {
    let mut found = None;
    for name in names {
        if let Some(value) = parameters.text(name)? {
            found.get_or_insert((name, value));
        }
    }
    Ok(found)
}

fn length_v3(parameters: &mut Parameters, names: [&'static str; 2]) -> Result<Option<i64>, Failure> {
    one_of(parameters, names)?.map(|(name, text)| length_of(name, &text)).transpose()
}

fn instant_v3(
    parameters: &mut Parameters,
    names: [&'static str; 2],
) -> Result<Option<OffsetDateTime>, Failure> {
    let Some((name, text)) = one_of(parameters, names)? else { return Ok(None) };
    let instant = OffsetDateTime::parse(&text, &Rfc3339);
    instant.map(Some).map_err(|_| Failure::parameter(name, format!("{text:?} is no RFC 3339 instant")))
}

/// Reads the parameters of a graph: milliseconds.
pub(super) fn dependencies(mut parameters: Parameters, now: OffsetDateTime) -> Result<Place, Failure> {
    let end = parameters.one::<i64>("endTs")?;
    let lookback = parameters.one::<i64>("lookback")?.unwrap_or(3_600_000);
    parameters.finish()?;
    let wrong = || Failure::parameter("endTs", "milliseconds since 1970");
    let end = match end {
        Some(ms) => {
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).map_err(|_| wrong())?
        }
        None => now,
    };
    let since = end.checked_sub(Duration::milliseconds(lookback)).ok_or_else(wrong)?;
    Ok(Place { environments: Vec::new(), since })
}

/// Takes parameters that change nothing here.
pub(super) fn ignore(parameters: &mut Parameters, names: &[&str]) -> Result<(), Failure> {
    names.iter().try_for_each(|name| parameters.texts(name).map(drop))
}

/// A trace id of up to 32 hexadecimal digits; Jaeger leaves leading zeros out.
pub(super) fn trace_id(text: &str) -> Option<TraceId> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    format!("{text:0>32}").parse().ok()
}

/// Tags are a JSON object, or `name:value` each. Attributes are not searched: only `error` is known.
fn error(parameters: &mut Parameters, all: &str, one: &str) -> Result<bool, Failure> {
    let wrong = |what: &str| Failure::parameter(all, format!("{what}; only `error` can be searched"));
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    for text in parameters.texts(all)? {
        let object: BTreeMap<String, String> =
            serde_json::from_str(&text).map_err(|_| wrong("not a JSON object of texts"))?;
        tags.extend(object);
    }
    for text in parameters.texts(one)? {
        let (name, value) = text.split_once(':').ok_or_else(|| wrong("not of the form name:value"))?;
        tags.insert(name.to_owned(), value.to_owned());
    }
    let error = tags.remove("error");
    match (error.as_deref(), tags.keys().next()) {
        (_, Some(other)) => Err(wrong(&format!("{other:?} is not known here"))),
        (None | Some("false"), None) => Ok(false),
        (Some("true"), None) => Ok(true),
        (Some(_), None) => Err(wrong("error is true or false")),
    }
}

/// An instant in microseconds; old clients send milliseconds.
fn instant(parameters: &mut Parameters, name: &str) -> Result<Option<OffsetDateTime>, Failure> {
    let Some(sent) = parameters.one::<i64>(name)? else { return Ok(None) };
    let us = if sent < 100_000_000_000 * 1_000 { sent.saturating_mul(1_000) } else { sent };
    let instant = OffsetDateTime::from_unix_timestamp(us.div_euclid(US_PER_S));
    instant.map(Some).map_err(|_| Failure::parameter(name, "microseconds since 1970"))
}

/// A length of time as Go writes it: `1.5s`, `100ms`, `2m30s`.
fn length(parameters: &mut Parameters, name: &str) -> Result<Option<i64>, Failure> {
    parameters.text(name)?.map(|text| length_of(name, &text)).transpose()
}

fn length_of(name: &str, text: &str) -> Result<i64, Failure> {
    let wrong =
        || Failure::parameter(name, format!("{text:?} is not a length of time such as 1.5s or 100ms"));
    let mut rest = text;
    let mut ns = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let after = &rest[digits..];
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let scale = match &after[..unit] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            _ => return Err(wrong()),
        };
        ns += number * scale;
        rest = &after[unit..];
    }
    if text.is_empty() || ns > 1e18 { Err(wrong()) } else { Ok(ns as i64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Parameters {
        Parameters::new(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
            .unwrap()
    }

    #[test]
    fn lengths_are_read_as_go_writes_them() {
        for (text, ns) in
            [("1.5s", 1_500_000_000), ("100ms", 100_000_000), ("2m30s", 150_000_000_000), ("7µs", 7_000)]
        {
            assert_eq!(length(&mut asked(&[("x", text)]), "x"), Ok(Some(ns)), "{text}");
        }
        for text in ["5", "s", "1 s", "1d", "-1s", "1e99h"] {
            assert!(length(&mut asked(&[("x", text)]), "x").is_err(), "{text}");
        }
    }

    #[test]
    fn instants_of_old_clients_mean_the_same() {
        let new = instant(&mut asked(&[("x", "1778418000000000")]), "x").unwrap();
        let old = instant(&mut asked(&[("x", "1778418000000")]), "x").unwrap();
        assert_eq!((new, new.map(OffsetDateTime::unix_timestamp)), (old, Some(1_778_418_000)));
    }

    #[test]
    fn only_errors_can_be_searched_and_everything_else_is_said() {
        assert_eq!(error(&mut asked(&[("tags", r#"{"error":"true"}"#)]), "tags", "tag"), Ok(true));
        assert_eq!(error(&mut asked(&[("tag", "error:false")]), "tags", "tag"), Ok(false));
        for tags in [r#"{"http.method":"GET"}"#, "[]", "x"] {
            assert!(error(&mut asked(&[("tags", tags)]), "tags", "tag").is_err(), "{tags}");
        }
        assert!(search(asked(&[("service", "a"), ("colour", "red")])).is_err());
    }

    #[test]
    fn short_ids_have_lost_their_zeros() {
        assert_eq!(trace_id("abc").map(|id| id.0), Some(0xabc));
        assert_eq!(trace_id("x"), None);
        assert_eq!(trace_id(&"a".repeat(33)), None);
    }
}
