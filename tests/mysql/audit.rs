//! Rows written where their keys don't belong are found in the binlog, and nothing else is taken for one.

use std::collections::BTreeSet;
use std::time::Duration;

use shardpair::mysql::audit::{self, Found, Side, Start};
use shardpair::mysql::{guard, purge, replication, verify};
use shardpair::routing::{Function, Guard, Keys, Table, TableClass};

use crate::harness::{SOON, Server, application, pair};

const LONG: Duration = Duration::from_secs(30);

fn table(name: &str, key: &str) -> Table {
    Table { name: name.into(), key: Some(key.into()), class: TableClass::Sharded }
}

async fn look(server: &Server, guarded: &Guard, side: &Side, start: &Start) -> Found {
    let (stream, mut ask) = (server.session().await, server.session().await);
    audit::read(stream, &mut ask, guarded, side, start, LONG).await.expect("read")
}

#[tokio::test]
async fn misrouted_rows_and_ddl_since_the_fence_are_found_and_no_others() {
    let (a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    let guarded = Guard::of(&[table("d.t", "id")], Function::Mod, &Keys::Residue { modulus: 1, residue: 0 }, None).expect("a guard");
    guard::place(&mut on_a, &guarded, &guarded.both(), 5, SOON).await.expect("placed");
    let mut app = a.session_as(&application()).await;
    app.exec("INSERT INTO d.t VALUES (1, 'before', 0), (3, 'before', 0)", SOON).await.expect("both owned");
    guard::fence(&mut on_a, guarded.moves, 6, SOON).await.expect("fenced");
    let start = audit::start(&mut on_a).await.expect("start");
    assert!(start.since_us > 0 && !start.since.is_empty(), "{start:?}");
    app.exec("INSERT INTO d.t VALUES (2, 'stays', 0)", SOON).await.expect("its own");
    assert!(app.exec("INSERT INTO d.t VALUES (5, 'moved', 0)", SOON).await.is_err());
    let uuid = a.facts().await.server_uuid;
    let side = |owned: BTreeSet<u32>| Side { servers: BTreeSet::from([uuid.clone()]), owned };
    let clean = look(&a, &guarded, &side(guarded.parents()), &start).await;
    assert_eq!((clean.rows, clean.misrouted, clean.unreadable, clean.ddl.len()), (1, 0, 0, 0), "{clean:?}");
    assert!(clean.missing.is_empty() && clean.until.contains(&start.since));

    // Around the guard: the operator's sessions are not refused. Two files, and a purge.
    on_a.exec("INSERT INTO d.t VALUES (7, 'around', 0), (8, 'fine', 0)", SOON).await.expect("around");
    on_a.exec("FLUSH BINARY LOGS", SOON).await.expect("another file");
    on_a.exec("UPDATE d.t SET n=1 WHERE id IN (3, 2)", SOON).await.expect("around");
    on_a.exec("CREATE USER hushed IDENTIFIED BY 'secret'", SOON).await.expect("an account");
    on_a.exec("ALTER TABLE d.t ADD COLUMN x INT", SOON).await.expect("DDL");
    on_a.exec(&format!("SET gtid_next='AUTOMATIC:{}'", purge::TAG), SOON).await.expect("a tag");
    on_a.exec("DELETE FROM d.t WHERE id=1", SOON).await.expect("a purge");
    let again = Start { since: clean.until.clone(), ..start.clone() };
    for from in [&start, &again] {
        let found = look(&a, &guarded, &side(guarded.parents()), from).await;
        assert_eq!((found.misrouted, found.ddl.clone()), (2, vec!["ALTER TABLE d.t ADD COLUMN x INT".to_owned()]), "{found:?}");
        assert!(found.example.is_some_and(|e| e.contains("d.t")));
    }
    // The same transactions are in B's binlog; there they are the other side's, and no finding.
    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_b, &executed, SOON).await.expect("applied");
    let others = Side { servers: BTreeSet::from([b.facts().await.server_uuid]), owned: guarded.childs() };
    let found = look(&b, &guarded, &others, &Start::default()).await;
    assert_eq!((found.rows, found.misrouted), (0, 0), "{found:?}");
    // A member that was never fenced begins now, and stays with that.
    guard::place(&mut on_b, &guarded, &guarded.parents(), 6, SOON).await.expect("placed");
    let first = audit::start(&mut on_b).await.expect("start");
    assert_eq!((audit::start(&mut on_b).await.expect("start"), b.facts().await.super_read_only), (first, true));
}

#[tokio::test]
async fn keys_of_every_kind_have_the_same_class_in_a_binlog() {
    let (a, _b) = pair().await;
    let mut on_a = a.session().await;
    let kinds = [
        ("u", "BIGINT UNSIGNED", "(0), (18446744073709551615), (9223372036854775808), (77)"),
        ("i", "SMALLINT", "(-32768), (-1), (0), (32767)"),
        ("v", "VARCHAR(20) CHARACTER SET utf8mb4", "(''), ('é'), ('a '), ('日本')"),
        ("l", "VARCHAR(20) CHARACTER SET latin1", "(''), ('é'), ('a '), ('ß')"),
        ("c", "CHAR(8) CHARACTER SET utf8mb4", "(''), ('é'), ('a '), ('b')"),
        ("b", "BINARY(4)", "(''), (x'ff'), (x'00ff00'), (x'61626364')"),
        ("w", "VARBINARY(9)", "(''), (x'ff00'), (x'00'), (x'61')"),
    ];
    let tables = kinds.map(|(name, _, _)| table(&format!("d.k_{name}"), "k")).to_vec();
    let guarded = Guard::of(&tables, Function::Crc32, &Keys::Residue { modulus: 1, residue: 0 }, None).expect("a guard");
    for (name, kind, _) in kinds {
        on_a.exec(&format!("CREATE TABLE d.k_{name} (k {kind} NOT NULL PRIMARY KEY)"), SOON).await.expect("a table");
    }
    guard::place(&mut on_a, &guarded, &guarded.both(), 5, SOON).await.expect("placed");
    guard::fence(&mut on_a, guarded.moves, 6, SOON).await.expect("fenced");
    let start = audit::start(&mut on_a).await.expect("start");
    for (name, _, rows) in kinds {
        on_a.exec(&format!("INSERT INTO d.k_{name} VALUES {rows}"), SOON).await.expect("rows");
    }
    // The same rows, by MySQL's own expression.
    let foreign = verify::count(&mut on_a, &guarded, guarded.moves).await.expect("counted").foreign;
    let side = Side { servers: BTreeSet::from([a.facts().await.server_uuid]), owned: guarded.parents() };
    let found = look(&a, &guarded, &side, &start).await;
    assert_eq!((found.rows, found.misrouted, found.unreadable), (28, foreign, 0), "{found:?}");
    assert!(foreign > 5 && foreign < 23, "{foreign}");
}
