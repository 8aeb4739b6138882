//! Calls against real pairs: routing, failover, doubt, moved keys, reads of the standby.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use shardpair::client::optimistic::Versioned;
use shardpair::client::{At, CallError, Client, ClientOptions, Freshness, Limit, MapSource, Member, Work};
use shardpair::mysql::{Session, guard, replication, role};
use shardpair::routing::{Function, Guard, Key, Keys, Map};

use crate::harness::{SOON, Server, application, count, eventually, pair};
use crate::segments::alone;
use crate::service::{MapFile, map};
use crate::vip::Vip;

pub const SOLO: role::OpenAs = role::OpenAs { ack: false, interleave: Some((2, 2)), stop_channel: true };

/// All keys on one shard behind this port.
pub fn one_shard(port: u16) -> MapSource {
    MapSource::Fixed(Box::new(Map::parse(&map(1, "Mod", &[(1, 0)], &[port])).expect("a map")))
}

pub fn options() -> ClientOptions {
    let who = application();
    ClientOptions { patience: Duration::from_secs(30), ..ClientOptions::new("test", &who.user, &who.password) }
}

pub async fn client(source: &MapSource) -> Client {
    Client::new(source.clone(), options()).await.expect("a client")
}

/// A client that also knows the standby, and a session there.
pub async fn reading_the_standby(a: &Server, b: &Server) -> (Client, Session) {
    let (primary, standby) = (a.port, b.port);
    let places = Arc::new(move |_: &shardpair::routing::Shard, member: Member| Some(("127.0.0.1".to_owned(), if member == Member::Primary { primary } else { standby })));
    let client = Client::new(one_shard(primary), ClientOptions { places, ..options() }).await.expect("a client");
    // The read Service's standby takes reads: the operator opens it.
    let mut on_b = b.session().await;
    on_b.exec("SET GLOBAL offline_mode=OFF", SOON).await.expect("open for reads");
    (client, on_b)
}

/// A dies, B takes over as the operator would have it, and the VIP moves.
pub async fn fail_over(a: &mut Server, b: &mut Server, vip: &Vip) {
    a.power_cut();
    let mut on_b = b.session().await;
    replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
    let received = replication::state(&mut on_b, SOON).await.expect("state").received;
    replication::wait_executed(&mut on_b, &received, SOON).await.expect("drained");
    role::open_primary(&mut on_b, SOLO, SOON).await.expect("open");
    vip.move_to(b.port);
}

fn insert(id: u32) -> impl for<'c> Fn(&'c mut mysql_async::Conn) -> Work<'c, ()> {
    move |conn| Box::pin(async move { conn.exec_drop("INSERT INTO d.t VALUES (?, 'w', 0)", (id,)).await })
}

fn upsert(id: u32) -> impl for<'c> Fn(&'c mut mysql_async::Conn) -> Work<'c, ()> {
    move |conn| Box::pin(async move { conn.exec_drop("INSERT INTO d.t VALUES (?, 'i', 0) ON DUPLICATE KEY UPDATE n = n", (id,)).await })
}

