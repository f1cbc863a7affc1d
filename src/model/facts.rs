//! What a span's attributes mean, whatever their names were. Written by `semconv`, read by rules.
//!
//! A rule that needs a new fact first gives it a name here.

use std::net::IpAddr;

/// What kind of interaction a span describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// In-process work.
    #[default]
    Internal,
    /// Name resolution, connecting, TLS, waiting for a pool: evidence, never a call.
    ConnectionPhase,
    /// A database other than a cache.
    Db,
    /// Redis, Valkey, Memcached.
    Cache,
    /// A broker.
    Messaging,
    /// gRPC and kin.
    Rpc,
    /// A cloud provider's API.
    Cloud,
    /// HTTP without any of the above.
    Http,
    /// A language model or agent step.
    GenAi,
    /// A CLIENT span that says no more: still a remote call.
    Remote,
}

/// What the caller knows of an interaction from its own span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Answered, and well.
    Ok,
    /// Answered with an error, or failed before or while asking.
    Error,
    /// Gave up waiting.
    Timeout,
    /// Somebody told it to stop.
    Cancelled,
    /// Gave up; whether by timeout or by cancellation cannot be told.
    Abandoned,
    /// The span does not say.
    #[default]
    Unknown,
}

/// Whether the asked-for effect happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It did not: never sent, or refused.
    None,
    /// It did.
    Applied,
    /// Nobody knows.
    #[default]
    Unknown,
}

/// What repeating the operation would do (RFC 9110 §9.2 in its terms).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EffectClass {
    /// Only reads.
    Safe,
    /// Twice is as once.
    Idempotent,
    /// Twice is not as once.
    NonIdempotent,
    /// The span does not say.
    #[default]
    Unknown,
}

/// Why a class of effect was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// Nothing to go by.
    #[default]
    None,
    /// The protocol says so: HTTP method, SQL verb, command.
    Protocol,
    /// A word in the operation's name says so.
    Name,
    /// The spans below show it.
    Observed,
    /// A setting says so.
    Configured,
}

/// Outcome and effect as one span alone tells them, and which row of the outcome table decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What the caller knows.
    pub outcome: Outcome,
    /// What happened to the asked-for effect.
    pub effect: Effect,
    /// Row 1–10 of the outcome table in `semconv/outcome.rs`; 0 before it was asked.
    pub row: u8,
    /// Never left this host: refused, unresolved, breaker open (row 5, and connect-phase timeouts of row 1).
    pub never_sent: bool,
    /// The span carries a code that the callee gave (HTTP status, RPC code other than the client's own).
    pub answered: bool,
}

/// Which attribute supplied the requested host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostSource {
    /// No host known.
    #[default]
    None,
    /// `url.full`, `http.url`.
    Url,
    /// `server.address`, `http.host`.
    ServerAddress,
    /// `net.peer.name` and older.
    PeerName,
}

/// Where a host is, as its name or address tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostClass {
    /// No host known.
    #[default]
    Unknown,
    /// 127.0.0.0/8, `::1`, `localhost`.
    Loopback,
    /// 169.254.0.0/16, `fe80::/10`, metadata services.
    LinkLocal,
    /// The local sidecar of a mesh.
    MeshLocal,
    /// RFC 1918, ULA, 100.64.0.0/10, single labels, cluster and internal suffixes.
    Private,
    /// Everything else.
    Public,
}

/// HTTP of a span. Values are normalised; absent is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpFacts {
    /// Upper-case method.
    pub method: Option<String>,
    /// Response status.
    pub status: Option<u16>,
    /// `http.route` or `url.template`, parameters as `{}`.
    pub route: Option<String>,
    /// Path as sent, without query.
    pub path: Option<String>,
    /// Decoded query arguments, sorted by key then value; secrets are marks.
    pub query: Vec<(String, String)>,
    /// The SDK replaced the query's values (`*`, `REDACTED`): equality of arguments cannot be told.
    pub query_redacted: bool,
    /// `http` or `https`, from the client's own URL or scheme attribute.
    pub scheme: Option<String>,
    /// `Retry-After` was captured on the response.
    pub retry_after: bool,
    /// Captured headers of the request that make answers differ (form, language, tenant), (lower-case name, value),
    /// sorted.
    pub preferences: Vec<(String, String)>,
}

