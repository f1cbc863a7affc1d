//! Statements of many dialects, and what is read of them.

use super::*;

fn of(text: &str) -> Statement {
    read(text, Dialect::Standard)
}

#[test]
fn values_disappear_and_everything_else_stays() {
    for (text, shape) in [
        ("select id from orders where id = 42", "SELECT id FROM orders WHERE id = ?"),
        ("SELECT * FROM t WHERE a='it''s' AND b = 0xFF", "SELECT * FROM t WHERE a = ? AND b = ?"),
        ("SELECT * FROM t WHERE a = -12.5e-3", "SELECT * FROM t WHERE a = ?"),
        ("SELECT a-1 FROM t", "SELECT a - ? FROM t"),
        ("SELECT *\n  FROM\torders  -- of today\n", "SELECT * FROM orders"),
        ("/* route='/cart' */ SELECT 1", "SELECT ?"),
        (
            "SELECT * FROM t1.orders2 o2 WHERE o2.id3 IN (1, 2,3)",
            "SELECT * FROM t1.orders2 o2 WHERE o2.id3 IN (?)",
        ),
        ("SELECT x FROM t WHERE id IN ($1,$2)", "SELECT x FROM t WHERE id IN (?)"),
        ("SELECT x FROM t LIMIT 100, 50", "SELECT x FROM t LIMIT ?, ?"),
        ("SELECT x FROM t WHERE id = :id::uuid", "SELECT x FROM t WHERE id = ?::uuid"),
        ("SELECT x FROM t WHERE id = %(id_1)s::VARCHAR", "SELECT x FROM t WHERE id = ?::VARCHAR"),
        ("SELECT x FROM t WHERE a = @p1 AND b = %s", "SELECT x FROM t WHERE a = ? AND b = ?"),
        ("INSERT INTO t (a,b) VALUES (1,'x'),(2,'y')", "INSERT INTO t(a, b) VALUES (?)"),
        ("SELECT count(*), now() FROM t", "SELECT count(*), now() FROM t"),
        ("SELECT $tag$it's 5$tag$ FROM t", "SELECT ? FROM t"),
        ("SELECT E'a\\'b' FROM \"Order Lines\"", "SELECT ? FROM \"Order Lines\""),
        ("SELECT id FROM [order details]", "SELECT id FROM [order details]"),
        ("BEGIN;", "BEGIN"),
    ] {
        assert_eq!(of(text).shape, shape, "{text}");
    }
    assert_eq!(
        read("select \"x\" from `a` where b='\\''", Dialect::MySql).shape,
        "SELECT ? FROM `a` WHERE b = ?"
    );
}

#[test]
fn verb_and_table_are_found() {
    for (text, verb, table) in [
        ("SELECT a FROM orders o JOIN lines l ON l.o = o.id", "SELECT", Some("orders")),
        ("SELECT * FROM (SELECT id FROM carts) c", "SELECT", Some("carts")),
        ("(SELECT a FROM t) UNION (SELECT a FROM u)", "SELECT", Some("t")),
        ("WITH recent AS (SELECT * FROM orders) SELECT * FROM recent", "SELECT", Some("recent")),
        ("WITH gone AS (DELETE FROM jobs RETURNING id) SELECT id FROM gone", "DELETE", Some("jobs")),
        ("WITH a AS (SELECT 1) INSERT INTO log SELECT * FROM a", "INSERT", Some("log")),
        ("INSERT INTO shop.charges (ref) VALUES (%(ref)s)", "INSERT", Some("shop.charges")),
        ("INSERT IGNORE INTO t VALUES (1)", "INSERT", Some("t")),
        ("UPDATE ONLY \"stock\" SET qty = 1", "UPDATE", Some("stock")),
        ("DELETE FROM carts WHERE id = 1", "DELETE", Some("carts")),
        ("create table if not exists t (a int)", "CREATE", Some("t")),
        ("TRUNCATE TABLE t", "TRUNCATE", Some("t")),
        ("CALL settle(1)", "CALL", Some("settle")),
        ("BEGIN; INSERT INTO t VALUES (1); COMMIT;", "INSERT", Some("t")),
        ("COMMIT", "COMMIT", None),
        ("SELECT 1", "SELECT", None),
    ] {
        let statement = of(text);
        assert_eq!(statement.verb.as_deref(), Some(verb), "{text}");
        assert_eq!(statement.table.as_deref(), table, "{text}");
    }
}

#[test]
fn what_twice_would_do() {
    use EffectClass::{Idempotent, NonIdempotent, Safe, Unknown};
    for (text, class) in [
        ("SELECT * FROM t", Safe),
        ("SELECT * FROM t FOR UPDATE", Safe),
        ("SELECT nextval('s')", Unknown),
        ("SELECT a INTO b FROM c", Unknown),
        ("INSERT INTO t VALUES (1)", NonIdempotent),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", Idempotent),
        ("INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 1", Idempotent),
        ("INSERT IGNORE INTO t VALUES (1)", Idempotent),
        ("REPLACE INTO t VALUES (1)", Idempotent),
        ("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET a = 1", Idempotent),
        ("UPDATE stock SET qty = qty - 1 WHERE id = 1", NonIdempotent),
        ("UPDATE stock AS s SET qty = s.qty - 1 WHERE id = 1", NonIdempotent),
        ("UPDATE t SET a = coalesce(a, 1)", Idempotent),
        ("UPDATE t SET version = version + 1, a = 2 WHERE id = 1 AND version = 7", Idempotent),
        ("UPDATE t SET a = b - 1", Idempotent),
        ("DELETE FROM t", Idempotent),
        ("CALL settle(1)", Unknown),
        ("BEGIN", Safe),
        ("COMMIT;", Safe),
        ("SELECT 1; INSERT INTO t VALUES (1)", NonIdempotent),
        ("WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d", Idempotent),
        ("FLY me to the moon", Unknown),
        ("", Unknown),
    ] {
        assert_eq!(of(text).class, class, "{text}");
    }
    assert_eq!(read("INSERT INTO t (a) VALUES (1)", Dialect::Cassandra).class, Idempotent);
}

#[test]
fn batches_are_counted() {
    assert_eq!(of("INSERT INTO t VALUES (1),(2),(3)").batch, 3);
    assert_eq!(of("UPDATE t SET a = 1; UPDATE t SET a = 2").batch, 2);
    assert_eq!(of("SELECT f((1), (2)) FROM t;").batch, 1);
}

#[test]
fn arguments_are_what_the_text_shows() {
    assert_eq!(of("SELECT a FROM t WHERE b = 'x' AND c = 7").arguments, ["x", "7"]);
    assert!(!of("SELECT a FROM t WHERE b = 'x'").has_placeholders);
    assert!(of("SELECT a FROM t WHERE b = ?").has_placeholders);
}

#[test]
fn a_cut_text_says_so() {
    for text in ["SELECT a FROM t WHERE b = 'x", "SELECT a /* because", "SELECT a, b, ...", "SELECT a, b…"]
    {
        assert!(of(text).truncated, "{text}");
    }
    assert!(!of("SELECT a FROM t").truncated);
    assert!(of(&format!("SELECT {}", "a, ".repeat(MOST_TEXT))).truncated);
}

#[test]
fn long_shapes_stay_different() {
    let long = |last: &str| of(&format!("SELECT {}{last} FROM t", "column_a, ".repeat(400))).shape;
    assert_ne!(long("x"), long("y"));
    assert!(long("x").len() < LONGEST_SHAPE + 40);
}