#[tokio::test]
async fn keys_go_to_their_shards_and_a_moved_one_follows_the_map() {
    let (zero, one) = tokio::join!(alone(), alone());
    for server in [&zero, &one] {
        server.session().await.exec("CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20), n INT)", SOON).await.expect("a table");
    }
    let file = MapFile::new("moved", &map(1, "Mod", &[(1, 0)], &[zero.port]));
    let client = client(&MapSource::File(file.0.clone())).await;
    let row = |id: u32| At::Row("d.t", Key::Int(id.into()));
    for id in 1..=4 {
        client.transaction(row(id), insert(id)).await.expect("written");
    }
    // The guard of a flip: keys of class 1 move away.
    let mut on_zero = zero.session().await;
    let tables = &client.router().map().tables;
    let guarded = Guard::of(tables, Function::Mod, &Keys::Residue { modulus: 1, residue: 0 }, None).expect("a guard");
    guard::place(&mut on_zero, &guarded, &guarded.both(), 41, SOON).await.expect("placed");
    client.transaction(row(9), insert(9)).await.expect("both classes are owned");
    guard::fence(&mut on_zero, guarded.moves, 42, SOON).await.expect("fenced");
    let (call, ()) = tokio::join!(client.transaction(row(5), insert(5)), async {
        // It waits for the map meanwhile, and for no other reason.
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(client.failing(0), None);
        file.write(&map(2, "Mod", &[(2, 0), (2, 1)], &[zero.port, one.port]));
    });
    call.expect("written where it is now");
    client.transaction(row(6), insert(6)).await.expect("written");
    assert_eq!((count(&mut on_zero, "true").await, count(&mut one.session().await, "id=5").await), (6, 1));
    // No newer map: said so, nothing done.
    file.write(&map(3, "Mod", &[(1, 0)], &[zero.port]));
    client.router().reach(3, SOON).await.expect("the map");
    let impatient = Client::new(MapSource::File(file.0.clone()), ClientOptions { patience: Duration::from_millis(300), ..options() }).await.expect("a client");
    let moved = impatient.transaction(row(7), insert(7)).await.expect_err("no newer map");
    assert!(matches!(&moved, CallError::Unavailable { last, .. } if last.contains("shardpair moved epoch=42") && last.contains("epoch 3")), "{moved}");
    for (at, bad) in [(At::Row("d.t", Key::Text("x")), "text"), (At::Row("d.none", Key::Int(1)), "not in the map"), (At::Shard(9), "no shard 9")] {
        let refused = client.transaction(at, insert(8)).await.expect_err("refused");
        assert!(refused.to_string().contains(bad), "{refused}");
    }
    assert!(matches!(client.transaction(row(6), insert(6)).await, Err(CallError::Server { code: 1062, .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_costs_idempotent_calls_its_gap_and_no_error_and_others_at_most_doubt() {
    let (mut a, mut b) = pair().await;
    let vip = Vip::to(a.port).await;
    let client = Arc::new(client(&one_shard(vip.port)).await);
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(1)));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (client, stop, next) = (client.clone(), stop.clone(), next.clone());
        callers.spawn(async move {
            let (mut done, mut doubt, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                let (id, begun) = (next.fetch_add(1, Ordering::Relaxed), Instant::now());
                let result = if caller % 2 == 0 { client.idempotent(At::Shard(0), upsert(id)).await } else { client.transaction(At::Shard(0), insert(id)).await };
                match result {
                    Ok(()) => done.push(id),
                    Err(CallError::InDoubt { .. }) if caller % 2 == 1 => doubt.push(id),
                    Err(other) => panic!("caller {caller}, id {id}: {other}"),
                }
                longest = longest.max(begun.elapsed());
            }
            (done, doubt, longest)
        });
    }
    eventually("calls are made", async || next.load(Ordering::Relaxed) > 300).await;
    let begun = Instant::now();
    fail_over(&mut a, &mut b, &vip).await;
    let took = begun.elapsed();
    let reached = next.load(Ordering::Relaxed);
    eventually("calls go on", async || next.load(Ordering::Relaxed) > reached + 300).await;
    stop.store(true, Ordering::Relaxed);
    let all = callers.join_all().await;
    let done = all.iter().flat_map(|c| c.0.iter().copied()).collect::<BTreeSet<_>>();
    let doubt = all.iter().flat_map(|c| c.1.iter().copied()).collect::<BTreeSet<_>>();
    let longest = all.iter().map(|c| c.2).max().expect("callers");
    let mut on_b = b.session().await;
    let rows = on_b.rows("SELECT id FROM d.t", SOON).await.expect("rows");
    let rows = rows.iter().map(|r| r.at(0).and_then(|id| id.parse().ok()).expect("an id")).collect::<BTreeSet<u32>>();
    assert!(done.is_subset(&rows), "acknowledged and lost: {:?}", done.difference(&rows).collect::<Vec<_>>());
    let unknown = rows.difference(&done).filter(|id| !doubt.contains(id)).collect::<Vec<_>>();
    assert!(unknown.is_empty(), "there, and neither acknowledged nor in doubt: {unknown:?}");
    println!("{} done, {} in doubt; the failover took {took:?}, the longest call {longest:?}", done.len(), doubt.len());
    assert!(longest < took + Duration::from_millis(800), "the failover took {took:?}, a call {longest:?}");
}

#[tokio::test]
async fn a_switchover_is_retried_as_read_only_and_connections_to_the_old_place_are_dropped() {
    let (a, b) = pair().await;
    let vip = Vip::to(a.port).await;
    let client = client(&one_shard(vip.port)).await;
    client.transaction(At::Shard(0), insert(1)).await.expect("written");
    let (mut on_a, mut on_b) = (a.session().await, b.session().await);
    role::close_writes(&mut on_a, SOON).await.expect("closed");
    let (call, ()) = tokio::join!(client.transaction(At::Shard(0), insert(2)), async {
        eventually("it is refused", async || client.failing(0).is_some()).await;
        let executed = replication::state(&mut on_a, SOON).await.expect("state").executed;
        replication::wait_executed(&mut on_b, &executed, SOON).await.expect("B has it all");
        replication::stop_receiver(&mut on_b, SOON).await.expect("fence");
        role::open_primary(&mut on_b, SOLO, SOON).await.expect("open B");
        vip.move_to(b.port);
    });
    call.expect("written on B");
    assert_eq!((count(&mut on_b, "id=2").await, client.failing(0)), (1, None));
    eventually("no connection of ours is left on A", async || {
        // Not performance_schema's list: it is empty where that is off.
        let sessions = on_a.rows("SHOW PROCESSLIST", SOON).await.expect("a list");
        assert!(!sessions.is_empty(), "at least this one");
        sessions.iter().all(|s| s.get("User") != Some(&application().user))
    })
    .await;
}

#[tokio::test]
async fn a_commit_without_an_answer_is_in_doubt_and_not_repeated() {
    let (a, b) = pair().await;
    let mut on_b = b.session().await;
    let options = ClientOptions { commit: Duration::from_millis(500), patience: Duration::from_secs(8), ..options() };
    let client = Client::new(one_shard(a.port), options).await.expect("a client");
    client.transaction(At::Shard(0), insert(1)).await.expect("written");
    replication::stop_receiver(&mut on_b, SOON).await.expect("nobody acknowledges");
    let doubt = client.transaction(At::Shard(0), insert(2)).await.expect_err("no answer");
    assert!(matches!(doubt, CallError::InDoubt { shard: 0, .. }), "{doubt}");
    // Before COMMIT nothing is in doubt, and the work may say no.
    let given_up = client.transaction(At::Shard(0), |conn| Box::pin(async move {
        conn.query_drop("INSERT INTO d.t VALUES (3, 'x', 0)").await?;
        Err::<(), _>(mysql_async::Error::Other("changed my mind".into()))
    }));
    assert!(matches!(given_up.await, Err(CallError::Refused(why)) if why.contains("changed my mind")));
    role::relax_acks(&mut a.session().await, SOON).await.expect("as recorded Solo would");
    let mut on_a = a.session().await;
    eventually("the commit that waited is there", async || count(&mut on_a, "id=2").await == 1).await;
    assert_eq!(count(&mut on_a, "id=3").await, 0);
}

#[tokio::test]
async fn a_read_sees_what_was_written_before_it_from_either_member() {
    let (a, b) = pair().await;
    let (client, mut on_b) = reading_the_standby(&a, &b).await;
    let read = |freshness| client.read(At::Shard(0), freshness, |conn| {
        Box::pin(async move { conn.query_first::<(String, u32), _>("SELECT @@server_uuid, (SELECT count(*) FROM d.t)").await })
    });
    let uuid_b = on_b.scalar("SELECT @@server_uuid", SOON).await.expect("a uuid").expect("a uuid");
    client.transaction(At::Shard(0), insert(1)).await.expect("written");
    let token = client.token(At::Shard(0)).await.expect("a token");
    let (from, rows) = read(Freshness::After(&token, SOON)).await.expect("read").expect("a row");
    assert_eq!((from == uuid_b, rows), (true, 1), "from the standby, which has it");
    replication::stop_applier(&mut on_b, SOON).await.expect("a standby that falls behind");
    client.transaction(At::Shard(0), insert(2)).await.expect("written");
    let token = client.token(At::Shard(0)).await.expect("a token");
    let (from, rows) = read(Freshness::After(&token, Duration::from_millis(50))).await.expect("read").expect("a row");
    assert_eq!((from == uuid_b, rows), (false, 2), "from the primary");
    assert_eq!(read(Freshness::Any).await.expect("read").expect("a row"), (uuid_b, 1), "whatever it has");
    assert_eq!(read(Freshness::Latest).await.expect("read").expect("a row").1, 2);
    let written = client.read(At::Shard(0), Freshness::Latest, |conn| Box::pin(async move { conn.query_drop("INSERT INTO d.t VALUES (9, 'x', 0)").await })).await;
    assert!(matches!(written, Err(CallError::Server { code: 1792, .. })), "a read can't write: {written:?}");
    on_b.exec("SET GLOBAL offline_mode=ON", SOON).await.expect("closed");
    assert_eq!(read(Freshness::After(&token, SOON)).await.expect("read").expect("a row").1, 2, "without a standby from the primary");
}

#[tokio::test]
async fn too_many_calls_are_shed_and_a_shard_that_is_gone_fails_fast() {
    let mut server = alone().await;
    let limit = Limit { at_once: 1, waiting: 1, wait: SOON };
    let patient = ClientOptions { limit, patience: Duration::from_secs(3), fail_fast: Some(Duration::from_millis(500)), ..options() };
    let client = Client::new(one_shard(server.port), patient).await.expect("a client");
    let slow = || client.read(At::Shard(0), Freshness::Latest, |conn| Box::pin(async move { conn.query_drop("DO SLEEP(0.5)").await }));
    let (first, second, third) = tokio::join!(slow(), slow(), slow());
    assert_eq!((first, second, third), (Ok(()), Ok(()), Err(CallError::Shed { shard: 0 })));
    server.power_cut();
    let begun = Instant::now();
    let gone = client.transaction(At::Shard(0), insert(1)).await.expect_err("gone");
    assert!(matches!(gone, CallError::Unavailable { shard: 0, .. }) && begun.elapsed() < Duration::from_secs(4), "{gone}");
    let begun = Instant::now();
    let refusals = (0..20).map(|_| client.transaction(At::Shard(0), insert(1)));
    for refusal in refusals {
        assert!(matches!(refusal.await, Err(CallError::Unavailable { .. })));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "20 refusals took {:?}", begun.elapsed());
    assert!(client.failing(0).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_optimistic_writers_one_reads_again() {
    let server = alone().await;
    let mut session = server.session().await;
    session.exec("CREATE TABLE d.counters (id INT PRIMARY KEY, n INT NOT NULL, version BIGINT UNSIGNED NOT NULL)", SOON).await.expect("a table");
    session.exec("INSERT INTO d.counters VALUES (1, 0, 0)", SOON).await.expect("a row");
    let client = Arc::new(client(&one_shard(server.port)).await);
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let client = client.clone();
        writers.spawn(async move {
            let mut again = 0;
            for _ in 0..25 {
                loop {
                    let (n, version) = client
                        .read(At::Shard(0), Freshness::Latest, |conn| Box::pin(async move { conn.query_first::<(i64, u64), _>("SELECT n, version FROM d.counters WHERE id=1").await }))
                        .await
                        .expect("read")
                        .expect("a row");
                    let written = client.transaction(At::Shard(0), move |conn| {
                        Box::pin(async move { Versioned::new("d.counters", "id").update(conn, &[1.into()], version, &[("n", (n + 1).into())]).await })
                    });
                    if written.await.expect("answered") {
                        break;
                    }
                    again += 1;
                }
            }
            again
        });
    }
    let again = writers.join_all().await.into_iter().sum::<u32>();
    assert_eq!(session.scalar("SELECT concat(n, ' ', version) FROM d.counters", SOON).await.expect("a row").as_deref(), Some("100 100"));
    println!("{again} writes had to read again");
}
