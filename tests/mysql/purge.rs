//! Foreign rows are deleted, and nothing else; interrupted and gone on with; equal on the standby; refused while a link is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::{BinlogStreamRequest, Conn, OptsBuilder};
use shardpair::mysql::purge::policy::Limits;
use shardpair::mysql::purge::{Progress, Purge, TAG};
use shardpair::mysql::{Error, Session, facts, guard, purge, replication, role, verify};
use shardpair::routing::{Function, Guard, Keys, Table, TableClass};

use crate::harness::{SOON, Server, application, count, pair, replicator};

const LIMITS: fn() -> Limits = || Limits::new(200, Duration::from_secs(2));

/// Keys mod 4: 0 stays, 2 has moved; d.t by a number, d.u by a text and bytes.
fn guarded() -> Guard {
    let table = |name: &str, key: &str| Table { name: name.into(), key: Some(key.into()), class: TableClass::Sharded };
    Guard::of(&[table("d.t", "id"), table("d.u", "k")], Function::Mod, &Keys::Residue { modulus: 2, residue: 0 }, None).expect("a guard")
}

async fn filled() -> (Server, Server, Session, Session) {
    let (a, b) = pair().await;
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    for sql in [
        "CREATE TABLE d.u (a VARCHAR(40) CHARACTER SET latin1 COLLATE latin1_swedish_ci, b VARBINARY(8), c DATETIME(3), k BIGINT NOT NULL, PRIMARY KEY (a, b, c))",
        "CREATE TABLE d.n (n INT PRIMARY KEY)",
        "INSERT INTO d.n WITH RECURSIVE s AS (SELECT 0 AS n UNION ALL SELECT n+1 FROM s WHERE n < 999) SELECT n FROM s",
        // Even ids, and three that never belonged here.
        "INSERT INTO d.t SELECT n * 2, 'x', NULL FROM d.n", "INSERT INTO d.t VALUES (1, 'stray', 0), (3, 'stray', 0), (-5, 'stray', 0)",
        "INSERT INTO d.u SELECT concat(if(n % 3, 'é', ''), repeat('it''s', n % 4), n DIV 50), unhex(lpad(hex(n % 50), 2, '0')), '2026-01-01 00:00:00.123', n * 2 FROM d.n",
    ] {
        on_a.exec(sql, SOON).await.expect(sql);
    }
    let guarded = guarded();
    guard::place(&mut on_a, &guarded, &guarded.parents(), 5, SOON).await.expect("on A");
    guard::place(&mut on_b, &guarded, &guarded.parents(), 5, SOON).await.expect("on B");
    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    replication::wait_executed(&mut on_b, &executed, SOON).await.expect("applied");
    (a, b, on_a, on_b)
}

/// At most so many steps.
async fn steps(a: &Server, b: &Server, most: u32) -> Progress {
    let (mut primary, mut standby, mut probe) = (a.session().await, b.session().await, a.session().await);
    let guarded = guarded();
    let sessions = (&mut primary, &mut standby, &mut probe);
    let mut purge = Purge::begin(sessions, &guarded, guarded.moves, LIMITS(), (1, 1)).await.expect("begin");
    for _ in 0..most {
        if purge.progress().done {
            break;
        }
        purge.step().await.expect("a step");
    }
    purge.progress()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_rows_go_under_writes_and_an_interruption_costs_nothing() {
    let (a, b, mut on_a, mut on_b) = filled().await;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut app, stopping) = (a.session_as(&application()).await, stop.clone());
    let writing = tokio::spawn(async move {
        let mut written = 0;
        while !stopping.load(Ordering::Relaxed) {
            app.exec(&format!("INSERT INTO d.t VALUES ({}, 'new', 0) ON DUPLICATE KEY UPDATE n=1", written % 700 * 4), SOON).await.expect("stays");
            app.exec("UPDATE d.u SET k=k+4 WHERE k % 4 = 0 ORDER BY k LIMIT 3", SOON).await.expect("stays");
            written += 1;
        }
        written
    });
    assert_eq!(count(&mut on_a, "id % 4 = 2").await, 500);
    let first = steps(&a, &b, 3).await;
    assert!(!first.done && first.scanned > 0, "{first:?}");
    let second = steps(&a, &b, 2).await;
    assert!(second.scanned > first.scanned && second.estimated > 0, "{second:?}");
    let last = steps(&a, &b, 10_000).await;
    stop.store(true, Ordering::Relaxed);
    println!("{last:?} beside {} writes", writing.await.expect("a writer"));
    assert!(last.done && last.table.is_empty());
    assert_eq!(last.deleted, 1000, "each foreign row once");
    assert_eq!(steps(&a, &b, 1).await.deleted, 1000, "nothing is begun again");
    assert_eq!(count(&mut on_a, "id % 4 = 2").await, 0);

    let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
    assert!(executed.to_string().contains(&format!(":{TAG}:")), "{executed}");
    replication::wait_executed(&mut on_b, &executed, SOON).await.expect("applied");
    let guarded = guarded();
    for session in [&mut on_a, &mut on_b] {
        let held = verify::count(session, &guarded, guarded.moves).await.expect("counted");
        assert_eq!((held.foreign, held.stray, held.example), (0, 3, None));
        assert!(held.rows >= 1003, "{}", held.rows);
    }
    assert_eq!(verify::differences(&mut on_a, &mut on_b, &guarded, 10).await.expect("compared"), Vec::<String>::new());
    purge::forget(&mut on_a).await.expect("forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_is_found_under_writes_and_writes_are_none() {
    let (a, _b, mut on_a, mut on_b) = filled().await;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut app, stopping) = (a.session_as(&application()).await, stop.clone());
    let writing = tokio::spawn(async move {
        while !stopping.load(Ordering::Relaxed) {
            app.exec("UPDATE d.t SET n=coalesce(n, 0)+1 WHERE id IN (0, 4, 400, 1996)", SOON).await.expect("stays");
        }
    });
    let guarded = guarded();
    assert_eq!(verify::differences(&mut on_a, &mut on_b, &guarded, 10).await.expect("compared"), Vec::<String>::new());
    // NULL and '' and a row that is elsewhere are different things.
    on_b.exec("SET SESSION sql_log_bin=0", SOON).await.expect("unlogged");
    on_b.exec("SET GLOBAL super_read_only=OFF", SOON).await.expect("open");
    on_b.exec("UPDATE d.u SET k=k+4 WHERE k=8", SOON).await.expect("a difference");
    let found = verify::differences(&mut on_a, &mut on_b, &guarded, 10).await.expect("compared");
    assert!(found.len() == 1 && found[0].starts_with("d.u"), "{found:?}");
    on_b.exec("UPDATE d.u SET k=8 WHERE k=12 LIMIT 1", SOON).await.expect("some row");
    on_b.exec("DELETE FROM d.t WHERE id=800", SOON).await.expect("a difference");
    let found = verify::differences(&mut on_a, &mut on_b, &guarded, 10).await.expect("compared");
    assert!(found.iter().any(|f| f.starts_with("d.t")), "{found:?}");
    let held = verify::count(&mut on_b, &guarded, guarded.moves).await.expect("counted");
    assert!(held.foreign == 1000 && held.example.is_some(), "{held:?}");
    stop.store(true, Ordering::Relaxed);
    writing.await.expect("a writer");
}