/// RPC of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpcFacts {
    /// `grpc`, `dubbo`, `connectrpc`, …
    pub system: Option<String>,
    /// `package.Service/Method`.
    pub method: Option<String>,
    /// Canonical upper-case name, e.g. `DEADLINE_EXCEEDED`; vendor codes as sent.
    pub code: Option<String>,
    /// `transparent-retry=true`: the attempt never reached the application.
    pub transparent_retry: bool,
}

/// Database of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DbFacts {
    /// Current name, e.g. `postgresql`.
    pub system: Option<String>,
    /// `db.namespace`.
    pub namespace: Option<String>,
    /// First word of the statement, upper-case: `SELECT`, `GET`.
    pub operation: Option<String>,
    /// Main table or collection.
    pub collection: Option<String>,
    /// Statement with its values replaced by `?`; the summary where only that is known.
    pub shape: Option<String>,
    /// The text was cut, so its shape must not be grouped.
    pub truncated: bool,
    /// Literal values of the statement and `db.query.parameter.*`, in order; empty where the SDK hid them.
    pub arguments: Vec<String>,
    /// Commands in one request: batch size, pipeline length, statements in one text; 1 otherwise.
    pub batch: u32,
    /// `db.response.returned_rows`.
    pub rows: Option<u64>,
    /// SQLSTATE or vendor code.
    pub code: Option<String>,
}

/// What is done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessagingOperation {
    /// Published.
    Send,
    /// Pulled.
    Receive,
    /// Handled.
    Process,
    /// Acknowledged or rejected.
    Settle,
}

/// Messaging of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessagingFacts {
    /// `kafka`, `rabbitmq`, …
    pub system: Option<String>,
    /// What is done.
    pub operation: Option<MessagingOperation>,
    /// Destination, with the routing key after a space where known.
    pub destination: Option<String>,
    /// A destination that hides where the message goes (RabbitMQ's exchange without routing key).
    pub destination_opaque: bool,
    /// `messaging.message.id`.
    pub message_id: Option<String>,
    /// Consumer group or subscription.
    pub group: Option<String>,
    /// Partition and offset, where the system has them.
    pub offset: Option<(String, String)>,
}

/// What a span shows of protection against repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdempotencyFacts {
    /// (lower-case name, value) of each idempotency key seen in headers, metadata, query or attributes. Secrets are marks.
    pub keys: Vec<(String, String)>,
    /// The value of a key was replaced by the SDK: present, but not comparable.
    pub redacted: bool,
    /// `If-Match`, `If-None-Match: *`, `If-Unmodified-Since`.
    pub conditional: bool,
    /// Some request header of this span was captured, so an absent key is an observed absence.
    pub headers_captured: bool,
}

/// TLS of the connection that a span speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// What was agreed, by its usual name: `TLS 1.3`.
    pub protocol: Option<String>,
    /// Nobody should speak it any more.
    pub obsolete: bool,
    /// The client's store did not verify the certificate, and the client went on.
    pub unverified: bool,
    /// End of the server's certificate, nanoseconds since 1970.
    pub not_after_ns: Option<i64>,
}

/// A secret that a span held and that was replaced before anything else read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// The attribute.
    pub key: String,
    /// `password`, `jwt`, `authorization`, …
    pub kind: String,
    /// Eight hexadecimal digits that tell values apart.
    pub hash: String,
}

impl Leak {
    /// The attribute is a captured header.
    pub fn is_in_header(&self) -> bool {
        self.key.contains(".header.") || self.key.contains(".metadata.")
    }

    /// It came with a request, rather than with an answer.
    pub fn is_sent(&self) -> bool {
        !self.key.contains("response") && self.kind != "signature"
    }
}

