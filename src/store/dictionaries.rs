//! What `spans.rest` is packed with.
//!
//! A dictionary is committed before the first row that names it, and never changes or goes: whoever reads a row finds
//! in the database what it was packed with, whichever version wrote it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sqlx::PgConnection;

use super::spans::Batch;
use super::{Store, StoreError};
use crate::decode::dictionary::Dictionary;

/// The one that ships: trained by `tools/dictionary.rs`.
const SHIPPED: (i16, &[u8]) = (1, include_bytes!("dictionaries/1.bin"));

/// The dictionaries of one database, as far as they are known.
#[derive(Default)]
pub(super) struct Dictionaries {
    /// Rows may be packed with it.
    committed: OnceLock<Arc<Dictionary>>,
    /// By id; there are as many as were ever trained.
    read: Mutex<HashMap<i16, Arc<Dictionary>>>,
}

impl Store {
    /// Makes the shipped dictionary known to all who read. Only then are rows packed with it.
    pub(super) async fn commit_dictionary(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let (id, body) = SHIPPED;
        sqlx::query!(
            r#"
            insert into dictionaries (id, body, trained_at)
            values ($1, $2, now())
            on conflict (id) do nothing
            "#,
            id,
            body
        )
        .execute(&mut *connection)
        .await?;
        let same =
            sqlx::query_scalar!(r#"select body = $2 as "same!" from dictionaries where id = $1"#, id, body);
        if same.fetch_one(connection).await? {
            let _again = self.dictionaries.committed.set(Arc::new(Dictionary::new(body.to_vec())));
        } else {
            tracing::warn!(
                dictionary = id,
                "the database has another dictionary of this number; spans are stored plain"
            );
        }
        Ok(())
    }

    /// Packs what can be packed; before the dictionary is committed, nothing.
    pub fn pack(&self, batch: Batch) -> Batch {
        match self.dictionaries.committed.get() {
            Some(dictionary) => batch.packed(SHIPPED.0, dictionary),
            None => batch,
        }
    }

    /// The dictionaries with these ids, as far as there are such.
    pub(super) async fn dictionaries(
        &self,
        ids: impl Iterator<Item = i16>,
    ) -> Result<HashMap<i16, Arc<Dictionary>>, StoreError> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        {
            let read = self.dictionaries.read.lock().unwrap_or_else(PoisonError::into_inner);
            for id in ids.filter(|id| *id != 0) {
                match read.get(&id) {
                    Some(dictionary) => _ = found.insert(id, Arc::clone(dictionary)),
                    None if missing.contains(&id) => {}
                    None => missing.push(id),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let rows = sqlx::query!("select id, body from dictionaries where id = any($1)", &missing);
        let rows = rows.fetch_all(self.pool()).await?;
        let mut read = self.dictionaries.read.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let dictionary = Arc::new(Dictionary::new(row.body));
            read.insert(row.id, Arc::clone(&dictionary));
            found.insert(row.id, dictionary);
        }
        Ok(found)
    }
}