#[tokio::test]
async fn a_purge_is_refused_where_its_deletes_would_reach_live_rows() {
    let (a, b, mut on_a, mut on_b) = filled().await;
    let guarded = guarded();
    let (mut primary, mut probe) = (a.session().await, a.session().await);
    let refused = Purge::begin((&mut primary, &mut on_b, &mut probe), &guarded, guarded.stays, LIMITS(), (1, 1)).await;
    assert!(matches!(refused.map(drop), Err(Error::NotSeen { .. })), "its own class");
    // Another server reads here: the link of a split that isn't dissolved.
    let x = Server::start("x").await;
    let mut on_x = x.session().await;
    assert!(facts::read(&mut on_x, SOON).await.expect("facts").executed.is_empty());
    role::become_standby(&mut on_x, SOON).await.expect("standby");
    replication::attach(&mut on_x, &a.source(), &replicator(), SOON).await.expect("attach");
    crate::harness::eventually("it reads", async || on_a.rows("SHOW REPLICAS", SOON).await.expect("list").len() == 2).await;
    let refused = Purge::begin((&mut primary, &mut on_b, &mut probe), &guarded, guarded.moves, LIMITS(), (1, 1)).await;
    assert!(matches!(refused.map(drop), Err(Error::NotSeen { seen, .. }) if seen.contains("replica")));
    replication::stop_receiver(&mut on_x, SOON).await.expect("stopped");
    drop(x);
    crate::harness::eventually("it is gone", async || on_a.rows("SHOW REPLICAS", SOON).await.expect("list").len() == 1).await;
    // A channel of one's own.
    on_a.exec("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=9", SOON).await.expect("a channel");
    let refused = Purge::begin((&mut primary, &mut on_b, &mut probe), &guarded, guarded.moves, LIMITS(), (1, 1)).await;
    assert!(matches!(refused.map(drop), Err(Error::NotSeen { seen, .. }) if seen.contains("channel")));
    on_a.exec("RESET REPLICA ALL", SOON).await.expect("reset");
    // Who only reads the binlog, as an invalidator does, is in nobody's way.
    let (endpoint, reads) = (a.endpoint(), replicator());
    let reader = OptsBuilder::default().ip_or_hostname(endpoint.host).tcp_port(endpoint.port).user(Some(reads.user)).pass(Some(reads.password)).prefer_socket(false);
    let reader = Conn::new(reader).await.expect("a connection");
    let _stream = reader.get_binlog_stream(BinlogStreamRequest::new(0xF000_0007)).await.expect("a stream");
    crate::harness::eventually("it is seen", async || on_a.rows("SHOW REPLICAS", SOON).await.expect("list").len() == 2).await;
    // A standby that doesn't apply: it waits, and says why.
    replication::stop_applier(&mut on_b, SOON).await.expect("stopped");
    let limits = Limits::new(200, Duration::from_millis(1));
    let mut purge = Purge::begin((&mut primary, &mut on_b, &mut probe), &guarded, guarded.moves, limits, (1, 1)).await.expect("begin");
    purge.step().await.expect("one transaction");
    let mut held = purge.step().await.expect("waits");
    while held.throttled.is_none() && !held.done {
        held = purge.step().await.expect("waits");
    }
    assert_eq!(held.throttled.map(|t| t.word()), Some("StandbyLag"));
    let deleted = held.deleted;
    assert_eq!(purge.step().await.expect("waits").deleted, deleted);
    drop(purge);
    replication::start_applier(&mut on_b, SOON).await.expect("applier");
    assert!(steps(&a, &b, 10_000).await.done);
}
