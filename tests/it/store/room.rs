//! Loading stops where there is no room, and never before the first trace.

use debunk::store::{Loaded, Room, TraceDays, encode};

use super::{Writing, days, export, span};
use crate::support::database::Database;

/// Four traces of five spans, with names of a hundred letters.
async fn stored() -> (Database, Vec<TraceDays>) {
    let database = Database::fresh().await;
    let writing = Writing::start(&database);
    let name = "x".repeat(100);
    let spans = (1..=4).flat_map(|trace| (1..=5).map(move |id| (trace, id)));
    let spans = spans.map(|(trace, id)| span(trace, id, &name)).collect();
    writing.writer.write(encode(export(spans), &days())).await.unwrap();
    let wanted = (1..=4_u8).map(|trace| TraceDays {
        trace_id: debunk::model::TraceId(u128::from_be_bytes([trace; 16])),
        first_day: days().first(),
        last_day: days().last(),
    });
    (database, wanted.collect())
}

/// How many spans of each trace came, and whether it was cut.
async fn load(database: &Database, wanted: &[TraceDays], room: Room) -> Vec<(usize, bool)> {
    let loaded = database.store.load_some(wanted, room).await.unwrap();
    let order: Vec<_> = loaded.iter().map(|one| one.trace_id).collect();
    assert_eq!(order, wanted.iter().map(|one| one.trace_id).take(loaded.len()).collect::<Vec<_>>());
    loaded.iter().map(|Loaded { spans, truncated, .. }| (spans.len(), *truncated)).collect()
}

#[tokio::test]
async fn traces_come_as_far_as_there_is_room() {
    let (database, wanted) = stored().await;
    let all = Room { of_trace: 100, spans: 1_000, bytes: 1 << 20 };
    assert_eq!(load(&database, &wanted, all).await, [(5, false); 4]);
    assert_eq!(load(&database, &wanted, Room { spans: 6, ..all }).await, [(5, false); 2]);
    assert_eq!(load(&database, &wanted, Room { of_trace: 3, ..all }).await, [(3, true); 4]);
    // Each span takes a few hundred bytes: one trace and a part of the next, which comes whole later.
    assert_eq!(load(&database, &wanted, Room { bytes: 2_000, ..all }).await, [(5, false)]);
    assert_eq!(load(&database, &wanted, Room { bytes: 1, ..all }).await, [(1, true)]);
}

#[tokio::test]
async fn a_trace_without_spans_comes_back_empty_in_its_place() {
    let (database, mut wanted) = stored().await;
    let gone = TraceDays { trace_id: debunk::model::TraceId(7), ..wanted[0] };
    wanted.insert(1, gone);
    wanted.push(TraceDays { trace_id: debunk::model::TraceId(8), ..gone });
    let all = Room { of_trace: 100, spans: 1_000, bytes: 1 << 20 };
    let found = load(&database, &wanted, all).await;
    assert_eq!(found.iter().map(|(spans, _)| *spans).collect::<Vec<_>>(), [5, 0, 5, 5, 5, 0]);
    let some = load(&database, &wanted, Room { spans: 5, ..all }).await;
    assert_eq!(some, [(5, false), (0, false)]);
}
