//! Commands of Redis and Memcached: a word, a key, values.

use super::db::Reading;
use super::template;
use crate::model::{DbFacts, EffectClass};

const MOST_ARGUMENTS: usize = 64;
const LONGEST_LINE: usize = 4096;

/// Commands that change nothing that others see.
const READS: &[&str] = &[
    "GET",
    "GETS",
    "MGET",
    "EXISTS",
    "TTL",
    "PTTL",
    "TYPE",
    "STRLEN",
    "GETRANGE",
    "KEYS",
    "SCAN",
    "INFO",
    "HGET",
    "HMGET",
    "HGETALL",
    "HEXISTS",
    "HKEYS",
    "HVALS",
    "HLEN",
    "HSCAN",
    "LRANGE",
    "LINDEX",
    "LLEN",
    "SMEMBERS",
    "SISMEMBER",
    "SCARD",
    "SSCAN",
    "SINTER",
    "SUNION",
    "SDIFF",
    "SRANDMEMBER",
    "ZRANGE",
    "ZREVRANGE",
    "ZRANGEBYSCORE",
    "ZREVRANGEBYSCORE",
    "ZSCORE",
    "ZRANK",
    "ZREVRANK",
    "ZCARD",
    "ZCOUNT",
    "ZSCAN",
    "GETBIT",
    "BITCOUNT",
    "PFCOUNT",
    "GEOSEARCH",
    "GEORADIUS",
    "GEODIST",
    "GEOPOS",
    "XRANGE",
    "XREAD",
    "XREVRANGE",
    "XLEN",
    "PING",
    "ECHO",
    "AUTH",
    "HELLO",
    "SELECT",
    "CLIENT",
    "COMMAND",
    "TIME",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH",
    "UNWATCH",
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "UNSUBSCRIBE",
    "DBSIZE",
    "OBJECT",
    "DUMP",
    "STATS",
    "VERSION",
    "GET_MULTI",
    "CLUSTER",
    "CONFIG",
    "MEMORY",
    "SCRIPT",
];
/// Commands after which twice is as once.
const OVERWRITES: &[&str] = &[
    "SET",
    "SETEX",
    "PSETEX",
    "SETNX",
    "MSET",
    "MSETNX",
    "GETSET",
    "DEL",
    "UNLINK",
    "EXPIRE",
    "PEXPIRE",
    "EXPIREAT",
    "PEXPIREAT",
    "PERSIST",
    "HSET",
    "HMSET",
    "HSETNX",
    "HDEL",
    "SADD",
    "SREM",
    "SMOVE",
    "ZADD",
    "ZREM",
    "ZREMRANGEBYSCORE",
    "ZREMRANGEBYRANK",
    "LSET",
    "LTRIM",
    "LREM",
    "SETBIT",
    "SETRANGE",
    "PFADD",
    "GEOADD",
    "XACK",
    "XDEL",
    "XTRIM",
    "XGROUP",
    "FLUSHDB",
    "FLUSHALL",
    "RENAME",
    "COPY",
    "RESTORE",
    "TOUCH",
    "GETEX",
    "ADD",
    "REPLACE",
    "CAS",
    "DELETE",
    "FLUSH_ALL",
];
/// Commands that add, take away or tell others each time.
const ADDS: &[&str] = &[
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "DECR",
    "DECRBY",
    "HINCRBY",
    "HINCRBYFLOAT",
    "ZINCRBY",
    "APPEND",
    "LPUSH",
    "RPUSH",
    "LPUSHX",
    "RPUSHX",
    "LPOP",
    "RPOP",
    "BLPOP",
    "BRPOP",
    "LMPOP",
    "RPOPLPUSH",
    "LMOVE",
    "BLMOVE",
    "SPOP",
    "ZPOPMIN",
    "ZPOPMAX",
    "BZPOPMIN",
    "BZPOPMAX",
    "XADD",
    "PUBLISH",
    "GETDEL",
    "LINSERT",
    "PREPEND",
    "SPUBLISH",
    "XREADGROUP",
    "XCLAIM",
];

/// Reads a text of one command, or of several, one a line.
pub(super) fn read(text: &str) -> Reading {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let first = template::cut_to(lines.first().copied().unwrap_or_default(), LONGEST_LINE);
    let mut words = first.split_whitespace();
    let operation = words.next().unwrap_or_default().to_ascii_uppercase();
    let arguments: Vec<&str> = words.take(MOST_ARGUMENTS).collect();
    // `GET ?` (Python), `mget [26 other arguments]` (ioredis).
    let hidden = arguments.contains(&"?") || first.contains("other arguments]");
    let arguments = if hidden { vec!["?"] } else { arguments };
    let class = lines
        .iter()
        .map(|line| line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase())
        .map(|word| class(&word))
        .max_by_key(|class| match class {
            EffectClass::Safe => 0,
            EffectClass::Idempotent => 1,
            EffectClass::Unknown => 2,
            EffectClass::NonIdempotent => 3,
        });
    Reading {
        facts: DbFacts {
            shape: Some(shape(&operation, &arguments)).filter(|shape| !shape.is_empty()),
            operation: Some(operation).filter(|word| !word.is_empty()),
            arguments: if hidden {
                Vec::new()
            } else {
                arguments.iter().map(|&word| word.to_owned()).collect()
            },
            batch: u32::try_from(lines.len()).unwrap_or(u32::MAX).max(1),
            truncated: text.len() > LONGEST_LINE && lines.len() == 1,
            ..DbFacts::default()
        },
        class: class.unwrap_or_default(),
        has_text: true,
        arguments_visible: !hidden && !arguments.is_empty(),
    }
}

/// `GET cart:88417:0` → `GET cart:?:?`: keys keep their words, values keep nothing.
fn shape(operation: &str, arguments: &[&str]) -> String {
    let mut shape = operation.to_owned();
    if let Some(key) = arguments.first() {
        shape.push(' ');
        for (at, part) in key.split(':').enumerate() {
            if at != 0 {
                shape.push(':');
            }
            shape.push_str(if template::is_variable(part) || template::is_token(part) { "?" } else { part });
        }
    }
    if 1 < arguments.len() {
        shape.push_str(" ?");
    }
    shape
}

/// What repeating a command would do. The word is upper-case.
pub(super) fn class(word: &str) -> EffectClass {
    if READS.contains(&word) {
        EffectClass::Safe
    } else if OVERWRITES.contains(&word) {
        EffectClass::Idempotent
    } else if ADDS.contains(&word) {
        EffectClass::NonIdempotent
    } else {
        EffectClass::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_words_and_lose_their_data() {
        let read = read("get cart:88417:0");
        assert_eq!(read.facts.operation.as_deref(), Some("GET"));
        assert_eq!(read.facts.shape.as_deref(), Some("GET cart:?:?"));
        assert_eq!(read.facts.arguments, ["cart:88417:0"]);
        assert!(read.arguments_visible);
        assert_eq!(
            super::read("SET session:ab12cd34 payload EX 60").facts.shape.as_deref(),
            Some("SET session:? ?")
        );
    }

    #[test]
    fn hidden_arguments_are_not_compared() {
        for text in ["GET ?", "mget [26 other arguments]", "PING"] {
            assert!(!read(text).arguments_visible, "{text}");
        }
    }

    #[test]
    fn a_pipeline_is_one_batch_as_bad_as_its_worst_command() {
        let read = read("GET a\nINCR b\nSET c 1");
        assert_eq!((read.facts.batch, read.class), (3, EffectClass::NonIdempotent));
    }
}
