//! What is stored, as it reads: spans are packed, so a text is not to be looked for in their rows.

use debunk::config;
use debunk::model::TraceId;
use debunk::store::{Store, TraceDays};
use prost::Message as _;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use sqlx::types::Uuid;
use sqlx::types::time::Date;

/// Spans that hold this text anywhere.
pub(crate) async fn spans_with(options: &PgConnectOptions, text: &str) -> usize {
    let pool = PgPool::connect_with(options.clone()).await.unwrap();
    let query = "select trace_id, min(day), max(day) from spans group by trace_id";
    let traces: Vec<(Uuid, Date, Date)> = sqlx::query_as(query).fetch_all(&pool).await.unwrap();
    let days = |(id, first_day, last_day): (Uuid, Date, Date)| TraceDays {
        trace_id: TraceId(id.as_u128()),
        first_day,
        last_day,
    };
    let wanted: Vec<TraceDays> = traces.into_iter().map(days).collect();
    let store = Store::new(options, &config::Database::default());
    let loaded = store.load(&wanted, 10_000).await.unwrap();
    store.close().await;
    pool.close().await;
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    loaded.iter().flat_map(|trace| &trace.spans).filter(|one| holds(&one.span.encode_to_vec())).count()
}
