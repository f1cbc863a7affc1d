//! How many spans a trace has, asked only where it has many.

use tracing::Instrument as _;
use uuid::Uuid;

use super::{Loaded, Store, StoreError};
use crate::model::{Assembly, TraceId};
use crate::telemetry::trace;

/// How large a trace is beyond what was loaded of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Spans that are stored and were not loaded.
    pub unread: usize,
    /// It has as many spans as a trace may have.
    pub full: bool,
}

impl Size {
    /// What judging such a trace starts from.
    pub fn assembly(self, max_spans: u32, settled: bool) -> Assembly {
        Assembly { max_spans: max_spans as usize, settled, unread: self.unread, full: self.full }
    }
}

impl Store {
    /// Spans stored of each of these traces, counted up to `most`.
    pub async fn sizes(&self, traces: &[TraceId], most: u32) -> Result<Vec<u32>, StoreError> {
        if traces.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = traces.iter().map(|trace| Uuid::from_u128(trace.0)).collect();
        let counts = sqlx::query_scalar!(
            r#"
            select (
                select count(*)
                from (select 1 from spans where spans.trace_id = w.trace_id limit $2) s
            ) as "count!"
            from unnest($1::uuid[]) with ordinality as w (trace_id, place)
            order by w.place
            "#,
            &ids,
            i64::from(most)
        )
        .fetch_all(self.pool())
        .instrument(trace::question("count the spans of large traces"))
        .await?;
        Ok(counts.into_iter().map(|count| u32::try_from(count).unwrap_or(u32::MAX)).collect())
    }

    /// The sizes of traces that were loaded, where a trace may have `most` spans. Asks for none that was loaded whole.
    pub async fn sizes_of(&self, loaded: &[Loaded], most: u32) -> Result<Vec<Size>, StoreError> {
        let cut: Vec<TraceId> = loaded.iter().filter(|one| one.truncated).map(|one| one.trace_id).collect();
        let mut counts = self.sizes(&cut, most).await?.into_iter();
        let size = |one: &Loaded| {
            let read = one.spans.len();
            let stored = if one.truncated { counts.next().map_or(0, |count| count as usize) } else { 0 };
            let stored = stored.max(read + usize::from(one.truncated));
            Size { unread: stored - read, full: most as usize <= stored }
        };
        Ok(loaded.iter().map(size).collect())
    }
}
