//! What a request asks for beyond its operation's name: nothing, the next of a list, or what only its body tells.
//!
//! All of it keeps loops apart that only look like one request per item.

use super::{Facts, Role, words};

impl Facts {
    /// Opening, closing and checking of connections and transactions: requests that ask for nothing.
    pub fn is_housekeeping(&self) -> bool {
        const CACHE: &[&str] = &["PING", "HELLO", "AUTH", "CLIENT", "INFO", "COMMAND", "READONLY"];
        const DB: &[&str] = &[
            "BEGIN",
            "START",
            "COMMIT",
            "END",
            "ROLLBACK",
            "SAVEPOINT",
            "RELEASE",
            "SET",
            "RESET",
            "SHOW",
            "USE",
            "PING",
            "HELLO",
            "ISMASTER",
            "ENDSESSIONS",
            "COMMITTRANSACTION",
            "ABORTTRANSACTION",
            "DISCARD",
            "DEALLOCATE",
        ];
        let word = self.db.operation.as_deref().unwrap_or_default();
        match self.role {
            Role::Db => {
                DB.contains(&word)
                    || self.db.shape.as_deref().is_some_and(is_probe)
                    || self.db.collection.as_deref().is_some_and(is_catalogue)
            }
            Role::Cache => CACHE.contains(&word),
            _ => false,
        }
    }

    /// A database of which one request is one transaction, as its clients use it: what it failed at is not rolled back
    /// with something else.
    pub fn is_own_transaction(&self) -> bool {
        const SYSTEMS: &[&str] = &["cassandra", "mongodb", "aws.dynamodb", "elasticsearch", "opensearch"];
        self.role == Role::Db && self.db.system.as_deref().is_some_and(|system| SYSTEMS.contains(&system))
    }

    /// It goes on where the one before stopped: the next rows of a cursor, the next job of a queue, the next part of
    /// a transfer. One request for all of them is what it avoids.
    pub fn takes_the_next(&self) -> bool {
        const CACHE: &[&str] = &[
            "SCAN",
            "HSCAN",
            "SSCAN",
            "ZSCAN",
            "LPOP",
            "RPOP",
            "LMPOP",
            "LMOVE",
            "BLPOP",
            "BRPOP",
            "BLMOVE",
            "BLMPOP",
            "RPOPLPUSH",
            "BRPOPLPUSH",
            "ZPOPMIN",
            "ZPOPMAX",
            "BZPOPMIN",
            "BZPOPMAX",
            "XREAD",
            "XREADGROUP",
            "XAUTOCLAIM",
        ];
        const CLOUD: &[&str] = &["List", "Scan", "Receive", "Poll", "GetRecords", "UploadPart", "PutBlock"];
        let word = self.db.operation.as_deref().unwrap_or_default();
        match self.role {
            Role::Db => {
                let word = word.rsplit('/').next().unwrap_or(word);
                ["FETCH", "GETMORE", "SCROLL", "SCAN"].contains(&word)
                    || self.db.shape.as_deref().is_some_and(is_next_rows)
                    || self.http.path.as_deref().is_some_and(is_scroll)
            }
            Role::Cache => CACHE.contains(&word),
            Role::Cloud => {
                let method = self.operation.rsplit('/').next().unwrap_or_default();
                CLOUD.iter().any(|verb| method.starts_with(verb))
            }
            Role::Http => self.http.path.as_deref().is_some_and(is_scroll),
            _ => false,
        }
    }

    /// What is asked stands in the body, which no span shows: equal paths are not equal requests.
    pub fn hides_operation(&self) -> bool {
        const ENDPOINTS: &[&str] = &["graphql", "gql", "jsonrpc", "json-rpc", "rpc", "xmlrpc", "soap"];
        match self.role {
            Role::Db => {
                let told = self.db.collection.is_some() || self.http.path.is_some();
                self.db.shape.is_none() && !told && words(&self.operation).all(|word| self.says_nothing(word))
            }
            Role::Http if self.http.method.as_deref() == Some("POST") => {
                let path = self.http.path.as_deref().or(self.http.route.as_deref()).unwrap_or_default();
                let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                last.is_empty() || ENDPOINTS.iter().any(|known| last.eq_ignore_ascii_case(known))
            }
            _ => false,
        }
    }

    /// It is meant to take long: whoever asks waits for news, or for very much.
    pub fn is_patient(&self) -> bool {
        const PATIENT: &[&str] = &[
            "wait",
            "poll",
            "longpoll",
            "watch",
            "subscribe",
            "listen",
            "stream",
            "upload",
            "download",
            "export",
            "import",
            "backup",
        ];
        words(&self.operation).any(|word| PATIENT.contains(&word.to_ascii_lowercase().as_str()))
            || self.http.query.iter().any(|(name, _)| matches!(name.as_str(), "timeout" | "wait"))
    }

