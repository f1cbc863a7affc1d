//! Databases and caches: `db.*`, and what Brave and OpenTracing wrote instead.

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::field::Field;
use super::sql::{self, Dialect};
use super::{command, document, template};
use crate::model::{DbFacts, EffectClass};

/// Longest argument kept, and most of them.
const LONGEST_ARGUMENT: usize = 256;
const MOST_ARGUMENTS: usize = 64;

/// What the attributes of one span say of a database.
#[derive(Default)]
pub(super) struct Names<'a> {
    system: Field<'a>,
    namespace: Field<'a>,
    text: Field<'a>,
    summary: Field<'a>,
    operation: Field<'a>,
    collection: Field<'a>,
    batch: Field<'a>,
    rows: Field<'a>,
    code: Field<'a>,
    procedure: Field<'a>,
    /// Cassandra's own word on whether the statement may run twice.
    pub(super) idempotent: Field<'a>,
    /// Executions that the driver started besides the first.
    pub(super) speculative: Field<'a>,
    parameters: Vec<(&'a str, &'a Value)>,
}

/// A database as its facts, and what only the reading of its text tells.
pub(super) struct Reading {
    pub(super) facts: DbFacts,
    pub(super) class: EffectClass,
    /// The text itself was there, so the class is more than a guess from one word.
    pub(super) has_text: bool,
    /// The arguments of the statement can be compared with those of another.
    pub(super) arguments_visible: bool,
}

/// How the text of a system is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Sql(Dialect),
    /// A command and its arguments (Redis, Memcached).
    Command,
    /// JSON, or a verb and a collection.
    Document,
}

/// The language that a system speaks; systems that nobody knows are taken for SQL if they send a text.
pub(super) fn language(system: &str) -> Language {
    match system {
        "redis" | "valkey" | "memcached" => Language::Command,
        "mongodb" | "aws.dynamodb" | "elasticsearch" | "opensearch" | "couchdb" | "azure.cosmosdb"
        | "hbase" => Language::Document,
        "mysql" | "mariadb" => Language::Sql(Dialect::MySql),
        "cassandra" | "scylladb" => Language::Sql(Dialect::Cassandra),
        _ => Language::Sql(Dialect::Standard),
    }
}

impl<'a> Names<'a> {
    /// Takes an attribute of the namespaces `db`, `sql`, `cassandra`.
    pub(super) fn take(&mut self, key: &'a str, value: &'a Value) {
        match key {
            "db.system.name" => self.system.current(value),
            "db.system" => self.system.former(value),
            "db.type" => self.system.ranked(2, value),
            "db.namespace" => self.namespace.current(value),
            "db.name" => self.namespace.former(value),
            "db.redis.database_index" => self.namespace.ranked(2, value),
            "db.cassandra.keyspace" | "db.hbase.namespace" => self.namespace.ranked(3, value),
            "db.elasticsearch.cluster.name" | "db.instance" => self.namespace.ranked(4, value),
            "db.query.text" => self.text.current(value),
            "db.statement" => self.text.former(value),
            "sql.query" | "cassandra.query" => self.text.ranked(2, value),
            "db.query.summary" => self.summary.current(value),
            "db.operation.name" => self.operation.current(value),
            "db.operation" => self.operation.former(value),
            "db.collection.name" => self.collection.current(value),
            "db.sql.table" | "db.mongodb.collection" => self.collection.former(value),
            "db.cassandra.table" | "db.cosmosdb.container" => self.collection.ranked(2, value),
            "db.operation.batch.size" => self.batch.current(value),
            "db.redis.pipeline_length" => self.batch.former(value),
            "db.response.returned_rows" => self.rows.current(value),
            "db.response.status_code" => self.code.current(value),
            "db.cosmosdb.status_code" => self.code.former(value),
            "db.stored_procedure.name" => self.procedure.current(value),
            "cassandra.query.idempotent" => self.idempotent.current(value),
            "db.cassandra.idempotence" => self.idempotent.former(value),
            "cassandra.speculative_execution.count" => self.speculative.current(value),
            "db.cassandra.speculative_execution_count" => self.speculative.former(value),
            _ if key.starts_with("db.query.parameter.") && self.parameters.len() < MOST_ARGUMENTS => {
                self.parameters.push((key, value));
            }
            _ => {}
        }
    }

    /// A system, or a text alone, makes a database.
    pub(super) fn is_present(&self) -> bool {
        self.system.is_some() || self.text.is_some()
    }

    /// The system keeps what others can give again.
    pub(super) fn is_cache(&self) -> bool {
        self.system.text().is_some_and(|system| matches!(&*system, "redis" | "valkey" | "memcached"))
    }

