//! What can't be undone from row images is refused, with its reason, and nothing is changed.

use shardpair::mysql::rewind::{Order, Outcome, Refusal};
use shardpair::mysql::{heartbeat, role};

use super::{LONG, SOON, sums, undo};
use crate::harness::Server;

struct Case {
    statements: &'static [&'static str],
    expected: fn(&Refusal) -> bool,
}

const CASES: &[Case] = &[
    Case { statements: &["INSERT INTO d.t VALUES (3, 'x')", "ALTER TABLE d.t ADD COLUMN more INT, ALGORITHM=INSTANT"], expected: |r| matches!(r, Refusal::Statement(_)) },
    Case { statements: &["TRUNCATE TABLE d.t"], expected: |r| matches!(r, Refusal::Statement(s) if s.contains("TRUNCATE")) },
    Case { statements: &["CREATE TABLE d.copy (PRIMARY KEY (id)) AS SELECT * FROM d.t"], expected: |r| matches!(r, Refusal::Statement(_)) },
    Case { statements: &["CREATE USER somebody IDENTIFIED BY 'secret'"], expected: |r| matches!(r, Refusal::Statement(s) if s == "CREATE USER") },
    Case { statements: &["UPDATE d.keyless SET v='y'"], expected: |r| matches!(r, Refusal::NoPrimaryKey { table } if table == "d.keyless") },
    Case { statements: &["INSERT INTO d.t (id) VALUES (2)", "SET SESSION binlog_row_image=MINIMAL", "UPDATE d.t SET v='y'"], expected: |r| matches!(r, Refusal::PartialImages { .. }) },
    Case { statements: &["SET SESSION binlog_row_image=NOBLOB", "UPDATE d.js SET id=id+1"], expected: |r| matches!(r, Refusal::PartialImages { .. }) },
    Case { statements: &["SET SESSION binlog_row_value_options=PARTIAL_JSON", "UPDATE d.js SET j=JSON_SET(j, '$.a', 2)"], expected: |r| matches!(r, Refusal::PartialImages { .. }) },
    Case { statements: &["DELETE FROM d.parent WHERE id=1"], expected: |r| matches!(r, Refusal::Cascades { table } if table == "d.parent") },
    Case { statements: &["UPDATE d.ratios SET v='x'"], expected: |r| matches!(r, Refusal::KeyType { kind, .. } if kind == "double") },
    Case { statements: &["XA START 'one'", "INSERT INTO d.t (id, v) VALUES (5, 'x')", "XA END 'one'", "XA PREPARE 'one'", "XA COMMIT 'one'"], expected: |r| matches!(r, Refusal::Statement(s) if s == "XA START") },
    Case { statements: &["XA START 'two'", "INSERT INTO d.t (id, v) VALUES (6, 'x')", "XA END 'two'", "XA PREPARE 'two'"], expected: |r| matches!(r, Refusal::Statement(s) if s == "XA START") },
    // Prepared before the tail began: it holds its locks.
    Case { statements: &["INSERT INTO d.js (id) VALUES (7)"], expected: |r| *r == Refusal::Xa },
    // Gone from the member, and no binlog says so.
    Case { statements: &["INSERT INTO d.t (id, v) VALUES (8, 'x'), (9, 'y')", "SET SESSION sql_log_bin=0", "DELETE FROM d.t WHERE id=8"], expected: |r| matches!(r, Refusal::Differs(_)) },
    Case { statements: &["INSERT INTO d.t (id, v) VALUES (18, 'x')", "FLUSH BINARY LOGS", "PURGE BINARY LOGS TO 'last'"], expected: |r| matches!(r, Refusal::Missing(_)) },
];

const TABLES: &[&str] = &[
    "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20))", "CREATE TABLE d.keyless (id INT, v VARCHAR(20))",
    "CREATE TABLE d.js (id INT PRIMARY KEY, j JSON, b BLOB)", "CREATE TABLE d.parent (id INT PRIMARY KEY)",
    "CREATE TABLE d.child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES d.parent (id) ON DELETE CASCADE)",
    "CREATE TABLE d.ratios (id DOUBLE PRIMARY KEY, v VARCHAR(20))", "INSERT INTO d.t VALUES (1, 'x')", "INSERT INTO d.keyless VALUES (1, 'x')",
    r#"INSERT INTO d.js VALUES (1, '{"a": 1, "b": "a long text that makes a partial update worth it"}', X'00')"#, "INSERT INTO d.parent VALUES (1), (2)",
    "INSERT INTO d.child VALUES (1, 1)", "INSERT INTO d.ratios VALUES (0.1, 'y')",
];