    /// A word of a statement's name that any statement of the system could bear.
    fn says_nothing(&self, word: &str) -> bool {
        const ANY: &[&str] = &[
            "select",
            "insert",
            "update",
            "delete",
            "query",
            "execute",
            "exec",
            "statement",
            "prepare",
            "run",
            "command",
            "request",
            "call",
            "batch",
            "client",
            "db",
            "database",
            "sql",
            "pg",
            "mysql",
            "mysql2",
            "postgres",
            "mssql",
            "oracle",
            "sqlite",
            "jdbc",
        ];
        let is =
            |other: &Option<String>| other.as_ref().is_some_and(|other| other.eq_ignore_ascii_case(word));
        ANY.iter().any(|known| word.eq_ignore_ascii_case(known))
            || is(&self.db.system)
            || is(&self.db.namespace)
    }
}

/// Asks for the connection or the session, not for data: is it alive, what was its last id?
fn is_probe(shape: &str) -> bool {
    const OWN: &[&str] = &[
        "version",
        "database",
        "current_schema",
        "current_database",
        "current_setting",
        "set_config",
        "pg_backend_pid",
        "pg_is_in_recovery",
        "pg_advisory_lock",
        "pg_advisory_xact_lock",
        "pg_try_advisory_lock",
        "pg_advisory_unlock",
        "connection_id",
        "last_insert_id",
        "scope_identity",
        "lastval",
        "now",
    ];
    let mut words = shape.trim_end_matches(';').split_whitespace();
    if !words.next().is_some_and(|first| first.eq_ignore_ascii_case("select")) {
        return false;
    }
    let (what, from, table) = (words.next().unwrap_or_default(), words.next(), words.next());
    if table.is_some_and(|table| !table.eq_ignore_ascii_case("dual")) && what != "@@" {
        return false;
    }
    let name = what.split('(').next().unwrap_or_default().rsplit('.').next().unwrap_or_default();
    let asks_session = what.starts_with("@@")
        || (what.contains('(') && OWN.iter().any(|own| name.eq_ignore_ascii_case(own)));
    let has_source = from.is_some_and(|from| from.eq_ignore_ascii_case("from"));
    asks_session || (matches!(what, "1" | "?") && (from.is_none() || has_source && table.is_some()))
}

/// Tables about tables: mappers read them when they begin.
fn is_catalogue(table: &str) -> bool {
    let table = table.to_ascii_lowercase();
    ["pg_", "information_schema.", "sqlite_master"].iter().any(|known| table.starts_with(known))
}

/// `OFFSET`, a queue's `SKIP LOCKED`, or the rows behind the last one read; but not the newest few of one parent.
fn is_next_rows(shape: &str) -> bool {
    let plain: String = shape.chars().filter(|c| !matches!(c, '"' | '`' | '[' | ']')).collect();
    let plain = plain.to_ascii_lowercase();
    let starts_behind = ["limit ?, ?", "limit ?,?"].iter().any(|limit| plain.contains(limit));
    let words = || plain.split(|c: char| c.is_whitespace() || c == '(' || c == ')');
    let has = |word: &str| words().any(|other| other == word);
    let reads =
        words().find(|word| !word.is_empty()).is_some_and(|first| first == "select" || first == "with");
    let behind = ["> ?", ">?", "< ?", "<?"].iter().any(|after| plain.contains(after));
    let of_one = ["id = ?", "id=?"].iter().any(|one| plain.contains(one));
    let limited = has("limit") || has("top") || has("fetch");
    reads
        && (has("offset")
            || starts_behind
            || (has("skip") && has("locked"))
            || (behind && limited && has("order") && !of_one))
}

fn is_scroll(path: &str) -> bool {
    path.split('/').any(|segment| segment == "scroll" || segment == "_scroll")
}

/// Parameters that move through a list or a transfer.
pub(super) fn is_cursor(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "page",
        "pageno",
        "pagenum",
        "pagenumber",
        "pageindex",
        "pagecursor",
        "pageafter",
        "pagetoken",
        "currentpage",
        "p",
        "offset",
        "pageoffset",
        "cursor",
        "startcursor",
        "endcursor",
        "nextcursor",
        "next",
        "nexttoken",
        "nextpagetoken",
        "after",
        "before",
        "startingafter",
        "endingbefore",
        "start",
        "startat",
        "startindex",
        "startafter",
        "skip",
        "skiptoken",
        "marker",
        "bookmark",
        "continuation",
        "continuationtoken",
        "scroll",
        "scrollid",
        "since",
        "sinceid",
        "maxid",
        "lastid",
        "lastkey",
        "exclusivestartkey",
        "synctoken",
        "index",
        "partnumber",
        "blockid",
        "chunk",
        "chunkindex",
        "chunknumber",
    ];
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    NAMES.contains(&plain.as_str())
}

