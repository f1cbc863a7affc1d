//! One commit of spans: what it holds, and the transaction that writes it.
//!
//! Spans go into their table by COPY, which cannot skip what is there already. Where something is, the same commit is
//! written by an insert that can, and so is what follows for a while: a sender that repeats one export repeats more.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, Postgres};
use time::Date;
use uuid::Uuid;

use super::error::sqlstate;
use super::spans::{Batch, Emitter, Fixed, SpanRow};
use super::{Store, StoreError, copy};
use crate::clock;

/// Tries of one commit that others were in the way of.
const MOST_TRIES: u32 = 5;
/// Resources and scopes remembered as stored; then the memory starts anew.
const MOST_KNOWN: usize = 65_536;
/// How long spans are inserted after some were there already: each COPY that fails is work for nothing.
const REPEATS_LAST: Duration = Duration::from_secs(1);

/// The key of `spans`.
type Key = (Uuid, i64, i32, Date);

/// All that one transaction writes.
pub(super) struct Commit<'a> {
    /// No two of one key.
    rows: Vec<SpanRow<'a>>,
    /// For each batch, where its rows end.
    ends: Vec<usize>,
    /// By id, so that two commits lock them in one order.
    resources: BTreeMap<i64, &'a Emitter<i64>>,
    scopes: BTreeMap<i32, &'a Emitter<i32>>,
}

/// Which rows of a commit were not there before.
pub(super) enum Fresh {
    All,
    Only(HashSet<Key>),
}

/// How rows reach their table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Fast, but fails where a row is there already.
    Copy,
    /// Skips what is there.
    Insert,
}

/// One writer's hand: the way to the database and what it knows of it.
pub(super) struct Hand {
    store: Store,
    known: Known,
    /// Rows are inserted until then.
    repeats_until: Option<Instant>,
    /// Has served a moment ago, so nobody need ask whether it lives.
    connection: Option<PoolConnection<Postgres>>,
}

/// Resources and scopes that are known to be stored, with the day that was.
#[derive(Default)]
struct Known {
    day: Option<Date>,
    resources: HashSet<i64>,
    scopes: HashSet<i32>,
}

impl<'a> Commit<'a> {
    /// The rows of all batches, each once.
    pub(super) fn of(batches: &'a [Batch]) -> Self {
        let most = batches.iter().map(Batch::len).sum();
        let mut commit = Self {
            rows: Vec::with_capacity(most),
            ends: Vec::with_capacity(batches.len()),
            resources: BTreeMap::new(),
            scopes: BTreeMap::new(),
        };
        let mut seen = HashSet::with_capacity(most);
        for batch in batches {
            commit.rows.extend(batch.rows().filter(|row| seen.insert(key(row.fixed))));
            commit.ends.push(commit.rows.len());
            commit.resources.extend(batch.resources.iter().map(|one| (one.id, one)));
            commit.scopes.extend(batch.scopes.iter().map(|one| (one.id, one)));
        }
        commit
    }

    /// For each batch, how many of its rows were new. A row that two of them hold is told to the first.
    pub(super) fn stored(&self, fresh: &Fresh) -> impl Iterator<Item = usize> {
        let mut first = 0;
        self.ends.iter().map(move |end| {
            let rows = &self.rows[std::mem::replace(&mut first, *end)..*end];
            match fresh {
                Fresh::All => rows.len(),
                Fresh::Only(keys) => rows.iter().filter(|row| keys.contains(&key(row.fixed))).count(),
            }
        })
    }

    async fn make_days(&self, store: &Store) -> Result<(), StoreError> {
        let days: BTreeSet<Date> = self.rows.iter().map(|row| row.fixed.day).collect();
        for day in days {
            store.ensure_day(day).await?;
        }
        Ok(())
    }