/// Everything rules may know of a span beyond its identity and time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What kind of interaction.
    pub role: Role,
    /// What is asked, without its data: `GET /users/{}`, `shop.v1.Stock/Get`, `SELECT orders`, `publish orders`, or the span's name.
    pub operation: String,
    /// `operation` plus what else tells two code locations apart (a statement's shape): bucket key and fingerprint part.
    pub template: String,
    /// HTTP.
    pub http: HttpFacts,
    /// RPC.
    pub rpc: RpcFacts,
    /// Database.
    pub db: DbFacts,
    /// Messaging.
    pub messaging: MessagingFacts,
    /// Requested host, lower-case, without port.
    pub host: Option<String>,
    /// Where the host came from.
    pub host_source: HostSource,
    /// Requested port.
    pub port: Option<u16>,
    /// Class of the requested host.
    pub host_class: HostClass,
    /// The host is storage, a queue or a database that a cloud provider lets.
    pub rented: bool,
    /// Socket address of the peer.
    pub peer_ip: Option<IpAddr>,
    /// Peer service by name, where the client said it.
    pub peer_service: Option<String>,
    /// TLS of the connection; absent on nearly all spans.
    pub tls: Option<Box<TlsFacts>>,
    /// Body sent, in bytes.
    pub request_bytes: Option<u64>,
    /// Body received, in bytes.
    pub response_bytes: Option<u64>,
    /// Response content type.
    pub content_type: Option<String>,
    /// Ordinal of the attempt, 0 = first, where the SDK counts.
    pub ordinal: Option<u32>,
    /// Retries inside this one span that the SDK counted.
    pub hidden_retries: u32,
    /// Executions that the driver started beside the first without waiting for it; counted in `hidden_retries` too.
    pub speculative: u32,
    /// Lower-case words and sentences about what went wrong, uninformative ones dropped.
    pub errors: Vec<String>,
    /// Outcome and effect as this span alone tells.
    pub verdict: Verdict,
    /// Class of effect as this span alone tells.
    pub class: EffectClass,
    /// Why that class.
    pub basis: Basis,
    /// Protection against repetition.
    pub idempotency: IdempotencyFacts,
    /// Open-ended exchange: server-sent events, WebSocket, gRPC streams, `Watch`.
    pub streaming: bool,
    /// A connection was made: TCP, TLS, or a database's handshake.
    pub connects: bool,
    /// A mesh or edge proxy made this span.
    pub proxy: bool,
    /// The object-relational mapper that made the statement.
    pub orm: bool,
    /// The library always writes a status code when an answer came, so a span without one was abandoned.
    pub always_records_code: bool,
    /// Health checks, telemetry exports and the like: not traffic to judge.
    pub self_defence: bool,
    /// The client calls itself a synthetic test, not a user.
    pub synthetic_test: bool,
    /// The arguments of the request stand in the span: a whole URL or target, or a statement without placeholders.
    /// Where they do not, `custom` may still hold some.
    pub arguments_visible: bool,
    /// Attributes that no convention names and that look like identifiers, (key, value), sorted by key: possible
    /// arguments.
    pub custom: Vec<(String, String)>,
    /// Secrets that it held, sorted: at most 16.
    pub leaks: Vec<Leak>,
    /// Decoded data of the request that looks like identifiers (path segments, query values): at most 16.
    pub tokens: Vec<String>,
}

impl Verdict {
    /// Neither ok nor unknown.
    pub fn failed(self) -> bool {
        !matches!(self.outcome, Outcome::Ok | Outcome::Unknown)
    }

    /// Stopped waiting: timeout, cancelled or abandoned.
    pub fn gave_up(self) -> bool {
        matches!(self.outcome, Outcome::Timeout | Outcome::Cancelled | Outcome::Abandoned)
    }
}

impl Role {
    /// The one spelling used in SQL, API and reports.
    pub fn id(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::ConnectionPhase => "connection_phase",
            Self::Db => "db",
            Self::Cache => "cache",
            Self::Messaging => "messaging",
            Self::Rpc => "rpc",
            Self::Cloud => "cloud",
            Self::Http => "http",
            Self::GenAi => "gen_ai",
            Self::Remote => "remote",
        }
    }
}

impl Outcome {
    /// The one spelling used in SQL, API and reports.
    pub fn id(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
            Self::Unknown => "unknown",
        }
    }
}

impl Effect {
    /// The one spelling used in SQL, API and reports.
    pub fn id(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Applied => "applied",
            Self::Unknown => "unknown",
        }
    }
}

impl EffectClass {
    /// The one spelling used in SQL, API and reports.
    pub fn id(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Idempotent => "idempotent",
            Self::NonIdempotent => "non_idempotent",
            Self::Unknown => "unknown",
        }
    }
}
