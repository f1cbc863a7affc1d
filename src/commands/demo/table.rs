//! A service's table: rows behind a lock, with the time a statement takes and a span around it.
//!
//! A write happens when its span says so: that is what makes the shop's faults real.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{SpanKind, TraceContextExt as _, Tracer as _};

use super::service::Service;
use super::spans;

/// A statement as the span shows it.
pub(super) struct Statement {
    /// Its verb.
    pub(super) operation: &'static str,
    /// Its text, values as parameters.
    pub(super) text: &'static str,
    /// How long the database takes.
    pub(super) takes: Duration,
}

/// SQLSTATE of a row that a unique index refuses.
const UNIQUE_VIOLATION: &str = "23505";

/// A unique index holds such a row already.
#[derive(Debug)]
pub(super) struct Taken;

/// The rows of one table.
pub(super) struct Table<Row> {
    name: &'static str,
    rows: Mutex<Vec<Row>>,
}

impl<Row> Table<Row> {
    /// A table that holds `rows`.
    pub(super) fn new(name: &'static str, rows: Vec<Row>) -> Self {
        Self { name, rows: Mutex::new(rows) }
    }

    /// Runs a statement for `service`: `change` is what it does to the rows.
    pub(super) async fn run<T>(
        &self,
        service: &Service,
        under: &Context,
        statement: &Statement,
        change: impl FnOnce(&mut Vec<Row>) -> T,
    ) -> T {
        let span = self.begin(service, under, statement);
        tokio::time::sleep(statement.takes).await;
        let result = self.look(change);
        span.span().end();
        result
    }

    /// Runs a SELECT for `service` and gives back the rows that it finds.
    pub(super) async fn select<T>(
        &self,
        service: &Service,
        under: &Context,
        statement: &Statement,
        find: impl FnOnce(&[Row]) -> Vec<T>,
    ) -> Vec<T> {
        let span = self.begin(service, under, statement);
        tokio::time::sleep(statement.takes).await;
        let found = self.look(|rows| find(rows));
        spans::rows_returned(&span, found.len());
        span.span().end();
        found
    }

    /// Runs an INSERT of `row`, which fails where a row is already `equal` in the columns of a unique index.
    pub(super) async fn insert_unique(
        &self,
        service: &Service,
        under: &Context,
        statement: &Statement,
        row: Row,
        equal: impl Fn(&Row, &Row) -> bool,
    ) -> Result<(), Taken> {
        let span = self.begin(service, under, statement);
        tokio::time::sleep(statement.takes).await;
        let result = self.look(|rows| {
            if rows.iter().any(|other| equal(other, &row)) {
                return Err(Taken);
            }
            rows.push(row);
            Ok(())
        });
        if result.is_err() {
            spans::statement_refused(&span, UNIQUE_VIOLATION);
        }
        span.span().end();
        result
    }

    fn begin(&self, service: &Service, under: &Context, statement: &Statement) -> Context {
        let span = service
            .tracer
            .span_builder(format!("{} {}", statement.operation, self.name))
            .with_kind(SpanKind::Client)
            .with_attributes(spans::of_statement(
                service.name,
                statement.operation,
                self.name,
                statement.text,
            ))
            .start_with_context(&service.tracer, under);
        under.with_span(span)
    }

    /// Looks at the rows from outside the shop, without a trace.
    pub(super) fn look<T>(&self, question: impl FnOnce(&mut Vec<Row>) -> T) -> T {
        question(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