#[tokio::test]
async fn what_leaves_no_whole_row_images_is_refused_and_nothing_is_changed() {
    let a = Server::start("a").await;
    let mut session = a.session().await;
    role::open_primary(&mut session, role::OpenAs { ack: false, interleave: None, stop_channel: false }, SOON).await.expect("open");
    heartbeat::create_schema(&mut session, SOON).await.expect("schema");
    for statement in TABLES {
        session.exec(statement, SOON).await.expect(statement);
    }
    for (number, case) in CASES.iter().enumerate() {
        let keep = a.facts().await.executed;
        let mut writing = a.session().await;
        role::reopen_writes(&mut writing, SOON).await.expect("open");
        for statement in case.statements {
            let last = writing.rows("SHOW BINARY LOGS", SOON).await.expect("logs").last().and_then(|row| row.at(0).map(str::to_owned));
            let statement = statement.replace("'last'", &format!("'{}'", last.unwrap_or_default()));
            writing.exec(&statement, LONG).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
        }
        role::become_standby(&mut writing, SOON).await.expect("closed");
        writing.close().await;
        let (before, executed) = (sums(&mut session).await, a.facts().await.executed);
        let order = Order { tail: executed.subtract(&keep), keep, mark: number as i64 };
        let outcome = undo(&a, &order).await;
        let Outcome::Refused(refusal) = outcome else { panic!("{:?}: {outcome:?}", case.statements) };
        println!("{}: {refusal}", case.statements.last().expect("one"));
        assert!((case.expected)(&refusal), "{:?}: {refusal:?}", case.statements);
        let facts = a.facts().await;
        assert_eq!((sums(&mut session).await, &facts.executed, facts.rewound), (before, &executed, None), "{:?}", case.statements);
        assert!(facts.super_read_only);
        if refusal == Refusal::Xa && let Some(prepared) = session.rows("XA RECOVER", SOON).await.expect("asked").first() {
            let sql = format!("XA ROLLBACK '{}'", prepared.get("data").unwrap_or_default());
            session.exec("SET GLOBAL super_read_only=OFF", SOON).await.expect("writable");
            session.exec(&sql, SOON).await.expect("rolled back");
        }
    }
}

#[tokio::test]
async fn a_tail_that_something_else_follows_is_refused() {
    let a = Server::start("a").await;
    let mut session = a.session().await;
    role::open_primary(&mut session, role::OpenAs { ack: false, interleave: None, stop_channel: false }, SOON).await.expect("open");
    heartbeat::create_schema(&mut session, SOON).await.expect("schema");
    for statement in ["CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)"] {
        session.exec(statement, SOON).await.expect(statement);
    }
    let before = a.facts().await.executed;
    session.exec("INSERT INTO d.t VALUES (1)", SOON).await.expect("the tail");
    let tail = a.facts().await.executed.subtract(&before);
    session.exec("INSERT INTO d.t VALUES (2)", SOON).await.expect("replicated, say");
    role::become_standby(&mut session, SOON).await.expect("closed");
    let keep = a.facts().await.executed.subtract(&tail);
    let outcome = undo(&a, &Order { tail, keep: keep.clone(), mark: 1 }).await;
    assert!(matches!(outcome, Outcome::Refused(Refusal::Interleaved(_))), "{outcome:?}");
    // And what isn't as it was recorded isn't touched at all.
    let other = Order { tail: keep, keep: before, mark: 2 };
    let mut session = a.session().await;
    let trouble = shardpair::mysql::rewind::undo(&mut session, a.session().await, &other, LONG).await.expect_err("not as recorded");
    assert!(trouble.to_string().contains("not what was recorded"), "{trouble}");
}