    /// One transaction. Locks are taken in one order everywhere: resources, scopes, spans, pending by trace id.
    async fn attempt(
        &self,
        connection: &mut PgConnection,
        known: &Known,
        way: Way,
    ) -> Result<Fresh, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let fresh = match self.write(&mut transaction, known, way).await {
            Ok(fresh) => fresh,
            Err(error) => {
                // The server has answered, so it will answer this too, and the connection serves on.
                if is_repeat(&error) {
                    transaction.rollback().await?;
                }
                return Err(error);
            }
        };
        transaction.commit().await?;
        Ok(fresh)
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        known: &Known,
        way: Way,
    ) -> Result<Fresh, sqlx::Error> {
        self.insert_emitters(connection, known).await?;
        let fresh = match way {
            Way::Copy => {
                copy::spans(connection, &self.rows).await?;
                Fresh::All
            }
            Way::Insert => Fresh::Only(self.insert_spans(connection).await?),
        };
        let new = self.rows.iter().map(|row| row.fixed);
        match &fresh {
            Fresh::All => touch(connection, new).await?,
            Fresh::Only(keys) => touch(connection, new.filter(|row| keys.contains(&key(row)))).await?,
        }
        Ok(fresh)
    }

    async fn insert_emitters(&self, connection: &mut PgConnection, known: &Known) -> Result<(), sqlx::Error> {
        let today = known.day;
        let fresh = self.resources.values().copied().filter(|one| !known.resources.contains(&one.id));
        let (ids, names, bodies) = columns_of(fresh);
        if !ids.is_empty() {
            sqlx::query!(
                r#"
                insert into resources (id, service, body, last_day)
                select w.id, w.service, w.body, $4::date
                from unnest($1::bigint[], $2::text[], $3::bytea[]) as w (id, service, body)
                on conflict (id) do update
                set last_day = excluded.last_day
                where resources.last_day < excluded.last_day
                "#,
                &ids,
                &names as &[&str],
                &bodies as &[&[u8]],
                today
            )
            .execute(&mut *connection)
            .await?;
        }
        let fresh = self.scopes.values().copied().filter(|one| !known.scopes.contains(&one.id));
        let (ids, names, bodies) = columns_of(fresh);
        if !ids.is_empty() {
            sqlx::query!(
                r#"
                insert into scopes (id, name, body, last_day)
                select w.id, w.name, w.body, $4::date
                from unnest($1::int[], $2::text[], $3::bytea[]) as w (id, name, body)
                on conflict (id) do update
                set last_day = excluded.last_day
                where scopes.last_day < excluded.last_day
                "#,
                &ids,
                &names as &[&str],
                &bodies as &[&[u8]],
                today
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    async fn insert_spans(&self, connection: &mut PgConnection) -> Result<HashSet<Key>, sqlx::Error> {
        let names: Vec<&str> = self.rows.iter().map(|row| row.name).collect();
        let rests: Vec<&[u8]> = self.rows.iter().map(|row| row.rest).collect();
        let inserted = sqlx::query!(
            r#"
            insert into spans (
                trace_id, span_id, parent_id, start_ns, duration_ns, resource_id, day, content, scope_id, kind,
                status, dictionary, name, rest
            )
            select
                w.trace_id, w.span_id, w.parent_id, w.start_ns, w.duration_ns, w.resource_id, w.day, w.content,
                w.scope_id, w.kind, w.status, w.dictionary, w.name, w.rest
            from unnest(
                $1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::date[],
                $8::int[], $9::int[], $10::smallint[], $11::smallint[], $12::smallint[], $13::text[], $14::bytea[]
            ) as w (
                trace_id, span_id, parent_id, start_ns, duration_ns, resource_id, day, content, scope_id, kind,
                status, dictionary, name, rest
            )
            on conflict do nothing
            returning trace_id, span_id, content, day
            "#,
            &self.column(|row| row.trace_id),
            &self.column(|row| row.span_id),
            &self.column(|row| row.parent_id) as &[Option<i64>],
            &self.column(|row| row.start_ns),
            &self.column(|row| row.duration_ns),
            &self.column(|row| row.resource_id),
            &self.column(|row| row.day),
            &self.column(|row| row.content),
            &self.column(|row| row.scope_id),
            &self.column(|row| row.kind),
            &self.column(|row| row.status),
            &self.column(|row| row.dictionary),
            &names as &[&str],
            &rests as &[&[u8]]
        )
        .fetch_all(connection)
        .await?;
        Ok(inserted.into_iter().map(|row| (row.trace_id, row.span_id, row.content, row.day)).collect())
    }

    fn column<T>(&self, of: impl Fn(&Fixed) -> T) -> Vec<T> {
        self.rows.iter().map(|row| of(row.fixed)).collect()
    }
}

fn key(row: &Fixed) -> Key {
    (row.trace_id, row.span_id, row.content, row.day)
}

/// Puts traces that have new spans on the list, and voids whatever look at them is under way. In the order of their
/// ids, so that two commits never wait for each other.
async fn touch<'a>(
    connection: &mut PgConnection,
    fresh: impl Iterator<Item = &'a Fixed>,
) -> Result<(), sqlx::Error> {
    let mut days: BTreeMap<Uuid, (Date, Date)> = BTreeMap::new();
    for row in fresh {
        let (first, last) = days.entry(row.trace_id).or_insert((row.day, row.day));
        *first = row.day.min(*first);
        *last = row.day.max(*last);
    }
    if days.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = days.keys().copied().collect();
    let (first, last): (Vec<Date>, Vec<Date>) = days.into_values().unzip();
    sqlx::query!(
        r#"
        insert into pending (trace_id, first_day, last_day)
        select w.trace_id, w.first_day, w.last_day
        from unnest($1::uuid[], $2::date[], $3::date[]) as w (trace_id, first_day, last_day)
        on conflict (trace_id) do update
        set claim = null,
            leased_until = '-infinity',
            not_before = '-infinity',
            attempts = 0,
            last_seen = now(),
            first_day = least(pending.first_day, excluded.first_day),
            last_day = greatest(pending.last_day, excluded.last_day)
        "#,
        &ids,
        &first,
        &last
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn columns_of<'a, Id: Copy + 'a>(
    emitters: impl Iterator<Item = &'a Emitter<Id>>,
) -> (Vec<Id>, Vec<&'a str>, Vec<&'a [u8]>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for one in emitters {
        columns.0.push(one.id);
        columns.1.push(one.name.as_str());
        columns.2.push(one.body.as_slice());
    }
    columns
}

/// A row was there already: somebody sends again what was stored.
fn is_repeat(error: &sqlx::Error) -> bool {
    sqlstate(error).as_deref() == Some("23505")
}

impl Hand {
    pub(super) fn new(store: Store) -> Self {
        Self { store, known: Known::default(), repeats_until: None, connection: None }
    }

    /// Writes until it is committed or there is no use in trying on, and says what was new.
    pub(super) async fn write(&mut self, commit: &Commit<'_>) -> Result<Fresh, StoreError> {
        self.known.start_day(clock::now().date());
        // A server that has stopped answering without hanging up would hold a writer for ever.
        let patience = self.store.limits().statement * 2;
        for tries in 1.. {
            let way = self.way();
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.store.pool().acquire().await?,
            };
            let attempt = commit.attempt(&mut connection, &self.known, way);
            let outcome = tokio::time::timeout(patience, attempt).await;
            let repeated = matches!(&outcome, Ok(Err(error)) if is_repeat(error));
            if repeated || matches!(outcome, Ok(Ok(_))) {
                self.connection = Some(connection);
            } else {
                // Cleaning up could wait for a server that is gone.
                connection.close_on_drop();
            }
            let error = match outcome {
                Ok(Ok(fresh)) => {
                    self.known.learn(commit);
                    return Ok(fresh);
                }
                Ok(Err(error)) => error,
                Err(_) => break,
            };
            if MOST_TRIES <= tries {
                return Err(error.into());
            }
            match sqlstate(&error).as_deref() {
                Some("23505") if way == Way::Copy => self.repeats_until = Some(Instant::now() + REPEATS_LAST),
                // Another replica wrote the same spans in another order, and one of us had to yield.
                Some("40P01" | "40001") => {
                    let pause = Duration::from_millis(u64::from(tries) * 5 + rand::random_range(0..10));
                    tokio::time::sleep(pause).await;
                }
                // No partition: nobody has made this day yet.
                Some("23514") => commit.make_days(&self.store).await?,
                _ => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable("the database does not answer".to_owned()))
    }

    /// Nothing is to be written for a while: others may have the connection.
    pub(super) fn rest(&mut self) {
        self.connection = None;
    }

    fn way(&self) -> Way {
        let repeats = self.repeats_until.is_some_and(|until| Instant::now() < until);
        if repeats || !self.store.is_local() { Way::Insert } else { Way::Copy }
    }
}

impl Known {
    /// Once a day every resource that is still in use is written again, with the day.
    fn start_day(&mut self, today: Date) {
        if self.day != Some(today) {
            *self = Self { day: Some(today), ..Self::default() };
        }
    }

    /// Only after the commit: before, the rows may still vanish.
    fn learn(&mut self, commit: &Commit<'_>) {
        if MOST_KNOWN <= self.resources.len() + commit.resources.len() {
            self.resources.clear();
        }
        if MOST_KNOWN <= self.scopes.len() + commit.scopes.len() {
            self.scopes.clear();
        }
        self.resources.extend(commit.resources.keys());
        self.scopes.extend(commit.scopes.keys());
    }
}