/// Parameters that say how much of a list is wanted: the last page may ask for less.
pub(super) fn is_page_size(name: &str) -> bool {
    const NAMES: &[&str] = &["limit", "size", "pagesize", "perpage", "count", "maxresults", "top", "first"];
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    NAMES.contains(&plain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Facts {
        let mut facts = Facts { role: Role::Db, ..Facts::default() };
        facts.db.operation = text.split(' ').next().map(Into::into);
        facts.db.shape = Some(text.into());
        facts
    }

    #[test]
    fn statements_about_the_connection_ask_for_nothing() {
        for text in [
            "COMMIT",
            "SELECT 1",
            "SELECT ? FROM DUAL",
            "SELECT @@session.transaction_isolation",
            "select pg_catalog.version()",
            "SELECT set_config(?)",
            "SELECT LAST_INSERT_ID()",
        ] {
            assert!(statement(text).is_housekeeping(), "{text}");
        }
        let mut reflected = statement("SELECT attname FROM pg_attribute WHERE attrelid = ?");
        reflected.db.collection = Some("pg_attribute".into());
        assert!(reflected.is_housekeeping());
        for text in
            ["SELECT ? FROM items", "SELECT now FROM clocks", "SELECT price(?) FROM items", "SELECT id"]
        {
            assert!(!statement(text).is_housekeeping(), "{text}");
        }
    }

    #[test]
    fn statements_that_read_on_are_told_from_one_per_parent() {
        for text in [
            "FETCH FORWARD ? FROM c",
            "SELECT * FROM orders ORDER BY id LIMIT ? OFFSET ?",
            "SELECT * FROM orders ORDER BY id LIMIT ?, ?",
            "SELECT users.* FROM users WHERE \"users\".\"id\" > ? ORDER BY \"users\".\"id\" ASC LIMIT ?",
            "SELECT * FROM jobs WHERE state = ? LIMIT ? FOR UPDATE SKIP LOCKED",
        ] {
            assert!(statement(text).takes_the_next(), "{text}");
        }
        for text in [
            "SELECT * FROM items WHERE order_id = ?",
            "SELECT users.* FROM users WHERE \"users\".\"id\" = ? LIMIT ?",
            "SELECT * FROM posts WHERE user_id = ? AND made > ? ORDER BY made LIMIT ?",
            "UPDATE items SET offset = ? WHERE id = ?",
        ] {
            assert!(!statement(text).takes_the_next(), "{text}");
        }
    }

    #[test]
    fn reading_on_is_known_in_every_dialect() {
        let of = |role, operation: &str, command: &str, path: Option<&str>| {
            let mut facts = Facts { role, operation: operation.into(), ..Facts::default() };
            facts.db.operation = Some(command.into());
            facts.http.path = path.map(Into::into);
            facts.takes_the_next()
        };
        for (role, operation, command, path) in [
            (Role::Cache, "SCAN", "SCAN", None),
            (Role::Cache, "BRPOP jobs", "BRPOP", None),
            (Role::Db, "GETMORE orders", "GETMORE", None),
            (Role::Cloud, "S3/ListObjectsV2", "", None),
            (Role::Cloud, "SQS/ReceiveMessage", "", None),
            (Role::Http, "POST /_search/scroll", "", Some("/_search/scroll")),
        ] {
            assert!(of(role, operation, command, path), "{operation}");
        }
        assert!(!of(Role::Cache, "GET cart", "GET", None));
        assert!(!of(Role::Cloud, "S3/GetObject", "", None));
        assert!(!of(Role::Http, "POST /orders/search", "", Some("/orders/search")));
    }

    #[test]
    fn what_only_a_body_tells_is_hidden() {
        let post = |path: &str| {
            let mut facts = Facts { role: Role::Http, ..Facts::default() };
            facts.http.method = Some("POST".into());
            facts.http.path = Some(path.into());
            facts.hides_operation()
        };
        assert!(post("/graphql") && post("/api/jsonrpc/") && post("/"));
        assert!(!post("/orders") && !post("/graphql/persisted"));
        assert!(!statement("SELECT * FROM items").hides_operation());
        for (operation, hidden) in [("mysql.query", true), ("SELECT", true), ("GETITEM", false)] {
            let nameless = Facts { role: Role::Db, operation: operation.into(), ..Facts::default() };
            assert_eq!(nameless.hides_operation(), hidden, "{operation}");
        }
    }

    #[test]
    fn cursors_are_known_by_name() {
        for name in ["page", "page[number]", "starting_after", "$skip", "pageToken", "exclusiveStartKey"] {
            assert!(is_cursor(name), "{name}");
        }
        for name in ["from", "to", "order_id", "item", "pages_of", "key"] {
            assert!(!is_cursor(name), "{name}");
        }
        assert!(is_page_size("per_page") && is_page_size("page[size]") && !is_page_size("id"));
    }
}
