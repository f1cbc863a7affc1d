//! The store on a real PostgreSQL.

use debunk::config;
use debunk::store::{self, Store};

use crate::support::database::Database;

#[tokio::test]
async fn a_fresh_database_is_migrated_and_answers() {
    let database = Database::fresh().await;
    assert!(database.store.is_prepared());
    database.store.ping().await.unwrap();
    let views: i64 = sqlx::query_scalar(
        "select count(*) from information_schema.views where table_schema = 'debunk_views'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(views, 2);
}

#[tokio::test]
async fn the_url_of_a_database_reaches_it() {
    let database = Database::fresh().await;
    let settings =
        config::Database { url: config::Secret::new(database.url()), ..config::Database::default() };
    let options = store::address(&settings).unwrap().unwrap();
    assert_eq!(options.get_database(), database.options.get_database());
    Store::new(&options, &settings).ping().await.unwrap();
}

#[tokio::test]
async fn without_a_url_there_is_no_address() {
    assert!(store::address(&config::Database::default()).unwrap().is_none());
    let wrong =
        config::Database { url: config::Secret::new("hunter2".into()), ..config::Database::default() };
    let error = store::address(&wrong).unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}
