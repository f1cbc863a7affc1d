//! Which traces a list shows: the same parameters for the API and for the page.

use time::OffsetDateTime;

use super::cursor::{instant, narrow};
use super::{Cursor, Failure, Parameters, Shown, Slice};
use crate::findings::Fingerprint;
use crate::model::TraceId;
use crate::store::{ListedTrace, TracePlace, WantedTraces};

const LIST: &str = "traces";
const NS_PER_MS: f64 = 1e6;

/// A list of traces as asked for.
#[derive(Clone, Debug)]
pub struct TraceFilter {
    wanted: WantedTraces,
    after: Option<TracePlace>,
    limit: u32,
}

impl TraceFilter {
    /// The first page of what is wanted.
    pub fn first(wanted: WantedTraces, limit: u32) -> Self {
        Self { wanted, after: None, limit }
    }

    /// Reads every parameter of the list; others are refused.
    pub fn read(mut parameters: Parameters, now: OffsetDateTime) -> Result<Self, Failure> {
        let finding = parameters.text("finding")?;
        let after = parameters.text("after")?;
        let filter = Self {
            wanted: WantedTraces {
                services: parameters.texts("service")?,
                operation: parameters.text("operation")?,
                min_ns: nanoseconds(&mut parameters, "min_ms")?,
                max_ns: nanoseconds(&mut parameters, "max_ms")?,
                error: parameters.word("error", &[("true", true), ("false", false)])?.unwrap_or_default(),
                finding: finding.map(|id| fingerprint(&id)).transpose()?,
                rules: parameters.texts("rule")?,
                since: parameters.instant("since", now)?,
                until: parameters.instant("until", now)?,
            },
            after: after.map(|text| place(&text)).transpose()?,
            limit: parameters.limit()?,
        };
        parameters.finish()?;
        Ok(filter)
    }
}

fn nanoseconds(parameters: &mut Parameters, name: &str) -> Result<Option<i64>, Failure> {
    let Some(ms) = parameters.one::<f64>(name)? else { return Ok(None) };
    if !(0.0..=1e12).contains(&ms) {
        return Err(Failure::parameter(name, "a number of milliseconds, not below zero"));
    }
    Ok(Some((ms * NS_PER_MS) as i64))
}

fn fingerprint(id: &str) -> Result<Fingerprint, Failure> {
    id.parse().map_err(|_| Failure::parameter("finding", "an id has 16 hex digits"))
}

fn place(text: &str) -> Result<TracePlace, Failure> {
    let [received_at, high, low] = Cursor::key_of(text, LIST)?;
    Ok(TracePlace {
        received_at: instant(received_at)?,
        trace: TraceId((u128::from(narrow::<u64>(high)?) << 64) | u128::from(narrow::<u64>(low)?)),
    })
}

impl Shown {
    /// One page of the traces that `filter` describes, newest first.
    pub async fn traces(&self, filter: &TraceFilter) -> Result<Slice<ListedTrace>, Failure> {
        let listed = self.store.list_traces(&filter.wanted, filter.after, filter.limit + 1).await?;
        Ok(Slice::of(listed, filter.limit, |last| {
            let id = last.trace_id.as_u128();
            let key =
                vec![last.received_at.unix_timestamp_nanos(), (id >> 64).cast_signed(), (id as u64).into()];
            Cursor::new(LIST, key)
        }))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<TraceFilter, Failure> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        TraceFilter::read(Parameters::new(owned.collect()).unwrap(), datetime!(2026-05-10 12:00 UTC))
    }

    #[test]
    fn lengths_are_milliseconds() {
        let filter = read(&[("min_ms", "1.5"), ("max_ms", "2000"), ("error", "true")]).unwrap();
        assert_eq!((filter.wanted.min_ns, filter.wanted.max_ns), (Some(1_500_000), Some(2_000_000_000)));
        assert!(filter.wanted.error);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (name, value) in [
            ("min_ms", "-1"),
            ("max_ms", "NaN"),
            ("finding", "x"),
            ("error", "1"),
            ("after", "x"),
            ("x", "y"),
        ] {
            let Err(Failure::Parameter { name: named, .. }) = read(&[(name, value)]) else {
                panic!("{name}")
            };
            assert_eq!(named, name);
        }
    }
}
