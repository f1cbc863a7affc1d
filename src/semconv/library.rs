//! What the name of an instrumentation library tells: how it writes, not what it wrote.

/// Traits of a library, read once per scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Library {
    /// An object-relational mapper made the statement.
    pub(super) orm: bool,
    /// Writes a status code whenever an answer came.
    pub(super) always_records_code: bool,
    /// Every span of it is a phase of connecting.
    pub(super) only_connects: bool,
    /// It sends telemetry.
    pub(super) telemetry: bool,
}

const MAPPERS: &[&str] = &[
    "hibernate",
    "spring-data",
    "entityframework",
    "sqlalchemy",
    "django",
    "activerecord",
    "active_record",
    "gorm",
    "sequelize",
    "prisma",
    "typeorm",
    "doctrine",
    "eloquent",
    "diesel",
    "sea-orm",
    "sea_orm",
    "ecto",
];
/// HTTP clients that always record the code of an answer, by what their packages are called.
const CODE_RECORDERS: &[&str] = &[
    "opentelemetry.instrumentation.requests",
    "opentelemetry.instrumentation.urllib3",
    "opentelemetry.instrumentation.httpx",
    "opentelemetry.instrumentation.aiohttp_client",
    "@opentelemetry/instrumentation-http",
    "@opentelemetry/instrumentation-undici",
];
const CONNECTORS: &[&str] = &[
    "@opentelemetry/instrumentation-net",
    "@opentelemetry/instrumentation-dns",
    "otelhttptrace",
    "io.opentelemetry.netty",
    "experimental.system.net",
];

impl Library {
    /// The traits of the library with this scope name.
    pub(super) fn named(scope: &str) -> Self {
        let name = scope.to_ascii_lowercase();
        let contains = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        Self {
            orm: contains(MAPPERS),
            always_records_code: CODE_RECORDERS.contains(&name.as_str()),
            only_connects: contains(CONNECTORS),
            telemetry: name == "opentelemetry-otlp" || name.starts_with("opentelemetry.exporter"),
        }
    }
}

/// The span is a phase of connecting, by its name where its library does other things too.
pub(super) fn is_connection_phase(name: &str, library: Library, is_store: bool) -> bool {
    const PHASES: &[&str] = &[
        "http.getconn",
        "http.dns",
        "http.connect",
        "http.tls",
        "http.headers",
        "http.send",
        "http.receive",
        "dns.lookup",
        "tcp.connect",
        "tls.connect",
        "CONNECT",
        "RESOLVE",
        "SSL handshake",
        "HTTP connection_setup",
        "HTTP wait_for_connection",
    ];
    const PREFIXES: &[&str] = &["DNS lookup ", "socket connect ", "TLS client handshake "];
    // Pools and handshakes of databases: SQLAlchemy, pg, ioredis.
    const OF_STORES: &[&str] = &["connect", "pg.connect", "pg-pool.connect", "hello", "info", "client"];
    let of_store = is_store && OF_STORES.iter().any(|phase| phase.eq_ignore_ascii_case(name));
    library.only_connects
        || of_store
        || (!is_store && PHASES.contains(&name))
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A phase that makes a connection, rather than waiting for one or looking for its host. `http.getconn` of Go says it
/// itself.
pub(super) fn opens_connection(name: &str, library: Library, is_store: bool) -> bool {
    const OPENING: &[&str] = &[
        "http.connect",
        "http.tls",
        "tcp.connect",
        "tls.connect",
        "CONNECT",
        "SSL handshake",
        "HTTP connection_setup",
    ];
    const PREFIXES: &[&str] = &["socket connect ", "TLS client handshake "];
    // SQLAlchemy's `connect` takes one from a pool.
    let of_store = is_store && (name == "pg.connect" || (name == "connect" && !library.orm));
    of_store
        || (!is_store && OPENING.contains(&name))
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_known_by_scope() {
        assert!(Library::named("opentelemetry.instrumentation.sqlalchemy").orm);
        assert!(Library::named("@opentelemetry/instrumentation-undici").always_records_code);
        assert!(!Library::named("@opentelemetry/instrumentation-grpc").always_records_code);
        assert_eq!(Library::named(""), Library::default());
    }

    #[test]
    fn connecting_is_no_call() {
        let any = Library::default();
        assert!(is_connection_phase("pg-pool.connect", any, true));
        assert!(is_connection_phase("DNS lookup api.example.com", any, false));
        assert!(is_connection_phase("http.getconn", any, false));
        assert!(!is_connection_phase("connect", any, false));
        assert!(!is_connection_phase("SELECT shop", any, true));
        assert!(opens_connection("tls.connect", any, false));
        assert!(opens_connection("pg.connect", any, true) && !opens_connection("pg-pool.connect", any, true));
        let mapper = Library::named("opentelemetry.instrumentation.sqlalchemy");
        assert!(opens_connection("connect", any, true) && !opens_connection("connect", mapper, true));
        assert!(!opens_connection("dns.lookup", any, false));
    }
}