    /// The facts. `name` is the span's.
    pub(super) fn read(&self, name: &str) -> Reading {
        let system = self.system.text().map(|system| current_system(&system).to_owned());
        let language = language(system.as_deref().unwrap_or_default());
        let text = self.text.text();
        let mut reading = match (&text, language) {
            (Some(text), Language::Sql(dialect)) => of_sql(sql::read(text, dialect)),
            (Some(text), Language::Command) => command::read(text),
            (Some(text), Language::Document) => document::read(text),
            (None, _) => Reading {
                facts: DbFacts { batch: 1, ..DbFacts::default() },
                class: EffectClass::Unknown,
                has_text: false,
                arguments_visible: false,
            },
        };
        let facts = &mut reading.facts;
        facts.system = system;
        facts.namespace = self.namespace.string();
        facts.collection =
            self.collection.string().or(facts.collection.take()).or_else(|| self.procedure.string());
        facts.operation = facts.operation.take().or_else(|| self.operation_word(name, language));
        if facts.shape.is_none() {
            facts.shape = self.summary.string();
        }
        facts.batch =
            facts.batch.max(self.batch.count().map_or(1, |size| u32::try_from(size).unwrap_or(u32::MAX)));
        facts.rows = self.rows.count();
        facts.code = self.code.string();
        self.add_parameters(&mut reading);
        if !reading.has_text {
            let word = reading.facts.operation.as_deref().unwrap_or_default();
            reading.class = class_of_word(word, language);
        }
        if self.idempotent.is_some() && reading.class != EffectClass::Safe {
            let is_idempotent = self.idempotent.is_true();
            reading.class = if is_idempotent { EffectClass::Idempotent } else { EffectClass::NonIdempotent };
            reading.has_text = true;
        }
        reading
    }

    /// First word of the operation, of the summary, or of a span named after its statement.
    fn operation_word(&self, name: &str, language: Language) -> Option<String> {
        let said = self.operation.text().or_else(|| self.summary.text());
        if let Some(word) = said.as_deref().and_then(first_word) {
            return Some(word);
        }
        let named = first_word(name.strip_prefix("pg.query:").unwrap_or(name))?;
        let known = name.starts_with("pg.query:") || class_of_word(&named, language) != EffectClass::Unknown;
        known.then_some(named)
    }

    fn add_parameters(&self, reading: &mut Reading) {
        if self.parameters.is_empty() {
            return;
        }
        let mut parameters: Vec<_> = self
            .parameters
            .iter()
            .filter_map(|(key, value)| Some((*key, super::field::text(value)?)))
            .map(|(key, value)| (key, template::cut_to(&value, LONGEST_ARGUMENT).to_owned()))
            .collect();
        parameters.sort();
        reading.facts.arguments.extend(parameters.into_iter().map(|(_, value)| value));
        reading.arguments_visible = true;
    }
}

fn of_sql(statement: sql::Statement) -> Reading {
    let arguments =
        statement.arguments.iter().map(|text| template::cut_to(text, LONGEST_ARGUMENT).to_owned());
    Reading {
        facts: DbFacts {
            operation: statement.verb.filter(|verb| !verb.is_empty()),
            collection: statement.table,
            arguments: arguments.collect(),
            shape: Some(statement.shape).filter(|shape| !shape.is_empty()),
            truncated: statement.truncated,
            batch: statement.batch,
            ..DbFacts::default()
        },
        class: statement.class,
        has_text: true,
        arguments_visible: !statement.has_placeholders && !statement.truncated,
    }
}

fn class_of_word(word: &str, language: Language) -> EffectClass {
    match language {
        Language::Sql(dialect) => sql::class_of_verb(word, dialect),
        Language::Command => command::class(word),
        Language::Document => document::class(word, ""),
    }
}

fn first_word(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?.trim_end_matches(';');
    (!word.is_empty()).then(|| word.to_ascii_uppercase())
}

/// Names of systems as they are written today.
fn current_system(sent: &str) -> &str {
    match sent {
        "adabas" => "softwareag.adabas",
        "cosmosdb" => "azure.cosmosdb",
        "db2" => "ibm.db2",
        "dynamodb" => "aws.dynamodb",
        "firebird" => "firebirdsql",
        "h2" => "h2database",
        "hanadb" => "sap.hana",
        "informix" => "ibm.informix",
        "ingres" => "actian.ingres",
        "intersystems_cache" => "intersystems.cache",
        "maxdb" => "sap.maxdb",
        "mssql" => "microsoft.sql_server",
        "netezza" => "ibm.netezza",
        "oracle" => "oracle.db",
        "redshift" => "aws.redshift",
        "spanner" => "gcp.spanner",
        "postgres" => "postgresql",
        "sql" => "other_sql",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn former_names_of_systems_become_current_ones() {
        assert_eq!(current_system("mssql"), "microsoft.sql_server");
        assert_eq!(current_system("postgresql"), "postgresql");
        assert_eq!(language(current_system("dynamodb")), Language::Document);
    }
}
